//! Scatter: elements of the domain one after another, in row-major order, so that every destination takes its
//! sources in ascending order (R8).

use cranelift::codegen::ir::{InstBuilder, Value};
use mlc_ir::DType;
use mlc_ir::loops::body::index_data;
use mlc_ir::loops::{ExprId, Init, Lit, Scatter};

use super::domain::Walk;
use super::value::Val;
use super::{Emit, LANES};

impl Emit<'_, '_> {
    /// Emits the whole scatter: one chunk.
    pub fn scatter(&mut self, s: &Scatter, _begin: Value, _end: Value) -> u64 {
        let dest = &self.args[s.dest.ix()];
        let dtype = dest.dtype;
        if s.init == Init::Zero {
            let size = dtype.size() as u64;
            let zero = self.lit(Lit::zero(dtype));
            let base = self.ptrs[s.dest.ix()];
            let full = dest.len / LANES as u64 * LANES as u64;
            let len = dest.len;
            self.repeat_const(0, full * size, LANES as u64 * size, |e, o| {
                let at = e.b.ins().iadd(base, o);
                e.store_contiguous(dtype, Val::One(zero), at);
            });
            self.repeat_const(full * size, len * size, size, |e, o| {
                let at = e.b.ins().iadd(base, o);
                e.store_scalar(dtype, zero, at, 0);
            });
        }
        let body = self.body;
        if body.axes().any(|a| a.extent == 0) {
            return 1;
        }
        let roots: Vec<ExprId> = index_data(&s.index).into_iter().chain(s.guard).chain([s.value]).collect();
        let needed = self.closure(roots.iter().copied());
        self.emit_level(0, &needed, 0);
        let vector = self.prefers_vector(&needed);
        let walk = Walk {
            axes: 0..body.axes().count(),
            bounds: None,
            vector,
            needed: &needed,
            roots: &roots,
            done: 0,
        };
        let site = self.sites.end;
        self.walk(&walk, &|e| {
            let v = e.value(s.value);
            let guard = s.guard.map(|g| e.value(g));
            for k in 0..if e.vec_axis.is_some() { LANES } else { 1 } {
                let v = e.lane(v, dtype, k);
                let add = |e: &mut Self| {
                    let at = e.address(s.dest, dtype, &s.index, k, site);
                    let old = e.load_scalar(dtype, at, 0);
                    let new = e.combine(s.op, dtype, Val::One(old), Val::One(v));
                    let new = e.lane(new, dtype, 0);
                    e.store_scalar(dtype, new, at, 0);
                };
                match guard {
                    Some(g) => {
                        let g = e.lane(g, DType::Bool, k);
                        e.only_if(g, add);
                    }
                    None => add(e),
                }
            }
        });
        1
    }
}
