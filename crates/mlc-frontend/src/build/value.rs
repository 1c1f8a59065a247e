//! What expressions mean at compile time: numbers, lists, functions, instances, and tensors, which
//! are values of the graph under construction.
//!
//! Integers and dims are one kind, [`Value::Int`]: an integer that may be symbolic. Compile-time
//! numbers have no dtype; they take that of the tensor they meet.

use std::rc::Rc;

use mlc_diag::Span;
use mlc_ir::graph::ValueId;
use mlc_ir::program::{DataSpec, SourceSpec};
use mlc_ir::{Device, Dim, Type};

use super::builtins::Builtin;
use super::env::{Env, Owner};
use super::files::FileId;
use crate::syntax::ast;

/// A model instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstId(pub usize);

/// A piece of state: parameter, buffer, optimizer state, counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateId(pub usize);

#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// What an expression with a reported error gives: everything made of it stays silent.
    Poison,
    None,
    Bool(bool),
    Int(Dim),
    Float(f64),
    Str(Rc<str>),
    List(Rc<Vec<Value<'a>>>),
    Tuple(Rc<Vec<Value<'a>>>),
    Range(Dim, Dim),
    Tensor(ValueId),
    /// Read when its name is read.
    State(StateId),
    /// A type literal; a dtype is a scalar type.
    Type(Type),
    Device(Device),
    Fn(Func<'a>),
    Builtin(&'static Builtin),
    Model(ModelRef<'a>),
    Instance(InstId),
    Method(InstId, &'a ast::Function),
    Dataset(&'a ast::Dataset, FileId),
    Optimizer(&'a ast::Optimizer, FileId),
    Schedule(&'a ast::Schedule, FileId),
    /// An optimizer with its hyper-parameters.
    Optimized(Rc<Hyper<'a>>),
    /// A binding that holds tensors: evaluated in each graph that reads it.
    Lazy(Rc<Thunk<'a>>),
    Data(Rc<DataSpec>),
    Source(Rc<SourceSpec>),
    PathMap(Rc<Vec<MapEntry<'a>>>),
    Module(FileId),
    /// `frozen` in an optimizer map.
    Frozen,
    /// `init` in a weights map.
    Init,
    /// `ema(model, decay: .., every: ..)` before it is bound.
    Ema(Rc<EmaSpec>),
    /// `patience(..)`, `best(..)`, `mixed(..)`: bindings that only the train block reads.
    Spec(Rc<Spec<'a>>),
    /// A gradient check or plan figure in a test.
    Figure(Rc<Figure>),
}

/// A function with what its free names mean.
#[derive(Debug, Clone)]
pub struct Func<'a> {
    pub decl: &'a ast::Function,
    pub file: FileId,
    pub owner: Owner<'a>,
}

#[derive(Debug, Clone, Copy)]
pub struct ModelRef<'a> {
    pub decl: &'a ast::Model,
    pub file: FileId,
}

/// An optimizer with hyper-parameters, whose expressions are evaluated in each graph that needs them.
#[derive(Debug)]
pub struct Hyper<'a> {
    pub item: &'a ast::Optimizer,
    pub file: FileId,
    pub args: Vec<(&'a str, Thunk<'a>)>,
    pub span: Span,
}

/// An expression and where it stands.
#[derive(Debug, Clone)]
pub struct Thunk<'a> {
    pub expr: &'a ast::Expr,
    pub env: Rc<Env<'a>>,
}

#[derive(Debug)]
pub struct MapEntry<'a> {
    pub globs: Vec<(String, Span)>,
    pub value: Value<'a>,
    pub span: Span,
}

#[derive(Debug)]
pub struct EmaSpec {
    pub of: InstId,
    pub decay: f64,
    pub every: u64,
    pub span: Span,
}

#[derive(Debug)]
pub struct Spec<'a> {
    pub name: &'static str,
    pub args: Vec<(&'static str, Value<'a>)>,
    pub span: Span,
}

#[derive(Debug)]
pub enum Figure {
    GradCheck(String),
    Kernels(String),
    Peak(String),
}

impl<'a> Value<'a> {
    pub fn int(n: i64) -> Value<'a> {
        Value::Int(Dim::from(n))
    }

    pub fn str(s: impl Into<Rc<str>>) -> Value<'a> {
        Value::Str(s.into())
    }

    pub fn list(items: Vec<Value<'a>>) -> Value<'a> {
        Value::List(Rc::new(items))
    }

    pub fn tuple(items: Vec<Value<'a>>) -> Value<'a> {
        Value::Tuple(Rc::new(items))
    }

    pub fn is_number(&self) -> bool {
        matches!(self, Value::Int(_) | Value::Float(_))
    }

    /// The number, if it is a known one.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Int(d) => d.as_const().map(|n| n as f64),
            Value::Float(x) => Some(*x),
            _ => None,
        }
    }

    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(d) => d.as_const(),
            _ => None,
        }
    }

    /// Does it hold a value of a graph, which means nothing in another graph?
    pub fn is_graph_bound(&self) -> bool {
        match self {
            Value::Tensor(_) | Value::Poison => true,
            Value::List(v) | Value::Tuple(v) => v.iter().any(Value::is_graph_bound),
            _ => false,
        }
    }

    /// What to call it in a message.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Poison => "a value with an error",
            Value::None => "None",
            Value::Bool(_) => "a bool",
            Value::Int(_) => "an integer",
            Value::Float(_) => "a number",
            Value::Str(_) => "a string",
            Value::List(_) => "a list",
            Value::Tuple(_) => "a tuple",
            Value::Range(..) => "a range",
            Value::Tensor(_) | Value::State(_) | Value::Lazy(_) => "a tensor",
            Value::Type(_) => "a type",
            Value::Device(_) => "a device",
            Value::Fn(_) | Value::Builtin(_) => "a fn",
            Value::Model(_) => "a model",
            Value::Instance(_) => "a model instance",
            Value::Method(..) => "a method",
            Value::Dataset(..) => "a dataset",
            Value::Optimizer(..) => "an optimizer without arguments",
            Value::Optimized(_) => "an optimizer",
            Value::Schedule(..) => "a schedule",
            Value::Data(_) => "data",
            Value::Source(_) => "a data source",
            Value::PathMap(_) => "a path map",
            Value::Module(_) => "a file",
            Value::Frozen => "`frozen`",
            Value::Init => "`init`",
            Value::Ema(_) => "an average",
            Value::Spec(_) => "a setting of a train block",
            Value::Figure(_) => "a figure of a test",
        }
    }
}
