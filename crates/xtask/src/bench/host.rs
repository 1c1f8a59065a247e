//! `cargo xtask bench --host`: what a training loop takes beside its steps: data, shuffling, copying, logging.
//!
//! The loop of `mlc run` trains simple_nn on MNIST while a log is written; in between, the same step runs on a batch that
//! lies in memory. Both take turns; a figure is the least of the rounds.

use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use mlc::diag::Diagnostics;
use mlc::ir::DType;
use mlc::ir::program::StateDecl;
use mlc::runtime::data::LoadOptions;
use mlc::runtime::train::{self, Engine, Fed, Observer, Scalar, StepReport, TrainOptions};
use mlc::{Compiler, HostTensor, Program, Seed, Session, Target};

use super::ours::{Ours, folder};
use super::rows::{Input, Row};
use super::shown;

const BATCH: usize = 64;
/// The first steps compile, and start threads.
const WARM_UP: u64 = 50;

/// Prints the loop's times beside the step's.
pub fn table(seconds: f64, rounds: usize, threads: Option<usize>) -> ExitCode {
    match measure(seconds, rounds, threads) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn measure(seconds: f64, rounds: usize, threads: Option<usize>) -> Result<String, String> {
    let mut compiler = Compiler::new().target(Target::Cpu);
    if let Some(n) = threads {
        compiler = compiler.threads(n);
    }
    let program = compiler.compile_file(folder().join("start.mlg")).map_err(|e| e.to_string())?;
    let row = Row {
        name: "host",
        title: "simple_nn",
        file: "start.mlg",
        entry: "step",
        inputs: vec![
            Input::new("image", DType::U8, &[BATCH, 28, 28], 256),
            Input::new("label", DType::U8, &[BATCH], 10),
        ],
        flop: 0.0,
        bytes: 0.0,
    };
    let mut bare = Ours::prepare(&row, threads)?;
    let (mut step, mut whole, mut run) = (f64::INFINITY, f64::INFINITY, 0.0);
    for _ in 0..rounds {
        step = step.min(bare.measure(Duration::from_secs_f64(seconds))?);
        let steps = WARM_UP + (seconds / step) as u64;
        let took = train_for(&program, steps)?;
        if took.0 < whole {
            (whole, run) = took;
        }
    }
    let percent = |part: f64| format!("{:.1} %", 100.0 * part / step);
    let rows = [
        ("the step alone, its batch in memory", step),
        ("a step of the loop", whole),
        ("  running the step", run),
        ("  data, order of samples, results, log", whole - run),
    ];
    let mut out = String::from("| simple_nn, batch 64 | time | of the step alone |\n|---|---|---|\n");
    for (what, time) in rows {
        out.push_str(&format!("| {what} | {} | {} |\n", shown(time), percent(time)));
    }
    Ok(out)
}

/// The mean times of a step of a training run: all of it, and running the step.
fn train_for(program: &Program, steps: u64) -> Result<(f64, f64), String> {
    let log = tempfile::Builder::new().suffix(".jsonl").tempfile().map_err(|e| e.to_string())?;
    let options = TrainOptions {
        steps: Some(steps),
        log: Some(log.path().to_path_buf()),
        load: LoadOptions::default(),
        ..TrainOptions::default()
    };
    let session = program.session(Seed(0)).map_err(|e| e.to_string())?;
    let mut engine = Timed { session, running: Duration::ZERO, runs: 0 };
    let mut clock = Clock::default();
    train::train(&mut engine, program.ir(), 0, &options, &AtomicBool::new(false), &mut clock)
        .map_err(|ds| format!("{ds:?}"))?;
    let (Some(first), Some(last)) = (clock.first, clock.last) else { return Err("no step ran".into()) };
    let counted = (steps - WARM_UP) as f64;
    Ok(((last - first).as_secs_f64() / counted, engine.running.as_secs_f64() / counted))
}

/// When the first steps were over, and when the last was.
#[derive(Default)]
struct Clock {
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Observer for Clock {
    fn step(&mut self, report: &StepReport) {
        if report.step == WARM_UP {
            self.first = Some(Instant::now());
        }
        self.last = Some(Instant::now());
    }
}

/// A session that knows how long its runs took.
struct Timed {
    session: Session,
    running: Duration,
    runs: u64,
}

impl Engine for Timed {
    type Call = <Session as Engine>::Call;

    fn bind(&mut self, entry: &str, inputs: &[Fed]) -> Result<Self::Call, Diagnostics> {
        self.session.bind(entry, inputs)
    }

    fn run(&mut self, call: &Self::Call, inputs: &[&[u8]]) -> Result<(), Diagnostics> {
        let start = Instant::now();
        let done = self.session.run(call, inputs);
        self.runs += 1;
        if self.runs > WARM_UP {
            self.running += start.elapsed();
        }
        done
    }

    fn scalars(&self, call: &Self::Call) -> Vec<Scalar> {
        self.session.scalars(call)
    }

    fn read_scalars(&mut self, call: &Self::Call, values: &mut Vec<f64>) {
        self.session.read_scalars(call, values);
    }

    fn states(&self) -> Vec<StateDecl> {
        self.session.states()
    }

    fn read_state(&self, path: &str) -> Result<HostTensor, Diagnostics> {
        self.session.read_state(path)
    }

    fn write_state(&mut self, path: &str, value: &HostTensor) -> Result<(), Diagnostics> {
        self.session.write_state(path, value)
    }
}
