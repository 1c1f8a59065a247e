//! What compiled code is to the executor: phases of chunks.
//!
//! A kernel is a list of phases that run one after another. The chunks of one phase may run in any order and on
//! any threads: each writes its own elements or its own partial results, and how a phase is cut into chunks
//! depends on shapes alone. So neither the number of threads nor their timing can show in a result.

use std::ops::Range;

use mlc_ir::mutate::{Mutation, on};
use serde::{Deserialize, Serialize};

use super::memory::ALIGN;
use super::pool::{Pool, WorkerPanicked};

/// A part of a kernel whose chunks do not depend on one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Phase {
    pub chunks: u64,
    /// Estimated time of all chunks on one thread, by a table, never by measurement: it decides whether threads
    /// share the phase, and the decision is part of the plan.
    pub est_ns: u64,
}

/// A phase that is estimated to take less than this on one thread stays there: handing chunks out and waiting for
/// the last of them would eat what is won.
pub const SHARED_NS: u64 = 40_000;

impl Phase {
    /// A phase that one thread runs.
    pub fn whole(est_ns: u64) -> Phase {
        Phase { chunks: 1, est_ns }
    }

    /// Whether threads share the phase, if there are several.
    pub fn is_shared(&self) -> bool {
        self.chunks > 1 && self.est_ns >= SHARED_NS
    }
}

/// Bytes of working memory of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ScratchNeed {
    /// One block for the call: it lives through all phases, and all chunks see it.
    pub shared: u64,
    /// One block for each thread: nothing in it outlives a chunk.
    pub own: u64,
}

impl ScratchNeed {
    /// Bytes in all: the shared block, then one block a thread, each aligned to [`ALIGN`].
    pub fn bytes(&self, threads: usize) -> u64 {
        self.own_offset(threads)
    }

    /// Enough for either.
    pub fn max(self, other: ScratchNeed) -> ScratchNeed {
        ScratchNeed { shared: self.shared.max(other.shared), own: self.own.max(other.own) }
    }

    /// As [`ScratchNeed::bytes`] for a call with these phases: one thread is enough where none is shared.
    pub fn bytes_for(&self, phases: &[Phase], threads: usize) -> u64 {
        self.bytes(if phases.iter().any(Phase::is_shared) { threads } else { 1 })
    }

    /// Where the block of a thread starts.
    pub fn own_offset(&self, thread: usize) -> u64 {
        let aligned = |bytes: u64| bytes.next_multiple_of(ALIGN as u64);
        aligned(self.shared) + thread as u64 * aligned(self.own)
    }
}

/// Working memory as one chunk sees it. Both blocks are aligned to [`ALIGN`]; what they hold at first is undefined.
#[derive(Debug, Clone, Copy)]
pub struct Workspace {
    pub shared: *mut u8,
    pub own: *mut u8,
}

/// Compiled code of one kernel.
pub trait HostKernel: Send + Sync {
    /// The phases, in order; as long as the kernel lives they do not change.
    fn phases(&self) -> &[Phase];

    fn scratch(&self) -> ScratchNeed;

    /// Runs some chunks of a phase.
    ///
    /// # Safety
    /// `args` points to one pointer for each argument of the kernel, then, if the kernel has fault sites, one
    /// to a [`FaultRecord`](mlc_ir::loops::FaultRecord). Each is valid for its argument's length and mode,
    /// aligned as it asks, and none aliases another except where the kernel allows it. The workspace has
    /// [`HostKernel::scratch`]: `shared` is the same in all chunks of the call, `own` belongs to this chunk
    /// while it runs. Earlier phases are over. No chunk of a phase runs twice.
    unsafe fn run(&self, phase: usize, chunks: Range<u64>, args: *const *mut u8, memory: Workspace);
}

/// A call: a kernel with its argument pointers and working memory.
#[derive(Clone, Copy)]
pub struct Call<'k> {
    kernel: &'k dyn HostKernel,
    args: *const *mut u8,
    scratch: *mut u8,
    need: ScratchNeed,
}

// SAFETY: the pointers are only followed by the kernel's chunks, which may run on any thread.
unsafe impl Sync for Call<'_> {}
// SAFETY: as above.
unsafe impl Send for Call<'_> {}

impl<'k> Call<'k> {
    /// # Safety
    /// The arguments are as [`HostKernel::run`] asks; `scratch` has [`ScratchNeed::bytes`] for the threads that
    /// will run the call, aligned to [`ALIGN`]. Both last as long as the call.
    pub unsafe fn new(kernel: &'k dyn HostKernel, args: *const *mut u8, scratch: *mut u8) -> Call<'k> {
        Call { kernel, args, scratch, need: kernel.scratch() }
    }

    /// Runs all phases; threads of the pool share those that `shared` picks.
    ///
    /// # Errors
    /// If a worker panicked.
    pub fn run(&self, pool: &Pool, shared: impl Fn(&Phase) -> bool) -> Result<(), WorkerPanicked> {
        let phases = self.kernel.phases();
        if on(Mutation::DropBarrier) {
            self.overlapping(phases);
            return Ok(());
        }
        for (i, phase) in phases.iter().enumerate() {
            if shared(phase) {
                pool.run(phase.chunks, &|chunk, thread| self.chunks(i, chunk..chunk + 1, thread))?;
            } else {
                self.chunks(i, 0..phase.chunks, 0);
            }
        }
        Ok(())
    }

    /// What may happen without barriers: the last chunk of a phase is late.
    fn overlapping(&self, phases: &[Phase]) {
        for (i, phase) in phases.iter().enumerate() {
            let late = i + 1 < phases.len() && phase.chunks > 0;
            self.chunks(i, 0..phase.chunks - u64::from(late), 0);
            if i > 0 && phases[i - 1].chunks > 0 {
                let last = phases[i - 1].chunks - 1;
                self.chunks(i - 1, last..last + 1, 0);
            }
        }
    }

    fn chunks(&self, phase: usize, chunks: Range<u64>, thread: usize) {
        let own = self.scratch.wrapping_add(self.need.own_offset(thread) as usize);
        // SAFETY: what `new` asks for; phases run in order, each chunk once, and a thread runs one at a time.
        unsafe { self.kernel.run(phase, chunks, self.args, Workspace { shared: self.scratch, own }) }
    }
}
