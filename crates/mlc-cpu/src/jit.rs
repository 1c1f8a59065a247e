//! Functions in memory: CLIF through Cranelift to machine code.
//!
//! All kernels of a plan share one module; its memory is freed when the last of its functions' users is gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cranelift::codegen::Context;
use cranelift::codegen::ir::{AbiParam, types};
use cranelift::codegen::isa::OwnedTargetIsa;
use cranelift::codegen::settings::{self, Configurable};
use cranelift::frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module};
use mlc_diag::Diagnostic;
use mlc_ir::loops::{Arg, LoopBody, Scatter};

use crate::emit::{self, Needs, Work};
use crate::features::{CpuFeatures, Level};
use crate::schedule::Part;

/// A compiled function: argument pointers, a range of chunks, working memory of the call and of the thread.
pub type KernelFn = unsafe extern "C" fn(*const *mut u8, u64, u64, *mut u8, *mut u8);

/// What one function computes.
#[derive(Debug, Clone)]
pub enum Source {
    Body(LoopBody),
    Scatter(Scatter),
}

/// One function to compile.
#[derive(Debug, Clone)]
pub struct Unit {
    pub name: String,
    pub source: Source,
    /// What of it the function does.
    pub part: Part,
    pub args: Vec<Arg>,
    /// Number of the first fault site.
    pub site: u64,
    /// Whether a fault record follows the arguments.
    pub faults: bool,
}

/// A compiled function.
#[derive(Clone)]
pub struct Function {
    pub code: KernelFn,
    pub needs: Needs,
    pub time: Duration,
    pub code_bytes: usize,
    _memory: Arc<CodeMemory>,
}

/// The memory of a module's functions.
struct CodeMemory(Option<JITModule>);

// SAFETY: after `finalize_definitions` the module is only ever dropped; its code is read-only.
unsafe impl Send for CodeMemory {}
// SAFETY: as above.
unsafe impl Sync for CodeMemory {}

impl Drop for CodeMemory {
    fn drop(&mut self) {
        if let Some(module) = self.0.take() {
            // SAFETY: every `Function` holds this memory, so none is left that could run.
            unsafe { module.free_memory() }
        }
    }
}

/// Which text of a function to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    Clif,
    Asm,
}

/// Compiles functions.
pub fn compile(units: &[Unit], features: CpuFeatures) -> Result<Vec<Function>, Diagnostic> {
    let mut module = new_module(isa(features)?);
    let mut context = FunctionBuilderContext::new();
    let mut made: Vec<(FuncId, Needs, Duration, usize)> = Vec::with_capacity(units.len());
    for (i, unit) in units.iter().enumerate() {
        let start = Instant::now();
        let (mut ctx, needs) = build(unit, &module, &mut context, features);
        let id = module
            .declare_function(&format!("k{i}"), Linkage::Local, &ctx.func.signature)
            .map_err(|e| refused(unit, &e.to_string()))?;
        module.define_function(id, &mut ctx).map_err(|e| refused(unit, &format!("{e:?}")))?;
        let bytes = ctx.compiled_code().map_or(0, |c| c.code_buffer().len());
        made.push((id, needs, start.elapsed(), bytes));
    }
    module.finalize_definitions().map_err(|e| failed(&e.to_string()))?;
    let codes: Vec<KernelFn> = made
        .iter()
        .map(|(id, ..)| {
            let code = module.get_finalized_function(*id);
            // SAFETY: the function was declared with the signature of `KernelFn`.
            unsafe { std::mem::transmute::<*const u8, KernelFn>(code) }
        })
        .collect();
    let memory = Arc::new(CodeMemory(Some(module)));
    let made = made.into_iter().zip(codes);
    Ok(made
        .map(|((_, needs, time, code_bytes), code)| Function {
            code,
            needs,
            time,
            code_bytes,
            _memory: memory.clone(),
        })
        .collect())
}

/// A function's CLIF or machine code as text.
pub fn text(unit: &Unit, features: CpuFeatures, what: Text) -> Result<String, Diagnostic> {
    let isa = isa(features)?;
    let module = new_module(isa.clone());
    let (mut ctx, _) = build(unit, &module, &mut FunctionBuilderContext::new(), features);
    let clif = ctx.func.display().to_string();
    // SAFETY: the module has no functions.
    unsafe { module.free_memory() };
    if what == Text::Clif {
        return Ok(clif);
    }
    ctx.set_disasm(true);
    let mut control = cranelift::codegen::control::ControlPlane::default();
    let code = ctx.compile(&*isa, &mut control).map_err(|e| refused(unit, &format!("{:?}", e.inner)))?;
    Ok(code.vcode.clone().unwrap_or_default())
}

fn build(
    unit: &Unit,
    module: &JITModule,
    context: &mut FunctionBuilderContext,
    cpu: CpuFeatures,
) -> (Context, Needs) {
    let mut ctx = module.make_context();
    for _ in 0..5 {
        ctx.func.signature.params.push(AbiParam::new(types::I64));
    }
    let mut builder = FunctionBuilder::new(&mut ctx.func, context);
    let work = match &unit.source {
        Source::Body(body) => Work::Body(body),
        Source::Scatter(scatter) => Work::Scatter(scatter),
    };
    let needs = emit::function(&mut builder, work, unit.part, &unit.args, unit.site, unit.faults, cpu);
    builder.finalize(module.target_config());
    (ctx, needs)
}

fn new_module(isa: OwnedTargetIsa) -> JITModule {
    let mut builder = JITBuilder::with_isa(isa, cranelift_module::default_libcall_names());
    builder.symbols(LIBCALLS.iter().map(|&(name, f)| (name, f.0)));
    JITModule::new(builder)
}

/// The address of a function.
struct Address(*const u8);

// SAFETY: an address of code, which every thread may call.
unsafe impl Sync for Address {}

/// What code for the baseline instruction set calls, by the names that the generator gives.
static LIBCALLS: &[(&str, &Address)] = &[
    ("fmaf", &Address(fma32 as *const u8)),
    ("fma", &Address(fma64 as *const u8)),
    ("floorf", &Address(floor32 as *const u8)),
    ("floor", &Address(floor64 as *const u8)),
    ("nearbyintf", &Address(rint32 as *const u8)),
    ("nearbyint", &Address(rint64 as *const u8)),
];

extern "C" fn fma32(a: f32, b: f32, c: f32) -> f32 {
    a.mul_add(b, c)
}

extern "C" fn fma64(a: f64, b: f64, c: f64) -> f64 {
    a.mul_add(b, c)
}

extern "C" fn floor32(x: f32) -> f32 {
    x.floor()
}

extern "C" fn floor64(x: f64) -> f64 {
    x.floor()
}

extern "C" fn rint32(x: f32) -> f32 {
    x.round_ties_even()
}

extern "C" fn rint64(x: f64) -> f64 {
    x.round_ties_even()
}

fn isa(features: CpuFeatures) -> Result<OwnedTargetIsa, Diagnostic> {
    let native = features.level > Level::Portable;
    let builder = cranelift_native::builder_with_options(native).map_err(failed)?;
    let mut flags = settings::builder();
    for (name, value) in [
        ("opt_level", "speed"),
        ("is_pic", "false"),
        ("use_colocated_libcalls", "false"),
        ("enable_probestack", "false"),
        ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
    ] {
        flags.set(name, value).map_err(|e| failed(&e.to_string()))?;
    }
    builder.finish(settings::Flags::new(flags)).map_err(|e| failed(&e.to_string()))
}

fn failed(what: &str) -> Diagnostic {
    Diagnostic::error("E0803", format!("cannot generate code for this machine: {what}"))
        .hint("please report this message and the machine's model")
}

fn refused(unit: &Unit, what: &str) -> Diagnostic {
    Diagnostic::error("E0803", format!("cannot generate code for kernel @{}", unit.name))
        .note(what.to_string())
        .hint("please report this message and the .mlg file")
}
