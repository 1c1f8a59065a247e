//! The function table. Each function has ONE normative expansion into primitives, written once over
//! [`Arith`] and read by everyone: the interpreter and constant folding evaluate it ([`eval`]), emitters without
//! a faster way print it ([`expand`]), vector primitives implement [`Arith`] on lanes.
//!
//! f32 and f64 have expansions of their own; f16 and bf16 compute in f32 and round once more. Accuracy:
//! f32 within 1 ulp (pow, atan2: 2), f64 within 2. NaN operands give NaN (but see [`Func::Pow`]); signed zeros,
//! subnormals and infinities are C's.

pub mod arith;
mod check;
mod emit;
mod erf;
mod exp;
mod log;
mod philox;
mod poly;
mod trig;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use arith::{Arith, Scalar32, Scalar64};
pub use check::{UlpError, ulp_error, ulp_error_sampled};
pub use emit::{Emit, expand};
pub use philox::philox;
pub use poly::Poly;

use super::scalar::Lit;
use crate::DType;

/// The expansion of a unary function.
#[inline(always)]
pub fn unary<A: Arith>(f: Func, a: &mut A, x: A::F) -> Option<A::F> {
    Some(match f {
        Func::Exp => exp::exp(a, x),
        Func::Expm1 => exp::expm1(a, x),
        Func::Log => log::log(a, x),
        Func::Log1p => log::log1p(a, x),
        Func::Sin => trig::sin(a, x),
        Func::Cos => trig::cos(a, x),
        Func::Tan => trig::tan(a, x),
        Func::Tanh | Func::Erf | Func::Sigmoid => {
            let begun = begin(f, a, x)?;
            return end(f, a, x, begun);
        }
        Func::Pow | Func::Atan2 | Func::Philox => return None,
    })
}

/// The first half of an expansion that is cut in two, for code that does one half for many elements and then the
/// other: two short chains of operations overlap better than one long chain. `None` where it is one piece.
#[inline(always)]
pub fn begin<A: Arith>(f: Func, a: &mut A, x: A::F) -> Option<[A::F; 2]> {
    Some(match f {
        Func::Tanh => exp::tanh_begin(a, x),
        Func::Erf => erf::erf_begin(a, x),
        Func::Sigmoid => exp::sigmoid_begin(a, x),
        _ => return None,
    })
}

/// The function of `x`, of what [`begin`] made of it.
#[inline(always)]
pub fn end<A: Arith>(f: Func, a: &mut A, x: A::F, begun: [A::F; 2]) -> Option<A::F> {
    Some(match f {
        Func::Tanh => exp::tanh_end(a, x, begun),
        Func::Erf => erf::erf_end(a, x, begun),
        Func::Sigmoid => exp::sigmoid_end(a, x, begun),
        _ => return None,
    })
}

/// The expansion of a binary function.
#[inline(always)]
pub fn binary<A: Arith>(f: Func, a: &mut A, x: A::F, y: A::F) -> Option<A::F> {
    match f {
        Func::Pow => Some(log::pow(a, x, y)),
        Func::Atan2 => Some(trig::atan2(a, x, y)),
        _ => None,
    }
}

/// Random bits as [`Func::Philox`] defines them.
pub fn philox_word(seed: u64, index: u64, site: u32, iteration: u32) -> u32 {
    let key = [seed as u32, (seed >> 32) as u32];
    let block = index / 4;
    let words = philox(&mut Scalar32, key, [block as u32, (block >> 32) as u32, site, iteration]);
    words[(index % 4) as usize]
}

/// The value of a function of typed bit patterns: what [`expand`] computes, evaluated. `args` are of the types
/// that [`Func::result`] accepts.
pub fn eval(f: Func, dtype: DType, args: &[u64]) -> u64 {
    if f == Func::Philox {
        return philox_word(args[0], args[1], args[2] as u32, args[3] as u32).into();
    }
    let second = args.get(1).copied();
    match dtype {
        DType::F64 => {
            let x = f64::from_bits(args[0]);
            let a = &mut Scalar64;
            let y = match second {
                Some(y) => binary(f, a, x, f64::from_bits(y)),
                None => unary(f, a, x),
            };
            y.unwrap_or(f64::NAN).to_bits()
        }
        DType::F32 => eval32(f, f32::from_bits(args[0] as u32), second.map(|y| f32::from_bits(y as u32)))
            .to_bits()
            .into(),
        _ => {
            let wide = |bits: u64| Lit { dtype, bits }.as_f64() as f32;
            Lit::float(dtype, eval32(f, wide(args[0]), second.map(wide)).into()).bits
        }
    }
}

fn eval32(f: Func, x: f32, y: Option<f32>) -> f32 {
    let a = &mut Scalar32;
    let v = match y {
        Some(y) => binary(f, a, x, y),
        None => unary(f, a, x),
    };
    v.unwrap_or(f32::NAN)
}

/// A function of scalars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
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
