//! Vectors against scalars, and what tiles take.

use half::{bf16, f16};
use mlc_ir::loops::functions::philox_word;

use super::reduce::combine;
use super::*;
use crate::features::CpuFeatures;

const UNARY: [Func; 10] = [
    Func::Exp,
    Func::Expm1,
    Func::Log,
    Func::Log1p,
    Func::Sin,
    Func::Cos,
    Func::Tan,
    Func::Tanh,
    Func::Erf,
    Func::Sigmoid,
];

fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// Every `step`th bit pattern from `start` on, on every level, against the scalar expansion.
fn sweep(f: Func, start: u32, step: usize) {
    let code: Vec<_> =
        CpuFeatures::available().into_iter().filter_map(|c| Some((c, code(f, c.level)?))).collect();
    let mut bits = (start..=u32::MAX).step_by(step).peekable();
    while bits.peek().is_some() {
        let x: Vec<f32> = bits.by_ref().take(TILE - 3).map(f32::from_bits).collect();
        let want: Vec<f32> = x.iter().map(|&x| unary(f, &mut Scalar32, x).unwrap()).collect();
        for (cpu, code) in &code {
            let mut got = x.clone();
            // SAFETY: the level is the machine's, the lengths are equal.
            unsafe { code(got.as_mut_ptr(), got.as_ptr(), x.as_ptr(), x.len() as u64) };
            for ((&x, &g), &w) in x.iter().zip(&got).zip(&want) {
                assert!(same(g, w), "{f}({x:e}) on {cpu}: {g:e}, want {w:e}");
            }
        }
    }
}

#[test]
fn tiles_are_the_expansion() {
    for (i, f) in UNARY.into_iter().enumerate() {
        sweep(f, i as u32, 49_999);
    }
}

#[test]
#[ignore = "all 2^32 inputs of ten functions: minutes in a release build"]
fn tiles_are_the_expansion_on_every_input() {
    for f in UNARY {
        sweep(f, 0, 1);
    }
}

#[test]
fn lanes_fold_by_halves() {
    let special = [0.0, -0.0, 1.5, f32::NAN, -1e-40, f32::INFINITY, -2.25, 3e38];
    for op in [RedOp::Sum, RedOp::Prod, RedOp::Max, RedOp::Min] {
        for width in [1, 2, 4, 8, 16, 32, 64, 128, 256] {
            for shift in 0..=special.len() {
                // All numbers, then with one special value at every distance.
                let value = |i: usize| ((i * 37 % 19) as f32 - 9.0) / 8.0;
                let mut lanes: Vec<f32> = (0..width).map(value).collect();
                if let Some(&x) = special.get(shift) {
                    lanes[shift * 31 % width] = x;
                }
                let mut want = lanes.clone();
                while want.len() > 1 {
                    let upper = want.split_off(want.len() / 2);
                    for (x, y) in want.iter_mut().zip(upper) {
                        *x = combine(&mut Scalar32, op, *x, y);
                    }
                }
                for cpu in CpuFeatures::available() {
                    let Some(ReduceCode { fold, .. }) = reduction(op, cpu.level) else { continue };
                    let mut lanes = lanes.clone();
                    // SAFETY: the level is the machine's.
                    let got = unsafe { fold(lanes.as_mut_ptr(), width as u64) };
                    assert!(same(got, want[0]), "{op:?} of {width} on {cpu}: {got:e}, want {:e}", want[0]);
                }
            }
        }
    }
}

/// Rows of all kinds of lengths: lane by lane, then by halves.
#[test]
fn rows_reduce_by_the_tree() {
    let special = [0.0, -0.0, f32::NAN, -1e-40, f32::INFINITY, f32::NEG_INFINITY, 3e38];
    let lengths = [64, 65, 79, 100, 127, 128, 129, 200, 255, 256, 257, 300, 511, 513, 1000, 4095, 4096];
    for op in [RedOp::Sum, RedOp::Prod, RedOp::Max, RedOp::Min] {
        for n in lengths {
            for shift in 0..=special.len() {
                let mut row: Vec<f32> = (0..n).map(|i| ((i * 37 % 23) as f32 - 11.0) / 8.0).collect();
                if let Some(&x) = special.get(shift) {
                    row[(shift * 997 + n / 2) % n] = x;
                }
                if shift == 1 {
                    row.fill(-0.0);
                }
                let mut want = row[..0].to_vec();
                want.resize(n.min(TILE).next_power_of_two(), reduce::identity(op));
                let width = want.len();
                for (i, &x) in row.iter().enumerate() {
                    want[i % width] = combine(&mut Scalar32, op, want[i % width], x);
                }
                while want.len() > 1 {
                    let upper = want.split_off(want.len() / 2);
                    for (x, y) in want.iter_mut().zip(upper) {
                        *x = combine(&mut Scalar32, op, *x, y);
                    }
                }
                for cpu in CpuFeatures::available() {
                    let Some(code) = reduction(op, cpu.level) else { continue };
                    // SAFETY: the level is the machine's.
                    let got = unsafe { (code.row)(row.as_ptr(), n as u64) };
                    assert!(same(got, want[0]), "{op:?} of {n} on {cpu}: {got:e}, want {:e}", want[0]);
                }
            }
        }
    }
}

/// `cargo test --release -p mlc-cpu -- --ignored --nocapture times_of_tiles`: picoseconds for an element.
#[test]
#[ignore = "prints times"]
fn times_of_tiles() {
    let best = |run: &mut dyn FnMut()| {
        let one = |run: &mut dyn FnMut()| {
            let start = std::time::Instant::now();
            (0..200).for_each(|_| run());
            start.elapsed().as_nanos() as f64 / (0.2 * TILE as f64)
        };
        (0..200).map(|_| one(run)).fold(f64::INFINITY, f64::min)
    };
    #[repr(align(64))]
    struct Lines([f32; TILE]);
    let x = Lines(std::array::from_fn(|i| (i as f32 - 128.0) / 40.0));
    let (mut y, x, n) = (Lines(x.0), &x.0, TILE as u64);
    let y = &mut y.0;
    for cpu in CpuFeatures::available() {
        for f in UNARY {
            let Some(code) = code(f, cpu.level) else { continue };
            // SAFETY: the level is the machine's, the lengths are equal.
            let ps = best(&mut || unsafe { code(y.as_mut_ptr(), x.as_ptr(), x.as_ptr(), n) });
            println!("{cpu} {f}: {ps:.0}");
        }
        for op in [RedOp::Sum, RedOp::Max] {
            let Some(ReduceCode { combine, fold, row }) = reduction(op, cpu.level) else { continue };
            // SAFETY: as above.
            let ps = best(&mut || unsafe { combine(y.as_mut_ptr(), x.as_ptr(), n) });
            // SAFETY: as above.
            let folded = best(&mut || unsafe { assert!(!fold(y.as_mut_ptr(), n).is_nan()) });
            // SAFETY: as above.
            let rows = best(&mut || unsafe { assert!(!row(x.as_ptr(), n).is_nan()) });
            println!("{cpu} {op:?}: {ps:.0}, fold {folded:.0}, row {rows:.0}");
        }
        for prim in BY_VALUE {
            let Some(code) = by_value(prim, cpu.level) else { continue };
            // SAFETY: as above.
            let ps = best(&mut || unsafe { code(y.as_mut_ptr(), x.as_ptr(), n, 1.25) });
            println!("{cpu} {prim}: {ps:.0}");
        }
        for dtype in SMALL {
            let Some(code) = small(dtype, cpu.level) else { continue };
            let mut bits: Vec<u16> = x.iter().map(|&x| narrowed(dtype, x)).collect();
            // SAFETY: as above.
            let widen = best(&mut || unsafe { (code.widen)(y.as_mut_ptr(), bits.as_ptr(), n) });
            // SAFETY: as above.
            let narrow = best(&mut || unsafe { (code.narrow)(bits.as_mut_ptr(), x.as_ptr(), n) });
            // SAFETY: as above.
            let round = best(&mut || unsafe { (code.round)(y.as_mut_ptr(), x.as_ptr(), n) });
            let mul = code.rounded(Prim::Mul).unwrap();
            // SAFETY: as above.
            let mul = best(&mut || unsafe { mul(y.as_mut_ptr(), x.as_ptr(), x.as_ptr(), n, 0.0) });
            println!("{cpu} {dtype}: widen {widen:.0}, narrow {narrow:.0}, round {round:.0}, mul {mul:.0}");
        }
        if let Some(code) = random(cpu.level) {
            for first in [0, 3] {
                let mut words = [0; TILE];
                // SAFETY: as above.
                let ps = best(&mut || unsafe { code(words.as_mut_ptr(), n, 7, first, 1, 2) });
                println!("{cpu} random from {first}: {ps:.0}");
            }
        }
    }
}

#[test]
fn functions_of_two() {
    let special =
        [0.0, -0.0, 1.0, -1.0, 2.5, -3.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-40, 3e38, 0.5];
    let pairs: Vec<(f32, f32)> = special.iter().flat_map(|&x| special.iter().map(move |&y| (x, y))).collect();
    let (x, y): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
    for f in [Func::Pow, Func::Atan2] {
        for cpu in CpuFeatures::available() {
            let Some(code) = code(f, cpu.level) else { continue };
            let mut got = x.clone();
            // SAFETY: the level is the machine's, the lengths are equal.
            unsafe { code(got.as_mut_ptr(), x.as_ptr(), y.as_ptr(), x.len() as u64) };
            for (&(x, y), &g) in pairs.iter().zip(&got) {
                let w = binary(f, &mut Scalar32, x, y).unwrap();
                assert!(same(g, w), "{f}({x:e}, {y:e}) on {cpu}: {g:e}, want {w:e}");
            }
        }
    }
}

/// Starts at every word of a counter, counters whose low half overflows, the last index and the first again, in tiles
/// of all lengths.
#[test]
fn random_words() {
    let starts = [0, 1, 2, 3, 1 << 40, (1 << 34) - 61, (7 << 34) - 5, u64::MAX - 30, 0x1234_5678_9abc_def5];
    for cpu in CpuFeatures::available() {
        let Some(code) = random(cpu.level) else { continue };
        for (i, first) in starts.into_iter().enumerate() {
            for n in (0..=TILE).rev().step_by(1 + 5 * i) {
                let (seed, site, iteration) = (first ^ 0x0123_4567_89ab_cdef, n as u32, !(i as u32));
                // One more than is asked for stays as it is.
                let mut got = vec![0xdead_beef; n + 1];
                // SAFETY: the level is the machine's, and there are n elements.
                unsafe { code(got.as_mut_ptr(), n as u64, seed, first, site, iteration) };
                let word = |k: usize| philox_word(seed, first.wrapping_add(k as u64), site, iteration);
                let want: Vec<u32> = (0..n).map(word).chain([0xdead_beef]).collect();
                assert!(got == want, "{n} words from {first} on, {cpu}");
            }
        }
    }
}

const SMALL: [DType; 2] = [DType::F16, DType::BF16];

/// The bits that a store has: rounded once, NaNs canonical.
fn narrowed(dtype: DType, x: f32) -> u16 {
    match dtype {
        DType::F16 if x.is_nan() => (x.to_bits() >> 16) as u16 & 0x8000 | 0x7e00,
        DType::F16 => f16::from_f32(x).to_bits(),
        _ if x.is_nan() => 0x7fc0,
        _ => bf16::from_f32(x).to_bits(),
    }
}

/// The value of bits; the payload of a NaN moves along.
fn widened(dtype: DType, bits: u16) -> f32 {
    let (sign, payload) = (u32::from(bits & 0x8000) << 16, u32::from(bits & 0x3ff) << 13);
    match dtype {
        DType::F16 if f16::from_bits(bits).is_nan() => f32::from_bits(sign | 0x7f80_0000 | payload),
        DType::F16 => f16::from_bits(bits).to_f32(),
        _ => f32::from_bits(u32::from(bits) << 16),
    }
}

#[test]
fn all_small_floats_widen() {
    let all: Vec<u16> = (0..=u16::MAX).collect();
    for dtype in SMALL {
        for cpu in CpuFeatures::available() {
            let Some(code) = small(dtype, cpu.level) else { continue };
            for part in all.chunks(TILE - 3) {
                let mut got = vec![0.0; part.len()];
                // SAFETY: the level is the machine's, the lengths are equal.
                unsafe { (code.widen)(got.as_mut_ptr(), part.as_ptr(), part.len() as u64) };
                for (&bits, &g) in part.iter().zip(&got) {
                    let w = widened(dtype, bits);
                    assert_eq!(g.to_bits(), w.to_bits(), "{dtype} {bits:#06x} on {cpu}: {g:e}, want {w:e}");
                }
            }
        }
    }
}

/// Rounds f32 by their bits, to bits and in f32, on every level.
fn rounds(bits: impl Iterator<Item = u32>) {
    let mut bits = bits.peekable();
    while bits.peek().is_some() {
        let x: Vec<f32> = bits.by_ref().take(TILE - 3).map(f32::from_bits).collect();
        let n = x.len() as u64;
        for dtype in SMALL {
            for cpu in CpuFeatures::available() {
                let Some(code) = small(dtype, cpu.level) else { continue };
                let (mut narrow, mut round) = (vec![0; x.len()], x.clone());
                // SAFETY: the level is the machine's, the lengths are equal.
                unsafe {
                    (code.narrow)(narrow.as_mut_ptr(), x.as_ptr(), n);
                    (code.round)(round.as_mut_ptr(), round.as_ptr(), n);
                }
                for ((&x, &g), &r) in x.iter().zip(&narrow).zip(&round) {
                    let w = narrowed(dtype, x);
                    assert_eq!(g, w, "{x:e} to {dtype} on {cpu}: {g:#06x}, want {w:#06x}");
                    let w = if x.is_nan() { x } else { widened(dtype, w) };
                    assert_eq!(r.to_bits(), w.to_bits(), "{x:e} as {dtype} on {cpu}: {r:e}, want {w:e}");
                }
            }
        }
    }
}

/// Every sign, exponent and upper bits of the fraction, with lower ones at and beside the middle between two values.
#[test]
fn small_floats_round() {
    let low =
        [0, 1, 0xfff, 0x1000, 0x1001, 0x1fff, 0x2000, 0x2fff, 0x3000, 0x7fff, 0x8000, 0x8001, 0xf000, 0xffff];
    rounds((0..=u32::from(u16::MAX)).flat_map(|high| low.map(|low| high << 16 | low)));
}

#[test]
#[ignore = "all 2^32 inputs: minutes in a release build"]
fn small_floats_round_from_every_input() {
    rounds(0..=u32::MAX);
}

/// Primitives that round, with tiles and with one value on either side, in tiles of all lengths up to three vectors.
#[test]
fn rounding_primitives() {
    let values =
        [0.0, -0.0, 1.0, -1.5, 3.0, 0.1, -7.77e-5, 6e-8, 65504.0, -250.0, 1e38, f32::INFINITY, f32::NAN];
    let apply = |prim: Prim, x: f32, y: f32| apply(&mut Scalar32, prim, x, y);
    for dtype in SMALL {
        let values = values.map(|x| widened(dtype, narrowed(dtype, x)));
        for cpu in CpuFeatures::available() {
            let Some(code) = small(dtype, cpu.level) else { continue };
            for prim in BY_VALUE {
                let run = code.rounded(prim).unwrap();
                for n in (0..50).chain([TILE]) {
                    let x: Vec<f32> = (0..n).map(|i| values[i % 13]).collect();
                    let y: Vec<f32> = (0..n).map(|i| values[(i / 13 + n) % 13]).collect();
                    let with = values[n % 13];
                    for (one_x, one_y) in [(false, false), (true, false), (false, true)] {
                        let pointer = |one: bool, v: &[f32]| if one { std::ptr::null() } else { v.as_ptr() };
                        // One more than is asked for stays as it is.
                        let mut got = vec![77.0; n + 1];
                        // SAFETY: the level is the machine's, there are n elements in each that is not null.
                        unsafe {
                            run(got.as_mut_ptr(), pointer(one_x, &x), pointer(one_y, &y), n as u64, with)
                        };
                        for i in 0..n {
                            let (x, y) = (if one_x { with } else { x[i] }, if one_y { with } else { y[i] });
                            let exact = apply(prim, x, y);
                            let w = widened(dtype, narrowed(dtype, exact));
                            assert!(
                                same(got[i], w),
                                "{x:e} {prim} {y:e} as {dtype} on {cpu}: {:e}, want {w:e}",
                                got[i]
                            );
                        }
                        assert_eq!(got[n], 77.0);
                    }
                }
            }
        }
    }
}
