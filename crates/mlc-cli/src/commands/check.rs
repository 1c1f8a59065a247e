//! `mlc check FILE`: everything that can be known without running: types, devices, transfers, memory,
//! and, where they are there, the data files.

use std::collections::BTreeMap;
use std::fmt::Write;

use mlc::diag::{Diagnostics, Severity};
use mlc::ir::Binding;
use mlc::ir::graph::{Phase, Stage};
use mlc::ir::program::{DataSpec, Entry, EntryKind, StateKind};
use mlc::passes::crossings;
use mlc::runtime::data::LoadOptions;
use mlc::runtime::files::Cache;
use mlc::{Error, Program, params};

use crate::args::CheckArgs;
use crate::show::{Show, out};
use crate::sizes::{self, Opened};
use crate::{exit, memory, text};

pub fn run(a: &CheckArgs, show: &Show) -> Result<u8, Error> {
    let program = super::program(&a.model, show)?;
    let entries: Vec<&Entry> = program.ir().entries.iter().filter(|e| !hidden(e)).collect();
    sizes::check_options(&program, &entries)?;
    let data = Data::open(&program);
    show.diagnostics(&data.problems, program.sources());
    if data.problems.has_errors() {
        return Ok(exit::FAILED);
    }
    let mut report = String::new();
    parameters(&program, &mut report);
    signatures(&program, &entries, &mut report);
    data.report(&program, &mut report);
    transfers(&program, &entries, &mut report)?;
    let mut errors = memory_report(&program, &entries, &data, &mut report);
    errors.sort();
    out(&report);
    match errors.is_empty() {
        true => Ok(exit::OK),
        false => Err(Error::new(errors, program.sources())),
    }
}

fn hidden(e: &Entry) -> bool {
    matches!(e.kind, EntryKind::Init | EntryKind::Test { .. })
}

fn parameters(program: &Program, report: &mut String) {
    let rows = params(program);
    if rows.is_empty() {
        return;
    }
    let mut cells =
        vec![vec!["parameter".into(), "type".into(), "elements".into(), "bytes".into(), String::new()]];
    for r in &rows {
        let note = if r.trained { "" } else { "buffer" };
        cells.push(vec![
            r.path.clone(),
            r.ty.clone(),
            text::count(r.elements),
            text::bytes(r.bytes),
            note.into(),
        ]);
    }
    let total = |trained: bool| {
        let rows = rows.iter().filter(|r| r.trained == trained);
        rows.fold((0, 0), |(e, b), r| (e + r.elements, b + r.bytes))
    };
    let (elements, bytes) = total(true);
    cells.push(vec!["total".into(), String::new(), text::count(elements), text::bytes(bytes), String::new()]);
    let (elements, bytes) = total(false);
    if elements > 0 {
        cells.push(vec![
            "buffers".into(),
            String::new(),
            text::count(elements),
            text::bytes(bytes),
            String::new(),
        ]);
    }
    *report += &text::table(&cells, &[false, false, true, true, false]);
    report.push('\n');
}

fn signatures(program: &Program, entries: &[&Entry], report: &mut String) {
    *report += "entries\n";
    let mut rows = vec![];
    for e in entries {
        let inputs: Vec<String> =
            e.inputs.iter().map(|i| format!("{}: {}", i.name, i.ty.clone().on(None))).collect();
        let outputs: Vec<String> = e
            .graph
            .outputs
            .iter()
            .map(|o| format!("{}: {}", o.name, e.graph.ty(o.value).clone().on(None)))
            .collect();
        rows.push(vec![e.name.clone(), format!("({}) -> {}", inputs.join(", "), outputs.join(", "))]);
    }
    *report += &text::table(&rows, &[]);
    let mut devices: BTreeMap<String, u64> = BTreeMap::new();
    for slot in program.layout().slots() {
        *devices.entry(slot.device.to_string()).or_default() += 1;
    }
    devices.entry(program.device().to_string()).or_default();
    let all: Vec<String> =
        devices.iter().map(|(d, n)| format!("{d} (holds {})", text::plural(*n, "state"))).collect();
    let _ = writeln!(report, "\ndevices: {}", all.join(", "));
}

/// The data of all train blocks, as far as the files are there.
struct Data {
    /// For each train block: training and validation data.
    opened: Vec<[Option<Opened>; 2]>,
    problems: Diagnostics,
}

impl Data {
    fn open(program: &Program) -> Data {
        let options = LoadOptions { cache: Cache::user(), ..LoadOptions::default() };
        let mut problems = Diagnostics::new();
        let mut one =
            |spec: &Option<DataSpec>| spec.as_ref().map(|s| sizes::open(s, &options, &mut problems));
        let opened = program.ir().trains.iter().map(|t| [one(&t.data), one(&t.validate)]).collect();
        // A file that is not there is no mistake in the model: `mlc run` needs it, `mlc check` does not.
        for d in &mut problems.0 {
            if d.code == "E0701" {
                d.severity = Severity::Warning;
                d.code = "W0702";
            }
        }
        problems.sort();
        Data { opened, problems }
    }

    fn of(&self, program: &Program, entry: &Entry) -> Option<&Opened> {
        let [data, validate] = self.opened.get(entry.kind.train()?)?;
        match entry.kind {
            EntryKind::Validate { train } if program.ir().trains[train].validate.is_some() => {
                validate.as_ref()
            }
            _ => data.as_ref(),
        }
    }

    fn report(&self, program: &Program, report: &mut String) {
        let mut rows = vec![];
        for (train, opened) in program.ir().trains.iter().zip(&self.opened) {
            for (what, spec, opened) in
                [("data", &train.data, &opened[0]), ("validate", &train.validate, &opened[1])]
            {
                let (Some(spec), Some(opened)) = (spec, opened) else { continue };
                for (part, dataset) in spec.parts.iter().zip(opened) {
                    let rows_of = match dataset {
                        None => "not read".to_string(),
                        Some(d) => match d.rows() {
                            Some(n) => text::plural(n as u64, "sample"),
                            None if part.dataset.fields.iter().all(|f| f.shared) => "all of it".into(),
                            None => "fed by the caller".into(),
                        },
                    };
                    let batch =
                        part.pipeline.batch.map_or("whole".to_string(), |b| format!("batches of {b}"));
                    rows.push(vec![
                        format!("{}.{what}", train.name),
                        part.dataset.name.clone(),
                        rows_of,
                        batch,
                    ]);
                }
            }
        }
        if !rows.is_empty() {
            *report += "\ndata\n";
            *report += &text::table(&rows, &[false, false, true, false]);
        }
    }
}

fn transfers(program: &Program, entries: &[&Entry], report: &mut String) -> Result<(), Error> {
    let mut rows = vec![];
    for e in entries {
        // With what the backward sends; where there is no derivative, `memory_report` says why.
        let graph = program
            .graph(&e.name, Stage::Differentiated, &Binding::new())
            .or_else(|_| program.graph(&e.name, Stage::Placed, &Binding::new()))?;
        for c in crossings(&graph) {
            let bytes =
                c.bytes.as_const().map_or_else(|| format!("{} bytes", c.bytes), |n| text::bytes(n as u64));
            let mut notes = vec![];
            if c.phase == Phase::Backward {
                notes.push("backward");
            }
            if c.input {
                notes.push("input");
            }
            if c.explicit {
                notes.push("written");
            }
            let at = program.sources().locate(c.span);
            rows.push(vec![e.name.clone(), format!("{} -> {}", c.from, c.to), bytes, at, notes.join(", ")]);
        }
    }
    if rows.is_empty() {
        *report += "\ntransfers: none\n";
    } else {
        let _ = writeln!(report, "\ntransfers: {}", rows.len());
        *report += &text::table(&rows, &[false, false, true, false, false]);
    }
    Ok(())
}

fn memory_report(program: &Program, entries: &[&Entry], data: &Data, report: &mut String) -> Diagnostics {
    *report += "\nmemory\n";
    let mut kinds: BTreeMap<(u8, &str), u64> = BTreeMap::new();
    for s in &program.ir().states {
        let bytes =
            s.ty.bound_shape().map_or(0, |d| (d.iter().product::<usize>() * s.ty.dtype.size()) as u64);
        *kinds.entry(kind_name(&s.kind)).or_default() += bytes;
    }
    let rows: Vec<Vec<String>> =
        kinds.iter().map(|((_, kind), n)| vec![(*kind).to_string(), text::bytes(*n)]).collect();
    *report += &text::table(&rows, &[false, true]);
    let mut errors = Diagnostics::new();
    for e in entries {
        let binding = sizes::known(program, e, data.of(program, e));
        let open = sizes::open_dims(e, &binding);
        if !open.is_empty() {
            // Without sizes there is no plan; what is wrong before that is found all the same.
            if let Err(e) = program.graph(&e.name, Stage::Differentiated, &binding) {
                errors.extend(e.diagnostics);
            }
            let dims: Vec<String> = open.iter().map(|d| format!("--dim {d}=N")).collect();
            let _ = writeln!(report, "\n  {}: depends on dims, give {}", e.name, dims.join(" "));
            continue;
        }
        match memory::plan(program, &e.name, &binding) {
            Ok((lowered, unfit)) => {
                *report += &memory::block(program, &e.name, &binding, &lowered);
                errors.extend(unfit.into_iter().flat_map(|e| e.diagnostics));
            }
            // What only these sizes show: a check that fails for the batch of the data.
            Err(error) => errors.extend(error.diagnostics),
        }
    }
    errors
}

/// In the order of the report.
fn kind_name(kind: &StateKind) -> (u8, &'static str) {
    match kind {
        StateKind::Param => (0, "parameters"),
        StateKind::Buffer => (1, "buffers"),
        StateKind::Optimizer { .. } => (2, "optimizer state"),
        StateKind::Average { .. } => (3, "averages"),
        StateKind::Gradient { .. } => (4, "gradient sums"),
        StateKind::System => (5, "counters"),
    }
}
