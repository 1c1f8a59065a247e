//! Arithmetic of indices over a domain: intervals, division, substitution, injectivity.
//!
//! Every result is exact over the domain, and as affine as the rules below can make it:
//! - `floor((d*a + r) / d) = a + floor(r / d)`, and 0 where `r` lies in `[0, d)`;
//! - `(m*a + r) mod m = r mod m`, and `r` where it lies in `[0, m)`;
//! - with g | d and r in `[0, g)`: `floor((g*a + r) / d) = floor(a / (d/g))`, `(g*a + r) mod d = g*(a mod d/g) + r`;
//! - quotients of quotients join; `d*floor(x/d) + x mod d = x`.

use super::index::{Atom, AxisId, Index};

/// The least and greatest value of an index where axis i ranges over `[0, extents[i])`; `None` if it has a
/// `Data` atom out of reach of i64 or an axis that does not exist. An empty axis counts as the single point 0.
pub fn interval(index: &Index, extents: &[u64]) -> Option<(i64, i64)> {
    let (lo, hi) = wide(index, extents)?;
    Some((i64::try_from(lo).ok()?, i64::try_from(hi).ok()?))
}

fn wide(index: &Index, extents: &[u64]) -> Option<(i128, i128)> {
    let (mut lo, mut hi) = (i128::from(index.offset), i128::from(index.offset));
    for (c, atom) in &index.terms {
        let (a, b) = atom_range(atom, extents)?;
        let (x, y) = (a.checked_mul((*c).into())?, b.checked_mul((*c).into())?);
        lo = lo.checked_add(x.min(y))?;
        hi = hi.checked_add(x.max(y))?;
    }
    Some((lo, hi))
}

fn atom_range(atom: &Atom, extents: &[u64]) -> Option<(i128, i128)> {
    Some(match atom {
        Atom::Axis(a) => (0, i128::from(*extents.get(a.ix())?).max(1) - 1),
        Atom::Data(_, bound) => (0, i128::from(bound.extent).max(1) - 1),
        Atom::Quot { of, div, modulo } => {
            let (lo, hi) = wide(of, extents)?;
            let d = i128::from(*div).max(1);
            let (lo, hi) = (lo.div_euclid(d), hi.div_euclid(d));
            match modulo.map(i128::from) {
                None => (lo, hi),
                Some(m) if lo.div_euclid(m.max(1)) == hi.div_euclid(m.max(1)) => {
                    (lo.rem_euclid(m.max(1)), hi.rem_euclid(m.max(1)))
                }
                Some(m) => (0, m.max(1) - 1),
            }
        }
    })
}

fn within(index: &Index, extents: &[u64], below: i64) -> bool {
    interval(index, extents).is_some_and(|(lo, hi)| lo >= 0 && hi < below)
}

/// `floor(index / d)`, d > 0.
pub fn div(index: &Index, d: u64, extents: &[u64]) -> Index {
    let Ok(di) = i64::try_from(d) else { return quot(index, d, None) };
    if d <= 1 {
        return index.clone();
    }
    let mut out = Index::constant(index.offset.div_euclid(di));
    let mut rest = Index::constant(index.offset.rem_euclid(di));
    for (c, atom) in &index.terms {
        // Whole multiples of d leave the quotient.
        if c % di == 0 { &mut out } else { &mut rest }
            .add_term(if c % di == 0 { c / di } else { *c }, atom.clone());
    }
    if let Some((lo, hi)) = interval(&rest, extents)
        && lo.div_euclid(di) == hi.div_euclid(di)
    {
        return out.plus(lo.div_euclid(di));
    }
    if let Some((g, a, _)) = split(&rest, di, extents) {
        return normal(out.plus_index(&div(&a, d / g, extents)));
    }
    if let [(1, Atom::Quot { of, div: d1, modulo })] = &rest.terms[..] {
        match modulo {
            None => {
                let of = (**of).clone().plus(rest.offset.wrapping_mul(*d1 as i64));
                return normal(out.plus_index(&div(&of, d1 * d, extents)));
            }
            Some(m) if rest.offset == 0 && m.is_multiple_of(d) => {
                return normal(out.plus_index(&rem(&div(of, d1 * d, extents), m / d, extents)));
            }
            Some(_) => {}
        }
    }
    normal(out.plus_index(&quot(&rest, d, None)))
}

/// `index mod m`, m > 0, the remainder in `[0, m)`.
pub fn rem(index: &Index, m: u64, extents: &[u64]) -> Index {
    let Ok(mi) = i64::try_from(m) else { return quot(index, 1, Some(m)) };
    if m <= 1 {
        return Index::default();
    }
    let mut rest = Index::constant(index.offset.rem_euclid(mi));
    for (c, atom) in &index.terms {
        rest.add_term(if c % mi == 0 { 0 } else { *c }, atom.clone());
    }
    if let Some((lo, hi)) = interval(&rest, extents)
        && lo.div_euclid(mi) == hi.div_euclid(mi)
    {
        return rest.plus(-(lo.div_euclid(mi) * mi));
    }
    if let Some((g, a, r)) = split(&rest, mi, extents) {
        return normal(rem(&a, m / g, extents).scale(g as i64).plus_index(&r));
    }
    if let [(1, Atom::Quot { of, div: d, modulo })] = &rest.terms[..]
        && rest.offset == 0
        && modulo.is_none_or(|outer| outer.is_multiple_of(m))
    {
        return quot(of, *d, Some(m));
    }
    quot(&rest, 1, Some(m))
}

/// `index = g*a + r` with g | d, g > 1, 0 <= r < g.
fn split(index: &Index, d: i64, extents: &[u64]) -> Option<(u64, Index, Index)> {
    let mut candidates: Vec<i64> =
        index.terms.iter().map(|t| gcd(t.0.unsigned_abs(), d as u64) as i64).filter(|&g| g > 1).collect();
    candidates.sort_unstable();
    candidates.dedup();
    for g in candidates {
        let mut a = Index::constant(index.offset.div_euclid(g));
        let mut r = Index::constant(index.offset.rem_euclid(g));
        for (c, atom) in &index.terms {
            if c % g == 0 {
                a.add_term(c / g, atom.clone());
            } else {
                r.add_term(*c, atom.clone());
            }
        }
        if within(&r, extents, g) {
            return Some((g as u64, a, r));
        }
    }
    None
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn quot(of: &Index, div: u64, modulo: Option<u64>) -> Index {
    if div == 1 && modulo.is_none() {
        return of.clone();
    }
    Index::term(1, Atom::Quot { of: Box::new(of.clone()), div, modulo })
}

/// Joins `c*m * floor(x / (d*m)) + c * (floor(x / d) mod m)` into `c * floor(x / d)`, in any number.
fn normal(mut index: Index) -> Index {
    'again: loop {
        for i in 0..index.terms.len() {
            let (c, Atom::Quot { of, div, modulo: Some(m) }) = &index.terms[i] else { continue };
            let (Some(outer_c), Some(outer_div)) = (c.checked_mul(*m as i64), div.checked_mul(*m)) else {
                continue;
            };
            let partner = index.terms.iter().enumerate().find_map(|(j, (c2, atom))| match atom {
                Atom::Quot { of: of2, div: div2, modulo }
                    if *c2 == outer_c && *div2 == outer_div && of2 == of =>
                {
                    Some((j, *modulo))
                }
                _ => None,
            });
            if let Some((j, outer_modulo)) = partner {
                let (c, of, div) = (*c, of.clone(), *div);
                let modulo = outer_modulo.and_then(|o| o.checked_mul(*m));
                if outer_modulo.is_some() && modulo.is_none() {
                    continue;
                }
                for k in [i.max(j), i.min(j)] {
                    index.terms.remove(k);
                }
                index = index.plus_index(&quot(&of, div, modulo).scale(c));
                continue 'again;
            }
        }
        return index;
    }
}

/// The index with axis i replaced by `axes[i]`, simplified over a domain of these extents.
pub fn substitute(index: &Index, axes: &[Index], extents: &[u64]) -> Index {
    let mut out = Index::constant(index.offset);
    for (c, atom) in &index.terms {
        let value = match atom {
            Atom::Axis(a) => axes.get(a.ix()).cloned().unwrap_or_default(),
            Atom::Quot { of, div: d, modulo } => {
                let q = div(&substitute(of, axes, extents), *d, extents);
                match modulo {
                    Some(m) => rem(&q, *m, extents),
                    None => q,
                }
            }
            Atom::Data(..) => Index::term(1, atom.clone()),
        };
        out = out.plus_index(&value.scale(*c));
    }
    normal(out)
}

/// The index simplified over a domain; axes of extent 1 vanish.
pub fn simplify(index: &Index, extents: &[u64]) -> Index {
    let axes: Vec<Index> = extents
        .iter()
        .enumerate()
        .map(|(i, &e)| if e == 1 { Index::default() } else { Index::axis(AxisId(i as u32)) })
        .collect();
    substitute(index, &axes, extents)
}

/// Whether different points of the domain get different offsets (L9). `Some(true)` and `Some(false)` are proofs
/// for affine indices whose strides nest as mixed radixes; `None` where the test cannot tell (quotients, data,
/// strides that interleave). Axes of extent 0 and 1 do not matter.
pub fn injective(index: &Index, extents: &[u64]) -> Option<bool> {
    if extents.contains(&0) {
        return Some(true);
    }
    if !index.is_affine() {
        return None;
    }
    let mut strides: Vec<(u64, u64)> = Vec::new();
    for (i, &e) in extents.iter().enumerate() {
        if e > 1 {
            strides.push((index.coef(AxisId(i as u32)).unsigned_abs(), e));
        }
    }
    strides.sort_unstable();
    let mut reach: u128 = 0;
    for (stride, extent) in strides {
        if stride == 0 {
            return Some(false);
        }
        // A stride within what smaller ones reach may or may not collide.
        if u128::from(stride) <= reach {
            return None;
        }
        reach += u128::from(stride) * u128::from(extent - 1);
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ax(i: u32) -> Index {
        Index::axis(AxisId(i))
    }

    #[test]
    fn quotients_vanish_where_they_can() {
        let ext = [4, 6, 5];
        let linear = ax(0).scale(30).plus_index(&ax(1).scale(5)).plus_index(&ax(2));
        assert_eq!(div(&linear, 30, &ext), ax(0));
        assert_eq!(rem(&linear, 30, &ext), ax(1).scale(5).plus_index(&ax(2)));
        assert_eq!(rem(&div(&linear, 5, &ext), 6, &ext), ax(1));
        // 10 does not divide into the axes: a quotient of the middle axis alone stays.
        assert_eq!(div(&linear, 10, &ext).terms.len(), 2);
        let q = div(&ax(1), 2, &ext);
        assert_eq!(div(&linear, 10, &ext), ax(0).scale(3).plus_index(&q));
        // x/2*2 + x%2 = x
        let r = rem(&ax(1), 2, &ext);
        assert_eq!(substitute(&q.clone().scale(2).plus_index(&r), &[ax(0), ax(1), ax(2)], &ext), ax(1));
        assert_eq!(interval(&linear, &ext), Some((0, 119)));
        assert_eq!(interval(&ax(1).scale(-2).plus(3), &ext), Some((-7, 3)));
    }

    #[test]
    fn injectivity() {
        assert_eq!(injective(&ax(0).scale(5).plus_index(&ax(1)), &[3, 5]), Some(true));
        assert_eq!(injective(&ax(0).scale(4).plus_index(&ax(1)), &[3, 5]), None);
        assert_eq!(injective(&ax(0), &[3, 5]), Some(false));
        assert_eq!(injective(&ax(0).scale(-1), &[3, 1]), Some(true));
        assert_eq!(injective(&ax(0), &[3, 0]), Some(true));
    }
}
