//! Plans to executables: kernels to units of code, equal ones compiled once ([`crate::store`]).

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mlc_diag::Diagnostic;
use mlc_ir::loops::body::BodyBuilder;
use mlc_ir::loops::{
    ArgId, Contraction, CopyMap, ExprOp, Kernel, KernelKey, Kind, Lit, LoopBody, Plan, Segment, kernel_key,
};
use mlc_ir::{Device, DeviceKind};
use mlc_runtime::exec::{
    Backend, CompileStats, DeviceMemory, Executable, HostExecutable, HostKernel, HostMemory, Phase, Pool,
    ScratchNeed,
};

use rustc_hash::FxHashMap;

use crate::emit;
use crate::features::CpuFeatures;
use crate::gemm::{self, ContractKernel};
use crate::jit::{self, Generator, Source, Text, Unit};
use crate::kernel::{LoopKernel, SegmentCode, SegmentsKernel};
use crate::schedule::{self, Costs, Part, Schedule};
use crate::shape::simplify;
use crate::store::{CodeStore, Exported, ExportedFunction, Function};

/// What to compile for.
#[derive(Debug, Clone, Copy)]
pub struct CpuOptions {
    pub features: CpuFeatures,
    /// Every contraction in the canonical order.
    pub strict: bool,
    /// Threads that share the work of a call. They change no bit of any result.
    pub threads: usize,
    /// What decides how kernels are cut into chunks; no more than the threads does it change a result.
    pub costs: Costs,
}

impl CpuOptions {
    /// All threads that the process may use.
    pub fn new(features: CpuFeatures, strict: bool) -> CpuOptions {
        CpuOptions { features, strict, threads: Pool::available(), costs: Costs::default() }
    }

    pub fn threads(self, threads: usize) -> CpuOptions {
        CpuOptions { threads, ..self }
    }
}

/// What the machine has, as the environment limits it.
///
/// # Errors
/// E0804: the environment asks for more, or for what nobody knows.
pub fn features_from_env() -> Result<CpuFeatures, Diagnostic> {
    CpuFeatures::from_env().map_err(|e| {
        Diagnostic::error("E0804", e).hint("unset the variable, or name an instruction set that is there")
    })
}

/// Compiles plans for `cpu:N`. Clones share the code that was compiled.
#[derive(Clone)]
pub struct CpuBackend {
    pub options: CpuOptions,
    code: Arc<CodeStore>,
    /// The threads of everything that is compiled here; they start when first needed.
    pool: Arc<Pool>,
}

impl CpuBackend {
    pub fn new(options: CpuOptions) -> CpuBackend {
        CpuBackend { options, code: Arc::default(), pool: Arc::new(Pool::new(options.threads)) }
    }

    /// For this machine as the environment limits it; `threads`: all that the process may use, unless given.
    pub fn from_env(strict: bool, threads: Option<usize>) -> Result<CpuBackend, Diagnostic> {
        let options = CpuOptions::new(features_from_env()?, strict);
        Ok(CpuBackend::new(threads.map_or(options, |n| options.threads(n))))
    }

    /// The threads that run what is compiled here.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// With the code of an artifact, and no other: nothing is ever compiled. The machine has
    /// `options.features`.
    ///
    /// # Errors
    /// Says what of the object is not as [`CpuBackend::export`] makes it.
    pub fn with_code(
        options: CpuOptions,
        object: &[u8],
        functions: &[ExportedFunction],
    ) -> Result<CpuBackend, String> {
        let code = CodeStore::import(object, functions, options.features)?;
        Ok(CpuBackend { code: Arc::new(code), ..CpuBackend::new(options) })
    }

    /// The code of these kernels, for an artifact.
    ///
    /// # Errors
    /// Where they cannot be compiled, or no object be written for this machine.
    pub fn export<'k>(&self, kernels: impl IntoIterator<Item = &'k Kernel>) -> Result<Exported, Diagnostic> {
        let mut units = Vec::new();
        for kernel in kernels {
            self.form(kernel, &mut units);
        }
        self.code.export(&units, self.options.features)
    }

    /// Makes kernels runnable. Functions that are equal to others, of these kernels or of earlier ones, are not
    /// compiled again.
    pub fn kernels<'k>(
        &self,
        kernels: impl IntoIterator<Item = &'k Kernel>,
    ) -> Result<(Vec<Arc<dyn HostKernel>>, CompileStats), Diagnostic> {
        let start = Instant::now();
        let mut units = Vec::new();
        let forms: Vec<Form> = kernels.into_iter().map(|k| self.form(k, &mut units)).collect();
        let (functions, made) = self.code.functions(&units, self.options.features)?;
        let name = |&(i, time): &(usize, Duration)| (Arc::from(&*units[i].name), time);
        let mut stats = CompileStats {
            functions: made.compiled.len(),
            shared: units.len() - made.compiled.len(),
            times: made.compiled.iter().map(name).collect(),
            code_bytes: made.code_bytes,
            ..CompileStats::default()
        };
        let all = forms.into_iter().map(|f| self.finish(f, &functions)).collect();
        stats.total = start.elapsed();
        Ok((all, stats))
    }

    #[cfg(test)]
    pub(crate) fn code_memory(&self) -> Vec<std::sync::Weak<crate::link::CodeMemory>> {
        self.code.memory()
    }

    /// What a kernel becomes; its functions are added to `units`.
    fn form(&self, kernel: &Kernel, units: &mut Vec<Unit>) -> Form {
        let first = units.len();
        if let Kind::Segments(segments) = &kernel.kind {
            return self.segments(kernel, segments, units);
        }
        if let Some(mut parts) = self.parts(kernel) {
            units.append(&mut parts.units);
            return Form::Contract { parts: Box::new(parts), units: first..units.len() };
        }
        let form = LoopForm::of(kernel, &self.options.costs);
        units.extend(form.units(kernel));
        Form::Loop { form: Box::new(form), units: first..units.len() }
    }

    /// Segments that are equal share their functions.
    fn segments(&self, kernel: &Kernel, segments: &[Segment], units: &mut Vec<Unit>) -> Form {
        let mut known: FxHashMap<KernelKey, usize> = FxHashMap::default();
        let (mut forms, mut list, mut site) = (vec![], vec![], 0);
        for s in segments {
            let own = kernel.segment(s);
            let sites = own.fault_sites().len() as u64;
            let next = forms.len();
            // Fault sites are numbered in the code.
            let key = (sites == 0).then(|| kernel_key(&own));
            // Equal segments may number their arguments differently: they agree in canonical order.
            let mut args: Vec<usize> = (0..own.args.len()).map(|i| s.args[i].ix()).collect();
            let form = match key {
                Some(key) => match known.iter().find(|(k, _)| k.hash == key.hash) {
                    Some((first, &form)) => {
                        for (theirs, ours) in first.args.iter().zip(&key.args) {
                            args[theirs.ix()] = s.args[ours.ix()].ix();
                        }
                        form
                    }
                    None => *known.entry(key).or_insert(next),
                },
                None => next,
            };
            if form == next {
                let form = LoopForm::of(&own, &self.options.costs);
                let first = units.len();
                units.extend(form.units(&own).into_iter().map(|u| Unit { site, ..u }));
                forms.push((form, first..units.len()));
            }
            if sites > 0 {
                args.push(kernel.args.len());
            }
            list.push((form, args));
            site += sites;
        }
        Form::Segments { forms, list }
    }

    /// The parts of a contraction that has products.
    fn parts(&self, kernel: &Kernel) -> Option<gemm::Parts> {
        let Kind::Contract(c) = &kernel.kind else { return None };
        let some = [&c.batch, &c.m, &c.n].iter().all(|axes| axes.iter().all(|a| a.extent > 0));
        some.then(|| gemm::parts(kernel, c, self.options.features.level, &self.options.costs))
    }

    fn finish(&self, form: Form, functions: &[Function]) -> Arc<dyn HostKernel> {
        let cpu = self.options.features;
        match form {
            Form::Loop { form, units } => {
                let phases = form.schedule.phases().collect();
                Arc::new(LoopKernel::new(phases, form.scratch(), functions[units].to_vec(), cpu))
            }
            Form::Segments { forms, list } => Arc::new(segments_kernel(forms, list, functions, cpu)),
            Form::Contract { parts, units } => {
                Arc::new(ContractKernel::new(*parts, functions[units].to_vec(), cpu))
            }
        }
    }

    /// How a kernel is cut into phases, chunks and tiles: a line, or for segments one for each form.
    pub fn cut(&self, kernel: &Kernel) -> Vec<String> {
        cut_of(&self.form(kernel, &mut Vec::new()))
    }

    /// The CLIF or machine code of a kernel's functions.
    pub fn text(&self, kernel: &Kernel, what: Text) -> Result<String, Diagnostic> {
        let mut units = Vec::new();
        let form = self.form(kernel, &mut units);
        let mut generator = Generator::new(jit::isa(self.options.features)?, self.options.features);
        let mut out = String::new();
        for how in cut_of(&form) {
            out.push_str(&format!("; {}: {how}\n", kernel.name));
        }
        for unit in &units {
            out.push_str(&format!("; {}\n", unit.name));
            out.push_str(&generator.text(unit, what)?);
            out.push('\n');
        }
        Ok(out)
    }
}

/// A segment's form, and the units of its phases.
type SegmentForm = (LoopForm, Range<usize>);

enum Form {
    Loop {
        form: Box<LoopForm>,
        units: Range<usize>,
    },
    /// Distinct forms; for each segment its form and its arguments' positions.
    Segments {
        forms: Vec<SegmentForm>,
        list: Vec<(usize, Vec<usize>)>,
    },
    Contract {
        parts: Box<gemm::Parts>,
        units: Range<usize>,
    },
}

fn cut_of(form: &Form) -> Vec<String> {
    match form {
        Form::Loop { form, .. } => vec![form.schedule.to_string()],
        Form::Segments { forms, .. } => forms.iter().map(|(form, _)| form.schedule.to_string()).collect(),
        Form::Contract { parts, .. } => vec![parts.to_string()],
    }
}

fn segments_kernel(
    forms: Vec<SegmentForm>,
    list: Vec<(usize, Vec<usize>)>,
    functions: &[Function],
    cpu: CpuFeatures,
) -> SegmentsKernel {
    let kernel = |(form, units): (LoopForm, Range<usize>)| {
        let phases = form.schedule.phases().collect();
        Arc::new(LoopKernel::new(phases, form.scratch(), functions[units].to_vec(), cpu))
    };
    let kernels: Vec<Arc<LoopKernel>> = forms.into_iter().map(kernel).collect();
    let code = |(form, args): (usize, Vec<usize>)| SegmentCode { kernel: kernels[form].clone(), args };
    SegmentsKernel::new(list.into_iter().map(code).collect())
}

/// A kernel that is no contraction: its simplified source, cut up.
struct LoopForm {
    source: Source,
    schedule: Schedule,
}

impl LoopForm {
    fn of(kernel: &Kernel, costs: &Costs) -> LoopForm {
        let source = match &kernel.kind {
            Kind::Loop(body) => Source::Body(simplify(body)),
            Kind::ScatterAdd(s) => Source::Scatter(s.clone()),
            Kind::Copy(c) => Source::Body(simplify(&copy_body(kernel, c))),
            // A repeated program's kernels have forms of their own.
            Kind::Repeat(_) => Source::Body(LoopBody::default()),
            // Segments are compiled one by one.
            Kind::Segments(_) => Source::Body(LoopBody::default()),
            // Of a contraction without products.
            Kind::Contract(c) => Source::Body(simplify(&without_products(c))),
        };
        let schedule = match &source {
            Source::Body(body) => schedule::of_body(body, &kernel.args, costs),
            Source::Scatter(s) => schedule::of_scatter(s, &kernel.args, costs),
        };
        LoopForm { source, schedule }
    }

    fn scratch(&self) -> ScratchNeed {
        match &self.source {
            Source::Body(body) => emit::scratch(body, &self.schedule),
            Source::Scatter(_) => ScratchNeed::default(),
        }
    }

    /// Bytes that a call needs in all.
    fn scratch_bytes(&self, threads: usize) -> u64 {
        let phases: Vec<_> = self.schedule.phases().collect();
        self.scratch().bytes_for(&phases, threads)
    }

    /// One function for each phase.
    fn units(&self, kernel: &Kernel) -> Vec<Unit> {
        let faults = !kernel.fault_sites().is_empty();
        let several = self.schedule.parts.len() > 1;
        let unit = |(i, (part, _)): (usize, &(Part, Phase))| Unit {
            name: if several { format!("{}.{i}", kernel.name) } else { kernel.name.to_string() },
            source: self.source.clone(),
            part: *part,
            args: kernel.args.clone(),
            site: 0,
            faults,
        };
        self.schedule.parts.iter().enumerate().map(unit).collect()
    }
}

/// The epilogue of a contraction without products: what it may still store is stored once a row.
fn without_products(c: &Contraction) -> LoopBody {
    let mut body = c.epilogue.clone();
    for e in &mut body.exprs {
        if e.op == ExprOp::Product {
            e.op = ExprOp::Const(Lit::zero(c.acc));
        }
    }
    body
}

fn copy_body(kernel: &Kernel, c: &CopyMap) -> LoopBody {
    let mut b = BodyBuilder::new(&[], &c.extents);
    let v = b.load(ArgId(0), kernel.args[0].dtype, c.src.clone());
    b.store(ArgId(1), c.dst.clone(), v);
    b.finish()
}

impl Backend for CpuBackend {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Cpu
    }

    fn describe(&self) -> String {
        self.options.features.to_string()
    }

    fn allocate(&self, _: Device, bytes: u64, align: usize) -> Result<Box<dyn DeviceMemory>, Diagnostic> {
        Ok(Box::new(HostMemory::zeroed(bytes, align)?))
    }

    fn scratch_bytes(&self, kernel: &Kernel) -> u64 {
        // A repeated program's needs are the planner's to add up.
        if let Kind::Repeat(_) = kernel.kind {
            return 0;
        }
        let threads = self.options.threads.max(1);
        if let Kind::Segments(list) = &kernel.kind {
            // The most that one segment needs, for each thread.
            let need = |s: &Segment| LoopForm::of(&kernel.segment(s), &self.options.costs).scratch().bytes(1);
            let own = list.iter().map(need).max().unwrap_or(0);
            return ScratchNeed { shared: 0, own }.bytes(threads);
        }
        match self.parts(kernel) {
            Some(parts) => parts.scratch().bytes_for(&parts.phases(), threads),
            None => LoopForm::of(kernel, &self.options.costs).scratch_bytes(threads),
        }
    }

    fn compile(&self, plan: Arc<Plan>) -> Result<Arc<dyn Executable>, Diagnostic> {
        let (kernels, stats) = self.kernels(plan.program.leaf_kernels())?;
        Ok(Arc::new(HostExecutable::new(plan, kernels, stats, self.pool.clone())?))
    }
}
