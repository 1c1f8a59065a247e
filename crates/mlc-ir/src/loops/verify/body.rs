//! Names, types, spaces and stages: L1-L5, L7, L8, L11, L13-L15.

use std::collections::BTreeSet;

use super::Checker;
use crate::DType;
use crate::loops::body::{Analysis, Expr, ExprId, ExprOp, LoopBody, RedOp, Space, Tail};
use crate::loops::contraction::Contraction;
use crate::loops::index::{Atom, Index};
use crate::loops::kernel::{ArgId, Init, Kernel, Kind, Mode, Scatter, Segment};
use crate::loops::scalar::{Prim, mask};

/// Letters, digits, `_` and `.`, not starting with a digit or a dot.
pub fn is_identifier(s: &str) -> bool {
    let mut chars = s.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
}

impl Checker<'_> {
    pub fn names(&mut self) {
        let k = self.kernel;
        let mut seen = BTreeSet::new();
        for (i, a) in k.args.iter().enumerate() {
            if !is_identifier(&a.name) || !seen.insert(&a.name) {
                self.fail("L2", 0, format!("`{}` is no name for an argument here", a.name));
            }
            if a.may_alias.is_some_and(|r| r.ix() >= k.args.len() || r.ix() == i) {
                self.fail("L2", 0, format!("{} aliases no argument", a.name));
            }
            if !a.align.is_power_of_two() || (a.align as usize) < a.dtype.size() {
                self.fail("L2", 0, format!("{} is aligned to {}", a.name, a.align));
            }
        }
        if k.prov.is_empty() {
            self.fail("L15", 0, "has no provenance");
        }
        match &k.kind {
            Kind::Loop(body) => self.body_names(body),
            Kind::Contract(c) => self.contraction_names(c),
            Kind::ScatterAdd(s) => self.scatter_names(s),
            Kind::Segments(segments) => self.segment_names(segments),
            Kind::Copy(c) => {
                let rank = c.extents.len();
                let modes = [Mode::Read, Mode::Write];
                let ok = k.args.len() == 2
                    && k.args[0].mode == modes[0]
                    && k.args[1].mode != modes[0]
                    && k.args[0].dtype == k.args[1].dtype;
                if !ok {
                    self.fail("L2", 0, "a copy reads one argument and writes another of its dtype");
                }
                for index in [&c.src, &c.dst] {
                    self.index_names(index, rank, 0, 0);
                    if index.has_data() {
                        self.fail("L6", 0, "a copy's index depends on data");
                    }
                }
            }
        }
    }

    /// L16, and the rules of each segment as a kernel of its own.
    fn segment_names(&mut self, segments: &[Segment]) {
        let mut uses = vec![0; self.kernel.args.len()];
        for a in segments.iter().flat_map(|s| &s.args) {
            match uses.get_mut(a.ix()) {
                Some(n) => *n += 1,
                None => return self.fail("L2", 0, format!("there is no {a}")),
            }
        }
        if let Some(i) = uses.iter().position(|&n| n != 1) {
            let name = &self.kernel.args[i].name;
            return self.fail("L16", 0, format!("{name} is an argument of {} segments", uses[i]));
        }
        for s in segments {
            let alias = s.args.iter().filter_map(|a| self.kernel.arg(*a).may_alias);
            if alias.into_iter().any(|a| !s.args.contains(&a)) {
                self.fail("L16", 0, "a segment takes over another's argument");
            }
            let own = Kernel { prov: self.kernel.prov.clone(), ..self.kernel.segment(s) };
            self.found.extend(super::verify_kernel(&own));
        }
    }

    fn body_names(&mut self, body: &LoopBody) {
        let axes = body.axes().count();
        self.expr_names(&body.exprs, axes, body.reds.len());
        let n = body.exprs.len();
        for r in &body.reds {
            self.expr_exists(r.value, n, r.prov);
            self.prov_exists(r.prov);
        }
        for s in &body.stores {
            self.expr_exists(s.value, n, s.prov);
            s.guard.into_iter().for_each(|g| self.expr_exists(g, n, s.prov));
            self.index_names(&s.index, axes, n, s.prov);
            self.arg_exists(s.arg, true, s.prov);
            self.prov_exists(s.prov);
        }
        for t in &body.tails {
            self.expr_exists(t.value(), n, t.prov());
            self.index_names(t.index(), axes, n, t.prov());
            self.arg_exists(t.out(), true, t.prov());
            self.prov_exists(t.prov());
        }
    }

    fn contraction_names(&mut self, c: &Contraction) {
        let axes = c.axes().count();
        for op in [&c.lhs, &c.rhs] {
            self.expr_names(&op.exprs, axes, 0);
            self.expr_exists(op.value, op.exprs.len(), 0);
        }
        self.body_names(&c.epilogue);
    }

    fn scatter_names(&mut self, s: &Scatter) {
        self.body_names(&s.body);
        let n = s.body.exprs.len();
        self.expr_exists(s.value, n, s.prov);
        s.guard.into_iter().for_each(|g| self.expr_exists(g, n, s.prov));
        self.index_names(&s.index, s.body.axes().count(), n, s.prov);
        self.arg_exists(s.dest, true, s.prov);
        self.prov_exists(s.prov);
        if !(s.body.reds.is_empty() && s.body.tails.is_empty() && s.body.stores.is_empty()) {
            self.fail("L2", s.prov, "a scatter's body has no reductions, tails or stores");
        }
        let mode = if s.init == Init::Zero { Mode::Write } else { Mode::ReadWrite };
        if self.kernel.args.get(s.dest.ix()).is_some_and(|a| a.mode != mode) {
            self.fail("L2", s.prov, format!("a scatter into {:?} needs mode {mode:?}", s.init));
        }
    }

    fn expr_names(&mut self, exprs: &[Expr], axes: usize, reds: usize) {
        for (i, e) in exprs.iter().enumerate() {
            self.prov_exists(e.prov);
            for o in e.operands() {
                if o.ix() >= i {
                    self.fail("L1", e.prov, format!("%{i} uses {o}, which comes later"));
                }
            }
            match &e.op {
                ExprOp::Load(l) => {
                    self.arg_exists(l.arg, false, e.prov);
                    self.index_names(&l.index, axes, exprs.len(), e.prov);
                }
                ExprOp::AxisValue(a) if a.ix() >= axes => {
                    self.fail("L2", e.prov, format!("%{i}: no axis {}", a.0))
                }
                ExprOp::Acc(r) if r.ix() >= reds => self.fail("L2", e.prov, format!("%{i}: there is no {r}")),
                _ => {}
            }
        }
    }

    fn expr_exists(&mut self, e: ExprId, n: usize, prov: u32) {
        if e.ix() >= n {
            self.fail("L2", prov, format!("there is no {e}"));
        }
    }

    fn prov_exists(&mut self, prov: u32) {
        if prov as usize >= self.kernel.prov.len() {
            self.fail("L15", 0, format!("there is no provenance {prov}"));
        }
    }

    fn arg_exists(&mut self, arg: ArgId, write: bool, prov: u32) {
        match self.kernel.args.get(arg.ix()) {
            None => self.fail("L2", prov, format!("there is no {arg}")),
            Some(a) if write && a.mode == Mode::Read => {
                self.fail("L2", prov, format!("{} is written", a.name))
            }
            Some(a) if !write && a.mode == Mode::Write => {
                self.fail("L2", prov, format!("{} is read", a.name))
            }
            Some(_) => {}
        }
    }

    fn index_names(&mut self, index: &Index, axes: usize, exprs: usize, prov: u32) {
        let mut wrong = Vec::new();
        index.visit(&mut |atom| match atom {
            Atom::Axis(a) if a.ix() >= axes => wrong.push(("L2", format!("there is no axis {}", a.0))),
            Atom::Quot { div: 0, .. } | Atom::Quot { modulo: Some(0), .. } => {
                wrong.push(("L2", "a quotient by 0".to_string()));
            }
            Atom::Data(e, _) if e.ix() >= exprs => wrong.push(("L2", format!("there is no {e}"))),
            Atom::Data(e, b) if b.extent == 0 || b.extent > i64::MAX as u64 => {
                wrong.push(("L6", format!("an index by {e} into {} elements", b.extent)));
            }
            _ => {}
        });
        for (rule, m) in wrong {
            self.fail(rule, prov, m);
        }
    }

    // ---- types ----

    pub fn types(&mut self) {
        match &self.kernel.kind {
            Kind::Loop(body) => self.body_types(body, None),
            Kind::Contract(c) => self.contraction_types(c),
            Kind::ScatterAdd(s) => {
                self.body_types(&s.body, None);
                self.index_types(&s.index, &s.body.exprs, s.prov);
                self.guard_types(s.guard, &s.body.exprs, s.prov);
                let (value, dest) = (s.body.expr(s.value).dtype, self.kernel.arg(s.dest).dtype);
                if value != dest {
                    self.fail("L1", s.prov, format!("a {value} is scattered into {dest}"));
                }
                self.reduction(s.op, dest, dest, s.prov);
                if s.op.is_arg() {
                    self.fail("L8", s.prov, "a scatter cannot take positions");
                }
            }
            // Held by `segment_names`.
            Kind::Segments(_) | Kind::Copy(_) => {}
        }
    }

    fn contraction_types(&mut self, c: &Contraction) {
        if !(matches!(c.acc, DType::F32 | DType::F64) || c.acc.is_int()) {
            self.fail("L13", 0, format!("accumulates in {}", c.acc));
        }
        for (name, op, foreign) in [
            ("lhs", &c.lhs, c.first_n().ix()..c.first_k().ix()),
            ("rhs", &c.rhs, c.first_m().ix()..c.first_n().ix()),
        ] {
            self.expr_types(&op.exprs, &[], None);
            if op.exprs[op.value.ix()].dtype != c.acc {
                self.fail("L13", 0, format!("{name} is {}, not {}", op.exprs[op.value.ix()].dtype, c.acc));
            }
            let mut axes = BTreeSet::new();
            for e in &op.exprs {
                match &e.op {
                    ExprOp::Load(l) => l.index.visit(&mut |a| {
                        if let Atom::Axis(a) = a {
                            axes.insert(a.ix());
                        }
                    }),
                    ExprOp::AxisValue(a) => {
                        axes.insert(a.ix());
                    }
                    _ => {}
                }
            }
            if axes.iter().any(|a| foreign.contains(a)) {
                self.fail("L13", 0, format!("{name} depends on the other operand's axes"));
            }
        }
        let e = &c.epilogue;
        if !e.reds.is_empty() || !e.tails.is_empty() {
            self.fail("L13", 0, "the epilogue has reductions");
        }
        let rows: Vec<_> = c.batch.iter().chain(&c.m).collect();
        if !e.rows.iter().eq(rows) || e.cols != c.n {
            self.fail("L13", 0, "the epilogue's domain is not batch, m | n");
        }
        self.body_types(e, Some(c.acc));
    }

    fn body_types(&mut self, body: &LoopBody, product: Option<DType>) {
        let accs: Vec<DType> = body.reds.iter().map(|r| r.op.result(r.acc)).collect();
        self.expr_types(&body.exprs, &accs, product);
        for r in &body.reds {
            self.reduction(r.op, r.acc, body.expr(r.value).dtype, r.prov);
        }
        for t in &body.tails {
            self.reduction(t.op(), t.acc(), body.expr(t.value()).dtype, t.prov());
            self.index_types(t.index(), &body.exprs, t.prov());
        }
        for s in &body.stores {
            let (value, arg) = (body.expr(s.value).dtype, self.kernel.arg(s.arg).dtype);
            if value != arg {
                self.fail("L1", s.prov, format!("a {value} is stored as {arg}"));
            }
            self.index_types(&s.index, &body.exprs, s.prov);
            self.guard_types(s.guard, &body.exprs, s.prov);
        }
    }

    fn reduction(&mut self, op: RedOp, acc: DType, value: DType, prov: u32) {
        if op.identity(acc).is_none() || acc != value {
            self.fail("L8", prov, format!("{} of {value} in {acc}", op.name()));
        }
        if matches!(acc, DType::F16 | DType::BF16) {
            self.fail("L11", prov, format!("{} accumulates in {acc}", op.name()));
        }
    }

    fn expr_types(&mut self, exprs: &[Expr], accs: &[DType], product: Option<DType>) {
        for (i, e) in exprs.iter().enumerate() {
            let of = |ids: &[ExprId]| ids.iter().map(|a| exprs[a.ix()].dtype).collect::<Vec<_>>();
            let want = match &e.op {
                ExprOp::Load(l) => {
                    self.index_types(&l.index, exprs, e.prov);
                    self.guard_types(l.guard, exprs, e.prov);
                    let arg = self.kernel.arg(l.arg).dtype;
                    if l.other.dtype == arg {
                        Ok(arg)
                    } else {
                        Err(format!("fills {arg} with {}", l.other.dtype))
                    }
                }
                ExprOp::Const(lit) if lit.bits & !mask(lit.dtype) != 0 => Err("a constant too wide".into()),
                ExprOp::Const(lit) => Ok(lit.dtype),
                ExprOp::AxisValue(_) => Ok(DType::I64),
                ExprOp::Acc(r) => Ok(accs[r.ix()]),
                ExprOp::Product => product.ok_or_else(|| "a product outside of an epilogue".into()),
                ExprOp::Prim(Prim::Bitcast, _) => {
                    self.fail("L14", e.prov, format!("%{i} is a bitcast"));
                    continue;
                }
                ExprOp::Prim(p, args) => p.result(&of(args), e.dtype),
                ExprOp::Fn(f, args) => f.result(&of(args)),
            };
            match want {
                Ok(d) if d == e.dtype => {}
                Ok(d) => self.fail("L1", e.prov, format!("%{i} is {d}, not {}", e.dtype)),
                Err(m) => self.fail("L1", e.prov, format!("%{i}: {m}")),
            }
        }
    }

    fn index_types(&mut self, index: &Index, exprs: &[Expr], prov: u32) {
        for e in crate::loops::body::index_data(index) {
            let d = exprs[e.ix()].dtype;
            if !d.is_int() {
                self.fail("L1", prov, format!("{e} of {d} is an index"));
            }
        }
    }

    fn guard_types(&mut self, guard: Option<ExprId>, exprs: &[Expr], prov: u32) {
        let Some(g) = guard else { return };
        if exprs[g.ix()].dtype != DType::Bool {
            self.fail("L1", prov, format!("the guard {g} is {}", exprs[g.ix()].dtype));
        }
        let mut todo = vec![g];
        let mut seen = BTreeSet::new();
        while let Some(e) = todo.pop() {
            if seen.insert(e) {
                if exprs[e.ix()].dtype.is_float() {
                    return self.fail("L7", prov, format!("the guard {g} depends on the float {e}"));
                }
                todo.extend(exprs[e.ix()].operands());
            }
        }
    }

    // ---- spaces and stages ----

    pub fn spaces(&mut self) {
        match &self.kernel.kind {
            Kind::Loop(body) => self.body_spaces(body),
            Kind::Contract(c) => self.body_spaces(&c.epilogue),
            Kind::ScatterAdd(s) => {
                if loads(&s.body.exprs).any(|l| l.arg == s.dest) {
                    self.fail("L5", s.prov, "a scatter loads its destination");
                }
            }
            Kind::Segments(_) | Kind::Copy(_) => {}
        }
    }

    fn body_spaces(&mut self, body: &LoopBody) {
        let an = Analysis::of(body);
        let by_col = |s: Space| matches!(s, Space::Elem | Space::ColOnly);
        let one_col = body.cols.iter().all(|a| a.extent == 1);
        for s in &body.stores {
            let once = !by_col(an.index_space(body, &s.index));
            let varies = |e: ExprId| by_col(an.space[e.ix()]);
            if once && !one_col && (varies(s.value) || s.guard.is_some_and(varies)) {
                self.fail("L3", s.prov, format!("{} differs by column, its place does not", s.value));
            }
        }
        for t in &body.tails {
            let place = an.index_space(body, t.index());
            let (ok, what) = match t {
                Tail::Col { .. } => {
                    (matches!(place, Space::ColOnly | Space::Uniform), "a column tail's place")
                }
                Tail::RowScalar { value, .. } => (
                    place == Space::Uniform && (one_col || !by_col(an.space[value.ix()])),
                    "a row tail's value or place",
                ),
            };
            if !ok {
                self.fail("L3", t.prov(), format!("{what} depends on the wrong axes"));
            }
            let stored = body.stores.iter().any(|s| s.arg == t.out());
            let twice = body.tails.iter().filter(|u| u.out() == t.out()).count() > 1;
            if stored || loads(&body.exprs).any(|l| l.arg == t.out()) {
                self.fail(
                    "L5",
                    t.prov(),
                    format!("{} is also loaded or stored", self.kernel.arg(t.out()).name),
                );
            }
            if twice && matches!(t, Tail::Col { .. }) {
                self.fail("L9", t.prov(), format!("two tails write {}", self.kernel.arg(t.out()).name));
            }
        }
        for (i, r) in body.reds.iter().enumerate() {
            if an.stage[r.value.ix()] > i as u32 {
                self.fail("L4", r.prov, format!("acc{i} needs a later reduction"));
            }
        }
    }
}

/// Every load of these expressions.
pub fn loads(exprs: &[Expr]) -> impl Iterator<Item = &crate::loops::index::Load> {
    exprs.iter().filter_map(|e| match &e.op {
        ExprOp::Load(l) => Some(l),
        _ => None,
    })
}
