//! The verifier. These rules are the loop IR's definition of well-formed; messages and tests cite their labels.
//! A violation is a bug of the compiler, never of the user.
//!
//! # Kernels
//! - **L1** Expressions are in topological order and their dtypes follow the primitive table, the function table
//!   and the argument's dtype; constants fit their dtype.
//! - **L2** Arguments, axes, reductions and expressions that are named exist; only `Read` and `ReadWrite` arguments
//!   are loaded, only `Write` and `ReadWrite` ones stored; argument names are identifiers and differ.
//! - **L3** A store or row tail that happens once a row has a value that does not depend on a column; a column
//!   tail's index has no row axis.
//! - **L4** `acc j` in the value of reduction i has j < i.
//! - **L5** What a tail or scatter writes is neither loaded nor stored otherwise in the kernel.
//! - **L6** Every load and store is in bounds over the whole domain, given its guard; data-dependent parts by their
//!   bound, which is not 0.
//! - **L7** Guards compute with axes, integers and bools only.
//! - **L8** The reduction has an identity for its dtype, which is its value's.
//! - **L9** The stores of one argument write no element twice.
//! - **L10** An argument that may share bytes with another, or is loaded and stored, is loaded at the index that
//!   is stored, without guards; in a contraction, in the epilogue only.
//! - **L11** Sums, products and extrema never accumulate in f16 or bf16.
//! - **L12** Every index fits i64 over the domain, with every intermediate sum.
//! - **L13** Contraction: lhs does not depend on n, rhs not on m; both values and the product have dtype `acc`
//!   (f32, f64 or an integer); the epilogue's rows are batch and m, its columns n, and it has no reductions.
//!   `product` appears in epilogues only.
//! - **L14** No `bitcast`: only expansions of functions contain it, and a kernel holds the function.
//! - **L15** The kernel has provenance, and every expression names one.
//! - **L16** Every argument of segments belongs to exactly one of them, which obeys all other rules by itself.
//!
//! # Programs
//! - **P1** Names resolve; `after` names earlier calls.
//! - **P2** A temporary or output is written before it is read, all of it; outputs are written.
//! - **P3** A call that writes a state comes after every reader of the old value, by data or by `after`.
//! - **P6** A call passes one slice an argument, of its dtype and length, within its buffer.
//! - **P7** All buffers of a call are on one device, except a copy that says so.
//!
//! # Plans
//! - **P4** Buffers lie within their arenas; buffers that share bytes are not alive in the same call, except where
//!   one donates its bytes to the other; lives span all uses; donations are ones the kernel allows (L10).
//! - **P5** Offsets have the alignment that arguments ask for, and arenas have it too.
//! - **P8** A call's scratch fits the scratch arena of its device.

mod body;
mod memory;
mod program;
mod proof;
#[cfg(test)]
mod tests;

use std::fmt;

use mlc_diag::{Diagnostic, Span};

use super::kernel::Kernel;
pub use memory::{covers, elements_written};
pub use program::{verify_plan, verify_program};

/// A broken rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// `L6`, `P2`.
    pub rule: &'static str,
    pub message: String,
    pub span: Span,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.message)
    }
}

impl From<Violation> for Diagnostic {
    fn from(v: Violation) -> Diagnostic {
        let d = Diagnostic::bug(v.to_string());
        if v.span.is_none() { d } else { d.label(v.span, "from here") }
    }
}

/// All violations of a kernel; the L2 ones alone if there are any, as nothing else makes sense then.
pub fn verify_kernel(kernel: &Kernel) -> Vec<Violation> {
    let mut v = Checker { kernel, found: Vec::new() };
    v.names();
    if v.found.is_empty() {
        v.types();
    }
    if v.found.is_empty() {
        v.spaces();
        v.memory();
    }
    v.found
}

struct Checker<'a> {
    kernel: &'a Kernel,
    found: Vec<Violation>,
}

impl Checker<'_> {
    fn fail(&mut self, rule: &'static str, prov: u32, message: impl Into<String>) {
        let span = self.kernel.prov.get(prov as usize).map_or(Span::NONE, |p| p.span);
        let message = format!("@{}: {}", self.kernel.name, message.into());
        self.found.push(Violation { rule, message, span });
    }
}
