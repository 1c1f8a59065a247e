//! The text form: [`std::fmt::Display`] of kernels, programs and plans; [`parse_kernel`] and [`parse_program`] read
//! it back. `parse(print(k)) == k` for every kernel and program whose indices are canonical and whose names
//! are identifiers.
//!
//! ```text
//! kernel @softmax(read x: f32[64000], write y: f32[64000] alias x) rows(i0: 64) cols(c0: 1000) {
//!   !0 = forward %12 "head" 0:310..322      // provenance: phase, graph node, scope, source and bytes
//!   %0: f32 = load x[1000*i0 + c0]
//!   acc0: f32 = max lanes %0
//!   %1: f32 = acc0
//!   %2: f32 = sub %0, %1
//!   ..
//!   store y[1000*i0 + c0] = %5
//! }
//! ```
//! Guards are `if %g`, and `load x[..] if %g else 0.0`; an index may have `((i0 + 3) / 4 % 5)` for a floor quotient
//! with modulo, `clamp(%3, 10)` for data within 10 elements, `wrap(%3, 10)` where negatives count from the end.
//! ` !2` after a line names its provenance, if it is not `!0`. Column tails are `col y[c0] = sum f32 runs %1`, row
//! tails `row y[0] = sum f32 runs %1`.

mod lex;
mod parse;
mod parse_program;
mod print;
mod print_program;
#[cfg(test)]
mod tests;

pub use lex::TextError;
pub use parse::parse_kernel;
pub use parse_program::parse_program;
