//! Axis refinement: splits and merges the axes of a loop body so that its indices become affine and few.
//!
//! Input: a well-formed body. Output: one that computes the same bits, with the same stores in the same order.
//! Where quotients of an axis by d1 | d2 | .. | extent occur, the axis is split there and the quotients vanish; then
//! neighbouring axes that every index passes through contiguously become one. The row-major order of rows and columns
//! never changes, so no reduction tree does.
//!
//! ```text
//! cols(c0: 24)          y[c0] = x[6*(c0 mod 4) + c0 / 4]      a transposed matrix, flattened
//! cols(c0: 6, c1: 4)    y[4*c0 + c1] = x[c0 + 6*c1]
//! ```

use super::body::{Axis, BodyBuilder, ExprId, ExprOp, LoopBody, Tail};
use super::bounds::substitute;
use super::index::{Atom, AxisId, Index, Load};

/// Splits, then merges.
pub fn refine(body: &LoopBody) -> LoopBody {
    let split = split(body);
    let body = if quotients(&split) < quotients(body) { split } else { body.clone() };
    merge(&body)
}

/// Every index of a body.
fn indices(body: &LoopBody) -> impl Iterator<Item = &Index> {
    let loads = body.exprs.iter().filter_map(|e| match &e.op {
        ExprOp::Load(l) => Some(&l.index),
        _ => None,
    });
    loads.chain(body.stores.iter().map(|s| &s.index)).chain(body.tails.iter().map(Tail::index))
}

fn quotients(body: &LoopBody) -> usize {
    let mut n = 0;
    for i in indices(body) {
        i.visit(&mut |a| n += usize::from(matches!(a, Atom::Quot { .. })));
    }
    n
}

fn split(body: &LoopBody) -> LoopBody {
    let extents: Vec<u64> = body.axes().map(|a| a.extent).collect();
    let mut wanted: Vec<Vec<u64>> = vec![Vec::new(); extents.len()];
    for i in indices(body) {
        i.visit(&mut |atom| {
            if let Atom::Quot { of, div, modulo } = atom {
                divisors(of, *div, *modulo, &extents, &mut wanted);
            }
        });
    }
    let mut next = 0;
    let mut map = Vec::new();
    let (mut rows, mut cols) = (Vec::new(), Vec::new());
    for (i, &extent) in extents.iter().enumerate() {
        let chain = chain(std::mem::take(&mut wanted[i]));
        // a = d_k a_k + .. + d_1 a_1 + a_0, outermost first.
        let mut whole = Index::default();
        let mut above = extent;
        let group = if i < body.rows.len() { &mut rows } else { &mut cols };
        for &d in chain.iter().rev().chain(&[1]) {
            group.push(above / d);
            whole.add_term(d as i64, Atom::Axis(AxisId(next)));
            next += 1;
            above = d;
        }
        map.push(whole);
    }
    rebuild(body, &map, &rows, &cols)
}

/// Where a quotient asks for the axes of its index to be split.
fn divisors(of: &Index, div: u64, modulo: Option<u64>, extents: &[u64], wanted: &mut [Vec<u64>]) {
    for (c, atom) in &of.terms {
        let Atom::Axis(a) = atom else { continue };
        let (stride, extent) = (c.unsigned_abs(), extents[a.ix()]);
        for d in [Some(div), modulo.and_then(|m| m.checked_mul(div))].into_iter().flatten() {
            if stride > 0 && d.is_multiple_of(stride) {
                let at = d / stride;
                if at > 1 && at < extent && extent.is_multiple_of(at) {
                    wanted[a.ix()].push(at);
                }
            }
        }
    }
}

/// The longest prefix-greedy chain d1 | d2 | ..
fn chain(mut wanted: Vec<u64>) -> Vec<u64> {
    wanted.sort_unstable();
    wanted.dedup();
    let mut chain: Vec<u64> = Vec::new();
    for d in wanted {
        if chain.last().is_none_or(|last| d.is_multiple_of(*last)) {
            chain.push(d);
        }
    }
    chain
}

/// Joins neighbours, and drops axes of extent 1, until nothing changes.
fn merge(body: &LoopBody) -> LoopBody {
    let mut body = body.clone();
    loop {
        let extents: Vec<u64> = body.axes().map(|a| a.extent).collect();
        let rows = body.rows.len();
        let valued = |i: usize| body.exprs.iter().any(|e| e.op == ExprOp::AxisValue(AxisId(i as u32)));
        let joins = |i: usize| {
            i > 0
                && i != rows
                && !valued(i - 1)
                && !valued(i)
                && indices(&body).all(|x| contiguous(x, i, extents[i]))
        };
        let Some(gone) = (0..extents.len()).find_map(|i| match (extents[i], joins(i)) {
            (1, _) => Some((i, None)),
            (_, true) => Some((i - 1, Some(i))),
            _ => None,
        }) else {
            return body;
        };
        let (dropped, into) = gone;
        let mut sizes = extents.clone();
        if let Some(inner) = into {
            // c*n*outer + c*inner = c*joined: the outer one may count as 0.
            sizes[inner] *= extents[dropped];
        }
        sizes.remove(dropped);
        let map: Vec<Index> = (0..extents.len())
            .map(|i| match i {
                i if i == dropped => Index::default(),
                i => Index::axis(AxisId((i - usize::from(i > dropped)) as u32)),
            })
            .collect();
        let rows = rows - usize::from(dropped < rows);
        body = rebuild(&body, &map, &sizes[..rows], &sizes[rows..]);
    }
}

/// Whether axis `inner - 1` moves an index just as far as the whole of axis `inner`.
fn contiguous(index: &Index, inner: usize, extent: u64) -> bool {
    let (outer, inner) = (AxisId(inner as u32 - 1), AxisId(inner as u32));
    let here = |i: &Index| {
        i64::try_from(extent).ok().and_then(|n| i.coef(inner).checked_mul(n)) == Some(i.coef(outer))
    };
    let mut all = here(index);
    index.visit(&mut |a| {
        if let Atom::Quot { of, .. } = a {
            all &= here(of);
        }
    });
    all
}

/// The body over new axes; `map[i]` is what axis i was, as an index over them.
fn rebuild(body: &LoopBody, map: &[Index], rows: &[u64], cols: &[u64]) -> LoopBody {
    let mut b = BodyBuilder::new(rows, cols);
    let extents: Vec<u64> = rows.iter().chain(cols).copied().collect();
    let mut ids: Vec<ExprId> = Vec::with_capacity(body.exprs.len());
    for e in &body.exprs {
        b.prov = e.prov;
        let op = match &e.op {
            ExprOp::AxisValue(a) => {
                let v = b.index_value(&map[a.ix()]);
                ids.push(v);
                continue;
            }
            ExprOp::Load(l) => ExprOp::Load(Load {
                index: renamed(&substitute(&l.index, map, &extents), &ids),
                guard: l.guard.map(|g| ids[g.ix()]),
                ..l.clone()
            }),
            ExprOp::Prim(p, args) => ExprOp::Prim(*p, args.iter().map(|a| ids[a.ix()]).collect()),
            ExprOp::Fn(f, args) => ExprOp::Fn(*f, args.iter().map(|a| ids[a.ix()]).collect()),
            op => op.clone(),
        };
        ids.push(b.push(op, e.dtype));
    }
    let place = |index: &Index| renamed(&substitute(index, map, &extents), &ids);
    let mut out = b.finish();
    out.reds = body.reds.clone();
    out.reds.iter_mut().for_each(|r| r.value = ids[r.value.ix()]);
    out.stores = body.stores.clone();
    for s in &mut out.stores {
        (s.index, s.value, s.guard) = (place(&s.index), ids[s.value.ix()], s.guard.map(|g| ids[g.ix()]));
    }
    out.tails = body.tails.clone();
    for t in &mut out.tails {
        let (Tail::Col { value, index, .. } | Tail::RowScalar { value, index, .. }) = t;
        (*value, *index) = (ids[value.ix()], place(index));
    }
    out.rows = rows.iter().map(|&extent| Axis { extent }).collect();
    out
}

/// The index with its data expressions renumbered.
fn renamed(index: &Index, ids: &[ExprId]) -> Index {
    let mut out = Index::constant(index.offset);
    for (c, atom) in &index.terms {
        let atom = match atom {
            Atom::Data(e, bound) => Atom::Data(ids[e.ix()], *bound),
            Atom::Quot { of, div, modulo } => {
                Atom::Quot { of: Box::new(renamed(of, ids)), div: *div, modulo: *modulo }
            }
            Atom::Axis(_) => atom.clone(),
        };
        out.add_term(*c, atom);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;
    use crate::loops::interp::run_kernel;
    use crate::loops::interp::tests::softmax;
    use crate::loops::*;

    /// Row sums and a copy of a view of an i64 buffer.
    fn kernel(view: &View, len: u64) -> Kernel {
        let rank = view.rank();
        let (rows, cols) = view.shape.split_at(rank / 2);
        let mut b = BodyBuilder::new(rows, cols);
        let v = view.load(&mut b, ArgId(0), Lit::i64(0), &views::identity(rank));
        let sum = b.reduce(RedOp::ArgMax, v);
        b.store(ArgId(1), Index::row_major(AxisId(0), &view.shape), v);
        b.store(ArgId(2), Index::row_major(AxisId(0), rows), sum);
        b.tail_col(RedOp::Sum, v, ArgId(3), Index::row_major(AxisId(rows.len() as u32), cols));
        let arg = |name: &str, len, mode| Arg::new(name, DType::I64, len, mode);
        let args = vec![
            arg("x", len, Mode::Read),
            arg("y", view.shape.iter().product(), Mode::Write),
            arg("s", rows.iter().product(), Mode::Write),
            arg("c", cols.iter().product(), Mode::Write),
        ];
        Kernel { name: "k".into(), args, kind: Kind::Loop(b.finish()), prov: vec![Prov::infra()] }
    }

    fn refined(k: &Kernel) -> Kernel {
        let Kind::Loop(body) = &k.kind else { panic!() };
        Kernel { kind: Kind::Loop(refine(body)), ..k.clone() }
    }

    fn run(k: &Kernel) -> Vec<Vec<u8>> {
        let bytes = |n: u64| (0..n).flat_map(|i| ((i * 37 % 101) as i64).to_le_bytes()).collect();
        let mut args: Vec<Vec<u8>> = k.args.iter().map(|a| bytes(a.len)).collect();
        run_kernel(k, &mut args).unwrap();
        args
    }

    fn shape(k: &Kernel) -> (Vec<u64>, Vec<u64>, usize) {
        let Kind::Loop(b) = &k.kind else { panic!() };
        let list = |a: &[Axis]| a.iter().map(|a| a.extent).collect();
        (list(&b.rows), list(&b.cols), quotients(b))
    }

    #[test]
    fn quotients_become_axes() {
        for (view, want) in [
            (View::dense(&[4, 6]).transpose(0, 1).reshape(&[24]), (vec![], vec![6, 4], 0)),
            (View::dense(&[4, 6]).transpose(0, 1).reshape(&[2, 12]), (vec![2], vec![3, 4], 0)),
            (View::dense(&[5, 7, 3]), (vec![5], vec![21], 0)),
            (View::dense(&[24]).reshape(&[2, 12]).tile(1, 2), (vec![2], vec![2, 12], 0)),
            // A roll cannot be split away.
            (View::dense(&[2, 5]).roll(1, 2), (vec![2], vec![5], 1)),
        ] {
            let k = kernel(&view, 200);
            let r = refined(&k);
            assert_eq!(shape(&r), want, "{k}{r}");
            assert_eq!(verify_kernel(&r), [], "{r}");
            assert_eq!(run(&k), run(&r), "{k}{r}");
        }
        assert_eq!(refined(&softmax(3, 7)), softmax(3, 7));
    }

    #[test]
    fn random_views_keep_their_results() {
        let mut s = 5u64;
        let mut below = |n: u64| {
            s = s.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (s >> 33) % n
        };
        for _ in 0..150 {
            let mut view = View::dense(&[4, 6, 5]);
            for _ in 0..4 {
                let dim = below(view.rank() as u64) as usize;
                view = match below(6) {
                    0 => view.transpose(dim, 0),
                    1 => view.reshape(&[[2, 60], [12, 10], [3, 40], [20, 6]][below(4) as usize]),
                    2 => view.flip(dim),
                    3 => view.reshape(&[[2, 3, 20], [5, 4, 6], [6, 4, 5]][below(3) as usize]),
                    4 => view.roll(dim, 1),
                    _ => view.pad(dim, 1, 0, Lit::i64(-1)).slice(dim, 0, 1, view.shape[dim]),
                };
            }
            let k = kernel(&view, 120);
            assert_eq!(verify_kernel(&k), [], "{k}");
            let r = refined(&k);
            assert_eq!(verify_kernel(&r), [], "{k}{r}");
            assert_eq!(run(&k), run(&r), "{k}{r}");
        }
    }
}
