//! `mlc devices`: the CPU, and what of CUDA is there.

use mlc::Error;
use mlc::cuda::{Found, Library, probe};
use mlc::diag::Diagnostic;

use crate::show::out;
use crate::{exit, text};

pub fn run(calibrate: bool) -> Result<u8, Error> {
    if calibrate {
        let d = Diagnostic::error("E0916", "`mlc devices --calibrate` is not built yet");
        return Err(Error::plain(
            d.hint("the compiler uses its built-in cost table; `mlc devices` lists what there is"),
        ));
    }
    out(&format!("{}\n{}", cpu()?, cuda()));
    Ok(exit::OK)
}

fn cpu() -> Result<String, Error> {
    let mut lines = vec![format!("cpu: {}", model_name())];
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
    Ok(lines.join("\n") + "\n")
}

/// As the system calls it.
fn model_name() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |l: &str| l.split_once(':').map(|(_, v)| v.trim().to_string());
    let named = info.lines().find(|l| l.starts_with("model name")).and_then(field);
    named.unwrap_or_else(|| std::env::consts::ARCH.to_string())
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
