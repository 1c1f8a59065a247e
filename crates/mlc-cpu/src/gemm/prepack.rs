//! Operands that many tiles read are packed once, by a phase before the tiles, into memory that the whole call shares.
//!
//! A packed operand is, for each product of the batch and each chunk of k, all its groups one after another: a tile's
//! worth of rows, or a panel of lanes, of all steps of the chunk. What is packed and by which unit of the phase never
//! shows in a result.

use super::Matrix;
use super::lanes::Element;
use super::micro::{Micro, Shape};
use super::pack::{Groups, pack_lanes, pack_rows};
use super::tile::steps;

/// How one operand is packed.
#[derive(Debug, Clone, Copy)]
pub struct Prepack {
    /// Bytes from the start of the shared memory.
    offset: usize,
    /// Lanes, not rows.
    pub lanes: bool,
    /// Rows or lanes, and as many with those that fill the last group.
    own: usize,
    pub padded: usize,
    /// Rows or lanes of a unit: whole groups.
    part: usize,
    batch: usize,
    k: usize,
}

/// What one unit of the phase packs.
#[derive(Debug, Clone, Copy)]
pub struct Unit {
    pub batch: usize,
    /// The first step of k, and how many.
    pub k: [usize; 2],
    /// The first row or lane, and how many.
    pub own: [usize; 2],
}

/// Elements of a unit, about: some ten microseconds.
const UNIT: usize = 64 << 10;

impl Prepack {
    pub fn new<T>(shape: &Shape<T>, lanes: bool, own: usize, batch: usize, k: usize) -> Prepack {
        let group = if lanes { shape.lanes } else { shape.rows() };
        let part = (UNIT / steps().min(k).max(1)).next_multiple_of(group);
        Prepack { offset: 0, lanes, own, padded: own.next_multiple_of(group), part, batch, k }
    }

    /// The same, so many bytes from the start of the shared memory.
    pub fn at(self, offset: usize) -> Prepack {
        Prepack { offset, ..self }
    }

    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Elements of all packed products.
    pub fn elements(&self) -> usize {
        self.batch * self.product()
    }

    fn product(&self) -> usize {
        self.padded * self.k
    }

    fn parts(&self) -> usize {
        self.own.div_ceil(self.part)
    }

    pub fn units(&self) -> usize {
        self.batch * self.k.div_ceil(steps()) * self.parts()
    }

    pub fn unit(&self, i: usize) -> Unit {
        let (chunks, parts) = (self.k.div_ceil(steps()), self.parts());
        let (k, own) = (i / parts % chunks * steps(), i % parts * self.part);
        Unit {
            batch: i / parts / chunks,
            k: [k, steps().min(self.k - k)],
            own: [own, self.part.min(self.own - own)],
        }
    }

    /// Packs a unit of `product`, the unit's product of the batch, of which `shape` is the tiles'.
    ///
    /// # Safety
    /// The machine has the micro-kernels' instruction set; the product has the unit's elements; `to` has room for all
    /// that is packed.
    pub unsafe fn pack<T: Element>(
        &self,
        u: &Unit,
        product: Matrix<T>,
        to: *mut T,
        (micro, shape): (&Micro<T>, &Shape<T>),
    ) {
        let (from, kc) = (product.shifted(u.own[0], u.k[0]), u.k[1]);
        // SAFETY: the place is the unit's own, in what is packed; the caller's promise for the rest.
        unsafe {
            let to = to.add(self.of(u.batch) + u.k[0] * self.padded + u.own[0] * kc);
            if self.lanes {
                let to = Groups { to, width: shape.lanes, apart: kc };
                pack_lanes(from, u.own[1], kc, to, micro, shape.copies[0]);
            } else {
                let to = Groups { to, width: shape.rows(), apart: kc };
                pack_rows(from, u.own[1], kc, to, shape.copies[1]);
            }
        }
    }

    /// Where a product's elements begin.
    pub fn of(&self, batch: usize) -> usize {
        batch * self.product()
    }
}
