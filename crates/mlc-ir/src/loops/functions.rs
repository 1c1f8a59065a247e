//! The function table. Each function has one normative expansion into primitives.

use std::fmt;

use crate::DType;

/// A function of scalars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Func {
    Exp,
    Expm1,
    Log,
    Log1p,
    Sin,
    Cos,
    Tan,
    Tanh,
    Erf,
    Sigmoid,
    Pow,
    Atan2,
    /// `philox(seed: u64, index: u64, site: u32, iteration: u32) -> u32`: word `index % 4` of Philox4x32-10 with
    /// the key `seed` (low word first) and the counter (`index / 4` low, `index / 4` high, `site`, `iteration`).
    Philox,
}

pub struct FnRow {
    pub func: Func,
    pub name: &'static str,
    pub arity: usize,
    pub doc: &'static str,
}

const fn row(func: Func, name: &'static str, arity: usize, doc: &'static str) -> FnRow {
    FnRow { func, name, arity, doc }
}

/// One row a function, in the order of the enum.
#[rustfmt::skip]
pub const FUNCTIONS: [FnRow; 13] = [
    row(Func::Exp, "exp", 1, "e^x"),
    row(Func::Expm1, "expm1", 1, "e^x - 1, exact near 0"),
    row(Func::Log, "log", 1, "natural logarithm; log(0) = -inf, negative: NaN"),
    row(Func::Log1p, "log1p", 1, "log(1 + x), exact near 0"),
    row(Func::Sin, "sin", 1, "x in radians, any size; inf: NaN"),
    row(Func::Cos, "cos", 1, "x in radians, any size; inf: NaN"),
    row(Func::Tan, "tan", 1, "x in radians, any size; inf: NaN"),
    row(Func::Tanh, "tanh", 1, "hyperbolic tangent"),
    row(Func::Erf, "erf", 1, "error function"),
    row(Func::Sigmoid, "sigmoid", 1, "1 / (1 + e^-x)"),
    row(Func::Pow, "pow", 2, "x^y as C's pow: pow(x, 0) = pow(1, y) = 1 even for NaN"),
    row(Func::Atan2, "atan2", 2, "angle of the point (second, first), as C's atan2"),
    row(Func::Philox, "philox", 4, "random bits: philox(seed u64, index u64, site u32, iteration u32) -> u32"),
];

impl Func {
    pub fn row(self) -> &'static FnRow {
        &FUNCTIONS[self as usize]
    }

    pub fn name(self) -> &'static str {
        self.row().name
    }

    pub fn from_name(name: &str) -> Option<Func> {
        FUNCTIONS.iter().find(|r| r.name == name).map(|r| r.func)
    }

    /// The dtype of the result, or what is wrong with the operands.
    pub fn result(self, args: &[DType]) -> Result<DType, String> {
        let row = self.row();
        let ok = match self {
            Func::Philox => args == [DType::U64, DType::U64, DType::U32, DType::U32],
            _ => args.len() == row.arity && args[0].is_float() && args.iter().all(|&a| a == args[0]),
        };
        if !ok {
            let list: Vec<&str> = args.iter().map(|a| a.name()).collect();
            return Err(format!("{} does not take ({})", row.name, list.join(", ")));
        }
        Ok(if self == Func::Philox { DType::U32 } else { args[0] })
    }
}

impl fmt::Display for Func {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
