//! Tiles against R7 as it is written: every reach of both operands, both loop orders, both shapes, on every level and
//! on a model of 16 lanes in plain code, so that the wide tiles are tested on machines without them.

use super::lanes::{Array, Element};
use super::micro::{Micro, Shape, shape, transpose};
use super::prepack::Prepack;
use super::tile::{CHUNK, Fill, Packed, PieceAxes, PieceAxis, Pieces, Reach, Source, Tile, TileForm};
use super::{Matrix, MatrixMut};
use crate::features::CpuFeatures;
use crate::tests::{Rng, thinned};

const SIZES: [usize; 12] = [1, 2, 5, 6, 7, 15, 16, 17, 255, 256, 257, 513];

/// AVX-512's tiles in plain code.
fn sixteen_lanes() -> Micro<f32> {
    Micro {
        tall: shape!(Array<f32, 16>, 4, [1 2 3 4 5 6]),
        wide: shape!(Array<f32, 16>, 8, [1 2 3]),
        turned: [&[], &[]],
        transpose: transpose::<f32>,
    }
}

/// Numbers of many magnitudes, of both signs of zero, and sometimes none at all or infinite.
fn numbers<T: Element>(rng: &mut Rng, count: usize, of: impl Fn(f64) -> T) -> Vec<T> {
    let number = |rng: &mut Rng| match rng.below(400) {
        0 => f64::NAN,
        1 => f64::INFINITY,
        2..20 => -0.0,
        20..40 => 1e-39,
        _ => (rng.below(20001) as f64 - 10000.0) * if rng.below(2) == 0 { 1e-4 } else { 1e-7 },
    };
    (0..count).map(|_| of(number(rng))).collect()
}

/// R7, element by element.
fn want<T: Element>([m, n, k]: [usize; 3], a: &[T], b: &[T]) -> Vec<T> {
    let dot = |i: usize, j: usize| {
        let mut total = None;
        for p in (0..k).step_by(CHUNK) {
            let sum = (p..k.min(p + CHUNK)).fold(T::ZERO, |c, q| a[i * k + q].fma(b[j * k + q], c));
            total = Some(total.map_or(sum, |t: T| t.plus(sum)));
        }
        total.unwrap_or(T::ZERO)
    };
    (0..m * n).map(|e| dot(e / n, e % n)).collect()
}

/// A matrix as operands may lie.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Lie {
    /// Contiguous along k, with room between rows.
    AlongK,
    /// Contiguous across rows.
    Across,
    /// Contiguous in no direction.
    Apart,
    /// Rows and columns in runs; contiguous along k, or across rows.
    Runs { along_k: bool },
}

/// The elements of a [rows, k] matrix laid out, and the matrix.
fn lay<T: Element>(lie: Lie, from: &[T], rows: usize, k: usize) -> Laid<T> {
    let (row, col, offset) = match lie {
        Lie::Runs { along_k } => return runs(along_k, from, rows, k),
        Lie::AlongK => (k + 3, 1, 5),
        Lie::Across => (1, rows + 2, 1),
        Lie::Apart => (2, 2 * rows + 1, 3),
    };
    let mut memory = vec![T::ZERO; offset + rows * row + k * col];
    for r in 0..rows {
        for p in 0..k {
            memory[offset + r * row + p * col] = from[r * k + p];
        }
    }
    let base = memory[offset..].as_ptr();
    Laid { memory, base, at: At::Matrix([row as isize, col as isize]) }
}

/// Operands in memory.
struct Laid<T> {
    #[expect(dead_code, reason = "what `base` points to")]
    memory: Vec<T>,
    base: *const T,
    at: At,
}

enum At {
    /// Strides of rows and columns.
    Matrix([isize; 2]),
    Pieces(PieceAxes),
}

impl<T> Laid<T> {
    fn source(&self) -> Source<'_, T> {
        match &self.at {
            &At::Matrix([row, col]) => Source::Memory(Matrix { base: self.base, row, col }),
            At::Pieces(axes) => Source::Pieces(Pieces { base: self.base, axes, first: 0 }),
        }
    }
}

/// An operand that was packed as a whole.
struct WholePacked<T> {
    memory: Vec<T>,
    padded: usize,
    along_k: bool,
}

impl<T> WholePacked<T> {
    fn source(&self) -> Source<'_, T> {
        let (base, padded, along_k) = (self.memory.as_ptr(), self.padded, self.along_k);
        Source::Packed(Packed { base, padded, first: 0, along_k })
    }
}

/// Packs what is laid out as a matrix of [own, k], its units backwards.
fn packed<T: Element>(
    laid: Option<&Laid<T>>,
    (micro, shape): (&Micro<T>, &Shape<T>),
    lanes: bool,
    own: usize,
    k: usize,
) -> WholePacked<T> {
    let Some(Source::Memory(matrix)) = laid.map(Laid::source) else { panic!("no matrix") };
    let prepack = Prepack::new(shape, lanes, own, 1, k);
    let mut memory = vec![T::ZERO; prepack.elements()];
    for i in (0..prepack.units()).rev() {
        // SAFETY: the matrix has own x k elements, the memory all that is packed.
        unsafe { prepack.pack(&prepack.unit(i), matrix, memory.as_mut_ptr(), (micro, shape)) };
    }
    WholePacked { memory, padded: prepack.padded, along_k: matrix.row != 1 }
}

/// Rows and columns as runs of five with gaps between them.
fn runs<T: Element>(along_k: bool, from: &[T], rows: usize, k: usize) -> Laid<T> {
    const RUN: usize = 5;
    let (row_runs, col_runs) = (rows.div_ceil(RUN).max(1), k.div_ceil(RUN).max(1));
    // Innermost a run of one, then the other's, then the runs' own.
    let (inner, outer) = (RUN + 1, RUN * (RUN + 1) + 2);
    let (row, col) = if along_k { (inner, 1) } else { (1, inner) };
    let (row_run, col_run) = (outer, outer * row_runs + 3);
    let mut memory = vec![T::ZERO; col_run * col_runs];
    for r in 0..rows {
        for p in 0..k {
            let at = r / RUN * row_run + r % RUN * row + p / RUN * col_run + p % RUN * col;
            memory[at] = from[r * k + p];
        }
    }
    let axis = |extent, stride: usize| PieceAxis { extent, stride: stride as isize };
    let axes = PieceAxes {
        rows: vec![axis(row_runs, row_run), axis(RUN, row)],
        cols: vec![axis(col_runs, col_run), axis(RUN, col)],
    };
    let base = memory.as_ptr();
    Laid { memory, base, at: At::Pieces(axes) }
}

/// Code that copies.
struct Copying<'a, T> {
    from: &'a [T],
    k: usize,
    along_k: bool,
    width: usize,
}

impl<T: Element> Fill<T> for Copying<'_, T> {
    fn along_k(&self) -> bool {
        self.along_k
    }

    unsafe fn fill(&self, row: usize, count: usize, k: usize, kc: usize, to: *mut T) {
        for r in 0..count {
            for p in 0..kc {
                let at = if self.along_k { r * CHUNK + p } else { p * self.width + r };
                // SAFETY: the caller has the room.
                unsafe { to.add(at).write(self.from[(row + r) * self.k + k + p]) }
            }
        }
    }
}

/// One tile in every form.
fn check<T: Element>(
    what: &str,
    micro: &Micro<T>,
    extents: [usize; 3],
    same: impl Fn(T, T) -> bool,
    of: impl Fn(f64) -> T,
) {
    let [m, n, k] = extents;
    let mut rng = Rng::new((m * 1000 + n * 100 + k) as u64);
    let (a, b) = (numbers(&mut rng, m * k, &of), numbers(&mut rng, n * k, &of));
    let want = want(extents, &a, &b);
    let runs = Lie::Runs { along_k: (m + n + k) % 3 == 0 };
    let lies = [Some(Lie::AlongK), Some(Lie::Across), Some(Lie::Apart), Some(runs), None];
    for (wide, turned) in [(false, None), (true, None), (true, Some(0)), (true, Some(1))] {
        let shape = if wide { micro.wide } else { micro.tall };
        let rows_taken = turned.map_or(shape.rows(), |i| micro.turned[i].len());
        if (wide && m > shape.rows()) || m > rows_taken {
            continue;
        }
        for rows in lies {
            for lanes in lies {
                if turned.is_some() && lanes != Some(Lie::AlongK) {
                    continue;
                }
                let row_reaches: &[Reach] = match rows {
                    Some(Lie::AlongK | Lie::Across) => &[Reach::InPlace, Reach::Block, Reach::Whole],
                    Some(Lie::Apart) => &[Reach::Block, Reach::Whole],
                    _ => &[Reach::Block],
                };
                let lane_reaches: &[Reach] = match lanes {
                    Some(Lie::Across) => &[Reach::InPlace, Reach::Panel, Reach::Block, Reach::Whole],
                    Some(Lie::AlongK | Lie::Apart) if turned.is_none() => &[Reach::Panel, Reach::Whole],
                    _ => &[Reach::Panel],
                };
                for &row_reach in row_reaches {
                    for &lane_reach in lane_reaches {
                        let along_k = (m + n + k) % 2 == 0;
                        let row_code = Copying { from: &a, k, along_k, width: shape.rows() };
                        let lane_code = Copying { from: &b, k, along_k, width: shape.lanes };
                        let row_memory = rows.map(|lie| lay(lie, &a, m, k));
                        let lane_memory = lanes.map(|lie| lay(lie, &b, n, k));
                        let row_packed = (row_reach == Reach::Whole)
                            .then(|| packed(row_memory.as_ref(), (micro, &shape), false, m, k));
                        let lane_packed = (lane_reach == Reach::Whole)
                            .then(|| packed(lane_memory.as_ref(), (micro, &shape), true, n, k));
                        let blocks = row_reach == Reach::Block || lane_reach == Reach::Block;
                        for (padded, panels_first) in [(false, false), (true, !blocks)] {
                            let form = TileForm {
                                rows: m.next_multiple_of(shape.rows()),
                                lanes: n.next_multiple_of(shape.lanes),
                                wide,
                                turned,
                                row_reach,
                                lane_reach,
                                panels_first,
                            };
                            let width = if padded { form.lanes } else { n };
                            let mut out = vec![of(77.0); m * width];
                            let mut room = vec![of(f64::NAN); form.room(micro).total];
                            let tile = Tile {
                                form: &form,
                                micro,
                                extents,
                                rows: match (&row_packed, &row_memory) {
                                    (Some(packed), _) => packed.source(),
                                    (_, Some(laid)) => laid.source(),
                                    _ => Source::Code(&row_code),
                                },
                                lanes: match (&lane_packed, &lane_memory) {
                                    (Some(packed), _) => packed.source(),
                                    (_, Some(laid)) => laid.source(),
                                    _ => Source::Code(&lane_code),
                                },
                                out: MatrixMut { base: out.as_mut_ptr(), row: width as isize, col: 1 },
                                padded,
                                room: room.as_mut_ptr(),
                            };
                            // SAFETY: the operands, the output and the room are as large as the extents and the form ask.
                            unsafe { tile.run() };
                            for (i, &w) in want.iter().enumerate() {
                                let got = out[i / n * width + i % n];
                                assert!(
                                    same(got, w),
                                    "{what} {extents:?} [{}, {}]: {got:?}, want {w:?}; {rows:?} {lanes:?} {form:?}",
                                    i / n,
                                    i % n
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

fn same_f32(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

fn same_f64(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

/// Pairs of all sizes with a third that takes turns, none too large.
fn extents() -> impl Iterator<Item = [usize; 3]> {
    let pairs = (0..SIZES.len()).flat_map(|i| (0..SIZES.len()).map(move |j| (i, j)));
    pairs.flat_map(|(i, j)| {
        let (a, b, c) = (SIZES[i], SIZES[j], SIZES[(5 * i + 7 * j) % SIZES.len()]);
        [[a, b, c], [c, a, b], [b, c, a]].into_iter().filter(|e| e.iter().product::<usize>() < 40_000)
    })
}

#[test]
fn tiles_are_canonical_f32() {
    for e in thinned(extents()) {
        check("16 lanes", &sixteen_lanes(), e, same_f32, |x| x as f32);
        for cpu in CpuFeatures::available() {
            check(cpu.level.name(), &f32::micro(cpu.level), e, same_f32, |x| x as f32);
        }
    }
}

#[test]
fn tiles_are_canonical_f64_and_integers() {
    for e in thinned(extents().step_by(3)) {
        for cpu in CpuFeatures::available() {
            check(cpu.level.name(), &f64::micro(cpu.level), e, same_f64, |x| x);
            check(cpu.level.name(), &i32::micro(cpu.level), e, |a, b| a == b, |x| (x * 3e9) as i32);
            check(cpu.level.name(), &u8::micro(cpu.level), e, |a, b| a == b, |x| (x * 3e4) as i64 as u8);
        }
    }
}

#[test]
fn large_tiles_and_empty_sums() {
    let large = [
        [5, 7, 0],
        [257, 33, 513],
        [13, 300, 513],
        [1, 257, 513],
        [3, 64, 769],
        // Last lanes that the kernels of few rows take, and that they do not.
        [1, 232, 65],
        [2, 104, 513],
        [1, 160, 257],
        [2, 36, 300],
    ];
    for e in thinned(large.into_iter()) {
        for cpu in CpuFeatures::available() {
            check(cpu.level.name(), &f32::micro(cpu.level), e, same_f32, |x| x as f32);
        }
    }
}
