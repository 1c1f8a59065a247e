//! The loop against an engine that counts: order of entries, means, resuming, stopping, logs.

use std::sync::atomic::AtomicBool;

use mlc_diag::{Diagnostics, Span};
use mlc_ir::graph::Graph;
use mlc_ir::program::{
    DataPart, DataSpec, DatasetSpec, Entry, EntryKind, FieldSpec, Loss, PipelineSpec, Program, RandomSpec,
    ShuffleSpec, SourceKind, SourceSpec, StateDecl, StateKind, Stop, Train, system,
};
use mlc_ir::{DType, Type};

use super::*;
use crate::HostTensor;

/// One state that a step adds the batch's sum to; the loss is the state before, the metric the rows.
struct Counter {
    sum: f32,
    total: f32,
    trace: Vec<(String, usize)>,
    last: (f64, f64),
}

impl Engine for Counter {
    type Call = (String, usize);

    fn bind(&mut self, entry: &str, inputs: &[Fed]) -> Result<Self::Call, Diagnostics> {
        Ok((entry.to_string(), inputs.first().map_or(0, |f| f.shape[0])))
    }

    fn run(&mut self, call: &Self::Call, inputs: &[&[u8]]) -> Result<(), Diagnostics> {
        let batch: i64 = inputs[0].chunks_exact(8).map(|b| i64::from_ne_bytes(b.try_into().unwrap())).sum();
        self.last = (self.sum as f64, call.1 as f64);
        if call.0 != "validate" {
            self.sum = self.sum * 0.5 + batch as f32;
        }
        self.trace.push(call.clone());
        Ok(())
    }

    fn scalars(&self, call: &Self::Call) -> Vec<Scalar> {
        ["loss", "metric.rows"].map(|n| Scalar { name: n.into(), weight: Some(call.1 as u64) }).to_vec()
    }

    fn read_scalars(&mut self, _: &Self::Call, values: &mut Vec<f64>) {
        values.clear();
        values.extend([self.last.0, self.last.1]);
    }

    fn states(&self) -> Vec<StateDecl> {
        let decl = |path: &str, kind| StateDecl {
            path: path.into(),
            ty: Type::scalar(DType::F32),
            kind,
            aliases: vec!["tied".into()],
            span: Span::NONE,
        };
        vec![decl("sum", StateKind::Param), decl(system::TOTAL_STEPS, StateKind::System)]
    }

    fn read_state(&self, path: &str) -> Result<HostTensor, Diagnostics> {
        Ok(HostTensor::scalar(if path == "sum" { self.sum } else { self.total }))
    }

    fn write_state(&mut self, path: &str, value: &HostTensor) -> Result<(), Diagnostics> {
        let v = f32::from_ne_bytes(value.bytes().try_into().unwrap());
        *(if path == "sum" { &mut self.sum } else { &mut self.total }) = v;
        Ok(())
    }
}

fn counter() -> Counter {
    Counter { sum: 0.0, total: 0.0, trace: vec![], last: (0.0, 0.0) }
}

fn data(rows: u64, batch: u64) -> DataSpec {
    let random = RandomSpec { rows, low: Some(0.0), high: Some(100.0), seed: Some(1) };
    let source = SourceSpec { kind: SourceKind::Random(random), index: vec![], span: Span::NONE };
    let field = FieldSpec {
        name: "x".into(),
        dtype: DType::I64,
        dims: vec![],
        shared: false,
        source: Some(source),
        span: Span::NONE,
    };
    let dataset =
        DatasetSpec { name: "D".into(), fields: vec![field], base_dir: ".".into(), span: Span::NONE };
    let pipeline = PipelineSpec {
        skip: 0,
        take: None,
        shuffle: Some(ShuffleSpec { seed: None }),
        batch: Some(batch),
        drop_last: false,
        batch_dim: "batch".into(),
        span: Span::NONE,
    };
    DataSpec { parts: vec![DataPart { dataset, pipeline }] }
}

fn program(accumulate: u64) -> Program {
    let entry = |name: &str, kind| Entry {
        name: name.into(),
        kind,
        inputs: vec![],
        graph: Graph::new(name),
        span: Span::NONE,
    };
    let train = Train {
        name: "train".into(),
        span: Span::NONE,
        base_dir: ".".into(),
        data: Some(data(10, 4)),
        validate: Some(data(7, 5)),
        epochs: Some(3),
        steps: None,
        accumulate,
        seed: None,
        losses: vec![Loss { name: String::new(), every: 1, span: Span::NONE }],
        metrics: vec![],
        weights: vec![],
        save: None,
        stop: None,
        instances: vec![],
    };
    Program {
        transfers: Default::default(),
        sources: Default::default(),
        states: vec![],
        entries: vec![
            entry("step", EntryKind::Step { train: 0, active: vec![0] }),
            entry("micro", EntryKind::Micro { train: 0 }),
            entry("validate", EntryKind::Validate { train: 0 }),
        ],
        trains: vec![train],
        tests: vec![],
    }
}

fn names(c: &Counter) -> String {
    c.trace.iter().map(|(n, rows)| format!("{}{rows} ", &n[..1])).collect()
}

fn go(c: &mut Counter, p: &Program, o: &TrainOptions) -> RunReport {
    train(c, p, 0, o, &AtomicBool::new(false), &mut Silent).unwrap()
}

#[test]
fn epochs_end_with_a_partial_batch_and_one_validation() {
    let mut c = counter();
    let report = go(&mut c, &program(1), &TrainOptions { epochs: Some(2), ..Default::default() });
    assert_eq!(names(&c), "s4 s4 s2 v5 v2 s4 s4 s2 v5 v2 ");
    assert_eq!((report.steps, report.end, c.total), (6, End::Finished, 6.0));
    let v = report.validation.unwrap();
    assert_eq!(v.rows, 7);
    assert_eq!(v.value("rows"), Some((5.0 * 5.0 + 2.0 * 2.0) / 7.0));
}

#[test]
fn steps_cross_epochs_and_zero_steps_validate_once() {
    let mut c = counter();
    go(&mut c, &program(1), &TrainOptions { steps: Some(4), ..Default::default() });
    assert_eq!(names(&c), "s4 s4 s2 v5 v2 s4 v5 v2 ");
    let mut c = counter();
    let report = go(&mut c, &program(1), &TrainOptions { steps: Some(0), ..Default::default() });
    assert_eq!((names(&c).as_str(), report.steps), ("v5 v2 ", 0));
}

#[test]
fn accumulation_flushes_what_an_epoch_leaves_over() {
    let mut c = counter();
    let report = go(&mut c, &program(2), &TrainOptions { epochs: Some(1), ..Default::default() });
    assert_eq!((names(&c).as_str(), report.steps), ("m4 s4 s2 v5 v2 ", 2));
}

#[test]
fn a_resumed_run_ends_with_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let mut whole = counter();
    go(&mut whole, &program(1), &TrainOptions::default());
    for cut in [1, 3, 4, 8] {
        let folder = dir.path().join(format!("at{cut}"));
        let mut first = counter();
        let options =
            TrainOptions { steps: Some(cut), checkpoint: Some(folder.clone()), ..Default::default() };
        go(&mut first, &program(1), &options);
        let mut second = counter();
        let report =
            go(&mut second, &program(1), &TrainOptions { resume: Some(folder), ..Default::default() });
        assert_eq!(report.steps, 9);
        assert_eq!(second.sum.to_bits(), whole.sum.to_bits(), "cut at {cut}");
    }
}

#[test]
fn patience_and_interrupts_end_a_run() {
    let mut p = program(1);
    p.trains[0].stop = Some(Stop { by: "rows".into(), maximize: true, validations: 1 });
    let mut c = counter();
    let report = go(&mut c, &p, &TrainOptions::default());
    assert_eq!((report.end, report.steps), (End::Stopped, 6));

    let dir = tempfile::tempdir().unwrap();
    let options = TrainOptions { interrupt_folder: dir.path().join("saved"), ..Default::default() };
    let report =
        train(&mut counter(), &program(1), 0, &options, &AtomicBool::new(true), &mut Silent).unwrap();
    assert_eq!((report.end, report.steps), (End::Interrupted, 0));
    assert!(Checkpoint::read(&dir.path().join("saved")).is_ok());
}

#[test]
fn weights_round_trip_and_problems_are_listed_together() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let mut c = counter();
    c.sum = 2.5;
    assert_eq!(save_weights(&c, &path, &|_| true).unwrap(), 1);
    let mut other = counter();
    load_weights(&mut other, &path, &crate::files::Cache::disabled(), &|_| true, true).unwrap();
    assert_eq!(other.sum, 2.5);

    let bad = [("extra", HostTensor::scalar(1.0f32))];
    let views: Vec<_> = bad.iter().map(|(n, t)| (*n, t.view())).collect();
    crate::files::safetensors::write(&path, &views, &Default::default()).unwrap();
    let e = load_weights(&mut other, &path, &crate::files::Cache::disabled(), &|_| true, true).unwrap_err();
    assert_eq!(e.0[0].notes, ["missing: sum (f32)", "extra: extra (F32 [])"]);
    assert_eq!(other.sum, 2.5);
}
