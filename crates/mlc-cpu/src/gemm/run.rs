//! Chunks of a contraction on one thread.

use std::ops::Range;

use mlc_runtime::exec::Workspace;

use super::boxes::{Group, for_boxes};
use super::kernel::{Out, Parts, Side};
use super::lanes::Element;
use super::micro::Micro;
use super::operand::View;
use super::prepack::Prepack;
use super::tile::{CHUNK, Fill, Packed, Pieces, Source, Tile};
use super::{Matrix, MatrixMut};
use crate::features::CpuFeatures;
use crate::kernel::call;
use crate::store::Function;

/// A run of some chunks.
pub struct Run<'k, T: Element> {
    parts: &'k Parts,
    functions: &'k [Function],
    cpu: CpuFeatures,
    micro: Micro<T>,
    args: *const *mut u8,
    /// The thread's working memory, as the parts' layout divides it.
    own: *mut u8,
    /// What is packed before the tiles.
    shared: *mut u8,
}

/// What one chunk computes.
struct Place {
    batch: u64,
    m: Range<u64>,
    n: Range<u64>,
}

impl<'k, T: Element> Run<'k, T> {
    /// # Safety
    /// As [`mlc_runtime::exec::HostKernel::run`]; the functions are the parts' units.
    pub unsafe fn new(
        parts: &'k Parts,
        functions: &'k [Function],
        cpu: CpuFeatures,
        args: *const *mut u8,
        memory: Workspace,
    ) -> Run<'k, T> {
        let own = memory.own;
        if !functions.is_empty() {
            // SAFETY: the layout has room for the arguments and three more; there is a fault record if `faults`.
            unsafe {
                let table: *mut *mut u8 = own.add(parts.layout.table).cast();
                std::ptr::copy_nonoverlapping(args, table, parts.args);
                table.add(parts.args + 1).write(own.add(parts.layout.bounds));
                if parts.faults {
                    table.add(parts.args + 2).write(*args.add(parts.args));
                }
            }
        }
        Run { parts, functions, cpu, micro: T::micro(cpu.level), args, own, shared: memory.shared }
    }

    /// Packs a unit of an operand that tiles share.
    ///
    /// # Safety
    /// As [`mlc_runtime::exec::HostKernel::run`].
    pub unsafe fn pack(&self, unit: usize) {
        let mut unit = unit;
        for (side, packed) in self.parts.prepack.iter().enumerate() {
            let Some(packed) = packed else { continue };
            if unit >= packed.units() {
                unit -= packed.units();
                continue;
            }
            let (u, shape) = (packed.unit(unit), self.parts.blocking.form.shape(&self.micro));
            let Side::Plain { arg, view } = &self.parts.sides[side] else { return };
            // SAFETY: bounds are the verifier's L6 and L9; the shared memory has room for both operands.
            unsafe {
                let MatrixMut { base, row, col } = self.matrix(arg.ix(), view, u.batch as u64);
                let to = self.packed(packed, 0);
                packed.pack(&u, Matrix { base, row, col }, to, (&self.micro, &shape));
            }
            return;
        }
    }

    /// An element of a packed operand.
    fn packed(&self, packed: &Prepack, at: usize) -> *mut T {
        self.shared.wrapping_add(packed.offset()).cast::<T>().wrapping_add(at)
    }

    /// Computes a tile and brings it to where it belongs.
    ///
    /// # Safety
    /// As [`mlc_runtime::exec::HostKernel::run`].
    pub unsafe fn tile(&self, chunk: u64) {
        let p = self.parts;
        let place = self.place(chunk);
        let form = &p.blocking.form;
        let [lhs_code, rhs_code] = [0, 1].map(|side| self.code(side, &place));
        // SAFETY: bounds are the verifier's L6 and L9; outputs are no operands (L10); the layout has the rooms.
        unsafe {
            let lhs = self.source(0, &lhs_code, &place);
            let rhs = self.source(1, &rhs_code, &place);
            let count = |r: &Range<u64>| (r.end - r.start) as usize;
            let (m, n, k) = (count(&place.m), count(&place.n), p.extent(2) as usize);
            let block: *mut T = self.own.add(p.layout.block).cast();
            let block = MatrixMut { base: block, row: form.lanes as isize, col: 1 };
            let direct = self.direct(&place);
            let to = direct.filter(|_| p.direct_lanes()).unwrap_or(block);
            let (rows, lanes) = if p.blocking.swapped { (rhs, lhs) } else { (lhs, rhs) };
            let extents = if p.blocking.swapped { [n, m, k] } else { [m, n, k] };
            let room = self.own.add(p.layout.room).cast();
            let padded = !p.direct_lanes();
            Tile { form, micro: &self.micro, extents, rows, lanes, out: to, padded, room }.run();
            match direct {
                Some(_) if p.direct_lanes() => {}
                Some(out) => self.spread(block, out, [extents[0], extents[1]]),
                None => self.epilogue(block, &place),
            }
        }
    }

    fn place(&self, chunk: u64) -> Place {
        let p = self.parts;
        let [row_tiles, lane_tiles] = p.blocking.tiles;
        let (row, lane) = (chunk / lane_tiles % row_tiles, chunk % lane_tiles);
        let range =
            |i: u64, size: usize, axes: usize| i * size as u64..p.extent(axes).min((i + 1) * size as u64);
        let form = &p.blocking.form;
        let batch = chunk / lane_tiles / row_tiles;
        if p.blocking.swapped {
            Place { batch, m: range(lane, form.lanes, 0), n: range(row, form.rows, 1) }
        } else {
            Place { batch, m: range(row, form.rows, 0), n: range(lane, form.lanes, 1) }
        }
    }

    /// The code of an operand, if it has some.
    fn code(&self, side: usize, place: &Place) -> Option<Code<'_, T>> {
        let Side::Code { unit, along_k, width } = self.parts.sides[side] else { return None };
        let first = if side == 0 { place.m.start } else { place.n.start };
        Some(Code { run: self, side, unit, along_k, width, batch: place.batch, first })
    }

    unsafe fn source<'a>(
        &'a self,
        side: usize,
        code: &'a Option<Code<'a, T>>,
        place: &Place,
    ) -> Source<'a, T> {
        let first = if side == 0 { place.m.start } else { place.n.start };
        match (&self.parts.sides[side], code) {
            (Side::Plain { arg, view }, _) => {
                if let Some(packed) = &self.parts.prepack[side] {
                    let base = self.packed(packed, packed.of(place.batch as usize)).cast_const();
                    let (padded, first, along_k) = (packed.padded, first as usize, view.row != 1);
                    return Source::Packed(Packed { base, padded, first, along_k });
                }
                // SAFETY: the caller's promise.
                let m = unsafe { self.matrix(arg.ix(), view, place.batch) };
                Source::Memory(Matrix { base: m.at(first as usize, 0), row: m.row, col: m.col })
            }
            (Side::Pieces { arg, view }, _) => {
                // SAFETY: the caller's promise.
                let base = unsafe { self.batch_at(arg.ix(), view.offset, &view.batch, place.batch) };
                Source::Pieces(Pieces { base, axes: &view.axes, first: first as usize })
            }
            (_, Some(code)) => Source::Code(code),
            (Side::Code { .. }, None) => unreachable!("code of every side that has some"),
        }
    }

    /// Where the tile goes in an argument, rows along the tile's rows.
    unsafe fn direct(&self, place: &Place) -> Option<MatrixMut<T>> {
        let Out::Direct { arg, view } = &self.parts.out else { return None };
        // SAFETY: the caller's promise.
        let m = unsafe { self.matrix(arg.ix(), view, place.batch) };
        let base = m.at(place.m.start as usize, place.n.start as usize);
        Some(if self.parts.blocking.swapped {
            MatrixMut { base, row: m.col, col: m.row }
        } else {
            MatrixMut { base, ..m }
        })
    }

    /// The matrix of one product in an argument.
    unsafe fn matrix(&self, arg: usize, view: &View, batch: u64) -> MatrixMut<T> {
        // SAFETY: the caller's promise.
        let base = unsafe { self.batch_at(arg, view.offset, &view.batch, batch) };
        MatrixMut { base, row: view.row as isize, col: view.col as isize }
    }

    /// The first element of one product in an argument.
    unsafe fn batch_at(&self, arg: usize, offset: i64, strides: &[i64], batch: u64) -> *mut T {
        // SAFETY: the table has the kernel's arguments.
        let base: *mut T = unsafe { *self.args.add(arg) }.cast();
        let mut rest = batch;
        let mut at = offset;
        for (&extent, &stride) in self.parts.batch.iter().zip(strides).rev() {
            at += (rest % extent) as i64 * stride;
            rest /= extent;
        }
        base.wrapping_offset(at as isize)
    }

    /// Copies a tile to where neither rows nor lanes need be contiguous.
    unsafe fn spread(&self, block: MatrixMut<T>, out: MatrixMut<T>, [rows, lanes]: [usize; 2]) {
        // SAFETY: both have the tile's elements.
        unsafe {
            if out.row == 1 {
                return (self.micro.transpose)(
                    block.base,
                    block.row,
                    rows,
                    lanes,
                    out.base,
                    out.col as usize,
                );
            }
            for i in 0..rows {
                for j in 0..lanes {
                    *out.at(i, j) = *block.at(i, j);
                }
            }
        }
    }

    /// Runs the epilogue on a tile.
    unsafe fn epilogue(&self, block: MatrixMut<T>, place: &Place) {
        let p = self.parts;
        let Out::Epilogue { unit, along_m, width } = p.out else { return };
        let group = |axes: usize, range: &Range<u64>| (&p.axes[axes][..], range.clone());
        let batch = (&p.batch[..], place.batch..place.batch + 1);
        let (m, n) = (group(0, &place.m), group(1, &place.n));
        let (outer, inner) = if along_m { (n, m) } else { (m, n) };
        let first = outer.1.start * width as u64 + inner.1.start;
        // SAFETY: the layout has a turned block where lanes are along the outer.
        unsafe {
            let mut product = block.base;
            if p.blocking.swapped != along_m {
                let [rows, lanes] = [&inner, &outer].map(|(_, r)| (r.end - r.start) as usize);
                product = self.own.add(p.layout.turned).cast();
                (self.micro.transpose)(block.base, block.row, rows, lanes, product, width);
            }
            let product = product.wrapping_sub(first as usize);
            self.run_unit(unit, product.cast(), &[batch, outer, inner]);
        }
    }

    /// Runs a unit over ranges of positions. `extra` is its last argument but the box, of the position 0.
    unsafe fn run_unit(&self, unit: usize, extra: *mut u8, groups: &[Group<'_>]) {
        let p = self.parts;
        // SAFETY: the layout has a table and bounds for all axes; the unit's code keeps to its box.
        unsafe {
            let table: *mut *mut u8 = self.own.add(p.layout.table).cast();
            table.add(p.args).write(extra);
            // Units need no working memory: they have no reductions.
            let none = Workspace { shared: std::ptr::null_mut(), own: std::ptr::null_mut() };
            let bounds: *mut [i64; 2] = self.own.add(p.layout.bounds).cast();
            for_boxes(groups, bounds, &mut || call(&self.functions[unit], self.cpu, 0..1, table, none));
        }
    }
}

/// The code of an operand, from the tile's first row on.
struct Code<'r, T: Element> {
    run: &'r Run<'r, T>,
    side: usize,
    unit: usize,
    along_k: bool,
    width: usize,
    batch: u64,
    first: u64,
}

impl<T: Element> Fill<T> for Code<'_, T> {
    fn along_k(&self) -> bool {
        self.along_k
    }

    unsafe fn fill(&self, row: usize, count: usize, k: usize, kc: usize, to: *mut T) {
        let p = self.run.parts;
        let first = self.first + row as u64;
        let at = if self.along_k { first as usize * CHUNK + k } else { first as usize + k * self.width };
        let own = (&p.axes[self.side][..], first..first + count as u64);
        let chunk = (&p.axes[2][..], k as u64..(k + kc) as u64);
        let batch = (&p.batch[..], self.batch..self.batch + 1);
        let groups = if self.along_k { [batch, own, chunk] } else { [batch, chunk, own] };
        // SAFETY: the caller's promise.
        unsafe { self.run.run_unit(self.unit, to.wrapping_sub(at).cast(), &groups) }
    }
}
