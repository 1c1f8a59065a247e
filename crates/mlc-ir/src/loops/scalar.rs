//! The scalar primitives: 27 total operations, one table.
//!
//! *Total*: no operation traps or has an undefined result. Floats are IEEE 754, round to nearest even,
//! subnormals kept; integers wrap. The exact meaning of each is its [`Row::doc`]; [`Prim::result`] is its
//! typing rule, which builder, verifier (L1) and parser share.

use std::fmt;

use half::{bf16, f16};
use serde::{Deserialize, Serialize};

use crate::DType;

/// A primitive. The table [`PRIMS`] says what each means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Prim {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    Fma,
    Neg,
    Abs,
    Max,
    Min,
    Sqrt,
    Floor,
    Rint,
    And,
    Or,
    Xor,
    Not,
    Shl,
    Shr,
    Umulhi,
    Eq,
    Ne,
    Lt,
    Le,
    Select,
    Cast,
    Bitcast,
}

/// The operand types a primitive takes. All operands have one dtype unless the class says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Floats and integers.
    Number,
    Float,
    /// f32 and f64.
    WideFloat,
    Int,
    /// Integers and bool.
    Bits,
    U32,
    /// Any dtype in, bool out.
    Compare,
    /// Bool, then two of any one dtype.
    Select,
    /// Any dtype to any dtype, which the expression names.
    Cast,
    /// u32 <-> f32, u64 <-> f64.
    Bitcast,
}

pub struct Row {
    pub prim: Prim,
    pub name: &'static str,
    pub arity: usize,
    pub class: Class,
    pub doc: &'static str,
}

const fn row(prim: Prim, name: &'static str, arity: usize, class: Class, doc: &'static str) -> Row {
    Row { prim, name, arity, class, doc }
}

/// One row a primitive, in the order of the enum.
#[rustfmt::skip]
pub const PRIMS: [Row; 27] = [
    row(Prim::Add, "add", 2, Class::Number, "float: IEEE; int: wraps"),
    row(Prim::Sub, "sub", 2, Class::Number, "float: IEEE; int: wraps"),
    row(Prim::Mul, "mul", 2, Class::Number, "float: IEEE; int: wraps"),
    row(Prim::Div, "div", 2, Class::Number, "float: correctly rounded; int: floor, x/0 = 0, MIN/-1 = MIN"),
    row(Prim::Rem, "rem", 2, Class::Int, "the floor division's remainder: sign of the divisor, x%0 = 0, MIN%-1 = 0"),
    row(Prim::Fma, "fma", 3, Class::WideFloat, "a*b + c, one rounding"),
    row(Prim::Neg, "neg", 1, Class::Number, "float: flips the sign bit; int: wraps"),
    row(Prim::Abs, "abs", 1, Class::Number, "float: clears the sign bit; int: wraps (unsigned: the same)"),
    row(Prim::Max, "max", 2, Class::Number, "(a > b or a != a) ? a : b"),
    row(Prim::Min, "min", 2, Class::Number, "(a < b or a != a) ? a : b"),
    row(Prim::Sqrt, "sqrt", 1, Class::Float, "correctly rounded; negative: NaN; -0: -0"),
    row(Prim::Floor, "floor", 1, Class::Float, "to the integer below; -0 stays"),
    row(Prim::Rint, "rint", 1, Class::Float, "to the nearest integer, ties to even; keeps the sign of zero"),
    row(Prim::And, "and", 2, Class::Bits, "bitwise"),
    row(Prim::Or, "or", 2, Class::Bits, "bitwise"),
    row(Prim::Xor, "xor", 2, Class::Bits, "bitwise"),
    row(Prim::Not, "not", 1, Class::Bits, "bitwise; bool: logical"),
    row(Prim::Shl, "shl", 2, Class::Int, "the count is masked to the width"),
    row(Prim::Shr, "shr", 2, Class::Int, "the count is masked to the width; arithmetic on signed, logical on unsigned"),
    row(Prim::Umulhi, "umulhi", 2, Class::U32, "upper 32 bits of the 64-bit product"),
    row(Prim::Eq, "eq", 2, Class::Compare, "any NaN: false"),
    row(Prim::Ne, "ne", 2, Class::Compare, "any NaN: true"),
    row(Prim::Lt, "lt", 2, Class::Compare, "any NaN: false"),
    row(Prim::Le, "le", 2, Class::Compare, "any NaN: false"),
    row(Prim::Select, "select", 3, Class::Select, "c ? a : b; both sides are values"),
    row(Prim::Cast, "cast", 1, Class::Cast,
        "float->float: nearest even, overflow to inf, NaN stays NaN; float->int: truncates, saturates, NaN to 0; \
         int->float: nearest even; int->int: wraps; ->bool: x != 0; bool->: 0 or 1"),
    row(Prim::Bitcast, "bitcast", 1, Class::Bitcast,
        "same bits; only in function expansions, where a NaN's bits never reach a result"),
];

impl Prim {
    pub fn row(self) -> &'static Row {
        &PRIMS[self as usize]
    }

    pub fn name(self) -> &'static str {
        self.row().name
    }

    pub fn from_name(name: &str) -> Option<Prim> {
        PRIMS.iter().find(|r| r.name == name).map(|r| r.prim)
    }

    /// The dtype of the result, or what is wrong with the operands. `target` is what the expression asks
    /// for: only `cast` and `bitcast` look at it.
    pub fn result(self, args: &[DType], target: DType) -> Result<DType, String> {
        let row = self.row();
        if args.len() != row.arity {
            return Err(format!("{} takes {} operands, got {}", row.name, row.arity, args.len()));
        }
        let first = args[0];
        let same = args.iter().all(|&a| a == first);
        let ok = match row.class {
            Class::Number => same && first != DType::Bool,
            Class::Float => same && first.is_float(),
            Class::WideFloat => same && matches!(first, DType::F32 | DType::F64),
            Class::Int => same && first.is_int(),
            Class::Bits => same && !first.is_float(),
            Class::U32 => same && first == DType::U32,
            Class::Compare => same,
            Class::Select => first == DType::Bool && args[1] == args[2],
            Class::Cast => true,
            Class::Bitcast => matches!(
                (first, target),
                (DType::U32, DType::F32)
                    | (DType::F32, DType::U32)
                    | (DType::U64, DType::F64)
                    | (DType::F64, DType::U64)
            ),
        };
        if !ok {
            let list: Vec<&str> = args.iter().map(|a| a.name()).collect();
            return Err(format!("{} does not take ({})", row.name, list.join(", ")));
        }
        Ok(match row.class {
            Class::Compare => DType::Bool,
            Class::Select => args[1],
            Class::Cast | Class::Bitcast => target,
            _ => first,
        })
    }
}

impl fmt::Display for Prim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A typed constant: the bit pattern, zero-extended to 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lit {
    pub dtype: DType,
    pub bits: u64,
}

impl Lit {
    pub const TRUE: Lit = Lit { dtype: DType::Bool, bits: 1 };

    pub fn f32(x: f32) -> Lit {
        Lit { dtype: DType::F32, bits: x.to_bits().into() }
    }

    pub fn f64(x: f64) -> Lit {
        Lit { dtype: DType::F64, bits: x.to_bits() }
    }

    pub fn i64(x: i64) -> Lit {
        Lit { dtype: DType::I64, bits: x as u64 }
    }

    pub fn u32(x: u32) -> Lit {
        Lit { dtype: DType::U32, bits: x.into() }
    }

    pub fn u64(x: u64) -> Lit {
        Lit { dtype: DType::U64, bits: x }
    }

    pub fn bool(x: bool) -> Lit {
        Lit { dtype: DType::Bool, bits: x.into() }
    }

    /// The float nearest to `x` in `dtype`, rounded once; for integers the truncated, saturated value.
    pub fn float(dtype: DType, x: f64) -> Lit {
        let bits = match dtype {
            DType::F64 => x.to_bits(),
            DType::F32 => (x as f32).to_bits().into(),
            DType::F16 => f16::from_f32(narrow_odd(x)).to_bits().into(),
            DType::BF16 => bf16::from_f32(narrow_odd(x)).to_bits().into(),
            DType::I64 => x as i64 as u64,
            DType::I32 => (x as i32 as u32).into(),
            DType::I16 => (x as i16 as u16).into(),
            DType::I8 => (x as i8 as u8).into(),
            DType::U8 => (x as u8).into(),
            DType::U32 => (x as u32).into(),
            DType::U64 => x as u64,
            DType::Bool => u64::from(x != 0.0),
        };
        Lit { dtype, bits }
    }

    /// The integer `x` in `dtype`: wraps in integers, rounds once in floats.
    pub fn int(dtype: DType, x: i64) -> Lit {
        let bits = match dtype {
            DType::F64 => (x as f64).to_bits(),
            DType::F32 => (x as f32).to_bits().into(),
            DType::F16 | DType::BF16 => Lit::float(dtype, int_odd(x.into())).bits,
            DType::Bool => u64::from(x != 0),
            _ => x as u64 & mask(dtype),
        };
        Lit { dtype, bits }
    }

    pub fn zero(dtype: DType) -> Lit {
        Lit { dtype, bits: 0 }
    }

    /// The value of a float constant, exact; of an integer, nearest.
    pub fn as_f64(self) -> f64 {
        match self.dtype {
            DType::F64 => f64::from_bits(self.bits),
            DType::F32 => f32::from_bits(self.bits as u32).into(),
            DType::F16 => f16::from_bits(self.bits as u16).to_f64(),
            DType::BF16 => bf16::from_bits(self.bits as u16).to_f64(),
            DType::U64 => self.bits as f64,
            _ => self.as_i64().unwrap_or(0) as f64,
        }
    }

    /// The value of an integer or bool constant (u64 wraps); `None` for floats.
    pub fn as_i64(self) -> Option<i64> {
        let b = self.bits;
        Some(match self.dtype {
            DType::I64 | DType::U64 => b as i64,
            DType::I32 => (b as i32).into(),
            DType::I16 => (b as i16).into(),
            DType::I8 => (b as i8).into(),
            DType::U8 | DType::U32 | DType::Bool => b as i64,
            _ => return None,
        })
    }
}

/// To f32, rounded to odd: a further rounding to 11 bits or fewer then gives what one rounding would.
pub(crate) fn narrow_odd(x: f64) -> f32 {
    let y = x as f32;
    if x.is_nan() || f64::from(y) == x {
        return y;
    }
    let toward_zero = if f64::from(y).abs() > x.abs() { y.to_bits() - 1 } else { y.to_bits() };
    f32::from_bits(toward_zero | 1)
}

/// To f64, rounded to odd.
pub(crate) fn int_odd(x: i128) -> f64 {
    let y = x as f64;
    if y as i128 == x {
        return y;
    }
    let toward_zero = if (y as i128).abs() > x.abs() { y.to_bits() - 1 } else { y.to_bits() };
    f64::from_bits(toward_zero | 1)
}

/// The bits that a value of this dtype can have.
pub(crate) fn mask(dtype: DType) -> u64 {
    match dtype {
        DType::Bool => 1,
        d => u64::MAX >> (64 - 8 * d.size()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_follows_the_enum() {
        for (i, r) in PRIMS.iter().enumerate() {
            assert_eq!(r.prim as usize, i, "{}", r.name);
            assert_eq!(Prim::from_name(r.name), Some(r.prim));
        }
    }

    #[test]
    fn narrow_constants_round_once() {
        // Just above and below the tie between 1 and 1 + 2^-10; f32 alone would fall onto the tie.
        let tie = 1.0 + 2f64.powi(-11);
        assert_eq!(Lit::float(DType::F16, tie).bits, 0x3c00);
        assert_eq!(Lit::float(DType::F16, tie + 2f64.powi(-45)).bits, 0x3c01);
        assert_eq!(Lit::float(DType::F16, tie - 2f64.powi(-45)).bits, 0x3c00);
        assert_eq!(Lit::float(DType::F16, -65519.99).as_f64(), -65504.0);
        assert_eq!(Lit::float(DType::F16, 65520.0).as_f64(), f64::INFINITY);
        assert_eq!(Lit::int(DType::BF16, (1 << 62) + (1 << 54) + 1).as_f64(), 2f64.powi(62) + 2f64.powi(55));
        assert_eq!(Lit::int(DType::BF16, (1 << 62) + (1 << 54)).as_f64(), 2f64.powi(62));
    }

    #[test]
    fn typing() {
        use DType::*;
        assert_eq!(Prim::Add.result(&[F16, F16], F16), Ok(F16));
        assert_eq!(Prim::Lt.result(&[I64, I64], Bool), Ok(Bool));
        assert_eq!(Prim::Select.result(&[Bool, U8, U8], U8), Ok(U8));
        assert_eq!(Prim::Bitcast.result(&[F32], U32), Ok(U32));
        for (p, args) in [
            (Prim::Add, &[Bool, Bool][..]),
            (Prim::Add, &[F32, F64]),
            (Prim::Fma, &[I32, I32, I32]),
            (Prim::Fma, &[F16, F16, F16]),
            (Prim::Bitcast, &[F16]),
            (Prim::Umulhi, &[U64, U64]),
            (Prim::Neg, &[F32, F32]),
        ] {
            assert!(p.result(args, U32).is_err(), "{p} {args:?}");
        }
    }
}
