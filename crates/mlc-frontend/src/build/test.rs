//! Test blocks: bindings, expectations, and the entries that decide them.

use mlc_diag::Span;
use mlc_ir::DType;
use mlc_ir::graph::{Output, ValueId};
use mlc_ir::op::{Grad, Op, ReduceKind, ScalarFn};
use mlc_ir::program::{Entry, EntryKind, Expect, ExpectKind, PlanFigure, StateKind, Test};
use mlc_ir::types::Relation;

use super::env::{Env, Owner};
use super::fail::{Fail, R, error, fail};
use super::files::FileId;
use super::interp::{GraphCx, Interp};
use super::value::{Figure, Func, InstId, Value};
use crate::syntax::ast::{self, BinaryOp, ExprKind, StmtKind};

/// What a test has asked for beside its own graph.
#[derive(Default)]
pub struct Asked<'a> {
    /// Methods whose plans are measured: entry name and what it runs.
    pub methods: Vec<(String, InstId, &'a ast::Function)>,
    /// Gradient checks: entry name, scalar, and what to differentiate by.
    pub gradchecks: usize,
}

impl<'a> Interp<'a> {
    /// A test block with its entries. `root_prefix` keeps its instances apart from all others.
    pub fn test(
        &mut self,
        index: usize,
        t: &'a ast::Test,
        file: FileId,
        span: Span,
        out: &mut Vec<Entry>,
    ) -> Test {
        let name = t.name.text.clone();
        let entry = format!("test.{name}");
        self.asked = Asked::default();
        self.test_name = name.clone();
        let mut expects = vec![];
        let ((), g) = self.in_graph(GraphCx::new(&entry), |cx| cx.test_body(t, file, &mut expects));
        out.push(Entry {
            name: entry,
            kind: EntryKind::Test { test: index },
            inputs: vec![],
            graph: g.graph,
            span,
        });
        for (name, id, m) in std::mem::take(&mut self.asked.methods) {
            if !out.iter().any(|e| e.name == name) {
                let f = Func { decl: m, file: self.instances[id.0].file, owner: Owner::Instance(id) };
                self.method_entry(name, &f, out);
            }
        }
        Test { name, span, expects }
    }

    fn test_body(&mut self, t: &'a ast::Test, file: FileId, expects: &mut Vec<Expect>) {
        let mut env = Env::new(file, Owner::File);
        for s in &t.body.stmts {
            let result = match &s.kind {
                StmtKind::Expect(e) => self.expect(&mut env, e, expects),
                StmtKind::Assign { targets, ty, value } => {
                    self.test_binding(&mut env, targets, ty.as_ref(), value)
                }
                StmtKind::Expr(e) => self.expr(&mut env, e).map(|_| ()),
                StmtKind::Write { target, .. } => fail("E0307", target.span, "a test writes no state"),
                StmtKind::Error => Err(Fail::Silent),
            };
            if let Err(f) = result {
                self.report_fail(f);
                if let StmtKind::Assign { targets, .. } = &s.kind {
                    for p in targets {
                        env.assign(&p.name.text, Value::Poison, p.span);
                    }
                }
            }
        }
        self.g.written.clear();
    }

    fn test_binding(
        &mut self,
        env: &mut Env<'a>,
        targets: &'a [ast::Place],
        ty: Option<&'a ast::Type>,
        value: &'a ast::Expr,
    ) -> R<()> {
        let own = targets.first().map_or("", |p| p.name.text.as_str());
        let root = self.new_root(format!("test.{}.{own}", self.test_name));
        self.roots[root].hidden = !self.options.tests;
        let v = self.placed(Some((root, String::new())), |cx| cx.expr(env, value))?;
        let v = self.check_annotation(env, ty, v, value.span)?;
        self.assign(env, targets, v, value.span)
    }

    fn expect(&mut self, env: &mut Env<'a>, e: &'a ast::Expr, expects: &mut Vec<Expect>) -> R<()> {
        let kind = match &e.kind {
            ExprKind::Binary { op, lhs, rhs, .. } if op.is_comparison() && is_figure(lhs) => {
                self.plan_expect(env, *op, lhs, rhs, e.span)?
            }
            _ => match self.expr(env, e)? {
                Value::Bool(b) => ExpectKind::Static(b),
                Value::Figure(f) => match &*f {
                    Figure::GradCheck(entry) => ExpectKind::GradCheck { entry: entry.clone() },
                    _ => return fail("E0417", e.span, "compare the figure: `kernels(net.forward) <= 3`"),
                },
                Value::Tensor(t) if self.ty(t).dtype == DType::Bool => {
                    let axes = (0..self.ty(t).rank()).collect();
                    let value =
                        self.at(e.span, |cx| Ok::<_, Fail>(cx.b().reduce(ReduceKind::And, t, axes)?))?;
                    let name = format!("expect.{}", expects.len());
                    self.g.graph.outputs.push(Output {
                        name: name.clone(),
                        value,
                        weight: None,
                        span: e.span,
                    });
                    if let ExprKind::Binary { op, .. } = &e.kind
                        && op.is_comparison()
                    {
                        self.sides(&name, *op, t, e.span);
                    }
                    ExpectKind::Output(name)
                }
                v => {
                    let title = format!("`expect` takes a condition, this is {}", self.text(&v));
                    return Err(error("E0417", e.span, title).hint("compare it: `expect x == 3`").into());
                }
            },
        };
        expects.push(Expect { span: e.span, kind });
        Ok(())
    }

    /// What a comparison compares, for the message of one that fails: the outputs `NAME.each`, `NAME.left` and
    /// `NAME.right`.
    fn sides(&mut self, name: &str, op: BinaryOp, compared: ValueId, span: Span) {
        let node = self.g.graph.node(compared.node);
        let (Op::Elementwise(map), [a, b]) = (&node.op, &node.operands[..]) else { return };
        if !matches!(map.f, ScalarFn::Eq | ScalarFn::Ne | ScalarFn::Lt | ScalarFn::Le) {
            return;
        }
        // `a > b` is made as `b < a`.
        let swapped = matches!(op, BinaryOp::Gt | BinaryOp::Ge);
        let (left, right) = if swapped { (*b, *a) } else { (*a, *b) };
        for (part, value) in [("each", compared), ("left", left), ("right", right)] {
            self.g.graph.outputs.push(Output { name: format!("{name}.{part}"), value, weight: None, span });
        }
    }

    fn plan_expect(
        &mut self,
        env: &mut Env<'a>,
        op: BinaryOp,
        lhs: &'a ast::Expr,
        rhs: &'a ast::Expr,
        span: Span,
    ) -> R<ExpectKind> {
        let Value::Figure(f) = self.expr(env, lhs)? else { return Err(Fail::Silent) };
        let v = self.expr(env, rhs)?;
        let bound = self.to_int(&v, rhs.span)?;
        let (figure, entry) = match &*f {
            Figure::Kernels(entry) => (PlanFigure::Kernels, entry.clone()),
            Figure::Peak(entry) => (PlanFigure::PeakBytes, entry.clone()),
            Figure::GradCheck(_) => return fail("E0417", span, "`gradcheck` is not compared"),
        };
        let (rel, bound) = match op {
            BinaryOp::Le => (Relation::Le, bound),
            BinaryOp::Lt => (Relation::Lt, bound),
            BinaryOp::Eq => (Relation::Eq, bound),
            BinaryOp::Ne => (Relation::Ne, bound),
            _ => {
                return Err(error(
                    "E0417",
                    span,
                    format!("a figure has an upper bound, not `{}`", op.symbol()),
                )
                .hint("write `kernels(net.forward) <= 3`")
                .into());
            }
        };
        let bound = u64::try_from(bound).map_err(|_| error("E0417", rhs.span, "a figure is not negative"))?;
        Ok(ExpectKind::Plan { entry, figure, rel, bound })
    }

    /// The entry whose plan a figure speaks of.
    pub fn figure_entry(&mut self, v: &Value<'a>, span: Span) -> R<String> {
        let (id, m) = match v {
            Value::Method(id, m) => (*id, *m),
            Value::Instance(id) => match self.method(*id, "forward") {
                Some(m) => (*id, m),
                None => return fail("E0303", span, "this model has no `forward`"),
            },
            Value::Str(s) => return Ok(s.to_string()),
            v => {
                let title = format!(
                    "a figure is of an entry, such as `net.forward` or `train`; this is {}",
                    v.kind()
                );
                return fail("E0417", span, title);
            }
        };
        if !super::entries::is_entry(m) {
            let title = format!("`{}` is no entry: its parameters are not all annotated", m.name.text);
            return fail("E0417", span, title);
        }
        let name = format!("{}.{}", self.instance_path(id), m.name.text);
        self.asked.methods.push((name.clone(), id, m));
        Ok(name)
    }

    /// The outputs `NAME.loss` (the sum of all results) and its gradients by parameters and inputs, in
    /// the test's own graph; the runner compares them with differences of `NAME.loss`.
    pub fn gradcheck(&mut self, f: Value<'a>, xs: &[ValueId], span: Span) -> R<String> {
        let name = format!("gradcheck.{}", self.asked.gradchecks);
        self.asked.gradchecks += 1;
        let args = xs.iter().map(|&x| super::call::Arg::positional(Value::Tensor(x), span)).collect();
        let owner = match &f {
            Value::Instance(id) | Value::Method(id, _) => Some(*id),
            _ => None,
        };
        let v = self.call_values(f, args, span, "gradcheck")?;
        let mut parts = vec![];
        collect_tensors(&v, &mut parts);
        let mut total: Option<ValueId> = None;
        for t in parts.into_iter().filter(|&t| self.ty(t).dtype.is_float()).collect::<Vec<_>>() {
            let t = self.b().cast(t, DType::F32)?;
            let s = self.b().sum_all(t)?;
            total = Some(match total {
                None => s,
                Some(t) => self.b().add(t, s)?,
            });
        }
        let Some(y) = total else { return fail("E0601", span, "there is no float result to differentiate") };
        let mut by: Vec<(String, ValueId)> = vec![];
        for id in owner.map_or(vec![], |id| self.states_of(id)) {
            if self.states[id.0].kind == StateKind::Param {
                by.push((self.state_path(id), self.read_state(id)?));
            }
        }
        by.extend(xs.iter().enumerate().map(|(k, &x)| (format!("x{k}"), x)));
        by.retain(|(_, v)| self.ty(*v).dtype.is_float());
        let operands: Vec<ValueId> = std::iter::once(y).chain(by.iter().map(|b| b.1)).collect();
        let grads = self.b().op(Op::Grad(Grad { allow_unused: true }), &operands)?;
        let mut push = |name: String, value| {
            self.g.graph.outputs.push(Output { name, value, weight: None, span });
        };
        push(format!("{name}.loss"), y);
        for (k, (path, _)) in by.iter().enumerate() {
            push(format!("{name}.grad.{path}"), grads.node.result(k));
        }
        Ok(format!("test.{}/{name}", self.test_name))
    }
}

fn collect_tensors(v: &Value<'_>, out: &mut Vec<ValueId>) {
    match v {
        Value::Tensor(t) => out.push(*t),
        Value::List(items) | Value::Tuple(items) => items.iter().for_each(|v| collect_tensors(v, out)),
        _ => {}
    }
}

fn is_figure(e: &ast::Expr) -> bool {
    let ExprKind::Call { callee, .. } = &e.kind else { return false };
    matches!(&callee.kind, ExprKind::Name(n) if n == "kernels" || n == "peak")
}
