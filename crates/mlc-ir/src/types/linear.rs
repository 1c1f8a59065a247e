//! Linear inequalities over the integers: can they all hold at once?
//!
//! Fourier-Motzkin elimination with integer tightening: a row `sum(c * x) + k >= 0` is divided by the
//! greatest common divisor of its coefficients and `k` rounded down. "Infeasible" is proven; the other
//! answer is no proof of anything. Work is bounded: beyond the bounds the answer is "don't know".

use std::collections::BTreeMap;

/// Rows at any time.
const MAX_ROWS: usize = 400;

/// `sum(coefficient * variable) + constant >= 0`; no zero coefficients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub coefs: BTreeMap<usize, i128>,
    pub constant: i128,
}

impl Row {
    /// Divided by the common divisor; the constant rounded down, which no integer solution minds.
    fn tightened(mut self) -> Row {
        let g = self.coefs.values().fold(0u128, |g, c| gcd(g, c.unsigned_abs()));
        if let Ok(g) = i128::try_from(g)
            && g > 1
        {
            self.coefs.values_mut().for_each(|c| *c /= g);
            self.constant = self.constant.div_euclid(g);
        }
        self
    }

    /// `a * self + b * other`, both factors positive; `None` on overflow.
    fn combined(&self, a: i128, other: &Row, b: i128) -> Option<Row> {
        let mut coefs = BTreeMap::new();
        for (&v, c) in &self.coefs {
            coefs.insert(v, c.checked_mul(a)?);
        }
        for (&v, c) in &other.coefs {
            let slot = coefs.entry(v).or_insert(0i128);
            *slot = slot.checked_add(c.checked_mul(b)?)?;
        }
        coefs.retain(|_, c| *c != 0);
        let constant = self.constant.checked_mul(a)?.checked_add(other.constant.checked_mul(b)?)?;
        Some(Row { coefs, constant }.tightened())
    }
}

/// Is there certainly no integer solution of all rows?
pub(super) fn infeasible(rows: Vec<Row>) -> bool {
    // The tightest row of each direction.
    let mut system: BTreeMap<Vec<(usize, i128)>, i128> = BTreeMap::new();
    let mut incoming: Vec<Row> = rows.into_iter().map(Row::tightened).collect();
    loop {
        for row in incoming.drain(..) {
            if row.coefs.is_empty() {
                if row.constant < 0 {
                    return true;
                }
                continue;
            }
            let key = row.coefs.into_iter().collect();
            let slot = system.entry(key).or_insert(row.constant);
            *slot = (*slot).min(row.constant);
        }
        let Some(variable) = cheapest(&system) else { return false };
        let (mut above, mut below) = (vec![], vec![]);
        let mut kept = BTreeMap::new();
        for (key, constant) in system {
            match key.iter().find(|(v, _)| *v == variable).map(|t| t.1) {
                None => drop(kept.insert(key, constant)),
                Some(c) => {
                    let row = Row { coefs: key.into_iter().collect(), constant };
                    if c > 0 { above.push((row, c)) } else { below.push((row, -c)) }
                }
            }
        }
        if kept.len() + above.len() * below.len() > MAX_ROWS {
            return false;
        }
        for (p, a) in &above {
            // a*x + p >= 0 and -b*x + n >= 0 give b*p + a*n >= 0.
            incoming.extend(below.iter().filter_map(|(n, b)| p.combined(*b, n, *a)));
        }
        system = kept;
    }
}

/// The variable whose elimination adds the fewest rows.
fn cheapest(system: &BTreeMap<Vec<(usize, i128)>, i128>) -> Option<usize> {
    let mut signs: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for &(v, c) in system.keys().flatten() {
        let (above, below) = signs.entry(v).or_default();
        *(if c > 0 { above } else { below }) += 1;
    }
    signs.into_iter().min_by_key(|(v, (above, below))| (above * below, *v)).map(|(v, _)| v)
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(coefs: &[(usize, i128)], constant: i128) -> Row {
        Row { coefs: coefs.iter().copied().collect(), constant }
    }

    #[test]
    fn transitive_bounds_contradict() {
        // x <= y, y <= z, z <= x - 1
        let rows = [row(&[(1, 1), (0, -1)], 0), row(&[(2, 1), (1, -1)], 0), row(&[(0, 1), (2, -1)], -1)];
        assert!(infeasible(rows.to_vec()));
        assert!(!infeasible(rows[..2].to_vec()));
    }

    #[test]
    fn integers_are_tighter_than_rationals() {
        // 1 <= 2x <= 1 has a rational solution only.
        assert!(infeasible(vec![row(&[(0, 2)], -1), row(&[(0, -2)], 1)]));
        assert!(!infeasible(vec![row(&[(0, 2)], -2), row(&[(0, -2)], 2)]));
    }

    #[test]
    fn overflow_is_no_proof() {
        let rows = vec![row(&[(0, i128::MAX), (1, 3)], i128::MIN), row(&[(0, -i128::MAX), (1, -2)], -7)];
        assert!(!infeasible(rows));
    }
}
