//! The update half of a step: accumulated and clipped gradients, optimizers, averages.

use std::rc::Rc;

use mlc_diag::Span;
use mlc_ir::graph::{Output, Phase, ValueId};
use mlc_ir::op::ScalarFn;
use mlc_ir::program::{PassEnd, StateKind, system};
use mlc_ir::{DType, Type};

use super::env::{Env, HyperScope, Owner};
use super::fail::{Fail, R, error, fail};
use super::interp::{InitOf, Interp, StateInfo};
use super::types::Matching;
use super::value::{Func, Hyper, StateId, Value};
use crate::syntax::ast;

impl<'a> Interp<'a> {
    /// The environment of an optimizer's body: hyper-parameters evaluated in this graph.
    pub fn optimizer_env(
        &mut self,
        h: &Rc<Hyper<'a>>,
        param: Option<StateId>,
        states: Vec<(&'a str, Option<StateId>)>,
    ) -> R<Env<'a>> {
        let mut values = self.hyper_values(h)?;
        if let Some(p) = param {
            let v = self.read_state(p)?;
            values.push(("param", Value::Tensor(v)));
        }
        let scope = HyperScope { values, states };
        Ok(Env::new(h.file, Owner::Hyper(Rc::new(scope))))
    }

    pub fn hyper_values(&mut self, h: &Rc<Hyper<'a>>) -> R<Vec<(&'a str, Value<'a>)>> {
        let mut env = Env::new(h.file, Owner::Hyper(Rc::default()));
        for p in &h.item.params {
            let given = h.args.iter().find(|a| a.0 == p.name.text).map(|a| a.1.clone());
            let (v, span) = match (given, &p.default) {
                (Some(t), _) => {
                    let mut outer = (*t.env).clone();
                    (self.placed(None, |cx| cx.expr(&mut outer, t.expr))?, t.expr.span)
                }
                (None, Some(e)) => (self.expr(&mut env, e)?, e.span),
                (None, None) => return fail("E0308", h.span, format!("`{}` is missing", p.name.text)),
            };
            let v = match &p.ty {
                Some(ty) => {
                    let what = format!("`{}` of `{}`", p.name.text, h.item.name.text);
                    self.match_type(&mut env, ty, v, &Matching { what: &what, span, introduce: false })?
                }
                None => v,
            };
            env.declare(&p.name.text, v, p.name.span);
        }
        Ok(env.vars.into_iter().map(|v| (v.name, v.value)).collect())
    }

    #[expect(clippy::too_many_arguments, reason = "one use, and all of it is what a state is")]
    pub fn add_optimizer_state(
        &mut self,
        path: String,
        prefix: &str,
        ty: Type,
        h: Rc<Hyper<'a>>,
        leaf: &'a ast::Expr,
        param: StateId,
        name: &ast::Name,
    ) -> StateId {
        let root = self.new_root("");
        let kind =
            StateKind::Optimizer { param: self.state_path(param).into(), name: name.text.as_str().into() };
        let _ = prefix;
        let span = self.states[param.0].span;
        self.add_state(StateInfo {
            root,
            path,
            kind,
            ty,
            init: InitOf::Optimizer(leaf, h, param),
            span,
            aliases: vec![],
        })
    }

    pub fn apply(
        &mut self,
        i: usize,
        l: &'a ast::Loss,
        mut grads: Vec<(StateId, ValueId)>,
        end: PassEnd,
    ) -> R<()> {
        if self.accumulate(i) > 1 {
            for (p, g) in &mut grads {
                let sum = self.gradient_state(*p)?;
                let old = self.read_state(sum)?;
                *g = self.b().add(old, *g)?;
                if end == PassEnd::Micro {
                    self.write_state(sum, *g, l.body.span);
                }
            }
            if end == PassEnd::Micro {
                return Ok(());
            }
            let micro = self.system(system::MICRO);
            let done = self.read_state(micro)?;
            let one = self.b().scalar(DType::F32, 1.0)?;
            let n = self.b().add(done, one)?;
            for (p, g) in &mut grads {
                let shape = self.ty(*g).shape;
                let dtype = self.ty(*g).dtype;
                let by = self.b().cast(n, dtype)?;
                let by = self.b().broadcast(by, shape, vec![])?;
                *g = self.b().div(*g, by)?;
                let sum = self.gradient_state(*p)?;
                let zero = self.b().full_like(*g, 0.0)?;
                self.write_state(sum, zero, l.body.span);
            }
            let zero = self.b().scalar(DType::F32, 0.0)?;
            self.write_state(micro, zero, l.body.span);
        }
        self.clip(i, &mut grads)?;
        for (p, g) in grads {
            self.update(i, p, g)?;
        }
        Ok(())
    }

    /// PyTorch's clip_grad_norm_: all gradients times min(1, limit / (norm + 1e-6)).
    pub fn clip(&mut self, i: usize, grads: &mut [(StateId, ValueId)]) -> R<()> {
        let Some(limit) = self.trains[i].value("clip_norm").and_then(Value::as_f64) else { return Ok(()) };
        let span = self.trains[i].binding("clip_norm").map_or(Span::NONE, |b| b.name.span);
        self.at(span, |cx| {
            let mut total: Option<ValueId> = None;
            for (_, g) in grads.iter() {
                let square = cx.b().mul(*g, *g)?;
                let sum = cx.b().sum_all(square)?;
                let sum = cx.b().cast(sum, DType::F32)?;
                total = Some(match total {
                    None => sum,
                    Some(t) => cx.b().add(t, sum)?,
                });
            }
            let Some(total) = total else { return Ok(()) };
            let norm = cx.b().map(ScalarFn::Sqrt, &[total])?;
            let tiny = cx.b().scalar(DType::F32, 1e-6)?;
            let norm = cx.b().add(norm, tiny)?;
            let limit = cx.b().scalar(DType::F32, limit)?;
            let ratio = cx.b().div(limit, norm)?;
            let one = cx.b().scalar(DType::F32, 1.0)?;
            let factor = cx.b().map(ScalarFn::Min, &[ratio, one])?;
            for (_, g) in grads.iter_mut() {
                let shape = cx.ty(*g).shape;
                let dtype = cx.ty(*g).dtype;
                let f = cx.b().cast(factor, dtype)?;
                let f = cx.b().broadcast(f, shape, vec![])?;
                *g = cx.b().mul(*g, f)?;
            }
            Ok(())
        })
    }

    /// Runs the optimizer's `update` on one parameter.
    pub fn update(&mut self, i: usize, p: StateId, g: ValueId) -> R<()> {
        let groups = &self.trains[i].groups;
        let found = groups.iter().find_map(|gr| gr.params.iter().find(|t| t.param == p).map(|t| (gr, t)));
        let Some((group, trained)) = found else { return Err(Fail::Silent) };
        let (h, states) = (group.optimizer.clone(), trained.states.clone());
        let Some(update) = method_of(h.item, "update") else {
            return Err(error(
                "E0416",
                h.item.name.span,
                format!("the optimizer `{}` has no `update`", h.item.name.text),
            )
            .hint("declare `update(param, grad, step) { .. }`; its value is the new parameter")
            .into());
        };
        let path = self.state_path(p);
        self.at(h.span, |cx| {
            let env = cx.optimizer_env(&h, None, states)?;
            let func = Func { decl: update, file: h.file, owner: env.owner };
            let param = cx.read_state(p)?;
            let step = cx.counter("step");
            let step = cx.read(step)?;
            let args = [Value::Tensor(param), Value::Tensor(g), step];
            let args =
                args.into_iter().take(update.params.len()).map(|v| super::call::Arg::positional(v, h.span));
            let owner = path.rsplit_once('.').map_or("", |x| x.0).to_owned();
            let new = cx.in_scope(&owner, |cx| cx.call_fn(&func, args.collect(), h.span))?;
            let ty = cx.states[p.0].ty.clone();
            let what = format!("the new value of `{path}`");
            let new = cx.fit(&new, &ty, &what, update.name.span)?;
            cx.write_state(p, new, h.span);
            Ok(())
        })
    }

    /// The outputs `lr`, or `lr.GLOB` under a path map, as this step used them.
    pub fn learning_rates(&mut self, i: usize) -> R<()> {
        for k in 0..self.trains[i].groups.len() {
            let (glob, h) =
                (self.trains[i].groups[k].glob.clone(), self.trains[i].groups[k].optimizer.clone());
            self.g.phase = Phase::Update;
            let values = self.at(h.span, |cx| cx.hyper_values(&h));
            self.g.phase = Phase::Forward;
            let Some((_, lr)) = values?.into_iter().find(|v| v.0 == "lr") else { continue };
            let lr = self.at(h.span, |cx| cx.tensor_of(&lr, DType::F32, h.span))?;
            if self.ty(lr).rank() != 0 {
                continue;
            }
            let name = if glob.is_empty() { "lr".to_owned() } else { format!("lr.{glob}") };
            self.g.graph.outputs.push(Output { name, value: lr, weight: None, span: h.span });
        }
        Ok(())
    }

    /// Averages follow what the step leaves: parameters by decay, buffers by copy.
    pub fn averages(&mut self, i: usize) -> R<()> {
        self.g.phase = Phase::Update;
        for k in 0..self.trains[i].averages.len() {
            let a = &self.trains[i].averages[k];
            let (pairs, decay, every, span) = (a.pairs.clone(), a.decay, a.every, a.span);
            self.at(span, |cx| {
                let due = if every > 1 { Some(cx.due(every)?) } else { None };
                for (from, to) in pairs {
                    let (new, old) = (cx.read_state(from)?, cx.read_state(to)?);
                    let mut value = new;
                    if cx.states[from.0].kind == StateKind::Param && decay != 0.0 {
                        let d = cx.b().full_like(old, decay)?;
                        let rest = cx.b().full_like(old, 1.0 - decay)?;
                        let kept = cx.b().mul(old, d)?;
                        let added = cx.b().mul(new, rest)?;
                        value = cx.b().add(kept, added)?;
                    }
                    if let Some(due) = due {
                        let shape = cx.ty(old).shape;
                        let due = cx.b().broadcast(due, shape, vec![])?;
                        value = cx.b().select(due, value, old)?;
                    }
                    cx.write_state(to, value, span);
                }
                Ok::<(), Fail>(())
            })?;
        }
        self.g.phase = Phase::Forward;
        Ok(())
    }

    /// step % every == 0, at run time.
    pub fn due(&mut self, every: u64) -> R<ValueId> {
        let step = self.counter("step");
        let Value::Tensor(step) = self.read(step)? else { return Err(Fail::Silent) };
        let n = self.b().scalar(DType::F32, every as f64)?;
        let rest = self.b().map(ScalarFn::Rem, &[step, n])?;
        let zero = self.b().scalar(DType::F32, 0.0)?;
        Ok(self.b().map(ScalarFn::Eq, &[rest, zero])?)
    }

    pub fn declare_gradients(&mut self, i: usize) {
        for p in self.trained_params(i) {
            let trained = self.trains[i].groups.iter().any(|g| g.params.iter().any(|t| t.param == p));
            if trained && self.gradient_of(p).is_none() {
                let path = self.state_path(p);
                let root = self.new_root("");
                let (ty, span) = (self.states[p.0].ty.clone(), self.states[p.0].span);
                self.add_state(StateInfo {
                    root,
                    path: format!("gradient.{path}"),
                    kind: StateKind::Gradient { param: path.into() },
                    ty,
                    init: InitOf::Zero,
                    span,
                    aliases: vec![],
                });
            }
        }
    }

    pub fn gradient_of(&self, p: StateId) -> Option<StateId> {
        let path = self.state_path(p);
        let of = |k: &StateKind| matches!(k, StateKind::Gradient { param } if **param == *path);
        self.states.iter().position(|s| of(&s.kind)).map(StateId)
    }

    pub fn gradient_state(&self, p: StateId) -> R<StateId> {
        self.gradient_of(p).ok_or(Fail::Silent)
    }
}

fn method_of<'a>(o: &'a ast::Optimizer, name: &str) -> Option<&'a ast::Function> {
    o.members.iter().find_map(|m| match &m.kind {
        ast::OptimizerMemberKind::Method(f) if f.name.text == name => Some(f),
        _ => None,
    })
}
