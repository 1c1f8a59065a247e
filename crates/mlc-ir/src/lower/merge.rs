//! Merges adjacent axes that every access walks through as one, so that most maps are one flat axis and
//! most contractions plain matrices.
//!
//! Axes a, b (b inside a, in one group: both rows, both columns, both k ..) merge where every index has
//! `coef(a) = extent(b) * coef(b)` and neither occurs in a quotient or as a value. The order of the domain
//! stays, and with it every reduction tree.

use crate::loops::{Atom, Axis, AxisId, Contraction, Expr, ExprOp, Index, LoopBody, Tail};

/// Merges what can be merged in a body.
pub fn merge_axes(body: &mut LoopBody) {
    let LoopBody { rows, cols, exprs, reds: _, tails, stores } = body;
    let mut indices: Vec<&mut Index> = stores.iter_mut().map(|s| &mut s.index).collect();
    indices.extend(tails.iter_mut().map(|t| match t {
        Tail::Col { index, .. } | Tail::RowScalar { index, .. } => index,
    }));
    Accesses { exprs: vec![exprs], indices }.merge(&mut [rows, cols]);
}

/// Merges what can be merged in a contraction.
pub fn merge_contraction(c: &mut Contraction) {
    let Contraction { batch, m, n, k, lhs, rhs, epilogue, .. } = c;
    let mut accesses = Accesses {
        exprs: vec![&mut lhs.exprs, &mut rhs.exprs, &mut epilogue.exprs],
        indices: epilogue.stores.iter_mut().map(|s| &mut s.index).collect(),
    };
    accesses.merge(&mut [batch, m, n, k]);
    epilogue.rows = [&batch[..], m].concat();
    epilogue.cols.clone_from(n);
}

/// Everything that speaks of axes.
struct Accesses<'a> {
    exprs: Vec<&'a mut Vec<Expr>>,
    indices: Vec<&'a mut Index>,
}

impl Accesses<'_> {
    fn merge(&mut self, groups: &mut [&mut Vec<Axis>]) {
        let mut first = 0u32;
        for axes in groups {
            let mut at = 0;
            while at + 1 < axes.len() {
                let outer = AxisId(first + at as u32);
                let inner = axes[at + 1].extent;
                if self.mergeable(outer, inner) {
                    self.renumber(outer);
                    axes[at].extent *= inner;
                    axes.remove(at + 1);
                } else {
                    at += 1;
                }
            }
            first += axes.len() as u32;
        }
    }

    fn mergeable(&self, outer: AxisId, inner_extent: u64) -> bool {
        let inner = AxisId(outer.0 + 1);
        let Ok(extent) = i64::try_from(inner_extent) else { return false };
        let fits = |index: &Index| {
            let mut hidden = false;
            for (_, atom) in &index.terms {
                if let Atom::Quot { of, .. } = atom {
                    of.visit(&mut |a| hidden |= *a == Atom::Axis(outer) || *a == Atom::Axis(inner));
                }
            }
            !hidden && index.coef(inner).checked_mul(extent) == Some(index.coef(outer))
        };
        self.indices.iter().all(|i| fits(i))
            && self.exprs.iter().flat_map(|e| e.iter()).all(|e| match &e.op {
                ExprOp::Load(load) => fits(&load.index),
                ExprOp::AxisValue(x) => *x != outer && *x != inner,
                _ => true,
            })
    }

    /// Drops `outer` and moves the axes after it down by one.
    fn renumber(&mut self, outer: AxisId) {
        for index in &mut self.indices {
            **index = without(index, outer);
        }
        for e in self.exprs.iter_mut().flat_map(|e| e.iter_mut()) {
            match &mut e.op {
                ExprOp::Load(load) => load.index = without(&load.index, outer),
                ExprOp::AxisValue(x) if *x > outer => x.0 -= 1,
                _ => {}
            }
        }
    }
}

fn without(index: &Index, outer: AxisId) -> Index {
    let mut out = Index::constant(index.offset);
    for (coef, atom) in &index.terms {
        match atom {
            Atom::Axis(a) if *a == outer => {}
            Atom::Axis(a) if *a > outer => out.add_term(*coef, Atom::Axis(AxisId(a.0 - 1))),
            Atom::Quot { of, div, modulo } => {
                let of = Box::new(without(of, outer));
                out.add_term(*coef, Atom::Quot { of, div: *div, modulo: *modulo });
            }
            atom => out.add_term(*coef, atom.clone()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;
    use crate::loops::{ArgId, BodyBuilder, Prim};

    #[test]
    fn contiguous_axes_become_one() {
        let mut b = BodyBuilder::new(&[], &[4, 5, 6]);
        let index = Index::row_major(AxisId(0), &[4, 5, 6]);
        let x = b.load(ArgId(0), DType::F32, index.clone());
        let y = b.load(ArgId(1), DType::F32, Index::default());
        let z = b.prim(Prim::Add, &[x, y]);
        b.store(ArgId(2), index, z);
        let mut body = b.finish();
        merge_axes(&mut body);
        assert_eq!(body.cols, [Axis { extent: 120 }]);
        assert_eq!(body.stores[0].index, Index::axis(AxisId(0)));
    }

    #[test]
    fn a_transposed_load_keeps_its_axes_apart() {
        let mut b = BodyBuilder::new(&[], &[2, 3, 5]);
        let x = b.load(ArgId(0), DType::F32, {
            let i = Index::axis(AxisId(0)).scale(3).plus_index(&Index::axis(AxisId(1)));
            i.plus_index(&Index::axis(AxisId(2)).scale(6))
        });
        b.store(ArgId(1), Index::row_major(AxisId(0), &[2, 3, 5]), x);
        let mut body = b.finish();
        merge_axes(&mut body);
        assert_eq!(body.cols, [Axis { extent: 6 }, Axis { extent: 5 }]);
        assert_eq!(body.stores[0].index, Index::row_major(AxisId(0), &[6, 5]));
    }
}
