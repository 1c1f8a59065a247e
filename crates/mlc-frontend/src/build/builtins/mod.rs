//! The compiler's own functions: what the library in .mlg is made of.
//!
//! Each is a row of a table (name, parameters, doc, rule) in the file of its area. `?` after a
//! parameter: it may be left out.

mod elementwise;
mod index;
mod linear;
mod make;
mod reduce;
mod shape;
mod spec;
mod statics;

use mlc_diag::Span;
use mlc_ir::graph::ValueId;
use mlc_ir::{DType, Dim, Type};

use super::call::{Arg, match_args};
use super::fail::{Fail, R, error, fail, map_error};
use super::interp::{Frame, Interp};
use super::value::Value;
use crate::prelude;

pub use make::random_site;

type Rule = for<'a, 'i> fn(&'i mut Interp<'a>, Args<'a>) -> R<Value<'a>>;

/// A function that the compiler knows.
#[derive(Debug)]
pub struct Builtin {
    pub name: &'static str,
    /// Names by spaces; `?` marks one that may be left out, `*` stands for names of the caller's own.
    pub params: &'static str,
    pub doc: &'static str,
    run: Rule,
}

const TABLES: &[&[Builtin]] = &[
    elementwise::TABLE,
    reduce::TABLE,
    shape::TABLE,
    linear::TABLE,
    index::TABLE,
    make::TABLE,
    statics::TABLE,
    spec::TABLE,
];

pub fn find(name: &str) -> Option<&'static Builtin> {
    all().find(|b| b.name == name)
}

pub fn all() -> impl Iterator<Item = &'static Builtin> {
    TABLES.iter().flat_map(|t| t.iter())
}

pub fn names() -> impl Iterator<Item = &'static str> {
    all().map(|b| b.name)
}

/// Calls a function of the compiler.
pub fn call<'a>(
    cx: &mut Interp<'a>,
    b: &'static Builtin,
    args: Vec<Arg<'a>>,
    span: Span,
    frame: Frame,
) -> R<Value<'a>> {
    let params = || b.params.split_whitespace().filter(|p| *p != "*");
    let names: Vec<&str> = params().map(|p| p.trim_end_matches('?')).collect();
    let required: Vec<bool> = params().map(|p| !p.ends_with('?')).collect();
    let open = b.params.ends_with('*');
    let is_extra = |a: &Arg<'a>| open && a.name.is_some_and(|n| !names.contains(&n.text.as_str()));
    let (extra, args) = args.into_iter().partition(is_extra);
    let args = match_args(b.name, &names, &required, args, span)?;
    let span = if prelude::contains(span) { cx.span } else { span };
    let args = Args { builtin: b, names, args, extra, span };
    let result = (b.run)(cx, args);
    drop(frame);
    map_error(result, |d| cx.blame(d))
}

/// Matched arguments.
pub struct Args<'a> {
    builtin: &'static Builtin,
    names: Vec<&'static str>,
    args: Vec<Option<Arg<'a>>>,
    /// Named arguments with names of the caller's own.
    extra: Vec<Arg<'a>>,
    /// Of the call.
    pub span: Span,
}

impl<'a> Args<'a> {
    pub fn name(&self) -> &'static str {
        self.builtin.name
    }

    /// Names, places and values of arguments that the caller named.
    pub fn extra(&self) -> Vec<(String, Span, Value<'a>)> {
        let named = |a: &Arg<'a>| Some((a.name?.text.clone(), a.span, a.value.clone()));
        self.extra.iter().filter_map(named).collect()
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|n| *n == name)
    }

    /// The value of a parameter; `None` where it is left out or the language's `None`.
    pub fn get(&self, name: &str) -> Option<&Value<'a>> {
        match self.args.get(self.position(name)?)?.as_ref().map(|a| &a.value) {
            Some(Value::None) | None => None,
            v => v,
        }
    }

    /// Where an argument stands; the call, if it is left out.
    pub fn span_of(&self, name: &str) -> Span {
        self.position(name).and_then(|i| self.args[i].as_ref()).map_or(self.span, |a| a.span)
    }

    /// The spans that a binary operation on two parameters speaks of.
    pub fn spans(&self, a: &str, b: &str) -> [Span; 3] {
        [self.span, self.span_of(a), self.span_of(b)]
    }

    pub fn value(&self, name: &str) -> R<&Value<'a>> {
        match self.get(name) {
            Some(Value::Poison) => Err(Fail::Silent),
            Some(v) => Ok(v),
            None => fail("E0308", self.span, format!("`{}` needs its argument `{name}`", self.name())),
        }
    }

    /// A tensor; numbers become one of their own dtype.
    pub fn tensor(&self, cx: &mut Interp<'a>, name: &str) -> R<ValueId> {
        let v = self.value(name)?;
        match v {
            Value::Tensor(_) | Value::Int(_) | Value::Float(_) | Value::Bool(_) => {
                cx.any_tensor(v, self.span_of(name))
            }
            v => fail(
                "E0305",
                self.span_of(name),
                format!("`{name}` of `{}` must be a tensor, this is {}", self.name(), v.kind()),
            ),
        }
    }

    pub fn int(&self, cx: &Interp<'a>, name: &str) -> R<Option<i64>> {
        self.get(name).map(|v| cx.to_int(v, self.span_of(name))).transpose()
    }

    pub fn bool(&self, name: &str) -> R<bool> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(b)) => Ok(*b),
            Some(v) => fail(
                "E0305",
                self.span_of(name),
                format!("`{name}` of `{}` must be true or false, this is {}", self.name(), v.kind()),
            ),
        }
    }

    pub fn ty(&self, name: &str) -> R<Type> {
        match self.value(name)? {
            Value::Type(t) => Ok(t.clone()),
            v => Err(error(
                "E0305",
                self.span_of(name),
                format!("`{name}` of `{}` must be a type, this is {}", self.name(), v.kind()),
            )
            .hint("write a type: `f32[n, 10]`")
            .into()),
        }
    }

    pub fn dtype(&self, name: &str) -> R<DType> {
        let t = self.ty(name)?;
        if t.rank() == 0 {
            return Ok(t.dtype);
        }
        fail("E0305", self.span_of(name), format!("a dtype is needed here, this is {t}"))
    }

    pub fn str(&self, name: &str) -> R<String> {
        match self.value(name)? {
            Value::Str(s) => Ok(s.to_string()),
            v => fail(
                "E0305",
                self.span_of(name),
                format!("`{name}` of `{}` must be a string, this is {}", self.name(), v.kind()),
            ),
        }
    }

    /// A list of dims: integers, possibly symbolic.
    pub fn dims(&self, cx: &Interp<'a>, name: &str) -> R<Vec<Dim>> {
        let span = self.span_of(name);
        match self.value(name)? {
            Value::List(items) | Value::Tuple(items) => items.iter().map(|v| cx.to_dim(v, span)).collect(),
            v => Ok(vec![cx.to_dim(v, span)?]),
        }
    }

    /// An axis of a tensor of this rank, counted from the end where negative.
    pub fn axis(&self, cx: &Interp<'a>, name: &str, rank: usize) -> R<Option<usize>> {
        match self.int(cx, name)? {
            None => Ok(None),
            Some(i) => axis_at(i, rank, self.name(), self.span_of(name)).map(Some),
        }
    }

    /// Axes, ascending; all of them where the argument is left out.
    pub fn axes(&self, cx: &Interp<'a>, name: &str, rank: usize) -> R<Vec<usize>> {
        let span = self.span_of(name);
        let list: Vec<i64> = match self.get(name) {
            None => return Ok((0..rank).collect()),
            Some(Value::List(items) | Value::Tuple(items)) => {
                items.iter().map(|v| cx.to_int(v, span)).collect::<R<_>>()?
            }
            Some(v) => vec![cx.to_int(v, span)?],
        };
        let mut axes: Vec<usize> =
            list.iter().map(|&i| axis_at(i, rank, self.name(), span)).collect::<R<_>>()?;
        axes.sort_unstable();
        if axes.windows(2).any(|w| w[0] == w[1]) {
            return fail("E0202", span, format!("`{}` names an axis twice", self.name()));
        }
        Ok(axes)
    }

    /// The tensors of a list.
    pub fn tensors(&self, cx: &mut Interp<'a>, name: &str) -> R<Vec<ValueId>> {
        let span = self.span_of(name);
        match self.value(name)?.clone() {
            Value::List(items) | Value::Tuple(items) => {
                items.iter().map(|v| cx.any_tensor(v, span)).collect()
            }
            Value::Tensor(t) => Ok(vec![t]),
            v => fail(
                "E0305",
                span,
                format!("`{}` takes a list of tensors, this is {}", self.name(), v.kind()),
            ),
        }
    }
}

/// An axis counted from the end where negative.
pub fn axis_at(i: i64, rank: usize, name: &str, span: Span) -> R<usize> {
    let at = if i < 0 { i.saturating_add(rank as i64) } else { i };
    match usize::try_from(at) {
        Ok(at) if at < rank => Ok(at),
        _ => fail("E0202", span, format!("axis {i} of `{name}` is out of range for a tensor of rank {rank}")),
    }
}
