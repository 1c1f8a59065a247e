//! Reductions: over trailing axes a row reduction, over leading axes a column tail. Decompose brings every
//! reduction into one of these forms.

use mlc_diag::Diagnostic;

use super::coords::row_major;
use super::{Domain, Draft, Emitter, Homes, Lower, Need, OwnKernel, Rule};
use crate::DType;
use crate::graph::{Graph, Node, ValueId};
use crate::loops::{Kind, Mode, RedOp};
use crate::op::{Reduce, ReduceKind};

impl Lower for Reduce {
    fn rule(&self) -> Rule<'_> {
        Rule::Kernel(self)
    }
}

/// The loop IR's operator.
pub fn red_op(kind: ReduceKind) -> RedOp {
    match kind {
        ReduceKind::Sum => RedOp::Sum,
        ReduceKind::Prod => RedOp::Prod,
        ReduceKind::Max => RedOp::Max,
        ReduceKind::Min => RedOp::Min,
        ReduceKind::ArgMax => RedOp::ArgMax,
        ReduceKind::ArgMin => RedOp::ArgMin,
        ReduceKind::And => RedOp::And,
        ReduceKind::Or => RedOp::Or,
    }
}

/// The dtype in which partial results are held: at least f32 (L11).
pub fn accumulator(dtype: DType) -> DType {
    if matches!(dtype, DType::F16 | DType::BF16) { DType::F32 } else { dtype }
}

impl OwnKernel for Reduce {
    fn kernel(&self, cx: &Homes<'_>, v: ValueId) -> Result<Draft, Diagnostic> {
        let x = cx.graph.node(v.node).operands[0];
        let shape = cx.shape(x)?;
        let (kept, reduced) = (shape.len() - self.axes.len(), self.axes.len());
        if self.axes.iter().copied().eq(kept..shape.len()) {
            rows(self, cx, v, &shape)
        } else if self.axes.iter().copied().eq(0..reduced) {
            columns(self, cx, v, &shape)
        } else {
            Err(Diagnostic::bug(format!("{v}: a reduction over axes {:?} was not decomposed", self.axes)))
        }
    }

    fn need(&self, _: &Graph, _: &Node, _: usize) -> Need {
        Need::Inline
    }
}

/// Rows are the kept axes, columns the reduced ones.
fn rows(r: &Reduce, cx: &Homes<'_>, v: ValueId, shape: &[u64]) -> Result<Draft, Diagnostic> {
    let x = cx.graph.node(v.node).operands[0];
    let kept = shape.len() - r.axes.len();
    let out_shape = cx.shape(v)?;
    super::domain::refined(shape, |domain: &Domain| {
        let (rows, cols) = (domain.extents(0..kept), domain.extents(kept..shape.len()));
        let mut e = Emitter::new(cx, &rows, &cols);
        e.at(v.node);
        let coords = domain.coords();
        let value = e.value(x, &coords)?;
        let acc = accumulator(e.body.dtype(value));
        let value = e.cast(acc, value);
        let result = e.body.reduce(red_op(r.kind), value);
        let result = e.cast(cx.graph.ty(v).dtype, result);
        let out = e.write_arg(v, Mode::Write)?;
        e.body.store(out, row_major(&coords[..kept], &out_shape), result);
        let body = e.take_body();
        Ok(e.finish(v, r.kind.name(), Kind::Loop(body)))
    })
}

/// Rows are the reduced axes, columns the kept ones.
fn columns(r: &Reduce, cx: &Homes<'_>, v: ValueId, shape: &[u64]) -> Result<Draft, Diagnostic> {
    let x = cx.graph.node(v.node).operands[0];
    let reduced = r.axes.len();
    let out_shape = cx.shape(v)?;
    super::domain::refined(shape, |domain: &Domain| {
        let (rows, cols) = (domain.extents(0..reduced), domain.extents(reduced..shape.len()));
        let mut e = Emitter::new(cx, &rows, &cols);
        e.at(v.node);
        let coords = domain.coords();
        let value = e.value(x, &coords)?;
        let acc = accumulator(e.body.dtype(value));
        let value = e.cast(acc, value);
        let out = e.write_arg(v, Mode::Write)?;
        e.body.tail_col(red_op(r.kind), value, out, row_major(&coords[reduced..], &out_shape));
        let body = e.take_body();
        Ok(e.finish(v, r.kind.name(), Kind::Loop(body)))
    })
}
