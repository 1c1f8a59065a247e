//! Makes bodies as plain as loops can be: axes of extent 1 go, neighbouring axes that every index passes
//! contiguously become one, rows of plain maps become columns. The row-major order of the domain stays, so
//! neither a reduction tree nor a fault changes.
//!
//! ```text
//! rows(i: 64) cols(j: 1, k: 10)  y[10*i + k] = x[10*i + k] + 1     ->     cols(i: 640)  y[i] = x[i] + 1
//! ```

use mlc_ir::loops::{Atom, Axis, AxisId, ExprOp, Index, Lit, LoopBody, Store, Tail};

/// The body with as few axes as possible. Expressions keep their ids.
pub fn simplify(body: &LoopBody) -> LoopBody {
    let mut body = body.clone();
    drop_unit_axes(&mut body);
    if body.reds.is_empty() && body.tails.is_empty() && !body.stores.iter().any(|s| is_row_store(&body, s)) {
        let mut cols = std::mem::take(&mut body.rows);
        cols.append(&mut body.cols);
        body.cols = cols;
    }
    while let Some(a) = mergeable(&body) {
        merge(&mut body, a);
    }
    body
}

/// A store that may stand outside of the columns' loop.
fn is_row_store(body: &LoopBody, s: &Store) -> bool {
    let mut uses = false;
    s.index.visit(&mut |a| match a {
        Atom::Axis(x) => uses |= body.is_col(*x),
        Atom::Data(..) => uses = true,
        Atom::Quot { .. } => {}
    });
    !uses && !body.cols.is_empty()
}

fn drop_unit_axes(body: &mut LoopBody) {
    let axes: Vec<Axis> = body.axes().copied().collect();
    let mut next = 0;
    let map: Vec<Option<AxisId>> = axes
        .iter()
        .map(|a| {
            (a.extent != 1).then(|| {
                next += 1;
                AxisId(next - 1)
            })
        })
        .collect();
    if map.iter().all(Option::is_some) {
        return;
    }
    renumber_axes(body, &map);
    body.rows.retain(|a| a.extent != 1);
    body.cols.retain(|a| a.extent != 1);
}

/// Renumbers axes in all expressions; an axis without a new number is always 0. Rows and columns are the caller's.
pub fn renumber_axes(body: &mut LoopBody, map: &[Option<AxisId>]) {
    each_index(body, &mut |index| *index = renumber(index, map));
    for e in &mut body.exprs {
        if let ExprOp::AxisValue(a) = e.op {
            e.op = match map[a.ix()] {
                Some(a) => ExprOp::AxisValue(a),
                None => ExprOp::Const(Lit::i64(0)),
            };
        }
    }
}

/// The index with axes renumbered; an axis without a new number is always 0.
fn renumber(index: &Index, map: &[Option<AxisId>]) -> Index {
    let mut out = Index::constant(index.offset);
    for (coef, atom) in &index.terms {
        match atom {
            Atom::Axis(a) => {
                if let Some(a) = map[a.ix()] {
                    out.add_term(*coef, Atom::Axis(a));
                }
            }
            Atom::Quot { of, div, modulo } => {
                let of = Box::new(renumber(of, map));
                out.terms.push((*coef, Atom::Quot { of, div: *div, modulo: *modulo }));
            }
            Atom::Data(..) => out.terms.push((*coef, atom.clone())),
        }
    }
    out
}

/// The first axis that can take the next one in.
fn mergeable(body: &LoopBody) -> Option<usize> {
    let rows = body.rows.len();
    let extents: Vec<u64> = body.axes().map(|a| a.extent).collect();
    let named = |a: usize| body.exprs.iter().any(|e| e.op == ExprOp::AxisValue(AxisId(a as u32)));
    (0..extents.len().saturating_sub(1)).find(|&a| {
        let inner = extents[a + 1];
        if a + 1 == rows || extents[a] == 0 || inner == 0 || named(a) || named(a + 1) {
            return false;
        }
        let mut contiguous = true;
        visit_index(body, &mut |index| {
            let (outer, own) = (index.coef(AxisId(a as u32)), index.coef(AxisId(a as u32 + 1)));
            contiguous &= own.checked_mul(inner as i64) == Some(outer);
        });
        contiguous
    })
}

fn merge(body: &mut LoopBody, a: usize) {
    let count = body.axes().count();
    // The outer axis goes; the inner one takes its number and runs over both.
    let map: Vec<Option<AxisId>> = (0..count)
        .map(|i| match i {
            _ if i < a => Some(AxisId(i as u32)),
            _ if i == a => None,
            _ => Some(AxisId(i as u32 - 1)),
        })
        .collect();
    each_index(body, &mut |index| *index = renumber(index, &map));
    for e in &mut body.exprs {
        if let ExprOp::AxisValue(x) = &mut e.op
            && x.ix() > a
        {
            x.0 -= 1;
        }
    }
    let rows = body.rows.len();
    let axes = if a < rows { &mut body.rows } else { &mut body.cols };
    let at = if a < rows { a } else { a - rows };
    let outer = axes.remove(at).extent;
    axes[at].extent *= outer;
}

/// Calls `f` on every index of the body, those inside quotients too.
fn visit_index(body: &LoopBody, f: &mut impl FnMut(&Index)) {
    fn deep(index: &Index, f: &mut impl FnMut(&Index)) {
        f(index);
        for (_, atom) in &index.terms {
            if let Atom::Quot { of, .. } = atom {
                deep(of, f);
            }
        }
    }
    for e in &body.exprs {
        if let ExprOp::Load(l) = &e.op {
            deep(&l.index, f);
        }
    }
    body.stores.iter().for_each(|s| deep(&s.index, f));
    body.tails.iter().for_each(|t| deep(t.index(), f));
}

/// Changes every index of loads, stores and tails.
fn each_index(body: &mut LoopBody, f: &mut impl FnMut(&mut Index)) {
    for e in &mut body.exprs {
        if let ExprOp::Load(l) = &mut e.op {
            f(&mut l.index);
        }
    }
    body.stores.iter_mut().for_each(|s| f(&mut s.index));
    for t in &mut body.tails {
        match t {
            Tail::Col { index, .. } | Tail::RowScalar { index, .. } => f(index),
        }
    }
}
