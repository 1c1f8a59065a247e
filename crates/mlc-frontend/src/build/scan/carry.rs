//! What a loop carries from trip to trip: the names bound outside that its body assigns. A name's value may be
//! a tensor, a number (which becomes one) or a list or tuple of these; its types stay what they are.

use mlc_diag::{Diagnostic, Span};
use mlc_ir::graph::ValueId;
use mlc_ir::op::Port;

use crate::build::env::Env;
use crate::build::fail::{Fail, R, error};
use crate::build::interp::Interp;
use crate::build::value::Value;
use crate::syntax::ast::{Block, Expr, ExprKind, Place, StmtKind};

/// A name that a loop carries.
pub struct Carry<'a> {
    pub name: &'a str,
    pub before: Value<'a>,
    /// Where it was bound, and where the body assigns it last.
    pub bound: Span,
    assigned: Span,
    /// The first value of each of its tensors, and the node that stands for its value in a trip.
    pub first: Vec<ValueId>,
    pub params: Vec<ValueId>,
}

impl<'a> Interp<'a> {
    /// The names that the body carries; each stands for the values of a trip from here on.
    pub fn open_carries(&mut self, env: &mut Env<'a>, body: &'a Block) -> R<Vec<Carry<'a>>> {
        let mut assigned = vec![];
        assigned_in(body, &mut assigned);
        let mut carries: Vec<Carry<'a>> = vec![];
        let mut count = 0;
        for place in assigned {
            let name: &'a str = &place.name.text;
            if let Some(known) = carries.iter_mut().find(|c| c.name == name) {
                known.assigned = place.span;
                continue;
            }
            let Some(local) = env.var(name) else { continue };
            let (value, bound) = (local.value.clone(), local.span);
            let before = self.read(value)?;
            let mut c = Carry { name, before, bound, assigned: place.span, first: vec![], params: vec![] };
            flatten(&c.before, &mut |v| {
                let first = self.first_value(name, v, (bound, place.span))?;
                let ty = self.ty(first).on(None);
                c.first.push(first);
                c.params.push(self.port(Port::Carry(count), ty));
                count += 1;
                Ok(())
            })?;
            let inside = refill(&c.before, &mut c.params.iter().copied());
            env.assign(name, inside, bound);
            carries.push(c);
        }
        Ok(carries)
    }

    fn first_value(&mut self, name: &str, v: &Value<'a>, (bound, assigned): (Span, Span)) -> R<ValueId> {
        match v {
            Value::Poison => Err(Fail::Silent),
            Value::Tensor(_) | Value::State(_) | Value::Int(_) | Value::Float(_) | Value::Bool(_) => {
                self.any_tensor(v, bound)
            }
            v => {
                let title = format!("a run-time loop cannot change `{name}`, which holds {}", v.kind());
                Err(error("E0319", assigned, title)
                    .label(bound, "bound here")
                    .hint("a loop carries tensors, and lists and tuples of them")
                    .into())
            }
        }
    }

    /// The carries' values after a trip, which have the types they had before it.
    pub fn close_carries(&mut self, env: &Env<'a>, carries: &[Carry<'a>]) -> R<Vec<ValueId>> {
        let mut next = vec![];
        for c in carries {
            let after = env.var(c.name).map_or(Value::Poison, |l| l.value.clone());
            let after = self.read(after)?;
            if !same_structure(&c.before, &after) {
                return Err(self.changed(c, &c.before, &after).into());
            }
            let mut params = c.params.iter();
            flatten(&after, &mut |v| {
                let Some(&param) = params.next() else { return Err(Fail::Silent) };
                next.push(self.next_value(c, param, v)?);
                Ok(())
            })?;
        }
        Ok(next)
    }

    fn next_value(&mut self, c: &Carry<'a>, param: ValueId, after: &Value<'a>) -> R<ValueId> {
        let want = self.ty(param);
        // A number takes the dtype of what it replaces, as everywhere.
        let number = after.is_number() && want.rank() == 0;
        let v = match number {
            true => self.tensor_of(after, want.dtype, c.assigned)?,
            false => self.any_tensor(after, c.assigned)?,
        };
        let have = self.ty(v);
        let before = Value::Tensor(param);
        if have.dtype != want.dtype || have.rank() != want.rank() {
            return Err(self.changed(c, &before, &Value::Tensor(v)).into());
        }
        for (a, b) in want.shape.iter().zip(&have.shape) {
            self.same_dim(a, b, c.assigned, |cx| {
                cx.changed(c, &before, &Value::Tensor(v)).note(format!("the dims {a} and {b} differ"))
            })?;
        }
        Ok(v)
    }

    fn changed(&self, c: &Carry<'a>, before: &Value<'a>, after: &Value<'a>) -> Diagnostic {
        let (before, after) = (self.text(before), self.text(after));
        Diagnostic::error("E0319", format!("a run-time loop changes the type of `{}`", c.name))
            .label(c.assigned, format!("{after} after a trip"))
            .label(c.bound, format!("{before} before the loop"))
            .hint("what a loop carries keeps its dtype and shape: begin with a value of the right type, or cast")
    }
}

/// Calls `f` with each value in a list or tuple, however deep.
pub fn flatten<'a>(v: &Value<'a>, f: &mut impl FnMut(&Value<'a>) -> R<()>) -> R<()> {
    match v {
        Value::List(items) | Value::Tuple(items) => items.iter().try_for_each(|v| flatten(v, f)),
        v => f(v),
    }
}

/// The same lists and tuples with other tensors in them.
pub fn refill<'a>(like: &Value<'a>, tensors: &mut impl Iterator<Item = ValueId>) -> Value<'a> {
    match like {
        Value::List(items) => Value::list(items.iter().map(|v| refill(v, tensors)).collect()),
        Value::Tuple(items) => Value::tuple(items.iter().map(|v| refill(v, tensors)).collect()),
        Value::None => Value::None,
        _ => tensors.next().map_or(Value::Poison, Value::Tensor),
    }
}

fn same_structure(a: &Value<'_>, b: &Value<'_>) -> bool {
    match (a, b) {
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| same_structure(a, b))
        }
        (Value::List(_) | Value::Tuple(_), _) | (_, Value::List(_) | Value::Tuple(_)) => false,
        _ => true,
    }
}

/// Every place that a block assigns, in blocks within it too.
fn assigned_in<'a>(block: &'a Block, out: &mut Vec<&'a Place>) {
    for s in &block.stmts {
        match &s.kind {
            StmtKind::Assign { targets, value, .. } => {
                assigned_by(value, out);
                out.extend(targets);
            }
            StmtKind::Write { value, .. } => assigned_by(value, out),
            StmtKind::Expr(e) | StmtKind::Expect(e) => assigned_by(e, out),
            StmtKind::Error => {}
        }
    }
}

/// Blocks stand where statements do: `if`, `for`, loops, `on`, `keep`.
fn assigned_by<'a>(e: &'a Expr, out: &mut Vec<&'a Place>) {
    match &e.kind {
        ExprKind::If { branches, otherwise } => {
            branches.iter().for_each(|b| assigned_in(&b.body, out));
            otherwise.iter().for_each(|b| assigned_in(b, out));
        }
        ExprKind::For { body, .. }
        | ExprKind::Scan { body, .. }
        | ExprKind::While { body, .. }
        | ExprKind::OnBlock { body, .. }
        | ExprKind::Keep { body, .. } => assigned_in(body, out),
        _ => {}
    }
}
