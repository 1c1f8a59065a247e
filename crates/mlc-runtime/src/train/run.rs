//! The loop over updates, epochs and validations.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use mlc_diag::{Diagnostic, Diagnostics};
use mlc_ir::program::{Program, SaveBest, Stop, Train, WeightsSource, glob, system};

use super::checkpoint::{Checkpoint, Progress};
use super::engine::Engine;
use super::entries::Entries;
use super::feed::{Ahead, Data, Feed};
use super::log::Log;
use super::report::{End, Observer, Planned, RunReport, StepReport, ValidationReport};
use super::save::{load_weights, save_weights};
use super::sums::Sums;
use crate::HostTensor;
use crate::data::{Batch, LoadOptions, Position, StreamOptions};

/// What a caller can change about a run.
#[derive(Default)]
pub struct TrainOptions {
    /// Replaces the file's `steps` and `epochs`.
    pub steps: Option<u64>,
    /// Replaces the file's `steps` and `epochs`; with both, the first reached ends the run.
    pub epochs: Option<u64>,
    pub no_shuffle: bool,
    /// The run's seed.
    pub seed: u64,
    /// Loaded after the file's own `weights`.
    pub weights: Option<PathBuf>,
    pub save: Option<PathBuf>,
    pub checkpoint: Option<PathBuf>,
    /// Updates between checkpoints; without it only the end of each epoch and of the run.
    pub every: Option<u64>,
    pub resume: Option<PathBuf>,
    pub log: Option<PathBuf>,
    /// Where an interrupted run saves if it has no checkpoint folder.
    pub interrupt_folder: PathBuf,
    pub load: LoadOptions,
}

/// How validation batches and training batches are prepared.
const AHEAD: Ahead = Ahead { prefetch: 2, held: 1 };

/// Runs a train block to its end.
///
/// # Errors
/// Of data, files, entries and run-time faults. Checkpoints and weights written before stay.
pub fn train<E: Engine>(
    engine: &mut E,
    program: &Program,
    index: usize,
    options: &TrainOptions,
    interrupt: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<RunReport, Diagnostics> {
    let spec = &program.trains[index];
    check_outputs(spec, options)?;
    let data = spec.data.as_ref().map(|d| Data::open(d, &options.load)).transpose()?;
    let validation = spec.validate.as_ref().map(|d| Data::open(d, &options.load)).transpose()?;
    load_initial(engine, spec, options, observer)?;
    let mut progress = Progress {
        step: 0,
        position: Position::default(),
        seed: options.seed,
        shuffle: !options.no_shuffle,
        best: None,
        patience: None,
        validated_at: None,
    };
    if let Some(folder) = &options.resume {
        let checkpoint = Checkpoint::read(folder)?;
        checkpoint.restore(engine)?;
        progress = checkpoint.progress;
    }
    let stream = StreamOptions { seed: progress.seed, shuffle: progress.shuffle };
    let entries = Entries::of(program, index);
    let held = if entries.keep_batches() { spec.accumulate } else { 1 };
    let feed = Feed::new(data.as_ref(), stream, progress.position, Ahead { held, ..AHEAD })?;
    let log = options.log.as_ref().map(|p| Log::open(p, options.resume.is_some())).transpose()?;
    let run = Run {
        entries,
        spec,
        options,
        observer,
        log,
        feed,
        validation,
        progress,
        saved: vec![],
        checkpoint: None,
        last: StepReport::default(),
        validated: None,
        warned: false,
        start: Instant::now(),
        values: vec![],
        sums: Sums::default(),
        held: vec![],
    };
    run.go(engine, interrupt)
}

/// Evaluates a train block's losses and metrics on its validation data.
///
/// # Errors
/// As [`train`]; also where the block has no validation data.
pub fn validate<E: Engine>(
    engine: &mut E,
    program: &Program,
    index: usize,
    options: &TrainOptions,
    observer: &mut dyn Observer,
) -> Result<ValidationReport, Diagnostics> {
    let spec = &program.trains[index];
    let Some(data) = &spec.validate else {
        return Err(Diagnostic::error("E0480", format!("`{}` has no `validate` data", spec.name))
            .label(spec.span, "this block")
            .hint("add `validate = ..`")
            .into());
    };
    let data = Data::open(data, &options.load)?;
    load_initial(engine, spec, options, observer)?;
    if let Some(folder) = &options.resume {
        Checkpoint::read(folder)?.restore(engine)?;
    }
    let entry = Entries::of(program, index).validate;
    validate_on(engine, &data, &entry, options.seed, 0, 0)
}

/// Finds before the first step what would only fail after the last: folders that are not there.
fn check_outputs(spec: &Train, options: &TrainOptions) -> Result<(), Diagnostic> {
    let rules = spec.save.iter().flat_map(|s| &s.rules).map(|r| spec.base_dir.join(&r.1));
    for path in rules.chain(options.save.clone()).chain(options.log.clone()) {
        let folder = path.parent().filter(|f| !f.as_os_str().is_empty() && !f.is_dir());
        if let Some(folder) = folder {
            let title =
                format!("cannot write `{}`: there is no folder `{}`", path.display(), folder.display());
            return Err(Diagnostic::error("E0712", title).hint("make it first"));
        }
    }
    options.checkpoint.as_deref().map_or(Ok(()), Checkpoint::make_folder)
}

/// Loads the weights that the block names, then those that came with the program, then those of the options.
///
/// # Errors
/// Of the files, and of tensors that do not fit; what was loaded from an earlier file stays.
pub fn load_initial<E: Engine>(
    engine: &mut E,
    spec: &Train,
    options: &TrainOptions,
    observer: &mut dyn Observer,
) -> Result<(), Diagnostics> {
    let mut files: Vec<(usize, &str)> = vec![];
    for (i, rule) in spec.weights.iter().enumerate() {
        if let WeightsSource::File(file) = &rule.source
            && !files.iter().any(|f| f.1 == file)
        {
            files.push((i, file));
        }
    }
    let first_match = |path: &str| spec.weights.iter().position(|r| glob::matches(&r.rule.glob, path));
    for (_, file) in &files {
        let wanted = |s: &mlc_ir::program::StateDecl| {
            first_match(&s.path)
                .is_some_and(|i| spec.weights[i].source == WeightsSource::File(file.to_string()))
        };
        let all = spec.weights.len() == 1;
        let path = spec.base_dir.join(file);
        for note in load_weights(engine, &path, &options.load.cache, &wanted, all)? {
            observer.warn(Diagnostic::warning("W0701", note));
        }
    }
    engine.load_embedded()?;
    if let Some(path) = &options.weights {
        for note in load_weights(engine, path, &options.load.cache, &|_| true, true)? {
            observer.warn(Diagnostic::warning("W0701", note));
        }
    }
    Ok(())
}

struct Run<'a, C> {
    entries: Entries,
    spec: &'a Train,
    options: &'a TrainOptions,
    observer: &'a mut dyn Observer,
    log: Option<Log>,
    feed: Feed<'a, C>,
    validation: Option<Data>,
    progress: Progress,
    saved: Vec<PathBuf>,
    checkpoint: Option<PathBuf>,
    /// Of the last update, if there was one; its lists are used again by the next.
    last: StepReport,
    validated: Option<ValidationReport>,
    warned: bool,
    start: Instant,
    /// A call's scalars.
    values: Vec<f64>,
    sums: Sums,
    /// The batches of the update, where several losses read them one after the other.
    held: Vec<Option<Batch>>,
}

impl<C> Run<'_, C> {
    fn go<E: Engine<Call = C>>(
        mut self,
        engine: &mut E,
        interrupt: &AtomicBool,
    ) -> Result<RunReport, Diagnostics> {
        let per_epoch = self.feed.batches_per_epoch().map(|b| b.div_ceil(self.spec.accumulate.max(1)));
        let total = self.total_steps(per_epoch)?;
        // Only a program whose schedules ask for it has this state.
        if engine.states().iter().any(|s| *s.path == *system::TOTAL_STEPS) {
            engine.write_state(system::TOTAL_STEPS, &HostTensor::scalar(total as f32))?;
        }
        let planned = Planned { steps: total, steps_per_epoch: per_epoch, done: self.progress.step };
        self.observer.start(&planned);
        let end = self.updates(engine, total, interrupt)?;
        if end != End::Interrupted && self.progress.validated_at != Some(self.progress.step) {
            self.validate(engine)?;
        }
        self.finish(engine, end)
    }

    /// Updates in all, from the options or the file.
    fn total_steps(&self, per_epoch: Option<u64>) -> Result<u64, Diagnostics> {
        let given = self.options.steps.is_some() || self.options.epochs.is_some();
        let (steps, epochs) = if given {
            (self.options.steps, self.options.epochs)
        } else {
            (self.spec.steps, self.spec.epochs)
        };
        let by_epochs = match (epochs, per_epoch) {
            (Some(e), Some(n)) => Some(e.saturating_mul(n)),
            (Some(_), None) => {
                let d = Diagnostic::error(
                    "E0481",
                    format!("`{}` has no data, so an epoch has no end", self.spec.name),
                );
                return Err(d
                    .label(self.spec.span, "this block")
                    .hint("give `steps` instead of epochs")
                    .into());
            }
            (None, _) => None,
        };
        match (steps, by_epochs) {
            (Some(a), Some(b)) => Ok(a.min(b)),
            (Some(n), None) | (None, Some(n)) => Ok(n),
            (None, None) => {
                let d = Diagnostic::error(
                    "E0481",
                    format!("`{}` does not say how long to train", self.spec.name),
                );
                Err(d.label(self.spec.span, "this block").hint("add `epochs = ..` or `steps = ..`").into())
            }
        }
    }

    fn updates<E: Engine<Call = C>>(
        &mut self,
        engine: &mut E,
        total: u64,
        interrupt: &AtomicBool,
    ) -> Result<End, Diagnostics> {
        while self.progress.step < total {
            if interrupt.load(Ordering::Relaxed) {
                self.save_interrupted(engine)?;
                return Ok(End::Interrupted);
            }
            if !self.update(engine)? {
                self.progress.position = self.feed.position();
                if self.end_of_epoch(engine)? {
                    return Ok(End::Stopped);
                }
                continue;
            }
            self.progress.position = self.feed.position();
            if let (Some(every), Some(folder)) = (self.options.every, &self.options.checkpoint)
                && every > 0
                && self.progress.step.is_multiple_of(every)
            {
                self.write_checkpoint(engine, folder.clone())?;
            }
        }
        // The last update may have ended an epoch, whose validation and stop rule still apply.
        Ok(End::Finished)
    }

    /// One update from `accumulate` batches (or what an epoch has left); false at the end of an epoch.
    /// Allocates nothing once every shape of batch has been seen, unless a log is written.
    fn update<E: Engine<Call = C>>(&mut self, engine: &mut E) -> Result<bool, Diagnostics> {
        let begun = Instant::now();
        let epoch = self.feed.position().epoch;
        self.sums.clear();
        let Some(rows) = self.stages(engine)? else { return Ok(false) };
        self.progress.step += 1;
        let (report, sums) = (&mut self.last, &mut self.sums);
        (report.step, report.epoch, report.rows) = (self.progress.step, epoch, rows);
        sums.named("loss", &mut report.losses);
        sums.named("metric", &mut report.metrics);
        sums.named("lr", &mut report.lr);
        report.scale = sums.get("scale").unwrap_or(1.0);
        report.skipped = sums.get("skipped").unwrap_or(0.0) as u64;
        report.ms = begun.elapsed().as_secs_f64() * 1e3;
        self.warn_once();
        if let Some(log) = &mut self.log {
            log.step(&self.last)?;
        }
        self.observer.step(&self.last);
        Ok(true)
    }

    /// The stages of an update: the first takes its batches as they come, those after it go through them again.
    /// The rows in all; `None` at the end of an epoch.
    fn stages<E: Engine<Call = C>>(&mut self, engine: &mut E) -> Result<Option<u64>, Diagnostics> {
        let update = self.entries.update(self.spec, self.progress.step)?;
        let stages = self.entries.stages(update);
        let left = self.feed.batches_per_epoch().map_or(u64::MAX, |n| n - self.feed.position().batch.min(n));
        let group = self.spec.accumulate.clamp(1, left.max(1));
        let mut rows = 0;
        for i in 1..=group {
            let Some(batch) = self.feed.next()? else { return Ok(None) };
            self.call(engine, (update, 0, i == group), batch.as_ref())?;
            rows += batch.as_ref().map_or(0, Batch::rows) as u64;
            if stages > 1 {
                self.held.push(batch);
            }
        }
        let mut held = std::mem::take(&mut self.held);
        for stage in 1..stages {
            for (i, batch) in held.iter().enumerate() {
                self.call(engine, (update, stage, i + 1 == held.len()), batch.as_ref())?;
            }
        }
        held.clear();
        self.held = held;
        Ok(Some(rows))
    }

    /// Runs what an update's stage has for a batch, the last or one before.
    fn call<E: Engine<Call = C>>(
        &mut self,
        engine: &mut E,
        (update, stage, last): (usize, usize, bool),
        batch: Option<&Batch>,
    ) -> Result<(), Diagnostics> {
        let entry = self.entries.entry(update, stage, last);
        let bound = self.feed.run(engine, entry, batch, &mut self.sums)?;
        engine.read_scalars(&bound.call, &mut self.values);
        self.sums.add(&bound.places, &bound.scalars, &self.values, false);
        Ok(())
    }

    fn warn_once(&mut self) {
        let report = &self.last;
        if self.warned || report.losses.iter().all(|l| l.1.is_finite()) {
            return;
        }
        self.warned = true;
        let title = format!("the loss is {} at step {}", report.loss(), report.step);
        let mut d =
            Diagnostic::warning("W0801", title).hint("lower the learning rate, or set `clip_norm = 1.0`");
        if let Some(loss) = self.spec.losses.first() {
            d = d.label(loss.span, "this loss");
        }
        self.observer.warn(d);
    }

    /// Validates, saves, checkpoints; true where the stop rule ends the run.
    fn end_of_epoch<E: Engine<Call = C>>(&mut self, engine: &mut E) -> Result<bool, Diagnostics> {
        let stop = self.progress.validated_at != Some(self.progress.step) && self.validate(engine)?;
        if let Some(folder) = &self.options.checkpoint {
            self.write_checkpoint(engine, folder.clone())?;
        }
        Ok(stop)
    }

    /// True where the stop rule says to end.
    fn validate<E: Engine<Call = C>>(&mut self, engine: &mut E) -> Result<bool, Diagnostics> {
        let Some(data) = &self.validation else { return Ok(false) };
        let step = self.progress.step;
        let epoch = self.last.epoch;
        let report = validate_on(engine, data, &self.entries.validate, self.progress.seed, step, epoch)?;
        self.progress.validated_at = Some(step);
        if let Some(log) = &mut self.log {
            log.validation(&report)?;
        }
        self.observer.validation(&report);
        self.save_best(engine, &report)?;
        let stop = self.out_of_patience(&report);
        self.validated = Some(report);
        Ok(stop)
    }

    fn save_best<E: Engine<Call = C>>(
        &mut self,
        engine: &E,
        report: &ValidationReport,
    ) -> Result<(), Diagnostics> {
        let Some(save) = &self.spec.save else { return Ok(()) };
        let Some(SaveBest { by, maximize }) = &save.best else { return Ok(()) };
        let Some(value) = report.value(by) else { return Ok(()) };
        if better(value, self.progress.best, *maximize) {
            self.progress.best = Some(value);
            self.save_rules(engine)?;
        }
        Ok(())
    }

    fn out_of_patience(&mut self, report: &ValidationReport) -> bool {
        let Some(Stop { by, maximize, validations }) = &self.spec.stop else { return false };
        let Some(value) = report.value(by) else { return false };
        let (best, since) = match self.progress.patience {
            Some((best, since)) if !better(value, Some(best), *maximize) => (best, since + 1),
            _ => (value, 0),
        };
        self.progress.patience = Some((best, since));
        since >= *validations
    }

    /// Writes each file of the block's `save` map.
    fn save_rules<E: Engine<Call = C>>(&mut self, engine: &E) -> Result<(), Diagnostics> {
        let Some(save) = &self.spec.save else { return Ok(()) };
        let mut files: Vec<&String> = save.rules.iter().map(|r| &r.1).collect();
        files.dedup();
        for file in files {
            let wanted = |s: &mlc_ir::program::StateDecl| {
                save.rules
                    .iter()
                    .find(|(r, _)| glob::matches(&r.glob, &s.path))
                    .is_some_and(|(_, f)| f == file)
            };
            let path = self.spec.base_dir.join(file);
            save_weights(engine, &path, &wanted)?;
            if !self.saved.contains(&path) {
                self.saved.push(path);
            }
        }
        Ok(())
    }

    fn write_checkpoint<E: Engine<Call = C>>(
        &mut self,
        engine: &E,
        folder: PathBuf,
    ) -> Result<(), Diagnostics> {
        Checkpoint::write(&folder, engine, &self.progress)?;
        self.checkpoint = Some(folder);
        // A run that goes on from here finds the log as far as this.
        Ok(self.log.as_mut().map_or(Ok(()), Log::flush)?)
    }

    fn save_interrupted<E: Engine<Call = C>>(&mut self, engine: &E) -> Result<(), Diagnostics> {
        let folder = self.options.checkpoint.clone().unwrap_or_else(|| self.options.interrupt_folder.clone());
        self.write_checkpoint(engine, folder)
    }

    fn finish<E: Engine<Call = C>>(mut self, engine: &E, end: End) -> Result<RunReport, Diagnostics> {
        // Where one of these cannot be written, the others still are.
        let mut errors = Diagnostics::new();
        if let Some(Err(d)) = self.log.as_mut().map(Log::flush) {
            errors.push(d);
        }
        if end != End::Interrupted {
            if self.spec.save.as_ref().is_some_and(|s| s.best.is_none()) {
                self.save_rules(engine).unwrap_or_else(|ds| errors.extend(ds));
            }
            if let Some(folder) = self.options.checkpoint.clone() {
                self.write_checkpoint(engine, folder).unwrap_or_else(|ds| errors.extend(ds));
            }
        }
        if let Some(path) = &self.options.save {
            match save_weights(engine, path, &|_| true) {
                Ok(_) => self.saved.push(path.clone()),
                Err(ds) => errors.extend(ds),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(RunReport {
            steps: self.progress.step,
            seed: self.progress.seed,
            end,
            validation: self.validated,
            last: (self.last.step > 0).then_some(self.last),
            saved: self.saved,
            checkpoint: self.checkpoint,
            seconds: self.start.elapsed().as_secs_f64(),
        })
    }
}

/// Strictly better; NaN never is.
fn better(value: f64, best: Option<f64>, maximize: bool) -> bool {
    !value.is_nan() && best.is_none_or(|b| if maximize { value > b } else { value < b })
}

fn validate_on<E: Engine>(
    engine: &mut E,
    data: &Data,
    entry: &str,
    seed: u64,
    step: u64,
    epoch: u64,
) -> Result<ValidationReport, Diagnostics> {
    let begun = Instant::now();
    let stream = StreamOptions { seed, shuffle: false };
    let mut feed = Feed::new(Some(data), stream, Position::default(), AHEAD)?;
    let (mut sums, mut values, mut rows) = (Sums::default(), vec![], 0);
    while let Some(batch) = feed.next()? {
        let bound = feed.run(engine, (0, entry), batch.as_ref(), &mut sums)?;
        engine.read_scalars(&bound.call, &mut values);
        sums.add(&bound.places, &bound.scalars, &values, true);
        rows += batch.as_ref().map_or(0, Batch::rows) as u64;
    }
    let (mut losses, mut metrics) = (vec![], vec![]);
    sums.named("loss", &mut losses);
    sums.named("metric", &mut metrics);
    Ok(ValidationReport { step, epoch, losses, metrics, rows, ms: begun.elapsed().as_secs_f64() * 1e3 })
}
