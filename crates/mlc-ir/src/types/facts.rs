//! What is known about the names in dims, and comparisons under it.
//!
//! "Unproven" is never a guess: a comparison is proven, refuted with a counterexample, or left as a
//! check that is made when the names are bound.

use std::fmt;

use super::dim::{Binding, Dim, Symbol};
use mlc_diag::Span;

/// A condition on dims that holds (as a `where` fact) or must be checked when dims are bound.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    pub lhs: Dim,
    pub rel: Relation,
    pub rhs: Dim,
    pub span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    Eq,
    Ne,
    Le,
    Lt,
}

/// A name of this graph: where it was introduced and the least value it can have.
#[derive(Debug, Clone, PartialEq)]
pub struct SymbolDecl {
    pub name: Symbol,
    pub span: Span,
    pub min: i64,
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
            self.symbols.push(SymbolDecl { name, span, min });
        }
    }

    pub fn declares(&self, name: &str) -> bool {
        self.symbols.iter().any(|s| *s.name == *name)
    }

    pub fn assume(&mut self, fact: Fact) {
        self.facts.push(fact);
    }

    /// Is `a rel b` true for all values of the names that satisfy the facts?
    pub fn prove(&self, a: &Dim, rel: Relation, b: &Dim) -> Proof {
        if a.is_overflow() || b.is_overflow() {
            return Proof::Fails(Binding::new());
        }
        if let (Some(x), Some(y)) = (a.as_const(), b.as_const()) {
            return if rel.holds(x, y) { Proof::Holds } else { Proof::Fails(Binding::new()) };
        }
        if a == b {
            return if matches!(rel, Relation::Eq | Relation::Le) {
                Proof::Holds
            } else {
                Proof::Fails(Binding::new())
            };
        }
        if self.facts.iter().any(|f| f.lhs == *a && f.rhs == *b && (f.rel == rel || rel == Relation::Le)) {
            return Proof::Holds;
        }
        if matches!(rel, Relation::Le | Relation::Lt)
            && self.lower_bound(&(b - a)).is_some_and(|n| rel.holds(0, n))
        {
            return Proof::Holds;
        }
        self.search_counterexample(a, rel, b)
    }

    /// A bound from the least values of the names, where every monomial can only grow with them.
    fn lower_bound(&self, d: &Dim) -> Option<i64> {
        let mut least = 0i64;
        for (monomial, c) in d.monomials() {
            let mut value = c;
            for (atom, power) in &monomial {
                let super::dim::Atom::Sym(name) = atom else { return None };
                if c < 0 {
                    return None;
                }
                let min = self.symbols.iter().find(|s| s.name == *name).map_or(0, |s| s.min);
                value = value.checked_mul(min.checked_pow(*power)?)?;
            }
            least = least.checked_add(value)?;
        }
        Some(least)
    }

    fn search_counterexample(&self, a: &Dim, rel: Relation, b: &Dim) -> Proof {
        let mut names: Vec<Symbol> = a.symbols().into_iter().chain(b.symbols()).collect();
        names.extend(self.facts.iter().flat_map(|f| f.lhs.symbols().into_iter().chain(f.rhs.symbols())));
        names.sort();
        names.dedup();
        // Candidates in which unequal dims differ: small numbers, primes apart, and round sizes.
        const CANDIDATES: [i64; 14] = [1, 2, 3, 4, 5, 7, 8, 12, 13, 16, 32, 64, 224, 1024];
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        for round in 0..512u64 {
            let mut binding = Binding::new();
            for (i, name) in names.iter().enumerate() {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let pick = if round < 14 { round as usize + i } else { (state >> 33) as usize };
                binding.insert(name.clone(), CANDIDATES[pick % CANDIDATES.len()]);
            }
            if !self.facts.iter().all(|f| f.holds(&binding) != Some(false)) {
                continue;
            }
            match (a.eval(&binding), b.eval(&binding)) {
                (Some(x), Some(y)) if !rel.holds(x, y) => {
                    let used: Vec<Symbol> = a.symbols().into_iter().chain(b.symbols()).collect();
                    binding.retain(|name, _| used.contains(name));
                    return Proof::Fails(binding);
                }
                _ => {}
            }
        }
        Proof::Unknown
    }
}
