//! Bits: every kernel here runs in the loop interpreter and on every instruction set of the machine, and the
//! results must be equal bit for bit (NaNs count as equal), faults included.

mod code;
mod contract;
mod forms;
mod loops;
mod machine;
mod plan;
mod prims;
mod random;
mod small;

use std::sync::Arc;

use half::{bf16, f16};
use mlc_diag::Diagnostic;
use mlc_ir::DType;
use mlc_ir::loops::interp::run_kernel;
use mlc_ir::loops::{Arg, ArgId, FaultRecord, Kernel, Kind, LoopBody, Mode, Prov};
use mlc_runtime::exec::{Backend, Call, HostKernel, HostMemory, Pool, Workspace};

use crate::backend::{CpuBackend, CpuOptions};
use crate::features::CpuFeatures;
use crate::schedule::{Costs, Multiply};

/// A small generator: tests must not depend on another crate's streams.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, n: usize) -> usize {
        ((self.next() >> 33) % n as u64) as usize
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

const F64S: [f64; 24] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    1.5,
    2.5,
    -2.5,
    3.0,
    1e-40,
    -1e-310,
    5e-324,
    65504.0,
    65520.0,
    6.1e-5,
    3.4e38,
    -1.7e308,
    2147483648.0,
    -9.3e18,
    1.9e19,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
    255.6,
];
const INTS: [i64; 14] = [0, 1, -1, 2, 3, 7, -7, 127, -128, 255, 32767, i32::MIN as i64, i64::MIN, i64::MAX];

/// A value of the dtype: often a special one.
pub fn value(rng: &mut Rng, dtype: DType) -> u64 {
    let special = rng.below(4) == 0;
    let f =
        if special { rng.pick(&F64S) } else { (rng.next() >> 11) as f64 / (1u64 << 53) as f64 * 16.0 - 8.0 };
    let i = if special { rng.pick(&INTS) } else { rng.next() as i64 >> rng.pick(&[0, 20, 40, 58, 60]) };
    match dtype {
        DType::F64 => f.to_bits(),
        DType::F32 => (f as f32).to_bits().into(),
        DType::F16 => f16::from_f64(f).to_bits().into(),
        DType::BF16 => bf16::from_f64(f).to_bits().into(),
        DType::Bool => rng.next() & 1,
        _ => i as u64,
    }
}

pub fn fill(rng: &mut Rng, dtype: DType, len: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..len {
        out.extend(&value(rng, dtype).to_le_bytes()[..dtype.size()]);
    }
    out
}

pub fn bits(bytes: &[u8], dtype: DType, i: usize) -> u64 {
    let mut word = [0; 8];
    word[..dtype.size()].copy_from_slice(&bytes[i * dtype.size()..][..dtype.size()]);
    u64::from_le_bytes(word)
}

pub fn is_nan(bits: u64, dtype: DType) -> bool {
    match dtype {
        DType::F64 => f64::from_bits(bits).is_nan(),
        DType::F32 => f32::from_bits(bits as u32).is_nan(),
        DType::F16 => f16::from_bits(bits as u16).is_nan(),
        DType::BF16 => bf16::from_bits(bits as u16).is_nan(),
        _ => false,
    }
}

pub fn kernel(args: Vec<Arg>, body: LoopBody) -> Kernel {
    Kernel { name: "k".into(), args, kind: Kind::Loop(body), prov: vec![Prov::infra()] }
}

pub fn read(name: &str, dtype: DType, len: u64) -> Arg {
    Arg::new(name, dtype, len, Mode::Read)
}

pub fn write(name: &str, dtype: DType, len: u64) -> Arg {
    Arg::new(name, dtype, len, Mode::Write)
}

pub const A0: ArgId = ArgId(0);
pub const A1: ArgId = ArgId(1);
pub const A2: ArgId = ArgId(2);

/// Costs that cut everything as finely as it goes.
pub fn fine() -> Costs {
    Costs { grain_ns: 1, ..Costs::default() }
}

/// Costs of no machine, so that contractions are cut in ways that the usual ones never choose.
fn odd() -> [Costs; 2] {
    let multiply = |vector, latency| Some(Multiply { vector, latency });
    [
        Costs { grain_ns: 700, multiply: multiply(1, 1_000_000), ..Costs::default() },
        Costs { grain_ns: 3000, multiply: multiply(9000, 1), ..Costs::default() },
    ]
}

pub fn backend(features: CpuFeatures, costs: Costs) -> CpuBackend {
    CpuBackend::new(CpuOptions { costs, ..CpuOptions::new(features, true).threads(1) })
}

pub fn compile(kernel: &Kernel, features: CpuFeatures) -> Result<Arc<dyn HostKernel>, Diagnostic> {
    let (mut kernels, _) = backend(features, Costs::default()).kernels(std::slice::from_ref(kernel))?;
    Ok(kernels.remove(0))
}

/// Every case, or every n-th where `MLC_TEST_EVERY` says so: for emulators, where all would take days.
pub fn thinned<T>(cases: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
    let every = std::env::var("MLC_TEST_EVERY").ok().and_then(|n| n.parse().ok());
    cases.step_by(every.unwrap_or(1usize).max(1))
}

/// In which order and by whom chunks run.
#[derive(Clone, Copy)]
pub enum Order<'p> {
    Forward,
    Backward,
    Shared(&'p Pool),
}

thread_local! {
    /// Pools of 2, 3 and 7 threads. A pool serves one caller at a time, so each test has its own.
    static POOLS: [Pool; 3] = [2, 3, 7].map(Pool::new);
    static ALONE: Pool = Pool::new(1);
}

/// Runs compiled code over copies of the arguments.
pub fn run(
    kernel: &Kernel,
    code: &dyn HostKernel,
    args: &[Vec<u8>],
    order: Order<'_>,
) -> (Vec<Vec<u8>>, FaultRecord) {
    let memory: Vec<HostMemory> = args
        .iter()
        .zip(&kernel.args)
        .map(|(bytes, arg)| {
            let mut m = HostMemory::zeroed(bytes.len() as u64, 64).unwrap();
            m.as_mut_slice().fill(0xff);
            if arg.mode != Mode::Write {
                m.as_mut_slice()[..bytes.len()].copy_from_slice(bytes);
            }
            m
        })
        .collect();
    let threads = if let Order::Shared(pool) = order { pool.threads() } else { 1 };
    let mut scratch = HostMemory::zeroed(code.scratch().bytes(threads), 64).unwrap();
    scratch.as_mut_slice().fill(0xff);
    let fault = HostMemory::zeroed(size_of::<FaultRecord>() as u64, 64).unwrap();
    let mut table: Vec<*mut u8> = memory.iter().map(HostMemory::base).collect();
    table.push(fault.base());
    // SAFETY: one pointer for each argument, as long as it; a fault record; working memory as asked.
    let call = unsafe { Call::new(code, table.as_ptr(), scratch.base()) };
    match order {
        Order::Forward => ALONE.with(|pool| call.run(pool, |_| false)).unwrap(),
        Order::Shared(pool) => call.run(pool, |_| true).unwrap(),
        Order::Backward => {
            let shared = scratch.base();
            let own = shared.wrapping_add(code.scratch().own_offset(0) as usize);
            for (i, phase) in code.phases().iter().enumerate() {
                for c in (0..phase.chunks).rev() {
                    // SAFETY: as above; each chunk once.
                    unsafe { code.run(i, c..c + 1, table.as_ptr(), Workspace { shared, own }) }
                }
            }
        }
    }
    // SAFETY: the block holds a record; nothing runs any more.
    let record = unsafe { fault.base().cast::<FaultRecord>().read() };
    let out = memory.into_iter().zip(args).map(|(mut m, a)| m.as_mut_slice()[..a.len()].to_vec()).collect();
    (out, record)
}

/// Holds the kernel against the interpreter: on every instruction set, whole and in the smallest chunks, these in
/// any order and by 2, 3 and 7 threads. `what` names it in messages.
pub fn check(what: &str, kernel: &Kernel, args: &[Vec<u8>]) {
    let mut want = args.to_vec();
    let fault =
        run_kernel(kernel, &mut want).unwrap_or_else(|e| panic!("{what}: interpreter: {e}\n{kernel:#?}"));
    let compare = |how: &str, (got, record): (Vec<Vec<u8>>, FaultRecord)| {
        assert_eq!(record.site != 0, fault.site != 0, "{what}, {how}: fault {record:?}, want {fault:?}");
        for (i, arg) in kernel.args.iter().enumerate() {
            for j in 0..arg.len as usize {
                let (g, w) = (bits(&got[i], arg.dtype, j), bits(&want[i], arg.dtype, j));
                let same = g == w || (is_nan(g, arg.dtype) && is_nan(w, arg.dtype));
                assert!(same, "{what}, {how}: {}[{j}] is {g:#x}, want {w:#x}\n{kernel:#?}", arg.name);
            }
        }
    };
    let levels = CpuFeatures::available();
    for &features in &levels {
        let odd = if matches!(kernel.kind, Kind::Contract(_)) { &odd()[..] } else { &[] };
        for &costs in [Costs::default(), fine()].iter().chain(odd) {
            let backend = backend(features, costs);
            let code = backend.kernels(std::slice::from_ref(kernel)).map(|(mut k, _)| k.remove(0));
            let code = code.unwrap_or_else(|e| panic!("{what}: {} {:?}", e.title, e.notes));
            let need = code.scratch().bytes_for(code.phases(), 1);
            assert_eq!(need, backend.scratch_bytes(kernel), "{what}: working memory");
            compare(&format!("{features}"), run(kernel, &*code, args, Order::Forward));
            if code.phases().iter().all(|p| p.chunks <= 1) {
                continue;
            }
            compare(&format!("{features}, backward"), run(kernel, &*code, args, Order::Backward));
            if features == levels[levels.len() - 1] {
                POOLS.with(|pools| {
                    for pool in pools {
                        let how = format!("{features}, {pool:?}");
                        compare(&how, run(kernel, &*code, args, Order::Shared(pool)));
                    }
                });
            }
        }
    }
}

/// As [`check`] with arguments filled from `seed`.
pub fn check_filled(what: &str, kernel: &Kernel, seed: u64) {
    let mut rng = Rng::new(seed);
    let args: Vec<Vec<u8>> = kernel.args.iter().map(|a| fill(&mut rng, a.dtype, a.len)).collect();
    check(what, kernel, &args);
}
