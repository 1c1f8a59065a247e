//! The front end: text to AST ([`syntax`]), AST to graphs ([`build`]), and the library in .mlg
//! ([`prelude`]).

pub mod build;
pub mod prelude;
pub mod syntax;

pub use build::{
    Compiled, DiskLoader, FileLoader, MemoryLoader, Options, compile, doc, doc_index, is_later, suggest,
};
