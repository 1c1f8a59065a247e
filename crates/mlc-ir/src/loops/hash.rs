//! Kernel hashes: equal kernels compile once.
//!
//! The hash covers everything that fixes the result: argument dtypes, lengths, modes, alignment and aliases; extents,
//! index maps, expressions, reductions, constants as bits. Not names, provenance, buffers or offsets. Expressions
//! count in post-order from reductions, stores and tails (dead ones not at all), arguments by first use, so neither
//! the order in which a kernel was built nor that of its arguments shows. Operands are never sorted: order is meaning.

use super::body::{Expr, ExprId, ExprOp, LoopBody, Tail};
use super::contraction::{Contraction, Operand, Rounding};
use super::index::{Atom, Index};
use crate::mutate::{Mutation, on};

use super::kernel::{ArgId, CopyMap, Init, Kernel, Kind, Scatter, Segment};
use super::program::{LoopProgram, Role};
use super::repeat::Repeat;

/// What identifies a kernel's code. Code for one kernel serves every kernel of the same hash, if arguments are
/// passed in the order of `args`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KernelKey {
    pub hash: [u8; 32],
    /// The kernel's arguments in canonical order: by first use, unused ones last.
    pub args: Vec<ArgId>,
}

/// The key of a well-formed kernel.
pub fn kernel_key(kernel: &Kernel) -> KernelKey {
    let mut e = Encoder { bytes: Vec::new(), args: Vec::new() };
    match &kernel.kind {
        Kind::Loop(body) => {
            e.word(0);
            e.body(body, &[]);
        }
        Kind::Contract(c) => e.contraction(c),
        Kind::Segments(segments) => e.segments(kernel, segments),
        Kind::ScatterAdd(s) => e.scatter(s),
        Kind::Copy(c) => e.copy(c),
        Kind::Repeat(r) => e.repeat(r),
    }
    let mut used = vec![false; kernel.args.len()];
    for a in &e.args {
        if let Some(used) = used.get_mut(a.ix()) {
            *used = true;
        }
    }
    e.args.extend((0..kernel.args.len() as u32).map(ArgId).filter(|a| !used[a.ix()]));
    let args = std::mem::take(&mut e.args);
    let mut place = vec![u64::MAX; kernel.args.len()];
    for (i, a) in args.iter().enumerate().filter(|(_, a)| a.ix() < kernel.args.len()) {
        place[a.ix()] = i as u64;
    }
    let position = |arg: ArgId| place.get(arg.ix()).copied().unwrap_or(u64::MAX);
    for a in args.iter().filter_map(|a| kernel.args.get(a.ix())) {
        e.word(a.dtype as u64);
        e.word(a.len);
        e.word(a.mode as u64);
        e.word(a.align.into());
        e.word(a.may_alias.map_or(u64::MAX - 1, position));
    }
    KernelKey { hash: *blake3::hash(&e.bytes).as_bytes(), args }
}

struct Encoder {
    bytes: Vec<u8>,
    args: Vec<ArgId>,
}

impl Encoder {
    fn word(&mut self, x: u64) {
        self.bytes.extend(x.to_le_bytes());
    }

    fn words(&mut self, list: impl ExactSizeIterator<Item = u64>) {
        self.word(list.len() as u64);
        list.for_each(|x| self.word(x));
    }

    fn arg(&mut self, arg: ArgId) -> u64 {
        match self.args.iter().position(|a| *a == arg) {
            Some(i) => i as u64,
            None => {
                self.args.push(arg);
                self.args.len() as u64 - 1
            }
        }
    }

    fn put_arg(&mut self, arg: ArgId) {
        let n = self.arg(arg);
        self.word(n);
    }

    /// Axes, then roots in order, each after what it needs; `extra` roots last.
    fn body(&mut self, body: &LoopBody, extra: &[ExprId]) -> Numbering {
        self.words(body.rows.iter().map(|a| a.extent));
        self.words(body.cols.iter().map(|a| a.extent));
        let mut n = Numbering::new(body.exprs.len());
        self.word(body.reds.len() as u64);
        for r in &body.reds {
            let v = n.visit(self, &body.exprs, r.value);
            [v, r.op as u64, r.acc as u64].into_iter().for_each(|x| self.word(x));
        }
        self.word(body.stores.len() as u64);
        for s in &body.stores {
            let v = n.visit(self, &body.exprs, s.value);
            let g = s.guard.map_or(u64::MAX, |g| n.visit(self, &body.exprs, g));
            n.visit_index(self, &body.exprs, &s.index);
            self.word(v);
            self.word(g);
            self.put_arg(s.arg);
            self.index(&s.index, &n);
        }
        self.word(body.tails.len() as u64);
        for t in &body.tails {
            let v = n.visit(self, &body.exprs, t.value());
            n.visit_index(self, &body.exprs, t.index());
            let col = u64::from(matches!(t, Tail::Col { .. }));
            [col, v, t.op() as u64, t.acc() as u64].into_iter().for_each(|x| self.word(x));
            self.put_arg(t.out());
            self.index(t.index(), &n);
        }
        for &e in extra {
            n.visit(self, &body.exprs, e);
        }
        n
    }

    fn contraction(&mut self, c: &Contraction) {
        self.word(1);
        for axes in [&c.batch, &c.m, &c.n, &c.k] {
            self.words(axes.iter().map(|a| a.extent));
        }
        self.word(c.acc as u64);
        self.word(u64::from(c.rounding == Rounding::Free));
        for Operand { exprs, value } in [&c.lhs, &c.rhs] {
            let v = Numbering::new(exprs.len()).visit(self, exprs, *value);
            self.word(v);
        }
        self.body(&c.epilogue, &[]);
    }

    /// Each by its own hash, its arguments in their canonical order.
    fn segments(&mut self, kernel: &Kernel, segments: &[Segment]) {
        self.word(4);
        self.word(segments.len() as u64);
        for s in segments {
            let key = kernel_key(&kernel.segment(s));
            self.bytes.extend(key.hash);
            self.args.extend(key.args.iter().map(|a| s.args[a.ix()]));
        }
    }

    fn scatter(&mut self, s: &Scatter) {
        self.word(2);
        let roots: Vec<ExprId> = [s.value].into_iter().chain(s.guard).collect();
        let mut n = self.body(&s.body, &roots);
        n.visit_index(self, &s.body.exprs, &s.index);
        self.index(&s.index, &n);
        self.word(n.of(s.value));
        self.word(s.guard.map_or(u64::MAX, |g| n.of(g)));
        self.word(s.op as u64);
        self.word(u64::from(s.init == Init::Zero));
        self.put_arg(s.dest);
    }

    fn repeat(&mut self, r: &Repeat) {
        self.word(4);
        self.word(r.trips);
        self.word(r.trip.map_or(u64::MAX, |b| b.0.into()));
        for (arg, link) in r.links.iter().enumerate() {
            self.put_arg(ArgId(arg as u32));
            self.bytes.extend(link.word().bytes());
            self.word(link.buffer().0.into());
        }
        self.program(&r.body);
    }

    /// Buffers by number, calls in order.
    fn program(&mut self, p: &LoopProgram) {
        self.word(p.buffers.len() as u64);
        for b in &p.buffers {
            let (role, id) = match b.role {
                Role::Input => (0, 0),
                Role::State(s) => (1, s.0),
                Role::Const(c) => (2, c.0),
                Role::Output => (3, 0),
                Role::Temp => (4, 0),
            };
            [b.dtype as u64, b.len, role, id.into()].into_iter().for_each(|x| self.word(x));
        }
        self.word(p.consts.len() as u64);
        for c in &p.consts {
            self.word(c.bytes.len() as u64);
            self.bytes.extend_from_slice(&c.bytes);
        }
        let keys: Vec<KernelKey> = p.kernels.iter().map(kernel_key).collect();
        self.word(p.calls.len() as u64);
        for call in &p.calls {
            let key = &keys[call.kernel.ix()];
            self.bytes.extend_from_slice(&key.hash);
            for s in key.args.iter().map(|a| &call.args[a.ix()]) {
                [s.buffer.0.into(), s.offset, s.len].into_iter().for_each(|x| self.word(x));
            }
        }
    }

    fn copy(&mut self, c: &CopyMap) {
        self.word(3);
        self.words(c.extents.iter().copied());
        self.put_arg(ArgId(0));
        self.put_arg(ArgId(1));
        let none = Numbering::new(0);
        self.index(&c.src, &none);
        self.index(&c.dst, &none);
        let device = |d: crate::Device| (d.kind as u64) << 32 | u64::from(d.index);
        let (from, to) = c.transfer.map_or((u64::MAX, u64::MAX), |(a, b)| (device(a), device(b)));
        self.word(from);
        self.word(to);
    }

    fn index(&mut self, index: &Index, n: &Numbering) {
        self.word(index.terms.len() as u64);
        for (c, atom) in &index.terms {
            self.word(if on(Mutation::HashIgnoresStride) { 0 } else { *c as u64 });
            match atom {
                Atom::Axis(a) => [0, a.0.into()].into_iter().for_each(|x| self.word(x)),
                Atom::Quot { of, div, modulo } => {
                    [1, *div, modulo.unwrap_or(0)].into_iter().for_each(|x| self.word(x));
                    self.index(of, n);
                }
                Atom::Data(e, b) => {
                    [2, n.of(*e), b.extent, b.wrap.into()].into_iter().for_each(|x| self.word(x));
                }
            }
        }
        self.word(index.offset as u64);
    }

    fn expr(&mut self, e: &Expr, n: &Numbering) {
        self.word(e.dtype as u64);
        match &e.op {
            ExprOp::Load(l) => {
                self.word(10);
                self.put_arg(l.arg);
                self.index(&l.index, n);
                self.word(l.guard.map_or(u64::MAX, |g| n.of(g)));
                self.word(if l.guard.is_some() { l.other.bits } else { 0 });
            }
            ExprOp::Const(lit) => [11, lit.bits].into_iter().for_each(|x| self.word(x)),
            ExprOp::AxisValue(a) => [12, a.0.into()].into_iter().for_each(|x| self.word(x)),
            ExprOp::Acc(r) => [13, r.0.into()].into_iter().for_each(|x| self.word(x)),
            ExprOp::Product => self.word(14),
            ExprOp::Prim(p, args) => {
                [15, *p as u64].into_iter().for_each(|x| self.word(x));
                self.words(args.iter().map(|a| n.of(*a)));
            }
            ExprOp::Fn(f, args) => {
                [16, *f as u64].into_iter().for_each(|x| self.word(x));
                self.words(args.iter().map(|a| n.of(*a)));
            }
        }
    }
}

/// Canonical numbers of expressions, given in post-order of visits.
struct Numbering {
    number: Vec<Option<u64>>,
    next: u64,
}

impl Numbering {
    fn new(exprs: usize) -> Numbering {
        Numbering { number: vec![None; exprs], next: 0 }
    }

    fn of(&self, e: ExprId) -> u64 {
        self.number.get(e.ix()).copied().flatten().unwrap_or(u64::MAX)
    }

    /// Encodes the expression and what it needs, unless done before; returns its number.
    fn visit(&mut self, out: &mut Encoder, exprs: &[Expr], root: ExprId) -> u64 {
        let mut todo = vec![(root, false)];
        while let Some((e, ready)) = todo.pop() {
            if self.number[e.ix()].is_some() {
                continue;
            }
            if ready {
                out.expr(&exprs[e.ix()], self);
                self.number[e.ix()] = Some(self.next);
                self.next += 1;
            } else {
                todo.push((e, true));
                todo.extend(exprs[e.ix()].operands().iter().rev().map(|&o| (o, false)));
            }
        }
        self.of(root)
    }

    fn visit_index(&mut self, out: &mut Encoder, exprs: &[Expr], index: &Index) {
        for e in super::body::index_data(index) {
            self.visit(out, exprs, e);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;
    use crate::loops::interp::tests::{linear_relu, running_sum, scatter, softmax};
    use crate::loops::*;

    fn sub(swap_operands: bool, swap_args: bool, name: &str) -> Kernel {
        let mut b = BodyBuilder::new(&[], &[8]);
        let at = || Index::axis(AxisId(0));
        let (x, y) = if swap_args { (ArgId(1), ArgId(0)) } else { (ArgId(0), ArgId(1)) };
        // Built in either order: the numbering must not show it.
        let (lx, ly) = if swap_args {
            let ly = b.load(y, DType::F32, at());
            (b.load(x, DType::F32, at()), ly)
        } else {
            (b.load(x, DType::F32, at()), b.load(y, DType::F32, at()))
        };
        let d = b.prim(Prim::Sub, &if swap_operands { [ly, lx] } else { [lx, ly] });
        let q = b.prim(Prim::Mul, &[d, lx]);
        b.store(ArgId(2), at(), q);
        let arg = |n: &str, mode| Arg::new(n, DType::F32, 8, mode);
        let args = vec![arg("p", Mode::Read), arg(name, Mode::Read), arg("out", Mode::Write)];
        Kernel { name: name.into(), args, kind: Kind::Loop(b.finish()), prov: vec![Prov::infra()] }
    }

    #[test]
    fn names_and_orders_do_not_show_but_meaning_does() {
        let key = |s, a, n| kernel_key(&sub(s, a, n));
        let base = key(false, false, "a");
        assert_eq!(base.hash, key(false, false, "b").hash);
        let swapped = key(false, true, "a");
        assert_eq!(base.hash, swapped.hash);
        assert_eq!(
            (base.args, swapped.args),
            (vec![ArgId(0), ArgId(1), ArgId(2)], vec![ArgId(1), ArgId(0), ArgId(2)])
        );
        assert_ne!(base.hash, key(true, false, "a").hash);
    }

    #[test]
    fn every_change_shows() {
        let base = || softmax(3, 7);
        let hash = |k: &Kernel| kernel_key(k).hash;
        let mut seen = vec![
            hash(&base()),
            hash(&softmax(7, 3)),
            hash(&linear_relu(3, 4, 5)),
            hash(&linear_relu(3, 4, 6)),
        ];
        seen.push(hash(&scatter(4, 3, Init::Zero)));
        seen.push(hash(&scatter(4, 3, Init::Existing)));
        let mut change = |f: &dyn Fn(&mut Kernel)| {
            let mut k = base();
            f(&mut k);
            seen.push(hash(&k));
        };
        fn body(k: &mut Kernel) -> &mut LoopBody {
            let Kind::Loop(b) = &mut k.kind else { panic!() };
            b
        }
        change(&|k| k.args[0].len += 1);
        change(&|k| k.args[0].align = 64);
        change(&|k| k.args[1].may_alias = Some(ArgId(0)));
        change(&|k| body(k).stores[0].index.offset = 1);
        change(&|k| body(k).stores[0].index.terms[0].0 = 9);
        change(&|k| body(k).reds[0].op = RedOp::Min);
        change(&|k| body(k).stores[0].value = ExprId(0));
        seen.extend([running_sum(3, 2), running_sum(4, 2), running_sum(3, 4)].iter().map(&hash));
        let mut other = running_sum(3, 2);
        let Kind::Repeat(r) = &mut other.kind else { panic!() };
        r.body.calls[2].args[0].buffer = BufferId(3);
        seen.push(hash(&other));
        let n = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), n);
    }
}
