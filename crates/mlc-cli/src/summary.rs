//! What a run leaves on stdout: final numbers, seed, what was saved or how to save it.

use std::path::Path;

use mlc::ir::program::Train;
use mlc::ir::{DType, Device};
use mlc::runtime::HostTensor;
use mlc::runtime::train::{End, RunReport, ValidationReport};

use crate::progress::{named, validation};
use crate::text;

/// The end of a training run.
pub fn training(report: &RunReport, spec: &Train, done_before: u64) -> String {
    let mut out = String::new();
    let steps = report.steps - done_before.min(report.steps);
    let how = match report.end {
        End::Finished if steps == 0 => "no steps to train".to_string(),
        End::Finished => {
            format!("trained {} in {}", text::plural(steps, "step"), text::seconds(report.seconds))
        }
        End::Stopped => format!(
            "stopped by the file's `stop` rule after {} in {}",
            text::plural(steps, "step"),
            text::seconds(report.seconds)
        ),
        End::Interrupted => format!("interrupted after step {}", text::count(report.steps)),
    };
    out += &how;
    if done_before > 0 && report.end != End::Interrupted {
        out +=
            &format!(" (resumed at step {}, now at {})", text::count(done_before), text::count(report.steps));
    }
    out.push('\n');
    if let Some(last) = &report.last {
        out += &format!("last step: {}\n", named(&last.losses, "loss", &last.metrics));
        if last.skipped > 0 {
            out += &format!(
                "skipped: {} (loss scale {})\n",
                text::plural(last.skipped, "step"),
                text::value(last.scale)
            );
        }
    }
    if let Some(v) = &report.validation {
        out += &validated(v);
    }
    out += &format!("seed: {}\n", report.seed);
    for path in &report.saved {
        out += &format!("saved: {}\n", path.display());
    }
    if let Some(folder) = &report.checkpoint {
        out += &format!("checkpoint: {}\n", folder.display());
    }
    if report.saved.is_empty() && report.checkpoint.is_none() && report.steps > 0 {
        let also = match spec.save {
            Some(_) => "",
            None => ", or write `save = \"model.safetensors\"` in the train block",
        };
        out += &format!("nothing was saved: add --save model.safetensors{also}\n");
    }
    out
}

/// One pass over the validation data.
pub fn validated(v: &ValidationReport) -> String {
    format!("validation: {}  ({})\n", validation(v), text::plural(v.rows, "row"))
}

/// A result of an entry: `out: f32[64,10] on cpu:0  [[0.1, 0.2, ..], ..]`, and the range of its values.
pub fn result(name: &str, t: &HostTensor, device: Option<Device>) -> String {
    let dims: Vec<String> = t.shape().iter().map(usize::to_string).collect();
    let ty =
        if dims.is_empty() { t.dtype().to_string() } else { format!("{}[{}]", t.dtype(), dims.join(",")) };
    let on = device.map_or(String::new(), |d| format!(" on {d}"));
    let range = match range(t) {
        Some((low, high)) => format!("  from {} to {}", text::value(low), text::value(high)),
        None => String::new(),
    };
    format!("{name}: {ty}{on}  {}{range}\n", values(t))
}

/// Bytes as text, a line (at least) for each row.
pub fn text(t: &HostTensor) -> String {
    let row = t.shape().last().copied().unwrap_or(1).max(1);
    t.bytes().chunks(row).map(|r| format!("{}\n", String::from_utf8_lossy(r))).collect()
}

/// Up to six elements of each axis' start, nested as the shape is.
fn values(t: &HostTensor) -> String {
    const SHOWN: usize = 6;
    if t.rank() == 0 {
        return scalar(t);
    }
    let n = t.shape()[0];
    // Of the outer axes only the first part is shown: a summary is one line.
    let shown = if t.rank() == 1 { SHOWN.min(n) } else { 1.min(n) };
    let mut parts: Vec<String> = (0..shown).filter_map(|i| t.index(i)).map(|part| values(&part)).collect();
    if n > shown {
        parts.push("..".to_string());
    }
    format!("[{}]", parts.join(", "))
}

/// One element.
pub fn scalar(t: &HostTensor) -> String {
    match t.dtype() {
        DType::Bool => (t.bytes().first() == Some(&1)).to_string(),
        d if d.is_float() => text::value(t.to_vec::<f64>().first().copied().unwrap_or(f64::NAN)),
        DType::U64 => t.to_vec::<u64>().first().map_or(String::new(), u64::to_string),
        _ => t.to_vec::<i64>().first().map_or(String::new(), i64::to_string),
    }
}

/// Least and greatest, where there are many; NaN if there is one.
fn range(t: &HostTensor) -> Option<(f64, f64)> {
    if t.len() < 2 || t.dtype() == DType::Bool {
        return None;
    }
    let values = t.to_vec::<f64>();
    if values.iter().any(|v| v.is_nan()) {
        return Some((f64::NAN, f64::NAN));
    }
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    Some((low, values.iter().copied().fold(f64::NEG_INFINITY, f64::max)))
}

/// Where results went.
pub fn written(path: &Path, names: &[String]) -> String {
    format!("wrote {} to {}\n", names.join(", "), path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_one_line() {
        let t = HostTensor::from_slice(&[2, 3], &[1f32, 2.5, 3., 4., 5., 6.]).unwrap();
        assert_eq!(
            result("out", &t, Some(Device::CPU)),
            "out: f32[2,3] on cpu:0  [[1, 2.5, 3], ..]  from 1 to 6\n"
        );
        assert_eq!(result("n", &HostTensor::scalar(7i64), None), "n: i64  7\n");
        let empty = HostTensor::from_slice::<f32>(&[0, 3], &[]).unwrap();
        assert_eq!(result("e", &empty, None), "e: f32[0,3]  []\n");
        let bools = HostTensor::from_bools(&[2], &[true, false]).unwrap();
        assert_eq!(result("b", &bools, None), "b: bool[2]  [true, false]\n");
        let nan = HostTensor::from_slice(&[2], &[1f32, f32::NAN]).unwrap();
        assert_eq!(result("x", &nan, None), "x: f32[2]  [1, NaN]  from NaN to NaN\n");
    }
}
