//! `mlc devices`: the CPU, and what of CUDA is there; with `--calibrate` the table of costs is measured.

use mlc::Error;
use mlc::cpu::Costs;
use mlc::cuda::{Found, Library, probe};
use mlc::diag::Diagnostic;

use crate::show::{Show, out};
use crate::{exit, text};

pub fn run(calibrate: bool, show: &Show) -> Result<u8, Error> {
    if calibrate {
        return measure();
    }
    out(&format!("{}\n{}", cpu(show)?, cuda()));
    Ok(exit::OK)
}

/// Measures the table of costs, keeps it, and shows it beside the one that is built in.
fn measure() -> Result<u8, Error> {
    let Some(path) = mlc::costs::user_table().map_err(Error::plain)? else {
        let d = Diagnostic::error("E0712", "there is no cache folder to keep the table of costs in");
        return Err(Error::plain(d.hint("name one by the environment variable MLC_CACHE_DIR")));
    };
    let costs = mlc::costs::measure().map_err(Error::plain)?;
    mlc::costs::write(&path, costs).map_err(Error::plain)?;
    out(&format!("{}wrote {}\n", table(&costs), path.display()));
    Ok(exit::OK)
}

/// A row for each figure: what it is, measured, built in.
fn table(costs: &Costs) -> String {
    let built_in = Costs::default();
    let ps = |n: u64| format!("{n} ps");
    let of =
        |name: &str, figure: fn(&Costs) -> u64| (name.to_string(), ps(figure(costs)), ps(figure(&built_in)));
    let mut rows = vec![
        of("an element: a cheap operation", |c| c.cheap),
        of("  a division", |c| c.divide),
        of("  lane by lane: 64-bit integers, gathers", |c| c.scalar),
        of("  exp, log, tanh", |c| c.function),
        of("  pow", |c| c.long_function),
        of("  exp of f64", |c| c.scalar_function),
        of("  into a reduction", |c| c.reduce),
        of("a byte in the caches", |c| c.near_byte),
        of("a byte in memory", |c| c.far_byte),
    ];
    let size = |c: &Costs| text::bytes(c.near);
    rows.push(("what counts as in the caches".into(), size(costs), size(&built_in)));
    let chunk = |c: &Costs| format!("{:.1} us", c.grain_ns as f64 / 1000.0);
    rows.push(("a chunk of shared work, at least".into(), chunk(costs), chunk(&built_in)));
    if let Some(m) = costs.multiply {
        rows.push(("a multiply-add of a vector in a product".into(), ps(m.vector), "by level".into()));
        rows.push(("  until its result can be added to".into(), ps(m.latency), "by level".into()));
    }
    let line = |(what, own, other): &(String, String, String)| format!("{what:<42}{own:>12}{other:>12}\n");
    let head = line(&("one thread".into(), "measured".into(), "built in".into()));
    head + &rows.iter().map(line).collect::<String>()
}

fn cpu(show: &Show) -> Result<String, Error> {
    let mut lines = vec![format!("cpu: {}", mlc::costs::cpu_name())];
    lines.push(format!("  code for: {}", mlc::cpu_description()?));
    let features = features();
    if !features.is_empty() {
        lines.push(format!("  features: {}", features.join(" ")));
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    lines.push(format!("  threads: {cores}"));
    if let Some(memory) = memory() {
        lines.push(format!("  memory: {}", text::bytes(memory)));
    }
    let measured = super::costs(show)?.is_some();
    lines.push(format!(
        "  costs: {}",
        if measured { "measured" } else { "built in; --calibrate measures them" }
    ));
    Ok(lines.join("\n") + "\n")
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    let all = [
        ("sse4.2", std::is_x86_feature_detected!("sse4.2")),
        ("avx", std::is_x86_feature_detected!("avx")),
        ("avx2", std::is_x86_feature_detected!("avx2")),
        ("fma", std::is_x86_feature_detected!("fma")),
        ("f16c", std::is_x86_feature_detected!("f16c")),
        ("avx512f", std::is_x86_feature_detected!("avx512f")),
        ("avx512bw", std::is_x86_feature_detected!("avx512bw")),
        ("avx512vl", std::is_x86_feature_detected!("avx512vl")),
        ("avx512bf16", std::is_x86_feature_detected!("avx512bf16")),
        ("avx512fp16", std::is_x86_feature_detected!("avx512fp16")),
    ];
    all.iter().filter(|f| f.1).map(|f| f.0).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> Vec<&'static str> {
    vec![]
}

fn memory() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|k| k * 1024)
}

fn cuda() -> String {
    let p = probe();
    let mut lines = vec![];
    match &p.devices {
        Ok(devices) if devices.is_empty() => lines.push("cuda: no devices".to_string()),
        Ok(devices) => lines.extend(devices.iter().enumerate().map(|(i, g)| {
            let (major, minor) = g.capability;
            format!("cuda:{i}: {} (sm_{major}{minor}, {})", g.name, text::bytes(g.bytes as u64))
        })),
        Err(why) => lines.push(format!("cuda: none: {why}")),
    }
    if let Some(v) = p.driver_version {
        lines.push(format!("  the driver supports CUDA {}.{}", v / 1000, v % 1000 / 10));
    }
    lines.extend(p.libraries().iter().map(|l| library(l)));
    if p.libraries().iter().any(|l| l.found.is_none()) {
        lines.push("  looked for in: the system's loader".to_string());
        lines.extend(p.folders.iter().map(|f| format!("    {}", f.display())));
    }
    lines.push("  this build of mlc has no CUDA back end yet: nothing runs there".to_string());
    lines.join("\n") + "\n"
}

fn library(l: &Library) -> String {
    let state = match &l.found {
        Some(Found::At(path)) => path.display().to_string(),
        Some(Found::Loader) => "found by the system's loader".to_string(),
        None => format!("not found; to get it: {}", l.advice),
    };
    format!("  {} ({}): {state}", l.file, l.purpose)
}
