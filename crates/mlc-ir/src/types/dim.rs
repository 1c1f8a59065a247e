//! Symbolic dims: integer polynomials over names, floor quotients and remainders, in normal form.
//!
//! A [`Dim`] is an integer, a name that is bound later (`batch`), or integer arithmetic on those. Two
//! dims that are equal as polynomials have the same representation, so `==` is a sound (not complete)
//! proof of equality; [`super::DimFacts`] proves more, with the `where` facts of a signature.
//!
//! Quotients by a number are normalised further, so that sizes of convolution and pooling chains meet:
//! `(h-1)/2 + 1` is `(h+1)/2`, and `((h+1)/2 + 1)/2` is `(h+3)/4`.
//!
//! Arithmetic never panics: a coefficient that leaves i64 makes the dim [`Dim::overflow`], which no
//! check accepts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A dim name, unique within one graph.
pub type Symbol = Arc<str>;

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Dim(Repr);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
enum Repr {
    Const(i64),
    Poly(#[serde(with = "crate::serial::shared")] Arc<Poly>),
    Overflow,
}

/// What a monomial multiplies.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Atom {
    Sym(#[serde(with = "crate::serial::shared")] Symbol),
    /// Floor quotient of two dims that does not divide evenly as polynomials.
    Quot(#[serde(with = "crate::serial::shared")] Arc<(Dim, Dim)>),
    /// Remainder with the sign of the divisor.
    Rem(#[serde(with = "crate::serial::shared")] Arc<(Dim, Dim)>),
}

/// Atoms with their powers (>= 1), sorted; empty for the constant term.
type Monomial = Vec<(Atom, u32)>;

/// Sum of `coefficient * monomial`; no zero coefficients, never only a constant.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
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

    pub(super) fn atom(a: Atom) -> Dim {
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
        match other.as_const() {
            Some(b) if b > 0 => self.quotient_by(b),
            // x / -b = (-x) / b
            Some(b) if b > i64::MIN => (&Dim::ZERO - self).floor_div(&Dim::from(-b)),
            _ => Dim::quot(self, other),
        }
    }

    fn quot(n: &Dim, d: &Dim) -> Dim {
        Dim::atom(Atom::Quot(Arc::new((n.clone(), d.clone()))))
    }

    /// The normal form of a floor quotient by `b` > 0, which does not come out even.
    fn quotient_by(&self, b: i64) -> Dim {
        let Some(terms) = self.terms() else { return Dim::overflow() };
        // (b*x + r) / b = x + r / b: what is left has coefficients from 0 to b - 1.
        let (mut whole, mut rest) = (BTreeMap::new(), BTreeMap::new());
        for (m, c) in terms {
            whole.insert(m.clone(), c.div_euclid(b));
            rest.insert(m, c.rem_euclid(b));
        }
        let (whole, mut rest, mut b) = (Dim::from_terms(whole), Dim::from_terms(rest), b);
        // (g*x + c) / (g*b) = (x + c/g) / b
        let names = rest.monomials().into_iter().filter(|(m, _)| !m.is_empty());
        let g = names.fold(b, |g, (_, c)| gcd(g, c));
        if g > 1 {
            let parts = rest.terms().unwrap_or_default();
            rest = Dim::from_terms(parts.into_iter().map(|(m, c)| (m, c.div_euclid(g))).collect());
            b /= g;
        }
        // (x/a + c) / b = (x + a*c) / (a*b)
        if let Some((n, a, c)) = rest.as_shifted_quotient()
            && let (Some(shift), Some(divisor)) = (a.checked_mul(c), a.checked_mul(b))
            && b > 1
        {
            return &whole + &(&n + &Dim::from(shift)).floor_div(&Dim::from(divisor));
        }
        let quotient = match rest.as_const() {
            Some(c) => Dim::from(c.div_euclid(b)),
            None if b == 1 => rest,
            None => Dim::quot(&rest, &Dim::from(b)),
        };
        &whole + &quotient
    }

    /// `x`, `a` and `c` of a dim `x/a + c` with a number `a`.
    fn as_shifted_quotient(&self) -> Option<(Dim, i64, i64)> {
        let Repr::Poly(p) = &self.0 else { return None };
        let mut found = None;
        let mut constant = 0;
        for (m, &c) in &p.terms {
            match &m[..] {
                [] => constant = c,
                [(Atom::Quot(q), 1)] if c == 1 && found.is_none() => {
                    found = Some((q.0.clone(), q.1.as_const()?))
                }
                _ => return None,
            }
        }
        found.map(|(n, a)| (n, a, constant))
    }

    /// `self - b * (self / b)`, for the prover: it then meets quotients alone.
    pub(super) fn without_remainders(&self) -> Dim {
        self.map_atoms(&|atom| match atom {
            Atom::Rem(r) => {
                let (n, d) = (r.0.without_remainders(), r.1.without_remainders());
                Some(&n - &(&d * &n.floor_div(&d)))
            }
            _ => None,
        })
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
        if let (Some(terms), Some(b)) = (self.terms(), other.as_const())
            && b > 0
        {
            // (b*x + r) % b = r % b
            let rest = Dim::from_terms(terms.into_iter().map(|(m, c)| (m, c.rem_euclid(b))).collect());
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
        let p = match &self.0 {
            Repr::Const(n) => return Some(*n),
            Repr::Overflow => return None,
            Repr::Poly(p) => p,
        };
        p.terms.iter().try_fold(0i64, |sum, (monomial, c)| {
            let product = monomial.iter().try_fold(*c, |product, (atom, power)| {
                product.checked_mul(atom.eval(binding)?.checked_pow(*power)?)
            });
            sum.checked_add(product?)
        })
    }

    /// Replaces the names for which `f` gives a dim.
    pub fn substitute(&self, f: &dyn Fn(&Symbol) -> Option<Dim>) -> Dim {
        self.map_atoms(&|atom| match atom {
            Atom::Sym(s) => f(s),
            Atom::Quot(q) => Some(q.0.substitute(f).floor_div(&q.1.substitute(f))),
            Atom::Rem(q) => Some(q.0.substitute(f).rem(&q.1.substitute(f))),
        })
    }

    /// Replaces the atoms for which `f` gives a dim.
    fn map_atoms(&self, f: &dyn Fn(&Atom) -> Option<Dim>) -> Dim {
        let Repr::Poly(p) = &self.0 else { return self.clone() };
        let mut sum = Dim::ZERO;
        for (m, c) in &p.terms {
            let mut product = Dim::from(*c);
            for (atom, power) in m {
                let value = f(atom).unwrap_or_else(|| Dim::atom(atom.clone()));
                product = &product * &value.pow(*power);
            }
            sum = &sum + &product;
        }
        sum
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    i64::try_from(a).unwrap_or(1)
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
    /// `4*batch+1`, `(h+1)/2`, without spaces; terms with names first, the constant last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(terms) = self.terms() else { return f.write_str("overflow") };
        if terms.is_empty() {
            return f.write_str("0");
        }
        let alone = terms.len() == 1;
        let (constants, named): (Vec<_>, Vec<_>) = terms.into_iter().partition(|(m, _)| m.is_empty());
        for (i, (m, c)) in named.into_iter().chain(constants).enumerate() {
            match (i, c < 0) {
                (_, true) => f.write_str("-")?,
                (0, false) => {}
                (_, false) => f.write_str("+")?,
            }
            if let ([(atom, 1)], 1, true) = (&m[..], c, alone) {
                return atom.write(f);
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

impl Atom {
    fn eval(&self, binding: &Binding) -> Option<i64> {
        let sides = |q: &(Dim, Dim)| Some((q.0.eval(binding)?, q.1.eval(binding)?));
        match self {
            Atom::Sym(s) => binding.get(s).copied(),
            Atom::Quot(q) => sides(q).and_then(|(a, b)| floor_div(a, b)),
            Atom::Rem(q) => {
                let (a, b) = sides(q)?;
                a.checked_sub(floor_div(a, b)?.checked_mul(b)?)
            }
        }
    }

    /// Without parentheses around the whole.
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |d: &Dim| match &d.0 {
            Repr::Poly(p) if p.terms.len() > 1 || p.terms.iter().any(|(m, c)| *c != 1 || m.len() > 1) => {
                format!("({d})")
            }
            Repr::Poly(p) => match p.terms.keys().next().and_then(|m| m.first()) {
                Some((Atom::Sym(s), 1)) => s.to_string(),
                _ => format!("({d})"),
            },
            Repr::Const(n) if *n >= 0 => n.to_string(),
            _ => format!("({d})"),
        };
        match self {
            Atom::Sym(s) => f.write_str(s),
            Atom::Quot(q) => write!(f, "{}/{}", side(&q.0), side(&q.1)),
            Atom::Rem(q) => write!(f, "{}%{}", side(&q.0), side(&q.1)),
        }
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Atom::Sym(s) => f.write_str(s),
            _ => {
                f.write_str("(")?;
                self.write(f)?;
                f.write_str(")")
            }
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
        assert_eq!((&h + &Dim::from(8i64)).rem(&Dim::from(4i64)).to_string(), "h%4");
    }

    #[test]
    fn chains_of_strided_windows_meet() {
        let n = |n: i64| Dim::from(n);
        let window = |h: &Dim, k: i64, s: i64, p: i64| &(h + &n(2 * p - k)).floor_div(&n(s)) + &n(1);
        let h = Dim::sym("h");
        // A 7x7 convolution and a 3x3 pool, each of stride 2; then a 3x3 and a 1x1 of stride 2 agree.
        let stem = window(&window(&h, 7, 2, 3), 3, 2, 1);
        assert_eq!(stem.to_string(), "(h+3)/4");
        assert_eq!(window(&stem, 3, 2, 1), window(&stem, 1, 2, 0));
        assert_eq!(window(&stem, 3, 1, 1), stem);
        assert_eq!((&(&h * &n(6)) + &n(5)).floor_div(&n(4)).to_string(), "h+(h/2)+1");
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
