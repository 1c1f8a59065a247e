//! The abstract syntax tree of one `.mlg` file: what was written, with names unresolved.
//!
//! Invariants. Every span runs from the first to the last real token of its node; a parenthesised
//! expression's span includes its parentheses. What could not be read is an `Error` node whose
//! diagnostic has been reported, so later phases pass over it in silence. No tree is deeper than
//! the nesting limit of `crate::syntax::scan` times a small constant, so recursion over it is safe.
//!
//! Equality compares spans too; [`super::dump`] gives a text without them.

use mlc_diag::Span;
use mlc_ir::{DType, Device};

/// An identifier where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    pub text: String,
    pub span: Span,
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.text)
    }
}

/// An item or member with the `///` lines above it, joined by newlines.
#[derive(Debug, Clone, PartialEq)]
pub struct Documented<K> {
    pub doc: Option<String>,
    pub span: Span,
    pub kind: K,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct File {
    pub items: Vec<Item>,
}

pub type Item = Documented<ItemKind>;

#[derive(Debug, Clone, PartialEq)]
pub enum ItemKind {
    Use(Use),
    Model(Model),
    Fn(Function),
    Dataset(Dataset),
    Optimizer(Optimizer),
    Schedule(Schedule),
    Train(Train),
    Test(Test),
    Device(DeviceDecl),
    Transfers(Transfers),
    Binding(Binding),
    Error,
}

impl ItemKind {
    /// The name that the item declares, if it has one. Unnamed train blocks have none.
    pub fn name(&self) -> Option<&Name> {
        match self {
            ItemKind::Use(u) => u.alias.as_ref(),
            ItemKind::Model(m) => Some(&m.name),
            ItemKind::Fn(f) => Some(&f.name),
            ItemKind::Dataset(d) => Some(&d.name),
            ItemKind::Optimizer(o) => Some(&o.name),
            ItemKind::Schedule(s) => Some(&s.name),
            ItemKind::Train(t) => t.name.as_ref(),
            ItemKind::Test(t) => Some(&t.name),
            ItemKind::Device(d) => Some(&d.name),
            ItemKind::Binding(b) => Some(&b.name),
            ItemKind::Transfers(_) | ItemKind::Error => None,
        }
    }
}

/// `use "gpt.mlg" as gpt`
#[derive(Debug, Clone, PartialEq)]
pub struct Use {
    pub path: Str,
    pub alias: Option<Name>,
}

/// `model NAME(config) { members }`
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    pub name: Name,
    pub params: Vec<Param>,
    pub members: Vec<ModelMember>,
}

pub type ModelMember = Documented<ModelMemberKind>;

#[derive(Debug, Clone, PartialEq)]
pub enum ModelMemberKind {
    /// A submodel, a list of them, or a compile-time value: `fc1 = Linear(784, 128)`.
    Binding(Binding),
    /// `param` or `buffer` (the checker refuses `state` here).
    State(StateDecl),
    Method(Function),
    Transfers(Transfers),
    Error,
}

/// A `fn` item or a method: `NAME(params) -> ret where facts { body }`.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    pub name: Name,
    pub params: Vec<Param>,
    pub ret: Option<Type>,
    pub facts: Vec<Expr>,
    pub body: Block,
}

/// `name: type = default`
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    pub name: Name,
    pub ty: Option<Type>,
    pub default: Option<Expr>,
    pub span: Span,
}

/// `name: type = value` at file, model or train level.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    pub name: Name,
    pub ty: Option<Type>,
    pub value: Expr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateKind {
    /// Trained.
    Param,
    /// Kept but not trained.
    Buffer,
    /// An optimizer's, one for each parameter.
    State,
}

impl StateKind {
    pub fn word(self) -> &'static str {
        match self {
            StateKind::Param => "param",
            StateKind::Buffer => "buffer",
            StateKind::State => "state",
        }
    }
}

/// `param weight: f32[out, inp] = kaiming_uniform(a: sqrt(5))`
#[derive(Debug, Clone, PartialEq)]
pub struct StateDecl {
    pub kind: StateKind,
    pub name: Name,
    pub ty: Option<Type>,
    pub init: Option<Expr>,
}

/// `dataset NAME(config) { fields }`
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    pub name: Name,
    pub params: Vec<Param>,
    pub fields: Vec<DatasetMember>,
}

pub type DatasetMember = Documented<DatasetMemberKind>;

#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "nearly all are fields")]
pub enum DatasetMemberKind {
    Field(Field),
    Error,
}

/// `shared name: type = source`; without a source the caller feeds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    pub shared: bool,
    pub name: Name,
    pub ty: Type,
    pub source: Option<Expr>,
}

/// `optimizer NAME(hp) { state m = ..; update(param, grad, step) { .. } }`
#[derive(Debug, Clone, PartialEq)]
pub struct Optimizer {
    pub name: Name,
    pub params: Vec<Param>,
    pub members: Vec<OptimizerMember>,
}

pub type OptimizerMember = Documented<OptimizerMemberKind>;

#[derive(Debug, Clone, PartialEq)]
pub enum OptimizerMemberKind {
    State(StateDecl),
    Method(Function),
    Error,
}

/// `schedule NAME(hp) { value at step }`
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    pub name: Name,
    pub params: Vec<Param>,
    pub body: Block,
}

/// `train NAME { members }`
#[derive(Debug, Clone, PartialEq)]
pub struct Train {
    pub name: Option<Name>,
    pub members: Vec<TrainMember>,
}

pub type TrainMember = Documented<TrainMemberKind>;

#[derive(Debug, Clone, PartialEq)]
pub enum TrainMemberKind {
    Binding(Binding),
    Fn(Function),
    Loss(Loss),
    Metric(Metric),
    Transfers(Transfers),
    Error,
}

/// `loss NAME(fields) updates a, "b.**", every: 5 { scalar }`
#[derive(Debug, Clone, PartialEq)]
pub struct Loss {
    pub name: Option<Name>,
    pub params: Vec<Param>,
    pub updates: Vec<UpdateTarget>,
    pub options: Vec<Arg>,
    pub body: Block,
}

/// What a loss updates: an instance by name, or parameters by a glob over their paths.
#[derive(Debug, Clone, PartialEq)]
pub enum UpdateTarget {
    Name(Name),
    Glob(Str),
}

/// `metric NAME(fields) { value }`
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    pub name: Name,
    pub params: Vec<Param>,
    pub body: Block,
}

/// `test "name" { bindings; expect EXPR }`
#[derive(Debug, Clone, PartialEq)]
pub struct Test {
    /// The text of the string, or the bare name.
    pub name: Name,
    pub body: Block,
}

/// `device left = cuda:0`
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceDecl {
    pub name: Name,
    pub device: Device,
    pub device_span: Span,
}

/// `transfers explicit`, `transfers auto`, `transfers <= 2 per step`
#[derive(Debug, Clone, PartialEq)]
pub enum Transfers {
    Explicit,
    Auto,
    AtMost { count: u64, per: Name },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Type {
    pub kind: TypeKind,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub enum TypeKind {
    /// `f32[batch, 784]`; no dims is a scalar.
    Tensor(TensorType),
    /// A compile-time integer.
    Int,
    Str,
    /// A function as an argument.
    Fn,
    /// A model as an argument.
    Model,
    Tuple(Vec<Type>),
    List(Box<Type>),
    /// No type of the language; the checker says so.
    Named(Name),
}

#[derive(Debug, Clone, PartialEq)]
pub struct TensorType {
    pub dtype: DType,
    pub dtype_span: Span,
    pub dims: Vec<Dim>,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Dim {
    /// `..s`: any number of leading dims.
    Rest(Name),
    Expr(Expr),
}

impl Dim {
    pub fn span(&self) -> Span {
        match self {
            Dim::Rest(name) => name.span,
            Dim::Expr(e) => e.span,
        }
    }
}

/// `{ statements }`; the span includes the braces.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    pub stmts: Vec<Stmt>,
    pub span: Span,
}

impl Block {
    /// The block's value: its last statement, if that is an expression.
    pub fn value(&self) -> Option<&Expr> {
        match self.stmts.last() {
            Some(Stmt { kind: StmtKind::Expr(e), .. }) => Some(e),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Stmt {
    pub kind: StmtKind,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub enum StmtKind {
    /// `expect a == b`, in tests.
    Expect(Expr),
    /// `x, caches[i] = value`, `count: i64 = 0`
    Assign {
        targets: Vec<Place>,
        ty: Option<Type>,
        value: Expr,
    },
    /// `running_mean <- value`: writes state.
    Write {
        target: Place,
        value: Expr,
    },
    Expr(Expr),
    Error,
}

/// Where a value goes: `x`, `caches[i]`, `a.b[.., 0]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    pub name: Name,
    pub path: Vec<Name>,
    /// Empty for none.
    pub index: Vec<IndexItem>,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    pub kind: ExprKind,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    /// Also `2GiB`, in bytes. Never negative: `-1` is a negation.
    Int(i64),
    Float(f64),
    Bool(bool),
    None,
    Str(Str),
    Name(String),
    /// `f32[batch, d]` where a shape is needed, `f32` alone where a dtype is.
    Type(TensorType),
    Device(Device),
    List(Vec<Expr>),
    /// `[Block(dim) for i in 0..depth if i > 0]`
    ListFor(Box<ListFor>),
    /// `["**.bias": a, "**": b]`
    PathMap(Vec<PathEntry>),
    Tuple(Vec<Expr>),
    Unary {
        op: UnaryOp,
        operand: Box<Expr>,
    },
    Binary {
        op: BinaryOp,
        op_span: Span,
        lhs: Box<Expr>,
        rhs: Box<Expr>,
    },
    /// `a..b`
    Range {
        start: Box<Expr>,
        end: Box<Expr>,
    },
    Call {
        callee: Box<Expr>,
        args: Vec<Arg>,
    },
    Index {
        base: Box<Expr>,
        items: Vec<IndexItem>,
    },
    /// `base.name`; a call of it is a method call.
    Field {
        base: Box<Expr>,
        name: Name,
    },
    /// `value on device`
    On {
        value: Box<Expr>,
        device: DeviceRef,
    },
    /// `if a { } else if b { } else { }`, one branch for each condition.
    If {
        branches: Vec<Branch>,
        otherwise: Option<Block>,
    },
    /// Unrolled at compile time.
    For {
        names: Vec<Name>,
        iter: Box<Expr>,
        body: Block,
    },
    /// A run-time loop over an axis or a range; options such as `axis: 1`.
    Scan {
        names: Vec<Name>,
        iter: Box<Expr>,
        options: Vec<Arg>,
        body: Block,
    },
    While {
        cond: Box<Expr>,
        options: Vec<Arg>,
        body: Block,
    },
    /// `on cuda:1 { ... }`
    OnBlock {
        device: DeviceRef,
        body: Block,
    },
    /// `keep f32 { ... }`
    Keep {
        dtype: DType,
        dtype_span: Span,
        body: Block,
    },
    Error,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Branch {
    pub cond: Expr,
    pub body: Block,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ListFor {
    pub element: Expr,
    pub names: Vec<Name>,
    pub iter: Expr,
    pub cond: Option<Expr>,
}

/// One value of a path map with the globs that share it.
#[derive(Debug, Clone, PartialEq)]
pub struct PathEntry {
    pub keys: Vec<Str>,
    pub value: Expr,
    pub span: Span,
}

/// An argument, `axis: -1` or `x`.
#[derive(Debug, Clone, PartialEq)]
pub struct Arg {
    pub name: Option<Name>,
    pub value: Expr,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub struct IndexItem {
    pub kind: IndexKind,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "slices are rare in memory and plain to match unboxed")]
pub enum IndexKind {
    /// `..`: all axes that no other item names.
    Rest,
    /// `None`: a new axis of size 1.
    NewAxis,
    /// `start:end:step`, each optional.
    Slice {
        start: Option<Expr>,
        end: Option<Expr>,
        step: Option<Expr>,
    },
    At(Expr),
}

#[derive(Debug, Clone, PartialEq)]
pub enum DeviceRef {
    Literal(Device, Span),
    Name(Name),
}

impl DeviceRef {
    pub fn span(&self) -> Span {
        match self {
            DeviceRef::Literal(_, span) => *span,
            DeviceRef::Name(name) => name.span,
        }
    }
}

/// A string with its `{name}` interpolations split out and its escapes resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Str {
    pub parts: Vec<StrPart>,
    pub span: Span,
}

impl Str {
    /// The text, if nothing is interpolated.
    pub fn literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [StrPart::Text(text)] => Some(text),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum StrPart {
    Text(String),
    Name(Name),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    Neg,
    Not,
}

impl UnaryOp {
    pub fn symbol(self) -> &'static str {
        match self {
            UnaryOp::Neg => "-",
            UnaryOp::Not => "not",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    Or,
    And,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Add,
    Sub,
    Mul,
    MatMul,
    Div,
    Rem,
    Pow,
}

impl BinaryOp {
    pub fn symbol(self) -> &'static str {
        match self {
            BinaryOp::Or => "or",
            BinaryOp::And => "and",
            BinaryOp::Eq => "==",
            BinaryOp::Ne => "!=",
            BinaryOp::Lt => "<",
            BinaryOp::Le => "<=",
            BinaryOp::Gt => ">",
            BinaryOp::Ge => ">=",
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::MatMul => "@",
            BinaryOp::Div => "/",
            BinaryOp::Rem => "%",
            BinaryOp::Pow => "**",
        }
    }

    pub fn is_comparison(self) -> bool {
        use BinaryOp::*;
        matches!(self, Eq | Ne | Lt | Le | Gt | Ge)
    }
}
