//! Proofs and counterexamples about dims under facts.
//!
//! 1. **Substitution.** `h % 8 == 0` makes `h` into `8*h'`, `time == 2*half` makes `time` into `2*half`;
//!    the new names range over the integers, and what was known of the old ones becomes inequalities. The
//!    normal form of [`Dim`] then settles most questions by itself.
//! 2. **Inequalities.** Every distinct monomial is a variable. Rows come from the least values of names,
//!    the facts, the bounds of quotients (`d*q <= n <= d*q + d-1`) and products (`x*y >= x` for `y >= 1`);
//!    a goal is proven when its negation contradicts them ([`super::linear`]).
//! 3. **Counterexamples.** Deterministic samples of the names that are left; the others follow, so that
//!    facts of divisibility hold by construction. Every fact is evaluated before one is believed.
//!
//! All of it is bounded, and giving up is never an answer but "unknown".

use std::collections::{BTreeMap, BTreeSet};

use super::dim::{Atom, Binding, Dim, Symbol};
use super::facts::{DimFacts, Fact, Relation};
use super::linear::{Row, infeasible};

/// Rows collected for one goal.
const MAX_GATHERED: usize = 200;
/// Samples in the search for a counterexample.
const SAMPLES: u64 = 768;

type Monomial = Vec<(Atom, u32)>;

/// A name, its value, and the new name in the value with the divisor it stands beside.
type Solved = (Symbol, Dim, Option<(Symbol, Dim)>);

pub(super) struct Solver<'f> {
    facts: &'f DimFacts,
    /// In the order found: each dim has none of the names of the entries before it.
    substitutions: Vec<(Symbol, Dim)>,
    /// What is known to be >= 0, substituted.
    known: Vec<Dim>,
    /// Least values of names that were not substituted; a new name without an entry has none.
    least: BTreeMap<Symbol, i64>,
}

impl<'f> Solver<'f> {
    pub(super) fn new(facts: &'f DimFacts) -> Self {
        let mut solver = Solver { facts, substitutions: vec![], known: vec![], least: BTreeMap::new() };
        solver.substitute_facts();
        for f in &facts.facts {
            let difference = solver.reduce(&(&f.rhs - &f.lhs));
            match f.rel {
                Relation::Le => solver.known.push(difference),
                Relation::Lt => solver.known.push(&difference - &Dim::ONE),
                Relation::Eq => {
                    solver.known.push(&Dim::ZERO - &difference);
                    solver.known.push(difference);
                }
                Relation::Ne => {}
            }
        }
        solver.known.retain(|d| d.as_const() != Some(0) && !d.is_overflow());
        solver.tighten_least();
        solver
    }

    /// Facts that bound one name from below say so more simply.
    fn tighten_least(&mut self) {
        for d in &self.known {
            let (name, least) = match &d.monomials()[..] {
                [(one, 1)] => (one.clone(), Some(0)),
                [(none, c), (one, 1)] if none.is_empty() => (one.clone(), c.checked_neg()),
                _ => continue,
            };
            if let ([(Atom::Sym(name), 1)], Some(least)) = (&name[..], least) {
                let known = self.least.get(name).copied();
                self.least.insert(name.clone(), known.map_or(least, |n| n.max(least)));
            }
        }
    }

    // ------------------------------------------------------------------ substitution

    fn substitute_facts(&mut self) {
        for s in &self.facts.symbols {
            self.least.insert(s.name.clone(), s.min);
        }
        // Each round uses up a fact; later facts may open up by what earlier ones said.
        for _ in 0..=self.facts.facts.len() {
            let found = self.facts.facts.iter().filter(|f| f.rel == Relation::Eq).find_map(|f| {
                let (a, b) = (self.apply(&f.lhs), self.apply(&f.rhs));
                self.divisibility(&a, &b)
                    .or_else(|| self.divisibility(&b, &a))
                    .or_else(|| solve_for(&(&a - &b)).map(|(name, value)| (name, value, None)))
            });
            let Some((name, value, fresh)) = found else { return };
            // What is known of the old name becomes a row: it is not negative, at least its minimum.
            let min = self.least.remove(&name).unwrap_or_else(|| self.facts.min(&name));
            if let Some((fresh, divisor)) = fresh {
                // d*q >= min: exact for a number d; for a name d >= 1, q is positive where d*q is.
                let least = match divisor.as_const() {
                    Some(d) if d > 0 && value == &Dim::from(d) * &Dim::sym(fresh.clone()) => {
                        Some(min.div_euclid(d) + (min.rem_euclid(d) != 0) as i64)
                    }
                    _ if value == &divisor * &Dim::sym(fresh.clone())
                        && self.at_least(&divisor) >= Some(1) =>
                    {
                        Some(min.clamp(0, 1))
                    }
                    _ => None,
                };
                if let Some(least) = least {
                    self.least.insert(fresh, least);
                }
            }
            self.known.push(&value - &Dim::from(min));
            for d in &mut self.known {
                *d = replace(d, &name, &value);
            }
            self.substitutions.push((name, value));
        }
    }

    /// `p % d == 0` as `name = d*q - rest`, with the new name `q` and `d`.
    fn divisibility(&self, p: &Dim, zero: &Dim) -> Option<Solved> {
        if !zero.is_const(0) {
            return None;
        }
        let [(monomial, 1 | -1)] = &p.monomials()[..] else { return None };
        let [(Atom::Rem(parts), 1)] = &monomial[..] else { return None };
        let (n, d) = (&parts.0, &parts.1);
        let fresh: Symbol = format!("{}'", self.substitutions.len()).into();
        // p - d*q = 0, solved for a name of p.
        let (name, value) = solve_for_not_in(n, &d.symbols())?;
        let shifted = &(d * &Dim::sym(fresh.clone())) * &sign_of(n, &name);
        Some((name, &value + &shifted, Some((fresh, d.clone()))))
    }

    fn apply(&self, d: &Dim) -> Dim {
        self.substitutions.iter().fold(d.clone(), |d, (name, value)| replace(&d, name, value))
    }

    /// Substituted, and with quotients for remainders.
    fn reduce(&self, d: &Dim) -> Dim {
        self.apply(&self.apply(d).without_remainders())
    }

    // ------------------------------------------------------------------ inequalities

    pub(super) fn proves(&self, a: &Dim, rel: Relation, b: &Dim) -> bool {
        let difference = self.reduce(&(b - a));
        if difference.is_overflow() {
            return false;
        }
        if let Some(n) = difference.as_const() {
            return rel.holds(0, n);
        }
        let minus = |d: &Dim| &Dim::ZERO - d;
        let positive = |d: &Dim| self.nonnegative(&(d - &Dim::ONE));
        match rel {
            Relation::Le => self.nonnegative(&difference),
            Relation::Lt => positive(&difference),
            Relation::Eq => self.nonnegative(&difference) && self.nonnegative(&minus(&difference)),
            Relation::Ne => {
                positive(&difference) || positive(&minus(&difference)) || self.told_apart(&difference)
            }
        }
    }

    /// Is this difference (or its negation) that of a `!=` fact?
    fn told_apart(&self, difference: &Dim) -> bool {
        let ne = self.facts.facts.iter().filter(|f| f.rel == Relation::Ne);
        let mut differences = ne.map(|f| self.reduce(&(&f.rhs - &f.lhs)));
        differences.any(|d| d == *difference || (&Dim::ZERO - &d) == *difference)
    }

    /// Is `goal >= 0` for all values?
    fn nonnegative(&self, goal: &Dim) -> bool {
        if self.at_least(goal).is_some_and(|n| n >= 0) {
            return true;
        }
        let mut rows = Rows::new(self);
        // The negation: goal <= -1.
        rows.add(&(&Dim::from(-1i64) - goal));
        for d in &self.known {
            rows.add(d);
        }
        infeasible(rows.close())
    }

    /// A lower bound by the least values alone, where every monomial grows with its names.
    fn at_least(&self, d: &Dim) -> Option<i64> {
        d.monomials().into_iter().try_fold(0i64, |sum, (monomial, c)| {
            let least = if monomial.is_empty() { 1 } else { self.monomial_at_least(&monomial)? };
            if c < 0 && !monomial.is_empty() {
                return None;
            }
            sum.checked_add(c.checked_mul(least)?)
        })
    }

    /// A bound that is not negative; `None` where the monomial may be.
    fn monomial_at_least(&self, monomial: &[(Atom, u32)]) -> Option<i64> {
        monomial.iter().try_fold(1i64, |product, (atom, power)| {
            product.checked_mul(self.atom_at_least(atom)?.checked_pow(*power)?)
        })
    }

    fn atom_at_least(&self, atom: &Atom) -> Option<i64> {
        let least = match atom {
            Atom::Sym(s) => match self.least.get(s) {
                Some(&n) => n,
                // A name that nobody declared is a dim; a new one of ours may be anything.
                None if s.ends_with('\'') => return None,
                None => 0,
            },
            Atom::Quot(q) => self.at_least(&q.0)?.div_euclid(q.1.as_const().filter(|d| *d > 0)?),
            Atom::Rem(r) => r.1.as_const().filter(|d| *d > 0).map(|_| 0)?,
        };
        (least >= 0).then_some(least)
    }

    // ------------------------------------------------------------------ counterexamples

    /// Values under which `a rel b` fails while all facts hold: of the names in it, and of those that
    /// facts tie to them.
    pub(super) fn refute(&self, a: &Dim, rel: Relation, b: &Dim) -> Option<Binding> {
        let names = self.names_tied_to(a, b);
        let matters = |f: &&Fact| tied(&names, &f.lhs, &f.rhs) || f.holds(&Binding::new()).is_some();
        let facts: Vec<_> = self.facts.facts.iter().filter(matters).collect();
        let mut free: BTreeSet<Symbol> =
            names.iter().flat_map(|n| self.apply(&Dim::sym(n.clone())).symbols()).collect();
        free.extend(names.iter().filter(|n| !self.substitutions.iter().any(|s| s.0 == **n)).cloned());
        let mut samples = Samples::new();
        for round in 0..SAMPLES {
            let mut binding = Binding::new();
            for name in &free {
                let least =
                    self.least.get(name).copied().unwrap_or(if name.ends_with('\'') { -4 } else { 0 });
                binding.insert(name.clone(), samples.next(round, least));
            }
            for (name, value) in self.substitutions.iter().rev() {
                if let Some(n) = value.eval(&binding) {
                    binding.insert(name.clone(), n);
                }
            }
            binding.retain(|name, _| names.contains(name));
            let sizes = binding.iter().all(|(name, n)| *n >= self.facts.min(name));
            if !sizes || binding.len() < names.len() || facts.iter().any(|f| f.holds(&binding) != Some(true))
            {
                continue;
            }
            if let (Some(x), Some(y)) = (a.eval(&binding), b.eval(&binding))
                && !rel.holds(x, y)
            {
                return Some(binding);
            }
        }
        None
    }

    fn names_tied_to(&self, a: &Dim, b: &Dim) -> BTreeSet<Symbol> {
        let mut names: BTreeSet<Symbol> = a.symbols().into_iter().chain(b.symbols()).collect();
        loop {
            let before = names.len();
            for f in &self.facts.facts {
                if tied(&names, &f.lhs, &f.rhs) {
                    names.extend(f.lhs.symbols().into_iter().chain(f.rhs.symbols()));
                }
            }
            if names.len() == before {
                return names;
            }
        }
    }
}

fn tied(names: &BTreeSet<Symbol>, a: &Dim, b: &Dim) -> bool {
    a.symbols().iter().chain(&b.symbols()).any(|s| names.contains(s))
}

fn replace(d: &Dim, name: &Symbol, value: &Dim) -> Dim {
    if !d.symbols().contains(name) {
        return d.clone();
    }
    d.substitute(&|s| (s == name).then(|| value.clone()))
}

/// `d == 0` as `name = value`.
fn solve_for(d: &Dim) -> Option<(Symbol, Dim)> {
    solve_for_not_in(d, &[])
}

/// A name with coefficient 1 or -1 that occurs nowhere else in `d`, nor in `not`, and its value.
fn solve_for_not_in(d: &Dim, not: &[Symbol]) -> Option<(Symbol, Dim)> {
    let monomials = d.monomials();
    for (monomial, c) in &monomials {
        let ([(Atom::Sym(name), 1)], 1 | -1) = (&monomial[..], c) else { continue };
        let alone = Dim::sym(name.clone());
        let rest = if *c == 1 { d - &alone } else { d + &alone };
        if rest.is_overflow() || rest.symbols().contains(name) || not.contains(name) {
            continue;
        }
        // c*name + rest = 0
        let value = if *c == 1 { &Dim::ZERO - &rest } else { rest };
        return Some((name.clone(), value));
    }
    None
}

/// The sign with which a name stands in `d`.
fn sign_of(d: &Dim, name: &Symbol) -> Dim {
    let negative = |(m, c): &(Monomial, i64)| *c < 0 && m[..] == [(Atom::Sym(name.clone()), 1)];
    Dim::from(if d.monomials().iter().any(negative) { -1i64 } else { 1 })
}

/// The rows for one goal: monomials numbered, atoms and products explained once each.
struct Rows<'s> {
    solver: &'s Solver<'s>,
    numbers: BTreeMap<Monomial, usize>,
    /// Monomials in order of their numbers; those from `explained` on have no rows of their own yet.
    monomials: Vec<Monomial>,
    explained: usize,
    atoms: BTreeSet<Atom>,
    rows: Vec<Row>,
}

impl<'s> Rows<'s> {
    fn new(solver: &'s Solver<'s>) -> Self {
        Rows {
            solver,
            numbers: BTreeMap::new(),
            monomials: vec![],
            explained: 0,
            atoms: BTreeSet::new(),
            rows: vec![],
        }
    }

    fn number(&mut self, monomial: Monomial) -> usize {
        if let Some(&n) = self.numbers.get(&monomial) {
            return n;
        }
        let n = self.monomials.len();
        self.numbers.insert(monomial.clone(), n);
        self.monomials.push(monomial);
        n
    }

    /// `d >= 0`.
    fn add(&mut self, d: &Dim) {
        if d.is_overflow() {
            return;
        }
        let mut row = Row { coefs: BTreeMap::new(), constant: 0 };
        for (monomial, c) in d.monomials() {
            if monomial.is_empty() {
                row.constant = i128::from(c);
            } else {
                let n = self.number(monomial);
                row.coefs.insert(n, i128::from(c));
            }
        }
        self.rows.push(row);
    }

    /// All rows, with what explains every monomial in them.
    fn close(mut self) -> Vec<Row> {
        self.multiply_facts();
        while self.explained < self.monomials.len() && self.rows.len() < MAX_GATHERED {
            let monomial = self.monomials[self.explained].clone();
            self.explained += 1;
            for (atom, _) in &monomial {
                if self.atoms.insert(atom.clone()) {
                    self.explain(atom);
                }
            }
            if monomial.iter().map(|(_, p)| p).sum::<u32>() > 1 {
                self.explain_product(&monomial);
            }
        }
        self.rows
    }

    /// Where the goal has products: each fact times each name that cannot be negative.
    fn multiply_facts(&mut self) {
        let products = self.monomials.iter().filter(|m| m.iter().map(|(_, p)| p).sum::<u32>() > 1);
        let factors: BTreeSet<Atom> = products.flatten().map(|(atom, _)| atom.clone()).collect();
        for atom in factors.into_iter().take(6) {
            if self.solver.atom_at_least(&atom).is_none() {
                continue;
            }
            for d in self.solver.known.iter().take(8) {
                self.add(&(d * &Dim::atom(atom.clone())));
            }
        }
    }

    fn explain(&mut self, atom: &Atom) {
        if let Some(n) = self.solver.atom_at_least(atom) {
            self.add(&(&Dim::atom(atom.clone()) - &Dim::from(n)));
        } else if let Atom::Sym(s) = atom
            && let Some(&n) = self.solver.least.get(s)
        {
            self.add(&(&Dim::sym(s.clone()) - &Dim::from(n)));
        }
        if let Atom::Quot(q) = atom {
            let (n, d) = (&q.0, &q.1);
            if self.solver.at_least(d).is_some_and(|d| d >= 1) {
                // d*q <= n <= d*q + d - 1
                let whole = d * &Dim::atom(atom.clone());
                self.add(&(n - &whole));
                self.add(&(&(&(&whole + d) - &Dim::ONE) - n));
            }
        }
    }

    /// (x - lx) * (y - ly) >= 0 for the first factor x of a product and the rest y, whose bounds are not
    /// negative.
    fn explain_product(&mut self, monomial: &Monomial) {
        let mut rest = monomial.clone();
        let x = rest[0].0.clone();
        rest[0].1 -= 1;
        rest.retain(|(_, p)| *p > 0);
        let (Some(lx), Some(ly)) = (self.solver.atom_at_least(&x), self.solver.monomial_at_least(&rest))
        else {
            return;
        };
        let x = &Dim::atom(x) - &Dim::from(lx);
        let y = rest.iter().fold(Dim::ONE, |y, (atom, p)| &y * &Dim::atom(atom.clone()).pow(*p));
        self.add(&(&x * &(&y - &Dim::from(ly))));
    }
}

/// Values for names: small ones first, then sizes that occur in models.
struct Samples(u64);

impl Samples {
    const SIZES: [i64; 14] = [1, 2, 3, 4, 5, 7, 8, 12, 13, 16, 32, 64, 224, 1024];

    fn new() -> Samples {
        Samples(0x9e37_79b9_7f4a_7c15)
    }

    fn next(&mut self, round: u64, least: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let random = self.0 >> 33;
        match round {
            0..192 => least.saturating_add((random % 4) as i64),
            192..384 => least.saturating_add((random % 40) as i64),
            _ => {
                let size = Samples::SIZES[random as usize % Samples::SIZES.len()];
                // Beside the round sizes, where divisors of 2 would hide a difference.
                (size + (random >> 8) as i64 % 3 * (round as i64 % 2)).max(least)
            }
        }
    }
}
