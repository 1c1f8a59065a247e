//! Where data lies, seen from an artifact.
//!
//! A source file's paths are relative to the file that holds them. An artifact keeps each such folder as it lay
//! from the artifact's own, so that both can be moved together, and as an absolute path, so that the artifact can
//! be moved alone. When it is loaded, the first of the two that has the files is taken.

use std::path::{Component, Path, PathBuf};

use mlc_ir::program::{DataSpec, DatasetSpec, Train};

/// Makes the folders of the blocks absolute.
pub fn make_absolute(trains: &mut [Train]) {
    for t in trains {
        t.base_dir = absolute(&t.base_dir);
        for d in datasets(t) {
            d.base_dir = absolute(&d.base_dir);
        }
    }
}

/// A folder's place in the file system, without links where it exists.
pub fn absolute(folder: &Path) -> PathBuf {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let resolved = std::fs::canonicalize(folder).or_else(|_| std::path::absolute(folder));
    resolved.unwrap_or_else(|_| folder.to_path_buf())
}

/// Chooses the blocks' folders, for an artifact that was written into `then` and now lies in `now`.
pub fn choose(trains: &mut [Train], then: &Path, now: &Path) {
    let moved = |folder: &Path| relative(then, folder).map(|r| now.join(r));
    for t in trains {
        if let Some(place) = moved(&t.base_dir).filter(|p| p.is_dir()) {
            t.base_dir = place;
        }
        for d in datasets(t) {
            let Some(place) = moved(&d.base_dir) else { continue };
            // Where neither has them, the error shall name the place beside the artifact.
            if has_files(d, &place) || !has_files(d, &d.base_dir) {
                d.base_dir = place;
            }
        }
    }
}

fn datasets(t: &mut Train) -> impl Iterator<Item = &mut DatasetSpec> {
    let specs: [Option<&mut DataSpec>; 2] = [t.data.as_mut(), t.validate.as_mut()];
    specs.into_iter().flatten().flat_map(|s| &mut s.parts).map(|p| &mut p.dataset)
}

fn has_files(d: &DatasetSpec, folder: &Path) -> bool {
    let sources = d.fields.iter().filter_map(|f| f.source.as_ref());
    sources.flat_map(|s| s.kind.paths()).all(|p| folder.join(p).exists())
}

/// The way from one absolute folder to another; `None` where there is none (another drive).
fn relative(from: &Path, to: &Path) -> Option<PathBuf> {
    let (mut a, mut b) = (from.components().peekable(), to.components().peekable());
    while a.peek().is_some() && a.peek() == b.peek() {
        (a.next(), b.next());
    }
    let named = |c: &Component<'_>| matches!(c, Component::Normal(_));
    let (up, down): (Vec<_>, Vec<_>) = (a.collect(), b.collect());
    (up.iter().all(named) && down.iter().all(named))
        .then(|| up.iter().map(|_| Component::ParentDir).chain(down).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_between_folders() {
        let way = |from: &str, to: &str| relative(Path::new(from), Path::new(to));
        assert_eq!(way("/a/b", "/a/c/d"), Some("../c/d".into()));
        assert_eq!(way("/a", "/a"), Some("".into()));
        assert_eq!(way("/a/b/c", "/a"), Some("../..".into()));
        assert_eq!(way("/", "/x"), Some("x".into()));
        assert_eq!(way("/a/../b", "/c"), None);
    }
}
