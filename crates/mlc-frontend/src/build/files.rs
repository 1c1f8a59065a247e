//! The files of a program: the main file and what it uses, parsed, with their items by name.
//!
//! Paths in `use` start at the folder of the file they stand in. Each file is read once; a file that
//! uses itself, directly or not, is an error.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use mlc_diag::{Diagnostic, Diagnostics, SourceMap, Span, io_reason};

use crate::syntax::{self, ast};

/// Where sources come from: the disk, or memory for embedding and tests.
pub trait FileLoader {
    /// # Errors
    /// Where there is no such file or it cannot be read.
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>>;
}

/// The file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiskLoader;

impl FileLoader for DiskLoader {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        std::fs::read(path)
    }
}

/// Texts by path.
#[derive(Debug, Clone, Default)]
pub struct MemoryLoader {
    files: HashMap<PathBuf, String>,
}

impl MemoryLoader {
    pub fn new() -> MemoryLoader {
        MemoryLoader::default()
    }

    /// Adds a file, replacing one of the same path.
    pub fn with(mut self, path: impl Into<PathBuf>, text: impl Into<String>) -> MemoryLoader {
        self.files.insert(path.into(), text.into());
        self
    }
}

impl FileLoader for MemoryLoader {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        match self.files.get(path).or_else(|| self.files.get(&normal(path))) {
            Some(text) => Ok(text.clone().into_bytes()),
            None => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
        }
    }
}

/// A file of the program, or the prelude.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub usize);

impl FileId {
    pub const PRELUDE: FileId = FileId(usize::MAX);

    pub fn is_prelude(self) -> bool {
        self == FileId::PRELUDE
    }
}

/// A `use` of another file.
#[derive(Debug, Clone)]
pub struct Import {
    pub alias: Option<String>,
    pub file: FileId,
}

#[derive(Debug)]
pub struct Unit {
    /// The folder that relative paths start at.
    pub dir: PathBuf,
    pub ast: ast::File,
    pub imports: Vec<Import>,
    by_name: HashMap<String, usize>,
}

impl Unit {
    /// The item that declares `name`; train and test blocks have no names to refer to.
    pub fn item(&self, name: &str) -> Option<&ast::Item> {
        self.by_name.get(name).and_then(|&i| self.ast.items.get(i))
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }
}

#[derive(Debug, Default)]
pub struct Files {
    pub units: Vec<Unit>,
    /// A file that is used could not be read: names from it are not known.
    pub incomplete: bool,
}

impl Files {
    /// Reads the main file and, transitively, what it uses. The main file is the first unit; no units
    /// where it could not be read.
    pub fn load(
        loader: &dyn FileLoader,
        path: &Path,
        sources: &mut SourceMap,
        diags: &mut Diagnostics,
    ) -> Files {
        let mut load =
            Load { loader, sources, diags, files: Files::default(), open: vec![], known: HashMap::new() };
        load.file(path, Span::NONE);
        load.files
    }

    pub fn get(&self, id: FileId) -> Option<&Unit> {
        self.units.get(id.0)
    }
}

struct Load<'l> {
    loader: &'l dyn FileLoader,
    sources: &'l mut SourceMap,
    diags: &'l mut Diagnostics,
    files: Files,
    /// Files on the way to the current one.
    open: Vec<PathBuf>,
    known: HashMap<PathBuf, FileId>,
}

impl Load<'_> {
    fn file(&mut self, path: &Path, from: Span) -> Option<FileId> {
        let key = normal(path);
        if self.open.contains(&key) {
            let chain: Vec<String> = self.open.iter().map(|p| format!("`{}`", p.display())).collect();
            self.diags.push(
                Diagnostic::error("E0310", format!("`{}` uses itself", path.display()))
                    .label(from, "this closes the circle")
                    .note(format!("the files in the circle: {}", chain.join(" uses ")))
                    .hint("move what both need into a third file"),
            );
            self.files.incomplete = true;
            return None;
        }
        if let Some(&id) = self.known.get(&key) {
            return Some(id);
        }
        let bytes = match self.loader.read(path) {
            Ok(bytes) => bytes,
            Err(e) => {
                let d = Diagnostic::error(
                    "E0701",
                    format!("cannot read `{}`: {}", path.display(), io_reason(&e)),
                );
                self.files.incomplete = true;
                let hint = "a path in `use` starts at the folder of the file it stands in";
                self.diags.push(if from.is_none() { d } else { d.label(from, "").hint(hint) });
                return None;
            }
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let source = self.sources.add(path.display().to_string(), Some(path.to_path_buf()), text);
        let parsed = syntax::parse_bytes(source, &bytes);
        self.diags.extend(parsed.diagnostics);
        // The main file comes first, before what it uses.
        let id = FileId(self.files.units.len());
        let dir = path.parent().map(Path::to_path_buf).unwrap_or_default();
        let by_name = self.index(&parsed.file);
        self.files.units.push(Unit { dir: dir.clone(), ast: ast::File::default(), imports: vec![], by_name });
        self.known.insert(key.clone(), id);
        self.open.push(key);
        let mut imports = vec![];
        for item in &parsed.file.items {
            let ast::ItemKind::Use(u) = &item.kind else { continue };
            let Some(text) = u.path.literal() else {
                self.diags.push(
                    Diagnostic::error("E0311", "the path of `use` must be plain text")
                        .label(u.path.span, "this has an interpolation"),
                );
                continue;
            };
            if let Some(file) = self.file(&dir.join(text), u.path.span) {
                imports.push(Import { alias: u.alias.as_ref().map(|a| a.text.clone()), file });
            }
        }
        self.open.pop();
        self.files.units[id.0].imports = imports;
        self.files.units[id.0].ast = parsed.file;
        Some(id)
    }

    fn index(&mut self, file: &ast::File) -> HashMap<String, usize> {
        let mut by_name: HashMap<String, usize> = HashMap::new();
        for (i, item) in file.items.iter().enumerate() {
            if matches!(item.kind, ast::ItemKind::Train(_) | ast::ItemKind::Test(_)) {
                continue;
            }
            let Some(name) = item.kind.name() else { continue };
            if let Some(&first) = by_name.get(&name.text) {
                let before = file.items[first].kind.name().map_or(Span::NONE, |n| n.span);
                self.diags.push(
                    Diagnostic::error("E0302", format!("`{}` is declared twice in this file", name.text))
                        .label(name.span, "declared again here")
                        .label(before, "first declared here")
                        .hint("rename one of them"),
                );
                continue;
            }
            by_name.insert(name.text.clone(), i);
        }
        by_name
    }
}

/// `a/./b/../c` as `a/c`, without asking the file system.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for c in path.components() {
        match c {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir if out.file_name().is_some() => {
                out.pop();
            }
            c => out.push(c),
        }
    }
    out
}
