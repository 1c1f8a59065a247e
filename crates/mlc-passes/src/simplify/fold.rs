//! Constant folding, where the folded bits are those that a kernel would compute.
//!
//! Exact ops and correctly rounded ones only: IEEE arithmetic of this machine, integers that wrap,
//! comparisons, selects, casts. Functions with an expansion (`exp`, `sin`, ..) stay for the kernels.

use mlc_ir::DType;
use mlc_ir::graph::{Node, ValueId};
use mlc_ir::op::{Constant, Literal, Op, ScalarFn};
use mlc_ir::types::DTypeKind;
use smallvec::smallvec;

use super::{Rewrite, Rewriter};

/// One element.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Value {
    /// Exactly representable in the float dtype.
    Float(f64),
    /// Within the integer dtype's range; 0 or 1 for bool.
    Int(i128),
}

pub(super) fn fold(g: &Rewriter<'_>, node: &Node) -> Option<Rewrite> {
    let dtype = node.results[0].dtype;
    let value = match &node.op {
        Op::DimScalar(op) => Literal::int(DType::I64, op.dim.as_const()?),
        Op::Elementwise(op) => {
            let mut values = [Value::Int(0); 3];
            let mut operand = dtype;
            for (slot, &v) in values.iter_mut().zip(&node.operands) {
                operand = g.ty(v).dtype;
                *slot = scalar(g, node, v)?;
            }
            encode(dtype, apply(op.f, operand, values)?)
        }
        Op::Cast(op) => encode(op.to, convert(scalar(g, node, node.operands[0])?, op.to)),
        Op::Reshape(_) => {
            let Op::Constant(c) = &g.below(node.operands[0])?.op else { return None };
            let shape = node.results[0].bound_shape()?.iter().map(|&d| d as u64).collect();
            Literal::new(c.value.dtype(), shape, c.value.shared_bytes())?
        }
        _ => return None,
    };
    Some(Rewrite::Op(Constant { value }.into(), smallvec![]))
}

/// The value of a scalar constant operand on the node's device.
fn scalar(g: &Rewriter<'_>, node: &Node, v: ValueId) -> Option<Value> {
    let Op::Constant(c) = &g.below(v)?.op else { return None };
    let here = g.ty(v).device == node.results[0].device;
    (c.value.shape().is_empty() && here).then(|| decode(&c.value)).flatten()
}

fn decode(l: &Literal) -> Option<Value> {
    let b = l.bytes();
    if l.dtype().is_float() {
        return l.as_scalar().map(Value::Float);
    }
    let mut wide = [0u8; 8];
    // Constants hold native bytes.
    if cfg!(target_endian = "little") {
        wide.get_mut(..b.len())?.copy_from_slice(b);
    } else {
        wide.get_mut(8 - b.len()..)?.copy_from_slice(b);
    }
    let raw = u64::from_ne_bytes(wide);
    Some(Value::Int(wrap(raw as i128, l.dtype())))
}

fn encode(dtype: DType, v: Value) -> Literal {
    match v {
        Value::Float(x) => Literal::scalar(dtype, x),
        // The low 64 bits are those of the dtype, whatever its sign.
        Value::Int(n) => Literal::int(dtype, n as i64),
    }
}

/// The value that the dtype's bits make of `n`.
fn wrap(n: i128, dtype: DType) -> i128 {
    let bits = dtype.size() as u32 * 8;
    match dtype {
        DType::Bool => (n != 0) as i128,
        _ if dtype.is_signed_int() => n << (128 - bits) >> (128 - bits),
        _ => n & ((1i128 << bits) - 1),
    }
}

/// Rounds an f64 to the float dtype.
fn round(x: f64, dtype: DType) -> f64 {
    Literal::scalar(dtype, x).as_scalar().unwrap_or(x)
}

fn convert(v: Value, to: DType) -> Value {
    match (v, to.kind()) {
        (Value::Float(x), DTypeKind::Float) => Value::Float(round(x, to)),
        (Value::Float(x), DTypeKind::Int) => {
            let bits = to.size() as u32 * 8;
            let (low, high) = if to.is_signed_int() {
                (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)
            } else {
                (0, (1i128 << bits) - 1)
            };
            // Truncates, saturates, NaN to 0.
            Value::Int((x as i128).clamp(low, high))
        }
        (Value::Float(x), DTypeKind::Bool) => Value::Int((x != 0.0) as i128),
        (Value::Int(n), DTypeKind::Float) => Value::Float(match to {
            // Each with one rounding.
            DType::F64 => n as f64,
            DType::F32 => f64::from(n as f32),
            // f32 holds these exactly; larger integers would be rounded twice.
            _ if n.unsigned_abs() <= 1 << 24 => round(n as f64, to),
            _ => round_to_odd(n, to),
        }),
        (Value::Int(n), _) => Value::Int(wrap(n, to)),
    }
}

/// `n` rounded once to a narrow float: through an odd significand, which no second rounding changes.
fn round_to_odd(n: i128, to: DType) -> f64 {
    let shift = (128 - n.unsigned_abs().leading_zeros()).saturating_sub(50);
    let kept = n.unsigned_abs() >> shift;
    let sticky = (kept << shift != n.unsigned_abs()) as u128;
    let magnitude = (kept | sticky) as f64 * 2f64.powi(shift as i32);
    round(if n < 0 { -magnitude } else { magnitude }, to)
}

/// `f` on values of dtype `d`; `None` for what is not folded.
fn apply(f: ScalarFn, d: DType, v: [Value; 3]) -> Option<Value> {
    if f == ScalarFn::Select {
        return Some(if v[0] == Value::Int(0) { v[2] } else { v[1] });
    }
    match (v[0], v[1]) {
        (Value::Float(a), b) => {
            let b = if let Value::Float(b) = b { b } else { 0.0 };
            float(f, d, a, b)
        }
        (Value::Int(a), Value::Int(b)) => int(f, d, a, b),
        (Value::Int(_), Value::Float(_)) => None,
    }
}

fn float(f: ScalarFn, d: DType, a: f64, b: f64) -> Option<Value> {
    // In f32 (or f64) and then rounded to the dtype. For f16 and bf16 the second rounding is harmless:
    // f32 has more than twice their digits.
    let arithmetic = |wide: fn(f64, f64) -> f64, narrow: fn(f32, f32) -> f32| {
        Some(Value::Float(match d {
            DType::F64 => wide(a, b),
            _ => round(f64::from(narrow(a as f32, b as f32)), d),
        }))
    };
    let truth = |t: bool| Some(Value::Int(t as i128));
    match f {
        ScalarFn::Neg => Some(Value::Float(-a)),
        ScalarFn::Abs => Some(Value::Float(a.abs())),
        ScalarFn::Floor => Some(Value::Float(a.floor())),
        ScalarFn::Round => Some(Value::Float(a.round_ties_even())),
        ScalarFn::Sqrt => arithmetic(|a, _| a.sqrt(), |a, _| a.sqrt()),
        ScalarFn::Add => arithmetic(|a, b| a + b, |a, b| a + b),
        ScalarFn::Sub => arithmetic(|a, b| a - b, |a, b| a - b),
        ScalarFn::Mul => arithmetic(|a, b| a * b, |a, b| a * b),
        ScalarFn::Div => arithmetic(|a, b| a / b, |a, b| a / b),
        ScalarFn::Max => Some(Value::Float(if a > b || a.is_nan() { a } else { b })),
        ScalarFn::Min => Some(Value::Float(if a < b || a.is_nan() { a } else { b })),
        ScalarFn::Eq => truth(a == b),
        ScalarFn::Ne => truth(a != b),
        ScalarFn::Lt => truth(a < b),
        ScalarFn::Le => truth(a <= b),
        _ => None,
    }
}

fn int(f: ScalarFn, d: DType, a: i128, b: i128) -> Option<Value> {
    let count = || (b & (d.size() as i128 * 8 - 1)) as u32;
    let n = match f {
        ScalarFn::Neg => -a,
        ScalarFn::Abs => a.abs(),
        ScalarFn::Not if d == DType::Bool => (a == 0) as i128,
        ScalarFn::Not => !a,
        ScalarFn::Add => a + b,
        ScalarFn::Sub => a - b,
        // The low 64 bits are right even where u64 * u64 leaves i128.
        ScalarFn::Mul => a.wrapping_mul(b),
        // MIN / -1 is MIN: it wraps.
        ScalarFn::FloorDiv if b == 0 => 0,
        ScalarFn::FloorDiv => a.div_euclid(b) - ((b < 0 && a.rem_euclid(b) != 0) as i128),
        ScalarFn::Rem if b == 0 => 0,
        ScalarFn::Rem => a.rem_euclid(b) + if b < 0 && a.rem_euclid(b) != 0 { b } else { 0 },
        ScalarFn::Max => a.max(b),
        ScalarFn::Min => a.min(b),
        ScalarFn::And => a & b,
        ScalarFn::Or => a | b,
        ScalarFn::Xor => a ^ b,
        ScalarFn::Shl => a.wrapping_shl(count()),
        ScalarFn::Shr => a >> count(),
        ScalarFn::Eq => (a == b) as i128,
        ScalarFn::Ne => (a != b) as i128,
        ScalarFn::Lt => (a < b) as i128,
        ScalarFn::Le => (a <= b) as i128,
        _ => return None,
    };
    // Comparisons give 0 or 1, which every dtype's wrap keeps.
    Some(Value::Int(wrap(n, d)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ints(f: ScalarFn, d: DType, a: i128, b: i128) -> i128 {
        match int(f, d, a, b) {
            Some(Value::Int(n)) => n,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn integer_division_is_floor_and_total() {
        for (a, b, q, r) in [
            (7, 2, 3, 1),
            (-7, 2, -4, 1),
            (7, -2, -4, -1),
            (-7, -2, 3, -1),
            (5, 0, 0, 0),
            (-128, -1, -128, 0),
        ] {
            assert_eq!(ints(ScalarFn::FloorDiv, DType::I8, a, b), q, "{a} / {b}");
            assert_eq!(ints(ScalarFn::Rem, DType::I8, a, b), r, "{a} % {b}");
        }
    }

    #[test]
    fn integers_wrap() {
        assert_eq!(ints(ScalarFn::Add, DType::I8, 127, 1), -128);
        assert_eq!(ints(ScalarFn::Neg, DType::U8, 1, 0), 255);
        let big = u64::MAX as i128;
        assert_eq!(ints(ScalarFn::Mul, DType::U64, big, big), 1);
        assert_eq!(ints(ScalarFn::Shl, DType::U32, 1, 33), 2);
        assert_eq!(ints(ScalarFn::Shr, DType::I16, -4, 1), -2);
    }

    #[test]
    fn conversions_follow_the_primitive() {
        assert_eq!(convert(Value::Float(f64::NAN), DType::I32), Value::Int(0));
        assert_eq!(convert(Value::Float(300.9), DType::U8), Value::Int(255));
        assert_eq!(convert(Value::Float(-1.5), DType::I8), Value::Int(-1));
        assert_eq!(convert(Value::Int(300), DType::I8), Value::Int(44));
        assert_eq!(convert(Value::Float(f64::NAN), DType::Bool), Value::Int(1));
        assert_eq!(convert(Value::Float(1e300), DType::F32), Value::Float(f64::INFINITY));
        assert_eq!(convert(Value::Int(1 << 40), DType::F16), Value::Float(f64::INFINITY));
        // 2^25 + 2^17 is halfway between two bf16 numbers; one more decides.
        let halfway = (1i128 << 25) + (1 << 17);
        assert_eq!(convert(Value::Int(halfway), DType::BF16), Value::Float((1i128 << 25) as f64));
        assert_eq!(
            convert(Value::Int(halfway + 1), DType::BF16),
            Value::Float(((1i128 << 25) + (1 << 18)) as f64)
        );
    }

    #[test]
    fn literals_of_every_integer_dtype_read_back() {
        for (d, n) in [
            (DType::I8, -3),
            (DType::U8, 200),
            (DType::I64, i64::MIN as i128),
            (DType::U64, u64::MAX as i128),
            (DType::U32, u32::MAX as i128),
            (DType::Bool, 1),
        ] {
            assert_eq!(decode(&encode(d, Value::Int(n))), Some(Value::Int(n)), "{d}");
        }
    }

    #[test]
    fn maximum_keeps_nan_and_the_second_zero() {
        let Some(Value::Float(z)) = float(ScalarFn::Max, DType::F32, 0.0, -0.0) else { panic!() };
        assert!(z.is_sign_negative());
        let Some(Value::Float(n)) = float(ScalarFn::Max, DType::F32, f64::NAN, 1.0) else { panic!() };
        assert!(n.is_nan());
    }
}
