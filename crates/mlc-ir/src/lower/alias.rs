//! In place: which read argument's memory the written argument of a kernel may take over (L10).
//!
//! Every load of the argument uses the very index of the one store, unguarded, so that each element is read
//! by the iteration that overwrites it and by no other. In a row kernel the store must be per element: the
//! sweep that stores is the last one that loads. Contractions: only epilogue arguments, as the operands are
//! read by other iterations too.

use crate::loops::{ArgId, Expr, ExprOp, Kernel, Kind, LoopBody, Mode};

/// The arguments that the last argument may alias, in order.
pub fn candidates(kernel: &Kernel) -> Vec<ArgId> {
    let body = match &kernel.kind {
        Kind::Loop(body) => body,
        Kind::Contract(c) => &c.epilogue,
        Kind::ScatterAdd(_) | Kind::Copy(_) | Kind::Repeat(_) => return vec![],
    };
    let Some(written) = kernel.args.last() else { return vec![] };
    let [store] = body.stores.as_slice() else { return vec![] };
    let per_row = !body.reds.is_empty() && !mentions_column(body);
    if store.guard.is_some() || per_row || !body.tails.is_empty() || written.mode != Mode::Write {
        return vec![];
    }
    let outside: Vec<ArgId> = match &kernel.kind {
        Kind::Contract(c) => loads(&c.lhs.exprs).chain(loads(&c.rhs.exprs)).map(|l| l.arg).collect(),
        _ => vec![],
    };
    let fits = |arg: &ArgId| {
        let read = kernel.arg(*arg);
        read.len == written.len
            && read.dtype == written.dtype
            && !outside.contains(arg)
            && loads(&body.exprs)
                .filter(|l| l.arg == *arg)
                .all(|l| l.index == store.index && l.guard.is_none())
    };
    (0..kernel.args.len() as u32 - 1).map(ArgId).filter(fits).collect()
}

fn loads(exprs: &[Expr]) -> impl Iterator<Item = &crate::loops::Load> {
    exprs.iter().filter_map(|e| match &e.op {
        ExprOp::Load(load) => Some(load),
        _ => None,
    })
}

/// Does the store's index depend on a column axis?
fn mentions_column(body: &LoopBody) -> bool {
    let mut found = false;
    for s in &body.stores {
        s.index.visit(&mut |atom| {
            if let crate::loops::Atom::Axis(a) = atom {
                found |= body.is_col(*a);
            }
        });
    }
    found
}
