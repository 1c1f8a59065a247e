//! Contractions: operands are index maps, so that transposes and other views cost nothing.

use mlc_diag::Diagnostic;

use super::coords::Coords;
use super::reduce::accumulator;
use super::{Cx, Domain, Draft, Emitter, Lower, Rule, extents};
use crate::graph::{Graph, ValueId};
use crate::loops::{Axis, Contraction, Index, Kind, Operand, Rounding};
use crate::op::{Contract, Op};

impl Lower for Contract {
    fn rule(&self) -> Rule<'_> {
        Rule::Contract(self)
    }
}

/// The logical axes in the order batch, m, n, k with the extents.
struct Axes {
    extents: Vec<u64>,
    batch: usize,
    m: usize,
    n: usize,
}

impl Axes {
    fn of(c: &Contract, lhs: &[u64], rhs: &[u64]) -> Axes {
        let (free_l, free_r) = (c.free_axes(0, lhs.len()), c.free_axes(1, rhs.len()));
        let batch = c.batch.iter().map(|p| lhs[p.0]);
        let m = free_l.iter().map(|&a| lhs[a]);
        let n = free_r.iter().map(|&a| rhs[a]);
        let k = c.sum.iter().map(|p| lhs[p.0]);
        Axes {
            extents: batch.chain(m).chain(n).chain(k).collect(),
            batch: c.batch.len(),
            m: free_l.len(),
            n: free_r.len(),
        }
    }

    fn bounds(&self) -> [std::ops::Range<usize>; 4] {
        let (b, m, n) = (self.batch, self.batch + self.m, self.batch + self.m + self.n);
        [0..b, b..m, m..n, n..self.extents.len()]
    }

    /// The coordinates of an operand, given those of all logical axes.
    fn operand(&self, c: &Contract, side: usize, rank: usize, all: &[Index]) -> Coords {
        let mut out: Coords = (0..rank).map(|_| Index::default()).collect();
        let axis = |p: &(usize, usize)| if side == 0 { p.0 } else { p.1 };
        for (i, p) in c.batch.iter().enumerate() {
            out[axis(p)] = all[i].clone();
        }
        let first = if side == 0 { self.batch } else { self.batch + self.m };
        for (i, &a) in c.free_axes(side, rank).iter().enumerate() {
            out[a] = all[first + i].clone();
        }
        for (i, p) in c.sum.iter().enumerate() {
            out[axis(p)] = all[self.batch + self.m + self.n + i].clone();
        }
        out
    }
}

/// The kernel of a contraction: its operands, the product, and the epilogue that `stores` builds once the
/// product is there.
///
/// # Errors
/// What cannot be built.
pub fn contraction(
    cx: Cx<'_>,
    v: ValueId,
    stores: impl Fn(&mut Emitter<'_>, &Coords, &[u64]) -> Result<(), Diagnostic>,
) -> Result<Draft, Diagnostic> {
    let Op::Contract(c) = &cx.graph.node(v.node).op else {
        return Err(Diagnostic::bug(format!("{v} is no contraction")));
    };
    let (lhs, rhs) = operands(cx.graph, v)?;
    let (l, r) = (cx.shape(lhs)?, cx.shape(rhs)?);
    let axes = Axes::of(c, &l, &r);
    let acc = accumulator(cx.graph.ty(lhs).dtype);
    super::domain::refined(&axes.extents, |domain: &Domain| {
        let [batch, m, n, k] = axes.bounds().map(|range| domain.extents(range));
        let all = domain.coords();
        let mut e = Emitter::new(cx, &[], &domain.all_extents());
        let operand = |e: &mut Emitter<'_>, side: usize, x: ValueId, rank: usize| {
            e.at(v.node);
            let coords = axes.operand(c, side, rank, &all);
            let value = e.value(x, &coords)?;
            let value = e.cast(acc, value);
            Ok::<_, Diagnostic>(Operand { exprs: e.next_body(&[], &domain.all_extents()).exprs, value })
        };
        let lhs = operand(&mut e, 0, lhs, l.len())?;
        let rhs = operand(&mut e, 1, rhs, r.len())?;
        e.next_body(&[&batch[..], &m].concat(), &n);
        e.at(v.node);
        // The epilogue's axes are the first of the domain's: the same numbers.
        let own: Coords = all[..axes.batch + axes.m + axes.n].into();
        e.product = Some((v, own.clone(), acc));
        stores(&mut e, &own, &axes.extents[..own.len()])?;
        let epilogue = e.take_body();
        let axis = |extents: Vec<u64>| extents.into_iter().map(|extent| Axis { extent }).collect();
        let kind = Kind::Contract(Contraction {
            batch: axis(batch),
            m: axis(m),
            n: axis(n),
            k: axis(k),
            lhs,
            rhs,
            acc,
            rounding: Rounding::Free,
            epilogue,
        });
        Ok(e.finish("contract", kind))
    })
}

fn operands(graph: &Graph, v: ValueId) -> Result<(ValueId, ValueId), Diagnostic> {
    match graph.node(v.node).operands.as_slice() {
        [l, r] => Ok((*l, *r)),
        _ => Err(Diagnostic::bug(format!("{v}: a contraction of one operand"))),
    }
}

/// For each operand of the contraction `v`: is its map over the contraction's axes affine, perhaps after
/// splitting them, if the values below all views lie in memory?
///
/// # Errors
/// A bug where the graph is not bound.
pub fn operand_maps_are_affine(c: &Contract, graph: &Graph, v: ValueId) -> Result<[bool; 2], Diagnostic> {
    let (lhs, rhs) = operands(graph, v)?;
    let (l, r) = (extents(graph, lhs)?, extents(graph, rhs)?);
    let axes = Axes::of(c, &l, &r);
    let affine = |side: usize, x: ValueId, rank: usize| {
        super::domain::refined(&axes.extents, |domain: &Domain| {
            let mut coords = axes.operand(c, side, rank, &domain.coords());
            let all = domain.all_extents();
            let (mut at, mut left) = (x, vec![]);
            while !lies_in_memory(graph, at)
                && let Rule::View(view) = graph.node(at.node).op.lowering().rule()
            {
                let operand = graph.node(at.node).operands[0];
                coords = view.coords(&extents(graph, operand)?, &extents(graph, at)?, &coords, &all);
                at = operand;
            }
            left.extend(coords.iter().filter(|i| !i.is_affine()).cloned());
            Ok((left.is_empty(), left))
        })
    };
    Ok([affine(0, lhs, l.len())?, affine(1, rhs, r.len())?])
}

/// Is this a value that is not a view, or a reshape of one (which renames its memory)?
fn lies_in_memory(graph: &Graph, mut v: ValueId) -> bool {
    loop {
        let node = graph.node(v.node);
        match node.op.lowering().rule() {
            Rule::View(view) if view.renames() => v = node.operands[0],
            Rule::View(_) => return false,
            _ => return true,
        }
    }
}
