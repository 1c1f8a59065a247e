//! The front end: text to AST ([`syntax`]), AST to graphs ([`build`]), and the library in .mlg.

pub mod build;
pub mod prelude;
pub mod syntax;
