//! Identities of elementwise functions and casts, each with its equation.
//!
//! An identity is here only if it holds for every value of the dtype: NaN (whose bits are unspecified),
//! infinities, and both zeros.

use mlc_ir::DType;
use mlc_ir::graph::{Node, ValueId};
use mlc_ir::op::{Broadcast, Cast, Constant, Elementwise, Literal, Op, ScalarFn};
use mlc_ir::types::{DTypeKind, Type};
use smallvec::{SmallVec, smallvec};

use super::{Rewrite, Rewriter};

/// Rules for `f`, by what stands on its operands.
pub(super) fn elementwise(g: &mut Rewriter<'_>, node: &Node, f: ScalarFn) -> Option<Rewrite> {
    let x = node.operands[0];
    match f {
        // -(-x) = x ; !!x = x ; |-x| = |x| ; ||x|| = |x|
        ScalarFn::Neg | ScalarFn::Not => inner(g, x, f).map(|i| Rewrite::Value(i[0])),
        ScalarFn::Abs => {
            let i = inner(g, x, ScalarFn::Neg);
            i.map(|i| map(f, &[i[0]])).or_else(|| inner(g, x, f).map(|_| Rewrite::Value(x)))
        }
        ScalarFn::Add | ScalarFn::Sub => sum(g, node, f),
        ScalarFn::Mul => product(g, node),
        ScalarFn::Div => quotient(g, node),
        // max(x, x) = x, and so for min, and, or
        ScalarFn::Max | ScalarFn::Min | ScalarFn::And | ScalarFn::Or => {
            (x == node.operands[1]).then_some(Rewrite::Value(x))
        }
        ScalarFn::Select => select(g, node),
        _ => None,
    }
}

fn sum(g: &Rewriter<'_>, node: &Node, f: ScalarFn) -> Option<Rewrite> {
    let (x, y) = (node.operands[0], node.operands[1]);
    // x + (-0.0) = x and x - 0.0 = x for floats; with the other zero, x = -0 would become +0.
    // x + 0 = x and x - 0 = x for integers.
    let neutral = |v: ValueId, negative: bool| {
        g.splat(v).is_some_and(|l| {
            l.as_scalar().is_some_and(|c| {
                c == 0.0
                    && match l.dtype().kind() {
                        DTypeKind::Float => c.is_sign_negative() == negative,
                        _ => true,
                    }
            })
        })
    };
    if neutral(y, f == ScalarFn::Add) {
        return Some(Rewrite::Value(x));
    }
    if f == ScalarFn::Add && neutral(x, true) {
        return Some(Rewrite::Value(y));
    }
    // x + (-y) = x - y ; x - (-y) = x + y ; (-x) + y = y - x
    if let Some(i) = inner(g, y, ScalarFn::Neg) {
        let other = if f == ScalarFn::Add { ScalarFn::Sub } else { ScalarFn::Add };
        return Some(map(other, &[x, i[0]]));
    }
    let i = inner(g, x, ScalarFn::Neg).filter(|_| f == ScalarFn::Add)?;
    Some(map(ScalarFn::Sub, &[y, i[0]]))
}

fn product(g: &Rewriter<'_>, node: &Node) -> Option<Rewrite> {
    let (x, y) = (node.operands[0], node.operands[1]);
    for (a, b) in [(x, y), (y, x)] {
        match g.splat(b).and_then(Literal::as_scalar) {
            // x * 1 = x
            Some(1.0) => return Some(Rewrite::Value(a)),
            // x * -1 = -x
            Some(-1.0) => return Some(map(ScalarFn::Neg, &[a])),
            _ => {}
        }
    }
    None
}

fn quotient(g: &mut Rewriter<'_>, node: &Node) -> Option<Rewrite> {
    let (x, y) = (node.operands[0], node.operands[1]);
    let c = g.splat(y)?.as_scalar()?;
    // x / 1 = x ; x / -1 = -x
    if c == 1.0 {
        return Some(Rewrite::Value(x));
    }
    if c == -1.0 {
        return Some(map(ScalarFn::Neg, &[x]));
    }
    // x / 2^n = x * 2^-n: both round the same real number.
    let dtype = g.ty(y).dtype;
    let inverse = Literal::scalar(dtype, exact_inverse(dtype, c)?);
    let ty = g.ty(y).clone();
    let scalar = Type::scalar(dtype).on(ty.device);
    let v = g.also(Constant { value: inverse }, &[], scalar, node.prov);
    let v = if ty.rank() == 0 {
        v
    } else {
        let shape = ty.shape.clone();
        g.also(Broadcast { shape, axes: vec![] }, &[v], ty, node.prov)
    };
    Some(map(ScalarFn::Mul, &[x, v]))
}

/// `1/c` where `c` is a power of two and `1/c` a normal number of the dtype.
fn exact_inverse(dtype: DType, c: f64) -> Option<f64> {
    let power_of_two = c.is_normal() && c.to_bits() << 12 == 0;
    let limit = match dtype {
        DType::F64 => 1022,
        DType::F32 | DType::BF16 => 126,
        DType::F16 => 14,
        _ => return None,
    };
    let exponent = ((c.to_bits() >> 52) & 0x7ff) as i64 - 1023;
    (power_of_two && exponent.abs() <= limit).then(|| 1.0 / c)
}

fn select(g: &Rewriter<'_>, node: &Node) -> Option<Rewrite> {
    let (c, a, b) = (node.operands[0], node.operands[1], node.operands[2]);
    // select(true, a, b) = a ; select(false, a, b) = b ; select(c, a, a) = a
    if let Some(value) = g.splat(c).and_then(Literal::as_scalar) {
        return Some(Rewrite::Value(if value != 0.0 { a } else { b }));
    }
    if a == b {
        return Some(Rewrite::Value(a));
    }
    // select(!c, a, b) = select(c, b, a)
    let i = inner(g, c, ScalarFn::Not)?;
    Some(map(ScalarFn::Select, &[i[0], b, a]))
}

/// Casts to the dtype a value has, and casts of casts whose first step loses nothing.
pub(super) fn cast(g: &Rewriter<'_>, node: &Node, to: DType) -> Option<Rewrite> {
    let x = node.operands[0];
    let middle = g.ty(x).dtype;
    if middle == to {
        return Some(Rewrite::Value(x));
    }
    let inner = g.below(x)?;
    let Op::Cast(_) = &inner.op else { return None };
    let from = g.ty(inner.operands[0]).dtype;
    // cast(cast(x, wide), to) = cast(x, to)
    skips_middle(from, middle, to).then(|| Rewrite::Op(Cast { to }.into(), inner.operands.clone()))
}

/// Is `from -> middle -> to` the same function as `from -> to`?
fn skips_middle(from: DType, middle: DType, to: DType) -> bool {
    // Integers wrap, but floats saturate on their way to an integer.
    let saturates = from.is_int() && middle.is_float() && to.is_int();
    widens(from, middle) && (!saturates || widens(from, to))
}

/// Is every value of `from` one of `to`?
fn widens(from: DType, to: DType) -> bool {
    /// Value bits of an integer, or digits of a float's significand.
    fn digits(d: DType) -> u32 {
        match d {
            DType::Bool => 1,
            DType::F64 => 53,
            DType::F32 => 24,
            DType::F16 => 11,
            DType::BF16 => 8,
            _ => d.size() as u32 * 8 - d.is_signed_int() as u32,
        }
    }
    /// Greatest exponent of a float.
    fn range(d: DType) -> u32 {
        match d {
            DType::F64 => 1023,
            DType::F32 | DType::BF16 => 127,
            _ => 15,
        }
    }
    match (from.kind(), to.kind()) {
        _ if from == to => true,
        (DTypeKind::Float, DTypeKind::Float) => digits(from) <= digits(to) && range(from) <= range(to),
        (DTypeKind::Float, _) | (DTypeKind::Int, DTypeKind::Bool) => false,
        (DTypeKind::Bool, _) => true,
        // The least signed integer is a power of two, which has one digit.
        (DTypeKind::Int, DTypeKind::Float) => digits(from) <= digits(to) && digits(from) <= range(to),
        (DTypeKind::Int, DTypeKind::Int) => {
            digits(from) <= digits(to) && (!from.is_signed_int() || to.is_signed_int())
        }
    }
}

/// f(broadcast(a), broadcast(b)) = broadcast(f(a, b)), where all broadcast alike: compute, then repeat.
pub(super) fn sink_broadcast(g: &mut Rewriter<'_>, node: &Node) -> Option<Rewrite> {
    let mut operands: SmallVec<[ValueId; 3]> = smallvec![];
    let mut first: Option<&Broadcast> = None;
    for &v in &node.operands {
        let from = g.below(v)?;
        let Op::Broadcast(b) = &from.op else { return None };
        let source = from.operands[0];
        if first.is_some_and(|f| f != b || g.ty(operands[0]).shape != g.ty(source).shape) {
            return None;
        }
        first = Some(b);
        operands.push(source);
    }
    let broadcast = first?.clone();
    let mut ty = node.results[0].clone();
    ty.shape = g.ty(operands[0]).shape.clone();
    let v = g.also(node.op.clone(), &operands, ty, node.prov);
    Some(Rewrite::Op(broadcast.into(), smallvec![v]))
}

fn map(f: ScalarFn, operands: &[ValueId]) -> Rewrite {
    Rewrite::Op(Elementwise { f }.into(), operands.into())
}

/// The operands of `v` if it is an application of `f`.
fn inner(g: &Rewriter<'_>, v: ValueId, f: ScalarFn) -> Option<SmallVec<[ValueId; 3]>> {
    let node = g.below(v)?;
    matches!(&node.op, Op::Elementwise(op) if op.f == f).then(|| node.operands.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_skip_only_what_changes_nothing() {
        use DType::*;
        assert!(skips_middle(F16, F32, F16));
        assert!(skips_middle(U8, F32, F64));
        assert!(skips_middle(I8, I64, U8));
        assert!(skips_middle(Bool, F32, I8));
        // 300 (i16) -> f32 -> i8 saturates at 127, 300 -> i8 wraps to 44.
        assert!(!skips_middle(I16, F32, I8));
        assert!(!skips_middle(F32, F16, F32));
        assert!(!skips_middle(F16, BF16, F32));
        assert!(!skips_middle(I32, F32, F64));
        assert!(!skips_middle(U8, I8, I16));
        assert!(!skips_middle(U64, I64, F32));
        // -1 (i8) -> u64 is not -1.
        assert!(!skips_middle(I8, U64, F32));
        assert!(!skips_middle(U32, F16, F32));
    }

    #[test]
    fn inverses_only_of_powers_of_two() {
        assert_eq!(exact_inverse(DType::F32, 8.0), Some(0.125));
        assert_eq!(exact_inverse(DType::F32, -0.5), Some(-2.0));
        for c in [3.0, 0.0, f64::INFINITY, f64::NAN, 2f64.powi(127)] {
            assert_eq!(exact_inverse(DType::F32, c), None, "{c}");
        }
        assert_eq!(exact_inverse(DType::F16, 2f64.powi(15)), None);
        assert_eq!(exact_inverse(DType::I32, 2.0), None);
    }
}
