//! What a name means. The order: locals and parameters, signature dims, members and methods, config,
//! file, files used without alias, library.

use mlc_diag::{Diagnostic, Span};
use mlc_ir::program::system;

use super::builtins;
use super::env::{Env, Owner};
use super::fail::{R, error};
use super::files::FileId;
use super::interp::Interp;
use super::later;
use super::suggest;
use super::value::{Func, ModelRef, Value};
use crate::prelude::prelude;
use crate::syntax::{ItemWord, ast};

impl<'a> Interp<'a> {
    /// The value of a name, unread: a state stays a state.
    pub fn lookup(&mut self, env: &Env<'a>, name: &str, span: Span) -> R<Value<'a>> {
        if let Some(v) = env.var(name) {
            return Ok(v.value.clone());
        }
        if let Some(v) = env.dim(name) {
            return Ok(v.clone());
        }
        if let Some(v) = self.lookup_owner(env, name, span)? {
            return Ok(v);
        }
        if let Some(v) = self.lookup_file(env.file, name)? {
            return Ok(v);
        }
        if let Some(v) = lookup_prelude(name) {
            return Ok(v);
        }
        if name == "training" {
            return Ok(Value::Bool(self.g.training));
        }
        // A train block by name is its step, for figures in tests.
        if let Some(t) = self.trains.iter().find(|t| t.name == name) {
            return Ok(Value::str(format!("{}.step", t.name)));
        }
        Err(self.unknown_name(env, name, span).into())
    }

    fn lookup_owner(&mut self, env: &Env<'a>, name: &str, span: Span) -> R<Option<Value<'a>>> {
        match &env.owner {
            Owner::File => Ok(None),
            Owner::Instance(id) => {
                let inst = &self.instances[id.0];
                if let Some((_, v)) = inst.members.iter().rev().find(|m| m.0 == name) {
                    return Ok(Some(v.clone()));
                }
                let methods = inst.decl.members.iter();
                let method = methods.filter_map(|m| match &m.kind {
                    ast::ModelMemberKind::Method(f) if f.name.text == name => Some(f),
                    _ => None,
                });
                if let Some(m) = method.into_iter().next() {
                    return Ok(Some(Value::Method(*id, m)));
                }
                Ok(inst.config.iter().find(|c| c.0 == name).map(|c| c.1.clone()))
            }
            Owner::Train(i) => {
                if name == "step" || name == "total_steps" {
                    return Ok(Some(self.counter(name)));
                }
                self.train_name(*i, name, span)
            }
            Owner::Hyper(scope) => {
                if let Some((_, state)) = scope.states.iter().find(|s| s.0 == name) {
                    return Ok(Some(state.map_or(Value::None, Value::State)));
                }
                if let Some((_, v)) = scope.values.iter().find(|v| v.0 == name) {
                    return Ok(Some(v.clone()));
                }
                if name == "step" || name == "total_steps" {
                    return Ok(Some(self.counter(name)));
                }
                Ok(None)
            }
            Owner::Config(config) => Ok(config.iter().find(|c| c.0 == name).map(|c| c.1.clone())),
        }
    }

    /// `step` or `total_steps`.
    pub fn counter(&mut self, name: &str) -> Value<'a> {
        let path = if name == "step" { system::STEP } else { system::TOTAL_STEPS };
        Value::State(self.system(path))
    }

    /// A name of a file or of what it uses without alias.
    pub fn lookup_file(&mut self, file: FileId, name: &str) -> R<Option<Value<'a>>> {
        if let Some((file, item)) = self.find_item(file, name) {
            return self.item_value(file, item).map(Some);
        }
        let unit = self.files.get(file);
        let alias = unit.and_then(|u| u.imports.iter().find(|i| i.alias.as_deref() == Some(name)));
        Ok(alias.map(|i| Value::Module(i.file)))
    }

    /// The item of this name, in the file or in files that it uses without alias.
    pub fn find_item(&self, file: FileId, name: &str) -> Option<(FileId, &'a ast::Item)> {
        let files = self.files;
        let unit = files.get(file)?;
        if let Some(item) = unit.item(name)
            && !matches!(item.kind, ast::ItemKind::Use(_))
        {
            return Some((file, item));
        }
        // One level is not enough: what a used file uses without alias is visible too.
        let mut seen = vec![file];
        let mut work: Vec<FileId> = plain_imports(unit);
        while let Some(f) = work.pop() {
            if seen.contains(&f) {
                continue;
            }
            seen.push(f);
            let Some(unit) = files.get(f) else { continue };
            if let Some(item) = unit.item(name)
                && !matches!(item.kind, ast::ItemKind::Use(_) | ast::ItemKind::Device(_))
            {
                return Some((f, item));
            }
            work.extend(plain_imports(unit));
        }
        None
    }

    fn item_value(&mut self, file: FileId, item: &'a ast::Item) -> R<Value<'a>> {
        Ok(match &item.kind {
            ast::ItemKind::Binding(b) => return self.binding_value(file, b),
            ast::ItemKind::Device(d) => Value::Device(self.remapped(d.device, Some(&d.name.text))),
            kind => item_reference(kind, file).unwrap_or(Value::Poison),
        })
    }

    /// The value of a file binding: evaluated once, or once a graph where it holds tensors.
    fn binding_value(&mut self, file: FileId, b: &'a ast::Binding) -> R<Value<'a>> {
        let key: *const ast::Binding = b;
        if let Some(v) = self.bindings.get(&key).or_else(|| self.g.bindings.get(&key)) {
            return Ok(v.clone());
        }
        if self.open_bindings.contains(&key) {
            return Err(error("E0304", b.name.span, format!("`{}` is defined by itself", b.name.text))
                .hint("a file binding cannot use its own value")
                .into());
        }
        self.open_bindings.push(key);
        let root = self.new_root(b.name.text.clone());
        let mut env = self.file_env(file);
        let saved = (std::mem::take(&mut self.g.scope), std::mem::take(&mut self.stack));
        let value = self.outside_loops(|cx| {
            cx.placed(Some((root, String::new())), |cx| {
                let v = cx.expr(&mut env, &b.value)?;
                cx.check_annotation(&mut env, b.ty.as_ref(), v, b.value.span)
            })
        });
        (self.g.scope, self.stack) = saved;
        self.open_bindings.pop();
        let value = match value {
            Ok(v) => v,
            Err(f) => {
                self.report_fail(f);
                self.bindings.insert(key, Value::Poison);
                return Ok(Value::Poison);
            }
        };
        let cache = if value.is_graph_bound() { &mut self.g.bindings } else { &mut self.bindings };
        cache.insert(key, value.clone());
        Ok(value)
    }

    /// The error for a name that means nothing here.
    pub fn unknown_name(&self, env: &Env<'a>, name: &str, span: Span) -> Diagnostic {
        if let Some(d) = later::not_built(name, span) {
            return d;
        }
        let known = self.visible_names(env);
        let d = error("E0301", span, format!("there is no `{name}` here"));
        suggest::unknown(d, name, known.iter().map(String::as_str))
    }

    /// All names that could stand here.
    pub fn visible_names(&self, env: &Env<'a>) -> Vec<String> {
        let mut names: Vec<String> = env.vars.iter().map(|v| v.name.to_owned()).collect();
        names.extend(env.dims.iter().map(|d| d.0.to_owned()));
        match &env.owner {
            Owner::Instance(id) => {
                let inst = &self.instances[id.0];
                names.extend(inst.members.iter().map(|m| m.0.to_owned()));
                names.extend(inst.config.iter().map(|c| c.0.to_owned()));
                names.extend(inst.decl.members.iter().filter_map(|m| match &m.kind {
                    ast::ModelMemberKind::Method(f) => Some(f.name.text.clone()),
                    _ => None,
                }));
            }
            Owner::Hyper(scope) => {
                names.extend(scope.values.iter().map(|v| v.0.to_owned()));
                names.extend(scope.states.iter().map(|v| v.0.to_owned()));
                names.extend(["step".to_owned(), "total_steps".to_owned()]);
            }
            Owner::Train(i) => names.extend(self.train_names(*i)),
            Owner::Config(c) => names.extend(c.iter().map(|c| c.0.to_owned())),
            Owner::File => {}
        }
        let mut work = vec![env.file];
        let mut seen = vec![];
        while let Some(f) = work.pop() {
            if seen.contains(&f) {
                continue;
            }
            seen.push(f);
            if let Some(unit) = self.files.get(f) {
                names.extend(unit.names().map(str::to_owned));
                work.extend(plain_imports(unit));
            }
        }
        names.extend(prelude().items().iter().map(|i| i.name.clone()));
        names.extend(builtins::names().map(str::to_owned));
        names.push("training".to_owned());
        names
    }
}

fn plain_imports(unit: &super::files::Unit) -> Vec<FileId> {
    unit.imports.iter().rev().filter(|i| i.alias.is_none()).map(|i| i.file).collect()
}

/// A name of the library, or of the compiler's own functions and constants.
pub fn lookup_prelude<'a>(name: &str) -> Option<Value<'a>> {
    if let Some(b) = builtins::find(name) {
        return Some(Value::Builtin(b));
    }
    match name {
        "pi" => return Some(Value::Float(std::f64::consts::PI)),
        "inf" => return Some(Value::Float(f64::INFINITY)),
        "nan" => return Some(Value::Float(f64::NAN)),
        "frozen" => return Some(Value::Frozen),
        "init" => return Some(Value::Init),
        _ => {}
    }
    for word in [ItemWord::Fn, ItemWord::Model, ItemWord::Optimizer, ItemWord::Schedule, ItemWord::Dataset] {
        if let Some(item) = prelude().find(name, word) {
            return item_reference(&item.kind, FileId::PRELUDE);
        }
    }
    None
}

/// What an item that is called or passed along is as a value.
pub fn item_reference<'a>(kind: &'a ast::ItemKind, file: FileId) -> Option<Value<'a>> {
    Some(match kind {
        ast::ItemKind::Model(decl) => Value::Model(ModelRef { decl, file }),
        ast::ItemKind::Fn(decl) => Value::Fn(Func { decl, file, owner: Owner::File }),
        ast::ItemKind::Dataset(d) => Value::Dataset(d, file),
        ast::ItemKind::Optimizer(o) => Value::Optimizer(o, file),
        ast::ItemKind::Schedule(s) => Value::Schedule(s, file),
        _ => return None,
    })
}
