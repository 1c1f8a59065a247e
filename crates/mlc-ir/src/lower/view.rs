//! Views: ops that only rename positions.

use super::coords::{self, Coords};
use super::{Lower, Rule, View};
use crate::loops::Index;
use crate::op::{Broadcast, Flip, Reshape, Slice, Transpose};

/// A stretched axis is read at 0.
impl View for Broadcast {
    fn coords(&self, from: &[u64], _: &[u64], coords: &[Index], _: &[u64]) -> Coords {
        let pick = |(&axis, &extent): (&usize, &u64)| match extent {
            1 => Index::default(),
            _ => coords[axis].clone(),
        };
        self.axes.iter().zip(from).map(pick).collect()
    }

    fn inverse(&self, from: &[u64], to: &[u64], coords: &[Index], _: &[u64]) -> Option<Coords> {
        let repeats = (0..to.len()).any(|a| {
            let source = self.axes.iter().position(|&x| x == a).map_or(1, |i| from[i]);
            source != to[a]
        });
        let place = |a: usize| self.axes.iter().position(|&x| x == a).map(|i| coords[i].clone());
        (!repeats).then(|| (0..to.len()).map(|a| place(a).unwrap_or_default()).collect())
    }
}

impl View for Reshape {
    fn coords(&self, from: &[u64], to: &[u64], coords: &[Index], extents: &[u64]) -> Coords {
        coords::reshape(coords, to, from, extents)
    }

    fn inverse(&self, from: &[u64], to: &[u64], coords: &[Index], extents: &[u64]) -> Option<Coords> {
        Some(coords::reshape(coords, from, to, extents))
    }

    fn renames(&self) -> bool {
        true
    }
}

impl View for Transpose {
    fn coords(&self, from: &[u64], _: &[u64], coords: &[Index], _: &[u64]) -> Coords {
        let mut out: Coords = from.iter().map(|_| Index::default()).collect();
        for (c, &axis) in coords.iter().zip(&self.perm) {
            out[axis] = c.clone();
        }
        out
    }

    fn inverse(&self, _: &[u64], _: &[u64], coords: &[Index], _: &[u64]) -> Option<Coords> {
        Some(self.perm.iter().map(|&axis| coords[axis].clone()).collect())
    }
}

impl View for Slice {
    fn coords(&self, _: &[u64], _: &[u64], coords: &[Index], _: &[u64]) -> Coords {
        let start = |i: usize| self.starts.get(i).and_then(|d| d.as_const()).unwrap_or(0);
        coords
            .iter()
            .zip(&self.steps)
            .enumerate()
            .map(|(i, (c, &s))| c.clone().scale(s).plus(start(i)))
            .collect()
    }

    /// A slice with all elements leaves each where it is, whatever its step says about an axis of one.
    fn inverse(&self, from: &[u64], to: &[u64], coords: &[Index], _: &[u64]) -> Option<Coords> {
        (from == to).then(|| coords.into())
    }
}

impl View for Flip {
    fn coords(&self, from: &[u64], _: &[u64], coords: &[Index], _: &[u64]) -> Coords {
        let flip = |(axis, (c, &extent)): (usize, (&Index, &u64))| match self.axes.contains(&axis) {
            true => c.clone().scale(-1).plus(extent as i64 - 1),
            false => c.clone(),
        };
        coords.iter().zip(from).enumerate().map(flip).collect()
    }

    fn inverse(&self, from: &[u64], to: &[u64], coords: &[Index], extents: &[u64]) -> Option<Coords> {
        Some(self.coords(from, to, coords, extents))
    }
}

macro_rules! view {
    ($($op:ident)*) => {
        $(impl Lower for $op {
            fn rule(&self) -> Rule<'_> {
                Rule::View(self)
            }
        })*
    };
}
view! { Broadcast Reshape Transpose Slice Flip }
