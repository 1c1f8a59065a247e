//! The entries of a train block by name, and which of them an update calls.
//!
//! Invariant: all is looked up before the first update; choosing one allocates nothing.

use mlc_diag::Diagnostic;
use mlc_ir::program::{EntryKind, Pass, Program, Train};

/// What a block can run. An artifact may have been made without some of it.
pub struct Entries {
    /// Each entry once; the feed knows it by its place here.
    names: Vec<String>,
    updates: Vec<UpdateEntries>,
    pub validate: String,
}

/// An update in which exactly these losses run; without stages, if an entry is missing.
struct UpdateEntries {
    losses: Vec<usize>,
    stages: Option<Vec<StageEntries>>,
}

/// The places of the entries that run on micro-batches before the last, and on the last.
#[derive(Debug, Clone, Copy)]
struct StageEntries {
    micro: usize,
    last: usize,
}

impl Entries {
    pub fn of(program: &Program, index: usize) -> Entries {
        let validates = EntryKind::Validate { train: index };
        let validate = program.entries.iter().find(|e| e.kind == validates);
        let validate = validate.map(|e| e.name.clone()).unwrap_or_default();
        let mut entries = Entries { names: vec![], updates: vec![], validate };
        for update in program.trains[index].updates() {
            let stages = update.stages.iter().map(|stage| {
                let last = entries.place(program, index, &stage.last)?;
                let micro = stage.micro.as_ref().map_or(Some(last), |m| entries.place(program, index, m))?;
                Some(StageEntries { micro, last })
            });
            let stages = stages.collect();
            entries.updates.push(UpdateEntries { losses: update.losses, stages });
        }
        entries
    }

    fn place(&mut self, program: &Program, index: usize, pass: &Pass) -> Option<usize> {
        let name = &program.pass(index, pass)?.name;
        Some(self.names.iter().position(|n| n == name).unwrap_or_else(|| {
            self.names.push(name.clone());
            self.names.len() - 1
        }))
    }

    /// The update for the losses that are active at a step.
    ///
    /// # Errors
    /// Where an entry that it calls is not there.
    pub fn update(&self, spec: &Train, step: u64) -> Result<usize, Diagnostic> {
        let fits =
            |u: &UpdateEntries| (0..spec.losses.len()).all(|l| u.losses.contains(&l) == spec.due(l, step));
        match self.updates.iter().position(fits) {
            Some(at) if self.updates[at].stages.is_some() => Ok(at),
            Some(_) => {
                let title =
                    format!("`{}` cannot be trained: entries of its updates are not there", spec.name);
                Err(Diagnostic::error("E0903", title)
                    .label(spec.span, "this block")
                    .hint(format!("compile the whole block: `mlc compile FILE {} -o ..`", spec.name)))
            }
            None => Err(Diagnostic::bug(format!("no update for the losses active at {step}"))),
        }
    }

    /// How many stages an update has.
    pub fn stages(&self, update: usize) -> usize {
        self.updates[update].stages.as_ref().map_or(0, Vec::len)
    }

    /// An update's entry on a micro-batch, with its place.
    pub fn entry(&self, update: usize, stage: usize, last: bool) -> (usize, &str) {
        let stage = self.updates[update].stages.as_ref().map(|s| s[stage]);
        let at = stage.map_or(0, |s| if last { s.last } else { s.micro });
        (at, &self.names[at])
    }

    /// Do all micro-batches of some update have to be kept, because several stages read them?
    pub fn keep_batches(&self) -> bool {
        (0..self.updates.len()).any(|u| self.stages(u) > 1)
    }
}
