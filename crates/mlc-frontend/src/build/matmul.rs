//! The matrix product.

use mlc_diag::Span;
use mlc_ir::Dim;
use mlc_ir::op::Contract;
use mlc_ir::types::Shape;

use super::fail::{R, error, fail};
use super::interp::Interp;
use super::ops::no_operator;
use super::value::Value;
use crate::syntax::ast::BinaryOp;

impl<'a> Interp<'a> {
    /// `@`: NumPy's rules, vectors included.
    pub fn matmul(&mut self, a: &Value<'a>, b: &Value<'a>, spans: [Span; 3]) -> R<Value<'a>> {
        let (Value::Tensor(x), Value::Tensor(y)) = (a, b) else {
            return Err(no_operator(BinaryOp::MatMul, a, b, spans).into());
        };
        let dtype = self.common_dtype("`@`", a, b, spans)?;
        let (tx, ty) = (self.ty(*x), self.ty(*y));
        if !dtype.is_float() {
            return Err(error("E0203", spans[0], format!("`@` takes floats, this is {tx} with {ty}"))
                .hint("cast first: `x.cast(f32)`")
                .into());
        }
        if tx.rank() == 0 || ty.rank() == 0 {
            return fail("E0201", spans[0], format!("`@` of {tx} and {ty}: it takes no scalars, use `*`"));
        }
        let (mut x, mut y) = (self.b().cast(*x, dtype)?, self.b().cast(*y, dtype)?);
        let (m, n) = (tx.rank(), ty.rank());
        let (i, j) = (m - 1, n.saturating_sub(2));
        let (p, q) = (tx.shape[i].clone(), ty.shape[j].clone());
        self.same_dim(&p, &q, spans[0], |_| {
            error("E0201", spans[0], format!("`@` of {tx} and {ty}: {p} against {q}"))
                .label(spans[1], format!("the last dim of {tx} is {p}"))
                .label(spans[2], format!("the first summed dim of {ty} is {q}"))
                .hint("the last dim on the left must be the last but one on the right")
        })?;
        // Batch dims: those before the matrix, aligned at the end; equal ones run in step.
        let (bx, by) = (m.saturating_sub(2), n.saturating_sub(2));
        let mut batch = vec![];
        if bx > 0 && by > 0 {
            let lead_x: Shape = tx.shape[..bx].iter().cloned().collect();
            let lead_y: Shape = ty.shape[..by].iter().cloned().collect();
            let lead = self.common_shape("`@`", &lead_x, &lead_y, &[x, y], spans[0])?;
            let full = |tail: &[Dim]| lead.iter().chain(tail).cloned().collect::<Shape>();
            let (sx, sy) = (full(&tx.shape[bx..]), full(&ty.shape[by..]));
            x = self.b().broadcast_to(x, &sx)?;
            y = self.b().broadcast_to(y, &sy)?;
            batch = (0..lead.len()).map(|k| (k, k)).collect();
        }
        let (rx, ry) = (self.ty(x).rank(), self.ty(y).rank());
        let sum = vec![(rx - 1, if n == 1 { 0 } else { ry - 2 })];
        let z = self.b().op(Contract { batch: batch.clone(), sum }, &[x, y])?;
        // Contract puts the free axes of the lhs before those of the rhs: with batch dims only on the
        // right, they come after the rows and must move before them.
        if batch.is_empty() && by > 0 && m >= 2 {
            let rank = self.ty(z).rank();
            let mut perm: Vec<usize> = (m - 1..m - 1 + by).collect();
            perm.extend(0..m - 1);
            perm.extend(m - 1 + by..rank);
            return Ok(Value::Tensor(self.b().transpose(z, perm)?));
        }
        Ok(Value::Tensor(z))
    }
}
