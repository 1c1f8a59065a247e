//! Syntax: text to [`ast`], and text to canonical text.
//!
//! ```text
//! text --scan--> tokens --layout--> items --grammar/mlg.pest--> pairs --items, stmts, expr--> AST
//!                   \--> comment table                    \--> explain (for what does not parse)
//!                    \--> format
//! ```
//! - [`parse`] reads a whole file; [`index`] only lists its items, which [`parse_item`] reads one at a
//!   time (the prelude is far larger than what a program uses of it).
//! - Nothing here panics or takes more than linear time, whatever the input: nesting is bounded before
//!   anything recurses, and the number of diagnostics is capped.
//! - A mistake costs the smallest piece around it that can be told apart (statement, member, item),
//!   which becomes an `Error` node; all else is in the tree.

pub mod ast;
mod brackets;
mod dump;
mod explain;
mod expr;
pub mod format;
mod habits;
mod items;
mod literal;
mod parse;
mod scan;
mod stmts;

pub use brackets::MAX_NESTING;
pub use dump::{dump, dump_expr, dump_item};
pub use format::{format, format_source};
pub use habits::foreign_type;
pub use parse::{Comment, IndexEntry, ItemWord, MAX_ERRORS, Parsed, index, parse, parse_bytes, parse_item};

/// The parser that pest derives from the grammar.
mod grammar {
    #[derive(pest_derive::Parser)]
    #[grammar = "../../../grammar/mlg.pest"]
    pub struct Grammar;
}

#[cfg(test)]
mod tests;
