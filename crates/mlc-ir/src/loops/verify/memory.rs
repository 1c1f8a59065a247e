//! Bounds, single writers, aliases: L6, L9, L10, L12.

use super::Checker;
use super::body::loads;
use super::proof::in_bounds;
use crate::loops::body::{Analysis, Axis, LoopBody, Space, Store, Tail, count};
use crate::loops::bounds::{injective, interval};
use crate::loops::index::Index;
use crate::loops::interp::{affine, for_each_point};
use crate::loops::kernel::{ArgId, Init, Kernel, Kind, Mode, Segment};

/// Domains whose stores are checked element by element where the strides prove nothing.
const SMALL: u64 = 1 << 18;

impl Checker<'_> {
    pub fn memory(&mut self) {
        match &self.kernel.kind {
            Kind::Loop(body) => {
                self.loads(body);
                self.stores(body);
                self.aliases(body, &[]);
            }
            Kind::Contract(c) => {
                let operands = [c.operand_body(&c.lhs), c.operand_body(&c.rhs)];
                operands.iter().for_each(|b| self.loads(b));
                self.loads(&c.epilogue);
                self.stores(&c.epilogue);
                self.aliases(&c.epilogue, &operands);
            }
            Kind::ScatterAdd(s) => {
                self.loads(&s.body);
                self.bounds(&s.body, &s.index, s.guard, s.dest, s.prov);
                self.aliases(&s.body, &[]);
            }
            Kind::Segments(_) => {}
            Kind::Copy(c) => {
                let cols = c.extents.iter().map(|&extent| Axis { extent }).collect();
                let body = LoopBody { cols, ..LoopBody::default() };
                self.bounds(&body, &c.src, None, ArgId(0), 0);
                self.bounds(&body, &c.dst, None, ArgId(1), 0);
                let writes = [(c.dst.clone(), c.extents.clone())];
                self.distinct(ArgId(1), &writes, 0);
            }
        }
    }

    fn loads(&mut self, body: &LoopBody) {
        for e in &body.exprs {
            if let crate::loops::ExprOp::Load(l) = &e.op {
                self.bounds(body, &l.index, l.guard, l.arg, e.prov);
            }
        }
    }

    fn bounds(
        &mut self,
        body: &LoopBody,
        index: &Index,
        guard: Option<crate::loops::ExprId>,
        arg: ArgId,
        prov: u32,
    ) {
        let extents: Vec<u64> = body.axes().map(|a| a.extent).collect();
        if interval(index, &extents).is_none() {
            return self.fail("L12", prov, format!("an index of {} exceeds i64", self.kernel.arg(arg).name));
        }
        if let Err(m) = in_bounds(body, index, guard, self.kernel.arg(arg).len) {
            self.fail("L6", prov, format!("an index of {} {m}", self.kernel.arg(arg).name));
        }
    }

    fn stores(&mut self, body: &LoopBody) {
        for s in &body.stores {
            self.bounds(body, &s.index, s.guard, s.arg, s.prov);
        }
        for t in &body.tails {
            self.bounds(body, t.index(), None, t.out(), t.prov());
        }
        for arg in (0..self.kernel.args.len() as u32).map(ArgId) {
            let of: Vec<&Store> = body.stores.iter().filter(|s| s.arg == arg).collect();
            let mut writes: Vec<_> = of.iter().map(|s| (s.index.clone(), store_extents(body, s))).collect();
            writes.extend(
                body.tails
                    .iter()
                    .filter(|t| t.out() == arg)
                    .map(|t| (t.index().clone(), tail_extents(body, t))),
            );
            // Stores under guards that exclude each other are not told apart: they need places that differ.
            self.distinct(arg, &writes, of.first().map_or(0, |s| s.prov));
        }
    }

    /// L9 for all writes of one argument: (index, extents of its domain).
    fn distinct(&mut self, arg: ArgId, writes: &[(Index, Vec<u64>)], prov: u32) {
        let name = &self.kernel.arg(arg).name;
        let proven = writes.iter().all(|(i, e)| injective(i, e) == Some(true)) && apart(writes);
        if proven {
            return;
        }
        let points = writes.iter().map(|(_, e)| product(e)).fold(0u64, u64::saturating_add);
        let len = self.kernel.arg(arg).len;
        if points > SMALL || len > SMALL || writes.iter().any(|(i, _)| i.has_data()) {
            return self.fail("L9", prov, format!("cannot prove that no element of {name} is stored twice"));
        }
        let mut seen = vec![false; len as usize];
        for (index, extents) in writes {
            let twice = for_each_point(extents, |p| {
                let at = affine(index, p);
                match usize::try_from(at).ok().and_then(|at| seen.get_mut(at)) {
                    Some(seen) if *seen => Err(at),
                    Some(seen) => {
                        *seen = true;
                        Ok(())
                    }
                    None => Ok(()),
                }
            });
            if let Err(at) = twice {
                return self.fail("L9", prov, format!("{name}[{at}] is stored twice"));
            }
        }
    }

    fn aliases(&mut self, body: &LoopBody, operands: &[LoopBody]) {
        for (i, a) in self.kernel.args.iter().enumerate() {
            let written = ArgId(i as u32);
            if let Some(read) = a.may_alias {
                let r = self.kernel.arg(read);
                let sizes = r.dtype == a.dtype && r.len == a.len;
                if a.mode != Mode::Write || r.mode != Mode::Read || !sizes {
                    self.fail("L10", 0, format!("{} cannot take {}'s bytes", a.name, r.name));
                }
                self.same_place(body, operands, read, written);
            }
            if a.mode == Mode::ReadWrite && !matches!(self.kernel.kind, Kind::ScatterAdd(_)) {
                self.same_place(body, operands, written, written);
            }
        }
    }

    /// Every load of `read` is at the place that `written` is stored at.
    fn same_place(&mut self, body: &LoopBody, operands: &[LoopBody], read: ArgId, written: ArgId) {
        let name = &self.kernel.arg(read).name;
        if operands.iter().any(|b| loads(&b.exprs).any(|l| l.arg == read)) {
            self.fail("L10", 0, format!("{name} is overwritten but read by the contraction"));
        }
        let stores: Vec<&Store> = body.stores.iter().filter(|s| s.arg == written).collect();
        for l in loads(&body.exprs).filter(|l| l.arg == read) {
            let same = read == written && stores.is_empty()
                || stores.len() == 1
                    && l.guard.is_none()
                    && stores[0].index == l.index
                    && !l.index.has_data();
            if !same {
                let prov = stores.first().map_or(0, |s| s.prov);
                return self.fail("L10", prov, format!("{name} is overwritten but read at another place"));
            }
        }
    }
}

fn product(extents: &[u64]) -> u64 {
    extents.iter().fold(1, |n, e| n.saturating_mul(*e))
}

/// Whether the writes' ranges do not meet.
fn apart(writes: &[(Index, Vec<u64>)]) -> bool {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for (index, extents) in writes {
        if extents.contains(&0) {
            continue;
        }
        match interval(index, extents) {
            Some(r) => ranges.push(r),
            None => return false,
        }
    }
    ranges.sort_unstable();
    ranges.windows(2).all(|w| w[0].1 < w[1].0)
}

/// The domain of a store: rows alone where it happens once a row.
fn store_extents(body: &LoopBody, s: &Store) -> Vec<u64> {
    let an = Analysis::of(body);
    let by_col = matches!(an.index_space(body, &s.index), Space::Elem | Space::ColOnly);
    body.rows.iter().map(|a| a.extent).chain(body.cols.iter().filter(|_| by_col).map(|a| a.extent)).collect()
}

/// The domain of a tail's results, in the body's axis numbering: row axes count as a single point.
fn tail_extents(body: &LoopBody, t: &Tail) -> Vec<u64> {
    let cols = matches!(t, Tail::Col { .. });
    let rows = body.rows.iter().map(|_| 1);
    rows.chain(body.cols.iter().map(|a| if cols { a.extent } else { 1 })).collect()
}

/// How many elements a run of the kernel surely writes to an argument.
pub fn elements_written(kernel: &Kernel, arg: ArgId) -> u64 {
    let of_body = |body: &LoopBody| -> u64 {
        let stores = body.stores.iter().filter(|s| s.arg == arg && s.guard.is_none());
        let stores: u64 = stores.map(|s| product(&store_extents(body, s))).fold(0, u64::saturating_add);
        let tails = body.tails.iter().filter(|t| t.out() == arg);
        let tails: u64 =
            tails.map(|t| if matches!(t, Tail::Col { .. }) { count(&body.cols) } else { 1 }).sum();
        stores.saturating_add(tails)
    };
    match &kernel.kind {
        Kind::Loop(body) => of_body(body),
        Kind::Contract(c) => of_body(&c.epilogue),
        Kind::Segments(segments) => {
            let own = |s: &Segment| {
                let at = s.args.iter().position(|&a| a == arg)?;
                Some(elements_written(&kernel.segment(s), ArgId(at as u32)))
            };
            segments.iter().find_map(own).unwrap_or(0)
        }
        Kind::ScatterAdd(s) if s.dest == arg && s.init == Init::Zero => kernel.arg(arg).len,
        Kind::ScatterAdd(_) => 0,
        Kind::Copy(c) if arg == ArgId(1) => product(&c.extents),
        Kind::Copy(_) => 0,
    }
}

/// Whether a run of the kernel writes every element of an argument (given L6 and L9, counting is enough).
pub fn covers(kernel: &Kernel, arg: ArgId) -> bool {
    elements_written(kernel, arg) >= kernel.arg(arg).len
}
