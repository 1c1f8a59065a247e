//! Loop programs: buffers and calls in order; and the plan that gives every buffer its bytes.
//!
//! Invariants: the verifier's P1-P8 ([`super::verify`]).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::kernel::{ArgId, Kernel, Prov};
use crate::{DType, Device};

super::id!(
    /// A kernel of one program.
    KernelId, "kernel");
super::id!(
    /// A buffer of one program.
    BufferId, "buf");
super::id!(
    /// A call of one program, in execution order.
    CallId, "call");
super::id!(
    /// A state of the whole compiled model: one layout for all its programs.
    StateId, "state");
super::id!(
    /// Constant contents of one program.
    ConstId, "const");
super::id!(
    /// An arena of one plan.
    ArenaId, "arena");

/// One entry (`step`, `validate`, `forward`) for one binding of the dims.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LoopProgram {
    #[serde(with = "crate::serial::shared")]
    pub name: Arc<str>,
    pub kernels: Vec<Kernel>,
    pub buffers: Vec<Buffer>,
    pub consts: Vec<Const>,
    /// In an order that may run one after another.
    pub calls: Vec<Call>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Buffer {
    /// `[A-Za-z_][A-Za-z0-9_.]*`, unique in the program.
    #[serde(with = "crate::serial::shared")]
    pub name: Arc<str>,
    pub dtype: DType,
    /// Elements.
    pub len: u64,
    pub device: Device,
    pub role: Role,
    pub prov: Prov,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Fed by the caller, under the buffer's name.
    Input,
    /// Lives longer than a run; updated in place.
    State(StateId),
    Const(ConstId),
    /// Read by the caller, under the buffer's name.
    Output,
    /// Nobody's outside: all that the memory planner may move.
    Temp,
}

/// The bytes of a constant buffer, little endian.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Const {
    pub dtype: DType,
    #[serde(with = "crate::serial::shared")]
    pub bytes: Arc<[u8]>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    pub kernel: KernelId,
    /// One for each argument of the kernel.
    pub args: Vec<BufferSlice>,
    /// (read, written): the written argument takes over the read one's bytes; the kernel allows it by
    /// `may_alias`. What the memory planner decided; empty before.
    pub donates: Vec<(ArgId, ArgId)>,
    /// Calls that must be over first although no data flows: readers of a state before its writer.
    pub after: Vec<CallId>,
    pub prov: Prov,
}

/// `buffer[offset .. offset + len]`, in elements. Concatenation and split are slices, never copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BufferSlice {
    pub buffer: BufferId,
    pub offset: u64,
    pub len: u64,
}

/// Where every buffer lies. Offsets are static: the peak is known before anything runs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Plan {
    pub program: LoopProgram,
    pub arenas: Vec<Arena>,
    /// For each buffer of the program.
    pub places: Vec<Place>,
    /// For each call of the program: bytes of working memory it needs, in the scratch arena of its device.
    pub scratch: Vec<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Arena {
    pub device: Device,
    pub kind: ArenaKind,
    pub bytes: u64,
    /// Of the arena's base, in bytes, a power of two.
    pub align: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ArenaKind {
    /// One layout shared by all programs of a compiled model.
    State,
    Const,
    /// Inputs and outputs.
    Io,
    Temp,
    Scratch,
}

/// Bytes `[offset, offset + bytes)` of an arena, held from call `first` to call `last`, both inclusive.
/// `None`: nothing in the program touches the buffer, or it is not the program's own (state, input, output).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    pub arena: ArenaId,
    pub offset: u64,
    pub bytes: u64,
    pub live: Option<(CallId, CallId)>,
}

impl LoopProgram {
    pub fn kernel_of(&self, call: &Call) -> &Kernel {
        &self.kernels[call.kernel.ix()]
    }

    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.ix()]
    }

    pub fn buffer_named(&self, name: &str) -> Option<BufferId> {
        self.buffers.iter().position(|b| &*b.name == name).map(|i| BufferId(i as u32))
    }

    /// The whole of a buffer.
    pub fn whole(&self, id: BufferId) -> BufferSlice {
        BufferSlice { buffer: id, offset: 0, len: self.buffer(id).len }
    }
}

impl Buffer {
    pub fn bytes(&self) -> u64 {
        self.len.saturating_mul(self.dtype.size() as u64)
    }
}
