//! From a file to a [`Program`]: options in, checked entries out.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use mlc_cpu::{Costs, CpuBackend, CpuOptions};
use mlc_diag::{Diagnostic, Diagnostics, SourceMap};
use mlc_frontend::build::{DiskLoader, FileLoader, MemoryLoader};
use mlc_ir::program::{Entry, StateLayout};
use mlc_ir::{Binding, Device};
use mlc_passes::{Fusion, Lowered, Place};

use crate::artifact::Loaded;
use crate::bound::{BoundEntry, Key, lower};
use crate::session::{Seed, Session};
use crate::{Error, Target};

/// Options of a compilation. Every method returns the compiler, so that calls chain.
#[derive(Debug, Clone, Default)]
pub struct Compiler {
    pub(crate) target: Target,
    pub(crate) dims: Binding,
    pub(crate) devices: BTreeMap<String, Device>,
    pub(crate) precision: Option<String>,
    pub(crate) explicit_transfers: Option<bool>,
    pub(crate) model: Option<String>,
    pub(crate) tests: bool,
    pub(crate) strict: bool,
    pub(crate) memory_limit: Option<u64>,
    pub(crate) threads: Option<usize>,
    pub(crate) fusion: Fusion,
    pub(crate) costs: Option<Costs>,
}

impl Compiler {
    pub fn new() -> Compiler {
        Compiler::default()
    }

    pub fn target(mut self, target: Target) -> Self {
        self.target = target;
        self
    }

    /// Binds a dim that neither data nor inputs bind.
    pub fn dim(mut self, name: &str, size: i64) -> Self {
        self.dims.insert(name.into(), size);
        self
    }

    /// Puts what the file places on `name` (`left`, `cuda:1`) on another device.
    pub fn device(mut self, name: &str, device: Device) -> Self {
        self.devices.insert(name.into(), device);
        self
    }

    /// Overrides the train block's precision: `f32`, `mixed(f16)`, `mixed(bf16)`.
    pub fn precision(mut self, precision: &str) -> Self {
        self.precision = Some(precision.into());
        self
    }

    /// Makes every transfer that is not spelled `.to` an error.
    pub fn explicit_transfers(mut self, explicit: bool) -> Self {
        self.explicit_transfers = Some(explicit);
        self
    }

    /// The model whose entries are wanted, where a file has several.
    pub fn model(mut self, name: &str) -> Self {
        self.model = Some(name.into());
        self
    }

    /// Builds test blocks too, for who runs them.
    pub fn tests(mut self, tests: bool) -> Self {
        self.tests = tests;
        self
    }

    /// Computes contractions in one fixed order: the same bits on every machine.
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Bytes that a plan may need on each device. A plan that would need more computes values again instead of
    /// keeping them; an entry that still does not fit is an error when it is bound.
    pub fn memory_limit(mut self, bytes: Option<u64>) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// How many threads share the work on a CPU; without it, all that the process may use. Results do not depend
    /// on it. 0 counts as 1.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// What a CPU's work costs, which decides how kernels are cut into chunks and tiles; without it, a table that is
    /// built in. Results do not depend on it. An artifact runs as the table cuts that it was compiled with.
    pub fn costs(mut self, costs: Option<Costs>) -> Self {
        self.costs = costs;
        self
    }

    /// Makes every op a kernel of its own, for comparison: no bit of any result may differ.
    pub fn fuse(mut self, fuse: bool) -> Self {
        self.fusion = Fusion { fuse };
        self
    }

    /// # Errors
    /// Everything that is wrong with the file, as far as it can be found at once.
    pub fn compile_file(&self, path: impl AsRef<Path>) -> Result<Program, Error> {
        self.compile_with(&DiskLoader, path.as_ref())
    }

    /// Compiles a text that is not in a file; `use` and data paths start at the working directory.
    ///
    /// # Errors
    /// As [`Compiler::compile_file`].
    pub fn compile_source(&self, name: &str, text: &str) -> Result<Program, Error> {
        let loader = MemoryLoader::new().with(name, text);
        self.compile_with(&loader, Path::new(name))
    }

    /// Compiles with files from anywhere.
    ///
    /// # Errors
    /// As [`Compiler::compile_file`].
    pub fn compile_with(&self, loader: &(dyn FileLoader + Sync), path: &Path) -> Result<Program, Error> {
        let device = self.target.device().map_err(Error::plain)?;
        let options = mlc_frontend::build::Options {
            model: self.model.clone(),
            tests: self.tests,
            devices: self.devices.iter().map(|(n, d)| (n.clone(), *d)).collect(),
            ..Default::default()
        };
        let checked = mlc_frontend::build::compile(loader, path, &options);
        let sources = checked.sources;
        let Some(program) = checked.program.filter(|_| !checked.diagnostics.has_errors()) else {
            return Err(Error { diagnostics: checked.diagnostics, sources });
        };
        let mut cpu = CpuBackend::from_env(self.strict, self.threads).map_err(Error::plain)?.options;
        cpu = CpuOptions { costs: self.costs.unwrap_or_default(), ..cpu };
        let backend = Arc::new(CpuBackend::new(cpu));
        let mut place = self.place(device, program.transfers.explicit);
        // Also for states that an entry writes and never reads.
        let annotated = program.states.iter().filter_map(|s| Some((s.path.clone(), s.ty.device?)));
        place.states = annotated.collect();
        let too_large = absurd_states(&program);
        if !too_large.is_empty() {
            return Err(Error::new(too_large, &sources));
        }
        let mut placed = program.states.clone();
        for s in &mut placed {
            s.ty.device = Some(s.ty.device.map_or(device, |d| place.remap.get(&d).copied().unwrap_or(d)));
            if s.ty.device.is_some_and(|d| d.kind != device.kind) {
                let missing = crate::target::missing(s.ty.device.unwrap_or(device));
                return Err(Error::new(missing.label(s.span, "placed here"), &sources));
            }
        }
        let inner = Inner {
            ir: program,
            layout: StateLayout::new(&placed),
            place,
            options: self.clone(),
            device,
            backend,
            warnings: checked.diagnostics,
            sources,
            bound: Mutex::default(),
            loaded: None,
        };
        let program = Program::of(inner);
        crate::transfers::check_limits(&program).map_err(|ds| program.error(ds))?;
        Ok(program)
    }

    /// Where things go: the target, remapped devices, whether transfers must be spelled.
    fn place(&self, device: Device, explicit: bool) -> Place {
        let mut place = Place::on(device);
        place.explicit = self.explicit_transfers.unwrap_or(explicit);
        // Names of `device` items are the front end's; what is spelled as a device is remapped here.
        place.remap = self.devices.iter().filter_map(|(from, to)| Some((from.parse().ok()?, *to))).collect();
        place
    }
}

/// States that no machine holds. They are found here so that nobody after has to think of sizes that
/// overflow.
fn absurd_states(program: &mlc_ir::program::Program) -> Diagnostics {
    const MOST: u64 = 1 << 40;
    let mut total = 0u64;
    let mut errors = Diagnostics::new();
    for s in &program.states {
        let dims = s.ty.bound_shape().unwrap_or_default();
        let size = s.ty.dtype.size() as u64;
        let bytes = dims.iter().try_fold(size, |n, &d| n.checked_mul(d as u64)).filter(|&n| n <= MOST);
        match bytes {
            Some(n) => total = total.saturating_add(n),
            None => errors.push(
                Diagnostic::error("E0210", format!("`{}`: {} would take more than 1 TiB", s.path, s.ty))
                    .label(s.span, "this state")
                    .hint("check the sizes that the model is built with"),
            ),
        }
    }
    if errors.is_empty() && total > MOST {
        errors
            .push(Diagnostic::error("E0210", "the model's parameters and other states take more than 1 TiB"));
    }
    errors
}

/// A compiled file: entries that are bound to sizes and lowered to machine code when they are first
/// used, at most once for each binding. Cloning shares it.
#[derive(Clone)]
pub struct Program(Arc<Inner>);

pub(crate) struct Inner {
    pub ir: mlc_ir::program::Program,
    pub options: Compiler,
    pub device: Device,
    pub backend: Arc<CpuBackend>,
    pub layout: StateLayout,
    pub place: Place,
    pub warnings: Diagnostics,
    pub sources: Arc<SourceMap>,
    pub bound: Mutex<BTreeMap<Key, Arc<BoundEntry>>>,
    /// What came out of an artifact; a program that was compiled has none.
    pub loaded: Option<Loaded>,
}

impl Program {
    pub(crate) fn of(inner: Inner) -> Program {
        Program(Arc::new(inner))
    }

    pub(crate) fn loaded(&self) -> Option<&Loaded> {
        self.0.loaded.as_ref()
    }

    /// Entries, state layout, data and training specifications.
    pub fn ir(&self) -> &mlc_ir::program::Program {
        &self.0.ir
    }

    pub fn sources(&self) -> &Arc<SourceMap> {
        &self.0.sources
    }

    /// What was noticed and is no error.
    pub fn warnings(&self) -> &Diagnostics {
        &self.0.warnings
    }

    pub fn options(&self) -> &Compiler {
        &self.0.options
    }

    /// Where everything goes that the file does not place.
    pub fn device(&self) -> Device {
        self.0.device
    }

    pub(crate) fn backend(&self) -> &CpuBackend {
        &self.0.backend
    }

    /// Where every state lies, the same for all entries.
    pub fn layout(&self) -> &StateLayout {
        &self.0.layout
    }

    pub(crate) fn place(&self) -> &Place {
        &self.0.place
    }

    pub(crate) fn error(&self, ds: impl Into<Diagnostics>) -> Error {
        Error::new(ds, &self.0.sources)
    }

    /// State of its own, freshly initialised from the seed.
    ///
    /// # Errors
    /// Where memory cannot be had.
    pub fn session(&self, seed: Seed) -> Result<Session, Error> {
        Session::new(self, seed)
    }

    /// An entry by name.
    ///
    /// # Errors
    /// Names the entries there are.
    pub fn entry(&self, name: &str) -> Result<&Entry, Error> {
        self.find_entry(name).map_err(|d| self.error(d))
    }

    pub(crate) fn find_entry(&self, name: &str) -> Result<&Entry, Diagnostic> {
        self.0.ir.entry(name).ok_or_else(|| {
            let names: Vec<&str> = self.0.ir.entries.iter().map(|e| e.name.as_str()).collect();
            let d = Diagnostic::error("E0903", format!("there is no entry `{name}`"));
            d.note(format!("entries: {}", names.join(", ")))
        })
    }

    /// An entry with its graph.
    pub(crate) fn source_entry(&self, name: &str) -> Result<&Entry, Diagnostic> {
        match self.loaded() {
            Some(loaded) => Err(loaded.needs_source("graphs")),
            None => self.find_entry(name),
        }
    }

    /// An entry compiled for these dims; compiled once.
    ///
    /// # Errors
    /// Unbound dims, checks that fail for these sizes, memory; sizes that an artifact does not have.
    pub fn bind(&self, name: &str, binding: &Binding) -> Result<Arc<BoundEntry>, Error> {
        self.bind_entry(name, binding).map_err(|ds| self.error(ds))
    }

    /// The plan of an entry for these dims, without machine code. Under a memory limit the best plan found, which
    /// may still be over it: [`Program::unfit`] says so and what would help.
    ///
    /// # Errors
    /// As [`Program::bind`]; a program from an artifact has no graphs to lower.
    pub fn lower(&self, name: &str, binding: &Binding) -> Result<Lowered, Error> {
        let lowered =
            self.source_entry(name).map_err(Diagnostics::from).and_then(|e| lower(self, e, binding));
        lowered.map(|l| l.1).map_err(|ds| self.error(ds))
    }

    /// Bytes that a plan may need on each device.
    pub fn memory_limit(&self) -> Option<u64> {
        self.0.options.memory_limit
    }

    /// The dims given to the compiler.
    pub fn dims(&self) -> &Binding {
        &self.0.options.dims
    }

    pub(crate) fn bind_entry(&self, name: &str, binding: &Binding) -> Result<Arc<BoundEntry>, Diagnostics> {
        let key: Key = (name.to_string(), binding.clone());
        if let Some(found) = self.lock().get(&key) {
            return Ok(found.clone());
        }
        let entry = self.find_entry(name)?;
        let bound = match self.loaded() {
            Some(loaded) => loaded.bind(self, &key)?,
            None => BoundEntry::compile(self, entry, binding)?,
        };
        Ok(self.lock().entry(key).or_insert(Arc::new(bound)).clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, Arc<BoundEntry>>> {
        // The map is only ever inserted into: a panic elsewhere cannot have left it half changed.
        self.0.bound.lock().unwrap_or_else(|e| e.into_inner())
    }
}
