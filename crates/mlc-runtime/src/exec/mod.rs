//! Running plans: what every device must offer ([`Backend`], [`Executable`], [`Session`]) and the executor for
//! devices whose memory is the host's ([`HostExecutable`]).
//!
//! Input: a [`Plan`](mlc_ir::loops::Plan). Output: an executable that any number of sessions share; a session
//! has its own inputs, outputs and working memory, and shares the state ([`StateStore`]) with the sessions of
//! the other entries of the model. Nothing is allocated in [`Session::run`].
//!
//! ```text
//! Plan --Backend::compile--> Executable --session(state)--> Session: write, run, read, fault
//! ```

mod backend;
mod block;
mod code;
mod fault;
mod float_mode;
mod host;
mod kernel;
mod memory;
mod poison;
mod pool;
mod state;

pub use backend::{Backend, CompileStats, DeviceMemory, Executable, Session};
pub use fault::Fault;
pub use host::{HostExecutable, HostSession};
pub use kernel::{Call, HostKernel, Phase, SHARED_NS, ScratchNeed, Workspace};
pub use memory::{ALIGN, HostMemory};
pub use pool::{Pool, Task, WorkerPanicked};
pub use state::StateStore;
