//! Symbolic dims: integer polynomials over names, floor quotients and remainders, in normal form.
//!
//! A [`Dim`] is an integer, a name that is bound later (`batch`), or integer arithmetic on those. Two
//! dims that are equal as polynomials have the same representation, so `==` is a sound (not complete)
//! proof of equality; [`super::DimFacts`] proves more, with the `where` facts of a signature.
//!
//! Arithmetic never panics: a coefficient that leaves i64 makes the dim [`Dim::overflow`], which no
//! check accepts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A dim name, unique within one graph.
pub type Symbol = Arc<str>;

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dim(Repr);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr {
    Const(i64),
    Poly(Arc<Poly>),
    Overflow,
}

/// What a monomial multiplies.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Atom {
    Sym(Symbol),
    /// Floor quotient of two dims that does not divide evenly as polynomials.
    Quot(Arc<(Dim, Dim)>),
    /// Remainder with the sign of the divisor.
    Rem(Arc<(Dim, Dim)>),
}

/// Atoms with their powers (>= 1), sorted; empty for the constant term.
type Monomial = Vec<(Atom, u32)>;

/// Sum of `coefficient * monomial`; no zero coefficients, never only a constant.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Poly {
    terms: BTreeMap<Monomial, i64>,
}

/// Values for symbols, as bound by data, inputs or `--dim`.
pub type Binding = BTreeMap<Symbol, i64>;

impl Dim {
    pub const ZERO: Dim = Dim(Repr::Const(0));
    pub const ONE: Dim = Dim(Repr::Const(1));

    pub fn sym(name: impl Into<Symbol>) -> Dim {
        Dim::atom(Atom::Sym(name.into()))
    }

    /// The dim of arithmetic that left the 64-bit integers.
    pub fn overflow() -> Dim {
        Dim(Repr::Overflow)
    }

    pub fn is_overflow(&self) -> bool {
        matches!(self.0, Repr::Overflow)
    }

    pub fn as_const(&self) -> Option<i64> {
        match self.0 {
            Repr::Const(n) => Some(n),
            _ => None,
        }
    }

    pub fn is_const(&self, n: i64) -> bool {
        self.as_const() == Some(n)
    }

    fn atom(a: Atom) -> Dim {
        Dim::from_terms(BTreeMap::from([(vec![(a, 1)], 1)]))
    }

    fn from_terms(mut terms: BTreeMap<Monomial, i64>) -> Dim {
        terms.retain(|_, c| *c != 0);
        match terms.len() {
            0 => Dim::ZERO,
            1 if terms.contains_key(&vec![] as &Monomial) => Dim(Repr::Const(terms[&vec![] as &Monomial])),
            _ => Dim(Repr::Poly(Arc::new(Poly { terms }))),
        }
    }

    fn terms(&self) -> Option<BTreeMap<Monomial, i64>> {
        match &self.0 {
            Repr::Const(0) => Some(BTreeMap::new()),
            Repr::Const(n) => Some(BTreeMap::from([(vec![], *n)])),
            Repr::Poly(p) => Some(p.terms.clone()),
            Repr::Overflow => None,
        }
    }

    /// Coefficients and their monomials, the constant term (empty monomial) first.
    pub fn monomials(&self) -> Vec<(Vec<(Atom, u32)>, i64)> {
        self.terms().map_or(vec![], |t| t.into_iter().collect())
    }

    fn combine(&self, other: &Dim, sign: i64) -> Dim {
        let (Some(mut terms), Some(rhs)) = (self.terms(), other.terms()) else { return Dim::overflow() };
        for (m, c) in rhs {
            let slot = terms.entry(m).or_insert(0);
            match c.checked_mul(sign).and_then(|c| slot.checked_add(c)) {
                Some(v) => *slot = v,
                None => return Dim::overflow(),
            }
        }
        Dim::from_terms(terms)
    }

    fn product(&self, other: &Dim) -> Dim {
        let (Some(a), Some(b)) = (self.terms(), other.terms()) else { return Dim::overflow() };
        let mut terms: BTreeMap<Monomial, i64> = BTreeMap::new();
        for (ma, ca) in &a {
            for (mb, cb) in &b {
                let slot = terms.entry(merge(ma, mb)).or_insert(0);
                match ca.checked_mul(*cb).and_then(|c| slot.checked_add(c)) {
                    Some(v) => *slot = v,
                    None => return Dim::overflow(),
                }
            }
        }
        // A guard against absurd products of sums, not a limit that models meet.
        if terms.len() > 4096 { Dim::overflow() } else { Dim::from_terms(terms) }
    }

    /// `self ** n`.
    pub fn pow(&self, n: u32) -> Dim {
        let mut result = Dim::ONE;
        for _ in 0..n.min(64) {
            result = &result * self;
        }
        if n > 64 && !matches!(self.as_const(), Some(-1..=1)) { Dim::overflow() } else { result }
    }

    /// The quotient where `other` divides every term of `self`, as polynomials; else `None`.
    pub fn div_exact(&self, other: &Dim) -> Option<Dim> {
        let (num, den) = (self.terms()?, other.terms()?);
        if den.len() != 1 {
            return (self == other && !self.is_const(0)).then_some(Dim::ONE);
        }
        let (dm, dc) = den.into_iter().next()?;
        let mut out = BTreeMap::new();
        for (m, c) in num {
            if c.checked_rem(dc)? != 0 {
                return None;
            }
            out.insert(divide(&m, &dm)?, c.checked_div(dc)?);
        }
        Some(Dim::from_terms(out))
    }

    /// Floor division, as an opaque quotient where it does not come out; by zero gives [`Dim::overflow`].
    pub fn floor_div(&self, other: &Dim) -> Dim {
        if other.is_const(0) || self.is_overflow() || other.is_overflow() {
            return Dim::overflow();
        }
        if let (Some(a), Some(b)) = (self.as_const(), other.as_const()) {
            return floor_div(a, b).map_or(Dim::overflow(), Dim::from);
        }
        if let Some(q) = self.div_exact(other) {
            return q;
        }
        // (b*x + r) / b = x + r / b: keeps quotients small and lets equal ones meet.
        if let (Some(terms), Some(b)) = (self.terms(), other.as_const()) {
            let (whole, rest): (BTreeMap<_, _>, BTreeMap<_, _>) =
                terms.into_iter().partition(|(_, c)| c.wrapping_rem(b) == 0);
            if !whole.is_empty() && !rest.is_empty() {
                let whole = Dim::from_terms(whole.into_iter().map(|(m, c)| (m, c.wrapping_div(b))).collect());
                return &whole + &Dim::from_terms(rest).floor_div(other);
            }
        }
        Dim::atom(Atom::Quot(Arc::new((self.clone(), other.clone()))))
    }

    /// Remainder with the divisor's sign.
    pub fn rem(&self, other: &Dim) -> Dim {
        if other.is_const(0) || self.is_overflow() || other.is_overflow() {
            return Dim::overflow();
        }
        if let (Some(a), Some(b)) = (self.as_const(), other.as_const()) {
            return floor_div(a, b)
                .and_then(|q| q.checked_mul(b))
                .and_then(|p| a.checked_sub(p))
                .map_or(Dim::overflow(), Dim::from);
        }
        if self.div_exact(other).is_some() {
            return Dim::ZERO;
        }
        if let (Some(terms), Some(b)) = (self.terms(), other.as_const()) {
            let rest: BTreeMap<_, _> = terms.into_iter().filter(|(_, c)| c.wrapping_rem(b) != 0).collect();
            let rest = Dim::from_terms(rest);
            if rest != *self {
                return rest.rem(other);
            }
        }
        Dim::atom(Atom::Rem(Arc::new((self.clone(), other.clone()))))
    }

    /// All names in it, sorted, each once.
    pub fn symbols(&self) -> Vec<Symbol> {
        let mut out = vec![];
        self.collect_symbols(&mut out);
        out.sort();
        out.dedup();
        out
    }

    fn collect_symbols(&self, out: &mut Vec<Symbol>) {
        let Repr::Poly(p) = &self.0 else { return };
        for (atom, _) in p.terms.keys().flatten() {
            match atom {
                Atom::Sym(s) => out.push(s.clone()),
                Atom::Quot(q) | Atom::Rem(q) => {
                    q.0.collect_symbols(out);
                    q.1.collect_symbols(out);
                }
            }
        }
    }

    /// Its value; `None` where a name is unbound or the arithmetic overflows or divides by zero.
    pub fn eval(&self, binding: &Binding) -> Option<i64> {
        self.substitute(&|s| binding.get(s).map(|&n| Dim::from(n))).as_const()
    }

    /// Replaces the names for which `f` gives a dim.
    pub fn substitute(&self, f: &dyn Fn(&Symbol) -> Option<Dim>) -> Dim {
        let Repr::Poly(p) = &self.0 else { return self.clone() };
        let mut sum = Dim::ZERO;
        for (m, c) in &p.terms {
            let mut product = Dim::from(*c);
            for (atom, power) in m {
                let value = match atom {
                    Atom::Sym(s) => f(s).unwrap_or_else(|| Dim::sym(s.clone())),
                    Atom::Quot(q) => q.0.substitute(f).floor_div(&q.1.substitute(f)),
                    Atom::Rem(q) => q.0.substitute(f).rem(&q.1.substitute(f)),
                };
                product = &product * &value.pow(*power);
            }
            sum = &sum + &product;
        }
        sum
    }
}

fn floor_div(a: i64, b: i64) -> Option<i64> {
    let q = a.checked_div(b)?;
    Some(if a % b != 0 && (a < 0) != (b < 0) { q - 1 } else { q })
}

fn merge(a: &Monomial, b: &Monomial) -> Monomial {
    let mut powers: BTreeMap<Atom, u32> = a.iter().cloned().collect();
    for (atom, p) in b {
        *powers.entry(atom.clone()).or_insert(0) += p;
    }
    powers.into_iter().collect()
}

fn divide(a: &Monomial, b: &Monomial) -> Option<Monomial> {
    let mut powers: BTreeMap<Atom, u32> = a.iter().cloned().collect();
    for (atom, p) in b {
        let have = powers.get_mut(atom)?;
        *have = have.checked_sub(*p)?;
    }
    powers.retain(|_, p| *p > 0);
    Some(powers.into_iter().collect())
}

impl From<i64> for Dim {
    fn from(n: i64) -> Dim {
        Dim(Repr::Const(n))
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Dim {
        i64::try_from(n).map_or(Dim::overflow(), Dim::from)
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident, $a:ident, $b:ident, $body:expr) => {
        impl std::ops::$trait<&Dim> for &Dim {
            type Output = Dim;
            fn $method(self, other: &Dim) -> Dim {
                let ($a, $b) = (self, other);
                $body
            }
        }
        impl std::ops::$trait<Dim> for Dim {
            type Output = Dim;
            fn $method(self, other: Dim) -> Dim {
                let ($a, $b) = (&self, &other);
                $body
            }
        }
    };
}
operator!(Add, add, a, b, a.combine(b, 1));
operator!(Sub, sub, a, b, a.combine(b, -1));
operator!(Mul, mul, a, b, a.product(b));

impl fmt::Display for Dim {
    /// `4*batch+1`, without spaces; terms with names first, the constant last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(terms) = self.terms() else { return f.write_str("overflow") };
        if terms.is_empty() {
            return f.write_str("0");
        }
        let (constants, named): (Vec<_>, Vec<_>) = terms.into_iter().partition(|(m, _)| m.is_empty());
        for (i, (m, c)) in named.into_iter().chain(constants).enumerate() {
            match (i, c < 0) {
                (_, true) => f.write_str("-")?,
                (0, false) => {}
                (_, false) => f.write_str("+")?,
            }
            let c = c.unsigned_abs();
            if c != 1 || m.is_empty() {
                write!(f, "{c}")?;
            }
            for (j, (atom, power)) in m.iter().enumerate() {
                let star = if j > 0 || c != 1 { "*" } else { "" };
                write!(f, "{star}{atom}")?;
                if *power != 1 {
                    write!(f, "**{power}")?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Atom::Sym(s) => f.write_str(s),
            Atom::Quot(q) => write!(f, "(({})/({}))", q.0, q.1),
            Atom::Rem(q) => write!(f, "(({})%({}))", q.0, q.1),
        }
    }
}

impl fmt::Debug for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_form_makes_equal_dims_equal() {
        let (h, w) = (Dim::sym("h"), Dim::sym("w"));
        assert_eq!((&h + &w) * (&h + &w), &(&h.pow(2) + &(&Dim::from(2i64) * &(&h * &w))) + &w.pow(2));
        assert_eq!(&(&h * &w) - &(&w * &h), Dim::ZERO);
        assert_eq!(
            (&(&h * &Dim::from(6i64)) + &Dim::from(4i64)).div_exact(&Dim::from(2i64)).unwrap().to_string(),
            "3*h+2"
        );
    }

    #[test]
    fn quotients_split_off_what_divides() {
        let h = Dim::sym("h");
        let q = (&(&h * &Dim::from(4i64)) + &Dim::from(3i64)).floor_div(&Dim::from(4i64));
        assert_eq!(q, h);
        assert_eq!(
            (&h + &Dim::from(8i64)).floor_div(&Dim::from(4i64)),
            &h.floor_div(&Dim::from(4i64)) + &Dim::from(2i64)
        );
        assert_eq!((&h + &Dim::from(8i64)).rem(&Dim::from(4i64)).to_string(), "((h)%(4))");
    }

    #[test]
    fn overflow_is_a_value() {
        let big = Dim::from(i64::MAX);
        assert!((&big + &Dim::ONE).is_overflow());
        assert!(Dim::ONE.floor_div(&Dim::ZERO).is_overflow());
        assert_eq!((&big + &Dim::ONE).eval(&Binding::new()), None);
    }

    #[test]
    fn evaluates_with_floor_semantics() {
        let h = Dim::sym("h");
        let b = Binding::from([("h".into(), 7)]);
        assert_eq!(h.floor_div(&Dim::from(2i64)).eval(&b), Some(3));
        assert_eq!((&Dim::ZERO - &h).floor_div(&Dim::from(2i64)).eval(&b), Some(-4));
        assert_eq!((&Dim::ZERO - &h).rem(&Dim::from(2i64)).eval(&b), Some(1));
        assert_eq!(h.eval(&Binding::new()), None);
    }
}
