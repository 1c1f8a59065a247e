//! The library: .mlg text in the binary, indexed once, each item parsed when it is first used.
//!
//! Its sources come first in every source map, so that spans in parsed items hold everywhere.

use std::collections::HashMap;
use std::sync::OnceLock;

use mlc_diag::{Diagnostics, SourceId, SourceMap, Span};

use crate::syntax::{self, ItemWord, ast};

macro_rules! texts {
    ($($name:literal),* $(,)?) => {
        const TEXTS: &[(&str, &str)] = &[$((
            concat!("prelude/", $name, ".mlg"),
            include_str!(concat!("../prelude/", $name, ".mlg")),
        ),)*];
    };
}

texts!("init", "layers", "losses", "math", "optimizers", "random", "reduce", "schedules", "tensor");

/// An item of the library.
pub struct PreludeItem {
    pub name: String,
    pub word: ItemWord,
    source: usize,
    range: std::ops::Range<usize>,
    parsed: OnceLock<(Option<ast::Item>, Diagnostics)>,
}

pub struct Prelude {
    items: Vec<PreludeItem>,
    by_name: HashMap<String, Vec<usize>>,
}

/// The one library of this build of mlc.
pub fn prelude() -> &'static Prelude {
    static PRELUDE: OnceLock<Prelude> = OnceLock::new();
    PRELUDE.get_or_init(Prelude::index)
}

/// Adds the library's texts to an empty source map.
pub fn add_sources(sources: &mut SourceMap) {
    for (name, text) in TEXTS {
        sources.add(*name, None, *text);
    }
}

/// Does a span lie in the library?
pub fn contains(span: Span) -> bool {
    (span.source.0 as usize) < TEXTS.len()
}

impl Prelude {
    fn index() -> Prelude {
        let mut items = vec![];
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (source, (_, text)) in TEXTS.iter().enumerate() {
            for entry in syntax::index(text) {
                let Some(name) = entry.name else { continue };
                by_name.entry(name.clone()).or_default().push(items.len());
                items.push(PreludeItem {
                    name,
                    word: entry.word,
                    source,
                    range: entry.range,
                    parsed: OnceLock::new(),
                });
            }
        }
        Prelude { items, by_name }
    }

    pub fn items(&self) -> &[PreludeItem] {
        &self.items
    }

    /// The item of this name and kind.
    pub fn find(&'static self, name: &str, word: ItemWord) -> Option<&'static ast::Item> {
        self.entries(name).find(|i| i.word == word)?.ast()
    }

    /// All items of this name: `constant` is a schedule only, `sigmoid` a fn and no model.
    pub fn entries(&self, name: &str) -> impl Iterator<Item = &PreludeItem> {
        self.by_name.get(name).into_iter().flatten().filter_map(|&i| self.items.get(i))
    }
}

impl PreludeItem {
    fn parsed(&self) -> &(Option<ast::Item>, Diagnostics) {
        self.parsed.get_or_init(|| {
            syntax::parse_item(SourceId(self.source as u32), TEXTS[self.source].1, self.range.clone())
        })
    }

    pub fn ast(&self) -> Option<&ast::Item> {
        self.parsed().0.as_ref()
    }

    /// `fn`, `model`, `optimizer`, `schedule`.
    pub fn kind(&self) -> &'static str {
        match self.word {
            ItemWord::Model => "model",
            ItemWord::Optimizer => "optimizer",
            ItemWord::Schedule => "schedule",
            ItemWord::Dataset => "dataset",
            _ => "fn",
        }
    }

    /// Empty, but for a mistake in the library: a test holds that.
    pub fn diagnostics(&self) -> &Diagnostics {
        &self.parsed().1
    }

    /// The item's text as it stands in the library, doc comment and all.
    pub fn text(&self) -> &'static str {
        TEXTS[self.source].1.get(self.range.clone()).unwrap_or("")
    }
}
