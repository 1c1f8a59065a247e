//! Coordinates: one index map for each axis of a value, over the axes of a kernel's domain.
//!
//! `extents` in this file are those of the domain's axes. Every index given and returned is canonical.

use smallvec::SmallVec;

use crate::loops::Index;
use crate::loops::bounds::{div, rem};

/// Where an element lies: one index for each axis.
pub type Coords = SmallVec<[Index; 4]>;

/// The element's position in row-major order of `shape`.
pub fn row_major(coords: &[Index], shape: &[u64]) -> Index {
    let mut stride = 1i64;
    let mut index = Index::default();
    for (c, &extent) in coords.iter().zip(shape).rev() {
        index = index.plus_index(&c.clone().scale(stride));
        stride = stride.saturating_mul(extent.max(1) as i64);
    }
    index
}

/// The coordinates in `to` of the element at `coords` of `from`, both row-major with equally many elements.
/// Axes are matched in the smallest groups of equal size, so that untouched axes stay as they are.
pub fn reshape(coords: &[Index], from: &[u64], to: &[u64], extents: &[u64]) -> Coords {
    let mut out: Coords = to.iter().map(|_| Index::default()).collect();
    if from.contains(&0) || to.contains(&0) {
        return out;
    }
    let real = |shape: &[u64]| (0..shape.len()).filter(|&k| shape[k] != 1).collect::<Vec<usize>>();
    let (from_axes, to_axes) = (real(from), real(to));
    let (mut i, mut j) = (0, 0);
    while i < from_axes.len() && j < to_axes.len() {
        let (start_i, start_j) = (i, j);
        let (mut a, mut b) = (from[from_axes[i]], to[to_axes[j]]);
        (i, j) = (i + 1, j + 1);
        while a != b {
            let next = if a < b { from_axes.get(i) } else { to_axes.get(j) };
            match next {
                Some(&k) if a < b => (a, i) = (a.saturating_mul(from[k]), i + 1),
                Some(&k) => (b, j) = (b.saturating_mul(to[k]), j + 1),
                None => break,
            }
        }
        group(coords, (&from_axes[start_i..i], from), (&to_axes[start_j..j], to), extents, &mut out);
    }
    out
}

/// Maps one group of axes: flattens, then takes apart. The outermost axis needs no remainder.
fn group(
    coords: &[Index],
    (from_axes, from): (&[usize], &[u64]),
    (to_axes, to): (&[usize], &[u64]),
    extents: &[u64],
    out: &mut [Index],
) {
    let parts: Coords = from_axes.iter().map(|&k| coords[k].clone()).collect();
    let shape: Vec<u64> = from_axes.iter().map(|&k| from[k]).collect();
    let linear = row_major(&parts, &shape);
    for (at, &k) in to_axes.iter().enumerate() {
        let stride: u64 = to_axes[at + 1..].iter().map(|&k| to[k]).product();
        out[k] = quot(&linear, stride, (at > 0).then_some(to[k]), extents);
    }
}

/// `floor(index / d)`, then the floor remainder by `modulo` if given.
pub fn quot(index: &Index, d: u64, modulo: Option<u64>, extents: &[u64]) -> Index {
    let q = div(index, d, extents);
    modulo.map_or(q.clone(), |m| rem(&q, m, extents))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loops::{Atom, AxisId};

    fn axis(i: u32) -> Index {
        Index::axis(AxisId(i))
    }

    /// The value of an index without data at a point of the domain.
    fn eval(index: &Index, at: &[i64]) -> i64 {
        index.offset
            + index
                .terms
                .iter()
                .map(|(c, a)| {
                    c * match a {
                        Atom::Axis(a) => at[a.ix()],
                        Atom::Quot { of, div, modulo } => {
                            let q = eval(of, at).div_euclid(*div as i64);
                            modulo.map_or(q, |m| q.rem_euclid(m as i64))
                        }
                        Atom::Data(..) => 0,
                    }
                })
                .sum::<i64>()
    }

    fn points(extents: &[u64]) -> Vec<Vec<i64>> {
        extents.iter().fold(vec![vec![]], |all, &e| {
            all.into_iter().flat_map(|p| (0..e as i64).map(move |i| [p.clone(), vec![i]].concat())).collect()
        })
    }

    #[test]
    fn reshapes_keep_the_linear_position() {
        let shapes: [&[u64]; 9] = [
            &[24],
            &[2, 12],
            &[4, 6],
            &[2, 3, 4],
            &[1, 24, 1],
            &[6, 1, 4],
            &[3, 8],
            &[12, 2, 1],
            &[2, 2, 2, 3],
        ];
        for from in shapes {
            for to in shapes {
                let coords: Coords = (0..from.len() as u32).map(axis).collect();
                let out = reshape(&coords, from, to, from);
                assert_eq!(out.len(), to.len());
                for p in points(from) {
                    let at = |c: &[Index], s: &[u64]| eval(&row_major(c, s), &p);
                    assert_eq!(at(&out, to), at(&coords, from), "{from:?} to {to:?} at {p:?}: {out:?}");
                    for (c, &e) in out.iter().zip(to) {
                        assert!((0..e as i64).contains(&eval(c, &p)), "{from:?} to {to:?}: {c:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn untouched_axes_stay() {
        let coords: Coords = (0..3).map(axis).collect();
        let out = reshape(&coords, &[5, 2, 3], &[5, 6], &[5, 2, 3]);
        assert_eq!(out.as_slice(), [axis(0), axis(1).scale(3).plus_index(&axis(2))]);
        // And back: the quotients dissolve.
        let back = reshape(&out, &[5, 6], &[5, 2, 3], &[5, 2, 3]);
        assert_eq!(back.as_slice(), coords.as_slice());
    }

    #[test]
    fn quotients_agree_with_integers() {
        let extents = [6, 5];
        for (i, j, o) in [(1, 0, 0), (4, 1, 0), (5, 1, 3), (3, 2, -7), (8, 12, 1), (-2, 1, 20)] {
            let index = axis(0).scale(i).plus_index(&axis(1).scale(j)).plus(o);
            for div in [1, 2, 3, 4, 5, 12] {
                for modulo in [None, Some(1), Some(2), Some(3), Some(7)] {
                    let q = quot(&index, div, modulo, &extents);
                    for p in points(&extents) {
                        let want = eval(&index, &p).div_euclid(div as i64);
                        let want = modulo.map_or(want, |m| want.rem_euclid(m as i64));
                        assert_eq!(eval(&q, &p), want, "{index:?} / {div} % {modulo:?}");
                    }
                }
            }
        }
    }
}
