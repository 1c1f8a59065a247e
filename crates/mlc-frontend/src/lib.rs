//! The front end: text to AST to graph.
//!
//! - [`syntax`]: the grammar, the AST, the formatter.

pub mod syntax;
