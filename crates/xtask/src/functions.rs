//! The accuracy of function expansions over all inputs.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use mlc::cpu::{CpuFeatures, worst_error};
use mlc::ir::loops::functions::{Func, UlpError};

const FUNCTIONS: [(&str, Func); 10] = [
    ("exp", Func::Exp),
    ("expm1", Func::Expm1),
    ("log", Func::Log),
    ("log1p", Func::Log1p),
    ("sin", Func::Sin),
    ("cos", Func::Cos),
    ("tan", Func::Tan),
    ("tanh", Func::Tanh),
    ("erf", Func::Erf),
    ("sigmoid", Func::Sigmoid),
];

/// The inputs are taken by threads in this many slices.
const SLICES: u32 = 1 << 10;

/// Prints the worst error of each function (or one); fails above 1 ulp.
pub fn check(name: Option<&str>) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for (label, f) in FUNCTIONS.iter().filter(|f| name.is_none_or(|n| n == f.0)) {
        let e = worst_of_all(*f);
        println!("{label}: {:.3} ulp at {:e}", e.ulps, e.at);
        if e.ulps > 1.0 {
            code = ExitCode::FAILURE;
        }
    }
    code
}

/// Over all 2^32 inputs, on all cores. Of equal errors the smallest input's, whoever finds it first.
fn worst_of_all(f: Func) -> UlpError {
    let cpu = CpuFeatures::detect();
    let next = AtomicU32::new(0);
    let worst = Mutex::new(UlpError { ulps: 0.0, at: 0.0 });
    let work = || {
        loop {
            let slice = next.fetch_add(1, Ordering::Relaxed);
            if slice >= SLICES {
                break;
            }
            let width = u32::MAX / SLICES;
            let start = slice * (width + 1);
            let found = worst_error(f, cpu, start..=start + width).expect("a function of one operand");
            let mut worst = worst.lock().expect("no thread panics");
            let earlier = found.ulps == worst.ulps && found.at.to_bits() < worst.at.to_bits();
            if found.ulps > worst.ulps || earlier {
                *worst = found;
            }
        }
    };
    std::thread::scope(|s| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            s.spawn(work);
        }
    });
    worst.into_inner().expect("no thread panics")
}
