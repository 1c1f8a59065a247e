//! Proofs that a guarded index stays in bounds.

use crate::loops::body::{ExprId, ExprOp, LoopBody};
use crate::loops::bounds::{div, interval, rem};
use crate::loops::index::{Atom, Index};
use crate::loops::interp::{affine, for_each_point};
use crate::loops::scalar::Prim;

/// Where the axes alone cannot tell, domains up to this size are checked point by point.
const SMALL: u64 = 1 << 16;

/// `lo <= form <= hi`, the form without offset.
#[derive(Debug, Clone)]
struct Fact {
    form: Index,
    lo: i64,
    hi: i64,
}

/// Whether `index` lies in `[0, len)` wherever `guard` holds; with the range found otherwise.
pub fn in_bounds(body: &LoopBody, index: &Index, guard: Option<ExprId>, len: u64) -> Result<(), String> {
    let extents: Vec<u64> = body.axes().map(|a| a.extent).collect();
    if extents.contains(&0) {
        return Ok(());
    }
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let mut facts = Vec::new();
    if let Some(g) = guard {
        collect(body, g, &extents, &mut facts);
    }
    match bounded(index, &facts, &extents) {
        // The guard never holds.
        None => return Ok(()),
        Some((lo, hi)) if lo >= 0 && hi < i128::from(len) => return Ok(()),
        Some(_) => {}
    }
    let points = extents.iter().fold(1u64, |n, e| n.saturating_mul(*e));
    // What is read from data may be anything within its bound, wherever the axes are.
    let (data, plain): (Vec<_>, Vec<_>) =
        index.terms.iter().cloned().partition(|(_, a)| matches!(a, Atom::Data(..)));
    let data = Index { terms: data.into(), offset: 0 };
    let plain = Index { terms: plain.into(), offset: index.offset };
    let (lo, hi) = if let (true, false, Some((below, above))) =
        (points <= SMALL, plain.has_data(), interval(&data, &extents))
    {
        let mut range: Option<(i64, i64)> = None;
        let _: Result<(), ()> = for_each_point(&extents, |p| {
            if facts.iter().all(|f| (f.lo..=f.hi).contains(&affine(&f.form, p))) {
                let v = affine(&plain, p);
                let (a, b) = (v.saturating_add(below), v.saturating_add(above));
                range = Some(range.map_or((a, b), |(lo, hi)| (lo.min(a), hi.max(b))));
            }
            Ok(())
        });
        match range {
            None => return Ok(()),
            Some((lo, hi)) if lo >= 0 && hi < len => return Ok(()),
            Some((lo, hi)) => (lo.into(), hi.into()),
        }
    } else {
        bounded(index, &facts, &extents).unwrap_or((0, 0))
    };
    Err(format!("reaches {lo}..{hi} of {len} elements"))
}

/// The index's range under the facts; `None` if they contradict.
fn bounded(index: &Index, facts: &[Fact], extents: &[u64]) -> Option<(i128, i128)> {
    let mut rest = index.clone();
    let (mut lo, mut hi) = (0i128, 0i128);
    for f in facts {
        let (nat_lo, nat_hi) = interval(&f.form, extents).unwrap_or((i64::MIN, i64::MAX));
        let (a, b) = (f.lo.max(nat_lo), f.hi.min(nat_hi));
        if a > b {
            return None;
        }
        // factor * form is a part of the index?
        let Some((c, atom)) = f.form.terms.first() else { continue };
        let found = rest.terms.iter().find(|t| t.1 == *atom).map_or(0, |t| t.0);
        if found == 0 || found % c != 0 {
            continue;
        }
        let factor = found / c;
        let without = rest.clone().plus_index(&f.form.clone().scale(-factor));
        if without.terms.len() + f.form.terms.len() == rest.terms.len() {
            rest = without;
            let (x, y) = (i128::from(a) * i128::from(factor), i128::from(b) * i128::from(factor));
            lo += x.min(y);
            hi += x.max(y);
        }
    }
    let (a, b) =
        interval(&rest, extents).map_or((i128::MIN / 4, i128::MAX / 4), |(a, b)| (a.into(), b.into()));
    Some((lo + a, hi + b))
}

/// The facts that follow from a guard.
fn collect(body: &LoopBody, guard: ExprId, extents: &[u64], facts: &mut Vec<Fact>) {
    let ExprOp::Prim(prim, args) = &body.expr(guard).op else { return };
    let at_least = |small: ExprId, large: ExprId, gap: i64, facts: &mut Vec<Fact>| {
        if let (Some(s), Some(l)) = (form_of(body, small, extents), form_of(body, large, extents)) {
            learn(l.plus_index(&s.scale(-1)).plus(-gap), facts);
        }
    };
    match prim {
        Prim::And => args.iter().for_each(|&a| collect(body, a, extents, facts)),
        Prim::Le => at_least(args[0], args[1], 0, facts),
        Prim::Lt => at_least(args[0], args[1], 1, facts),
        Prim::Eq if body.expr(args[0]).dtype.is_int() => {
            at_least(args[0], args[1], 0, facts);
            at_least(args[1], args[0], 0, facts);
        }
        _ => {}
    }
}

/// Adds `index >= 0`.
fn learn(index: Index, facts: &mut Vec<Fact>) {
    let offset = index.offset;
    let mut form = index.plus(-offset);
    let negative = form.terms.first().is_some_and(|t| t.0 < 0);
    if negative {
        form = form.scale(-1);
    }
    let (lo, hi) = if negative { (i64::MIN, offset) } else { (offset.saturating_neg(), i64::MAX) };
    narrow(form.clone(), lo, hi, facts);
    // lo <= floor(x / d) <= hi says that d*lo <= x <= d*hi + d - 1.
    if let [(1, Atom::Quot { of, div, modulo: None })] = &form.terms[..] {
        let d = *div as i64;
        let o = of.offset;
        let lo = if lo == i64::MIN { lo } else { lo.saturating_mul(d).saturating_sub(o) };
        let hi =
            if hi == i64::MAX { hi } else { hi.saturating_mul(d).saturating_add(d - 1).saturating_sub(o) };
        narrow((**of).clone().plus(-o), lo, hi, facts);
    }
}

fn narrow(form: Index, lo: i64, hi: i64, facts: &mut Vec<Fact>) {
    match facts.iter_mut().find(|f| f.form == form) {
        Some(f) => (f.lo, f.hi) = (f.lo.max(lo), f.hi.min(hi)),
        None => facts.push(Fact { form, lo, hi }),
    }
}

/// An i64 expression over axes as an index.
fn form_of(body: &LoopBody, e: ExprId, extents: &[u64]) -> Option<Index> {
    let expr = body.expr(e);
    Some(match &expr.op {
        ExprOp::AxisValue(a) => Index::axis(*a),
        ExprOp::Const(lit) => Index::constant(lit.as_i64()?),
        ExprOp::Prim(p, args) => {
            let a = form_of(body, args[0], extents)?;
            let b = args.get(1).map(|&b| form_of(body, b, extents));
            let constant = |i: &Index| i.terms.is_empty().then_some(i.offset);
            match (p, b) {
                (Prim::Neg, _) => a.scale(-1),
                (Prim::Add, Some(b)) => a.plus_index(&b?),
                (Prim::Sub, Some(b)) => a.plus_index(&b?.scale(-1)),
                (Prim::Mul, Some(b)) => {
                    let b = b?;
                    match (constant(&a), constant(&b)) {
                        (_, Some(c)) => a.scale(c),
                        (Some(c), _) => b.scale(c),
                        _ => return None,
                    }
                }
                (Prim::Div, Some(b)) => div(&a, positive(constant(&b?)?)?, extents),
                (Prim::Rem, Some(b)) => rem(&a, positive(constant(&b?)?)?, extents),
                _ => return None,
            }
        }
        _ => return None,
    })
}

fn positive(x: i64) -> Option<u64> {
    u64::try_from(x).ok().filter(|&x| x > 0)
}
