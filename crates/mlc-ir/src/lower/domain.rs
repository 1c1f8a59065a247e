//! The domain of a kernel: logical axes, each perhaps split into several, and the rebuilding of a kernel
//! until no quotient is left that a split removes.

use mlc_diag::Diagnostic;

use super::coords::Coords;
use crate::loops::{Atom, AxisId, Index};

/// Logical axes with the points where they are split. The order of the domain never changes: an axis of
/// 12 split at 4 is the two axes (3, 4), and its position is `4*i1 + i0`.
#[derive(Debug, Clone, PartialEq)]
pub struct Domain {
    axes: Vec<Split>,
}

#[derive(Debug, Clone, PartialEq)]
struct Split {
    extent: u64,
    /// Strides of the parts, ascending, each dividing the next and the extent; the first is 1.
    strides: Vec<u64>,
}

impl Domain {
    pub fn new(extents: &[u64]) -> Domain {
        Domain { axes: extents.iter().map(|&extent| Split { extent, strides: vec![1] }).collect() }
    }

    /// The extents of all parts of the logical axes `range`, outermost first. Axes of extent 1 have none.
    pub fn extents(&self, range: std::ops::Range<usize>) -> Vec<u64> {
        self.axes[range].iter().flat_map(Split::parts).collect()
    }

    pub fn all_extents(&self) -> Vec<u64> {
        self.extents(0..self.axes.len())
    }

    /// The position on each logical axis as an index over the parts.
    pub fn coords(&self) -> Coords {
        let mut next = 0u32;
        let mut out = Coords::new();
        for axis in &self.axes {
            let parts = axis.parts();
            let mut index = Index::default();
            for (k, _) in parts.iter().enumerate() {
                let stride = axis.strides[parts.len() - 1 - k];
                index.add_term(stride as i64, Atom::Axis(AxisId(next + k as u32)));
            }
            next += parts.len() as u32;
            out.push(index);
        }
        out
    }

    /// Splits axes where that removes quotients among `indices`. False if nothing was to be split.
    pub fn split_for(&mut self, indices: &[Index]) -> bool {
        let mut changed = false;
        for index in indices {
            let mut cuts = vec![];
            index.visit(&mut |atom| cuts.extend(cut_points(atom)));
            for (axis, at) in cuts {
                changed |= self.cut(axis, at);
            }
        }
        changed
    }

    /// Cuts a part so that its inner piece has extent `at`.
    fn cut(&mut self, part: AxisId, at: u64) -> bool {
        let mut first = 0;
        for axis in &mut self.axes {
            let parts = axis.parts();
            if part.ix() < first + parts.len() {
                let stride = axis.strides[parts.len() - 1 - (part.ix() - first)].saturating_mul(at);
                return axis.cut(stride);
            }
            first += parts.len();
        }
        false
    }
}

impl Split {
    fn parts(&self) -> Vec<u64> {
        if self.extent == 1 {
            return vec![];
        }
        let mut parts: Vec<u64> = self.strides.windows(2).map(|w| w[1] / w[0]).collect();
        parts.push(self.extent / self.strides[self.strides.len() - 1]);
        parts.reverse();
        parts
    }

    /// Adds a stride if it keeps the divisibility chain.
    fn cut(&mut self, stride: u64) -> bool {
        let at = self.strides.partition_point(|&s| s < stride);
        let below = self.strides[at - 1];
        let above = self.strides.get(at).copied().unwrap_or(self.extent);
        if stride >= above || !stride.is_multiple_of(below) || !above.is_multiple_of(stride) {
            return false;
        }
        self.strides.insert(at, stride);
        true
    }
}

/// The (axis part, inner extent) whose splitting would help to dissolve a quotient: each boundary (`div`,
/// `div * modulo`) falls inside an axis whose coefficient divides it.
fn cut_points(atom: &Atom) -> Vec<(AxisId, u64)> {
    let Atom::Quot { of, div, modulo } = atom else { return vec![] };
    let boundaries = [Some(*div), modulo.and_then(|m| m.checked_mul(*div))];
    let mut out = vec![];
    for boundary in boundaries.into_iter().flatten() {
        for (coef, atom) in &of.terms {
            if let (Atom::Axis(a), Ok(c)) = (atom, u64::try_from(*coef))
                && c < boundary
                && boundary.is_multiple_of(c)
            {
                out.push((*a, boundary / c));
            }
        }
    }
    out
}

/// Builds over `extents`, splitting axes until that dissolves no more quotients. `build` returns its result
/// and the indices in which quotients are left.
///
/// # Errors
/// Those of `build`.
pub fn refined<T>(
    extents: &[u64],
    mut build: impl FnMut(&Domain) -> Result<(T, Vec<Index>), Diagnostic>,
) -> Result<T, Diagnostic> {
    let mut domain = Domain::new(extents);
    // Each round adds at least one cut; chains of prime factors bound them, this bounds odd cases.
    for _ in 0..16 {
        let (built, quotients) = build(&domain)?;
        if !domain.split_for(&quotients) {
            return Ok(built);
        }
    }
    Ok(build(&domain)?.0)
}

#[cfg(test)]
mod tests {
    use super::super::coords::{quot, reshape};
    use super::*;

    #[test]
    fn split_axes_dissolve_quotients() {
        let mut domain = Domain::new(&[24, 7]);
        let c = domain.coords();
        let split = reshape(&c, &[24, 7], &[2, 3, 4, 7], &domain.all_extents());
        assert!(split.iter().any(|i| !i.is_affine()));
        while domain.split_for(&reshape(&domain.coords(), &[24, 7], &[2, 3, 4, 7], &domain.all_extents())) {}
        assert_eq!(domain.all_extents(), [2, 3, 4, 7]);
        let split = reshape(&domain.coords(), &[24, 7], &[2, 3, 4, 7], &domain.all_extents());
        assert!(split.iter().all(Index::is_affine), "{split:?}");
    }

    #[test]
    fn what_is_no_divisor_stays_a_quotient() {
        let mut domain = Domain::new(&[10]);
        let q = quot(&domain.coords()[0], 4, None, &domain.all_extents());
        assert!(!domain.split_for(&[q]));
        assert_eq!(domain.all_extents(), [10]);
    }

    #[test]
    fn unit_axes_have_no_parts() {
        let domain = Domain::new(&[1, 3, 1]);
        assert_eq!(domain.all_extents(), [3]);
        assert_eq!(domain.coords()[0], Index::default());
    }
}
