//! Compiled kernels as the executor calls them.

use std::ops::Range;

use mlc_runtime::exec::{HostKernel, Phase, ScratchNeed, Workspace};

use crate::features::{CpuFeatures, Level};
use crate::store::Function;

/// A kernel made of functions, one a phase.
pub struct LoopKernel {
    phases: Vec<Phase>,
    functions: Vec<Function>,
    scratch: ScratchNeed,
    cpu: CpuFeatures,
}

impl LoopKernel {
    /// `functions`: one for each of the phases.
    pub fn new(phases: Vec<Phase>, scratch: ScratchNeed, functions: Vec<Function>, cpu: CpuFeatures) -> Self {
        LoopKernel { phases, functions, scratch, cpu }
    }
}

impl HostKernel for LoopKernel {
    fn phases(&self) -> &[Phase] {
        &self.phases
    }

    fn scratch(&self) -> ScratchNeed {
        self.scratch
    }

    unsafe fn run(&self, phase: usize, chunks: Range<u64>, args: *const *mut u8, memory: Workspace) {
        // SAFETY: the caller's promise.
        unsafe { call(&self.functions[phase], self.cpu, chunks, args, memory) }
    }
}

/// Calls a function for some of its chunks.
///
/// # Safety
/// As [`HostKernel::run`] for the function's arguments.
pub unsafe fn call(
    f: &Function,
    cpu: CpuFeatures,
    chunks: Range<u64>,
    args: *const *mut u8,
    memory: Workspace,
) {
    clear_upper_halves(cpu);
    // SAFETY: the caller's promise.
    unsafe { (f.code)(args, chunks.start, chunks.end, memory.shared, memory.own) }
}

/// The generator mixes instructions that keep the upper vector halves with ones that do not; while those are
/// not zero each such switch costs a hundred cycles.
#[inline(always)]
fn clear_upper_halves(cpu: CpuFeatures) {
    #[cfg(target_arch = "x86_64")]
    if cpu.level > Level::Portable {
        // SAFETY: the level says that the machine has AVX; the instruction only zeroes upper halves, which the
        // clobbers tell the compiler.
        unsafe {
            std::arch::asm!(
                "vzeroupper", options(nostack, preserves_flags, nomem),
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
                out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
            );
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (cpu, Level::Portable);
}
