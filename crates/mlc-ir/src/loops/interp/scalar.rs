//! Primitives on typed bit patterns, as the table in [`crate::loops::scalar`] words them.

use half::{bf16, f16};

use crate::DType;
use crate::loops::body::{ExprId, ExprOp, LoopBody};
use crate::loops::functions;
use crate::loops::scalar::{Lit, Prim, int_odd, mask};

/// `prim(args)`: operands of dtype `from` (for `select` the dtype of its values), result of dtype `to`.
pub fn eval_prim(prim: Prim, from: DType, to: DType, args: [u64; 3]) -> u64 {
    let [a, b, c] = args;
    match prim {
        Prim::Select => {
            if a != 0 {
                b
            } else {
                c
            }
        }
        Prim::Cast => cast(from, to, a),
        Prim::Bitcast => a,
        _ => match from {
            DType::F32 => {
                let [x, y, z] = args.map(|v| f32::from_bits(v as u32));
                match float32(prim, x, y, z) {
                    Ok(v) => v.to_bits().into(),
                    Err(truth) => truth.into(),
                }
            }
            DType::F64 => {
                let [x, y, z] = args.map(f64::from_bits);
                match float64(prim, x, y, z) {
                    Ok(v) => v.to_bits(),
                    Err(truth) => truth.into(),
                }
            }
            DType::F16 | DType::BF16 => half(prim, from, a, b),
            DType::Bool => boolean(prim, a, b),
            _ => int(prim, from, a, b),
        },
    }
}

/// Float primitives: a value, or as `Err` a truth.
macro_rules! float {
    ($name:ident, $f:ty) => {
        fn $name(prim: Prim, a: $f, b: $f, c: $f) -> Result<$f, bool> {
            Ok(match prim {
                Prim::Add => a + b,
                Prim::Sub => a - b,
                Prim::Mul => a * b,
                Prim::Div => a / b,
                Prim::Fma => a.mul_add(b, c),
                Prim::Neg => -a,
                Prim::Abs => a.abs(),
                Prim::Max => {
                    if a > b || a.is_nan() {
                        a
                    } else {
                        b
                    }
                }
                Prim::Min => {
                    if a < b || a.is_nan() {
                        a
                    } else {
                        b
                    }
                }
                Prim::Sqrt => a.sqrt(),
                Prim::Floor => a.floor(),
                Prim::Rint => a.round_ties_even(),
                Prim::Eq => return Err(a == b),
                Prim::Ne => return Err(a != b),
                Prim::Lt => return Err(a < b),
                Prim::Le => return Err(a <= b),
                // Not float primitives: L1 keeps them out.
                _ => <$f>::NAN,
            })
        }
    };
}
float!(float32, f32);
float!(float64, f64);

/// In f32, then one rounding: for these operations the same as rounding once, as 24 >= 2 * 11 + 2.
fn half(prim: Prim, dtype: DType, a: u64, b: u64) -> u64 {
    let sign = 1 << 15;
    match prim {
        Prim::Neg => return a ^ sign,
        Prim::Abs => return a & !sign,
        _ => {}
    }
    let wide = |v: u64| Lit { dtype, bits: v }.as_f64() as f32;
    match float32(prim, wide(a), wide(b), 0.0) {
        Ok(v) => narrow(dtype, v),
        Err(truth) => truth.into(),
    }
}

fn narrow(dtype: DType, x: f32) -> u64 {
    match dtype {
        DType::F16 => f16::from_f32(x).to_bits().into(),
        _ => bf16::from_f32(x).to_bits().into(),
    }
}

fn boolean(prim: Prim, a: u64, b: u64) -> u64 {
    match prim {
        Prim::And => a & b,
        Prim::Or => a | b,
        Prim::Xor => a ^ b,
        Prim::Not => a ^ 1,
        Prim::Eq => u64::from(a == b),
        Prim::Ne => u64::from(a != b),
        Prim::Lt => u64::from(a < b),
        Prim::Le => u64::from(a <= b),
        _ => 0,
    }
}

fn int(prim: Prim, dtype: DType, a: u64, b: u64) -> u64 {
    // Exact in i128, then wrapped to the width.
    let wide = |bits: u64| -> i128 {
        let lit = Lit { dtype, bits };
        if dtype == DType::U64 { bits.into() } else { lit.as_i64().unwrap_or(0).into() }
    };
    let (x, y) = (wide(a), wide(b));
    let width = 8 * dtype.size() as u64;
    let count = (b & (width - 1)) as u32;
    let v = match prim {
        Prim::Add => x + y,
        Prim::Sub => x - y,
        Prim::Mul => x.wrapping_mul(y),
        Prim::Div => floor_div(x, y),
        Prim::Rem if y == 0 => 0,
        Prim::Rem => x - y * floor_div(x, y),
        Prim::Neg => -x,
        Prim::Abs => x.abs(),
        Prim::Max => x.max(y),
        Prim::Min => x.min(y),
        Prim::And => x & y,
        Prim::Or => x | y,
        Prim::Xor => x ^ y,
        Prim::Not => !x,
        Prim::Shl => x.wrapping_shl(count),
        Prim::Shr => x >> count,
        Prim::Umulhi => (x * y) >> 32,
        Prim::Eq => (x == y).into(),
        Prim::Ne => (x != y).into(),
        Prim::Lt => (x < y).into(),
        Prim::Le => (x <= y).into(),
        // Not integer primitives: L1 keeps them out.
        _ => 0,
    };
    v as u64 & mask(dtype)
}

fn floor_div(x: i128, y: i128) -> i128 {
    if y == 0 {
        return 0;
    }
    let q = x / y;
    if x % y != 0 && (x < 0) != (y < 0) { q - 1 } else { q }
}

/// The `cast` primitive.
pub fn cast(from: DType, to: DType, bits: u64) -> u64 {
    let x = Lit { dtype: from, bits };
    if from == to {
        return bits;
    }
    if from.is_float() {
        return match to {
            DType::F32 if from != DType::F64 => (x.as_f64() as f32).to_bits().into(),
            _ => Lit::float(to, x.as_f64()).bits,
        };
    }
    let exact: i128 = if from == DType::U64 { bits.into() } else { x.as_i64().unwrap_or(0).into() };
    match to {
        DType::F64 => (exact as f64).to_bits(),
        DType::F32 => (exact as f32).to_bits().into(),
        DType::F16 | DType::BF16 => Lit::float(to, int_odd(exact)).bits,
        DType::Bool => u64::from(exact != 0),
        _ => exact as u64 & mask(to),
    }
}

/// The value of an expression that reads neither memory nor axes, as constants and folded code are. Panics on
/// others.
pub fn eval_scalar(body: &LoopBody, id: ExprId) -> Lit {
    let mut values: Vec<u64> = Vec::with_capacity(id.ix() + 1);
    for e in &body.exprs[..=id.ix()] {
        let v = match &e.op {
            ExprOp::Const(lit) => lit.bits,
            ExprOp::Prim(p, args) => {
                let mut v = [0; 3];
                for (v, a) in v.iter_mut().zip(args) {
                    *v = values[a.ix()];
                }
                let typed = if *p == Prim::Select { args[1] } else { args[0] };
                eval_prim(*p, body.expr(typed).dtype, e.dtype, v)
            }
            ExprOp::Fn(f, args) => {
                let v: Vec<u64> = args.iter().map(|a| values[a.ix()]).collect();
                functions::eval(*f, e.dtype, &v)
            }
            op => panic!("not a scalar expression: {op:?}"),
        };
        values.push(v);
    }
    Lit { dtype: body.expr(id).dtype, bits: values[id.ix()] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(prim: Prim, d: DType, a: Lit, b: Lit, want: Lit) {
        assert_eq!(eval_prim(prim, d, want.dtype, [a.bits, b.bits, 0]), want.bits, "{prim} {a:?} {b:?}");
    }

    #[test]
    fn integers_are_total() {
        let i = |x: i64| Lit::int(DType::I32, x);
        let min = i32::MIN.into();
        for (p, a, b, want) in [
            (Prim::Div, 7, 2, 3),
            (Prim::Div, -7, 2, -4),
            (Prim::Div, 7, -2, -4),
            (Prim::Div, 5, 0, 0),
            (Prim::Div, min, -1, min),
            (Prim::Rem, -7, 2, 1),
            (Prim::Rem, 7, -2, -1),
            (Prim::Rem, 5, 0, 0),
            (Prim::Rem, min, -1, 0),
            (Prim::Add, i32::MAX.into(), 1, min),
            (Prim::Mul, 1 << 20, 1 << 20, 0),
            (Prim::Shl, 1, 33, 2),
            (Prim::Shr, -8, 1, -4),
            (Prim::Abs, min, 0, min),
            (Prim::Neg, min, 0, min),
            (Prim::Max, -1, 1, 1),
            (Prim::Not, 0, 0, -1),
        ] {
            check(p, DType::I32, i(a), i(b), i(want));
        }
        check(Prim::Max, DType::U64, Lit::u64(u64::MAX), Lit::u64(1), Lit::u64(u64::MAX));
        check(Prim::Shr, DType::U32, Lit::u32(1 << 31), Lit::u32(31), Lit::u32(1));
        check(Prim::Umulhi, DType::U32, Lit::u32(u32::MAX), Lit::u32(u32::MAX), Lit::u32(u32::MAX - 1));
        check(Prim::Mul, DType::U64, Lit::u64(u64::MAX), Lit::u64(u64::MAX), Lit::u64(1));
    }

    #[test]
    fn floats_keep_nan_and_signs() {
        let f = Lit::f32;
        check(Prim::Max, DType::F32, f(0.0), f(-0.0), f(-0.0));
        check(Prim::Max, DType::F32, f(-0.0), f(0.0), f(0.0));
        check(Prim::Min, DType::F32, f(-0.0), f(0.0), f(0.0));
        for p in [Prim::Max, Prim::Min] {
            for (a, b) in [(f32::NAN, 1.0), (1.0, f32::NAN)] {
                let v = eval_prim(p, DType::F32, DType::F32, [f(a).bits, f(b).bits, 0]);
                assert!(f32::from_bits(v as u32).is_nan());
            }
        }
        check(Prim::Lt, DType::F32, f(f32::NAN), f(1.0), Lit::bool(false));
        check(Prim::Ne, DType::F32, f(f32::NAN), f(f32::NAN), Lit::bool(true));
        check(Prim::Rint, DType::F32, f(2.5), f(0.0), f(2.0));
        check(Prim::Rint, DType::F32, f(-0.5), f(0.0), f(-0.0));
        check(Prim::Neg, DType::F16, Lit::float(DType::F16, 0.0), f(0.0), Lit::float(DType::F16, -0.0));
    }

    #[test]
    fn casts() {
        let c = |x: Lit, to| Lit { dtype: to, bits: cast(x.dtype, to, x.bits) };
        assert_eq!(c(Lit::f32(f32::NAN), DType::I32).as_i64(), Some(0));
        assert_eq!(c(Lit::f32(3e9), DType::I32).as_i64(), Some(i32::MAX.into()));
        assert_eq!(c(Lit::f32(-1.9), DType::U8).as_i64(), Some(0));
        assert_eq!(c(Lit::f32(300.0), DType::U8).as_i64(), Some(255));
        assert_eq!(c(Lit::i64(300), DType::U8).as_i64(), Some(44));
        assert_eq!(c(Lit::f32(f32::NAN), DType::Bool), Lit::bool(true));
        assert_eq!(c(Lit::f32(-0.0), DType::Bool), Lit::bool(false));
        assert_eq!(c(Lit::f64(1e39), DType::F32), Lit::f32(f32::INFINITY));
        assert_eq!(c(Lit::i64((1 << 24) + 1), DType::F32), Lit::f32(16777216.0));
        assert_eq!(c(Lit::u64(u64::MAX), DType::F32), Lit::f32(1.8446744e19));
        assert_eq!(c(Lit::i64(-1), DType::U32), Lit::u32(u32::MAX));
    }
}
