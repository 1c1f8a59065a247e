//! `cargo run --release -p mlc-cpu --example gemm [ROW]`: contractions on one core, ours beside the `gemm` crate and
//! the core's measured peak of fused multiply-adds, best of many in one run. Ratios are what to compare.

use std::time::{Duration, Instant};

use gemm::Parallelism;
use mlc_cpu::{CpuBackend, CpuFeatures, CpuOptions};
use mlc_ir::DType;
use mlc_ir::loops::{
    Arg, Axis, AxisId, BodyBuilder, Contraction, Index, Kernel, Kind, Mode, Operand, Prov, Rounding,
};
use mlc_runtime::exec::{HostKernel, HostMemory, Workspace};

/// One product: `lhs` is [m, k], or [k, m] where `t.0`; `rhs` is [n, k], or [k, n] where `t.1`.
struct Row {
    name: &'static str,
    batch: u64,
    mnk: [u64; 3],
    t: (bool, bool),
}

const fn row(name: &'static str, batch: u64, mnk: [u64; 3], t: (bool, bool)) -> Row {
    Row { name, batch, mnk, t }
}

/// Forward (x W^T), by the weights (dy^T x), by the input (dy W).
const FORWARD: (bool, bool) = (false, false);
const WEIGHTS: (bool, bool) = (true, true);
const INPUT: (bool, bool) = (false, true);

const ROWS: [Row; 24] = [
    row("simple_nn fc1", 1, [64, 128, 784], FORWARD),
    row("simple_nn fc2", 1, [64, 10, 128], FORWARD),
    row("simple_nn dW1", 1, [128, 784, 64], WEIGHTS),
    row("simple_nn dW2", 1, [10, 128, 64], WEIGHTS),
    row("simple_nn dx2", 1, [64, 128, 10], INPUT),
    row("256^3", 1, [256, 256, 256], FORWARD),
    row("256^3 by input", 1, [256, 256, 256], INPUT),
    row("1024^3", 1, [1024, 1024, 1024], FORWARD),
    row("1024^3 by input", 1, [1024, 1024, 1024], INPUT),
    row("128x3072x768", 1, [128, 3072, 768], FORWARD),
    row("MLP fc1", 1, [256, 4096, 1024], FORWARD),
    row("MLP fc2", 1, [256, 4096, 4096], FORWARD),
    row("MLP dW1", 1, [4096, 1024, 256], WEIGHTS),
    row("MLP dx2", 1, [256, 4096, 4096], INPUT),
    row("GPT 1024x256x256", 1, [1024, 256, 256], FORWARD),
    row("GPT 1024x1024x256", 1, [1024, 1024, 256], FORWARD),
    row("GPT dW 1024x256x1024", 1, [1024, 256, 1024], WEIGHTS),
    row("GPT dx 1024x256x1024", 1, [1024, 256, 1024], INPUT),
    row("attention scores", 32, [128, 128, 64], FORWARD),
    row("attention values", 32, [128, 64, 128], INPUT),
    row("attention dv", 32, [128, 64, 128], WEIGHTS),
    row("1x128x784", 1, [1, 128, 784], FORWARD),
    row("1x4096x1024", 1, [1, 4096, 1024], FORWARD),
    row("1x1024x256 by input", 1, [1, 1024, 256], INPUT),
];

fn main() {
    let only = std::env::args().nth(1);
    let features = CpuFeatures::detect();
    println!("{features}, one core; GFLOP/s");
    println!("{:<24} {:>7} {:>7} {:>7}  ours/crate  ours/peak", "", "ours", "crate", "peak");
    for r in ROWS.iter().filter(|r| only.as_ref().is_none_or(|o| r.name.contains(o.as_str()))) {
        let flops = 2.0 * (r.batch * r.mnk.iter().product::<u64>()) as f64;
        let [ours, theirs, peak] = measure(r, features).map(|t| t.as_secs_f64());
        let (ours, theirs) = (flops / ours / 1e9, flops / theirs / 1e9);
        let peak = PEAK_FLOPS / peak / 1e9;
        println!(
            "{:<24} {ours:>7.1} {theirs:>7.1} {peak:>7.1}  {:>10.2} {:>10.2}",
            r.name,
            ours / theirs,
            ours / peak
        );
    }
}

/// The best times of ours, the crate's and the peak loop, taken in turn.
fn measure(r: &Row, features: CpuFeatures) -> [Duration; 3] {
    let kernel = contraction(r);
    let backend = CpuBackend::new(CpuOptions::new(features, true).threads(1));
    let (kernels, _) = backend.kernels(std::slice::from_ref(&kernel)).expect("code for this machine");
    let code = &*kernels[0];
    let memory: Vec<HostMemory> = kernel
        .args
        .iter()
        .map(|a| {
            let mut m = HostMemory::zeroed(4 * a.len, 64).expect("memory");
            m.as_mut_slice().chunks_exact_mut(4).enumerate().for_each(|(i, b)| {
                b.copy_from_slice(&((i % 1000) as f32 / 500.0 - 1.0).to_le_bytes());
            });
            m
        })
        .collect();
    let scratch = HostMemory::zeroed(code.scratch().bytes(1), 64).expect("memory");
    let table: Vec<*mut u8> = memory.iter().map(HostMemory::base).collect();
    let mut best = [Duration::MAX; 3];
    // Short products several times, so that reading the clock does not count.
    let times = (5_000_000 / (r.batch * r.mnk.iter().product::<u64>())).clamp(1, 200) as u32;
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1500) {
        for (i, b) in best.iter_mut().enumerate() {
            let t = thread_time();
            match i {
                // SAFETY: the arguments and the working memory are as the kernel asks.
                0 => (0..times).for_each(|_| unsafe { ours(code, &table, &scratch) }),
                // SAFETY: the same arguments; strides as in `contraction`.
                1 => (0..times).for_each(|_| unsafe { theirs(r, &table) }),
                _ => {
                    std::hint::black_box(peak());
                }
            }
            *b = (*b).min((thread_time() - t) / if i < 2 { times } else { 1 });
        }
    }
    best
}

/// The time that this thread has run: what others do on the machine counts as little as can be.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn thread_time() -> Duration {
    unsafe extern "C" {
        fn clock_gettime(clock: i32, time: *mut [i64; 2]) -> i32;
    }
    const THREAD_CPUTIME: i32 = 3;
    let mut time = [0; 2];
    // SAFETY: seconds and nanoseconds are two words here.
    unsafe { clock_gettime(THREAD_CPUTIME, &mut time) };
    Duration::new(time[0] as u64, time[1] as u32)
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
fn thread_time() -> Duration {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    START.elapsed()
}

unsafe fn ours(code: &dyn HostKernel, table: &[*mut u8], scratch: &HostMemory) {
    let shared = scratch.base();
    let own = shared.wrapping_add(code.scratch().own_offset(0) as usize);
    for (i, phase) in code.phases().iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { code.run(i, 0..phase.chunks, table.as_ptr(), Workspace { shared, own }) }
    }
}

unsafe fn theirs(r: &Row, table: &[*mut u8]) {
    let [m, n, k] = r.mnk.map(|e| e as usize);
    let strides = |t: bool, own: usize| if t { (1, own as isize) } else { (k as isize, 1) };
    let ((ar, ac), (br, bc)) = (strides(r.t.0, m), strides(r.t.1, n));
    for b in 0..r.batch as usize {
        // SAFETY: the caller's promise.
        unsafe {
            let [lhs, rhs, out] = [0, 1, 2].map(|i| table[i].cast::<f32>());
            let out = out.add(b * m * n);
            let (lhs, rhs) = (lhs.add(b * m * k), rhs.add(b * n * k));
            let none = Parallelism::None;
            gemm::gemm(
                m, n, k, out, 1, n as isize, false, lhs, ac, ar, rhs, br, bc, 0.0, 1.0, false, false, false,
                none,
            );
        }
    }
}

fn contraction(r: &Row) -> Kernel {
    let [m, n, k] = r.mnk;
    let axes = [r.batch, m, n, k];
    let axis = |extent| vec![Axis { extent }];
    let at = |a: u32, stride: u64| Index::axis(AxisId(a)).scale(stride as i64);
    let operand = |arg: u32, own: u32, size: u64, t: bool| {
        let mut b = BodyBuilder::new(&[], &axes);
        let (row, col) = if t { (1, size) } else { (k, 1) };
        let index = at(0, size * k).plus_index(&at(own, row)).plus_index(&at(3, col));
        let value = b.load(mlc_ir::loops::ArgId(arg), DType::F32, index);
        Operand { exprs: b.finish().exprs, value }
    };
    let mut e = BodyBuilder::new(&[r.batch, m], &[n]);
    let p = e.product(DType::F32);
    e.store(mlc_ir::loops::ArgId(2), Index::row_major(AxisId(0), &[r.batch, m, n]), p);
    let c = Contraction {
        batch: axis(r.batch),
        m: axis(m),
        n: axis(n),
        k: axis(k),
        lhs: operand(0, 1, m, r.t.0),
        rhs: operand(1, 2, n, r.t.1),
        acc: DType::F32,
        rounding: Rounding::Canonical,
        epilogue: e.finish(),
    };
    let arg = |name, len, mode| Arg::new(name, DType::F32, r.batch * len, mode);
    let args = vec![arg("x", m * k, Mode::Read), arg("w", n * k, Mode::Read), arg("y", m * n, Mode::Write)];
    Kernel { name: "product".into(), args, kind: Kind::Contract(c), prov: vec![Prov::infra()] }
}

const ROUNDS: usize = 2000;
const SUMS: usize = 12;
/// What [`peak`] computes with vectors of eight.
const PEAK_FLOPS: f64 = (ROUNDS * SUMS * 16) as f64;

/// Independent multiply-adds of vectors of eight, and nothing else.
#[cfg(target_arch = "x86_64")]
fn peak() -> f32 {
    use std::arch::x86_64::*;
    #[target_feature(enable = "avx2,fma")]
    fn run() -> f32 {
        let (x, y) = (_mm256_set1_ps(1.0000001), _mm256_set1_ps(0.9999));
        let mut sums = [_mm256_setzero_ps(); SUMS];
        for _ in 0..ROUNDS {
            for s in &mut sums {
                *s = _mm256_fmadd_ps(x, y, *s);
                // SAFETY: nothing runs; the value is as before, but the compiler does not know.
                unsafe { std::arch::asm!("/* {0} */", inout(ymm_reg) * s, options(pure, nomem, nostack)) }
            }
        }
        _mm256_cvtss_f32(sums.into_iter().fold(x, |a, b| _mm256_add_ps(a, b)))
    }
    let fma = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    // SAFETY: the machine has both.
    if fma { unsafe { run() } } else { f32::NAN }
}

#[cfg(not(target_arch = "x86_64"))]
fn peak() -> f32 {
    f32::NAN
}
