//! Train blocks: their bindings, and everything about a run that is not in a graph.

use std::rc::Rc;

use mlc_diag::Span;
use mlc_ir::program::{DataSpec, StateKind, glob};

use mlc_ir::Dim;

use super::env::{Env, Owner};
use super::fail::{Fail, R, error, fail};
use super::files::FileId;
use super::interp::Interp;
use super::model::Copies;
use super::suggest;
use super::value::{EmaSpec, Func, Hyper, InstId, MapEntry, StateId, Thunk, Value};
use crate::syntax::ast::{self, ExprKind, TrainMemberKind};

/// The bindings that a train block knows by name.
pub const KNOWN: &[&str] = &[
    "model",
    "data",
    "validate",
    "optimizer",
    "epochs",
    "steps",
    "precision",
    "clip_norm",
    "accumulate",
    "seed",
    "weights",
    "save",
    "stop",
];

/// A train block and what its bindings mean.
pub struct TrainCx<'a> {
    pub decl: &'a ast::Train,
    pub file: FileId,
    pub span: Span,
    pub name: String,
    /// Before the paths of all its states; empty for the first block.
    pub prefix: String,
    pub values: Vec<(&'a str, Value<'a>)>,
    open: Vec<&'a str>,
    pub averages: Vec<Average>,
    /// Which optimizer updates which parameter; frozen ones are left out.
    pub groups: Vec<Group<'a>>,
}

/// A copy that follows an instance.
pub struct Average {
    pub pairs: Vec<(StateId, StateId)>,
    pub decay: f64,
    pub every: u64,
    pub span: Span,
}

/// An optimizer with the parameters it updates.
pub struct Group<'a> {
    /// The glob of a path map; empty without one.
    pub glob: String,
    pub optimizer: Rc<Hyper<'a>>,
    pub params: Vec<Trained<'a>>,
}

pub struct Trained<'a> {
    pub param: StateId,
    /// The optimizer's states for it; `None` where the hyper-parameters leave one out.
    pub states: Vec<(&'a str, Option<StateId>)>,
}

impl<'a> TrainCx<'a> {
    pub fn new(decl: &'a ast::Train, file: FileId, span: Span, name: String, prefix: String) -> TrainCx<'a> {
        TrainCx {
            decl,
            file,
            span,
            name,
            prefix,
            values: vec![],
            open: vec![],
            averages: vec![],
            groups: vec![],
        }
    }

    pub fn binding(&self, name: &str) -> Option<&'a ast::Binding> {
        self.decl.members.iter().find_map(|m| match &m.kind {
            TrainMemberKind::Binding(b) if b.name.text == name => Some(b),
            _ => None,
        })
    }

    pub fn bindings(&self) -> impl Iterator<Item = &'a ast::Binding> + use<'a> {
        self.decl.members.iter().filter_map(|m| match &m.kind {
            TrainMemberKind::Binding(b) => Some(b),
            _ => None,
        })
    }

    pub fn losses(&self) -> Vec<&'a ast::Loss> {
        self.decl
            .members
            .iter()
            .filter_map(|m| match &m.kind {
                TrainMemberKind::Loss(l) => Some(l),
                _ => None,
            })
            .collect()
    }

    pub fn metrics(&self) -> Vec<&'a ast::Metric> {
        self.decl
            .members
            .iter()
            .filter_map(|m| match &m.kind {
                TrainMemberKind::Metric(l) => Some(l),
                _ => None,
            })
            .collect()
    }

    fn function(&self, name: &str) -> Option<&'a ast::Function> {
        self.decl.members.iter().find_map(|m| match &m.kind {
            TrainMemberKind::Fn(f) if f.name.text == name => Some(f),
            _ => None,
        })
    }

    pub fn value(&self, name: &str) -> Option<&Value<'a>> {
        self.values.iter().find(|v| v.0 == name).map(|v| &v.1)
    }

    pub fn data(&self, name: &str) -> Option<Rc<DataSpec>> {
        match self.value(name) {
            Some(Value::Data(d)) => Some(d.clone()),
            _ => None,
        }
    }
}

impl<'a> Interp<'a> {
    /// A name in the body of a train block.
    pub fn train_name(&mut self, i: usize, name: &str, span: Span) -> R<Option<Value<'a>>> {
        if let Some(v) = self.trains[i].value(name) {
            return Ok(Some(v.clone()));
        }
        if let Some(b) = self.trains[i].binding(name) {
            return self.train_binding(i, b, span).map(Some);
        }
        if let Some(f) = self.trains[i].function(name) {
            let file = self.trains[i].file;
            return Ok(Some(Value::Fn(Func { decl: f, file, owner: Owner::Train(i) })));
        }
        if name == "batch"
            && let Some(d) = &self.g.batch
        {
            return Ok(Some(Value::Int(d.clone())));
        }
        // Dims that the data's fields introduced.
        let dim = self.g.graph.dims.symbols.iter().find(|s| *s.name == *name);
        Ok(dim.map(|s| Value::Int(Dim::sym(s.name.clone()))))
    }

    pub fn train_names(&self, i: usize) -> Vec<String> {
        let t = &self.trains[i];
        let mut names: Vec<String> = t.bindings().map(|b| b.name.text.clone()).collect();
        names.extend(t.decl.members.iter().filter_map(|m| match &m.kind {
            TrainMemberKind::Fn(f) => Some(f.name.text.clone()),
            _ => None,
        }));
        names.extend(["batch", "step", "total_steps"].map(str::to_owned));
        names
    }

    /// Evaluates a binding of a train block, once.
    pub fn train_binding(&mut self, i: usize, b: &'a ast::Binding, span: Span) -> R<Value<'a>> {
        let name = b.name.text.as_str();
        if self.trains[i].open.contains(&name) {
            return fail("E0304", span, format!("`{name}` is defined by itself"));
        }
        self.trains[i].open.push(name);
        let v = self.evaluate_binding(i, b);
        self.trains[i].open.pop();
        let v = match v {
            Ok(v) => v,
            Err(f) => {
                self.report_fail(f);
                Value::Poison
            }
        };
        self.trains[i].values.push((name, v.clone()));
        Ok(v)
    }

    fn evaluate_binding(&mut self, i: usize, b: &'a ast::Binding) -> R<Value<'a>> {
        let name = b.name.text.as_str();
        let (file, prefix) = (self.trains[i].file, self.trains[i].prefix.clone());
        let own = if name == "model" { "" } else { name };
        let root = self.new_root(super::interp::join(&prefix, own));
        let mut env = Env::new(file, Owner::Train(i));
        let before = self.instances.len();
        let v = self.placed(Some((root, String::new())), |cx| {
            let v = cx.expr(&mut env, &b.value)?;
            cx.check_annotation(&mut env, b.ty.as_ref(), v, b.value.span)
        })?;
        match &v {
            // An instance of the file that this block trains: its names are those of the block.
            Value::Instance(id) if id.0 < before || self.instances[id.0].root != root => {
                let own_root = self.instances[id.0].root;
                let bound_here = self.trains[i].values.iter().any(|(_, v)| match v {
                    Value::Instance(other) => self.instances[other.0].root == own_root,
                    _ => false,
                });
                if self.instances[id.0].path.is_empty() && !bound_here && name == "model" {
                    self.roots[own_root].prefix = prefix;
                } else {
                    self.alias(&v, root, "");
                }
            }
            Value::Ema(spec) => return self.average(i, spec.clone(), root).map(Value::Instance),
            _ if v.is_graph_bound() => {
                return Ok(Value::Lazy(Rc::new(Thunk { expr: &b.value, env: Rc::new(env) })));
            }
            _ => {}
        }
        Ok(v)
    }

    fn average(&mut self, i: usize, spec: Rc<EmaSpec>, root: usize) -> R<InstId> {
        let mut copies = Copies::default();
        // The copy starts at the root of its own binding.
        let new = self.copy_instance(spec.of, root, &mut copies);
        let (from, prefix) = (self.instances[spec.of.0].path.clone(), &mut copies);
        if !from.is_empty() {
            for (_, id) in &prefix.instances {
                let path = &self.instances[id.0].path;
                self.instances[id.0].path =
                    path.strip_prefix(&from).unwrap_or(path).trim_start_matches('.').to_owned();
            }
            for (_, id) in &prefix.states {
                let path = &self.states[id.0].path;
                self.states[id.0].path =
                    path.strip_prefix(&from).unwrap_or(path).trim_start_matches('.').to_owned();
            }
        }
        self.trains[i].averages.push(Average {
            pairs: copies.states,
            decay: spec.decay,
            every: spec.every,
            span: spec.span,
        });
        Ok(new)
    }

    /// Evaluates all bindings of a block and declares the states of its optimizers.
    pub fn prepare_train(&mut self, i: usize) {
        let bindings: Vec<&'a ast::Binding> = self.trains[i].bindings().collect();
        let mut seen: Vec<&ast::Name> = vec![];
        for b in &bindings {
            if let Some(first) = seen.iter().find(|n| n.text == b.name.text) {
                let d = error("E0302", b.name.span, format!("`{}` is bound twice", b.name.text));
                self.report(d.label(first.span, "first here"));
                continue;
            }
            seen.push(&b.name);
            if self.trains[i].value(&b.name.text).is_none()
                && let Err(f) = self.train_binding(i, b, b.name.span)
            {
                self.report_fail(f);
            }
        }
        if let Err(f) = self.check_bindings(i).and_then(|()| self.assign_optimizers(i)) {
            self.report_fail(f);
        }
    }

    /// Kinds of the known bindings; unused names of one's own.
    fn check_bindings(&mut self, i: usize) -> R<()> {
        let bindings: Vec<&'a ast::Binding> = self.trains[i].bindings().collect();
        for b in bindings {
            let name = b.name.text.as_str();
            let v = self.trains[i].value(name).cloned().unwrap_or(Value::Poison);
            let want = match (name, &v) {
                (_, Value::Poison) => continue,
                ("model", Value::Instance(_)) | ("data" | "validate", Value::Data(_)) => continue,
                ("optimizer", Value::Optimized(_) | Value::PathMap(_)) => continue,
                ("epochs" | "steps" | "accumulate" | "seed", Value::Int(_)) => continue,
                ("clip_norm", v) if v.is_number() => continue,
                ("precision", Value::Type(t)) if *t == mlc_ir::Type::scalar(mlc_ir::DType::F32) => continue,
                ("precision", Value::Spec(s)) if s.name == "mixed" => {
                    self.report(super::later::construct("`precision = mixed(..)`", b.value.span));
                    continue;
                }
                ("weights" | "save", Value::Str(_) | Value::PathMap(_)) => continue,
                ("save", Value::Spec(s)) if s.name == "best" => continue,
                ("stop", Value::Spec(s)) if s.name == "patience" => continue,
                ("model", _) => "a model instance, such as `SimpleNN()`",
                ("data" | "validate", _) => "data, such as `Digits(\"train\").batch(64)`",
                ("optimizer", Value::Optimizer(..)) => {
                    "an optimizer with its arguments, such as `sgd(lr: 0.1)`"
                }
                ("optimizer", _) => "an optimizer or a path map of optimizers",
                ("epochs" | "steps" | "accumulate" | "seed", _) => "an integer",
                ("clip_norm", _) => "a number",
                ("precision", _) => "f32, mixed(f16) or mixed(bf16)",
                ("weights" | "save", _) => "a file name or a path map of file names",
                ("stop", _) => "patience(..)",
                _ => {
                    self.check_own_binding(i, b, &v);
                    continue;
                }
            };
            let d =
                error("E0406", b.value.span, format!("`{name}` must be {want}; this is {}", self.text(&v)));
            self.report(d.label(b.name.span, ""));
        }
        Ok(())
    }

    fn check_own_binding(&mut self, i: usize, b: &'a ast::Binding, v: &Value<'a>) {
        if matches!(v, Value::Instance(_)) || self.name_is_used(i, &b.name.text) {
            return;
        }
        let name = &b.name.text;
        let d = error(
            "E0407",
            b.name.span,
            format!("nothing uses `{name}`, and it is no setting of a train block"),
        );
        let known = format!("the settings are {}", KNOWN.join(", "));
        self.report(match super::foreign::name(name) {
            Some(instead) => d.hint(instead),
            None => suggest::hint(d, name, KNOWN.iter().copied(), &known),
        });
    }

    fn name_is_used(&self, i: usize, name: &str) -> bool {
        let t = &self.trains[i];
        let text = |span: Span| self.sources.snippet(span);
        t.decl.members.iter().any(|m| match &m.kind {
            TrainMemberKind::Binding(b) => b.name.text != name && has_word(text(b.value.span), name),
            _ => has_word(text(m.span), name),
        })
    }

    /// Instances bound in the block that are trained: all but averages.
    pub fn trained_instances(&self, i: usize) -> Vec<(&'a str, InstId)> {
        let t = &self.trains[i];
        let averages: Vec<StateId> = t.averages.iter().flat_map(|a| a.pairs.iter().map(|p| p.1)).collect();
        let order: Vec<&'a str> = t.bindings().map(|b| b.name.text.as_str()).collect();
        let mut out = vec![];
        for name in order {
            if let Some(Value::Instance(id)) = t.value(name) {
                let states = self.states_of(*id);
                if states.is_empty() || !states.iter().all(|s| averages.contains(s)) {
                    out.push((name, *id));
                }
            }
        }
        out
    }

    /// Parameters of the block's instances, each once.
    pub fn trained_params(&self, i: usize) -> Vec<StateId> {
        let mut out = vec![];
        for (_, id) in self.trained_instances(i) {
            for s in self.states_of(id) {
                if self.states[s.0].kind == StateKind::Param && !out.contains(&s) {
                    out.push(s);
                }
            }
        }
        out
    }

    /// A state's path as the block's path maps see it.
    pub fn block_path(&self, i: usize, s: StateId) -> String {
        let path = self.state_path(s);
        let prefix = &self.trains[i].prefix;
        match path.strip_prefix(prefix.as_str()) {
            Some(rest) if !prefix.is_empty() => rest.trim_start_matches('.').to_owned(),
            _ => path,
        }
    }

    fn assign_optimizers(&mut self, i: usize) -> R<()> {
        if self.trains[i].losses().is_empty() {
            return Ok(());
        }
        let params = self.trained_params(i);
        let Some(v) = self.trains[i].value("optimizer").cloned() else {
            return Err(error("E0408", self.trains[i].span, "a train block with a loss needs an optimizer")
                .hint("add for example `optimizer = adam(lr: 1e-3)`")
                .into());
        };
        match v {
            Value::Optimized(h) => self.add_group(i, String::new(), h, &params),
            Value::PathMap(entries) => {
                let chosen = self.match_paths(i, &entries, &params, "parameter")?;
                for (k, e) in entries.iter().enumerate() {
                    let mine: Vec<StateId> =
                        params.iter().zip(&chosen).filter(|(_, c)| **c == k).map(|(p, _)| *p).collect();
                    match &e.value {
                        Value::Optimized(h) => {
                            let glob = e.globs.first().map_or("", |g| &g.0).to_owned();
                            self.add_group(i, glob, h.clone(), &mine)?;
                        }
                        Value::Frozen => {}
                        Value::Poison => return Err(Fail::Silent),
                        v => {
                            let d = error(
                                "E0406",
                                e.span,
                                format!(
                                    "an optimizer map takes optimizers and `frozen`, this is {}",
                                    v.kind()
                                ),
                            );
                            return Err(d.into());
                        }
                    }
                }
                Ok(())
            }
            _ => Err(Fail::Silent),
        }
    }

    /// For each state the index of the first entry that matches its path. A pattern without a match
    /// and a state without a pattern are errors.
    pub fn match_paths(
        &mut self,
        i: usize,
        entries: &[MapEntry<'a>],
        states: &[StateId],
        what: &str,
    ) -> R<Vec<usize>> {
        // Where a model has mistakes, what its paths are is not known.
        if self.diags.has_errors() {
            return Err(Fail::Silent);
        }
        let mut used: Vec<Vec<bool>> = entries.iter().map(|e| vec![false; e.globs.len()]).collect();
        let mut out = vec![];
        let mut missing: Vec<String> = vec![];
        for &s in states {
            let path = self.block_path(i, s);
            let mut found = None;
            for (k, e) in entries.iter().enumerate() {
                for (j, (g, _)) in e.globs.iter().enumerate() {
                    if glob::matches(g, &path) {
                        // A later pattern is alive if it would match, even where an earlier one wins.
                        used[k][j] |= found.is_none();
                        found = found.or(Some(k));
                    }
                }
            }
            match found {
                Some(k) => out.push(k),
                None => missing.push(path),
            }
        }
        for (k, e) in entries.iter().enumerate() {
            for (j, (g, span)) in e.globs.iter().enumerate() {
                if !used[k][j] && *g != "**" {
                    let paths: Vec<String> = states.iter().map(|&s| self.block_path(i, s)).collect();
                    let shadowed = paths.iter().any(|p| glob::matches(g, p));
                    let title = match shadowed {
                        true => format!("the pattern \"{g}\" is never reached: earlier ones match first"),
                        false => format!("the pattern \"{g}\" matches no {what}"),
                    };
                    let d = error("E0409", *span, title);
                    let nearest = suggest::nearest(g, paths.iter().map(String::as_str)).map(str::to_owned);
                    let some: Vec<String> = paths.iter().take(6).map(|p| format!("`{p}`")).collect();
                    let d = d.note(format!(
                        "the {what}s are {}{}",
                        some.join(", "),
                        if paths.len() > 6 { ", .." } else { "" }
                    ));
                    return Err(match nearest {
                        Some(n) => d.hint(format!("did you mean \"{n}\"?")),
                        None => d,
                    }
                    .into());
                }
            }
        }
        if let Some(first) = missing.first() {
            let span = entries.last().map_or(Span::NONE, |e| e.span);
            let more =
                if missing.len() > 1 { format!(" and {} more", missing.len() - 1) } else { String::new() };
            return Err(error("E0410", span, format!("no pattern matches the {what} `{first}`{more}"))
                .hint("end the map with a pattern for the rest: `\"**\": ..`")
                .into());
        }
        Ok(out)
    }

    fn add_group(&mut self, i: usize, glob: String, h: Rc<Hyper<'a>>, params: &[StateId]) -> R<()> {
        let prefix = self.trains[i].prefix.clone();
        let mut trained = vec![];
        for &param in params {
            let states = self.optimizer_states(&h, param, &prefix)?;
            trained.push(Trained { param, states });
        }
        self.trains[i].groups.push(Group { glob, optimizer: h, params: trained });
        Ok(())
    }

    /// The parameters that a loss updates.
    pub fn loss_targets(&mut self, i: usize, l: &'a ast::Loss) -> R<Vec<StateId>> {
        let all = self.trained_params(i);
        if l.updates.is_empty() {
            return Ok(all);
        }
        let mut out: Vec<StateId> = vec![];
        for u in &l.updates {
            match u {
                ast::UpdateTarget::Name(n) => match self.trains[i].value(&n.text).cloned() {
                    Some(Value::Instance(id)) => {
                        out.extend(self.states_of(id).into_iter().filter(|s| all.contains(s)));
                    }
                    Some(Value::Poison) => return Err(Fail::Silent),
                    _ => {
                        let names: Vec<&str> = self.trained_instances(i).iter().map(|t| t.0).collect();
                        let d = error("E0412", n.span, format!("`{}` is no model of this block", n.text));
                        return Err(suggest::hint(d, &n.text, names, "").into());
                    }
                },
                ast::UpdateTarget::Glob(s) => {
                    let glob = s.literal().unwrap_or_default().to_owned();
                    let before = out.len();
                    out.extend(all.iter().copied().filter(|&p| glob::matches(&glob, &self.block_path(i, p))));
                    if out.len() == before {
                        return fail("E0409", s.span, format!("the pattern \"{glob}\" matches no parameter"));
                    }
                }
            }
        }
        out.sort();
        out.dedup();
        Ok(out)
    }

    /// The optimizer's states for a parameter, declared with the types that their initial values have.
    fn optimizer_states(
        &mut self,
        h: &Rc<Hyper<'a>>,
        param: StateId,
        prefix: &str,
    ) -> R<Vec<(&'a str, Option<StateId>)>> {
        let mut out = vec![];
        let decls: Vec<&'a ast::StateDecl> = h
            .item
            .members
            .iter()
            .filter_map(|m| match &m.kind {
                ast::OptimizerMemberKind::State(s) => Some(s),
                _ => None,
            })
            .collect();
        if decls.is_empty() {
            return Ok(out);
        }
        let mut env = self.optimizer_env(h, Some(param), vec![])?;
        for s in decls {
            let Some(init) = &s.init else {
                return Err(error(
                    "E0404",
                    s.name.span,
                    format!("the state `{}` needs an initial value", s.name.text),
                )
                .hint("for example `state m = zeros_like(param)`")
                .into());
            };
            let leaf = self.static_leaf(&mut env, init)?;
            if matches!(leaf.kind, ExprKind::None) {
                out.push((s.name.text.as_str(), None));
                continue;
            }
            let v = self.expr(&mut env, leaf)?;
            let t = self.any_tensor(&v, leaf.span)?;
            let ty = self.ty(t);
            let of = self.state_path(param);
            let name = format!("optimizer.{}.{of}", s.name.text);
            let id = self.add_optimizer_state(name, prefix, ty, h.clone(), leaf, param, &s.name);
            out.push((s.name.text.as_str(), Some(id)));
        }
        Ok(out)
    }
}

fn has_word(text: &str, word: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}
