//! State: what lives from step to step.

use std::collections::BTreeMap;

use mlc_diag::Span;
use serde::{Deserialize, Serialize};

use crate::loops::StateId;
use crate::types::{DType, Device, Symbol, Type};

/// One tensor of state. Its path is its name in graphs, checkpoints and weight files: `fc1.weight`,
/// `critic.fc.bias`, `optimizer.m.fc1.weight`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StateDecl {
    #[serde(with = "crate::serial::shared")]
    pub path: Symbol,
    /// Dims are numbers.
    pub ty: Type,
    pub kind: StateKind,
    /// The further paths of a shared instance, any of which a weight file may use.
    #[serde(with = "crate::serial::symbols")]
    pub aliases: Vec<Symbol>,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum StateKind {
    /// Trained, unless the optimizer map says frozen.
    Param,
    /// Not trained, saved with the weights (`running_mean`).
    Buffer,
    /// An optimizer's state for one parameter.
    Optimizer {
        #[serde(with = "crate::serial::shared")]
        param: Symbol,
        #[serde(with = "crate::serial::shared")]
        name: Symbol,
    },
    /// An untrained copy that follows another state (`ema`).
    Average {
        #[serde(with = "crate::serial::shared")]
        of: Symbol,
    },
    /// A running sum of gradients under `accumulate`.
    Gradient {
        #[serde(with = "crate::serial::shared")]
        param: Symbol,
    },
    /// Of the run: see [`system`].
    System,
}

/// System states, all scalars; the runtime sets them when a session starts and entries may write them.
pub mod system {
    /// u64: the run's seed, the key of all random numbers.
    pub const SEED: &str = "system.seed";
    /// u32: calls of the block's passes so far, micro-batches and skipped steps included; counts random numbers.
    pub const ITERATION: &str = "system.iteration";
    /// f32: updates applied so far: `step` in schedules and optimizers.
    pub const STEP: &str = "system.step";
    /// f32: the updates of the whole run: `total_steps`.
    pub const TOTAL_STEPS: &str = "system.total_steps";
    /// f32: micro-batches summed up since a loss last updated its parameters, under `accumulate`.
    pub const MICRO: &str = "system.micro";
}

/// Where every state lies: one layout, made before any entry is planned and shared by all entries and
/// bindings. States keep their order; each begins at a multiple of [`StateLayout::ALIGN`] bytes of its
/// device's arena.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StateLayout {
    slots: Vec<StateSlot>,
    #[serde(with = "crate::serial::by_symbol")]
    index: BTreeMap<Symbol, StateId>,
    arenas: BTreeMap<Device, u64>,
}

/// One state's place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StateSlot {
    #[serde(with = "crate::serial::shared")]
    pub path: Symbol,
    pub dtype: DType,
    /// Elements.
    pub len: u64,
    pub device: Device,
    /// Bytes from the start of the device's state arena.
    pub offset: u64,
    pub bytes: u64,
}

impl StateLayout {
    pub const ALIGN: u64 = 64;

    /// Lays out states in their order; [`StateId`] counts them. The types are concrete ([`StateDecl::ty`]).
    pub fn new(states: &[StateDecl]) -> StateLayout {
        let mut layout = StateLayout::default();
        for s in states {
            layout.add(s.path.clone(), &s.ty);
        }
        layout
    }

    /// Adds one state at the end.
    pub fn add(&mut self, path: Symbol, ty: &Type) -> StateId {
        let shape = ty.bound_shape().unwrap_or_default();
        let len = shape.iter().fold(1u64, |n, &d| n.saturating_mul(d as u64));
        let bytes = len.saturating_mul(ty.dtype.size() as u64);
        let device = ty.device.unwrap_or(Device::CPU);
        let end = self.arenas.entry(device).or_insert(0);
        let offset = *end;
        *end = offset.saturating_add(bytes).saturating_add(Self::ALIGN - 1) / Self::ALIGN * Self::ALIGN;
        let id = StateId(self.slots.len() as u32);
        self.slots.push(StateSlot { path: path.clone(), dtype: ty.dtype, len, device, offset, bytes });
        self.index.insert(path, id);
        id
    }

    pub fn find(&self, path: &str) -> Option<StateId> {
        self.index.get(path).copied()
    }

    pub fn get(&self, id: StateId) -> Option<&StateSlot> {
        self.slots.get(id.ix())
    }

    pub fn slots(&self) -> &[StateSlot] {
        &self.slots
    }

    /// The devices that hold states, in order.
    pub fn devices(&self) -> impl Iterator<Item = Device> + '_ {
        self.arenas.keys().copied()
    }

    /// Bytes of the state arena of a device.
    pub fn bytes(&self, device: Device) -> u64 {
        self.arenas.get(&device).copied().unwrap_or(0)
    }
}
