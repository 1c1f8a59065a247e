//! Functions from the loop IR to machine code: CLIF through Cranelift.
//!
//! Input: [`Unit`]s. Output: position-free machine code (`Piece`) that refers to what it calls by symbol; it is
//! put into memory by `crate::link` or into a file by `crate::object`. What a unit becomes depends on the
//! unit (but its name) and the level of the instruction set, on nothing else: equal units share their code
//! ([`crate::store`]).

use std::fmt::Write as _;

use cranelift::codegen::Context;
use cranelift::codegen::binemit::Reloc as Kind;
use cranelift::codegen::control::ControlPlane;
use cranelift::codegen::ir::{AbiParam, ExternalName, InstructionData, LibCall, Opcode, types};
use cranelift::codegen::isa::OwnedTargetIsa;
use cranelift::codegen::settings::{self, Configurable};
use cranelift::codegen::{FinalizedMachReloc, FinalizedRelocTarget};
use cranelift::frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::default_libcall_names;
use mlc_diag::Diagnostic;
use mlc_ir::loops::{Arg, LoopBody, Scatter};
use serde::Serialize;

use crate::emit::{self, Needs, Pass, Work};
use crate::features::CpuFeatures;
use crate::link::{Piece, Reloc};
use crate::schedule::Part;
use crate::symbols::Symbol;
use crate::vector;

/// A compiled function: argument pointers, a range of chunks, working memory of the call and of the thread.
pub type KernelFn = unsafe extern "C" fn(*const *mut u8, u64, u64, *mut u8, *mut u8);

/// What one function computes.
#[derive(Debug, Clone, Serialize)]
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

/// What identifies a unit's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, serde::Deserialize)]
pub struct UnitKey([u8; 32]);

impl Unit {
    /// The hash of all that the emitter sees: the expressions as they stand, so that fault sites count alike;
    /// neither names nor provenance.
    ///
    /// # Errors
    /// None that can be met: the encoding goes to memory.
    pub fn key(&self) -> Result<UnitKey, Diagnostic> {
        let Unit { name: _, source, part, args, site, faults } = self;
        let mut source = source.clone();
        match &mut source {
            Source::Body(body) => body.clear_prov(),
            Source::Scatter(scatter) => scatter.clear_prov(),
        }
        let seen = |a: &Arg| (a.dtype, a.len, a.mode, a.align, a.may_alias);
        let args: Vec<_> = args.iter().map(seen).collect();
        let bytes = postcard::to_allocvec(&(source, part, args, site, faults))
            .map_err(|e| Diagnostic::bug(format!("@{} has no key: {e}", self.name)))?;
        Ok(UnitKey(*blake3::hash(&bytes).as_bytes()))
    }
}

/// A unit's code.
#[derive(Debug)]
pub struct Compiled {
    pub piece: Piece,
    pub needs: Needs,
}

/// Which text of a function to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    Clif,
    Asm,
}

/// Compiles units one after another. Each thread has a generator of its own.
pub struct Generator {
    isa: OwnedTargetIsa,
    cpu: CpuFeatures,
    context: Context,
    builder: FunctionBuilderContext,
}

impl Generator {
    pub fn new(isa: OwnedTargetIsa, cpu: CpuFeatures) -> Generator {
        Generator { isa, cpu, context: Context::new(), builder: FunctionBuilderContext::new() }
    }

    /// Compiles one unit.
    ///
    /// # Errors
    /// What Cranelift refuses: a bug.
    pub fn compile(&mut self, unit: &Unit) -> Result<Compiled, Diagnostic> {
        let (needs, passes) = self.build(unit);
        let (context, isa) = (&mut self.context, &*self.isa);
        let code = context.compile(isa, &mut ControlPlane::default());
        let code = code.map_err(|e| refused(unit, &format!("{:?}", e.inner)))?;
        let align = (code.buffer.alignment as usize).max(isa.function_alignment().preferred as usize);
        let (mut bytes, found) = (code.code_buffer().to_vec(), code.buffer.relocs().to_vec());
        let mut places = Vec::with_capacity(passes.len());
        for (_, code) in &passes {
            bytes.resize(bytes.len().next_multiple_of(vector::ALIGN), 0xcc);
            places.push(bytes.len());
            bytes.extend_from_slice(code);
        }
        let align = if passes.is_empty() { align } else { align.max(vector::ALIGN) };
        let mut relocs = Vec::new();
        for r in &found {
            match self.own_pass(r).and_then(|pass| places.get(pass)) {
                Some(&at) => {
                    let place = r.offset as usize;
                    let distance = (at as i64 - place as i64 + r.addend) as i32;
                    bytes[place..place + 4].copy_from_slice(&distance.to_le_bytes());
                }
                None => relocs.push(self.relocation(unit, r)?),
            }
        }
        Ok(Compiled { piece: Piece { bytes, align, relocs }, needs })
    }

    /// A function's CLIF or machine code as text.
    ///
    /// # Errors
    /// As [`Generator::compile`].
    pub fn text(&mut self, unit: &Unit, what: Text) -> Result<String, Diagnostic> {
        let (_, passes) = self.build(unit);
        let mut programs = String::new();
        for (i, (program, code)) in passes.iter().enumerate() {
            let _ = writeln!(programs, "\npass u{}:{i} ; {} bytes\n{program}", emit::PASSES, code.len());
        }
        if what == Text::Clif {
            return Ok(format!("{}{programs}", self.context.func.display()));
        }
        self.context.set_disasm(true);
        let code = self.context.compile(&*self.isa, &mut ControlPlane::default());
        let code = code.map_err(|e| refused(unit, &format!("{:?}", e.inner)))?;
        Ok(format!("{}{programs}", code.vcode.clone().unwrap_or_default()))
    }

    /// Emits a unit into the context.
    fn build(&mut self, unit: &Unit) -> (Needs, Vec<Pass>) {
        self.context.clear();
        let func = &mut self.context.func;
        func.signature.call_conv = self.isa.default_call_conv();
        for _ in 0..5 {
            func.signature.params.push(AbiParam::new(types::I64));
        }
        let mut builder = FunctionBuilder::new(func, &mut self.builder);
        let work = match &unit.source {
            Source::Body(body) => Work::Body(body),
            Source::Scatter(scatter) => Work::Scatter(scatter),
        };
        let built =
            emit::function(&mut builder, work, unit.part, &unit.args, unit.site, unit.faults, self.cpu);
        builder.finalize(self.isa.frontend_config());
        debug_assert!(!self.has_addresses(), "@{} holds an address: use a symbol", unit.name);
        built
    }

    /// Does a constant look like an address in this program? Such code could not be kept in a file.
    fn has_addresses(&self) -> bool {
        const NEAR: u64 = 1 << 28;
        let here = Generator::has_addresses as *const () as u64;
        let func = &self.context.func;
        let mut insts = func.layout.blocks().flat_map(|b| func.layout.block_insts(b));
        insts.any(|i| match func.dfg.insts[i] {
            InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => {
                (imm.bits() as u64).abs_diff(here) < NEAR
            }
            _ => false,
        })
    }

    /// Which of the function's own passes is called here, if one is.
    fn own_pass(&self, r: &FinalizedMachReloc) -> Option<usize> {
        let FinalizedRelocTarget::ExternalName(ExternalName::User(name)) = &r.target else { return None };
        let name = &self.context.func.params.user_named_funcs()[*name];
        (name.namespace == emit::PASSES && r.kind == Kind::X86CallPCRel4).then_some(name.index as usize)
    }

    fn relocation(&self, unit: &Unit, r: &FinalizedMachReloc) -> Result<Reloc, Diagnostic> {
        let symbol = match &r.target {
            FinalizedRelocTarget::ExternalName(ExternalName::User(name)) => {
                let name = &self.context.func.params.user_named_funcs()[*name];
                Symbol::from_number(name.index)
            }
            FinalizedRelocTarget::ExternalName(ExternalName::LibCall(call)) => library(*call),
            _ => None,
        };
        let symbol = symbol.filter(|_| r.kind == Kind::Abs8);
        let symbol = symbol.ok_or_else(|| refused(unit, &format!("it refers to {:?}", r.target)))?;
        Ok(Reloc { offset: r.offset as usize, symbol, addend: r.addend })
    }
}

fn library(call: LibCall) -> Option<Symbol> {
    Symbol::from_name(&default_libcall_names()(call))
}

/// The generator's target: this machine's architecture with exactly what the level promises.
pub fn isa(features: CpuFeatures) -> Result<OwnedTargetIsa, Diagnostic> {
    let mut builder = cranelift_native::builder_with_options(false).map_err(failed)?;
    if let Some(preset) = features.level.preset() {
        builder.enable(preset).map_err(|e| failed(&e.to_string()))?;
        // The presets have AVX2 without AVX. Without it the generator uses the old encodings, whose memory
        // operands must be aligned, and it does not always keep to that.
        builder.enable("has_avx").map_err(|e| failed(&e.to_string()))?;
    }
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

/// The machine cannot run code of ours.
pub fn failed(what: &str) -> Diagnostic {
    Diagnostic::error("E0803", format!("cannot generate code for this machine: {what}"))
        .hint("please report this message and the machine's model")
}

fn refused(unit: &Unit, what: &str) -> Diagnostic {
    Diagnostic::error("E0803", format!("cannot generate code for kernel @{}", unit.name))
        .note(what.to_string())
        .hint("please report this message and the .mlg file")
}
