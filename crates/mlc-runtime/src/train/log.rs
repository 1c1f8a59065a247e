//! The JSON-lines log: one strict JSON object a line. Lines reach the file ten times a second, at validations and at the
//! end: a short step must not wait for the system each time.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use mlc_diag::Diagnostic;
use serde_json::{Map, Value, json};

use super::report::{StepReport, ValidationReport};

/// An open log. `append` keeps what is there (a resumed run); else the file is truncated.
pub struct Log {
    out: BufWriter<File>,
    path: String,
    flushed: Instant,
}

/// Lines wait no longer than until the first step after this.
const FLUSH: Duration = Duration::from_millis(100);

impl Log {
    /// # Errors
    /// Where the file cannot be opened.
    pub fn open(path: &Path, append: bool) -> Result<Log, Diagnostic> {
        let name = path.display().to_string();
        let mut options = File::options();
        options.create(true).write(true).append(append).truncate(!append);
        let file = options.open(path).map_err(|e| failed(&name, &e))?;
        Ok(Log { out: BufWriter::new(file), path: name, flushed: Instant::now() })
    }

    /// # Errors
    /// Where the line cannot be written.
    pub fn step(&mut self, r: &StepReport) -> Result<(), Diagnostic> {
        let mut line = Map::new();
        line.insert("step".into(), json!(r.step));
        line.insert("epoch".into(), json!(r.epoch));
        losses(&mut line, &r.losses);
        line.insert("metrics".into(), object(&r.metrics));
        line.insert("lr".into(), one_or_object(&r.lr));
        line.insert("scale".into(), number(r.scale));
        line.insert("skipped".into(), json!(r.skipped));
        line.insert("ms".into(), number((r.ms * 1000.0).round() / 1000.0));
        self.write(line)
    }

    /// # Errors
    /// Where the line cannot be written.
    pub fn validation(&mut self, r: &ValidationReport) -> Result<(), Diagnostic> {
        let mut line = Map::new();
        line.insert("validate".into(), json!(1));
        line.insert("step".into(), json!(r.step));
        line.insert("epoch".into(), json!(r.epoch));
        losses(&mut line, &r.losses);
        line.insert("metrics".into(), object(&r.metrics));
        line.insert("rows".into(), json!(r.rows));
        self.write(line)?;
        self.flush()
    }

    /// # Errors
    /// Where what was written before cannot be.
    pub fn flush(&mut self) -> Result<(), Diagnostic> {
        self.flushed = Instant::now();
        self.out.flush().map_err(|e| failed(&self.path, &e))
    }

    fn write(&mut self, mut line: Map<String, Value>) -> Result<(), Diagnostic> {
        if line.values().any(holds_null) {
            line.insert("nonfinite".into(), json!(true));
        }
        let text = Value::Object(line).to_string();
        writeln!(self.out, "{text}").map_err(|e| failed(&self.path, &e))?;
        if self.flushed.elapsed() < FLUSH { Ok(()) } else { self.flush() }
    }
}

fn failed(path: &str, e: &std::io::Error) -> Diagnostic {
    Diagnostic::error("E0720", format!("cannot write the log `{path}`: {}", mlc_diag::io_reason(e)))
        .hint("give --log a path that can be written")
}

/// f32 results print as the shortest decimal that reads back as the same f32.
fn number(v: f64) -> Value {
    let short = v as f32;
    let v = if short as f64 == v { short.to_string().parse().unwrap_or(v) } else { v };
    serde_json::Number::from_f64(v).map_or(Value::Null, Value::Number)
}

fn object(values: &[(String, f64)]) -> Value {
    Value::Object(values.iter().map(|(k, v)| (k.clone(), number(*v))).collect())
}

/// One unnamed value as a number, else an object; null for none.
fn one_or_object(values: &[(String, f64)]) -> Value {
    match values {
        [] => Value::Object(Map::new()),
        [(name, v)] if name.is_empty() => number(*v),
        _ => object(values),
    }
}

fn losses(line: &mut Map<String, Value>, values: &[(String, f64)]) {
    if values.is_empty() {
        return;
    }
    line.insert("loss".into(), number(values.iter().map(|l| l.1).sum()));
    if values.len() > 1 || !values[0].0.is_empty() {
        line.insert("losses".into(), object(values));
    }
}

fn holds_null(v: &Value) -> bool {
    match v {
        Value::Null => true,
        Value::Object(m) => m.values().any(holds_null),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(loss: f64) -> StepReport {
        StepReport {
            step: 1,
            epoch: 0,
            losses: vec![(String::new(), loss)],
            metrics: vec![("accuracy".into(), 0.5)],
            lr: vec![(String::new(), 0.1f32 as f64)],
            scale: 1.0,
            skipped: 0,
            ms: 0.11,
            rows: 64,
        }
    }

    #[test]
    fn lines_are_strict_json_with_short_floats() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        let mut log = Log::open(&path, false).unwrap();
        log.step(&report(2.298_75_f32 as f64)).unwrap();
        log.step(&report(f64::NAN)).unwrap();
        log.flush().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines[0]["loss"], json!(2.29875));
        assert_eq!(lines[0]["lr"], json!(0.1));
        assert_eq!(lines[0].get("nonfinite"), None);
        assert_eq!((&lines[1]["loss"], &lines[1]["nonfinite"]), (&Value::Null, &json!(true)));
        // What is not flushed is written when the log goes away.
        log.step(&report(2.0)).unwrap();
        drop(log);
        Log::open(&path, true).unwrap().step(&report(1.0)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 4);
    }
}
