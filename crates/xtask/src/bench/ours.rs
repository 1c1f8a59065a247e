//! mlc's side of a row: the model compiled, then run as the training loop runs it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mlc::ir::loops::Plan;
use mlc::runtime::train::{Engine, Fed};
use mlc::{Compiler, HostTensor, Seed, Session, Target};

use super::rows::Row;

/// Where the benchmark's models and scripts lie.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("bench")
}

/// A row that is ready to run.
pub struct Ours {
    session: Session,
    call: <Session as Engine>::Call,
    inputs: Vec<HostTensor>,
}

impl Ours {
    /// Compiles the row's model and runs it a few times.
    pub fn prepare(row: &Row, threads: Option<usize>) -> Result<Ours, String> {
        let compiler = Compiler::new().target(Target::Cpu);
        let compiler = threads.map_or(compiler.clone(), |n| compiler.threads(n));
        let program = compiler.compile_file(folder().join(row.file)).map_err(|e| e.to_string())?;
        let mut session = program.session(Seed(0)).map_err(|e| e.to_string())?;
        let inputs: Vec<HostTensor> = row.inputs.iter().map(|i| i.tensor()).collect();
        let fed = |(i, t): (&super::rows::Input, &HostTensor)| Fed {
            name: i.name.into(),
            dtype: t.dtype(),
            shape: t.shape().to_vec(),
        };
        let fed: Vec<Fed> = row.inputs.iter().zip(&inputs).map(fed).collect();
        let entries = program.ir().entries.iter().map(|e| e.name.clone());
        let entry = entries.into_iter().find(|e| e == row.entry || e.ends_with(&format!(".{}", row.entry)));
        let entry = entry.ok_or_else(|| format!("{} has no entry {}", row.file, row.entry))?;
        let call = session.bind(&entry, &fed).map_err(|d| format!("{d:?}"))?;
        let mut ours = Ours { session, call, inputs };
        for _ in 0..5 {
            ours.run()?;
        }
        Ok(ours)
    }

    fn run(&mut self) -> Result<(), String> {
        let bytes: Vec<&[u8]> = self.inputs.iter().map(HostTensor::bytes).collect();
        self.session.run(&self.call, &bytes).map_err(|d| format!("{d:?}"))
    }

    pub fn plan(&self) -> &Arc<Plan> {
        self.session.plan(&self.call)
    }

    /// The least time of each of the plan's calls, of runs for about this long.
    pub fn measure_calls(&mut self, time: Duration) -> Result<Vec<Duration>, String> {
        let mut best = vec![Duration::MAX; self.plan().program.calls.len()];
        let end = Instant::now() + time;
        while best.contains(&Duration::MAX) || Instant::now() < end {
            let mut times = vec![Duration::ZERO; best.len()];
            self.session.run_timed(&self.call, &mut times).map_err(|d| format!("{d:?}"))?;
            best.iter_mut().zip(&times).for_each(|(b, t)| *b = (*b).min(*t));
        }
        Ok(best)
    }

    /// Runs for about this long; the median time of a run in seconds.
    pub fn measure(&mut self, time: Duration) -> Result<f64, String> {
        let mut times = vec![];
        let end = Instant::now() + time;
        while times.len() < 3 || Instant::now() < end {
            let start = Instant::now();
            self.run()?;
            times.push(start.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        Ok(times[times.len() / 2])
    }
}
