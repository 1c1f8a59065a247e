//! Names in all of a file, also in what no entry reaches: unknown ones are errors, locals that
//! nothing reads get a warning.
//!
//! Only plain names are looked at; members after a dot depend on values, which the interpreter knows.
//! Where it has reported a place already, this stays silent.

use mlc_diag::{Diagnostic, Diagnostics, Span};

use super::fail::error;
use super::files::{FileId, Files};
use super::later;
use super::lookup::lookup_prelude;
use super::suggest;
use crate::prelude::prelude;
use crate::syntax::ast::{
    self, Block, Dim, Expr, ExprKind, IndexKind, ItemKind, ModelMemberKind, OptimizerMemberKind, Param, Stmt,
    StmtKind, StrPart, TrainMemberKind, Type, TypeKind,
};

/// Checks every file that the user wrote.
pub fn check(files: &Files) -> Diagnostics {
    let mut out = Diagnostics::new();
    for id in 0..files.units.len() {
        let mut cx = Names { files, file: FileId(id), scopes: vec![], outer: vec![], out: &mut out };
        for item in &files.units[id].ast.items {
            cx.item(&item.kind);
        }
    }
    out
}

struct Local<'a> {
    name: &'a str,
    span: Span,
    used: bool,
    /// Parameters and loop names are not warned about.
    quiet: bool,
}

struct Names<'a, 'd> {
    files: &'a Files,
    file: FileId,
    /// Locals of the body, in nested blocks.
    scopes: Vec<Vec<Local<'a>>>,
    /// Names of the item around the body: config, members, methods.
    outer: Vec<&'a str>,
    out: &'d mut Diagnostics,
}

impl<'a> Names<'a, '_> {
    fn item(&mut self, item: &'a ItemKind) {
        self.outer.clear();
        match item {
            ItemKind::Model(m) => self.model(m),
            ItemKind::Fn(f) => self.function(f),
            ItemKind::Dataset(d) => {
                self.params(&d.params);
                for m in &d.fields {
                    if let ast::DatasetMemberKind::Field(f) = &m.kind {
                        // Dims of fields are introduced by them; their sources are plain expressions.
                        self.body(|cx| f.source.iter().for_each(|e| cx.expr(e)));
                    }
                }
            }
            ItemKind::Optimizer(o) => self.optimizer(o),
            ItemKind::Schedule(s) => {
                self.outer.extend(["step", "total_steps"]);
                self.params(&s.params);
                self.body(|cx| cx.block(&s.body));
            }
            ItemKind::Train(t) => self.train(t),
            ItemKind::Test(t) => {
                self.outer.push("train");
                self.train_block_names();
                self.body(|cx| cx.block(&t.body));
            }
            ItemKind::Binding(b) => self.body(|cx| {
                cx.types(b.ty.as_ref());
                cx.expr(&b.value);
            }),
            ItemKind::Use(_) | ItemKind::Device(_) | ItemKind::Transfers(_) | ItemKind::Error => {}
        }
    }

    fn train_block_names(&mut self) {
        let files = self.files;
        for item in &files.units[self.file.0].ast.items {
            if let ItemKind::Train(ast::Train { name: Some(n), .. }) = &item.kind {
                self.outer.push(&n.text);
            }
        }
    }

    /// Config parameters: names of the whole item; their defaults see the earlier ones.
    fn params(&mut self, params: &'a [Param]) {
        self.distinct(params);
        for p in params {
            self.types(p.ty.as_ref());
            self.body(|cx| p.default.iter().for_each(|e| cx.expr(e)));
            self.outer.push(&p.name.text);
        }
    }

    fn model(&mut self, m: &'a ast::Model) {
        self.params(&m.params);
        for member in &m.members {
            match &member.kind {
                ModelMemberKind::Binding(b) => self.outer.push(&b.name.text),
                ModelMemberKind::State(s) => self.outer.push(&s.name.text),
                ModelMemberKind::Method(f) => self.outer.push(&f.name.text),
                ModelMemberKind::Transfers(_) | ModelMemberKind::Error => {}
            }
        }
        for member in &m.members {
            match &member.kind {
                ModelMemberKind::Binding(b) => self.body(|cx| {
                    cx.types(b.ty.as_ref());
                    cx.expr(&b.value);
                }),
                ModelMemberKind::State(s) => self.body(|cx| {
                    cx.types(s.ty.as_ref());
                    s.init.iter().for_each(|e| cx.initialiser(e));
                }),
                ModelMemberKind::Method(f) => self.function(f),
                ModelMemberKind::Transfers(_) | ModelMemberKind::Error => {}
            }
        }
    }

    fn optimizer(&mut self, o: &'a ast::Optimizer) {
        self.outer.extend(["step", "total_steps", "param"]);
        self.params(&o.params);
        for m in &o.members {
            if let OptimizerMemberKind::State(s) = &m.kind {
                self.outer.push(&s.name.text);
            }
        }
        for m in &o.members {
            match &m.kind {
                OptimizerMemberKind::State(s) => self.body(|cx| s.init.iter().for_each(|e| cx.expr(e))),
                OptimizerMemberKind::Method(f) => self.function(f),
                OptimizerMemberKind::Error => {}
            }
        }
    }

    fn train(&mut self, t: &'a ast::Train) {
        self.outer.extend(["step", "total_steps", "batch"]);
        for m in &t.members {
            match &m.kind {
                TrainMemberKind::Binding(b) => {
                    self.outer.push(&b.name.text);
                    self.introduced_dims(&b.value);
                }
                TrainMemberKind::Fn(f) => self.outer.push(&f.name.text),
                _ => {}
            }
        }
        self.field_dims();
        for m in &t.members {
            match &m.kind {
                TrainMemberKind::Binding(b) => self.body(|cx| cx.expr(&b.value)),
                TrainMemberKind::Fn(f) => self.function(f),
                TrainMemberKind::Loss(l) => {
                    self.body(|cx| l.options.iter().for_each(|a| cx.expr(&a.value)));
                    self.with_params(&l.params, &l.body);
                }
                TrainMemberKind::Metric(m) => self.with_params(&m.params, &m.body),
                TrainMemberKind::Transfers(_) | TrainMemberKind::Error => {}
            }
        }
    }

    /// `dim: other` in a pipeline makes `other` a dim of the block.
    fn introduced_dims(&mut self, e: &'a Expr) {
        let ExprKind::Call { callee, args } = &e.kind else { return };
        if let ExprKind::Field { base, .. } = &callee.kind {
            self.introduced_dims(base);
        }
        for a in args {
            match (&a.name, &a.value.kind) {
                (Some(n), ExprKind::Name(dim)) if n.text == "dim" => self.outer.push(dim),
                _ => self.introduced_dims(&a.value),
            }
        }
    }

    /// Named dims of the fields of any dataset that the block could use.
    fn field_dims(&mut self) {
        let files = self.files;
        for unit in &files.units {
            for item in &unit.ast.items {
                let ItemKind::Dataset(d) = &item.kind else { continue };
                for m in &d.fields {
                    let ast::DatasetMemberKind::Field(f) = &m.kind else { continue };
                    let TypeKind::Tensor(t) = &f.ty.kind else { continue };
                    for d in &t.dims {
                        if let Dim::Expr(Expr { kind: ExprKind::Name(n), .. }) = d {
                            self.outer.push(n);
                        }
                    }
                }
            }
        }
    }

    /// A parameter's name stands once.
    fn distinct(&mut self, params: &[Param]) {
        for (i, p) in params.iter().enumerate() {
            if let Some(first) = params[..i].iter().find(|q| q.name.text == p.name.text) {
                let title = format!("two parameters are called `{}`", p.name.text);
                self.out.push(error("E0302", p.name.span, title).label(first.name.span, "the first of them"));
            }
        }
    }

    fn with_params(&mut self, params: &'a [Param], body: &'a Block) {
        self.distinct(params);
        self.body(|cx| {
            params.iter().for_each(|p| cx.param(p));
            cx.block(body);
        });
    }

    fn function(&mut self, f: &'a ast::Function) {
        self.distinct(&f.params);
        self.body(|cx| {
            // Integers first: the dims of others may use them.
            let is_int = |p: &&Param| matches!(p.ty.as_ref().map(|t| &t.kind), Some(TypeKind::Int));
            f.params.iter().filter(is_int).for_each(|p| cx.param(p));
            f.params.iter().filter(|p| !is_int(p)).for_each(|p| cx.param(p));
            cx.types(f.ret.as_ref());
            f.facts.iter().for_each(|e| cx.expr(e));
            cx.block(&f.body);
        });
    }

    fn param(&mut self, p: &'a Param) {
        p.default.iter().for_each(|e| self.expr(e));
        if let Some(ty) = &p.ty {
            self.introduce(ty);
        }
        self.declare(&p.name.text, p.name.span, true);
    }

    /// Dim names of a parameter's type.
    fn introduce(&mut self, ty: &'a Type) {
        match &ty.kind {
            TypeKind::Tensor(t) => {
                for d in &t.dims {
                    match d {
                        Dim::Rest(n) => self.declare(&n.text, n.span, true),
                        Dim::Expr(Expr { kind: ExprKind::Name(n), span }) if !self.known(n) => {
                            self.declare(n, *span, true);
                        }
                        Dim::Expr(_) => {}
                    }
                }
                for d in &t.dims {
                    if let Dim::Expr(e) = d {
                        self.expr(e);
                    }
                }
            }
            TypeKind::Tuple(types) => types.iter().for_each(|t| self.introduce(t)),
            TypeKind::List(t) => self.introduce(t),
            TypeKind::Named(_) | TypeKind::Int | TypeKind::Str | TypeKind::Fn | TypeKind::Model => {
                self.types(Some(ty));
            }
        }
    }

    fn types(&mut self, ty: Option<&'a Type>) {
        let Some(ty) = ty else { return };
        match &ty.kind {
            TypeKind::Tensor(t) => self.tensor_type(t),
            TypeKind::Tuple(types) => types.iter().for_each(|t| self.types(Some(t))),
            TypeKind::List(t) => self.types(Some(t)),
            TypeKind::Named(n) => self.out.push(super::types::unknown_type(n)),
            TypeKind::Int | TypeKind::Str | TypeKind::Fn | TypeKind::Model => {}
        }
    }

    fn tensor_type(&mut self, t: &'a ast::TensorType) {
        for d in &t.dims {
            match d {
                Dim::Rest(n) => self.use_name(&n.text, n.span),
                Dim::Expr(e) => self.expr(e),
            }
        }
    }

    // ---- bodies

    fn body(&mut self, f: impl FnOnce(&mut Self)) {
        let saved = std::mem::take(&mut self.scopes);
        self.scopes.push(vec![]);
        f(self);
        while !self.scopes.is_empty() {
            self.close();
        }
        self.scopes = saved;
    }

    /// Ends a block: its locals that nothing read are reported.
    fn close(&mut self) {
        for l in self.scopes.pop().unwrap_or_default() {
            if l.used || l.quiet || l.name.starts_with('_') {
                continue;
            }
            let d = Diagnostic::warning("W0301", format!("nothing reads `{}`", l.name))
                .label(l.span, "bound here");
            self.out.push(d.hint(format!("remove it, or name it `_{}`", l.name)));
        }
    }

    fn declare(&mut self, name: &'a str, span: Span, quiet: bool) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.push(Local { name, span, used: false, quiet });
        }
    }

    fn in_item(&self, name: &str) -> bool {
        let outer: &[&str] = &self.outer;
        outer.contains(&name)
    }

    fn known(&self, name: &str) -> bool {
        self.scopes.iter().flatten().any(|l| l.name == name) || self.in_item(name) || self.in_file(name)
    }

    fn in_file(&self, name: &str) -> bool {
        let mut work = vec![self.file];
        let mut seen: Vec<FileId> = vec![];
        while let Some(f) = work.pop() {
            if seen.contains(&f) {
                continue;
            }
            seen.push(f);
            let Some(unit) = self.files.get(f) else { continue };
            if unit.item(name).is_some() {
                return true;
            }
            work.extend(unit.imports.iter().filter(|i| i.alias.is_none()).map(|i| i.file));
        }
        false
    }

    fn use_name(&mut self, name: &str, span: Span) {
        if let Some(l) =
            self.scopes.iter_mut().rev().flat_map(|s| s.iter_mut().rev()).find(|l| l.name == name)
        {
            l.used = true;
            return;
        }
        let known = self.in_item(name)
            || self.in_file(name)
            || matches!(name, "training")
            || later::is_later(name)
            || lookup_prelude(name).is_some();
        if known {
            return;
        }
        let mut names: Vec<&str> = self.scopes.iter().flatten().map(|l| l.name).collect();
        names.extend(self.outer.iter());
        let files = self.files;
        if let Some(unit) = files.get(self.file) {
            names.extend(unit.names());
        }
        for n in prelude().items().iter().map(|i| i.name.as_str()).chain(super::builtins::names()) {
            names.push(n);
        }
        let d = error("E0301", span, format!("there is no `{name}` here"));
        self.out.push(suggest::unknown(d, name, names));
    }

    fn block(&mut self, b: &'a Block) {
        self.scopes.push(vec![]);
        b.stmts.iter().for_each(|s| self.stmt(s));
        self.close();
    }

    fn stmt(&mut self, s: &'a Stmt) {
        match &s.kind {
            StmtKind::Expect(e) | StmtKind::Expr(e) => self.expr(e),
            StmtKind::Assign { targets, ty, value } => {
                self.types(ty.as_ref());
                self.expr(value);
                targets.iter().for_each(|p| self.place(p, true));
                if matches!(value.kind, ExprKind::Error) {
                    // What could not be read is mistake enough: that nothing reads its name is none.
                    targets.iter().for_each(|p| self.use_name(&p.name.text, p.name.span));
                }
            }
            StmtKind::Write { target, value } => {
                self.expr(value);
                self.place(target, false);
            }
            StmtKind::Error => {}
        }
    }

    fn place(&mut self, p: &'a ast::Place, assigned: bool) {
        self.index(&p.index);
        let bound = self.scopes.iter().flatten().any(|l| l.name == p.name.text);
        if !p.index.is_empty() || !p.path.is_empty() || !assigned {
            self.use_name(&p.name.text, p.name.span);
        } else if !bound {
            // Another value for a name of the model: the interpreter knows if it may have one.
            let shadows = self.in_item(&p.name.text);
            self.declare(&p.name.text, p.name.span, shadows);
        }
    }

    fn index(&mut self, items: &'a [ast::IndexItem]) {
        for i in items {
            match &i.kind {
                IndexKind::At(e) => self.expr(e),
                IndexKind::Slice { start, end, step } => {
                    [start, end, step].into_iter().flatten().for_each(|e| self.expr(e));
                }
                IndexKind::Rest | IndexKind::NewAxis => {}
            }
        }
    }

    fn exprs(&mut self, es: &'a [Expr]) {
        es.iter().for_each(|e| self.expr(e));
    }

    fn args(&mut self, args: &'a [ast::Arg]) {
        for a in args {
            let dim =
                a.name.as_ref().is_some_and(|n| n.text == "dim") && matches!(a.value.kind, ExprKind::Name(_));
            if !dim {
                self.expr(&a.value);
            }
        }
    }

    /// In the place of an initialiser `normal` is `init_normal`.
    fn initialiser(&mut self, e: &'a Expr) {
        let is_init = |cx: &Self, n: &str| {
            let full = format!("init_{n}");
            cx.in_file(&full) || prelude().entries(&full).next().is_some()
        };
        match &e.kind {
            ExprKind::Name(n) if is_init(self, n) => {}
            ExprKind::Call { callee, args } => match &callee.kind {
                ExprKind::Name(n) if is_init(self, n) => self.args(args),
                _ => self.expr(e),
            },
            ExprKind::If { branches, otherwise } => {
                for b in branches {
                    self.expr(&b.cond);
                }
                for b in branches.iter().map(|b| &b.body).chain(otherwise.as_ref()) {
                    match b.stmts.as_slice() {
                        [Stmt { kind: StmtKind::Expr(e), .. }] => self.initialiser(e),
                        _ => self.block(b),
                    }
                }
            }
            _ => self.expr(e),
        }
    }

    fn looped(&mut self, names: &'a [ast::Name], f: impl FnOnce(&mut Self)) {
        self.scopes.push(vec![]);
        names.iter().for_each(|n| self.declare(&n.text, n.span, true));
        f(self);
        self.close();
    }

    fn expr(&mut self, e: &'a Expr) {
        match &e.kind {
            ExprKind::Name(n) => self.use_name(n, e.span),
            ExprKind::Str(s) => self.string(s),
            ExprKind::Type(t) => self.tensor_type(t),
            ExprKind::List(items) | ExprKind::Tuple(items) => self.exprs(items),
            ExprKind::ListFor(l) => {
                self.expr(&l.iter);
                self.looped(&l.names, |cx| {
                    l.cond.iter().for_each(|c| cx.expr(c));
                    cx.expr(&l.element);
                });
            }
            ExprKind::PathMap(entries) => {
                for entry in entries {
                    entry.keys.iter().for_each(|k| self.string(k));
                    self.expr(&entry.value);
                }
            }
            ExprKind::Unary { operand, .. } => self.expr(operand),
            ExprKind::Binary { lhs, rhs, .. } => {
                self.expr(lhs);
                self.expr(rhs);
            }
            ExprKind::Range { start, end } => {
                self.expr(start);
                self.expr(end);
            }
            ExprKind::Call { callee, args } => {
                self.expr(callee);
                self.args(args);
            }
            ExprKind::Index { base, items } => {
                self.expr(base);
                self.index(items);
            }
            ExprKind::Field { base, .. } => self.expr(base),
            ExprKind::On { value, device } => {
                self.expr(value);
                self.device(device);
            }
            ExprKind::If { branches, otherwise } => {
                for b in branches {
                    self.expr(&b.cond);
                    self.block(&b.body);
                }
                otherwise.iter().for_each(|b| self.block(b));
            }
            ExprKind::For { names, iter, body } => {
                self.expr(iter);
                self.looped(names, |cx| cx.block(body));
            }
            ExprKind::Scan { names, iter, options, body } => {
                self.expr(iter);
                self.args(options);
                self.looped(names, |cx| cx.block(body));
            }
            ExprKind::While { cond, options, body } => {
                self.expr(cond);
                self.args(options);
                self.block(body);
            }
            ExprKind::OnBlock { device, body } => {
                self.device(device);
                self.block(body);
            }
            ExprKind::Keep { body, .. } => self.block(body),
            ExprKind::Int(_)
            | ExprKind::Float(_)
            | ExprKind::Bool(_)
            | ExprKind::None
            | ExprKind::Device(_)
            | ExprKind::Error => {}
        }
    }

    fn string(&mut self, s: &'a ast::Str) {
        for part in &s.parts {
            if let StrPart::Name(n) = part {
                self.use_name(&n.text, n.span);
            }
        }
    }

    fn device(&mut self, d: &'a ast::DeviceRef) {
        if let ast::DeviceRef::Name(n) = d {
            self.use_name(&n.text, n.span);
        }
    }
}
