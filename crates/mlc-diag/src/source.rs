//! Source texts and positions in them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A file (or a text that came from elsewhere) in a [`SourceMap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SourceId(pub u32);

/// A byte range `[start, end)` of one source, from the first to the last real token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    pub source: SourceId,
    pub start: u32,
    pub end: u32,
}

impl Span {
    /// The span of what has no source text: command-line arguments, generated nodes.
    pub const NONE: Span = Span { source: SourceId(u32::MAX), start: 0, end: 0 };

    pub fn new(source: SourceId, start: usize, end: usize) -> Span {
        Span { source, start: start as u32, end: end as u32 }
    }

    pub fn is_none(self) -> bool {
        self.source == Span::NONE.source
    }

    /// The smallest span that holds both; `other` where `self` is [`Span::NONE`] or in another source.
    pub fn to(self, other: Span) -> Span {
        if self.source != other.source {
            return if other.is_none() { self } else { other };
        }
        Span { source: self.source, start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Spanned<T> {
    pub node: T,
    pub span: Span,
}

impl<T> Spanned<T> {
    pub fn new(node: T, span: Span) -> Self {
        Spanned { node, span }
    }
}

#[derive(Debug, Clone)]
struct Source {
    name: String,
    path: Option<PathBuf>,
    text: Arc<str>,
    line_starts: Vec<u32>,
}

/// All texts of one compilation; spans index into it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Text>", into = "Vec<Text>")]
pub struct SourceMap {
    sources: Vec<Source>,
}

/// What of a source is not derived.
#[derive(Serialize, Deserialize)]
struct Text {
    name: String,
    path: Option<PathBuf>,
    text: String,
}

impl From<Vec<Text>> for SourceMap {
    fn from(texts: Vec<Text>) -> SourceMap {
        let mut map = SourceMap::new();
        for t in texts {
            map.add(t.name, t.path, t.text);
        }
        map
    }
}

impl From<SourceMap> for Vec<Text> {
    fn from(map: SourceMap) -> Vec<Text> {
        map.sources
            .into_iter()
            .map(|s| Text { name: s.name, path: s.path, text: s.text.to_string() })
            .collect()
    }
}

impl SourceMap {
    pub fn new() -> Self {
        SourceMap::default()
    }

    /// Adds a text under the name that diagnostics show. `path` is where it was read from, if it was.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        path: Option<PathBuf>,
        text: impl Into<Arc<str>>,
    ) -> SourceId {
        let text: Arc<str> = text.into();
        let line_starts = std::iter::once(0)
            .chain(text.bytes().enumerate().filter(|b| b.1 == b'\n').map(|b| b.0 as u32 + 1));
        let line_starts = line_starts.collect();
        self.sources.push(Source { name: name.into(), path, text, line_starts });
        SourceId(self.sources.len() as u32 - 1)
    }

    fn get(&self, id: SourceId) -> Option<&Source> {
        self.sources.get(id.0 as usize)
    }

    pub fn name(&self, id: SourceId) -> &str {
        self.get(id).map_or("<none>", |s| &s.name)
    }

    pub fn path(&self, id: SourceId) -> Option<&Path> {
        self.get(id)?.path.as_deref()
    }

    /// The whole text; empty for an unknown source.
    pub fn text(&self, id: SourceId) -> Arc<str> {
        self.get(id).map_or_else(|| Arc::from(""), |s| s.text.clone())
    }

    /// The text of a span; empty where the span is none or out of range.
    pub fn snippet(&self, span: Span) -> &str {
        self.get(span.source).and_then(|s| s.text.get(span.start as usize..span.end as usize)).unwrap_or("")
    }

    /// 1-based line and column (in characters) of the span's start; `None` for [`Span::NONE`].
    pub fn line_col(&self, span: Span) -> Option<(usize, usize)> {
        let s = self.get(span.source)?;
        let line = s.line_starts.partition_point(|&l| l <= span.start);
        let start = s.line_starts[line - 1] as usize;
        let col = s.text.get(start..span.start as usize).map_or(0, |t| t.chars().count());
        Some((line, col + 1))
    }

    /// `simple_nn.mlg:7:18`, or the empty string for [`Span::NONE`].
    pub fn locate(&self, span: Span) -> String {
        match self.line_col(span) {
            Some((line, col)) => format!("{}:{line}:{col}", self.name(span.source)),
            None => String::new(),
        }
    }
}
