//! A model with state: call its entries, train it, read and load its weights.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use mlc_diag::{Diagnostic, Diagnostics};
use mlc_ir::loops::{ArenaId, ArenaKind, BufferId, Lit, Place, Plan};
use mlc_ir::program::{Entry, StateDecl, system};
use mlc_ir::types::Relation;
use mlc_ir::{Binding, DType};
use mlc_runtime::HostTensor;
use mlc_runtime::exec::{self, StateStore};
use mlc_runtime::files::Cache;
use mlc_runtime::train::{self, Engine, Fed, Observer, RunReport, Scalar, TrainOptions, ValidationReport};

use crate::array::{IntoTensor, Results};
use crate::bound::BoundEntry;
use crate::{Error, Program};

/// The seed of initial values and of all random numbers of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seed(pub u64);

/// What one training step reports.
#[derive(Debug, Clone, PartialEq)]
pub struct StepResult {
    /// Before the update.
    pub loss: f64,
    pub metrics: Vec<(String, f64)>,
}

/// State, and the entries that were used with their working memory.
pub struct Session {
    program: Program,
    state: Arc<StateStore>,
    /// Any plan: all have the same state arenas.
    init: Arc<BoundEntry>,
    running: Vec<Running>,
    index: BTreeMap<(String, Binding), usize>,
    /// After an index fault the state is half updated: nothing of it may be saved.
    faulted: bool,
}

struct Running {
    bound: Arc<BoundEntry>,
    session: Box<dyn exec::Session>,
    /// Scalar outputs as positions in `bound.outputs`.
    scalars: Vec<usize>,
}

/// A bound entry, for one order of inputs.
#[derive(Debug, Clone)]
pub struct Call {
    running: usize,
    /// For each input that is fed: its port, unless the entry does not have it.
    ports: Vec<Option<usize>>,
}

impl Session {
    pub(crate) fn new(program: &Program, seed: Seed) -> Result<Session, Error> {
        let wrap = |ds: Diagnostics| program.error(ds);
        let init = program.bind_entry("init", &Binding::new()).map_err(wrap)?;
        let state = StateStore::new(&init.plan, program.backend()).map_err(|d| program.error(d))?;
        let mut session = Session {
            program: program.clone(),
            state: Arc::new(state),
            init,
            running: vec![],
            index: BTreeMap::new(),
            faulted: false,
        };
        session.reset(seed).map_err(wrap)?;
        Ok(session)
    }

    /// Gives every state its first value.
    fn reset(&mut self, seed: Seed) -> Result<(), Diagnostics> {
        let has = |name: &str| self.program.ir().state(name).is_some();
        let seeded = [
            (system::SEED, scalar(DType::U64, &seed.0.to_ne_bytes())?),
            (system::ITERATION, scalar(DType::U32, &0u32.to_ne_bytes())?),
            (system::STEP, HostTensor::scalar(0f32)),
            (system::MICRO, HostTensor::scalar(0f32)),
            (system::TOTAL_STEPS, HostTensor::scalar(0f32)),
        ];
        let present: Vec<_> = seeded.into_iter().filter(|(name, _)| has(name)).collect();
        for (name, value) in &present {
            self.write_state(name, value)?;
        }
        let call = self.prepare("init", &Binding::new(), &[])?;
        self.run(&call, &[])?;
        for (name, value) in &present {
            self.write_state(name, value)?;
        }
        self.load_embedded()
    }

    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Bytes of tensors and working memory that the session holds: the state, and what the plans of the entries
    /// used so far say.
    pub fn bytes(&self) -> u64 {
        let own = self.running.iter().map(|r| r.session.bytes() + r.bound.executable.bytes());
        self.state.bytes() + own.sum::<u64>()
    }

    /// Loads parameters and buffers by PyTorch's names. Returns notes on conversions.
    ///
    /// # Errors
    /// Lists all missing, extra and misshapen tensors; nothing was loaded then.
    pub fn load_weights(&mut self, path: impl AsRef<Path>) -> Result<Vec<String>, Error> {
        let program = self.program.clone();
        train::load_weights(self, path.as_ref(), &Cache::user(), &|_| true, true)
            .map_err(|ds| program.error(ds))
    }

    /// Writes parameters and buffers, atomically.
    ///
    /// # Errors
    /// Where the file cannot be written; an older one is then intact.
    pub fn save_weights(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        train::save_weights(self, path.as_ref(), &|_| true).map(|_| ()).map_err(|ds| self.program.error(ds))
    }

    /// The value of a parameter, buffer or other state.
    ///
    /// # Errors
    /// Where there is no such state.
    pub fn state(&self, path: &str) -> Result<HostTensor, Error> {
        self.read_state(path).map_err(|ds| self.program.error(ds))
    }

    /// # Errors
    /// Where there is no such state, or the value has another type.
    pub fn set_state(&mut self, path: &str, value: &HostTensor) -> Result<(), Error> {
        let program = self.program.clone();
        self.write_state(path, value).map_err(|ds| program.error(ds))
    }

    /// Runs an entry on arrays. Dims are bound by their shapes.
    ///
    /// # Errors
    /// Unknown entries and inputs, shapes that do not fit, run-time faults.
    pub fn call<'a, T: IntoTensor>(
        &mut self,
        entry: &str,
        inputs: impl IntoIterator<Item = (&'a str, T)>,
    ) -> Result<Results, Error> {
        let inputs = inputs.into_iter().map(|(n, t)| (n.to_string(), t.into_tensor())).collect::<Vec<_>>();
        self.call_tensors(entry, &inputs)
    }

    /// [`Session::call`] for tensors of several dtypes.
    ///
    /// # Errors
    /// As [`Session::call`].
    pub fn call_tensors(&mut self, entry: &str, inputs: &[(String, HostTensor)]) -> Result<Results, Error> {
        let program = self.program.clone();
        self.call_inner(entry, inputs, program.dims()).map_err(|ds| program.error(ds))
    }

    /// [`Session::call_tensors`] with these dims in place of the compiler's.
    ///
    /// # Errors
    /// As [`Session::call`].
    pub fn call_with_dims(
        &mut self,
        entry: &str,
        inputs: &[(String, HostTensor)],
        dims: &Binding,
    ) -> Result<Results, Error> {
        let program = self.program.clone();
        self.call_inner(entry, inputs, dims).map_err(|ds| program.error(ds))
    }

    fn call_inner(
        &mut self,
        entry: &str,
        inputs: &[(String, HostTensor)],
        dims: &Binding,
    ) -> Result<Results, Diagnostics> {
        let fed: Vec<Fed> = inputs.iter().map(|(n, t)| fed(n, t)).collect();
        let declared = self.program.find_entry(entry)?;
        for f in &fed {
            if !declared.inputs.iter().any(|i| i.name == f.name) {
                let names: Vec<&str> = declared.inputs.iter().map(|i| &*i.name).collect();
                let d = Diagnostic::error("E0904", format!("`{entry}` has no input `{}`", f.name));
                return Err(d.note(format!("inputs: {}", names.join(", "))).into());
            }
        }
        let binding = binding_of(declared, &fed, &self.program.with_defaults(declared, dims))?;
        let call = self.prepare(entry, &binding, &fed)?;
        let bytes: Vec<&[u8]> = inputs.iter().map(|(_, t)| t.bytes()).collect();
        self.run(&call, &bytes)?;
        self.results(&call)
    }

    fn results(&mut self, call: &Call) -> Result<Results, Diagnostics> {
        let running = &mut self.running[call.running];
        let mut out = vec![];
        for port in &running.bound.outputs {
            let Some(buffer) = port.buffer else { continue };
            let mut bytes = vec![0u8; port.shape.iter().product::<usize>() * port.dtype.size()];
            running.session.read(buffer, &mut bytes)?;
            out.push((port.name.to_string(), tensor(port.dtype, &port.shape, &bytes)?));
        }
        Ok(Results(out))
    }

    /// One update of the (only) train block, on one batch: all losses run, each on what the ones before it left.
    ///
    /// # Errors
    /// As [`Session::call`]; also where the file has no train block.
    pub fn train_step<'a, T: IntoTensor>(
        &mut self,
        batch: impl IntoIterator<Item = (&'a str, T)>,
    ) -> Result<StepResult, Error> {
        let batch: Vec<_> = batch.into_iter().map(|(n, t)| (n.to_string(), t.into_tensor())).collect();
        self.train_step_tensors(&batch)
    }

    /// [`Session::train_step`] for tensors of several dtypes, as batches of images and labels are.
    ///
    /// # Errors
    /// As [`Session::train_step`].
    pub fn train_step_tensors(&mut self, batch: &[(String, HostTensor)]) -> Result<StepResult, Error> {
        let Some(passes) = self.whole_update() else {
            return Err(self.program.error(Diagnostic::error("E0905", "the file has no train block")));
        };
        let mut results = Results(vec![]);
        for name in passes {
            results.0.extend(self.call_tensors(&name, batch)?.0);
        }
        let value =
            |t: &HostTensor| t.cast(DType::F64).bytes().try_into().map_or(f64::NAN, f64::from_ne_bytes);
        let is_loss = |n: &str| n == "loss" || n.starts_with("loss.");
        let loss = results.iter().filter(|(n, _)| is_loss(n)).map(|(_, t)| value(t)).sum();
        let metric = |(n, t): (&str, &HostTensor)| Some((n.strip_prefix("metric.")?.to_string(), value(t)));
        Ok(StepResult { loss, metrics: results.iter().filter_map(metric).collect() })
    }

    /// The entries of an update in which all losses run, on its last (here its only) micro-batch.
    fn whole_update(&self) -> Option<Vec<String>> {
        let ir = self.program.ir();
        let update = ir.trains.first()?.updates().into_iter().next()?;
        Some(ir.calls(0, &update, true)?.into_iter().map(|e| e.name.clone()).collect())
    }

    /// Loads what a train block's `weights` names, as training does before its first step.
    ///
    /// # Errors
    /// Of the files, and of tensors that do not fit.
    pub fn load_block_weights(
        &mut self,
        block: usize,
        options: &TrainOptions,
        observer: &mut dyn Observer,
    ) -> Result<(), Error> {
        let program = self.program.clone();
        let Some(spec) = program.ir().trains.get(block) else { return Ok(()) };
        train::load_initial(self, spec, options, observer).map_err(|ds| program.error(ds))
    }

    /// Runs a train block (by index) to its end.
    ///
    /// # Errors
    /// Of data, files and run-time faults.
    pub fn train(
        &mut self,
        block: usize,
        options: &TrainOptions,
        interrupt: &AtomicBool,
        observer: &mut dyn Observer,
    ) -> Result<RunReport, Error> {
        let program = self.program.clone();
        train::train(self, program.ir(), block, options, interrupt, observer).map_err(|ds| program.error(ds))
    }

    /// Evaluates a train block on its validation data.
    ///
    /// # Errors
    /// As [`Session::train`].
    pub fn validate(
        &mut self,
        block: usize,
        options: &TrainOptions,
        observer: &mut dyn Observer,
    ) -> Result<ValidationReport, Error> {
        let program = self.program.clone();
        train::validate(self, program.ir(), block, options, observer).map_err(|ds| program.error(ds))
    }

    /// The plan of a bound entry.
    pub fn plan(&self, call: &Call) -> &Arc<Plan> {
        &self.running[call.running].bound.plan
    }

    /// Runs a bound entry once more, on the inputs of its last run, and adds to the time of each of its plan's
    /// calls.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub fn run_timed(&mut self, call: &Call, times: &mut [Duration]) -> Result<(), Diagnostics> {
        let session = &mut self.running[call.running].session;
        session.run_timed(times)?;
        match session.fault() {
            None => Ok(()),
            Some(fault) => {
                self.faulted = true;
                Err(fault.diagnostic().into())
            }
        }
    }

    fn prepare(&mut self, entry: &str, binding: &Binding, inputs: &[Fed]) -> Result<Call, Diagnostics> {
        let key = (entry.to_string(), binding.clone());
        let running = match self.index.get(&key) {
            Some(&i) => i,
            None => {
                let bound = self.program.bind_entry(entry, binding)?;
                let session = bound.executable.clone().session(self.state.clone())?;
                let scalars =
                    (0..bound.outputs.len()).filter(|&i| bound.outputs[i].shape.is_empty()).collect();
                self.running.push(Running { bound, session, scalars });
                self.index.insert(key, self.running.len() - 1);
                self.running.len() - 1
            }
        };
        let ports = &self.running[running].bound.inputs;
        let ports = inputs.iter().map(|f| ports.iter().position(|p| p.name == f.name)).collect();
        Ok(Call { running, ports })
    }

    /// A state and where it lies.
    fn declared(&self, path: &str) -> Result<(&StateDecl, Place), Diagnostic> {
        let missing = || Diagnostic::error("E0906", format!("there is no state `{path}`"));
        let layout = self.program.layout();
        let slot = layout.find(path).and_then(|id| layout.get(id)).ok_or_else(missing)?;
        let declared = self.program.ir().state(path).ok_or_else(missing)?;
        let arenas = &self.init.plan.arenas;
        let arena = arenas.iter().position(|a| a.kind == ArenaKind::State && a.device == slot.device);
        let arena = arena.ok_or_else(|| Diagnostic::bug(format!("no state arena on {}", slot.device)))?;
        let place =
            Place { arena: ArenaId(arena as u32), offset: slot.offset, bytes: slot.bytes, live: None };
        Ok((declared, place))
    }
}

impl Engine for Session {
    type Call = Call;

    fn bind(&mut self, entry: &str, inputs: &[Fed]) -> Result<Call, Diagnostics> {
        let declared = self.program.find_entry(entry)?;
        let dims = self.program.with_defaults(declared, self.program.dims());
        let binding = binding_of(declared, inputs, &dims)?;
        self.prepare(entry, &binding, inputs)
    }

    fn run(&mut self, call: &Call, inputs: &[&[u8]]) -> Result<(), Diagnostics> {
        let running = &mut self.running[call.running];
        let bound = &running.bound;
        let buffer = |port: &Option<usize>| port.and_then(|p| bound.inputs[p].buffer);
        let given = call.ports.iter().zip(inputs).filter_map(|(p, &bytes)| Some((buffer(p)?, bytes)));
        // An input that is an output too is asked for later.
        let returned = |input: BufferId| bound.outputs.iter().any(|o| o.buffer == Some(input));
        for (input, bytes) in given.clone().filter(|g| returned(g.0)) {
            running.session.write(input, bytes)?;
        }
        running.session.run_on(&mut given.filter(|g| !returned(g.0)))?;
        match running.session.fault() {
            None => Ok(()),
            Some(fault) => {
                self.faulted = true;
                Err(fault.diagnostic().into())
            }
        }
    }

    fn scalars(&self, call: &Call) -> Vec<Scalar> {
        let running = &self.running[call.running];
        let port = |&i: &usize| &running.bound.outputs[i];
        running
            .scalars
            .iter()
            .map(port)
            .map(|p| Scalar { name: p.name.to_string(), weight: p.weight })
            .collect()
    }

    fn read_scalars(&mut self, call: &Call, values: &mut Vec<f64>) {
        let running = &mut self.running[call.running];
        values.clear();
        for &i in &running.scalars {
            let port = &running.bound.outputs[i];
            let mut bytes = [0u8; 8];
            let bytes = &mut bytes[..port.dtype.size()];
            let read = port.buffer.map(|b| running.session.read(b, bytes));
            values.push(if matches!(read, Some(Ok(()))) { to_f64(port.dtype, bytes) } else { f64::NAN });
        }
    }

    fn load_embedded(&mut self) -> Result<(), Diagnostics> {
        let program = self.program.clone();
        let Some(loaded) = program.loaded() else { return Ok(()) };
        let Some(file) = loaded.weights()? else { return Ok(()) };
        train::load_weights_from(self, &file, "the embedded weights", &|_| true, true).map(|_| ())
    }

    fn states(&self) -> Vec<StateDecl> {
        self.program.ir().states.clone()
    }

    fn read_state(&self, path: &str) -> Result<HostTensor, Diagnostics> {
        if self.faulted {
            let d = Diagnostic::error("E0802", "the state is not usable after a run-time fault");
            return Err(d.hint("make a new session, or resume from a checkpoint").into());
        }
        let (s, place) = self.declared(path)?;
        let shape = s.ty.bound_shape().unwrap_or_default();
        let mut bytes = vec![0u8; shape.iter().product::<usize>() * s.ty.dtype.size()];
        self.state.read(&self.init.plan, &place, &mut bytes)?;
        Ok(tensor(s.ty.dtype, &shape, &bytes)?)
    }

    fn write_state(&mut self, path: &str, value: &HostTensor) -> Result<(), Diagnostics> {
        let (s, place) = self.declared(path)?;
        if value.dtype() != s.ty.dtype || Some(value.shape().to_vec()) != s.ty.bound_shape() {
            let title = format!("`{path}` is {}, not {}{:?}", s.ty, value.dtype(), value.shape());
            return Err(Diagnostic::error("E0906", title).into());
        }
        Ok(self.state.write(&self.init.plan, &place, value.bytes())?)
    }
}

impl Program {
    /// The given dims, and those of this entry that an artifact has one size of.
    fn with_defaults(&self, entry: &Entry, given: &Binding) -> Binding {
        let mut all = given.clone();
        let defaults = self.loaded().into_iter().flat_map(|l| l.dims());
        for (name, n) in defaults.filter(|d| entry.graph.dims.symbols.iter().any(|s| s.name == *d.0)) {
            all.entry(name.clone()).or_insert(*n);
        }
        all
    }

    /// The dims that these inputs give an entry, with `given` for what they leave open.
    ///
    /// # Errors
    /// Inputs that are missing or do not fit, dims that nothing binds.
    pub fn binding_of(
        &self,
        entry: &str,
        inputs: &[(String, HostTensor)],
        given: &Binding,
    ) -> Result<Binding, Error> {
        let fed: Vec<Fed> = inputs.iter().map(|(n, t)| fed(n, t)).collect();
        let found = self.find_entry(entry).map_err(Diagnostics::from);
        let binding = found.and_then(|e| binding_of(e, &fed, &self.with_defaults(e, given)));
        binding.map_err(|ds| self.error(ds))
    }
}

/// Matches declared input types with what is fed, binding dim names; `given` are `--dim` values.
pub(crate) fn binding_of(entry: &Entry, inputs: &[Fed], given: &Binding) -> Result<Binding, Diagnostics> {
    let mut errors = Diagnostics::new();
    let mut binding = Binding::new();
    let mut by: BTreeMap<mlc_ir::Symbol, String> = BTreeMap::new();
    for decl in &entry.inputs {
        let Some(fed) = inputs.iter().find(|f| f.name == decl.name) else {
            let d = Diagnostic::error(
                "E0907",
                format!("the input `{}` of `{}` is missing", decl.name, entry.name),
            );
            errors.push(d.label(decl.span, format!("declared as {}", decl.ty)));
            continue;
        };
        let shown = format!("{}{:?}", fed.dtype, fed.shape);
        let misfit = |why: String| {
            Diagnostic::error("E0908", format!("the input `{}` is {shown}: {why}", decl.name))
                .label(decl.span, format!("declared as {}", decl.ty))
        };
        if fed.dtype != decl.ty.dtype {
            errors.push(misfit(format!("its dtype is not {}", decl.ty.dtype)));
            continue;
        }
        if fed.shape.len() != decl.ty.rank() {
            errors.push(misfit(format!("its rank is not {}", decl.ty.rank())));
            continue;
        }
        for (axis, (dim, &n)) in decl.ty.shape.iter().zip(&fed.shape).enumerate() {
            let [name] = &dim.symbols()[..] else { continue };
            if *dim != mlc_ir::Dim::sym(name.clone()) {
                continue;
            }
            match binding.insert(name.clone(), n as i64) {
                Some(old) if old != n as i64 => {
                    errors.push(misfit(format!(
                        "axis {axis} makes `{name}` {n}, but `{}` made it {old}",
                        by[name]
                    )));
                }
                _ => {
                    by.insert(name.clone(), decl.name.to_string());
                }
            }
        }
    }
    for (name, &n) in given {
        match binding.get(name) {
            Some(_) => {
                let title = format!("`--dim {name}={n}`: the dim is bound by the input `{}`", by[name]);
                errors.push(Diagnostic::error("E0909", title).hint("leave the option out"));
            }
            None if entry.graph.dims.symbols.iter().any(|s| s.name == *name) => {
                binding.insert(name.clone(), n);
            }
            None => {}
        }
    }
    for s in &entry.graph.dims.symbols {
        if let Some(n) = s.default {
            binding.entry(s.name.clone()).or_insert(n);
        }
    }
    for decl in &entry.inputs {
        let Some(fed) = inputs.iter().find(|f| f.name == decl.name) else { continue };
        for (axis, (dim, &n)) in decl.ty.shape.iter().zip(&fed.shape).enumerate() {
            if let Some(want) = dim.eval(&binding)
                && !Relation::Eq.holds(want, n as i64)
            {
                let title = format!("the input `{}` is {}{:?}", decl.name, fed.dtype, fed.shape);
                let why = format!("declared as {}: axis {axis} must be {want}", decl.ty);
                errors.push(Diagnostic::error("E0908", title).label(decl.span, why));
            }
        }
    }
    for s in &entry.graph.dims.symbols {
        if let (None, Some(n)) = (binding.get(&s.name), s.default) {
            binding.insert(s.name.clone(), n);
        }
        if !binding.contains_key(&s.name) && errors.is_empty() {
            let d =
                Diagnostic::error("E0910", format!("the dim `{}` of `{}` is not bound", s.name, entry.name));
            errors.push(d.label(s.span, "introduced here").hint(format!("bind it: `--dim {}=1`", s.name)));
        }
    }
    if errors.is_empty() { Ok(binding) } else { Err(errors) }
}

fn fed(name: &str, t: &HostTensor) -> Fed {
    Fed { name: name.into(), dtype: t.dtype(), shape: t.shape().to_vec() }
}

fn scalar(dtype: DType, bytes: &[u8]) -> Result<HostTensor, Diagnostic> {
    tensor(dtype, &[], bytes)
}

fn tensor(dtype: DType, shape: &[usize], bytes: &[u8]) -> Result<HostTensor, Diagnostic> {
    let wrong = |e: mlc_runtime::host::ShapeError| Diagnostic::bug(e.to_string());
    let mut t = HostTensor::zeros(dtype, shape).map_err(wrong)?;
    if t.bytes().len() != bytes.len() {
        return Err(Diagnostic::bug(format!("{} bytes for {dtype}{shape:?}", bytes.len())));
    }
    t.bytes_mut().copy_from_slice(bytes);
    Ok(t)
}

/// The value of a scalar's native-endian bytes.
fn to_f64(dtype: DType, bytes: &[u8]) -> f64 {
    let bits = match *bytes {
        [a] => a.into(),
        [a, b] => u16::from_ne_bytes([a, b]).into(),
        [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]).into(),
        _ => bytes.try_into().map_or(0, u64::from_ne_bytes),
    };
    Lit { dtype, bits }.as_f64()
}
