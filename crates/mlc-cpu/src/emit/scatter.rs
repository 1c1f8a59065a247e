//! Scatter: elements of the domain one after another, in row-major order, so that every destination takes its
//! sources in ascending order (R8).

use cranelift::codegen::ir::{InstBuilder, Value};
use mlc_ir::DType;
use mlc_ir::loops::body::index_data;
use mlc_ir::loops::{ArgId, ExprId, Init, Lit, Scatter};

use super::domain::{Bounds, Walk};
use super::value::Val;
use super::{Emit, LANES};
use crate::schedule::Part;

impl Emit<'_, '_> {
    /// Emits a part of the scatter for a range of its chunks; returns how many there are in all.
    pub fn scatter(&mut self, s: &Scatter, part: Part, begin: Value, end: Value) -> u64 {
        match part {
            Part::Fill { grain } => {
                let len = self.args[s.dest.ix()].len;
                self.each_chunk(begin, end, |e, c| {
                    let Bounds { lo, hi, .. } = e.piece(0, len, grain, c);
                    e.zeros(s.dest, lo, hi);
                });
                len.div_ceil(grain)
            }
            Part::Slice { axis, grain } => {
                let n = self.extents()[axis];
                self.each_chunk(begin, end, |e, c| {
                    let bounds = e.piece(axis, n, grain, c);
                    e.add_all(s, Some(bounds));
                });
                n.div_ceil(grain)
            }
            _ => {
                if s.init == Init::Zero {
                    let (lo, hi) = (self.imm(0), self.imm(self.args[s.dest.ix()].len as i64));
                    self.zeros(s.dest, lo, hi);
                }
                self.add_all(s, None);
                1
            }
        }
    }

    /// Zeros in elements `lo..hi` of an argument.
    fn zeros(&mut self, arg: ArgId, lo: Value, hi: Value) {
        let dtype = self.args[arg.ix()].dtype;
        let zero = self.lit(Lit::zero(dtype));
        let place = |e: &mut Self, i: Value| {
            let offset = e.b.ins().imul_imm_s(i, dtype.size() as i64);
            e.b.ins().iadd(e.ptrs[arg.ix()], offset)
        };
        self.in_fours(
            lo,
            hi,
            |e, i| {
                let at = place(e, i);
                e.store_contiguous(dtype, Val::One(zero), at);
            },
            |e, i| {
                let at = place(e, i);
                e.store_scalar(dtype, zero, at, 0);
            },
        );
    }

    /// Adds every source within the bounds to its destination.
    fn add_all(&mut self, s: &Scatter, bounds: Option<Bounds>) {
        let dtype = self.args[s.dest.ix()].dtype;
        let body = self.body;
        if body.axes().any(|a| a.extent == 0) {
            return;
        }
        let roots: Vec<ExprId> = index_data(&s.index).into_iter().chain(s.guard).chain([s.value]).collect();
        let needed = self.closure(roots.iter().copied());
        self.emit_level(0, &needed, 0);
        let vector = self.prefers_vector(&needed);
        let axes = 0..body.axes().count();
        let walk = Walk { bounds, vector, roots: &roots, ..Walk::over(axes, &needed) };
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
    }
}
