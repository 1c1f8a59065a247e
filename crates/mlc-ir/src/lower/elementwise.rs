//! Elementwise functions and casts: one or a few primitives each.

use mlc_diag::Diagnostic;
use smallvec::SmallVec;

use super::{Cost, Element, Emitter, Lower, Rule, Weight};
use crate::graph::Node;
use crate::loops::{BodyBuilder, ExprId, Func, Index, Prim};
use crate::op::{Cast, Elementwise, ScalarFn};
use crate::types::DType;

/// What a scalar function is made of.
enum Made {
    Prim(Prim),
    Func(Func),
    /// Built by [`composed`].
    Composed,
}

fn made(f: ScalarFn, float: bool) -> Made {
    use Made::{Func as F, Prim as P};
    match f {
        ScalarFn::Neg => P(Prim::Neg),
        ScalarFn::Abs => P(Prim::Abs),
        ScalarFn::Sqrt => P(Prim::Sqrt),
        ScalarFn::Floor => P(Prim::Floor),
        ScalarFn::Round => P(Prim::Rint),
        ScalarFn::Exp => F(Func::Exp),
        ScalarFn::Expm1 => F(Func::Expm1),
        ScalarFn::Log => F(Func::Log),
        ScalarFn::Log1p => F(Func::Log1p),
        ScalarFn::Sin => F(Func::Sin),
        ScalarFn::Cos => F(Func::Cos),
        ScalarFn::Tan => F(Func::Tan),
        ScalarFn::Tanh => F(Func::Tanh),
        ScalarFn::Erf => F(Func::Erf),
        ScalarFn::Sigmoid => F(Func::Sigmoid),
        ScalarFn::Not => P(Prim::Not),
        ScalarFn::Add => P(Prim::Add),
        ScalarFn::Sub => P(Prim::Sub),
        ScalarFn::Mul => P(Prim::Mul),
        ScalarFn::Div => P(Prim::Div),
        ScalarFn::FloorDiv if float => Made::Composed,
        ScalarFn::FloorDiv => P(Prim::Div),
        ScalarFn::Rem if float => Made::Composed,
        ScalarFn::Rem => P(Prim::Rem),
        ScalarFn::Pow => F(Func::Pow),
        ScalarFn::Atan2 => F(Func::Atan2),
        ScalarFn::Max => P(Prim::Max),
        ScalarFn::Min => P(Prim::Min),
        ScalarFn::And => P(Prim::And),
        ScalarFn::Or => P(Prim::Or),
        ScalarFn::Xor => P(Prim::Xor),
        ScalarFn::Shl => P(Prim::Shl),
        ScalarFn::Shr => P(Prim::Shr),
        ScalarFn::Eq => P(Prim::Eq),
        ScalarFn::Ne => P(Prim::Ne),
        ScalarFn::Lt => P(Prim::Lt),
        ScalarFn::Le => P(Prim::Le),
        ScalarFn::Select => P(Prim::Select),
    }
}

/// `f` applied to expressions.
pub fn apply(b: &mut BodyBuilder, f: ScalarFn, args: &[ExprId]) -> ExprId {
    let float = args.last().is_some_and(|&a| b.dtype(a).is_float());
    match made(f, float) {
        Made::Prim(p) => b.prim(p, args),
        Made::Func(f) => b.call(f, args),
        Made::Composed => composed(b, f, args),
    }
}

/// Floor quotient and remainder of floats. The remainder is `a - b*floor(a/b)` with one rounding, and then
/// brought to the divisor's sign, as the quotient may have rounded up to an integer; `a % inf` is a or inf.
/// Where the quotient has more digits than the dtype it says nothing about the remainder, which is 0 then.
/// The quotient is `(a - remainder) / b`, made an integer; by 0 it is a/b. As PyTorch's, infinities too.
/// Narrow floats take the way through f32, as they do in functions.
fn composed(b: &mut BodyBuilder, f: ScalarFn, args: &[ExprId]) -> ExprId {
    let dtype = b.dtype(args[0]);
    if matches!(dtype, DType::F16 | DType::BF16) {
        let wide = [b.cast(DType::F32, args[0]), b.cast(DType::F32, args[1])];
        let result = composed(b, f, &wide);
        return b.cast(dtype, result);
    }
    let (x, y) = (args[0], args[1]);
    let ratio = b.prim(Prim::Div, &[x, y]);
    let floor = b.prim(Prim::Floor, &[ratio]);
    let zero = b.float(dtype, 0.0);
    let minus = b.prim(Prim::Neg, &[floor]);
    let rest = b.prim(Prim::Fma, &[minus, y, x]);
    let none = b.prim(Prim::Eq, &[floor, zero]);
    let rest = b.prim(Prim::Select, &[none, x, rest]);
    let below = b.prim(Prim::Lt, &[rest, zero]);
    let divisor_below = b.prim(Prim::Lt, &[y, zero]);
    let differ = b.prim(Prim::Xor, &[below, divisor_below]);
    let nonzero = b.prim(Prim::Ne, &[rest, zero]);
    let wrong = b.prim(Prim::And, &[differ, nonzero]);
    if f == ScalarFn::Rem {
        let moved = b.prim(Prim::Add, &[rest, y]);
        let rest = b.prim(Prim::Select, &[wrong, moved, rest]);
        // A remainder of zero has the dividend's sign.
        let signed_zero = b.prim(Prim::Mul, &[x, zero]);
        let rest = b.prim(Prim::Select, &[nonzero, rest, signed_zero]);
        let beyond = quotient_beyond_digits(b, x, y, ratio);
        return b.prim(Prim::Select, &[beyond, zero, rest]);
    }
    let one = b.float(dtype, 1.0);
    let multiple = b.prim(Prim::Sub, &[x, rest]);
    let quotient = b.prim(Prim::Div, &[multiple, y]);
    let lower = b.prim(Prim::Sub, &[quotient, one]);
    let quotient = b.prim(Prim::Select, &[wrong, lower, quotient]);
    let whole = b.prim(Prim::Rint, &[quotient]);
    let by_zero = b.prim(Prim::Eq, &[y, zero]);
    b.prim(Prim::Select, &[by_zero, ratio, whole])
}

/// Are both finite, the divisor not 0, and the quotient at least 2 to the digits of the dtype?
fn quotient_beyond_digits(b: &mut BodyBuilder, x: ExprId, y: ExprId, ratio: ExprId) -> ExprId {
    let dtype = b.dtype(x);
    let infinity = b.float(dtype, f64::INFINITY);
    let least = b.float(dtype, if dtype == DType::F64 { 2f64.powi(53) } else { 2f64.powi(24) });
    let zero = b.float(dtype, 0.0);
    let (ratio, size) = (b.prim(Prim::Abs, &[ratio]), b.prim(Prim::Abs, &[x]));
    let large = b.prim(Prim::Le, &[least, ratio]);
    let finite = b.prim(Prim::Lt, &[size, infinity]);
    let divides = b.prim(Prim::Ne, &[y, zero]);
    let both = b.prim(Prim::And, &[large, finite]);
    b.prim(Prim::And, &[both, divides])
}

impl Lower for Elementwise {
    fn rule(&self) -> Rule<'_> {
        Rule::Element(self)
    }
}

impl Element for Elementwise {
    fn element(&self, e: &mut Emitter<'_>, node: &Node, coords: &[Index]) -> Result<ExprId, Diagnostic> {
        let mut args: SmallVec<[ExprId; 3]> = SmallVec::new();
        for &operand in &node.operands {
            args.push(e.value(operand, coords)?);
        }
        Ok(apply(&mut e.body, self.f, &args))
    }

    fn cost(&self, node: &Node) -> Cost {
        match made(self.f, node.results[0].dtype.is_float()) {
            Made::Prim(_) => Cost { exprs: 2, weight: Weight::Cheap },
            Made::Func(_) => Cost { exprs: 2, weight: Weight::Heavy },
            Made::Composed => Cost { exprs: 26, weight: Weight::Cheap },
        }
    }
}

impl Lower for Cast {
    fn rule(&self) -> Rule<'_> {
        Rule::Element(self)
    }
}

impl Element for Cast {
    fn element(&self, e: &mut Emitter<'_>, node: &Node, coords: &[Index]) -> Result<ExprId, Diagnostic> {
        let x = e.value(node.operands[0], coords)?;
        Ok(e.cast(self.to, x))
    }

    fn cost(&self, _: &Node) -> Cost {
        Cost { exprs: 2, weight: Weight::Cheap }
    }
}
