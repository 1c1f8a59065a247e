//! Plans to executables: each distinct kernel is compiled once.

use std::sync::Arc;
use std::time::Instant;

use mlc_diag::Diagnostic;
use mlc_ir::loops::body::BodyBuilder;
use mlc_ir::loops::{ArgId, CopyMap, Kernel, KernelKey, Kind, LoopBody, Plan, kernel_key};
use mlc_ir::{Device, DeviceKind};
use mlc_runtime::exec::{
    Backend, CompileStats, DeviceMemory, Executable, HostExecutable, HostKernel, HostMemory,
};

use rustc_hash::FxHashMap;

use crate::features::CpuFeatures;
use crate::gemm::{self, ContractKernel};
use crate::jit::{self, Function, Source, Text, Unit};
use crate::kernel::LoopKernel;
use crate::shape::simplify;

/// What to compile for.
#[derive(Debug, Clone, Copy)]
pub struct CpuOptions {
    pub features: CpuFeatures,
    /// Every contraction in the canonical order.
    pub strict: bool,
}

/// Compiles plans for `cpu:N`.
#[derive(Debug, Clone)]
pub struct CpuBackend {
    pub options: CpuOptions,
}

impl CpuBackend {
    pub fn new(options: CpuOptions) -> CpuBackend {
        CpuBackend { options }
    }

    /// For this machine as the environment limits it.
    pub fn from_env(strict: bool) -> Result<CpuBackend, Diagnostic> {
        let features = CpuFeatures::from_env().map_err(|e| {
            Diagnostic::error("E0804", e).hint("unset the variable, or name an instruction set that is there")
        })?;
        Ok(CpuBackend::new(CpuOptions { features, strict }))
    }

    /// Compiles kernels; equal ones once.
    pub fn kernels(
        &self,
        kernels: &[&Kernel],
    ) -> Result<(Vec<Arc<dyn HostKernel>>, CompileStats), Diagnostic> {
        let start = Instant::now();
        let mut stats = CompileStats::default();
        let mut first_of: FxHashMap<KernelKey, usize> = FxHashMap::default();
        let mut units = Vec::new();
        let mut forms: Vec<Form> = Vec::new();
        let mut form_of = Vec::with_capacity(kernels.len());
        for &kernel in kernels {
            let next = forms.len();
            let form = key(kernel).map_or(next, |key| *first_of.entry(key).or_insert(next));
            form_of.push(form);
            if form == next {
                forms.push(self.form(kernel, &mut units));
            } else {
                stats.shared += 1;
            }
        }
        let functions = jit::compile(&units, self.options.features)?;
        for (unit, f) in units.iter().zip(&functions) {
            stats.times.push((Arc::from(&*unit.name), f.time));
            stats.code_bytes += f.code_bytes;
        }
        stats.kernels = forms.len();
        let made: Vec<Arc<dyn HostKernel>> = forms.into_iter().map(|f| self.finish(f, &functions)).collect();
        let all = form_of.into_iter().map(|i| made[i].clone()).collect();
        stats.total = start.elapsed();
        Ok((all, stats))
    }

    /// What a kernel becomes; its functions are added to `units`.
    fn form(&self, kernel: &Kernel, units: &mut Vec<Unit>) -> Form {
        let first = units.len();
        if let Kind::Contract(c) = &kernel.kind {
            let mut parts = gemm::parts(kernel, c, self.options.strict);
            units.append(&mut parts.units);
            return Form::Contract { parts: Box::new(parts), units: first..units.len() };
        }
        units.extend(unit(kernel));
        Form::Loop { unit: first }
    }

    fn finish(&self, form: Form, functions: &[Function]) -> Arc<dyn HostKernel> {
        let cpu = self.options.features;
        match form {
            Form::Loop { unit } => Arc::new(LoopKernel { function: functions[unit].clone(), cpu }),
            Form::Contract { parts, units } => {
                Arc::new(ContractKernel::new(*parts, functions[units].to_vec(), cpu))
            }
        }
    }

    /// The CLIF or machine code of a kernel's functions.
    pub fn text(&self, kernel: &Kernel, what: Text) -> Result<String, Diagnostic> {
        let mut units = Vec::new();
        self.form(kernel, &mut units);
        let mut out = String::new();
        for unit in &units {
            out.push_str(&format!("; {}\n", unit.name));
            out.push_str(&jit::text(unit, self.options.features, what)?);
            out.push('\n');
        }
        Ok(out)
    }
}

enum Form {
    Loop { unit: usize },
    Contract { parts: Box<gemm::Parts>, units: std::ops::Range<usize> },
}

/// The one function of a kernel that is no contraction.
pub(crate) fn unit(kernel: &Kernel) -> Option<Unit> {
    let source = match &kernel.kind {
        Kind::Loop(body) => Source::Body(simplify(body)),
        Kind::ScatterAdd(s) => Source::Scatter(s.clone()),
        Kind::Copy(c) => Source::Body(simplify(&copy_body(kernel, c))),
        Kind::Contract(_) | Kind::Repeat(_) => return None,
    };
    let faults = !kernel.fault_sites().is_empty();
    Some(Unit { name: kernel.name.to_string(), source, args: kernel.args.clone(), site: 0, faults })
}

/// What kernels share code by; `None` for those that cannot. Fault sites are numbered as a kernel's expressions
/// stand, of which the key says nothing: with several sites code is not shared.
fn key(kernel: &Kernel) -> Option<KernelKey> {
    (kernel.fault_sites().len() <= 1).then(|| kernel_key(kernel))
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
        match &kernel.kind {
            Kind::Loop(body) => crate::emit::scratch_bytes(body),
            Kind::Contract(c) => gemm::parts(kernel, c, self.options.strict).scratch_bytes(),
            // A repeated program's needs are the planner's to add up.
            Kind::ScatterAdd(_) | Kind::Copy(_) | Kind::Repeat(_) => 0,
        }
    }

    fn compile(&self, plan: Arc<Plan>) -> Result<Arc<dyn Executable>, Diagnostic> {
        let (kernels, stats) = self.kernels(&plan.program.leaf_kernels())?;
        Ok(Arc::new(HostExecutable::new(plan, kernels, stats)?))
    }
}
