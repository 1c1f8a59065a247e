//! One tile of a product: operands brought to panels, chunk by chunk of k, and multiplied.
//!
//! ```text
//! for each chunk of k {
//!   rows: where they lie, or copied (the tile's rows x 256)
//!   for each panel of lanes { lanes: where they lie, or copied (16 x 256);  for each group of rows { micro-kernel } }
//! }
//! ```
//! Missing lanes of a panel are zeros whose products nobody reads; k is never padded.

use mlc_ir::loops::KC;

use super::lanes::Element;
use super::micro::{Micro, Shape, Step};
use super::{Matrix, MatrixMut};

/// Longest chunk of k.
pub const CHUNK: usize = KC as usize;

/// Where an operand's elements come from. Rows are along m or n, columns along k, from the tile's first row.
#[derive(Clone, Copy)]
pub enum Source<'a, T> {
    Memory(Matrix<T>),
    Code(&'a dyn Fill<T>),
}

/// Code that evaluates elements of an operand.
pub trait Fill<T> {
    /// Whether rows come contiguous along k and a chunk apart; else contiguous across rows.
    fn along_k(&self) -> bool;

    /// Writes rows `row .. row + count`, columns `k .. k + kc`. Columns of rows that do not come along k are `width`
    /// apart: [`TileShape::rows`] or a panel's lanes.
    ///
    /// # Safety
    /// There is room, and the operand has these elements.
    unsafe fn fill(&self, row: usize, count: usize, k: usize, kc: usize, to: *mut T);
}

/// How an operand reaches the micro-kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Read where it lies. Lanes: where a whole panel is there.
    InPlace,
    /// Copied just before it is used.
    Copied,
}

/// The order of a tile's loops and the reach of its operands. No result shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileForm {
    /// Most rows and lanes of a tile.
    pub rows: usize,
    pub lanes: usize,
    /// Few rows: the wide micro-kernels.
    pub wide: bool,
    pub row_reach: Reach,
    pub lane_reach: Reach,
    /// Panels outside of chunks, so that each panel's memory is read in one go. Rows must be in place.
    pub panels_first: bool,
}

/// Where the parts of a tile's working memory start, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TileRoom {
    rows: usize,
    panel: usize,
    /// A panel before it is transposed.
    raw: usize,
    /// A micro-kernel's output of which some lanes are missing.
    edge: usize,
    pub total: usize,
}

impl TileForm {
    pub fn shape<T: Copy>(&self, micro: &Micro<T>) -> Shape<T> {
        if self.wide { micro.wide } else { micro.tall }
    }

    /// Working memory for elements of `size` bytes; every part starts at a cache line.
    pub fn room<T: Copy>(&self, micro: &Micro<T>) -> TileRoom {
        let shape = self.shape(micro);
        let mut room = TileRoom::default();
        let mut take = |elements: usize| {
            let at = room.total;
            room.total += elements.next_multiple_of(64);
            at
        };
        let rows = if self.row_reach == Reach::Copied { self.rows * CHUNK } else { 0 };
        let (rows, panel) = (take(rows), take(shape.lanes * CHUNK));
        let (raw, edge) = (take(shape.lanes * CHUNK), take(shape.lanes * shape.rows()));
        TileRoom { rows, panel, raw, edge, total: room.total }
    }
}

/// A tile to compute.
#[derive(Clone, Copy)]
pub struct Tile<'a, T: 'static> {
    pub form: &'a TileForm,
    pub micro: &'a Micro<T>,
    /// Rows, lanes and k.
    pub extents: [usize; 3],
    pub rows: Source<'a, T>,
    pub lanes: Source<'a, T>,
    /// Lanes are contiguous.
    pub out: MatrixMut<T>,
    /// Whether the output has room for whole panels.
    pub padded: bool,
    /// [`TileRoom::total`] elements.
    pub room: *mut T,
}

/// Rows as a micro-kernel takes them.
#[derive(Clone, Copy)]
struct Rows<T> {
    base: *const T,
    stride: isize,
    along_k: bool,
}

/// Lanes as a micro-kernel takes them.
#[derive(Clone, Copy)]
struct Panel<T> {
    base: *const T,
    stride: isize,
}

impl<T: Element> Tile<'_, T> {
    /// Computes the tile.
    ///
    /// # Safety
    /// The machine has the micro-kernels' instruction set; operands, output and working memory are valid for the
    /// extents and do not overlap.
    pub unsafe fn run(&self) {
        let [_, lanes, k] = self.extents;
        let width = self.form.shape(self.micro).lanes;
        // SAFETY: panels and chunks lie within the extents.
        unsafe {
            if k == 0 {
                return self.clear();
            }
            if self.form.panels_first {
                for j in (0..lanes).step_by(width) {
                    for p in (0..k).step_by(CHUNK) {
                        self.panel(self.rows_at(p), j, p);
                    }
                }
            } else {
                for p in (0..k).step_by(CHUNK) {
                    let rows = self.rows_at(p);
                    for j in (0..lanes).step_by(width) {
                        self.panel(rows, j, p);
                    }
                }
            }
        }
    }

    /// A sum of nothing.
    unsafe fn clear(&self) {
        for i in 0..self.extents[0] {
            for j in 0..self.extents[1] {
                // SAFETY: within the output.
                unsafe { *self.out.at(i, j) = T::ZERO }
            }
        }
    }

    /// All rows by the panel from lane `j`, for the chunk from `p`.
    unsafe fn panel(&self, rows: Rows<T>, j: usize, p: usize) {
        let [row_count, lane_count, k] = self.extents;
        let shape = self.form.shape(self.micro);
        let kc = CHUNK.min(k - p);
        let lanes = shape.lanes.min(lane_count - j);
        let whole = lanes == shape.lanes || self.padded;
        // SAFETY: the caller's promises; the edge has room for a micro-kernel's whole output.
        unsafe {
            let panel = self.lanes_at(j, lanes, p, kc);
            let edge = self.room.add(self.form.room(self.micro).edge);
            for i in (0..row_count).step_by(shape.rows()) {
                let count = shape.rows().min(row_count - i);
                let out = if whole { self.out.at(i, j) } else { edge };
                let step = Step {
                    kc,
                    rows: rows.base.offset(i as isize * if rows.along_k { rows.stride } else { 1 }),
                    row_stride: rows.stride,
                    lanes: panel.base,
                    lane_stride: panel.stride,
                    out,
                    out_stride: if whole { self.out.row } else { shape.lanes as isize },
                    first: !whole || p == 0,
                };
                (shape.tiles[count - 1][usize::from(rows.along_k)])(&step);
                if !whole {
                    self.merge(edge, shape.lanes, [i, j], [count, lanes], p == 0);
                }
            }
        }
    }

    /// Brings the lanes that exist of a micro-kernel's output to where they belong.
    unsafe fn merge(&self, from: *const T, width: usize, at: [usize; 2], count: [usize; 2], first: bool) {
        for i in 0..count[0] {
            for j in 0..count[1] {
                // SAFETY: within the edge and the output.
                unsafe {
                    let (v, out) = (*from.add(i * width + j), self.out.at(at[0] + i, at[1] + j));
                    *out = if first { v } else { (*out).plus(v) };
                }
            }
        }
    }

    /// The tile's rows for the chunk from `p`.
    unsafe fn rows_at(&self, p: usize) -> Rows<T> {
        let [count, _, k] = self.extents;
        let kc = CHUNK.min(k - p);
        // SAFETY: the block has room for the form's rows by a chunk.
        unsafe {
            let to = self.room.add(self.form.room(self.micro).rows);
            match self.rows {
                Source::Memory(m) if self.form.row_reach == Reach::InPlace => {
                    let along_k = m.col == 1 && count > 1;
                    Rows { base: m.at(0, p), stride: if along_k { m.row } else { m.col }, along_k }
                }
                Source::Memory(m) => {
                    let along_k = m.row != 1;
                    let stride = if along_k { CHUNK } else { self.form.rows };
                    copy(m.shifted(0, p), count, kc, to, stride, along_k);
                    Rows { base: to, stride: stride as isize, along_k }
                }
                Source::Code(code) => {
                    code.fill(0, count, p, kc, to);
                    let along_k = code.along_k();
                    Rows { base: to, stride: if along_k { CHUNK } else { self.form.rows } as isize, along_k }
                }
            }
        }
    }

    /// `count` lanes from `j` for the chunk from `p`.
    unsafe fn lanes_at(&self, j: usize, count: usize, p: usize, kc: usize) -> Panel<T> {
        let width = self.form.shape(self.micro).lanes;
        let room = self.form.room(self.micro);
        // SAFETY: the panel and the raw panel have room for the shape's lanes by a chunk.
        unsafe {
            let (to, raw) = (self.room.add(room.panel), self.room.add(room.raw));
            if let Source::Memory(m) = self.lanes
                && self.form.lane_reach == Reach::InPlace
                && count == width
            {
                return Panel { base: m.at(j, p), stride: m.col };
            }
            if count < width {
                for i in 0..width * kc {
                    *to.add(i) = T::ZERO;
                }
            }
            match self.lanes {
                Source::Memory(m) if m.col == 1 => {
                    (self.micro.transpose)(m.at(j, p), m.row, count, kc, to, width);
                }
                Source::Memory(m) => copy(m.shifted(j, p), count, kc, to, width, false),
                Source::Code(code) if code.along_k() => {
                    code.fill(j, count, p, kc, raw);
                    (self.micro.transpose)(raw, CHUNK as isize, count, kc, to, width);
                }
                Source::Code(code) => code.fill(j, count, p, kc, to),
            }
            Panel { base: to, stride: width as isize }
        }
    }
}

/// Copies `rows` x `kc` elements: rows `stride` apart along k, or columns `stride` apart.
///
/// # Safety
/// `from` has the elements, `to` the room.
unsafe fn copy<T: Copy>(from: Matrix<T>, rows: usize, kc: usize, to: *mut T, stride: usize, along_k: bool) {
    // SAFETY: the caller's promise.
    unsafe {
        if along_k {
            for r in 0..rows {
                let to = to.add(r * stride);
                if from.col == 1 {
                    std::ptr::copy_nonoverlapping(from.at(r, 0), to, kc);
                } else {
                    (0..kc).for_each(|p| *to.add(p) = *from.at(r, p));
                }
            }
        } else {
            for p in 0..kc {
                let to = to.add(p * stride);
                if from.row == 1 {
                    copy_short(from.at(0, p), to, rows);
                } else {
                    (0..rows).for_each(|r| *to.add(r) = *from.at(r, p));
                }
            }
        }
    }
}

/// Copies a few elements, by 32 bytes as long as there are.
///
/// # Safety
/// As [`std::ptr::copy_nonoverlapping`].
#[inline(always)]
unsafe fn copy_short<T: Copy>(from: *const T, to: *mut T, count: usize) {
    let group = 32 / size_of::<T>();
    let full = count / group * group;
    // SAFETY: the caller's promise.
    unsafe {
        for i in (0..full).step_by(group) {
            let v = from.add(i).cast::<[u64; 4]>().read_unaligned();
            to.add(i).cast::<[u64; 4]>().write_unaligned(v);
        }
        for i in full..count {
            *to.add(i) = *from.add(i);
        }
    }
}
