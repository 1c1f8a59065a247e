//! Elementwise functions and casts: one or a few primitives each.

use mlc_diag::Diagnostic;
use smallvec::SmallVec;

use super::{Cost, Element, Emitter, Lower, Rule, Weight};
use crate::graph::Node;
use crate::loops::{BodyBuilder, ExprId, Func, Index, Prim};
use crate::op::{Cast, Elementwise, ScalarFn};

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
fn composed(b: &mut BodyBuilder, f: ScalarFn, args: &[ExprId]) -> ExprId {
    let (x, y) = (args[0], args[1]);
    let ratio = b.prim(Prim::Div, &[x, y]);
    let floor = b.prim(Prim::Floor, &[ratio]);
    if f == ScalarFn::FloorDiv {
        return floor;
    }
    let zero = b.float(b.dtype(x), 0.0);
    let minus = b.prim(Prim::Neg, &[floor]);
    let rest = b.prim(Prim::Fma, &[minus, y, x]);
    let none = b.prim(Prim::Eq, &[floor, zero]);
    let rest = b.prim(Prim::Select, &[none, x, rest]);
    let below = b.prim(Prim::Lt, &[rest, zero]);
    let divisor_below = b.prim(Prim::Lt, &[y, zero]);
    let differ = b.prim(Prim::Xor, &[below, divisor_below]);
    let nonzero = b.prim(Prim::Ne, &[rest, zero]);
    let wrong = b.prim(Prim::And, &[differ, nonzero]);
    let moved = b.prim(Prim::Add, &[rest, y]);
    b.prim(Prim::Select, &[wrong, moved, rest])
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
            Made::Composed => Cost { exprs: 14, weight: Weight::Cheap },
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
