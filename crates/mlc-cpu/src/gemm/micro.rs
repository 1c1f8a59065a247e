//! The innermost product: a tile of accumulators over one chunk of k.
//!
//! A tile has up to R rows and C vectors of *lanes*. In each step of k, one element of each row is broadcast and
//! multiplied with the C vectors: `acc[r][l] = fma(row[r][p], lane[p][l], acc[r][l])`, p ascending from +0. The
//! first chunk sets the outputs, later ones are added: that is R7 for every shape of tile and every width.
//!
//! Rows have unit stride along k (as they lie in a row-major left operand) or across rows (as in a transposed one,
//! or packed); vectors are contiguous along lanes. Either operand may be read where it lies.

use super::lanes::{Array, Element, Lanes, prefetch};
use crate::features::Level;

/// What one call of a micro-kernel multiplies. Strides are in elements.
#[derive(Debug, Clone, Copy)]
pub struct Step<T> {
    /// Steps of k, at most a chunk.
    pub kc: usize,
    pub rows: *const T,
    /// Between rows if they are contiguous along k, else between steps of k.
    pub row_stride: isize,
    pub lanes: *const T,
    /// Between steps of k.
    pub lane_stride: isize,
    pub out: *mut T,
    /// Between rows; lanes are contiguous.
    pub out_stride: isize,
    /// Lanes that there are: all of the tile's but for [`Micro::turned`], which take any multiple of [`TURNED_UNITS`].
    pub lane_count: usize,
    /// Set the outputs instead of adding to them.
    pub first: bool,
}

/// Lanes that the code of each of [`Micro::turned`] takes at once.
pub const TURNED_UNITS: [usize; 2] = [8, 32];

/// # Safety
/// The machine has the code's instruction set; rows, lanes and outputs are there in the tile's full width.
pub type TileFn<T> = unsafe fn(&Step<T>);

/// `copy(from, stride, groups, kc, to, apart)`: for each of `groups` of W elements
/// `to[g * apart + p * W + i] = from[p * stride + g * W + i]`.
///
/// # Safety
/// The machine has the code's instruction set; the elements are there, and the room.
pub type CopyFn<T> = unsafe fn(*const T, isize, usize, usize, *mut T, usize);

/// Micro-kernels of one width, for each count of rows.
#[derive(Debug, Clone, Copy)]
pub struct Shape<T: 'static> {
    /// Lanes of a panel.
    pub lanes: usize,
    /// Copies of groups as wide as a panel, and as the tallest tile.
    pub copies: [CopyFn<T>; 2],
    /// Element r - 1 is for r rows: contiguous across rows, contiguous along k.
    pub tiles: &'static [[TileFn<T>; 2]],
}

impl<T> Shape<T> {
    /// Most rows of a tile.
    pub fn rows(&self) -> usize {
        self.tiles.len()
    }
}

/// `pack(from, stride, rows, kc, to, width)`: `to[p * width + r] = from[r * stride + p]`.
///
/// # Safety
/// The machine has the code's instruction set; the elements are there, and room for `kc` groups of `width`.
pub type TransposeFn<T> = unsafe fn(*const T, isize, usize, usize, *mut T, usize);

/// The code for one element type and level.
#[derive(Debug, Clone, Copy)]
pub struct Micro<T: 'static> {
    /// For many rows.
    pub tall: Shape<T>,
    /// For few rows: wider, so that there are enough independent sums.
    pub wide: Shape<T>,
    /// As `wide` for rows of which each step's lanes are `lane_stride` apart and contiguous along k: for so few rows
    /// that packing a panel would take longer than using it. May be for fewer rows than `wide`, or none. The first are
    /// for lanes that come from memory, in few streams; the second for lanes in the caches, of which more are summed
    /// side by side.
    pub turned: [&'static [[TileFn<T>; 2]]; 2],
    pub transpose: TransposeFn<T>,
}

/// How many steps of k ahead of a copy their memory is asked for: each may be on a page of its own.
const AHEAD: usize = 8;

/// [`CopyFn`] for groups of `W`. Memory is read in the order in which it lies.
///
/// # Safety
/// As [`CopyFn`].
#[inline(always)]
pub unsafe fn copy<T: Copy, const W: usize>(
    from: *const T,
    stride: isize,
    groups: usize,
    kc: usize,
    to: *mut T,
    apart: usize,
) {
    let line = 64 / size_of::<T>();
    for p in 0..kc {
        let from = from.wrapping_offset(p as isize * stride);
        let ahead = from.wrapping_offset(AHEAD as isize * stride);
        for g in 0..groups {
            // Groups shorter than a line ask for it more than once.
            for i in (0..W).step_by(line) {
                prefetch(ahead.wrapping_add(g * W + i));
            }
            // SAFETY: the caller's promise.
            unsafe {
                let group = from.add(g * W).cast::<[T; W]>().read_unaligned();
                to.add(g * apart + p * W).cast::<[T; W]>().write_unaligned(group);
            }
        }
    }
}

/// # Safety
/// As [`TileFn`].
#[inline(always)]
pub unsafe fn tile<V: Lanes, const R: usize, const C: usize, const ALONG_K: bool>(s: &Step<V::T>) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = [[V::zero(); C]; R];
        let mut rows = [s.rows; R];
        for (r, row) in rows.iter_mut().enumerate() {
            *row = s.rows.offset(r as isize * if ALONG_K { s.row_stride } else { 1 });
        }
        for r in 0..R {
            let out = s.out.offset(r as isize * s.out_stride);
            for c in 0..C {
                prefetch(out.add(c * V::N));
            }
            prefetch(out.add(C * V::N - 1));
        }
        let mut lanes = s.lanes;
        // Unrolled by hand: the constants of the addresses then need no arithmetic.
        let mut p = 0;
        while p + 4 <= s.kc {
            for u in 0..4 {
                step::<V, R, C, ALONG_K>(&mut rows, u, s.row_stride, (lanes, s.lane_stride), &mut acc);
                lanes = lanes.offset(s.lane_stride);
            }
            if ALONG_K {
                rows = rows.map(|row| row.add(4));
            }
            p += 4;
        }
        while p < s.kc {
            step::<V, R, C, ALONG_K>(&mut rows, 0, s.row_stride, (lanes, s.lane_stride), &mut acc);
            lanes = lanes.offset(s.lane_stride);
            if ALONG_K {
                rows = rows.map(|row| row.add(1));
            }
            p += 1;
        }
        for (r, sums) in acc.iter().enumerate() {
            for (c, &sum) in sums.iter().enumerate() {
                let out = s.out.offset(r as isize * s.out_stride).add(c * V::N);
                let v = if s.first { sum } else { V::load(out).plus(sum) };
                v.store(out);
            }
        }
    }
}

/// One step of k. Rows that are contiguous along k are read at `at`; others move on.
///
/// # Safety
/// As [`TileFn`].
#[inline(always)]
unsafe fn step<V: Lanes, const R: usize, const C: usize, const ALONG_K: bool>(
    rows: &mut [*const V::T; R],
    at: usize,
    stride: isize,
    (lanes, lane_stride): (*const V::T, isize),
    acc: &mut [[V; C]; R],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut y = [V::zero(); C];
        for (c, y) in y.iter_mut().enumerate() {
            *y = V::load(lanes.add(c * V::N));
            // Few rows take no time in which others' memory could come.
            if R < C {
                prefetch(lanes.wrapping_offset(8 * lane_stride).wrapping_add(c * V::N));
            }
        }
        for (r, sums) in acc.iter_mut().enumerate() {
            // Across rows, one address serves all.
            let x = V::splat(if ALONG_K { rows[r].add(at) } else { rows[0].add(r) });
            for (sum, &y) in sums.iter_mut().zip(&y) {
                *sum = x.fma(y, *sum);
            }
        }
        if !ALONG_K {
            rows[0] = rows[0].offset(stride);
        }
    }
}

/// [`TransposeFn`] for any type, element by element.
///
/// # Safety
/// As [`TransposeFn`].
pub unsafe fn transpose<T: Copy>(
    from: *const T,
    stride: isize,
    rows: usize,
    kc: usize,
    to: *mut T,
    width: usize,
) {
    for p in 0..kc {
        for r in 0..rows {
            // SAFETY: the caller's promise.
            unsafe { *to.add(p * width + r) = *from.offset(r as isize * stride).add(p) }
        }
    }
}

/// The shape with tiles of 1, 2, .. rows (listed), `$c` vectors `$v`, for an instruction set.
macro_rules! shape {
    ($v:ty, $c:literal, [$($r:literal)*] $(, $features:literal)?) => {{
        use $crate::gemm::lanes::Lanes;
        use $crate::gemm::micro::{Shape, Step, copy, tile};
        type Item = <$v as Lanes>::T;
        const LANES: usize = $c * <$v>::N;
        const ROWS: usize = [$($r),*].len();
        $(#[target_feature(enable = $features)])?
        unsafe fn run<const R: usize, const ALONG_K: bool>(s: &Step<Item>) {
            // SAFETY: the caller's promise.
            unsafe { tile::<$v, R, $c, ALONG_K>(s) }
        }
        $(#[target_feature(enable = $features)])?
        unsafe fn group<const W: usize>(
            from: *const Item,
            stride: isize,
            groups: usize,
            kc: usize,
            to: *mut Item,
            apart: usize,
        ) {
            // SAFETY: the caller's promise.
            unsafe { copy::<Item, W>(from, stride, groups, kc, to, apart) }
        }
        Shape {
            lanes: LANES,
            copies: [group::<LANES>, group::<ROWS>],
            tiles: &[$([run::<$r, false>, run::<$r, true>]),*],
        }
    }};
}
pub(crate) use shape;

/// The code without vector instructions of our own.
macro_rules! portable {
    ($t:ty) => {
        Micro {
            tall: shape!(Array<$t, 8>, 1, [1 2 3 4]),
            wide: shape!(Array<$t, 8>, 2, [1 2]),
            turned: [&[], &[]],
            transpose: transpose::<$t>,
        }
    };
}

macro_rules! ints {
    ($($t:ty)*) => {$(
        impl Element for $t {
            const ZERO: Self = 0;

            #[inline(always)]
            fn fma(self, b: Self, c: Self) -> Self {
                self.wrapping_mul(b).wrapping_add(c)
            }

            #[inline(always)]
            fn plus(self, b: Self) -> Self {
                self.wrapping_add(b)
            }

            fn micro(_: Level) -> Micro<Self> {
                portable!($t)
            }
        }
    )*};
}
ints!(i64 i32 i16 i8 u8 u32 u64);

macro_rules! floats {
    ($($t:ident)*) => {$(
        impl Element for $t {
            const ZERO: Self = 0.0;

            #[inline(always)]
            fn fma(self, b: Self, c: Self) -> Self {
                self.mul_add(b, c)
            }

            #[inline(always)]
            fn plus(self, b: Self) -> Self {
                self + b
            }

            fn micro(level: Level) -> Micro<Self> {
                match level {
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx512 => super::x86::$t::avx512(),
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx2 => super::x86::$t::avx2(),
                    _ => portable!($t),
                }
            }
        }
    )*};
}
floats!(f32 f64);
