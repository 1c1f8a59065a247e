//! Model instances: construction, members, states and their names.
//!
//! An instance lives at a root (the binding it was built for) and a path below it. One that is built
//! in an argument belongs to the binding that the call is assigned to: `layer1 = Sequential([A(), B()])`
//! puts `A` at `layer1.0`; an argument `inner` outside lists is at `layer1.inner`. What is bound a
//! second time keeps its first path and gets an alias.

use std::rc::Rc;

use mlc_diag::{Diagnostic, Span};
use mlc_ir::program::StateKind;

use super::call::Arg;
use super::env::{Env, Owner};
use super::fail::{Fail, R, error, fail};
use super::interp::{InitOf, Instance, Interp, StateInfo, join};
use super::later;
use super::suggest;
use super::types::Matching;
use super::value::{InstId, ModelRef, StateId, Thunk, Value};
use crate::prelude;
use crate::syntax::ast::{self, ExprKind, ModelMemberKind, TypeKind};

/// Models may hold several of each other: a short text can ask for more than any machine holds.
const MAX_INSTANCES: usize = 100_000;

impl<'a> Interp<'a> {
    /// Builds an instance at the current place.
    pub fn construct(
        &mut self,
        env: &mut Env<'a>,
        m: ModelRef<'a>,
        args: &'a [ast::Arg],
        span: Span,
    ) -> R<Value<'a>> {
        let name = &m.decl.name.text;
        let Some((root, path)) = self.place.clone() else {
            return Err(error("E0418", span, format!("`{name}(..)` builds a model here, where its parameters have no owner"))
                .hint("build it in a member, a file binding, or a binding of a train or test block, and use that here")
                .into());
        };
        let mut given = vec![];
        for (i, a) in args.iter().enumerate() {
            let param = match &a.name {
                Some(n) => n.text.as_str(),
                None => m.decl.params.get(i).map_or("", |p| p.name.text.as_str()),
            };
            let below = join(&path, param);
            let in_list = matches!(a.value.kind, ExprKind::List(_) | ExprKind::ListFor(_));
            let place = if in_list { path.clone() } else { below.clone() };
            let value = self.placed(Some((root, place)), |cx| cx.expr(env, &a.value))?;
            self.alias(&value, root, if in_list { &path } else { &below });
            given.push(Arg { name: a.name.as_ref(), value, span: a.value.span });
        }
        self.build_instance(m, given, span, root, path).map(Value::Instance)
    }

    /// Builds an instance from evaluated arguments.
    pub fn build_instance(
        &mut self,
        m: ModelRef<'a>,
        args: Vec<Arg<'a>>,
        span: Span,
        root: usize,
        path: String,
    ) -> R<InstId> {
        let name = &m.decl.name.text;
        let decl: *const ast::Model = m.decl;
        self.enter(name.clone(), decl.cast(), None, span, m.file.is_prelude())?;
        let result = self.fill_instance(m, args, span, root, path);
        let result = super::fail::map_error(result, |d| self.blame(d));
        self.stack.pop();
        result
    }

    fn fill_instance(
        &mut self,
        m: ModelRef<'a>,
        args: Vec<Arg<'a>>,
        span: Span,
        root: usize,
        path: String,
    ) -> R<InstId> {
        let name = &m.decl.name.text;
        let matched = self.match_args(name, &m.decl.params, args, span)?;
        let mut config_env = Env::new(m.file, Owner::File);
        for (p, arg) in m.decl.params.iter().zip(matched) {
            let (value, at) = match (arg, &p.default) {
                (Some(a), _) => (a.value, a.span),
                (None, Some(d)) => {
                    let place = Some((root, join(&path, &p.name.text)));
                    (self.placed(place, |cx| cx.expr(&mut config_env, d))?, d.span)
                }
                (None, None) => return Err(Diagnostic::bug("a config argument was not matched").into()),
            };
            let at = if prelude::contains(at) { self.span } else { at };
            let value = self.config_value(&mut config_env, p, value, name, at)?;
            config_env.declare(&p.name.text, value, p.name.span);
        }
        if self.instances.len() >= MAX_INSTANCES {
            return Err(error("E0313", span, format!("more than {MAX_INSTANCES} instances of models"))
                .hint("check the bounds of lists of submodels, and models that hold several of each other")
                .into());
        }
        let id = InstId(self.instances.len());
        self.instances.push(Instance {
            decl: m.decl,
            file: m.file,
            root,
            path,
            config: config_env.vars.into_iter().map(|v| (v.name, v.value)).collect(),
            members: vec![],
            device: self.g.device,
            span: if prelude::contains(span) { self.span } else { span },
        });
        for member in &m.decl.members {
            if let Err(f) = self.member(id, &member.kind) {
                if m.file.is_prelude() {
                    return Err(f);
                }
                self.report_fail(f);
                if let Some(name) = member_name(&member.kind) {
                    self.instances[id.0].members.push((name, Value::Poison));
                }
            }
        }
        Ok(id)
    }

    fn config_value(
        &mut self,
        env: &mut Env<'a>,
        p: &'a ast::Param,
        v: Value<'a>,
        model: &str,
        at: Span,
    ) -> R<Value<'a>> {
        if let Value::Tensor(t) = &v {
            let title = format!(
                "`{}` of `{model}` is config, known at compile time; this is {}",
                p.name.text,
                self.ty(*t)
            );
            return Err(error("E0419", at, title).hint("pass tensors to `forward` instead").into());
        }
        let optional = matches!(p.default.as_ref().map(|d| &d.kind), Some(ExprKind::None));
        let Some(ty) = &p.ty else { return Ok(v) };
        if optional && matches!(v, Value::None) {
            return Ok(v);
        }
        if let TypeKind::Tensor(t) = &ty.kind
            && !t.dims.is_empty()
        {
            return fail("E0419", ty.span, "config takes int, f32, bool, str, fn, model and lists of these");
        }
        let what = format!("`{}` of `{model}`", p.name.text);
        self.match_type(env, ty, v, &Matching { what: &what, span: at, introduce: false })
    }

    fn member(&mut self, id: InstId, kind: &'a ModelMemberKind) -> R<()> {
        match kind {
            ModelMemberKind::Binding(b) => self.member_binding(id, b),
            ModelMemberKind::State(s) => self.member_state(id, s),
            ModelMemberKind::Method(_) | ModelMemberKind::Transfers(_) => Ok(()),
            ModelMemberKind::Error => Err(Fail::Silent),
        }
    }

    /// A member's place and environment.
    fn member_cx(&self, id: InstId, name: &str) -> ((usize, String), Env<'a>) {
        let inst = &self.instances[id.0];
        ((inst.root, join(&inst.path, name)), Env::new(inst.file, Owner::Instance(id)))
    }

    fn member_binding(&mut self, id: InstId, b: &'a ast::Binding) -> R<()> {
        let name = &b.name.text;
        self.new_member(id, name, b.name.span)?;
        let ((root, path), mut env) = self.member_cx(id, name);
        let value = self.placed(Some((root, path.clone())), |cx| {
            let v = cx.expr(&mut env, &b.value)?;
            cx.check_annotation(&mut env, b.ty.as_ref(), v, b.value.span)
        })?;
        self.alias(&value, root, &path);
        let value = if value.is_graph_bound() {
            Value::Lazy(Rc::new(Thunk { expr: &b.value, env: Rc::new(env) }))
        } else {
            value
        };
        self.instances[id.0].members.push((name, value));
        Ok(())
    }

    fn new_member(&self, id: InstId, name: &str, span: Span) -> R<()> {
        if self.instances[id.0].members.iter().any(|m| m.0 == name) {
            let title =
                format!("the model `{}` declares `{name}` twice", self.instances[id.0].decl.name.text);
            return fail("E0302", span, title);
        }
        Ok(())
    }

    fn member_state(&mut self, id: InstId, s: &'a ast::StateDecl) -> R<()> {
        let name = &s.name.text;
        self.new_member(id, name, s.name.span)?;
        let ((root, path), mut env) = self.member_cx(id, name);
        let kind = match s.kind {
            ast::StateKind::Param => StateKind::Param,
            ast::StateKind::Buffer => StateKind::Buffer,
            ast::StateKind::State => {
                return Err(error(
                    "E0404",
                    s.name.span,
                    "`state` stands in optimizers; a model has `param` and `buffer`",
                )
                .hint("use `buffer` for what is not trained")
                .into());
            }
        };
        let Some(ast::Type { kind: TypeKind::Tensor(t), .. }) = &s.ty else {
            return Err(error("E0404", s.name.span, format!("`{name}` needs a tensor type"))
                .hint(format!("for example `{} {name}: f32[n] = zeros`", s.kind.word()))
                .into());
        };
        let Some(init) = &s.init else {
            return Err(error("E0404", s.name.span, format!("`{name}` needs an initial value"))
                .hint(format!("for example `{} {name}: .. = zeros`", s.kind.word()))
                .into());
        };
        let ty = self.at(t.span, |cx| cx.tensor_type(&mut env, t))?;
        if ty.bound_shape().is_none() {
            return fail("E0404", t.span, format!("the dims of `{name}` must be numbers here, this is {ty}"));
        }
        if kind == StateKind::Param && !ty.dtype.is_float() {
            return Err(error(
                "E0404",
                t.span,
                format!("a param is trained and must be a float, this is {ty}"),
            )
            .hint("use `buffer` for what is not trained")
            .into());
        }
        let leaf = self.static_leaf(&mut env, init)?;
        if matches!(leaf.kind, ExprKind::None) {
            self.instances[id.0].members.push((name, Value::None));
            return Ok(());
        }
        let device = self.instances[id.0].device;
        let state = self.add_state(StateInfo {
            root,
            path,
            kind,
            ty: ty.on(device),
            init: InitOf::Expr(leaf, Rc::new(env)),
            // Of the library's layers: where the user built them.
            span: if prelude::contains(s.name.span) { self.span } else { s.name.span },
            aliases: vec![],
        });
        self.instances[id.0].members.push((name, Value::State(state)));
        Ok(())
    }

    /// The initialiser that the config chooses, through `if`s.
    pub fn static_leaf(&mut self, env: &mut Env<'a>, e: &'a ast::Expr) -> R<&'a ast::Expr> {
        let ExprKind::If { branches, otherwise } = &e.kind else { return Ok(e) };
        let mut chosen = otherwise.as_ref();
        for b in branches {
            let v = self.unplaced(env, &b.cond)?;
            if self.static_bool(&v, b.cond.span)? {
                chosen = Some(&b.body);
                break;
            }
        }
        match chosen {
            Some(ast::Block { stmts, .. }) if stmts.len() == 1 => match &stmts[0].kind {
                ast::StmtKind::Expr(inner) => self.static_leaf(env, inner),
                _ => Ok(e),
            },
            _ => Ok(e),
        }
    }

    /// Records further paths of instances that were built elsewhere.
    pub fn alias(&mut self, v: &Value<'a>, root: usize, path: &str) {
        match v {
            Value::Instance(id) => {
                let inst = &self.instances[id.0];
                if inst.root == root && inst.path == path {
                    return;
                }
                let (own_root, own) = (inst.root, inst.path.clone());
                for s in &mut self.states {
                    if s.root != own_root || !s.path.starts_with(&own) {
                        continue;
                    }
                    let rest = &s.path[own.len()..];
                    let rest = match (own.is_empty(), rest.strip_prefix('.')) {
                        (true, _) => rest,
                        (false, Some(rest)) => rest,
                        (false, None) => continue,
                    };
                    let alias = (root, join(path, rest));
                    if !s.aliases.contains(&alias) {
                        s.aliases.push(alias);
                    }
                }
            }
            Value::List(items) | Value::Tuple(items) => {
                for (i, v) in items.iter().enumerate() {
                    self.alias(v, root, &join(path, &i.to_string()));
                }
            }
            _ => {}
        }
    }

    /// A member, method or config value of an instance.
    pub fn instance_name(&self, id: InstId, name: &str) -> Option<Value<'a>> {
        let inst = &self.instances[id.0];
        let member = inst.members.iter().rev().find(|m| m.0 == name).map(|m| m.1.clone());
        member
            .or_else(|| self.method(id, name).map(|m| Value::Method(id, m)))
            .or_else(|| inst.config.iter().find(|c| c.0 == name).map(|c| c.1.clone()))
    }

    pub fn method(&self, id: InstId, name: &str) -> Option<&'a ast::Function> {
        methods(self.instances[id.0].decl).find(|m| m.name.text == name)
    }

    pub fn unknown_member(&self, _env: &Env<'a>, id: InstId, name: &str, span: Span) -> Diagnostic {
        if let Some(d) = later::not_built(name, span) {
            return d;
        }
        let inst = &self.instances[id.0];
        let mut known: Vec<&str> = inst.members.iter().chain(&inst.config).map(|m| m.0).collect();
        known.extend(methods(inst.decl).map(|m| m.name.text.as_str()));
        let d = error("E0303", span, format!("the model `{}` has no `{name}`", inst.decl.name.text));
        suggest::hint(d, name, known, "")
    }

    /// A binding that holds tensors, in this graph.
    pub fn read_lazy(&mut self, thunk: &Rc<Thunk<'a>>) -> R<Value<'a>> {
        let key = Rc::as_ptr(thunk);
        if let Some(v) = self.g.lazy.get(&key) {
            return Ok(v.clone());
        }
        let mut env = (*thunk.env).clone();
        let path = match &env.owner {
            Owner::Instance(id) => self.instance_path(*id),
            _ => String::new(),
        };
        let v = self.outside_loops(|cx| {
            cx.in_scope(&path, |cx| cx.placed(None, |cx| cx.expr(&mut env, thunk.expr)))
        })?;
        self.g.lazy.insert(key, v.clone());
        Ok(v)
    }

    /// All states below an instance, in the order of declaration.
    pub fn states_of(&self, id: InstId) -> Vec<StateId> {
        let mut out = vec![];
        let mut seen = vec![];
        self.collect_states(&Value::Instance(id), &mut out, &mut seen);
        out.sort();
        out
    }

    fn collect_states(&self, v: &Value<'a>, out: &mut Vec<StateId>, seen: &mut Vec<InstId>) {
        match v {
            Value::State(s) if !out.contains(s) => out.push(*s),
            Value::Instance(id) if !seen.contains(id) => {
                seen.push(*id);
                let inst = &self.instances[id.0];
                for (_, v) in inst.members.iter().chain(&inst.config) {
                    self.collect_states(v, out, seen);
                }
            }
            Value::List(items) | Value::Tuple(items) => {
                items.iter().for_each(|v| self.collect_states(v, out, seen));
            }
            _ => {}
        }
    }

    /// A copy of an instance tree under another root, with states that start as the originals'.
    pub fn copy_instance(&mut self, id: InstId, root: usize, copied: &mut Copies) -> InstId {
        if let Some((_, new)) = copied.instances.iter().find(|c| c.0 == id) {
            return *new;
        }
        let new = InstId(self.instances.len());
        let mut inst = self.instances[id.0].clone();
        inst.root = root;
        copied.instances.push((id, new));
        self.instances.push(inst.clone());
        for (_, v) in inst.config.iter_mut().chain(&mut inst.members) {
            *v = self.copy_value(v, new, root, copied);
        }
        self.instances[new.0] = inst;
        new
    }

    fn copy_value(&mut self, v: &Value<'a>, owner: InstId, root: usize, copied: &mut Copies) -> Value<'a> {
        match v {
            Value::Instance(id) => Value::Instance(self.copy_instance(*id, root, copied)),
            Value::State(s) => {
                if let Some((_, new)) = copied.states.iter().find(|c| c.0 == *s) {
                    return Value::State(*new);
                }
                let of = self.state_path(*s);
                let mut info = self.states[s.0].clone();
                info.root = root;
                info.kind = StateKind::Average { of: of.into() };
                info.init = InitOf::Copy(*s);
                info.aliases.clear();
                let new = self.add_state(info);
                copied.states.push((*s, new));
                Value::State(new)
            }
            Value::Lazy(t) => {
                let env = Env::new(t.env.file, Owner::Instance(owner));
                Value::Lazy(Rc::new(Thunk { expr: t.expr, env: Rc::new(env) }))
            }
            Value::List(items) => {
                Value::list(items.iter().map(|v| self.copy_value(v, owner, root, copied)).collect())
            }
            Value::Tuple(items) => {
                Value::tuple(items.iter().map(|v| self.copy_value(v, owner, root, copied)).collect())
            }
            v => v.clone(),
        }
    }
}

/// What [`Interp::copy_instance`] made of what.
#[derive(Debug, Default)]
pub struct Copies {
    pub instances: Vec<(InstId, InstId)>,
    pub states: Vec<(StateId, StateId)>,
}

pub fn methods(m: &ast::Model) -> impl Iterator<Item = &ast::Function> {
    m.members.iter().filter_map(|m| match &m.kind {
        ModelMemberKind::Method(f) => Some(f),
        _ => None,
    })
}

fn member_name(kind: &ModelMemberKind) -> Option<&str> {
    match kind {
        ModelMemberKind::Binding(b) => Some(&b.name.text),
        ModelMemberKind::State(s) => Some(&s.name.text),
        _ => None,
    }
}
