//! Entries: which methods and fns can be run, and their graphs.
//!
//! A method or fn whose parameters are all annotated is an entry. Its tensor parameters are inputs;
//! the dims that they introduce stay symbolic; `int` parameters are dims too, bound by `--dim`.

use mlc_diag::Span;
use mlc_ir::graph::Output;
use mlc_ir::program::{Entry, EntryKind, InputDecl};
use mlc_ir::types::Shape;
use mlc_ir::{DType, Dim, Type};

use super::call::Arg;
use super::env::{Env, Owner};
use super::fail::{Fail, R, error, fail};
use super::files::FileId;
use super::interp::{GraphCx, Interp};
use super::model::methods;
use super::types::conjuncts;
use super::value::{Func, InstId, ModelRef, Value};
use crate::syntax::ast::{self, ExprKind, TypeKind};

impl<'a> Interp<'a> {
    /// Instances whose methods are entries, with what stands before the methods' names.
    pub fn entry_instances(&mut self) -> Vec<(String, InstId)> {
        let mut out: Vec<(String, InstId)> = vec![];
        for i in 0..self.trains.len() {
            for (name, id) in self.trained_instances(i) {
                let own = if name == "model" { "" } else { name };
                let prefix = super::interp::join(&self.trains[i].prefix, own);
                if !out.iter().any(|o| o.0 == prefix) {
                    out.push((prefix, id));
                }
            }
        }
        let files = self.files;
        let Some(main) = files.units.first() else { return out };
        for item in &main.ast.items {
            let ast::ItemKind::Binding(b) = &item.kind else { continue };
            if let Ok(Some(Value::Instance(id))) = self.lookup_file(FileId(0), &b.name.text) {
                out.push((b.name.text.clone(), id));
            }
        }
        self.default_instances(&mut out);
        out
    }

    /// Models of the main file that nothing instantiates, where their config is complete: the chosen
    /// one (`--model`, else the last) where there is no train block is the program's, without a prefix;
    /// the others are built for their mistakes only.
    fn default_instances(&mut self, out: &mut Vec<(String, InstId)>) {
        let files = self.files;
        let Some(main) = files.units.first() else { return };
        let models: Vec<&'a ast::Model> = main
            .ast
            .items
            .iter()
            .filter_map(|i| match &i.kind {
                ast::ItemKind::Model(m) => Some(m),
                _ => None,
            })
            .collect();
        let complete = |m: &&&ast::Model| m.params.iter().all(|p| p.default.is_some());
        let wanted = self.options.model.as_deref();
        let last = models.iter().filter(complete).rfind(|m| wanted.is_none_or(|w| w == m.name.text)).copied();
        let free = wanted.is_some() || self.trains.is_empty();
        for m in models {
            let is_last = last.is_some_and(|l| std::ptr::eq(l, m));
            let bound = out.iter().find(|o| std::ptr::eq(self.instances[o.1.0].decl, m)).map(|o| o.1);
            // An instance that the file binds is also what `forward` alone means.
            if let (Some(id), true) = (bound, is_last && free && !out.iter().any(|o| o.0.is_empty())) {
                out.push((String::new(), id));
            }
            let built = self.instances.iter().any(|i| std::ptr::eq(i.decl, m));
            if !complete(&&m) || built {
                continue;
            }
            let visible = is_last && free;
            let taken = out.iter().any(|o| o.0.is_empty());
            let prefix = if visible && !taken { "" } else { m.name.text.as_str() };
            let root = self.new_root(prefix);
            self.roots[root].hidden = !visible;
            let model = ModelRef { decl: m, file: FileId(0) };
            self.entry_span = m.name.span;
            match self.build_instance(model, vec![], m.name.span, root, String::new()) {
                Ok(id) => out.push((prefix.to_owned(), id)),
                Err(f) => self.report_fail(f),
            }
        }
    }

    /// The entries of all instances and of the main file's fns.
    pub fn method_entries(&mut self, out: &mut Vec<Entry>) {
        // What each instance's entries are, for instances with two names.
        let mut known: Vec<(InstId, Vec<Entry>)> = vec![];
        for (prefix, id) in self.entry_instances() {
            if let Some((_, entries)) = known.iter().find(|k| k.0 == id) {
                out.extend(entries.iter().map(|e| {
                    let method = e.name.rsplit_once('.').map_or(e.name.as_str(), |n| n.1);
                    Entry { name: super::interp::join(&prefix, method), ..e.clone() }
                }));
                continue;
            }
            let (decl, file) = (self.instances[id.0].decl, self.instances[id.0].file);
            let mut entries = vec![];
            for m in methods(decl).filter(|m| is_entry(m)) {
                let name = super::interp::join(&prefix, &m.name.text);
                let f = Func { decl: m, file, owner: Owner::Instance(id) };
                self.method_entry(name, &f, &mut entries);
            }
            if !self.roots[self.instances[id.0].root].hidden {
                out.extend(entries.iter().cloned());
                known.push((id, entries));
            }
        }
        let files = self.files;
        let Some(main) = files.units.first() else { return };
        for item in &main.ast.items {
            let ast::ItemKind::Fn(decl) = &item.kind else { continue };
            if is_entry(decl) && !out.iter().any(|e| e.name == decl.name.text) {
                let f = Func { decl, file: FileId(0), owner: Owner::File };
                self.method_entry(decl.name.text.clone(), &f, out);
            }
        }
    }

    /// One entry. Where symbolic integers do not do (a loop bound), their defaults stand in; without
    /// defaults the fn is a part of other entries only.
    pub fn method_entry(&mut self, name: String, f: &Func<'a>, out: &mut Vec<Entry>) {
        let statics =
            |p: &&ast::Param| matches!(p.ty.as_ref().map(|t| &t.kind), Some(TypeKind::Int)) || is_bool(p);
        let ints: Vec<&ast::Param> = f.decl.params.iter().filter(statics).collect();
        self.trial = (!ints.is_empty()).then_some(false);
        let (result, g) = self.in_graph(GraphCx::new(&name), |cx| cx.fill_method(f, false));
        let unknown = matches!(&result, Err(Fail::Error(d)) if d.code == "E0312");
        let failed = self.trial.take() == Some(true) || (unknown && !ints.is_empty());
        let (result, g) = if failed {
            if ints.iter().any(|p| p.default.is_none()) {
                return;
            }
            self.in_graph(GraphCx::new(&name), |cx| cx.fill_method(f, true))
        } else {
            (result, g)
        };
        match result {
            Ok(inputs) => {
                let span = f.decl.name.span;
                out.push(Entry { name, kind: EntryKind::Method, inputs, graph: g.graph, span });
            }
            Err(e) => self.report_fail(e),
        }
    }

    fn fill_method(&mut self, f: &Func<'a>, fixed: bool) -> R<Vec<InputDecl>> {
        self.entry_span = f.decl.name.span;
        let mut env = Env::new(f.file, f.owner.clone());
        let mut inputs = vec![];
        let mut args: Vec<Option<Value<'a>>> = f.decl.params.iter().map(|_| None).collect();
        // Integers first: dims may use them.
        for ints in [true, false] {
            for (p, arg) in f.decl.params.iter().zip(&mut args) {
                if matches!(p.ty.as_ref().map(|t| &t.kind), Some(TypeKind::Int)) == ints {
                    let v = self.entry_param(&mut env, p, fixed, &mut inputs)?;
                    env.declare(&p.name.text, v.clone(), p.name.span);
                    *arg = Some(v);
                }
            }
        }
        for e in &f.decl.facts {
            for part in conjuncts(e) {
                let fact = self.fact(&mut env, part)?;
                self.g.graph.dims.assume(fact);
            }
        }
        let span = f.decl.name.span;
        let args = args.into_iter().flatten().map(|v| Arg::positional(v, span)).collect();
        let path = match &f.owner {
            Owner::Instance(id) => self.instance_path(*id),
            _ => String::new(),
        };
        let v = self.at(span, |cx| match &f.owner {
            Owner::Instance(id) => {
                cx.in_scope(&path, |cx| cx.call_values(Value::Method(*id, f.decl), args, span, ""))
            }
            _ => cx.call_fn(f, args, span),
        })?;
        let at = f.decl.body.value().map_or(span, |e| e.span);
        self.outputs(&v, at)?;
        self.g.written.clear();
        inputs.sort_by_key(|i| f.decl.params.iter().position(|p| p.name.text == *i.name));
        Ok(inputs)
    }

    fn outputs(&mut self, v: &Value<'a>, span: Span) -> R<()> {
        let mut flat = vec![];
        flatten(v, &mut flat);
        let many = matches!(v, Value::Tuple(_) | Value::List(_));
        for (k, v) in flat.iter().enumerate() {
            if matches!(v, Value::None) {
                return Err(error("E0318", span, "this entry has no value")
                    .hint("end its body with the expression to return")
                    .into());
            }
            let value = self.any_tensor(v, span)?;
            let name = if many { format!("out{k}") } else { "out".to_owned() };
            self.g.graph.outputs.push(Output { name, value, weight: None, span });
        }
        Ok(())
    }

    fn entry_param(
        &mut self,
        env: &mut Env<'a>,
        p: &'a ast::Param,
        fixed: bool,
        inputs: &mut Vec<InputDecl>,
    ) -> R<Value<'a>> {
        let name = p.name.text.as_str();
        let default = match &p.default {
            None => None,
            Some(e) => Some(self.expr(env, e)?),
        };
        let Some(ty) = &p.ty else { return default.ok_or(Fail::Silent) };
        match &ty.kind {
            TypeKind::Int => {
                if fixed && let Some(v) = default {
                    return Ok(v);
                }
                self.g.graph.dims.declare(name.into(), p.name.span, 0);
                if let Some(n) = default.as_ref().and_then(Value::as_int) {
                    self.g.graph.dims.set_default(name, n);
                }
                Ok(Value::Int(Dim::sym(name)))
            }
            TypeKind::Tensor(t) if fixed && is_bool(p) && t.dims.is_empty() && default.is_some() => {
                default.ok_or(Fail::Silent)
            }
            TypeKind::Tensor(t) => {
                let ty = self.entry_type(env, t)?;
                let number = default.as_ref().and_then(|v| match v {
                    Value::Bool(b) => Some(f64::from(u8::from(*b))),
                    v => v.as_f64(),
                });
                let v = self.add_input(name, ty.clone(), p.name.span, 0)?;
                inputs.push(InputDecl { name: name.into(), ty, default: number, span: p.name.span });
                Ok(Value::Tensor(v))
            }
            TypeKind::Tuple(types) => {
                let mut parts = vec![];
                for (k, t) in types.iter().enumerate() {
                    let TypeKind::Tensor(t) = &t.kind else {
                        return fail("E0305", t.span, "an entry's tuple holds tensors");
                    };
                    let ty = self.entry_type(env, t)?;
                    let name = format!("{name}.{k}");
                    let v = self.add_input(&name, ty.clone(), p.name.span, 0)?;
                    inputs.push(InputDecl {
                        name: name.as_str().into(),
                        ty,
                        default: None,
                        span: p.name.span,
                    });
                    parts.push(Value::Tensor(v));
                }
                Ok(Value::tuple(parts))
            }
            _ => default.ok_or(Fail::Silent),
        }
    }

    /// A parameter's type with new names as symbols. `..s` is one dim `s`.
    fn entry_type(&mut self, env: &mut Env<'a>, t: &'a ast::TensorType) -> R<Type> {
        let mut shape = Shape::new();
        for d in &t.dims {
            match d {
                ast::Dim::Rest(n) => {
                    if env.dim(&n.text).is_none() {
                        self.g.graph.dims.declare(n.text.as_str().into(), n.span, 0);
                        let d = Dim::sym(n.text.as_str());
                        env.dims.push((&n.text, Value::list(vec![Value::Int(d)])));
                    }
                    let Some(Value::List(items)) = env.dim(&n.text) else { continue };
                    for v in items.iter() {
                        shape.push(self.to_dim(v, n.span)?);
                    }
                }
                ast::Dim::Expr(e) => {
                    if let ExprKind::Name(n) = &e.kind
                        && self.signature_dim(env, n).is_none()
                    {
                        self.g.graph.dims.declare(n.as_str().into(), e.span, 0);
                        env.dims.push((n, Value::Int(Dim::sym(n.as_str()))));
                    }
                    shape.push(match &e.kind {
                        ExprKind::Name(n) => match self.signature_dim(env, n) {
                            Some(d) => d,
                            None => self.int_expr(env, e)?,
                        },
                        _ => self.at(e.span, |cx| cx.int_expr(env, e))?,
                    });
                }
            }
        }
        Ok(Type::new(t.dtype, shape))
    }
}

/// Are all parameters of types that a caller can give from outside?
pub fn is_entry(f: &ast::Function) -> bool {
    f.params.iter().all(|p| match p.ty.as_ref().map(|t| &t.kind) {
        Some(TypeKind::Int | TypeKind::Tensor(_)) => true,
        Some(TypeKind::Tuple(types)) => types.iter().all(|t| matches!(t.kind, TypeKind::Tensor(_))),
        Some(TypeKind::Str | TypeKind::Fn | TypeKind::List(_)) => p.default.is_some(),
        Some(TypeKind::Model | TypeKind::Named(_)) | None => false,
    })
}

fn is_bool(p: &ast::Param) -> bool {
    matches!(p.ty.as_ref().map(|t| &t.kind), Some(TypeKind::Tensor(t)) if t.dtype == DType::Bool && t.dims.is_empty())
}

fn flatten<'a>(v: &Value<'a>, out: &mut Vec<Value<'a>>) {
    match v {
        Value::Tuple(items) | Value::List(items) => items.iter().for_each(|v| flatten(v, out)),
        v => out.push(v.clone()),
    }
}
