//! Checkpoints: one safetensors file with every state and, in its metadata, where the run was.
//!
//! One file, written atomically, so that state and position can never disagree.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mlc_diag::{Diagnostic, Diagnostics, io_reason};
use serde::{Deserialize, Serialize};

use super::engine::Engine;
use crate::HostTensor;
use crate::data::Position;
use crate::files::{Cache, safetensors};

/// Everything about a run that is not a tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Updates done.
    pub step: u64,
    /// Of the next batch.
    pub position: Position,
    pub seed: u64,
    pub shuffle: bool,
    /// The best value so far of `save = best(..)`.
    pub best: Option<f64>,
    /// The best value so far of `stop = patience(..)` and the validations since.
    pub patience: Option<(f64, u64)>,
    /// The update after which validation ran last.
    pub validated_at: Option<u64>,
}

/// A checkpoint read back.
pub struct Checkpoint {
    pub progress: Progress,
    states: Vec<(String, HostTensor)>,
    path: PathBuf,
}

const FILE: &str = "checkpoint.safetensors";
const KEY: &str = "mlc.progress";

impl Checkpoint {
    /// The file inside a checkpoint folder.
    pub fn file(folder: &Path) -> PathBuf {
        folder.join(FILE)
    }

    /// Makes the folder, if it is not there.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn make_folder(folder: &Path) -> Result<(), Diagnostic> {
        std::fs::create_dir_all(folder).map_err(|e| {
            let title =
                format!("cannot make the checkpoint folder `{}`: {}", folder.display(), io_reason(&e));
            Diagnostic::error("E0721", title).hint("give --checkpoint a folder that can be written")
        })
    }

    /// Writes all state of an engine.
    ///
    /// # Errors
    /// Where the folder or file cannot be written; an older checkpoint in it is then intact.
    pub fn write<E: Engine>(folder: &Path, engine: &E, progress: &Progress) -> Result<(), Diagnostics> {
        Self::make_folder(folder)?;
        let states = engine.states();
        let tensors: Vec<HostTensor> =
            states.iter().map(|s| engine.read_state(&s.path)).collect::<Result<_, _>>()?;
        let named: Vec<_> = states.iter().zip(&tensors).map(|(s, t)| (&*s.path, t.view())).collect();
        let text = serde_json::to_string(progress).map_err(|e| Diagnostic::bug(e.to_string()))?;
        let metadata = BTreeMap::from([(KEY.to_string(), text), ("format".to_string(), "mlc".to_string())]);
        Ok(safetensors::write(&Self::file(folder), &named, &metadata)?)
    }

    /// # Errors
    /// Where there is no checkpoint, or it is not one.
    pub fn read(folder: &Path) -> Result<Checkpoint, Diagnostics> {
        let path = Self::file(folder);
        let file = safetensors::SafetensorsFile::open(&path, &Cache::disabled())?;
        let wrong = |what: String| {
            Diagnostic::error("E0722", format!("`{}` is not a checkpoint of mlc: {what}", path.display()))
                .hint("resume from a folder that `--checkpoint` wrote")
        };
        let text = file.metadata().get(KEY).ok_or_else(|| wrong("it holds weights only".into()))?;
        let progress = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
        let states = file
            .keys()
            .into_iter()
            .map(|k| file.tensor(Some(&k)).map(|t| (k, t)))
            .collect::<Result<Vec<_>, Diagnostic>>()?;
        Ok(Checkpoint { progress, states, path })
    }

    /// Gives an engine the state of the checkpoint.
    ///
    /// # Errors
    /// Lists every state that is missing, unknown or of another type; nothing was changed then.
    pub fn restore<E: Engine>(&self, engine: &mut E) -> Result<(), Diagnostics> {
        let mut problems = vec![];
        let declared = engine.states();
        for s in &declared {
            match self.states.iter().find(|(n, _)| **n == *s.path) {
                None => problems.push(format!("missing: {} ({})", s.path, s.ty)),
                Some((_, t)) if Some(t.shape().to_vec()) != s.ty.bound_shape() || t.dtype() != s.ty.dtype => {
                    problems.push(format!(
                        "differs: {} is {}{:?}, the model has {}",
                        s.path,
                        t.dtype(),
                        t.shape(),
                        s.ty
                    ));
                }
                Some(_) => {}
            }
        }
        let known = |n: &str| declared.iter().any(|s| *s.path == *n);
        problems.extend(self.states.iter().filter(|(n, _)| !known(n)).map(|(n, _)| format!("unknown: {n}")));
        if !problems.is_empty() {
            let title = format!("`{}` is a checkpoint of another model", self.path.display());
            let mut d = Diagnostic::error("E0723", title);
            d.notes = problems;
            return Err(d.hint("resume with the .mlg file that the run was started with").into());
        }
        for (name, tensor) in &self.states {
            engine.write_state(name, tensor)?;
        }
        Ok(())
    }
}
