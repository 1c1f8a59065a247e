//! A contraction as a kernel: its tiles are the chunks of one phase.
//!
//! A chunk computes one tile of one product of the batch over all of k and then runs the epilogue on it. Its working
//! memory is its thread's own; no whole product exists.

use std::fmt;
use std::ops::Range;

use mlc_ir::DType;
use mlc_ir::loops::{ArgId, Axis, Contraction, Kernel};
use mlc_runtime::exec::{HostKernel, Phase, ScratchNeed, Workspace};

use super::blocking::{Access, Blocking, Problem};
use super::cost::Costs;
use super::lanes::Element;
use super::operand::{self, PieceView, View, Which};
use super::prepack::Prepack;
use super::run::Run;
use super::tile::Reach;
use super::{epilogue, with_type};
use crate::features::{CpuFeatures, Level};
use crate::jit::Unit;
use crate::schedule;
use crate::store::Function;

/// A contraction taken apart: where its operands are, how it is cut, and the functions to compile.
#[derive(Debug, Clone)]
pub struct Parts {
    pub(super) acc: DType,
    pub(super) batch: Vec<u64>,
    /// The axes of m, n and k.
    pub(super) axes: [Vec<u64>; 3],
    /// Left, right.
    pub(super) sides: [Side; 2],
    pub(super) out: Out,
    pub(super) blocking: Blocking,
    /// What is packed before the tiles: left, right.
    pub(super) prepack: [Option<Prepack>; 2],
    /// Estimated time of that on one thread.
    prepack_ns: u64,
    pub(super) layout: Layout,
    pub(super) args: usize,
    pub(super) faults: bool,
    /// Left operand, right operand, epilogue: those that need code, in this order.
    pub units: Vec<Unit>,
}

/// Where an operand's elements are.
#[derive(Debug, Clone)]
pub(super) enum Side {
    /// In an argument.
    Plain { arg: ArgId, view: View },
    /// In runs of elements in an argument.
    Pieces { arg: ArgId, view: PieceView },
    /// Evaluated by a unit, rows a chunk apart (`along_k`) or columns `width`: a micro-kernel's.
    Code { unit: usize, along_k: bool, width: usize },
}

/// What an operand turns out to be.
enum Found {
    Plain(ArgId, View),
    Pieces(ArgId, PieceView),
    Code,
}

impl Found {
    fn of(kernel: &Kernel, c: &Contraction, which: Which) -> Found {
        if let Some((arg, view)) = operand::plain(kernel, c, which) {
            return Found::Plain(arg, view);
        }
        operand::pieces(kernel, c, which).map_or(Found::Code, |(arg, view)| Found::Pieces(arg, view))
    }
}

#[derive(Debug, Clone)]
pub(super) enum Out {
    /// The epilogue only stores: products go straight to an argument.
    Direct { arg: ArgId, view: View },
    /// A unit reads them from rows of so many elements, along n or along m.
    Epilogue { unit: usize, along_m: bool, width: usize },
}

/// Bytes from the start of a thread's working memory.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Layout {
    /// The arguments of units.
    pub table: usize,
    pub bounds: usize,
    pub room: usize,
    /// A tile of products, lanes contiguous.
    pub block: usize,
    /// The tile transposed, if lanes are not along what the epilogue goes along.
    pub turned: usize,
    total: usize,
}

/// Takes a contraction of at least one product apart; `table` says how fast the machine is.
pub fn parts(kernel: &Kernel, c: &Contraction, level: Level, table: &schedule::Costs) -> Parts {
    let extents = |axes: &[Axis]| axes.iter().map(|a| a.extent).collect::<Vec<u64>>();
    let sides = [Which::Lhs, Which::Rhs].map(|which| (which, Found::of(kernel, c, which)));
    let direct = epilogue::direct(kernel, c);
    let access = |(which, found): &(Which, Found)| match found {
        Found::Plain(_, view) => Access::Strided { own: view.row, k: view.col },
        Found::Pieces(_, view) => Access::Pieces { along_k: view.axes.along_k() },
        Found::Code => operand::access_of_code(c, *which),
    };
    let axes = [extents(&c.m), extents(&c.n), extents(&c.k)];
    let out_along_m = match &direct {
        Some((_, view)) => view.row == 1 && view.col != 1,
        None => epilogue::along_m(c),
    };
    let problem = Problem {
        batch: c.batch.iter().map(|a| a.extent).product(),
        extents: [0, 1, 2].map(|i| axes[i].iter().product()),
        lhs: access(&sides[0]),
        rhs: access(&sides[1]),
        grain_ns: table.grain_ns,
        out_along_m,
    };
    let costs = Costs::of(level, table.multiply);
    let blocking = with_type!(c.acc, T => problem.blocking(&T::micro(level), &costs));
    let prepack = prepack(&problem, &blocking, c.acc, level);
    let packed: usize = prepack.iter().flatten().map(Prepack::elements).sum();
    let mut units = Vec::new();
    let width = |which: Which| {
        let is_rows = (which == Which::Rhs) == blocking.swapped;
        with_type!(c.acc, T => {
            let shape = blocking.form.shape(&T::micro(level));
            if is_rows { shape.rows() } else { shape.lanes }
        })
    };
    let sides = sides.map(|(which, found)| match found {
        Found::Plain(arg, view) => Side::Plain { arg, view },
        Found::Pieces(arg, view) => Side::Pieces { arg, view },
        Found::Code => {
            let along_k = operand::access_of_code(c, which) == Access::Code { along_k: true };
            units.push(operand::unit(kernel, c, which, along_k, width(which)));
            Side::Code { unit: units.len() - 1, along_k, width: width(which) }
        }
    });
    let out = match direct {
        Some((arg, view)) => Out::Direct { arg, view },
        None => {
            let along_lanes = blocking.swapped == out_along_m;
            let width = if along_lanes { blocking.form.lanes } else { blocking.form.rows };
            units.push(epilogue::unit(kernel, c, out_along_m, width));
            Out::Epilogue { unit: units.len() - 1, along_m: out_along_m, width }
        }
    };
    let mut parts = Parts {
        acc: c.acc,
        batch: extents(&c.batch),
        axes,
        sides,
        out,
        blocking,
        prepack,
        prepack_ns: (costs.fetch * packed as f64) as u64,
        layout: Layout::default(),
        args: kernel.args.len(),
        faults: !kernel.fault_sites().is_empty(),
        units,
    };
    parts.layout = parts.layout_for(level);
    parts
}

/// The operands that are packed before the tiles, one after another in the shared memory.
fn prepack(problem: &Problem, blocking: &Blocking, acc: DType, level: Level) -> [Option<Prepack>; 2] {
    let mut at = 0;
    [0, 1].map(|side| {
        let lanes = (side == 0) == blocking.swapped;
        let form = &blocking.form;
        let reach = if lanes { form.lane_reach } else { form.row_reach };
        let [batch, own, k] = [problem.batch, problem.extents[side], problem.extents[2]].map(|n| n as usize);
        let packed = with_type!(acc, T => Prepack::new(&form.shape(&T::micro(level)), lanes, own, batch, k));
        (reach == Reach::Whole).then(|| {
            let offset = at;
            at += (packed.elements() * acc.size()).next_multiple_of(64);
            packed.at(offset)
        })
    })
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} us", self.blocking, self.blocking.est_ns.div_ceil(1000))
    }
}

impl Parts {
    pub fn scratch(&self) -> ScratchNeed {
        let bytes = |p: &Prepack| (p.elements() * self.acc.size()).next_multiple_of(64) as u64;
        let shared = self.prepack.iter().flatten().map(bytes).sum();
        ScratchNeed { shared, own: self.layout.total as u64 }
    }

    /// The chunks of the last phase are the tiles of all products; a phase before it packs what they share.
    pub fn phases(&self) -> Vec<Phase> {
        let tiles = self.batch.iter().chain(&self.blocking.tiles).product();
        let tiles = Phase { chunks: tiles, est_ns: self.blocking.est_ns.saturating_sub(self.prepack_ns) };
        let units: usize = self.prepack.iter().flatten().map(Prepack::units).sum();
        if units == 0 {
            return vec![tiles];
        }
        vec![Phase { chunks: units as u64, est_ns: self.prepack_ns }, tiles]
    }

    fn layout_for(&self, level: Level) -> Layout {
        let size = self.acc.size();
        let form = &self.blocking.form;
        let mut layout = Layout::default();
        let mut take = |bytes: usize| {
            let at = layout.total;
            layout.total += bytes.next_multiple_of(64);
            at
        };
        let table = take(8 * (self.args + 3));
        let bounds = take(16 * self.axis_count());
        let room = take(size * with_type!(self.acc, T => form.room(&T::micro(level)).total));
        let in_place = self.direct_lanes();
        let block = take(if in_place { 0 } else { size * form.rows * form.lanes });
        let turned = matches!(self.out, Out::Epilogue { along_m, .. } if self.blocking.swapped != along_m);
        let turned = take(if turned { size * form.rows * form.lanes } else { 0 });
        Layout { table, bounds, room, block, turned, total: layout.total }
    }

    pub(super) fn axis_count(&self) -> usize {
        self.batch.len() + self.axes.iter().map(Vec::len).sum::<usize>()
    }

    /// Whether micro-kernels write to the argument.
    pub(super) fn direct_lanes(&self) -> bool {
        match &self.out {
            Out::Direct { view, .. } => (if self.blocking.swapped { view.row } else { view.col }) == 1,
            Out::Epilogue { .. } => false,
        }
    }

    pub(super) fn extent(&self, axes: usize) -> u64 {
        self.axes[axes].iter().product()
    }
}

/// A compiled contraction.
pub struct ContractKernel {
    parts: Parts,
    functions: Vec<Function>,
    cpu: CpuFeatures,
    phases: Vec<Phase>,
}

impl ContractKernel {
    /// `functions`: the compiled units of the parts.
    pub fn new(parts: Parts, functions: Vec<Function>, cpu: CpuFeatures) -> ContractKernel {
        let phases = parts.phases();
        ContractKernel { parts, functions, cpu, phases }
    }
}

impl HostKernel for ContractKernel {
    fn phases(&self) -> &[Phase] {
        &self.phases
    }

    fn scratch(&self) -> ScratchNeed {
        self.parts.scratch()
    }

    unsafe fn run(&self, phase: usize, chunks: Range<u64>, args: *const *mut u8, memory: Workspace) {
        with_type!(self.parts.acc, T => {
            // SAFETY: the caller's promise; the element type is the dtype's.
            unsafe {
                let run = Run::<T>::new(&self.parts, &self.functions, self.cpu, args, memory);
                if phase + 1 < self.phases.len() {
                    chunks.for_each(|unit| run.pack(unit as usize));
                } else {
                    chunks.for_each(|chunk| run.tile(chunk));
                }
            }
        });
    }
}
