//! Writing artifacts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mlc_diag::{Diagnostic, Diagnostics};
use mlc_ir::program::{DataSpec, Entry, EntryKind, Train};
use mlc_ir::{Binding, Dim, Symbol};
use mlc_runtime::data::LoadOptions;
use mlc_runtime::files::atomic_write;
use mlc_runtime::train::{Fed, epoch_inputs, weights_file};

use super::container::{self, Head};
use super::folders;
use super::manifest::{BoundRecord, EntryDecl, Manifest};
use crate::bound::BoundEntry;
use crate::session::binding_of;
use crate::{Error, Program, Session};

/// Collects what an artifact shall have. Every method but [`ArtifactBuilder::write`] compiles at most; nothing is
/// written before.
pub struct ArtifactBuilder {
    program: Program,
    bound: Vec<Arc<BoundEntry>>,
    /// What each data specification feeds, by block and whether it is the validation's.
    fed: BTreeMap<(usize, bool), Vec<Vec<Fed>>>,
    weights: Vec<u8>,
    rebuild: String,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub bytes: u64,
    /// Distinct functions of machine code.
    pub functions: usize,
    pub code_bytes: usize,
    pub weights_bytes: usize,
}

impl Program {
    /// An artifact of this program, empty so far.
    pub fn artifact(&self) -> ArtifactBuilder {
        ArtifactBuilder {
            program: self.clone(),
            bound: vec![],
            fed: BTreeMap::new(),
            weights: vec![],
            rebuild: "mlc compile FILE.mlg --target cpu -o FILE.mlgx".into(),
        }
    }
}

impl ArtifactBuilder {
    /// Adds an entry for one binding of all its dims.
    ///
    /// # Errors
    /// As [`Program::bind`].
    pub fn entry(&mut self, name: &str, binding: &Binding) -> Result<(), Error> {
        let bound = self.program.bind(name, binding)?;
        if !self.bound.iter().any(|b| b.name == bound.name && b.binding == bound.binding) {
            self.bound.push(bound);
        }
        Ok(())
    }

    /// Adds an entry of a train block for every batch that the block's data gives: the full one, the partial last
    /// one. `dims` are for dims that the data leaves open.
    ///
    /// # Errors
    /// Of data that cannot be read, and as [`Program::bind`].
    pub fn train_entry(&mut self, name: &str, load: &LoadOptions, dims: &Binding) -> Result<(), Error> {
        let program = self.program.clone();
        let entry = program.entry(name)?;
        let Some(block) = entry.kind.train() else {
            let d = Diagnostic::error("E0903", format!("`{name}` is no entry of a train block"));
            return Err(program.error(d));
        };
        let validates = matches!(entry.kind, EntryKind::Validate { .. });
        let fed = self.fed(block, validates, load).map_err(|ds| program.error(ds))?;
        for inputs in fed {
            let open = dims.iter().filter(|(dim, _)| !binds(entry, &inputs, dim));
            let open: Binding = open.map(|(n, v)| (n.clone(), *v)).collect();
            let binding = binding_of(entry, &inputs, &open).map_err(|ds| program.error(ds))?;
            self.entry(name, &binding)?;
        }
        Ok(())
    }

    /// The inputs that a block's data gives; of a block that is not validated none.
    fn fed(
        &mut self,
        block: usize,
        validates: bool,
        load: &LoadOptions,
    ) -> Result<Vec<Vec<Fed>>, Diagnostics> {
        if let Some(known) = self.fed.get(&(block, validates)) {
            return Ok(known.clone());
        }
        let of = |t: &Train| -> (Option<DataSpec>, bool) {
            if validates { (t.validate.clone(), t.validate.is_some()) } else { (t.data.clone(), true) }
        };
        let fed = match self.program.ir().trains.get(block).map(of) {
            Some((Some(spec), _)) => epoch_inputs(&spec, load)?,
            // A step without data: one empty record.
            Some((None, true)) => vec![vec![]],
            Some((None, false)) | None => vec![],
        };
        self.fed.insert((block, validates), fed.clone());
        Ok(fed)
    }

    /// Embeds the parameters and buffers of a session.
    ///
    /// # Errors
    /// Where the session's state is not usable.
    pub fn weights(&mut self, session: &Session) -> Result<(), Error> {
        self.weights = weights_file(session).map_err(|ds| self.program.error(ds))?;
        Ok(())
    }

    /// The command that messages name for making the artifact again.
    pub fn rebuild(&mut self, command: String) {
        self.rebuild = command;
    }

    /// What was added so far.
    pub fn bound(&self) -> &[Arc<BoundEntry>] {
        &self.bound
    }

    /// Writes the artifact, as a whole or not at all. The entry that gives states their first values is always
    /// in it.
    ///
    /// # Errors
    /// Where no object can be written for this machine; where the file cannot be.
    pub fn write(mut self, path: impl AsRef<Path>) -> Result<Written, Error> {
        let path = path.as_ref();
        self.entry("init", &Binding::new())?;
        self.write_to(path).map_err(|ds| self.program.error(ds))
    }

    fn write_to(&self, path: &Path) -> Result<Written, Diagnostics> {
        let backend = self.program.backend();
        let kernels = self.bound.iter().flat_map(|b| b.plan.program.leaf_kernels());
        let code = backend.export(kernels)?;
        let written = Written {
            bytes: 0,
            functions: code.functions.len(),
            code_bytes: code.functions.iter().map(|f| f.size as usize).sum(),
            weights_bytes: self.weights.len(),
        };
        let mut manifest = self.manifest(folder_of(path));
        manifest.functions = code.functions;
        let manifest = postcard::to_allocvec(&manifest).map_err(|e| unencodable(path, &e))?;
        let head = Head::new(backend.options.features, self.rebuild.clone());
        let mut bytes = 0;
        atomic_write(path, |out| {
            bytes = container::write(out, head, [&manifest, &code.object, &self.weights])?;
            Ok(())
        })?;
        Ok(Written { bytes, ..written })
    }

    fn manifest(&self, folder: PathBuf) -> Manifest {
        let program = &self.program;
        let ir = program.ir();
        let has = |e: &&Entry| self.bound.iter().any(|b| b.name == e.name);
        let mut trains = ir.trains.clone();
        folders::make_absolute(&mut trains);
        let record = |b: &Arc<BoundEntry>| BoundRecord {
            entry: b.name.clone(),
            binding: b.binding.clone(),
            inputs: b.inputs.clone(),
            outputs: b.outputs.clone(),
            plan: b.plan.clone(),
        };
        Manifest {
            sources: (**program.sources()).clone(),
            states: ir.states.clone(),
            layout: program.layout().clone(),
            entries: ir.entries.iter().filter(has).map(EntryDecl::from).collect(),
            trains,
            device: program.device(),
            strict: program.backend().options.strict,
            costs: program.backend().options.costs,
            dims: self.single_dims(),
            folder,
            functions: vec![],
            bound: self.bound.iter().map(record).collect(),
        }
    }

    /// The dims that no input binds and that have one size in all bindings: nobody needs to say it again.
    fn single_dims(&self) -> Binding {
        let mut sizes: BTreeMap<&Symbol, Vec<i64>> = BTreeMap::new();
        for (name, &n) in self.bound.iter().flat_map(|b| &b.binding) {
            sizes.entry(name).or_default().push(n);
        }
        let entries = self.program.ir().entries.iter();
        let by_input = |dim: &Symbol| entries.clone().any(|e| e.inputs.iter().any(|i| has_axis(i, dim)));
        let single =
            sizes.into_iter().filter(|(dim, all)| all.iter().all(|n| *n == all[0]) && !by_input(dim));
        single.map(|(dim, all)| (dim.clone(), all[0])).collect()
    }
}

fn has_axis(input: &mlc_ir::program::InputDecl, dim: &Symbol) -> bool {
    input.ty.shape.contains(&Dim::sym(dim.clone()))
}

/// Is the dim bound by what is fed?
fn binds(entry: &Entry, fed: &[Fed], dim: &Symbol) -> bool {
    let mut inputs = entry.inputs.iter().filter(|i| fed.iter().any(|f| f.name == i.name));
    inputs.any(|i| has_axis(i, dim))
}

fn folder_of(path: &Path) -> PathBuf {
    folders::absolute(path.parent().unwrap_or(Path::new("")))
}

fn unencodable(path: &Path, e: &postcard::Error) -> Diagnostic {
    let title = format!("cannot write `{}`: {e}", path.display());
    Diagnostic::error("E0712", title).hint("use paths of Unicode characters in the program's data sources")
}
