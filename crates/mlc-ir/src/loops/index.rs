//! Index maps: where an element lies in an argument.
//!
//! An [`Index`] is an element offset, affine in *atoms*: domain axes, floor quotients of other indices, and
//! integers read from data. `x.transpose()` and other views never copy: they are maps.
//!
//! Invariants of a canonical index ([`Index::plus_index`] and [`Index::scale`] keep them): no zero coefficient,
//! no atom twice, atoms sorted.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::body::ExprId;
use super::kernel::ArgId;
use super::scalar::Lit;

/// An axis of the domain: rows first, then columns (contractions: batch, m, n, k).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AxisId(pub u32);

impl AxisId {
    pub fn ix(self) -> usize {
        self.0 as usize
    }
}

/// Element offset = `offset` + sum of coefficient * atom, in i64.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Index {
    #[serde(with = "crate::serial::small")]
    pub terms: SmallVec<[(i64, Atom); 4]>,
    pub offset: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Atom {
    Axis(AxisId),
    /// `floor(of / div)`, then, if given, the floor remainder by `modulo`. Both are > 0.
    Quot {
        of: Box<Index>,
        div: u64,
        modulo: Option<u64>,
    },
    /// An integer expression, read as i64, then brought into bounds; see [`Bound`].
    Data(ExprId, Bound),
}

/// What happens to a data-dependent index. With `wrap`, a negative index first has `extent` added (`x[-1]`).
/// An index outside `[0, extent)` is then clamped into it *and* recorded as a fault
/// ([`super::FaultRecord`]), so that memory is never touched out of bounds and no wrong row goes unnoticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Bound {
    /// > 0.
    pub extent: u64,
    pub wrap: bool,
}

/// Reads `arg[index]`. Where the guard is false, memory is not touched, no fault is recorded, and the value
/// is `other`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Load {
    pub arg: ArgId,
    pub index: Index,
    pub guard: Option<ExprId>,
    /// Of the argument's dtype.
    pub other: Lit,
}

impl Index {
    pub fn constant(offset: i64) -> Index {
        Index { terms: SmallVec::new(), offset }
    }

    pub fn axis(axis: AxisId) -> Index {
        Index::term(1, Atom::Axis(axis))
    }

    pub fn term(coef: i64, atom: Atom) -> Index {
        let mut index = Index::default();
        index.add_term(coef, atom);
        index
    }

    /// Row-major over consecutive axes from `first`: the identity map of a dense tensor.
    pub fn row_major(first: AxisId, extents: &[u64]) -> Index {
        let mut index = Index::default();
        let mut stride = 1i64;
        for (i, &e) in extents.iter().enumerate().rev() {
            if e != 1 {
                index.add_term(stride, Atom::Axis(AxisId(first.0 + i as u32)));
            }
            stride = stride.saturating_mul(e.max(1) as i64);
        }
        index
    }

    pub fn add_term(&mut self, coef: i64, atom: Atom) {
        if coef == 0 {
            return;
        }
        match self.terms.binary_search_by(|t| t.1.cmp(&atom)) {
            Ok(i) => {
                self.terms[i].0 = self.terms[i].0.wrapping_add(coef);
                if self.terms[i].0 == 0 {
                    self.terms.remove(i);
                }
            }
            Err(i) => self.terms.insert(i, (coef, atom)),
        }
    }

    pub fn plus_index(mut self, other: &Index) -> Index {
        for (c, a) in &other.terms {
            self.add_term(*c, a.clone());
        }
        self.offset = self.offset.wrapping_add(other.offset);
        self
    }

    pub fn plus(mut self, offset: i64) -> Index {
        self.offset = self.offset.wrapping_add(offset);
        self
    }

    pub fn scale(mut self, by: i64) -> Index {
        if by == 0 {
            return Index::default();
        }
        for t in &mut self.terms {
            t.0 = t.0.wrapping_mul(by);
        }
        self.offset = self.offset.wrapping_mul(by);
        self
    }

    /// Whether any atom, however deep, is `Data`.
    pub fn has_data(&self) -> bool {
        self.terms.iter().any(|(_, a)| match a {
            Atom::Axis(_) => false,
            Atom::Quot { of, .. } => of.has_data(),
            Atom::Data(..) => true,
        })
    }

    /// Whether every atom is an axis.
    pub fn is_affine(&self) -> bool {
        self.terms.iter().all(|(_, a)| matches!(a, Atom::Axis(_)))
    }

    /// The coefficient of an axis at the top level.
    pub fn coef(&self, axis: AxisId) -> i64 {
        self.terms.iter().find(|(_, a)| *a == Atom::Axis(axis)).map_or(0, |t| t.0)
    }

    /// Calls `f` on every atom, outer before inner.
    pub fn visit(&self, f: &mut impl FnMut(&Atom)) {
        for (_, a) in &self.terms {
            f(a);
            if let Atom::Quot { of, .. } = a {
                of.visit(f);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_canonical() {
        let i = Index::axis(AxisId(1)).scale(3).plus(2);
        let j = Index::axis(AxisId(0)).plus_index(&Index::axis(AxisId(1)).scale(-3));
        let sum = i.clone().plus_index(&j);
        assert_eq!(sum, Index::axis(AxisId(0)).plus(2));
        assert_eq!(j.plus_index(&i), sum);
    }

    #[test]
    fn row_major_skips_unit_axes() {
        let i = Index::row_major(AxisId(2), &[4, 1, 5]);
        assert_eq!((i.coef(AxisId(2)), i.coef(AxisId(3)), i.coef(AxisId(4))), (5, 0, 1));
    }
}
