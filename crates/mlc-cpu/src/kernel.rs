//! Compiled kernels as the executor calls them.

use std::ops::Range;
use std::sync::Arc;

use mlc_ir::mutate::{Mutation, on};
use mlc_runtime::exec::{HostKernel, Phase, ScratchNeed, Workspace};
use smallvec::SmallVec;

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

/// One segment: its compiled kernel, and which of the call's pointers are its arguments.
pub struct SegmentCode {
    pub kernel: Arc<LoopKernel>,
    /// Positions in the call's argument table; the fault record's too if the segment has fault sites.
    pub args: Vec<usize>,
}

/// Small kernels that run as one: a chunk is a segment, or a chunk of a segment that is made of one phase.
pub struct SegmentsKernel {
    list: Vec<SegmentCode>,
    /// For each segment the first of its chunks; one more for the end.
    first: Vec<u64>,
    phases: [Phase; 1],
    scratch: ScratchNeed,
}

impl SegmentsKernel {
    pub fn new(list: Vec<SegmentCode>) -> SegmentsKernel {
        let (mut first, mut est_ns, mut own) = (vec![0], 0, 0);
        for s in &list {
            let phases = s.kernel.phases();
            let chunks = if let [one] = phases { one.chunks } else { 1 };
            first.push(first[first.len() - 1] + chunks);
            est_ns += phases.iter().map(|p| p.est_ns).sum::<u64>();
            own = own.max(s.kernel.scratch().bytes(1));
        }
        let chunks = first[first.len() - 1];
        let scratch = ScratchNeed { shared: 0, own };
        SegmentsKernel { list, first, phases: [Phase { chunks, est_ns }], scratch }
    }
}

impl HostKernel for SegmentsKernel {
    fn phases(&self) -> &[Phase] {
        &self.phases
    }

    fn scratch(&self) -> ScratchNeed {
        self.scratch
    }

    unsafe fn run(&self, _: usize, chunks: Range<u64>, args: *const *mut u8, memory: Workspace) {
        let mut at = self.first.partition_point(|&f| f <= chunks.start) - 1;
        let mut next = chunks.start;
        while next < chunks.end {
            let (s, begin) = (&self.list[at], self.first[at]);
            let end = self.first[at + 1].min(chunks.end);
            let mut table: SmallVec<[*mut u8; 16]> = SmallVec::new();
            for &i in &s.args {
                // SAFETY: the positions are those of the kernel's arguments, which the caller's table has.
                table.push(unsafe { *args.add(i) });
            }
            let need = s.kernel.scratch();
            let own = memory.own.wrapping_add(need.own_offset(0) as usize);
            let memory = Workspace { shared: memory.own, own };
            let phases = s.kernel.phases();
            for (p, phase) in phases.iter().enumerate() {
                let part = if phases.len() == 1 { next - begin..end - begin } else { 0..phase.chunks };
                // SAFETY: the table has the segment's arguments; `own` has room for both of its blocks, and
                // the phases run in order.
                unsafe { s.kernel.run(p, part, table.as_ptr(), memory) }
            }
            (next, at) = (end, at + 1);
        }
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
    if cpu.level > Level::Portable && !on(Mutation::KeepUppers) {
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
