//! Calls: matching arguments to parameters, inlining fns and methods, method sugar.

use std::rc::Rc;

use mlc_diag::Span;

use super::env::{Env, Owner};
use super::fail::{Fail, R, error, fail, map_error};
use super::files::FileId;
use super::foreign;
use super::interp::{Frame, Interp, MAX_DEPTH};
use super::later;
use super::suggest;
use super::types::Matching;
use super::value::{Func, Hyper, InstId, Thunk, Value};
use crate::prelude;
use crate::syntax::ast::{self, Expr, ExprKind, TypeKind};

/// An evaluated argument.
#[derive(Debug, Clone)]
pub struct Arg<'a> {
    pub name: Option<&'a ast::Name>,
    pub value: Value<'a>,
    pub span: Span,
}

impl<'a> Arg<'a> {
    pub fn positional(value: Value<'a>, span: Span) -> Arg<'a> {
        Arg { name: None, value, span }
    }
}

impl<'a> Interp<'a> {
    pub fn call_expr(
        &mut self,
        env: &mut Env<'a>,
        e: &'a Expr,
        callee: &'a Expr,
        args: &'a [ast::Arg],
    ) -> R<Value<'a>> {
        if let ExprKind::Field { base, name } = &callee.kind {
            return self.method_call(env, e, base, name, args);
        }
        let f = match &callee.kind {
            ExprKind::Name(n) => self.lookup(env, n, callee.span)?,
            _ => self.unplaced(env, callee)?,
        };
        let name = match &callee.kind {
            ExprKind::Name(n) => n.as_str(),
            _ => "",
        };
        self.call(env, f, None, args, e.span, name)
    }

    /// `base.name(args)`: a method of an instance, an item of a file, or `name(base, args)`.
    fn method_call(
        &mut self,
        env: &mut Env<'a>,
        e: &'a Expr,
        base: &'a Expr,
        name: &'a ast::Name,
        args: &'a [ast::Arg],
    ) -> R<Value<'a>> {
        let v = match &base.kind {
            ExprKind::Name(n) => self.lookup(env, n, base.span)?,
            ExprKind::Call { .. } => self.expr(env, base)?,
            _ => self.unplaced(env, base)?,
        };
        match v {
            Value::Poison => Err(Fail::Silent),
            Value::Module(_) => {
                let f = self.field(env, v, name)?;
                self.call(env, f, None, args, e.span, &name.text)
            }
            Value::Instance(id) => match self.instance_name(id, &name.text) {
                Some(f) => self.call(env, f, None, args, e.span, &name.text),
                None => match self.function_named(env, &name.text) {
                    Some(f) => self.call(env, f, Some((v, base.span)), args, e.span, &name.text),
                    None => {
                        let inner = Env::new(self.instances[id.0].file, Owner::Instance(id));
                        Err(self.unknown_member(&inner, id, &name.text, name.span).into())
                    }
                },
            },
            Value::Data(d) => self.pipeline_call(env, &d, name, args, e.span),
            Value::Source(_) => fail("E0303", name.span, format!("a data source has no `{}`", name.text)),
            v => {
                let v = self.read(v)?;
                let Some(f) = self.function_named(env, &name.text) else {
                    if let Some(d) = later::not_built(&name.text, name.span) {
                        return Err(d.into());
                    }
                    let title = format!("{} has no method `{}`", v.kind(), name.text);
                    let names = self.visible_names(env);
                    let d = error("E0303", name.span, title);
                    let names = names.iter().map(String::as_str);
                    return Err(suggest::unknown(d, &name.text, names).into());
                };
                self.call(env, f, Some((v, base.span)), args, e.span, &name.text)
            }
        }
    }

    /// A fn for method sugar: not a local that happens to have the name.
    fn function_named(&mut self, env: &Env<'a>, name: &str) -> Option<Value<'a>> {
        let callable = |v: &Value<'a>| matches!(v, Value::Fn(_) | Value::Builtin(_) | Value::Method(..));
        if let Ok(v) = self.lookup(env, name, Span::NONE)
            && callable(&v)
        {
            return Some(v);
        }
        if let Ok(Some(v)) = self.lookup_file(env.file, name)
            && callable(&v)
        {
            return Some(v);
        }
        super::lookup::lookup_prelude(name).filter(callable)
    }

    /// Calls a value. `first`: the argument that method sugar puts in front.
    pub fn call(
        &mut self,
        env: &mut Env<'a>,
        f: Value<'a>,
        first: Option<(Value<'a>, Span)>,
        args: &'a [ast::Arg],
        span: Span,
        name: &str,
    ) -> R<Value<'a>> {
        match f {
            Value::Poison => {
                // Still look for mistakes in the arguments.
                self.arguments(env, first, args)?;
                Err(Fail::Silent)
            }
            Value::Model(m) => self.construct(env, m, args, span),
            Value::Optimizer(item, file) => self.hyper(env, item, file, args, span),
            f => {
                let args = self.arguments(env, first, args)?;
                self.call_values(f, args, span, name)
            }
        }
    }

    /// Calls a value with evaluated arguments.
    pub fn call_values(&mut self, f: Value<'a>, args: Vec<Arg<'a>>, span: Span, name: &str) -> R<Value<'a>> {
        match f {
            Value::Fn(f) => self.call_fn(&f, args, span),
            Value::Builtin(b) => {
                let frame = Frame {
                    name: b.name.to_owned(),
                    decl: std::ptr::null(),
                    owner: None,
                    span,
                    prelude: false,
                };
                super::builtins::call(self, b, args, span, frame)
            }
            Value::Instance(id) => match self.method(id, "forward") {
                Some(m) => self.call_method(id, m, args, span),
                None => Err(self.no_forward(id, span).into()),
            },
            Value::Method(id, m) => self.call_method(id, m, args, span),
            Value::Schedule(s, file) => self.call_schedule(s, file, args, span),
            Value::Dataset(d, file) => self.dataset(d, file, args, span),
            v => {
                let what =
                    if name.is_empty() { v.kind().to_owned() } else { format!("`{name}` ({})", v.kind()) };
                let d = error("E0309", span, format!("{what} cannot be called"));
                let is_type = matches!(v, Value::Type(_));
                Err(if is_type { d.hint("to convert a tensor write `x.cast(f32)`") } else { d }.into())
            }
        }
    }

    fn no_forward(&self, id: InstId, span: Span) -> mlc_diag::Diagnostic {
        let name = &self.instances[id.0].decl.name.text;
        let d = error("E0303", span, format!("the model `{name}` has no `forward`"));
        d.hint(format!("declare `forward(x) {{ .. }}` in `{name}`, or call another of its methods by name"))
    }

    pub fn arguments(
        &mut self,
        env: &mut Env<'a>,
        first: Option<(Value<'a>, Span)>,
        args: &'a [ast::Arg],
    ) -> R<Vec<Arg<'a>>> {
        let mut out = Vec::with_capacity(args.len() + 1);
        if let Some((v, span)) = first {
            out.push(Arg::positional(v, span));
        }
        for a in args {
            let value = self.unplaced(env, &a.value)?;
            out.push(Arg { name: a.name.as_ref(), value, span: a.value.span });
        }
        Ok(out)
    }

    /// Arguments in the order of parameters; `None` where one is left out.
    pub fn match_args(
        &self,
        what: &str,
        params: &'a [ast::Param],
        args: Vec<Arg<'a>>,
        span: Span,
    ) -> R<Vec<Option<Arg<'a>>>> {
        let names: Vec<&str> = params.iter().map(|p| p.name.text.as_str()).collect();
        let required: Vec<bool> = params.iter().map(|p| p.default.is_none()).collect();
        match_args(what, &names, &required, args, span)
    }

    fn call_method(
        &mut self,
        id: InstId,
        m: &'a ast::Function,
        args: Vec<Arg<'a>>,
        span: Span,
    ) -> R<Value<'a>> {
        let inst = &self.instances[id.0];
        let func = Func { decl: m, file: inst.file, owner: Owner::Instance(id) };
        let (path, device) = (self.instance_path(id), inst.device);
        self.in_scope(&path, |cx| match device {
            Some(d) => cx.on_device(d, |cx| cx.call_fn(&func, args, span)),
            None => cx.call_fn(&func, args, span),
        })
    }

    /// Inlines a fn or method.
    pub fn call_fn(&mut self, f: &Func<'a>, args: Vec<Arg<'a>>, span: Span) -> R<Value<'a>> {
        let name = &f.decl.name.text;
        let owner = match &f.owner {
            Owner::Instance(id) => Some(*id),
            _ => None,
        };
        let label = match owner {
            Some(id) if name == "forward" => self.instances[id.0].decl.name.text.clone(),
            Some(id) => format!("{}.{name}", self.instances[id.0].decl.name.text),
            None => name.clone(),
        };
        let decl: *const ast::Function = f.decl;
        self.enter(label.clone(), decl.cast(), owner, span, f.file.is_prelude())?;
        let result = self.inline(f, &label, args, span);
        let result = map_error(result, |d| self.blame(d));
        self.stack.pop();
        result
    }

    /// Opens a frame; recursion and absurd depth are errors.
    pub fn enter(
        &mut self,
        name: String,
        decl: *const (),
        owner: Option<InstId>,
        span: Span,
        prelude: bool,
    ) -> R<()> {
        self.tick(span)?;
        let span = if prelude::contains(span) { self.span } else { span };
        if self.stack.iter().any(|f| f.decl == decl && f.owner == owner && !decl.is_null()) {
            let chain: Vec<String> = self.stack.iter().map(|f| format!("`{}`", f.name)).collect();
            return Err(error("E0315", span, format!("`{name}` calls itself"))
                .note(format!("the calls: {} calls `{name}`", chain.join(" calls ")))
                .hint("calls are inlined, so there is no recursion; use a loop")
                .into());
        }
        if self.stack.len() >= MAX_DEPTH {
            return fail("E0313", span, format!("more than {MAX_DEPTH} calls inside calls"));
        }
        self.stack.push(Frame { name, decl, owner, span, prelude });
        Ok(())
    }

    fn inline(&mut self, f: &Func<'a>, name: &str, args: Vec<Arg<'a>>, span: Span) -> R<Value<'a>> {
        let matched = self.match_args(name, &f.decl.params, args, span)?;
        let mut env = Env::new(f.file, f.owner.clone());
        self.bind_params(&mut env, name, &f.decl.params, matched)?;
        self.require_facts(&mut env, &f.decl.facts, name, span)?;
        let body = &f.decl.body;
        let v = self.placed(None, |cx| cx.block(&mut env, body))?;
        match &f.decl.ret {
            None => Ok(v),
            Some(ty) => {
                let at = body.value().map_or(f.decl.name.span, |e| e.span);
                let what = format!("the result of `{name}`");
                self.at(at, |cx| {
                    let at = if prelude::contains(at) { cx.span } else { at };
                    cx.match_type(&mut env, ty, v, &Matching { what: &what, span: at, introduce: false })
                })
            }
        }
    }

    /// Binds parameters to arguments and defaults, integers first: dims may use them.
    pub fn bind_params(
        &mut self,
        env: &mut Env<'a>,
        name: &str,
        params: &'a [ast::Param],
        mut args: Vec<Option<Arg<'a>>>,
    ) -> R<()> {
        let is_int = |p: &ast::Param| matches!(p.ty.as_ref().map(|t| &t.kind), Some(TypeKind::Int));
        for ints in [true, false] {
            for (p, arg) in params.iter().zip(&mut args) {
                if is_int(p) != ints {
                    continue;
                }
                let (value, span) = match (arg.take(), &p.default) {
                    (Some(a), _) => (a.value, a.span),
                    (None, Some(d)) => (self.placed(None, |cx| cx.expr(env, d))?, d.span),
                    (None, None) => {
                        return Err(mlc_diag::Diagnostic::bug("an argument was not matched").into());
                    }
                };
                let optional = matches!(p.default.as_ref().map(|d| &d.kind), Some(ExprKind::None));
                let value = match &p.ty {
                    Some(_) if optional && matches!(value, Value::None) => value,
                    Some(ty) => {
                        let what = format!("`{}` of `{name}`", p.name.text);
                        let at = if prelude::contains(span) { self.span } else { span };
                        self.match_type(env, ty, value, &Matching { what: &what, span: at, introduce: true })?
                    }
                    None => value,
                };
                env.declare(&p.name.text, value, p.name.span);
            }
        }
        Ok(())
    }

    /// A schedule's value at this step.
    fn call_schedule(
        &mut self,
        s: &'a ast::Schedule,
        file: FileId,
        args: Vec<Arg<'a>>,
        span: Span,
    ) -> R<Value<'a>> {
        let decl: *const ast::Schedule = s;
        self.enter(s.name.text.clone(), decl.cast(), None, span, file.is_prelude())?;
        let scope = Owner::Hyper(Rc::new(super::env::HyperScope::default()));
        let mut env = Env::new(file, scope);
        let result = self
            .match_args(&s.name.text, &s.params, args, span)
            .and_then(|args| self.bind_params(&mut env, &s.name.text, &s.params, args))
            .and_then(|()| self.placed(None, |cx| cx.block(&mut env, &s.body)));
        let result = map_error(result, |d| self.blame(d));
        self.stack.pop();
        result
    }

    /// An optimizer with unevaluated hyper-parameters.
    fn hyper(
        &mut self,
        env: &Env<'a>,
        item: &'a ast::Optimizer,
        file: FileId,
        args: &'a [ast::Arg],
        span: Span,
    ) -> R<Value<'a>> {
        let mut given = vec![];
        let shared = Rc::new(env.clone());
        let placeholders =
            args.iter().map(|a| Arg { name: a.name.as_ref(), value: Value::None, span: a.value.span });
        let matched = self.match_args(&item.name.text, &item.params, placeholders.collect(), span)?;
        for (p, arg) in item.params.iter().zip(matched) {
            let Some(arg) = arg else { continue };
            let expr = args.iter().find(|a| a.value.span == arg.span).map(|a| &a.value);
            if let Some(expr) = expr {
                given.push((p.name.text.as_str(), Thunk { expr, env: shared.clone() }));
            }
        }
        Ok(Value::Optimized(Rc::new(Hyper { item, file, args: given, span })))
    }
}

/// Parameters that take a list where PyTorch also takes several arguments.
const LISTS: [&str; 7] = ["tensors", "shape", "axes", "layers", "sizes", "shifts", "repeats"];

/// Arguments in the order of the parameters' names.
pub fn match_args<'a>(
    what: &str,
    params: &[&str],
    required: &[bool],
    args: Vec<Arg<'a>>,
    span: Span,
) -> R<Vec<Option<Arg<'a>>>> {
    let mut out: Vec<Option<Arg<'a>>> = params.iter().map(|_| None).collect();
    let mut next = 0;
    for a in args {
        let at = match a.name {
            None => {
                next += 1;
                next - 1
            }
            Some(n) => match params.iter().position(|p| *p == n.text) {
                Some(at) => at,
                None => {
                    let d = error("E0308", n.span, format!("`{what}` has no parameter `{}`", n.text));
                    let all = format!("its parameters are {}", list_names(params));
                    let fallback = if params.is_empty() { "it takes no arguments" } else { &all };
                    let ours = foreign::argument(&n.text).filter(|o| params.contains(o));
                    return Err(match ours {
                        Some(ours) => d.hint(format!("it is called `{ours}` here")),
                        None => suggest::hint(d, &n.text, params.iter().copied(), fallback),
                    }
                    .into());
                }
            },
        };
        let Some(slot) = out.get_mut(at) else {
            let most = params.len();
            let s = if most == 1 { "" } else { "s" };
            let d = error("E0308", a.span, format!("`{what}` takes at most {most} argument{s}"));
            return Err(match params.last() {
                None => d,
                Some(last) if LISTS.contains(last) => {
                    d.hint(format!("`{last}` is one list: write `[a, b]` instead of `a, b`"))
                }
                Some(&"type") => d.hint("its shape and dtype are one type: write `f32[n, 10]`"),
                Some(_) => d.hint(format!("its parameters are {}", list_names(params))),
            }
            .into());
        };
        if let Some(before) = slot {
            let title = format!("`{}` of `{what}` is given twice", params[at]);
            let d = error("E0308", a.span, title).label(before.span, "given here first");
            return Err(match params.iter().find(|p| LISTS.contains(p)) {
                Some(list) => d.hint(format!("`{list}` is one list: write `[a, b]` instead of `a, b`")),
                None => d.hint(format!("its parameters are {}, in this order", list_names(params))),
            }
            .into());
        }
        *slot = Some(a);
    }
    if let Some(missing) = (0..params.len()).find(|&i| required[i] && out[i].is_none()) {
        let d = error("E0308", span, format!("`{what}` needs its argument `{}`", params[missing]));
        return Err(d.hint(format!("its parameters are {}", list_names(params))).into());
    }
    Ok(out)
}

fn list_names(names: &[&str]) -> String {
    names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}
