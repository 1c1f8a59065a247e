//! One tile of a product: operands brought to panels, chunk by chunk of k, and multiplied.
//!
//! ```text
//! for each chunk of k {
//!   rows: where they lie, or packed (the tile's rows x 256);  lanes perhaps too
//!   for each panel of lanes { lanes: where they lie, or packed (16 x 256);  for each group of rows { micro-kernel } }
//! }
//! ```
//! Packed rows are contiguous along k, or in groups of as many as a micro-kernel takes, each contiguous across rows;
//! packed lanes are panels.
//!
//! Missing lanes of a panel are zeros whose products nobody reads; k is never padded.

use mlc_ir::loops::KC;
use mlc_ir::mutate::{Mutation, on};

use super::lanes::Element;
use super::micro::{Micro, Shape, Step, TURNED_UNITS};
use super::pack::{Groups, copy_across, copy_along_k, pack_lanes, pack_panel, pack_rows};
use super::{Matrix, MatrixMut};

/// Longest chunk of k.
pub const CHUNK: usize = KC as usize;

/// How many steps of k are summed before the sum is added to the outputs.
pub fn steps() -> usize {
    if on(Mutation::ShortSums) { CHUNK - 1 } else { CHUNK }
}

/// Where an operand's elements come from. Rows are along m or n, columns along k, from the tile's first row.
#[derive(Clone, Copy)]
pub enum Source<'a, T> {
    Memory(Matrix<T>),
    Pieces(Pieces<'a, T>),
    Packed(Packed<T>),
    Code(&'a dyn Fill<T>),
}

/// An operand that was packed as a whole: see [`super::prepack`].
#[derive(Debug, Clone, Copy)]
pub struct Packed<T> {
    /// The product's first element.
    pub base: *const T,
    /// Rows or lanes of the product, with those that fill the last group.
    pub padded: usize,
    /// The tile's first.
    pub first: usize,
    /// Rows only: contiguous along k, not across.
    pub along_k: bool,
}

impl<T> Packed<T> {
    /// The group from row or lane `i` of the tile, of the chunk of `kc` steps from `p`.
    fn at(&self, i: usize, p: usize, kc: usize) -> *const T {
        self.base.wrapping_add(p * self.padded + (self.first + i) * kc)
    }
}

/// Code that evaluates elements of an operand.
pub trait Fill<T> {
    /// Whether rows come contiguous along k and a chunk apart; else contiguous across rows.
    fn along_k(&self) -> bool;

    /// Writes rows `row .. row + count`, columns `k .. k + kc`. If they do not come along k, columns are a micro-kernel's
    /// rows or a panel's lanes apart, and there are no more rows.
    ///
    /// # Safety
    /// There is room, and the operand has these elements.
    unsafe fn fill(&self, row: usize, count: usize, k: usize, kc: usize, to: *mut T);
}

/// An operand in memory whose rows or columns lie in runs: several axes that do not merge.
#[derive(Clone, Copy)]
pub struct Pieces<'a, T> {
    /// The position 0.
    pub base: *const T,
    pub axes: &'a PieceAxes,
    /// The tile's first row.
    pub first: usize,
}

/// Axes of rows and of columns, outermost first; there is at least one of each.
#[derive(Debug, Clone)]
pub struct PieceAxes {
    pub rows: Vec<PieceAxis>,
    pub cols: Vec<PieceAxis>,
}

#[derive(Debug, Clone, Copy)]
pub struct PieceAxis {
    pub extent: usize,
    pub stride: isize,
}

impl PieceAxes {
    /// Whether columns are contiguous, so that copies go along them.
    pub fn along_k(&self) -> bool {
        self.cols.last().is_some_and(|a| a.stride == 1)
    }
}

impl<T: Copy> Pieces<'_, T> {
    /// Calls `f` for the matrices that rows `row .. row + count`, columns `k .. k + kc` consist of, with their first row
    /// and column, counted from `row` and `k`, and their extents.
    #[inline(always)]
    fn each(
        &self,
        [row, count]: [usize; 2],
        [k, kc]: [usize; 2],
        mut f: impl FnMut(Matrix<T>, [usize; 2], [usize; 2]),
    ) {
        let mut r = 0;
        while r < count {
            let (row_at, row_stride, rows) = run(&self.axes.rows, self.first + row + r, count - r);
            let mut p = 0;
            while p < kc {
                let (col_at, col_stride, cols) = run(&self.axes.cols, k + p, kc - p);
                let base = self.base.wrapping_offset(row_at + col_at);
                f(Matrix { base, row: row_stride, col: col_stride }, [r, p], [rows, cols]);
                p += cols;
            }
            r += rows;
        }
    }
}

/// Where the position `at` is, and how many positions from it on, at most `most`, are one stride apart.
#[inline(always)]
fn run(axes: &[PieceAxis], at: usize, most: usize) -> (isize, isize, usize) {
    let Some((inner, outer)) = axes.split_last() else { return (0, 0, most) };
    let (mut rest, i) = (at / inner.extent, at % inner.extent);
    let mut offset = i as isize * inner.stride;
    for a in outer.iter().rev() {
        offset += (rest % a.extent) as isize * a.stride;
        rest /= a.extent;
    }
    (offset, inner.stride, most.min(inner.extent - i))
}

/// How an operand reaches the micro-kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Read where it lies. Lanes: where a whole panel is there.
    InPlace,
    /// Lanes only: each panel is packed just before it is used.
    Panel,
    /// The tile's share of a chunk is packed at once.
    Block,
    /// All of it was packed before the first tile.
    Whole,
}

/// The order of a tile's loops and the reach of its operands. No result shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileForm {
    /// Most rows and lanes of a tile.
    pub rows: usize,
    pub lanes: usize,
    /// Few rows: the wide micro-kernels.
    pub wide: bool,
    /// Panels go to micro-kernels that transpose them on the way, if their lanes come out even: [`Micro::turned`] of this position.
    pub turned: Option<usize>,
    pub row_reach: Reach,
    pub lane_reach: Reach,
    /// Panels outside of chunks, so that each panel's memory is read in one go. Nothing may be packed in blocks.
    pub panels_first: bool,
}

/// Where the parts of a tile's working memory start, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TileRoom {
    rows: usize,
    /// A panel, or all.
    lanes: usize,
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
        let rows = take(if self.row_reach == Reach::Block { self.rows * CHUNK } else { 0 });
        let lanes = take(CHUNK * if self.lane_reach == Reach::Block { self.lanes } else { shape.lanes });
        let (raw, edge) = (take(shape.lanes * CHUNK), take(shape.lanes * shape.rows()));
        TileRoom { rows, lanes, raw, edge, total: room.total }
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
    /// From one group of rows to the next, by rows.
    step: isize,
    /// As a micro-kernel's.
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
                    for p in (0..k).step_by(steps()) {
                        self.panel(self.rows_at(p), j, p);
                    }
                }
            } else {
                for p in (0..k).step_by(steps()) {
                    let rows = self.rows_at(p);
                    if self.form.lane_reach == Reach::Block {
                        self.pack_lanes(p, steps().min(k - p));
                    }
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
        let kc = steps().min(k - p);
        let lanes = shape.lanes.min(lane_count - j);
        let turned = self.form.turned.filter(|&i| lanes.is_multiple_of(TURNED_UNITS[i]));
        // SAFETY: the caller's promises; the edge has room for a micro-kernel's whole output.
        unsafe {
            let (tiles, panel, whole) = match (self.lanes, turned) {
                (Source::Memory(m), Some(i)) => {
                    (self.micro.turned[i], Panel { base: m.at(j, p), stride: m.row }, true)
                }
                _ => {
                    let whole = lanes == shape.lanes || self.padded;
                    (shape.tiles, self.lanes_at(j, lanes, p, kc), whole)
                }
            };
            let edge = self.room.add(self.form.room(self.micro).edge);
            for i in (0..row_count).step_by(shape.rows()) {
                let count = shape.rows().min(row_count - i);
                let out = if whole { self.out.at(i, j) } else { edge };
                let step = Step {
                    kc,
                    rows: rows.base.offset(i as isize * rows.step),
                    row_stride: rows.stride,
                    lanes: panel.base,
                    lane_stride: panel.stride,
                    out,
                    out_stride: if whole { self.out.row } else { shape.lanes as isize },
                    lane_count: lanes,
                    first: !whole || p == 0,
                };
                (tiles[count - 1][usize::from(rows.along_k)])(&step);
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
        let kc = steps().min(k - p);
        let Shape { copies, tiles, .. } = self.form.shape(self.micro);
        let group = tiles.len();
        // SAFETY: the block has room for the form's rows by a chunk.
        unsafe {
            let to = self.room.add(self.form.room(self.micro).rows);
            if let Source::Memory(m) = self.rows
                && self.form.row_reach == Reach::InPlace
            {
                let along_k = m.col == 1 && self.extents[0] > 1;
                let (step, stride) = if along_k { (m.row, m.row) } else { (1, m.col) };
                return Rows { base: m.at(0, p), step, stride, along_k };
            }
            if let Source::Packed(packed) = self.rows {
                let along_k = packed.along_k;
                let stride = if along_k { kc } else { group };
                let base = packed.at(0, p, kc);
                return Rows { base, step: kc as isize, stride: stride as isize, along_k };
            }
            let along_k = match self.rows {
                Source::Memory(m) => m.row != 1,
                Source::Pieces(pieces) => pieces.axes.along_k(),
                Source::Code(code) => code.along_k(),
                Source::Packed(packed) => packed.along_k,
            };
            match self.rows {
                Source::Memory(m) => {
                    let to = Groups { to, width: group, apart: CHUNK };
                    pack_rows(m.shifted(0, p), count, kc, to, copies[1]);
                }
                Source::Packed(_) => {}
                Source::Pieces(pieces) if along_k => {
                    pieces.each([0, count], [p, kc], |m, [i, q], [count, kc]| {
                        copy_along_k(m, count, kc, to.add(i * CHUNK + q), CHUNK);
                    });
                }
                Source::Pieces(pieces) => {
                    for g in (0..count).step_by(group) {
                        let to = to.add(g * CHUNK);
                        pieces.each([g, group.min(count - g)], [p, kc], |m, [i, q], [count, kc]| {
                            copy_across(m, count, kc, to.add(q * group + i), group);
                        });
                    }
                }
                Source::Code(code) if along_k => code.fill(0, count, p, kc, to),
                Source::Code(code) => {
                    for i in (0..count).step_by(group) {
                        code.fill(i, group.min(count - i), p, kc, to.add(i * CHUNK));
                    }
                }
            }
            let stride = if along_k { CHUNK } else { group };
            Rows { base: to, step: CHUNK as isize, stride: stride as isize, along_k }
        }
    }

    /// Packs all panels of the chunk from `p`; lanes are contiguous in memory.
    unsafe fn pack_lanes(&self, p: usize, kc: usize) {
        let Source::Memory(m) = self.lanes else { return };
        let Shape { lanes: width, copies, .. } = self.form.shape(self.micro);
        // SAFETY: the block has room for the form's lanes by a chunk.
        unsafe {
            let to = self.room.add(self.form.room(self.micro).lanes);
            let to = Groups { to, width, apart: CHUNK };
            pack_lanes(m.shifted(0, p), self.extents[1], kc, to, self.micro, copies[0]);
        }
    }

    /// `count` lanes from `j` for the chunk from `p`.
    unsafe fn lanes_at(&self, j: usize, count: usize, p: usize, kc: usize) -> Panel<T> {
        let width = self.form.shape(self.micro).lanes;
        // SAFETY: the room holds a panel, or all panels of the tile.
        unsafe {
            let to = self.room.add(self.form.room(self.micro).lanes);
            match (self.form.lane_reach, self.lanes) {
                (Reach::InPlace, Source::Memory(m)) if count == width => {
                    return Panel { base: m.at(j, p), stride: m.col };
                }
                (_, Source::Packed(packed)) => {
                    return Panel { base: packed.at(j, p, kc), stride: width as isize };
                }
                (Reach::Block, _) => return Panel { base: to.add(j * CHUNK), stride: width as isize },
                _ => self.pack_panel(j, count, p, kc, to),
            }
            Panel { base: to, stride: width as isize }
        }
    }

    /// Packs a panel of `count` lanes from `j`; missing lanes are zeros.
    unsafe fn pack_panel(&self, j: usize, count: usize, p: usize, kc: usize, to: *mut T) {
        let width = self.form.shape(self.micro).lanes;
        // SAFETY: the panel and the raw panel have room for the shape's lanes by a chunk.
        unsafe {
            if count < width {
                for i in 0..width * kc {
                    *to.add(i) = T::ZERO;
                }
            }
            match self.lanes {
                Source::Memory(m) => pack_panel(self.micro, m.shifted(j, p), count, kc, to, width),
                Source::Packed(_) => {}
                Source::Pieces(pieces) => pieces.each([j, count], [p, kc], |m, [i, q], [count, kc]| {
                    let to = to.add(q * width + i);
                    if m.col == 1 {
                        (self.micro.transpose)(m.base, m.row, count, kc, to, width);
                    } else {
                        copy_across(m, count, kc, to, width);
                    }
                }),
                Source::Code(code) if code.along_k() => {
                    let raw = self.room.add(self.form.room(self.micro).raw);
                    code.fill(j, count, p, kc, raw);
                    (self.micro.transpose)(raw, CHUNK as isize, count, kc, to, width);
                }
                Source::Code(code) => code.fill(j, count, p, kc, to),
            }
        }
    }
}
