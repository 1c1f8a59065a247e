//! Statements: assignment under the block rule, destructuring, slice rebinding, state writes.

use std::rc::Rc;

use mlc_diag::Span;

use super::env::{Env, Owner};
use super::fail::{Fail, R, error, fail};
use super::interp::Interp;
use super::suggest;
use super::value::{StateId, Value};
use crate::syntax::ast::{self, Place, Stmt, StmtKind};

impl<'a> Interp<'a> {
    /// Runs the statements of a block. In a user's file a mistake costs its statement: what it would
    /// have bound is poison, and the rest is still checked.
    pub fn stmts(&mut self, env: &mut Env<'a>, b: &'a ast::Block) -> R<Value<'a>> {
        let mut value = Value::None;
        let mut failed = false;
        for (i, stmt) in b.stmts.iter().enumerate() {
            self.tick(stmt.span)?;
            let last = i + 1 == b.stmts.len();
            match self.stmt(env, stmt) {
                Ok(v) => value = v,
                Err(f) if last || env.file.is_prelude() => return Err(f),
                Err(f) => {
                    failed = true;
                    self.report_fail(f);
                    poison(env, stmt);
                    value = Value::None;
                }
            }
        }
        if failed && matches!(value, Value::None) { Err(Fail::Silent) } else { Ok(value) }
    }

    fn stmt(&mut self, env: &mut Env<'a>, s: &'a Stmt) -> R<Value<'a>> {
        match &s.kind {
            StmtKind::Expr(e) => self.at(e.span, |cx| cx.expr(env, e)),
            StmtKind::Assign { targets, ty, value } => {
                let v = self.unplaced(env, value)?;
                let v = self.check_annotation(env, ty.as_ref(), v, value.span)?;
                self.at(s.span, |cx| cx.assign(env, targets, v, value.span))?;
                Ok(Value::None)
            }
            StmtKind::Write { target, value } => {
                let v = self.unplaced(env, value)?;
                self.at(s.span, |cx| cx.write(env, target, v, value.span))?;
                Ok(Value::None)
            }
            StmtKind::Expect(e) => Err(error("E0314", e.span, "`expect` stands in test blocks only")
                .hint("move it into `test \"name\" { .. }`")
                .into()),
            StmtKind::Error => Err(Fail::Silent),
        }
    }

    /// Assigns to one or several places.
    pub fn assign(&mut self, env: &mut Env<'a>, targets: &'a [Place], v: Value<'a>, span: Span) -> R<()> {
        if let [one] = targets {
            return self.assign_place(env, one, v, span);
        }
        let parts = self.parts(&v, targets.len(), span)?;
        for (t, v) in targets.iter().zip(parts) {
            self.assign_place(env, t, v, span)?;
        }
        Ok(())
    }

    fn assign_place(&mut self, env: &mut Env<'a>, p: &'a Place, v: Value<'a>, span: Span) -> R<()> {
        let name: &'a str = &p.name.text;
        if env.var(name).is_none() && self.state_named(env, name).is_some() {
            return Err(error("E0307", p.name.span, format!("`{name}` is state, which `=` does not change"))
                .hint(format!("write `{name} <- ..`, or use another name for a local"))
                .into());
        }
        if let Some(field) = p.path.first() {
            return Err(error("E0307", field.span, format!("`{name}.{}` cannot be assigned", field.text))
                .hint("members are fixed when the model is built; state is written with `<-` by its own methods")
                .into());
        }
        if p.index.is_empty() {
            env.assign(name, v, p.name.span);
            return Ok(());
        }
        let old = self.lookup(env, name, p.name.span)?;
        let old = self.read(old)?;
        let new = self.replace_index(env, old, &p.index, v, p.span, span)?;
        env.assign(name, new, p.name.span);
        Ok(())
    }

    /// The state that a name means in a body, if it means one.
    pub fn state_named(&self, env: &Env<'a>, name: &str) -> Option<StateId> {
        match &env.owner {
            Owner::Instance(id) => {
                let members = &self.instances[id.0].members;
                members.iter().rev().find(|m| m.0 == name).and_then(|m| match m.1 {
                    Value::State(id) => Some(id),
                    _ => None,
                })
            }
            Owner::Hyper(scope) => scope.states.iter().find(|s| s.0 == name).and_then(|s| s.1),
            _ => None,
        }
    }

    fn write(&mut self, env: &mut Env<'a>, p: &'a Place, v: Value<'a>, span: Span) -> R<()> {
        let name = &p.name.text;
        if let Some(local) = env.var(name) {
            return Err(error("E0307", p.name.span, format!("`{name}` is a local, `<-` writes state"))
                .label(local.span, "bound here")
                .hint(format!("write `{name} = ..`"))
                .into());
        }
        let Some(id) = self.state_named(env, name).filter(|_| p.path.is_empty()) else {
            let states: Vec<String> = self.visible_names(env);
            let states = states.iter().filter(|n| self.state_named(env, n).is_some()).map(String::as_str);
            let d = error("E0307", p.span, format!("`{name}` is no state of this body"));
            return Err(suggest::hint(
                d,
                name,
                states,
                "`<-` writes the body's own params, buffers and state",
            )
            .into());
        };
        let ty = self.states[id.0].ty.clone();
        let v = if p.index.is_empty() {
            v
        } else {
            let old = Value::Tensor(self.read_state(id)?);
            self.replace_index(env, old, &p.index, v, p.span, span)?
        };
        let t = self.fit(&v, &ty, &format!("`{name}`"), span)?;
        self.write_state(id, t, p.span);
        Ok(())
    }

    /// `x[i] = v` on a list.
    pub fn replace_element(
        &mut self,
        old: &Rc<Vec<Value<'a>>>,
        i: i64,
        v: Value<'a>,
        span: Span,
    ) -> R<Value<'a>> {
        let at = list_position(old.len(), i, span)?;
        let mut items = old.to_vec();
        items[at] = v;
        Ok(Value::list(items))
    }
}

/// The position that an index means in a list; negative ones count from the end.
pub fn list_position(len: usize, i: i64, span: Span) -> R<usize> {
    let at = if i < 0 { i.saturating_add(len as i64) } else { i };
    match usize::try_from(at) {
        Ok(at) if at < len => Ok(at),
        _ => fail("E0205", span, format!("index {i} is out of range for a list of {len}")),
    }
}

/// Gives the targets of a failed statement a value that keeps later statements silent.
fn poison<'a>(env: &mut Env<'a>, s: &'a Stmt) {
    if let StmtKind::Assign { targets, .. } = &s.kind {
        for t in targets {
            env.assign(&t.name.text, Value::Poison, t.span);
        }
    }
}
