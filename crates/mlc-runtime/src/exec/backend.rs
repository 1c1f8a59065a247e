//! What a device must offer. Everything here is neutral: a pointer is an address in the device's memory.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mlc_diag::Diagnostic;
use mlc_ir::loops::{BufferId, Kernel, Plan};
use mlc_ir::{Device, DeviceKind};

use super::fault::Fault;
use super::state::StateStore;

/// Compiles plans for one kind of device.
pub trait Backend: Send + Sync {
    fn kind(&self) -> DeviceKind;

    /// What the device is, for `mlc devices` and reports: model and instruction sets.
    fn describe(&self) -> String;

    /// Allocates zeroed memory that lives on `device`.
    fn allocate(&self, device: Device, bytes: u64, align: usize)
    -> Result<Box<dyn DeviceMemory>, Diagnostic>;

    /// Bytes of working memory that a call of the kernel needs. Memory planning asks before anything is compiled.
    fn scratch_bytes(&self, kernel: &Kernel) -> u64;

    /// Makes a plan runnable. All of the plan's devices must be of this backend's kind.
    fn compile(&self, plan: Arc<Plan>) -> Result<Arc<dyn Executable>, Diagnostic>;
}

/// Memory of a device.
pub trait DeviceMemory: fmt::Debug + Send + Sync {
    /// An address on the device.
    fn base(&self) -> *mut u8;

    fn bytes(&self) -> usize;

    /// Copies bytes to the host. Panics past the end.
    ///
    /// # Safety
    /// Nobody writes the bytes meanwhile.
    unsafe fn read(&self, offset: usize, out: &mut [u8]);

    /// Copies bytes from the host. Panics past the end.
    ///
    /// # Safety
    /// Nobody else reads or writes the bytes meanwhile.
    unsafe fn write(&self, offset: usize, from: &[u8]);
}

/// A compiled plan. Sessions share it.
pub trait Executable: Send + Sync {
    fn plan(&self) -> &Arc<Plan>;

    fn stats(&self) -> &CompileStats;

    /// Bytes of tensors that it holds: the constants.
    fn bytes(&self) -> u64;

    /// A new run-time instance. `state` must have been made for a plan with the same state arenas.
    fn session(self: Arc<Self>, state: Arc<StateStore>) -> Result<Box<dyn Session>, Diagnostic>;
}

/// One instance of an entry: its own inputs, outputs and working memory.
pub trait Session: Send {
    fn plan(&self) -> &Arc<Plan>;

    /// Bytes of tensors and working memory that it holds, without constants and state: what the plan says.
    fn bytes(&self) -> u64;

    /// Copies an input in. The bytes are the buffer's, little endian, as long as it.
    fn write(&mut self, input: BufferId, bytes: &[u8]) -> Result<(), Diagnostic>;

    /// Runs all calls once. A fault on the device does not stop it: ask [`Session::fault`].
    fn run(&mut self) -> Result<(), Diagnostic>;

    /// As [`Session::run`], on these inputs. A device whose memory is the host's reads them where they lie; then
    /// what was written before is what [`Session::read`] says of them and what later runs see.
    fn run_on(&mut self, inputs: &mut dyn Iterator<Item = (BufferId, &[u8])>) -> Result<(), Diagnostic> {
        for (input, bytes) in inputs {
            self.write(input, bytes)?;
        }
        self.run()
    }

    /// The first fault of the last run.
    fn fault(&mut self) -> Option<Fault>;

    /// Copies an output out; `out` is as long as the buffer.
    fn read(&mut self, output: BufferId, out: &mut [u8]) -> Result<(), Diagnostic>;

    /// Runs once and adds to each call's time. `times` is as long as the plan's calls.
    fn run_timed(&mut self, times: &mut [Duration]) -> Result<(), Diagnostic>;
}

/// What compiling a plan cost.
#[derive(Debug, Clone, Default)]
pub struct CompileStats {
    /// Functions that were compiled; a kernel has one or several. 0 where an artifact had them all.
    pub functions: usize,
    /// Functions that were there: of an equal kernel of this plan, of another entry or binding, or of an
    /// artifact.
    pub shared: usize,
    pub total: Duration,
    /// Name and time of each compiled function; several threads compile.
    pub times: Vec<(Arc<str>, Duration)>,
    /// Machine code that was compiled, in bytes.
    pub code_bytes: usize,
}
