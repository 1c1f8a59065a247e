//! Globs over files: `src/**/*.rs`.
//!
//! `*` and `?` stand for any run of characters and any character within a name, `**` for any number of folders.
//! Neither matches a name that begins with a dot, and links to folders are not followed. What is found comes in
//! the order of its names, folder by folder, which is the same on every machine.

use std::fs;
use std::path::{Component, Path, PathBuf};

use mlc_diag::Diagnostic;

use super::error;

/// Folders within folders beyond this depth are not searched.
const MAX_DEPTH: usize = 64;

/// The files that a path with wildcards means; the path itself, if it has none.
///
/// # Errors
/// Where nothing matches, or a folder cannot be read.
pub fn expand(path: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    let parts: Vec<Component<'_>> = path.components().collect();
    let wild = |c: &Component<'_>| c.as_os_str().to_string_lossy().contains(['*', '?']);
    let Some(first) = parts.iter().position(wild) else { return Ok(vec![path.to_path_buf()]) };
    let root: PathBuf = parts[..first].iter().collect();
    let root = if root.as_os_str().is_empty() { PathBuf::from(".") } else { root };
    let names = parts[first..].iter().map(|c| c.as_os_str().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    // One `**` is any number of folders already; at the end it means all files in them.
    names.dedup_by(|a, b| a == "**" && b == "**");
    if names.last().is_some_and(|n| n == "**") {
        names.push("*".into());
    }
    let mut found = vec![];
    search(&root, &names, MAX_DEPTH, &mut found)?;
    if found.is_empty() {
        let title = format!("no file matches `{}`", path.display());
        return Err(Diagnostic::error("E0701", title)
            .note(format!("searched from {}", root.display()))
            .hint(
                "`*` stays within a folder, `**` crosses folders; names that begin with a dot are left out",
            ));
    }
    Ok(found)
}

/// The files below `folder` that the names lead to.
fn search(folder: &Path, names: &[String], depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Diagnostic> {
    let Some((name, rest)) = names.split_first() else { return Ok(()) };
    if depth == 0 {
        return Ok(());
    }
    let mut entries = vec![];
    for entry in fs::read_dir(folder).map_err(|e| error::unreadable(folder, &e))? {
        let entry = entry.map_err(|e| error::unreadable(folder, &e))?;
        let kind = entry.file_type().map_err(|e| error::unreadable(&entry.path(), &e))?;
        entries.push((entry.file_name().to_string_lossy().into_owned(), entry.path(), kind));
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    if name == "**" {
        search(folder, rest, depth - 1, found)?;
        for (entry, path, kind) in &entries {
            if kind.is_dir() && !entry.starts_with('.') {
                search(path, names, depth - 1, found)?;
            }
        }
        return Ok(());
    }
    for (entry, path, kind) in entries {
        if !matches(name, &entry) {
            continue;
        }
        if !rest.is_empty() && kind.is_dir() {
            search(&path, rest, depth - 1, found)?;
        } else if rest.is_empty() && path.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

/// Does a pattern match a whole name? Linear in the product of the lengths.
fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let name: Vec<char> = name.chars().collect();
    // reachable[j]: the pattern read so far matches name[..j].
    let mut reachable = vec![false; name.len() + 1];
    reachable[0] = true;
    for c in pattern.chars() {
        if c == '*' {
            for j in 0..name.len() {
                reachable[j + 1] |= reachable[j];
            }
            continue;
        }
        for j in (0..name.len()).rev() {
            reachable[j + 1] = reachable[j] && (c == '?' || name[j] == c);
        }
        reachable[0] = false;
    }
    reachable[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let cases = [
            ("*.rs", "lib.rs", true),
            ("*.rs", ".rs", false),
            ("*.rs", "lib.rss", false),
            ("l?b.*", "lib.rs", true),
            ("l?b.*", "lb.rs", false),
            ("*", "", true),
            ("a*b*c", "aXXbYc", true),
            ("a*b*c", "aXXbY", false),
            (".*", ".git", true),
        ];
        for (pattern, name, want) in cases {
            assert_eq!(matches(pattern, name), want, "{pattern} on {name}");
        }
    }

    #[test]
    fn trees() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.rs", "a/z.rs", "a/c.txt", "a/b/d.rs", ".hidden/e.rs", "a/.f.rs", "a.rs/x.rs"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        let found = |glob: &str| -> Vec<String> {
            let files = expand(&dir.path().join(glob)).unwrap();
            files.iter().map(|f| f.strip_prefix(dir.path()).unwrap().to_string_lossy().into_owned()).collect()
        };
        assert_eq!(found("**/*.rs"), ["b.rs", "a/z.rs", "a/b/d.rs", "a.rs/x.rs"]);
        assert_eq!(found("*/*.rs"), ["a/z.rs", "a.rs/x.rs"]);
        assert_eq!(found("a/**"), ["a/c.txt", "a/z.rs", "a/b/d.rs"]);
        assert_eq!(found("**/**/d.rs"), ["a/b/d.rs"]);
        assert_eq!(found("a/**/d.rs"), ["a/b/d.rs"]);
        assert_eq!(found("b.rs"), ["b.rs"]);
        assert_eq!(expand(&dir.path().join("*.py")).unwrap_err().code, "E0701");
        assert_eq!(expand(&dir.path().join("none/*.py")).unwrap_err().code, "E0701");
    }
}
