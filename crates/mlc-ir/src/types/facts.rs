//! What is known about the names in dims, and comparisons under it.
//!
//! "Unproven" is never a guess: a comparison is proven, refuted with a counterexample, or left as a
//! check that is made when the names are bound.

use std::fmt;

use super::dim::{Binding, Dim, Symbol};
use super::solve::Solver;
use mlc_diag::Span;
use serde::{Deserialize, Serialize};

/// A condition on dims that holds (as a `where` fact) or must be checked when dims are bound.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    pub lhs: Dim,
    pub rel: Relation,
    pub rhs: Dim,
    pub span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relation {
    Eq,
    Ne,
    Le,
    Lt,
}

/// A name of this graph: where it was introduced and the least value it can have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SymbolDecl {
    #[serde(with = "crate::serial::shared")]
    pub name: Symbol,
    pub span: Span,
    pub min: i64,
    /// What an integer parameter of an entry is where nobody binds it (`n: int = 100`).
    pub default: Option<i64>,
}

/// The names of one graph and the facts given about them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DimFacts {
    pub symbols: Vec<SymbolDecl>,
    pub facts: Vec<Fact>,
}

/// The outcome of comparing two dims.
#[derive(Debug, Clone, PartialEq)]
pub enum Proof {
    Holds,
    /// With values for the names under which it fails while all facts hold.
    Fails(Binding),
    Unknown,
}

impl Fact {
    pub fn eq(lhs: Dim, rhs: Dim, span: Span) -> Fact {
        Fact { lhs, rel: Relation::Eq, rhs, span }
    }

    /// `None` where a name is unbound.
    pub fn holds(&self, binding: &Binding) -> Option<bool> {
        let (a, b) = (self.lhs.eval(binding)?, self.rhs.eval(binding)?);
        Some(self.rel.holds(a, b))
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.lhs, self.rel.symbol(), self.rhs)
    }
}

impl Relation {
    pub fn holds(self, a: i64, b: i64) -> bool {
        match self {
            Relation::Eq => a == b,
            Relation::Ne => a != b,
            Relation::Le => a <= b,
            Relation::Lt => a < b,
        }
    }

    pub fn symbol(self) -> &'static str {
        match self {
            Relation::Eq => "==",
            Relation::Ne => "!=",
            Relation::Le => "<=",
            Relation::Lt => "<",
        }
    }
}

impl DimFacts {
    /// Introduces a name (dims are >= 0); the first declaration of a name stays.
    pub fn declare(&mut self, name: Symbol, span: Span, min: i64) {
        if !self.symbols.iter().any(|s| s.name == name) {
            self.symbols.push(SymbolDecl { name, span, min, default: None });
        }
    }

    pub fn declares(&self, name: &str) -> bool {
        self.symbols.iter().any(|s| *s.name == *name)
    }

    /// Gives a declared name a value for where nobody binds it.
    pub fn set_default(&mut self, name: &str, value: i64) {
        if let Some(s) = self.symbols.iter_mut().find(|s| *s.name == *name) {
            s.default = Some(value);
        }
    }

    pub fn assume(&mut self, fact: Fact) {
        self.facts.push(fact);
    }

    /// Is `a rel b` true for all values of the names that satisfy the facts? Never a guess: what is
    /// neither proven nor refuted is [`Proof::Unknown`].
    pub fn prove(&self, a: &Dim, rel: Relation, b: &Dim) -> Proof {
        if a.is_overflow() || b.is_overflow() {
            return Proof::Fails(Binding::new());
        }
        if let (Some(x), Some(y)) = (a.as_const(), b.as_const()) {
            return if rel.holds(x, y) { Proof::Holds } else { Proof::Fails(Binding::new()) };
        }
        if a == b && matches!(rel, Relation::Eq | Relation::Le) {
            return Proof::Holds;
        }
        let solver = Solver::new(self);
        if solver.proves(a, rel, b) {
            return Proof::Holds;
        }
        solver.refute(a, rel, b).map_or(Proof::Unknown, Proof::Fails)
    }

    /// The least value of a name; 0 for one that is not declared, since dims are not negative.
    pub(super) fn min(&self, name: &str) -> i64 {
        self.symbols.iter().find(|s| *s.name == *name).map_or(0, |s| s.min)
    }
}
