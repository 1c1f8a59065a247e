//! Random programs, run on every level that the machine has and evaluated step by step.

use super::*;
use crate::features::CpuFeatures;
use crate::link::{Linked, Piece, link};
use crate::tests::Rng;

/// What an element of each step is.
fn evaluate(p: &Program, arrays: &[Vec<u32>], values: &[u32], before: usize, at: usize) -> Vec<u32> {
    let mut out: Vec<u32> = Vec::new();
    for step in &p.steps {
        let v = match step {
            Step::Load(array) => arrays[*array][before + at],
            Step::Value(v) => values[*v],
            Step::Const(bits) => *bits,
            Step::Position => at as u32,
            Step::Op(code, operands) => {
                let x: Vec<u32> = operands.iter().map(|o| out[o.ix()]).collect();
                apply(*code, &x)
            }
        };
        out.push(v);
    }
    out
}

fn apply(code: Code, x: &[u32]) -> u32 {
    let f = |i: usize| f32::from_bits(x[i]);
    let (a, b) = (f(0), if x.len() > 1 { f(1) } else { 0.0 });
    let cmp = |cc: Compare, less: bool, equal: bool, nan: bool| match cc {
        Compare::Equal => equal,
        Compare::Less => less,
        Compare::LessEqual => less || equal,
        Compare::Unordered => nan,
        Compare::NotEqual => !equal,
    };
    match code {
        Code::Add => (a + b).to_bits(),
        Code::Sub => (a - b).to_bits(),
        Code::Mul => (a * b).to_bits(),
        Code::Div => (a / b).to_bits(),
        Code::Fma => a.mul_add(b, f(2)).to_bits(),
        Code::Sqrt => a.sqrt().to_bits(),
        Code::Floor => a.floor().to_bits(),
        Code::Rint => a.round_ties_even().to_bits(),
        Code::Max => {
            if a > b || a.is_nan() {
                x[0]
            } else {
                x[1]
            }
        }
        Code::Min => {
            if a < b || a.is_nan() {
                x[0]
            } else {
                x[1]
            }
        }
        Code::AddInt => x[0].wrapping_add(x[1]),
        Code::SubInt => x[0].wrapping_sub(x[1]),
        Code::MulInt => x[0].wrapping_mul(x[1]),
        Code::And | Code::Both => x[0] & x[1],
        Code::Or | Code::Either => x[0] | x[1],
        Code::Xor | Code::Differ => x[0] ^ x[1],
        Code::Shift(Shift::Left, by) => x[0] << by,
        Code::Shift(Shift::Right, by) => x[0] >> by,
        Code::Shift(Shift::RightSigned, by) => (x[0] as i32 >> by) as u32,
        Code::OfInt => (x[0] as i32 as f32).to_bits(),
        Code::OfUint => (x[0] as f32).to_bits(),
        Code::Compare(cc) => cmp(cc, a < b, a == b, a.is_nan() || b.is_nan()).into(),
        Code::EqualInt => (x[0] == x[1]).into(),
        Code::GreaterInt => (x[0] as i32 > x[1] as i32).into(),
        Code::CompareUint(cc) => cmp(cc, x[0] < x[1], x[0] == x[1], false).into(),
        Code::Not => x[0] ^ 1,
        Code::Pick => {
            if x[0] == 1 {
                x[1]
            } else {
                x[2]
            }
        }
    }
}

/// Equal bits, or NaNs.
fn same(a: u32, b: u32) -> bool {
    a == b || (f32::from_bits(a).is_nan() && f32::from_bits(b).is_nan())
}

/// Runs a program on arrays, each with `before` elements ahead of its first; what lies outside must stay.
fn run(p: &Program, level: Level, arrays: &mut [Vec<u32>], values: &[u32], n: usize, before: usize) -> bool {
    let Some(code) = p.code(level) else { return false };
    let piece = Piece { bytes: code, align: ALIGN, relocs: vec![] };
    let Linked { memory, places } = link(&[piece], level).expect("code without symbols");
    let memory = memory.expect("some code");
    let mut bytes: Vec<Vec<u8>> = Vec::new();
    for (array, element) in arrays.iter().zip(&p.arrays) {
        // Exactly as long as it is: what reads or writes further is found by a sanitizer, or by the guard below.
        bytes.push(match element {
            Element::Word => array.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Element::Bool | Element::Byte => array.iter().map(|&x| x as u8).collect(),
        });
    }
    let size = |e: Element| if e == Element::Word { 4 } else { 1 };
    let mut table: Vec<u64> = Vec::new();
    for (b, e) in bytes.iter_mut().zip(&p.arrays) {
        table.push(b.as_mut_ptr() as u64 + (before * size(*e)) as u64);
    }
    table.extend(values.iter().map(|&v| u64::from(v) | 0xdead_beef << 32));
    type Pass = unsafe extern "sysv64" fn(*const u64, u64);
    // SAFETY: the bytes are the program's code for a level of this machine; each array has n elements from its address.
    unsafe {
        let code = std::mem::transmute::<*const u8, Pass>(memory.address(places[0].start));
        code(table.as_ptr(), n as u64);
        std::arch::x86_64::_mm_sfence();
    }
    for ((array, b), e) in arrays.iter_mut().zip(&bytes).zip(&p.arrays) {
        *array = match e {
            Element::Word => {
                b.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect()
            }
            Element::Bool | Element::Byte => b.iter().map(|&x| x.into()).collect(),
        };
    }
    true
}

const CODES: [Code; 27] = [
    Code::Add,
    Code::Sub,
    Code::Mul,
    Code::Div,
    Code::Fma,
    Code::Sqrt,
    Code::Floor,
    Code::Rint,
    Code::Max,
    Code::Min,
    Code::AddInt,
    Code::SubInt,
    Code::MulInt,
    Code::And,
    Code::Or,
    Code::Xor,
    Code::Shift(Shift::Left, 3),
    Code::Shift(Shift::Right, 31),
    Code::Shift(Shift::RightSigned, 7),
    Code::OfInt,
    Code::Compare(Compare::LessEqual),
    Code::Compare(Compare::NotEqual),
    Code::EqualInt,
    Code::GreaterInt,
    Code::Both,
    Code::Not,
    Code::Pick,
];
/// With AVX-512 only.
const WIDE: [Code; 2] = [Code::OfUint, Code::CompareUint(Compare::Less)];

fn operands(code: Code) -> (usize, usize) {
    match code {
        Code::Both | Code::Either | Code::Differ => (2, 0),
        Code::Not => (1, 0),
        Code::Pick => (1, 2),
        Code::Fma => (0, 3),
        Code::Sqrt | Code::Floor | Code::Rint | Code::OfInt | Code::OfUint | Code::Shift(..) => (0, 1),
        _ => (0, 2),
    }
}

fn is_int(code: Code) -> bool {
    use Code::{
        AddInt, And, CompareUint, EqualInt, GreaterInt, MulInt, OfInt, OfUint, Or, Shift, SubInt, Xor,
    };
    matches!(code, AddInt | SubInt | MulInt | And | Or | Xor | Shift(..) | OfInt | OfUint)
        || matches!(code, EqualInt | GreaterInt | CompareUint(_))
}

const WORDS: [f32; 14] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    2.5,
    -3.5,
    1e-40,
    3e38,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    77.75,
    -1e-3,
];

struct Made {
    p: Program,
    arrays: Vec<Vec<u32>>,
    values: Vec<u32>,
}

/// A program of about `size` operations with `words` arrays of words, the last ones written too, and one of truth values.
fn random(rng: &mut Rng, size: usize, words: usize, values: usize, n: usize, wide: bool) -> Made {
    let mut p = Program { values, ..Program::default() };
    p.arrays = vec![Element::Word; words];
    p.arrays.push(Element::Bool);
    let bytes = words + 2 <= MAX_ARRAYS && rng.below(2) == 0;
    if bytes {
        p.arrays.push(Element::Byte);
    }
    let (mut data, mut truths): (Vec<Id>, Vec<Id>) = (Vec::new(), Vec::new());
    data.extend((0..words).map(|i| p.step(Step::Load(i))));
    data.extend((0..values).map(|i| p.step(Step::Value(i))));
    data.push(p.step(Step::Position));
    if bytes {
        data.push(p.step(Step::Load(words + 1)));
    }
    truths.push(p.step(Step::Load(words)));
    // The bits of a NaN that was computed are anything, so integers are not computed from it.
    let mut ints = data.clone();
    for _ in 0..size {
        let code = if wide && rng.below(8) == 0 { rng.pick(&WIDE) } else { rng.pick(&CODES) };
        let (t, d) = operands(code);
        let mut of = |from: &[Id], count: usize| (0..count).map(|_| rng.pick(from)).collect::<Vec<Id>>();
        let mut args = of(&truths, t);
        args.extend(of(if is_int(code) { &ints } else { &data }, d));
        let id = p.op(code, &args);
        if is_int(code) && !code.is_truth() {
            ints.push(id);
        }
        if code.is_truth() {
            truths.push(id)
        } else {
            data.push(id)
        }
        if rng.below(6) == 0 {
            data.push(p.constant(rng.pick(&WORDS).to_bits()));
        }
    }
    // What came last, and something older; two arrays are read and written.
    let late = data[data.len() - 1];
    for (k, value) in [late, rng.pick(&data)].into_iter().enumerate().take(words) {
        p.stores.push(Store { value, array: words - 1 - k, stream: false });
    }
    let mut word = |_| if rng.below(3) == 0 { rng.next() as u32 } else { rng.pick(&WORDS).to_bits() };
    let mut arrays: Vec<Vec<u32>> = (0..words).map(|_| (0..n).map(&mut word).collect()).collect();
    let values = (0..values).map(&mut word).collect();
    arrays.push((0..n).map(|_| rng.below(2) as u32).collect());
    if bytes {
        arrays.push((0..n).map(|_| rng.below(256) as u32).collect());
    }
    Made { p, arrays, values }
}

/// Checks one program on all levels; on how many it ran.
fn check(made: &Made, n: usize, before: usize) -> usize {
    let Made { p, arrays, values } = made;
    let mut want = arrays.clone();
    let all = (0..n).map(|at| (before + at, evaluate(p, arrays, values, before, at)));
    for (at, steps) in all {
        p.stores.iter().for_each(|s| want[s.array][at] = steps[s.value.ix()]);
    }
    let mut ran = 0;
    for cpu in CpuFeatures::available() {
        let mut got = arrays.clone();
        if !run(p, cpu.level, &mut got, values, n, before) {
            continue;
        }
        ran += 1;
        for (a, (got, want)) in got.iter().zip(&want).enumerate() {
            for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
                let what = || format!("element {i} of {n} after {before} of a{a} on {cpu}:\n{p}");
                assert!(same(g, w), "{:e}, want {:e}: {}", f32::from_bits(g), f32::from_bits(w), what());
            }
        }
    }
    ran
}

fn levels() -> usize {
    CpuFeatures::available().iter().filter(|c| c.level > Level::Portable).count()
}

#[test]
fn programs_do_what_they_say() {
    let mut rng = Rng::new(5);
    let mut ran = 0;
    for case in 0..600 {
        let (size, words, values) = (1 + rng.below(20), 1 + rng.below(MAX_ARRAYS - 1), rng.below(4));
        let (n, before) = (rng.below(50), rng.below(3));
        let wide = case % 3 == 0 && cfg!(target_arch = "x86_64");
        let mut made = random(&mut rng, size, words, values, before + n + 2, wide);
        if case % 4 == 1 {
            made.p.stores.truncate(1);
            made.p.stores[0].stream = true;
        }
        ran += check(&made, n, before);
    }
    assert!(ran >= 400 * levels(), "{ran}");
}

/// Nothing, and less than nothing, however it would be done.
#[test]
fn no_elements() {
    let mut rng = Rng::new(11);
    for case in 0..40 {
        let mut made = random(&mut rng, 5, 2, 1, 8, false);
        made.p.stores.truncate(1);
        made.p.stores[0].stream = case % 2 == 0;
        for cpu in CpuFeatures::available() {
            for (n, before) in [(0, 0), (0, 1), (0, 3), (usize::MAX, 1), (usize::MAX - 20, 2)] {
                let mut got = made.arrays.clone();
                run(&made.p, cpu.level, &mut got, &made.values, n, before);
                assert_eq!(got, made.arrays, "{cpu}\n{}", made.p);
            }
        }
    }
}

/// More values than registers: some are loaded again and again. What has nowhere to be is refused.
#[test]
fn registers_run_out() {
    let mut rng = Rng::new(7);
    for count in [10, 20, 40, 60] {
        let mut p = Program { values: count, arrays: vec![Element::Word; 2], ..Program::default() };
        let x = p.step(Step::Load(0));
        let mut sum = x;
        for i in 0..count {
            let v = p.step(Step::Value(i));
            let product = p.op(Code::Mul, &[x, v]);
            sum = p.op(Code::Add, &[sum, product]);
        }
        p.stores = vec![Store { value: sum, array: 1, stream: false }];
        let word = |i: usize| (i as f32 / 8.0).to_bits();
        let arrays = vec![(0..70).map(word).collect(), vec![0; 70]];
        let made = Made { p, arrays, values: (0..count).map(|_| rng.pick(&WORDS).to_bits()).collect() };
        assert_eq!(check(&made, 70, 0), levels());
    }
    // All sums are needed at the end.
    let mut p = Program { arrays: vec![Element::Word; 2], ..Program::default() };
    let x = p.step(Step::Load(0));
    let sums: Vec<Id> = (0..40u32)
        .map(|i| {
            let c = p.constant((i as f32).to_bits());
            p.op(Code::Add, &[x, c])
        })
        .collect();
    let total = sums.iter().rev().fold(x, |sum, &s| p.op(Code::Mul, &[sum, s]));
    p.stores = vec![Store { value: total, array: 1, stream: false }];
    assert!(Level::ALL.iter().all(|&l| p.code(l).is_none()));
}

#[test]
fn a_program_has_a_text() {
    let mut p = Program { arrays: vec![Element::Word, Element::Bool], values: 1, ..Program::default() };
    let (x, c, v) = (p.step(Step::Load(0)), p.step(Step::Load(1)), p.step(Step::Value(0)));
    let half = p.constant(0.5f32.to_bits());
    let y = p.op(Code::Mul, &[x, half]);
    let y = p.op(Code::Pick, &[c, y, v]);
    p.stores = vec![Store { value: y, array: 0, stream: true }];
    let want = "    v0 = load a0\n    v1 = load a1\n    v2 = value 0\n    v3 = const 0x3f000000 ; 0.5\n    v4 = Mul v0, v3\n    v5 = Pick v1, v4, v2\n    stream a0, v5\n";
    assert_eq!(p.to_string(), want);
}
