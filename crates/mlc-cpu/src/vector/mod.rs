//! Loops over contiguous elements in whole vectors of AVX2 and AVX-512: what Cranelift, whose vectors have 128 bits, cannot
//! emit.
//!
//! A [`Program`] says what is computed for each element: straight-line code without branches. [`Program::code`]
//! ([`code`]) makes it a function
//!
//! ```text
//! extern "sysv64" fn(table: *const u64, n: u64)
//! ```
//! that does so for `n` elements of each array. The table holds the arrays' addresses, then the values that are the same
//! for all elements, in the lower half of eight bytes each. The function calls nothing, takes a few words of the
//! stack, and may stand anywhere. [`asm`] encodes it.
//!
//! Each operation is the one of [`mlc_ir::loops::Prim`] on the elements, so results are those of any other way, bit for bit.
//! All arrays are read at an element before any is written there.

mod asm;
mod code;
#[cfg(all(test, target_arch = "x86_64"))]
mod tests;

use std::fmt;

use smallvec::SmallVec;

pub use asm::{Compare, Shift, Width};

use crate::features::Level;

/// A step of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id(pub u16);

impl Id {
    pub fn ix(self) -> usize {
        self.0.into()
    }
}

/// Elements of arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// Four bytes: f32, i32, u32.
    Word,
    /// One byte, 0 or 1; read as a truth value and not written.
    Bool,
    /// One byte, u8; read as an i32 and not written.
    Byte,
}

/// An operation on elements. Integers wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    Add,
    Sub,
    Mul,
    Div,
    /// `a * b + c`, rounded once.
    Fma,
    Sqrt,
    Floor,
    /// To the nearest integer, ties to even.
    Rint,
    /// `(a > b or a is NaN) ? a : b`
    Max,
    /// `(a < b or a is NaN) ? a : b`
    Min,
    AddInt,
    SubInt,
    MulInt,
    And,
    Or,
    Xor,
    Shift(Shift, u8),
    /// i32 to f32.
    OfInt,
    /// u32 to f32; AVX-512.
    OfUint,
    /// Of f32, to a truth value.
    Compare(Compare),
    EqualInt,
    /// Of i32: `a > b`.
    GreaterInt,
    /// Of u32; AVX-512.
    CompareUint(Compare),
    /// Of truth values.
    Both,
    Either,
    Differ,
    Not,
    /// `c ? a : b`
    Pick,
}

impl Code {
    pub fn is_truth(self) -> bool {
        use Code::{Both, CompareUint, Differ, Either, EqualInt, GreaterInt, Not};
        matches!(
            self,
            Code::Compare(_) | EqualInt | GreaterInt | CompareUint(_) | Both | Either | Differ | Not
        )
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// An array's element.
    Load(usize),
    /// The table's value of this number, from 0.
    Value(usize),
    /// 32 bits.
    Const(u32),
    /// The element's number from 0, as an i32.
    Position,
    Op(Code, SmallVec<[Id; 3]>),
}

/// What is computed for each element.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Program {
    pub arrays: Vec<Element>,
    /// Values in the table.
    pub values: usize,
    steps: Vec<Step>,
    /// What is written once all steps are done, in this order.
    pub stores: Vec<Store>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Store {
    pub value: Id,
    pub array: usize,
    /// Past the caches, which need not read a line that is written as a whole; what reads it soon finds it in memory
    /// only. All arrays that are written so begin at the same place of a line. Other threads see it after a fence.
    pub stream: bool,
}

/// Code stands at a multiple of so many bytes.
pub const ALIGN: usize = 64;

/// The most arrays of a program: they have a register each.
pub const MAX_ARRAYS: usize = 11;

impl Program {
    /// The step's number; an equal one is there once.
    pub fn step(&mut self, step: Step) -> Id {
        let at = self.steps.iter().position(|s| *s == step).unwrap_or_else(|| {
            self.steps.push(step);
            self.steps.len() - 1
        });
        Id(at as u16)
    }

    pub fn op(&mut self, code: Code, operands: &[Id]) -> Id {
        self.step(Step::Op(code, operands.into()))
    }

    pub fn constant(&mut self, bits: u32) -> Id {
        self.step(Step::Const(bits))
    }

    pub fn is_truth(&self, id: Id) -> bool {
        match &self.steps[id.ix()] {
            Step::Load(array) => self.arrays[*array] == Element::Bool,
            Step::Op(code, _) => code.is_truth(),
            Step::Value(_) | Step::Const(_) | Step::Position => false,
        }
    }

    /// The function's machine code for a level. None where the level has no such vectors, or lacks an operation or
    /// registers.
    pub fn code(&self, level: Level) -> Option<Vec<u8>> {
        let width = match level {
            _ if !cfg!(target_arch = "x86_64") => return None,
            Level::Portable => return None,
            Level::Avx2 => Width::Eight,
            Level::Avx512 => Width::Sixteen,
        };
        code::assemble(self, width)
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.steps.iter().enumerate() {
            match step {
                Step::Load(array) => writeln!(f, "    v{i} = load a{array}")?,
                Step::Value(value) => writeln!(f, "    v{i} = value {value}")?,
                Step::Const(bits) => {
                    writeln!(f, "    v{i} = const {bits:#010x} ; {:?}", f32::from_bits(*bits))?
                }
                Step::Position => writeln!(f, "    v{i} = position")?,
                Step::Op(code, operands) => {
                    let operands: Vec<String> = operands.iter().map(|o| format!("v{}", o.0)).collect();
                    writeln!(f, "    v{i} = {code:?} {}", operands.join(", "))?;
                }
            }
        }
        for s in &self.stores {
            writeln!(f, "    {} a{}, v{}", if s.stream { "stream" } else { "store" }, s.array, s.value.0)?;
        }
        Ok(())
    }
}
