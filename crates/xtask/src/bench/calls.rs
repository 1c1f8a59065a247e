//! `cargo xtask bench --calls`: where a row's time goes, call by call of its plan.
//!
//! Each call has the least time of many runs, its arithmetic if it is a contraction, and the bytes of its arguments, each
//! counted once for reading and once for writing: what it has to move if no cache holds any of it.

use std::process::ExitCode;
use std::time::Duration;

use mlc::cpu::CpuBackend;
use mlc::ir::loops::{Axis, Call, Kernel, Kind, LoopProgram, Mode};

use super::ours::Ours;
use super::rows::Row;
use super::shown;

/// Prints a table for each row.
pub fn tables<'r>(rows: impl Iterator<Item = &'r Row>, seconds: f64, threads: Option<usize>) -> ExitCode {
    let mut failed = false;
    for row in rows {
        if let Err(e) = table(row, seconds, threads) {
            eprintln!("{}: {e}", row.name);
            failed = true;
        }
    }
    ExitCode::from(u8::from(failed))
}

fn table(row: &Row, seconds: f64, threads: Option<usize>) -> Result<(), String> {
    let mut ours = Ours::prepare(row, threads)?;
    let times = ours.measure_calls(Duration::from_secs_f64(seconds))?;
    let backend = CpuBackend::from_env(true, None).map_err(|d| format!("{d:?}"))?;
    let program = &ours.plan().program;
    let all = times.iter().sum::<Duration>().as_secs_f64();
    println!("## {}: {} in {} calls\n", row.title, shown(all), times.len());
    println!("| kernel | calls | what | a call | share | Gflop/s | GB/s | how it is cut |");
    println!("|---|---|---|---|---|---|---|---|");
    for (kernel, calls) in by_kernel(program, &times) {
        let sum: f64 = calls.iter().map(|&i| times[i].as_secs_f64()).sum();
        let (what, flop) = work(kernel);
        let rate = |amount: f64| {
            let rate = amount * calls.len() as f64 / sum / 1e9;
            if amount > 0.0 { format!("{rate:.1}") } else { "–".into() }
        };
        println!(
            "| {} | {} | {what} | {} | {:.1} % | {} | {} | {} |",
            kernel.name,
            calls.len(),
            shown(sum / calls.len() as f64),
            100.0 * sum / all,
            rate(flop),
            rate(bytes(program, &program.calls[calls[0]])),
            backend.cut(kernel).join("; "),
        );
    }
    println!();
    Ok(())
}

/// Each kernel with its calls, those that take longest in all first.
fn by_kernel<'p>(program: &'p LoopProgram, times: &[Duration]) -> Vec<(&'p Kernel, Vec<usize>)> {
    let mut calls: Vec<Vec<usize>> = vec![vec![]; program.kernels.len()];
    program.calls.iter().enumerate().for_each(|(i, c)| calls[c.kernel.ix()].push(i));
    let mut all: Vec<_> = program.kernels.iter().zip(calls).filter(|(_, c)| !c.is_empty()).collect();
    all.sort_by_key(|(_, calls)| std::cmp::Reverse(calls.iter().map(|&i| times[i]).sum::<Duration>()));
    all
}

/// What a kernel is, and its floating-point operations if it is a contraction.
fn work(kernel: &Kernel) -> (String, f64) {
    match &kernel.kind {
        Kind::Contract(c) => {
            let sizes =
                [&c.batch, &c.m, &c.n, &c.k].map(|axes| axes.iter().map(|a: &Axis| a.extent).product());
            let [b, m, n, k]: [u64; 4] = sizes;
            let batch = if b > 1 { format!("{b} x ") } else { String::new() };
            (format!("{batch}{m} x {n} x {k}"), 2.0 * (b * m * n * k) as f64)
        }
        Kind::Loop(_) => ("loop".into(), 0.0),
        Kind::Segments(list) => (format!("{} segments", list.len()), 0.0),
        Kind::ScatterAdd(_) => ("scatter".into(), 0.0),
        Kind::Copy(_) => ("copy".into(), 0.0),
        Kind::Repeat(_) => ("repeat".into(), 0.0),
    }
}

/// Bytes that the call's arguments have, those that are read and written twice.
fn bytes(program: &LoopProgram, call: &Call) -> f64 {
    let args = program.kernel_of(call).args.iter().zip(&call.args);
    let of = |(arg, slice): (&mlc::ir::loops::Arg, &mlc::ir::loops::BufferSlice)| {
        let times = if matches!(arg.mode, Mode::Read | Mode::Write) { 1 } else { 2 };
        times * slice.len * arg.dtype.size() as u64
    };
    args.map(of).sum::<u64>() as f64
}
