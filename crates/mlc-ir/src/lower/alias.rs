//! In place: which read argument's memory a written argument of a kernel may take over (L10).
//!
//! Every load of the argument uses the very index of the written argument's one store, unguarded, so that each
//! element is read by the iteration that overwrites it and by no other. In a row kernel the store must be per
//! element: the sweep that stores is the last one that loads. Contractions: only epilogue arguments, as the
//! operands are read by other iterations too. A tail's result takes over nothing: it is there at the end.

use crate::loops::{ArgId, Expr, ExprOp, Kernel, Kind, LoopBody, Mode, Segment, Store};
use crate::mutate::{Mutation, on};

/// The arguments that a written argument may alias, in order.
pub fn candidates(kernel: &Kernel, written: ArgId) -> Vec<ArgId> {
    let body = match &kernel.kind {
        Kind::Loop(body) => body,
        Kind::Contract(c) => &c.epilogue,
        Kind::Segments(segments) => return in_segment(kernel, segments, written),
        Kind::ScatterAdd(_) | Kind::Copy(_) | Kind::Repeat(_) => return vec![],
    };
    let out = kernel.arg(written);
    let mut stores = body.stores.iter().filter(|s| s.arg == written);
    let (Some(store), None) = (stores.next(), stores.next()) else { return vec![] };
    let per_row = !body.reds.is_empty() && !mentions_column(body, store);
    if store.guard.is_some() || per_row || out.mode != Mode::Write {
        return vec![];
    }
    let outside: Vec<ArgId> = match &kernel.kind {
        Kind::Contract(c) => loads(&c.lhs.exprs).chain(loads(&c.rhs.exprs)).map(|l| l.arg).collect(),
        _ => vec![],
    };
    let fits = |arg: &ArgId| {
        let read = kernel.arg(*arg);
        read.mode == Mode::Read
            && read.len == out.len
            && read.dtype == out.dtype
            && !outside.contains(arg)
            && loads(&body.exprs)
                .filter(|l| l.arg == *arg)
                .all(|l| (l.index == store.index || on(Mutation::ShiftedInPlace)) && l.guard.is_none())
    };
    (0..kernel.args.len() as u32).map(ArgId).filter(|a| *a != written && fits(a)).collect()
}

/// Arguments of the same segment only.
fn in_segment(kernel: &Kernel, segments: &[Segment], written: ArgId) -> Vec<ArgId> {
    let own = segments.iter().find_map(|s| Some((s, s.args.iter().position(|&a| a == written)?)));
    let Some((s, at)) = own else { return vec![] };
    let found = candidates(&kernel.segment(s), ArgId(at as u32));
    found.into_iter().map(|a| s.args[a.ix()]).collect()
}

fn loads(exprs: &[Expr]) -> impl Iterator<Item = &crate::loops::Load> {
    exprs.iter().filter_map(|e| match &e.op {
        ExprOp::Load(load) => Some(load),
        _ => None,
    })
}

/// Does the store's index depend on a column axis?
fn mentions_column(body: &LoopBody, store: &Store) -> bool {
    let mut found = false;
    store.index.visit(&mut |atom| {
        if let crate::loops::Atom::Axis(a) = atom {
            found |= body.is_col(*a);
        }
    });
    found
}
