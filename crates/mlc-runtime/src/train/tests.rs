//! The loop against an engine that counts: order of entries, means, resuming, stopping, logs.

use std::sync::atomic::AtomicBool;

use mlc_diag::{Diagnostics, Span};
use mlc_ir::graph::Graph;
use mlc_ir::program::{
    DataPart, DataSpec, DatasetSpec, Entry, EntryKind, FieldSpec, Loss, Pass, PassEnd, PipelineSpec, Program,
    RandomSpec, ShuffleSpec, SourceKind, SourceSpec, StateDecl, StateKind, Stop, Train, Update, system,
};
use mlc_ir::{DType, Type};

use super::*;
use crate::HostTensor;

/// One state that a step adds the batch's sum to; the loss is the state before, the metric the rows.
struct Counter {
    sum: f32,
    total: f32,
    trace: Vec<(String, usize)>,
    /// The sums of the batches that were trained on.
    batches: Vec<i64>,
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
            self.batches.push(batch);
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
    Counter { sum: 0.0, total: 0.0, trace: vec![], batches: vec![], last: (0.0, 0.0) }
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
    let pass = |end| EntryKind::Pass { train: 0, pass: Pass { losses: vec![0], metrics: false, end } };
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
            entry("step", pass(PassEnd::Step)),
            entry("micro", pass(PassEnd::Micro)),
            entry("validate", EntryKind::Validate { train: 0 }),
        ],
        trains: vec![train],
        tests: vec![],
    }
}

/// Two losses, the first every second step; entries `micro0`, `update0`, `step1`, .. as their passes are.
fn two_losses(accumulate: u64) -> Program {
    let mut p = program(accumulate);
    let loss = |name: &str, every| Loss { name: name.into(), every, span: Span::NONE };
    p.trains[0].losses = vec![loss("a", 2), loss("b", 1)];
    let updates = p.trains[0].updates();
    let entry = |pass: &Pass| Entry {
        name: format!("{:?}{}", pass.end, pass.losses.iter().map(usize::to_string).collect::<String>()),
        kind: EntryKind::Pass { train: 0, pass: pass.clone() },
        inputs: vec![],
        graph: Graph::new(""),
        span: Span::NONE,
    };
    let validate = p.entries.pop();
    p.entries = Update::passes(&updates).into_iter().map(entry).chain(validate).collect();
    p
}

/// The calls, with the rows of each.
fn calls(c: &Counter) -> String {
    c.trace.iter().filter(|t| t.0 != "validate").map(|(n, rows)| format!("{n}x{rows} ")).collect()
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
fn each_loss_sees_all_micro_batches_before_the_next() {
    let mut c = counter();
    let report = go(&mut c, &two_losses(2), &TrainOptions { steps: Some(3), ..Default::default() });
    assert_eq!(
        calls(&c),
        "Micro0x4 Update0x4 Micro1x4 Step1x4 \
         Step1x2 \
         Micro0x4 Update0x4 Micro1x4 Step1x4 "
    );
    assert_eq!((report.steps, report.last.unwrap().rows), (3, 8));
    // Both losses were given the same batches in the same order, the second update what the epoch had left.
    let (x, y) = (c.batches[0], c.batches[1]);
    assert!(x != y, "two batches: {x}, {y}");
    assert_eq!(c.batches[..4], [x, y, x, y]);
    let (x, y) = (c.batches[5], c.batches[6]);
    assert_eq!(c.batches[5..], [x, y, x, y]);
}

#[test]
fn several_losses_without_accumulation_are_one_call() {
    let mut c = counter();
    go(&mut c, &two_losses(1), &TrainOptions { steps: Some(3), ..Default::default() });
    assert_eq!(calls(&c), "Step01x4 Step1x4 Step01x2 ");
}

#[test]
fn a_block_that_is_not_all_there_is_not_trained() {
    let mut p = two_losses(2);
    p.entries.retain(|e| e.name != "Micro0");
    let mut c = counter();
    let options = TrainOptions::default();
    let e = train(&mut c, &p, 0, &options, &AtomicBool::new(false), &mut Silent).unwrap_err();
    assert_eq!(e.0[0].code, "E0903");
    assert_eq!(calls(&c), "");
}

#[test]
fn a_resumed_run_ends_with_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    for (p, steps, cuts) in [(program(1), 9, &[1, 3, 4, 8][..]), (two_losses(2), 6, &[1, 2, 3, 5])] {
        let mut whole = counter();
        go(&mut whole, &p, &TrainOptions::default());
        for &cut in cuts {
            let folder = dir.path().join(format!("{steps} at {cut}"));
            let mut first = counter();
            let options =
                TrainOptions { steps: Some(cut), checkpoint: Some(folder.clone()), ..Default::default() };
            go(&mut first, &p, &options);
            let mut second = counter();
            let report = go(&mut second, &p, &TrainOptions { resume: Some(folder), ..Default::default() });
            assert_eq!(report.steps, steps);
            assert_eq!(second.sum.to_bits(), whole.sum.to_bits(), "cut at {cut}");
            let trace = [first.batches, second.batches].concat();
            assert_eq!(trace, whole.batches, "cut at {cut}");
        }
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
