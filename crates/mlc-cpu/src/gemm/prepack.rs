//! Operands that many tiles read are packed once, by a phase before the tiles, into memory that the whole call shares.
//!
//! A packed operand is, for each product of the batch and each chunk of k, all its groups one after another: a tile's
//! worth of rows, or a panel of lanes, of all steps of the chunk. What is packed and by which unit of the phase never
//! shows in a result.

use super::micro::Shape;
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

    /// Where a unit's elements go.
    pub fn place(&self, u: &Unit) -> usize {
        self.of(u.batch) + u.k[0] * self.padded + u.own[0] * u.k[1]
    }

    /// Where a product's elements begin.
    pub fn of(&self, batch: usize) -> usize {
        batch * self.product()
    }
}
