//! What every layer of mlc says to its user: where in the source ([`Span`], [`SourceMap`]) and what
//! is wrong there ([`Diagnostic`]: code, labels, notes, hint).
//!
//! Nothing here touches a terminal. [`render`] turns diagnostics into text, plain or styled; who
//! prints it decides which. Every code has an entry in the [`catalogue`], which `mlc explain` prints
//! and from which docs/errors.md is generated.

pub mod catalogue;
mod diagnostic;
mod io;
mod render;
mod source;
mod units;

pub use diagnostic::{Diagnostic, Diagnostics, Label, Severity};
pub use io::io_reason;
pub use render::{Style, render, render_all};
pub use source::{SourceId, SourceMap, Span, Spanned};
pub use units::bytes;
