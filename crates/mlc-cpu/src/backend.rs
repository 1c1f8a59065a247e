//! Plans to executables: kernels to units of code, equal ones compiled once ([`crate::store`]).

use std::sync::Arc;
use std::time::{Duration, Instant};

use mlc_diag::Diagnostic;
use mlc_ir::loops::body::BodyBuilder;
use mlc_ir::loops::{ArgId, CopyMap, Kernel, Kind, LoopBody, Plan};
use mlc_ir::{Device, DeviceKind};
use mlc_runtime::exec::{
    Backend, CompileStats, DeviceMemory, Executable, HostExecutable, HostKernel, HostMemory,
};

use crate::features::CpuFeatures;
use crate::gemm::{self, ContractKernel};
use crate::jit::{self, Generator, Source, Text, Unit};
use crate::kernel::LoopKernel;
use crate::shape::simplify;
use crate::store::{CodeStore, Exported, ExportedFunction, Function};

/// What to compile for.
#[derive(Debug, Clone, Copy)]
pub struct CpuOptions {
    pub features: CpuFeatures,
    /// Every contraction in the canonical order.
    pub strict: bool,
}

/// Compiles plans for `cpu:N`. Clones share the code that was compiled.
#[derive(Clone)]
pub struct CpuBackend {
    pub options: CpuOptions,
    code: Arc<CodeStore>,
}

impl CpuBackend {
    pub fn new(options: CpuOptions) -> CpuBackend {
        CpuBackend { options, code: Arc::default() }
    }

    /// For this machine as the environment limits it.
    pub fn from_env(strict: bool) -> Result<CpuBackend, Diagnostic> {
        let features = CpuFeatures::from_env().map_err(|e| {
            Diagnostic::error("E0804", e).hint("unset the variable, or name an instruction set that is there")
        })?;
        Ok(CpuBackend::new(CpuOptions { features, strict }))
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
        Ok(CpuBackend { options, code: Arc::new(code) })
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
    pub fn kernels(
        &self,
        kernels: &[Kernel],
    ) -> Result<(Vec<Arc<dyn HostKernel>>, CompileStats), Diagnostic> {
        let start = Instant::now();
        let mut units = Vec::new();
        let forms: Vec<Form> = kernels.iter().map(|k| self.form(k, &mut units)).collect();
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
        let mut generator = Generator::new(jit::isa(self.options.features)?, self.options.features);
        let mut out = String::new();
        for unit in &units {
            out.push_str(&format!("; {}\n", unit.name));
            out.push_str(&generator.text(unit, what)?);
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
        Kind::Contract(_) => return None,
    };
    let faults = !kernel.fault_sites().is_empty();
    Some(Unit { name: kernel.name.to_string(), source, args: kernel.args.clone(), site: 0, faults })
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
            Kind::ScatterAdd(_) | Kind::Copy(_) => 0,
        }
    }

    fn compile(&self, plan: Arc<Plan>) -> Result<Arc<dyn Executable>, Diagnostic> {
        let (kernels, stats) = self.kernels(&plan.program.kernels)?;
        Ok(Arc::new(HostExecutable::new(plan, kernels, stats)?))
    }
}
