//! Kernels as fusion makes them, in loop-IR text: bits at small sizes, and how long they take at large ones.

use std::time::{Duration, Instant};

use half::{bf16, f16};
use mlc_ir::DType;
use mlc_ir::loops::Kernel;
use mlc_ir::loops::text::parse_kernel;
use mlc_runtime::exec::{Call, HostMemory, Pool};

use super::{Rng, backend, check};
use crate::features::CpuFeatures;
use crate::schedule::Costs;

fn parse(text: &str) -> Kernel {
    parse_kernel(text).unwrap_or_else(|e| panic!("{e:?}\n{text}"))
}

fn exp(n: u64) -> Kernel {
    parse(&format!(
        "kernel @exp(read x: f32[{n}], write y: f32[{n}]) rows() cols(c0: {n}) {{
  !0 = infra %0 \"\" -
  %0: f32 = load x[c0]
  %1: f32 = exp %0
  store y[c0] = %1
}}"
    ))
}

fn relu_ax_b(n: u64) -> Kernel {
    parse(&format!(
        "kernel @relu(read x: f32[{n}], write y: f32[{n}]) rows() cols(c0: {n}) {{
  !0 = infra %0 \"\" -
  %0: f32 = load x[c0]
  %1: f32 = const 1.5
  %2: f32 = const 0.25
  %3: f32 = mul %0, %1
  %4: f32 = add %3, %2
  %5: f32 = const 0.0
  %6: f32 = max %4, %5
  store y[c0] = %6
}}"
    ))
}

fn softmax(r: u64, c: u64) -> Kernel {
    let n = r * c;
    parse(&format!(
        "kernel @softmax(read x: f32[{n}], write y: f32[{n}]) rows(i0: {r}) cols(c0: {c}) {{
  !0 = infra %0 \"\" -
  %0: f32 = load x[{c}*i0 + c0]
  acc0: f32 = max lanes %0
  %1: f32 = acc0
  %2: f32 = sub %0, %1
  %3: f32 = exp %2
  acc1: f32 = sum lanes %3
  %4: f32 = acc1
  %5: f32 = div %3, %4
  store y[{c}*i0 + c0] = %5
}}"
    ))
}

/// Dropout: its random bits are counted along the rows, or (`by_column`) down the columns.
fn dropout(r: u64, c: u64, by_column: bool) -> Kernel {
    let n = r * c;
    let (row, col) = if by_column { (1, r) } else { (c, 1) };
    parse(&format!(
        "kernel @dropout(read x: f32[{n}], read seed: u64[1], read step: u32[1], write y: f32[{n}]) rows() cols(c0: {r}, c1: {c}) {{
  !0 = infra %0 \"\" -
  %0: f32 = load x[{c}*c0 + c1]
  %1: u64 = load seed[0]
  %2: u32 = load step[0]
  %3: i64 = axis c0
  %4: i64 = const {row}
  %5: i64 = mul %3, %4
  %6: i64 = axis c1
  %7: i64 = const {col}
  %8: i64 = mul %6, %7
  %9: i64 = add %5, %8
  %10: u64 = cast %9
  %11: u32 = const 3855427792
  %12: u32 = philox %1, %10, %11, %2
  %13: u32 = const 2147483648
  %14: bool = le %13, %12
  %15: f32 = const 2.0
  %16: f32 = mul %0, %15
  %17: f32 = const 0.0
  %18: f32 = select %14, %16, %17
  store y[{c}*c0 + c1] = %18
}}"
    ))
}

/// Layer norm, its affine part, and GELU by tanh.
fn norm_gelu(r: u64, c: u64) -> Kernel {
    let n = r * c;
    parse(&format!(
        "kernel @norm_gelu(read x: f32[{n}], read g: f32[{c}], read b: f32[{c}], write mu: f32[{r}], write s: f32[{r}], write y: f32[{n}]) rows(i0: {r}) cols(c0: {c}) {{
  !0 = infra %0 \"\" -
  %0: f32 = load x[{c}*i0 + c0]
  acc0: f32 = sum lanes %0
  %1: f32 = acc0
  %2: f32 = const {c}.0
  %3: f32 = div %1, %2
  %4: f32 = sub %0, %3
  %5: f32 = mul %4, %4
  acc1: f32 = sum lanes %5
  %6: f32 = acc1
  %7: f32 = div %6, %2
  %8: f32 = const 0.00001
  %9: f32 = add %7, %8
  %10: f32 = sqrt %9
  %11: f32 = const 1.0
  %12: f32 = div %11, %10
  %13: f32 = mul %4, %12
  %14: f32 = load g[c0]
  %15: f32 = mul %13, %14
  %16: f32 = load b[c0]
  %17: f32 = add %15, %16
  %18: f32 = mul %17, %17
  %19: f32 = mul %18, %17
  %20: f32 = const 0.044715
  %21: f32 = mul %19, %20
  %22: f32 = add %17, %21
  %23: f32 = const 0.7978846
  %24: f32 = mul %22, %23
  %25: f32 = tanh %24
  %26: f32 = add %25, %11
  %27: f32 = const 0.5
  %28: f32 = mul %17, %27
  %29: f32 = mul %28, %26
  store mu[i0] = %3
  store s[i0] = %12
  store y[{c}*i0 + c0] = %29
}}"
    ))
}

/// Softmax and cross entropy, forward and backward, with the loss, the accuracy and the bias's gradient.
fn cross_entropy(r: u64, c: u64) -> Kernel {
    let n = r * c;
    parse(&format!(
        "kernel @xent(read x: f32[{n}], read l: u8[{r}], write d: f32[{n}], write loss: f32[1], write hits: f32[1], write db: f32[{c}]) rows(i0: {r}) cols(c0: {c}) {{
  !0 = infra %0 \"\" -
  %0: f32 = load x[{c}*i0 + c0]
  acc0: f32 = max lanes %0
  acc1: f32 = argmax lanes %0
  %1: f32 = acc0
  %2: f32 = sub %0, %1
  %3: f32 = exp %2
  acc2: f32 = sum lanes %3
  %4: u8 = load l[i0]
  %5: i64 = cast %4
  %6: i64 = axis c0
  %7: bool = eq %6, %5
  %8: f32 = const 0.0
  %9: f32 = select %7, %2, %8
  acc3: f32 = sum lanes %9
  %10: f32 = acc2
  %11: f32 = acc3
  %12: f32 = log %10
  %13: f32 = sub %12, %11
  %14: i64 = acc1
  %15: bool = eq %14, %5
  %16: f32 = cast %15
  %17: f32 = div %3, %10
  %18: f32 = const 1.0
  %19: f32 = select %7, %18, %8
  %20: f32 = sub %17, %19
  %21: f32 = const 0.015625
  %22: f32 = mul %20, %21
  store d[{c}*i0 + c0] = %22
  row loss[0] = sum f32 runs %13
  row hits[0] = sum f32 runs %16
  col db[c0] = sum f32 runs %22
}}"
    ))
}

fn column_sum(r: u64, c: u64) -> Kernel {
    let n = r * c;
    parse(&format!(
        "kernel @colsum(read x: f32[{n}], write y: f32[{c}]) rows(i0: {r}) cols(c0: {c}) {{
  !0 = infra %0 \"\" -
  %0: f32 = load x[{c}*i0 + c0]
  col y[c0] = sum f32 runs %0
}}"
    ))
}

/// An update in place, with sums of what was there before and of what is there after.
fn in_place(r: u64, c: u64) -> Kernel {
    let n = r * c;
    parse(&format!(
        "kernel @in_place(readwrite x: f32[{n}], read s: f32[{r}], write a: f32[{c}], write b: f32[{c}]) rows(i0: {r}) cols(c0: {c}) {{
  !0 = infra %0 \"\" -
  %0: f32 = load x[{c}*i0 + c0]
  %1: f32 = load s[i0]
  %2: f32 = mul %0, %1
  store x[{c}*i0 + c0] = %2
  col a[c0] = sum f32 runs %0
  col b[c0] = max f32 runs %2
}}"
    ))
}

/// GELU by sigmoid, each operation in a small float.
fn gelu(dtype: DType, n: u64) -> Kernel {
    parse(&format!(
        "kernel @gelu_{dtype}(read x: {dtype}[{n}], write y: {dtype}[{n}]) rows() cols(c0: {n}) {{
  !0 = infra %0 \"\" -
  %0: {dtype} = load x[c0]
  %1: {dtype} = mul %0, %0
  %2: {dtype} = mul %1, %0
  %3: {dtype} = const 0.044715
  %4: {dtype} = mul %2, %3
  %5: {dtype} = add %0, %4
  %6: {dtype} = const 1.5957691
  %7: {dtype} = mul %5, %6
  %8: {dtype} = sigmoid %7
  %9: {dtype} = mul %0, %8
  store y[c0] = %9
}}"
    ))
}

/// Softmax of a small float, computed in f32.
fn softmax_of(dtype: DType, r: u64, c: u64) -> Kernel {
    let n = r * c;
    parse(&format!(
        "kernel @softmax_{dtype}(read x: {dtype}[{n}], write y: {dtype}[{n}]) rows(i0: {r}) cols(c0: {c}) {{
  !0 = infra %0 \"\" -
  %0: {dtype} = load x[{c}*i0 + c0]
  %1: f32 = cast %0
  acc0: f32 = max lanes %1
  %2: f32 = acc0
  %3: f32 = sub %1, %2
  %4: f32 = exp %3
  acc1: f32 = sum lanes %4
  %5: f32 = acc1
  %6: f32 = div %4, %5
  %7: {dtype} = cast %6
  store y[{c}*i0 + c0] = %7
}}"
    ))
}

fn cast(from: DType, to: DType, n: u64) -> Kernel {
    parse(&format!(
        "kernel @{from}_to_{to}(read x: {from}[{n}], write y: {to}[{n}]) rows() cols(c0: {n}) {{
  !0 = infra %0 \"\" -
  %0: {from} = load x[c0]
  %1: {to} = cast %0
  store y[c0] = %1
}}"
    ))
}

/// Moderate numbers for floats, labels below 10 for bytes.
fn inputs(k: &Kernel, seed: u64) -> Vec<Vec<u8>> {
    let mut rng = Rng::new(seed);
    let fill = |a: &mlc_ir::loops::Arg| match a.dtype {
        DType::F32 => {
            (0..a.len).flat_map(|_| ((rng.below(20_001) as f32 - 10_000.0) / 2000.0).to_le_bytes()).collect()
        }
        DType::F16 | DType::BF16 => {
            let mut small = || (rng.below(20_001) as f32 - 10_000.0) / 2000.0;
            let bits = |x: f32| match a.dtype {
                DType::F16 => f16::from_f32(x).to_bits(),
                _ => bf16::from_f32(x).to_bits(),
            };
            (0..a.len).flat_map(|_| bits(small()).to_le_bytes()).collect()
        }
        d => (0..a.len * d.size() as u64).map(|_| rng.below(10) as u8).collect(),
    };
    k.args.iter().map(fill).collect()
}

#[test]
fn forms_keep_their_bits() {
    for (r, c) in [(3, 10), (17, 64), (5, 256), (33, 300), (2, 1000), (19, 1024), (2, 4097), (3, 9000)] {
        let all = [softmax(r, c), norm_gelu(r, c), cross_entropy(r, c), column_sum(r, c), in_place(r, c)];
        for k in all {
            check(&format!("{} {r}x{c}", k.name), &k, &inputs(&k, c));
        }
    }
    for n in [63, 64, 255, 257, 1000] {
        for small in [DType::F16, DType::BF16] {
            let all = [
                gelu(small, n),
                softmax_of(small, 3, n),
                cast(DType::F32, small, n),
                cast(small, DType::F32, n),
            ];
            for k in all {
                check(&format!("{} {n}", k.name), &k, &inputs(&k, n));
            }
        }
        check("exp", &exp(n), &inputs(&exp(n), n));
        check("relu", &relu_ax_b(n), &inputs(&relu_ax_b(n), n));
        let bytes = cast(DType::U8, DType::F32, n);
        let args: Vec<Vec<u8>> =
            vec![(0..n).map(|i| (i * 37 % 256) as u8).collect(), vec![0; 4 * n as usize]];
        check("bytes", &bytes, &args);
    }
    for (r, c) in [(3, 63), (3, 64), (2, 255), (5, 257), (2, 1000), (64, 5)] {
        for by_column in [false, true] {
            let k = dropout(r, c, by_column);
            check(&format!("dropout {r}x{c} {by_column}"), &k, &inputs(&k, c));
        }
    }
}

/// Arguments that no cache is expected to hold, so that the next row is fetched ahead.
#[test]
fn long_arguments_keep_their_bits() {
    let (r, c) = (301, 450);
    for k in [softmax(r, c), norm_gelu(r, c), softmax_of(DType::F16, 2 * r, c)] {
        assert!(k.args[0].len * k.args[0].dtype.size() as u64 > crate::emit::FAR);
        check(&format!("{} {r}x{c}", k.name), &k, &inputs(&k, c));
    }
}

/// What this thread has had of a CPU so far, in nanoseconds: other programs' work does not count.
fn cpu_time() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// The mean time of a run on this thread, in nanoseconds, and what compiling took.
fn mean(k: &Kernel) -> (f64, Duration) {
    let start = Instant::now();
    let backend = backend(CpuFeatures::detect(), Costs::default());
    let code = backend.kernels(std::slice::from_ref(k)).unwrap().0.remove(0);
    let compile = start.elapsed();
    let memory: Vec<HostMemory> = inputs(k, 1)
        .iter()
        .map(|bytes| {
            let mut m = HostMemory::zeroed(bytes.len() as u64, 64).unwrap();
            m.as_mut_slice()[..bytes.len()].copy_from_slice(bytes);
            m
        })
        .collect();
    let scratch = HostMemory::zeroed(code.scratch().bytes(1), 64).unwrap();
    let table: Vec<*mut u8> = memory.iter().map(HostMemory::base).collect();
    let pool = Pool::new(1);
    // SAFETY: one pointer for each argument, as long as it; no fault sites; working memory as asked.
    let call = unsafe { Call::new(&*code, table.as_ptr(), scratch.base()) };
    call.run(&pool, |_| false).unwrap();
    let (begun, mut runs) = (cpu_time(), 0u32);
    while cpu_time() - begun < 300_000_000 {
        (0..10).for_each(|_| call.run(&pool, |_| false).unwrap());
        runs += 10;
    }
    ((cpu_time() - begun) as f64 / f64::from(runs), compile)
}

#[test]
#[ignore = "prints code; for people"]
fn code() {
    let backend = backend(CpuFeatures::detect(), Costs::default());
    for k in [relu_ax_b(4096), softmax(4096, 1000), norm_gelu(4096, 1024)] {
        println!("{}", backend.text(&k, crate::jit::Text::Asm).unwrap());
    }
}

#[test]
#[ignore = "prints times; for people"]
fn times() {
    let list = [
        exp(4096),
        exp(1 << 22),
        relu_ax_b(4096),
        relu_ax_b(1 << 22),
        softmax(4096, 1000),
        norm_gelu(4096, 1024),
        dropout(4096, 1000, false),
        dropout(4096, 1000, true),
        cross_entropy(64, 10),
        cross_entropy(4096, 1000),
        column_sum(64, 128),
        column_sum(4096, 1024),
        gelu(DType::F16, 4096),
        gelu(DType::BF16, 4096),
        softmax_of(DType::F16, 4096, 1000),
        softmax_of(DType::BF16, 4096, 1000),
        cast(DType::F32, DType::F16, 4096),
        cast(DType::F32, DType::BF16, 4096),
        cast(DType::F16, DType::F32, 4096),
        cast(DType::BF16, DType::F32, 4096),
    ];
    for k in list {
        let (ns, compile) = mean(&k);
        let elements = k.args[0].len;
        let each = ns / elements as f64;
        println!(
            "{:12} {elements:9} {:10.1} us {each:7.3} ns/element, compile {compile:.2?}",
            k.name,
            ns / 1e3
        );
    }
}
