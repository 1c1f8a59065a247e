//! Lower: a decomposed graph to a loop program.
//!
//! 1. [`form_kernels`] decides which nodes are one kernel and which values lie in memory.
//! 2. Each kernel is built from its recipe ([`mlc_ir::lower`]) and becomes a `steps::Step`.
//! 3. `states` gives every value its buffer: an output or a state directly where that is safe, else a
//!    temporary and a copy. Readers of a state come before its writer.
//! 4. `scan`: a loop's region is lowered in the same way and becomes one step that repeats it.
//! 5. The steps in order become calls; equal kernels are shared.

mod order;
mod scan;
mod states;
mod steps;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use mlc_diag::{Diagnostic, Diagnostics, Span};
use mlc_ir::graph::{Graph, Stage, ValueId};
use mlc_ir::loops::{
    ArgId, Buffer, BufferId, BufferSlice, Call, CallId, Const, ConstId, Kernel, KernelId, LoopProgram, Prov,
    Role, kernel_key,
};
use mlc_ir::lower::{Rule, count, extents, prov};
use mlc_ir::op::{Literal, Op};
use mlc_ir::program::StateLayout;
use mlc_ir::{DType, Device};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::Decision;
use crate::form_kernels::{Fusion, KernelNote, form_kernels};
use steps::{Place, Steps};

/// A loop program and why it is as it is.
pub struct LoweredProgram {
    pub program: LoopProgram,
    pub kernels: Vec<KernelNote>,
    pub decisions: Vec<Decision>,
}

/// Lowers a decomposed graph. State buffers get their ids from `layout`.
///
/// # Errors
/// An index into an empty axis; a state that the layout lacks and other bugs.
pub fn lower(graph: &Graph, layout: &StateLayout, fusion: Fusion) -> Result<LoweredProgram, Diagnostics> {
    if graph.stage < Stage::Decomposed {
        return Err(Diagnostic::bug(format!("a {} graph cannot be lowered", graph.stage)).into());
    }
    let mut formed = form_kernels(graph, fusion)?;
    let mut buffers = Buffers::new(graph, layout);
    buffers.declare_inputs()?;
    for j in &formed.joined {
        buffers.parts.extend(j.parts.iter().map(|&(v, at)| (v, (j.whole, at))));
    }
    let mut decisions = std::mem::take(&mut formed.decisions);
    let mut steps = Steps::build(&formed, fusion, &mut decisions)?;
    states::assign(graph, &formed.homes, &mut steps, &mut buffers, &mut decisions)?;
    let order = steps.order()?;
    let kernels = std::mem::take(&mut formed.notes);
    Ok(LoweredProgram { program: program(graph, steps, buffers, &order)?, kernels, decisions })
}

fn program(
    graph: &Graph,
    steps: Steps,
    mut buffers: Buffers<'_>,
    order: &[usize],
) -> Result<LoopProgram, Diagnostic> {
    let mut args_of = vec![];
    for step in &steps.list {
        let mut args = vec![];
        for &place in step.reads.iter().chain(&step.writes) {
            args.push(match place {
                Place::Value(v) => buffers.of(v)?,
                Place::Buffer(buffer) => {
                    BufferSlice { buffer, offset: 0, len: buffers.list[buffer.ix()].len }
                }
            });
        }
        args_of.push(args);
    }
    let mut program = LoopProgram {
        name: Arc::from(graph.name.as_str()),
        kernels: vec![],
        buffers: buffers.list,
        consts: buffers.consts,
        calls: vec![],
    };
    let mut call_of = vec![CallId(0); steps.list.len()];
    for (at, &i) in order.iter().enumerate() {
        call_of[i] = CallId(at as u32);
    }
    let mut shared: FxHashMap<Sharing, (KernelId, Vec<ArgId>)> = FxHashMap::default();
    let mut names: FxHashSet<Arc<str>> = FxHashSet::default();
    let after = steps.hazards_before();
    for &i in order {
        let step = &steps.list[i];
        let key = kernel_key(&step.kernel);
        let (kernel, canonical) = shared.entry((key.hash, fault_spans(&step.kernel))).or_insert_with(|| {
            let mut kernel = step.kernel.clone();
            kernel.name = unique(&mut names, &kernel.name);
            program.kernels.push(kernel);
            (KernelId(program.kernels.len() as u32 - 1), key.args.clone())
        });
        // Equal kernels may number their arguments differently: they agree in canonical order.
        let mut args = args_of[i].clone();
        for (theirs, ours) in canonical.iter().zip(&key.args) {
            args[theirs.ix()] = args_of[i][ours.ix()];
        }
        let mut after: Vec<CallId> = after[i].iter().map(|&s| call_of[s]).collect();
        after.sort();
        after.dedup();
        program.calls.push(Call { kernel: *kernel, args, donates: vec![], after, prov: step.prov.clone() });
    }
    drop_unused(&mut program);
    Ok(program)
}

/// What kernels are shared by: their hash and their [`fault_spans`].
type Sharing = ([u8; 32], Vec<Span>);

/// The lines that faults of a kernel are reported at. A kernel has one set of them, so kernels that differ in
/// nothing else are two; the back end compiles their code once all the same.
fn fault_spans(kernel: &Kernel) -> Vec<Span> {
    let sites = kernel.fault_sites();
    sites.iter().filter_map(|s| Some(kernel.prov.get(s.prov as usize)?.span)).collect()
}

/// Temporaries that no call touches (values without elements, outputs' own buffers taken instead) go.
fn drop_unused(program: &mut LoopProgram) {
    let mut used: Vec<bool> = program.buffers.iter().map(|b| b.role != Role::Temp).collect();
    for slice in program.calls.iter().flat_map(|c| &c.args) {
        used[slice.buffer.ix()] = true;
    }
    let mut next = 0;
    let new: Vec<BufferId> = used
        .iter()
        .map(|&u| {
            next += u32::from(u);
            BufferId(next.saturating_sub(1))
        })
        .collect();
    let mut keep = used.iter();
    program.buffers.retain(|_| keep.next().copied().unwrap_or(false));
    for slice in program.calls.iter_mut().flat_map(|c| &mut c.args) {
        slice.buffer = new[slice.buffer.ix()];
    }
}

/// The buffers of a program in the making.
pub(crate) struct Buffers<'g> {
    graph: &'g Graph,
    layout: &'g StateLayout,
    pub list: Vec<Buffer>,
    consts: Vec<Const>,
    of: FxHashMap<ValueId, BufferId>,
    /// Parts of a concat: the whole, and where they begin in it.
    parts: FxHashMap<ValueId, (ValueId, u64)>,
    inputs: FxHashMap<Arc<str>, BufferId>,
    states: FxHashMap<Arc<str>, BufferId>,
    known_consts: FxHashMap<(Const, Device), BufferId>,
    names: FxHashSet<Arc<str>>,
}

impl<'g> Buffers<'g> {
    fn new(graph: &'g Graph, layout: &'g StateLayout) -> Buffers<'g> {
        Buffers {
            graph,
            layout,
            list: vec![],
            consts: vec![],
            of: FxHashMap::default(),
            parts: FxHashMap::default(),
            inputs: FxHashMap::default(),
            states: FxHashMap::default(),
            known_consts: FxHashMap::default(),
            names: FxHashSet::default(),
        }
    }

    /// Inputs are the entry's signature: all of them exist, used or not, in the order of their nodes.
    /// Outputs are found by name too, so their names are taken before any temporary's.
    fn declare_inputs(&mut self) -> Result<(), Diagnostic> {
        let graph = self.graph;
        for id in graph.ids().filter(|&id| matches!(graph.node(id).op, Op::Input(_))) {
            self.source(id.value())?;
        }
        Ok(())
    }

    /// Where a value that lies in memory lies: its buffer is made when first asked for.
    pub fn of(&mut self, v: ValueId) -> Result<BufferSlice, Diagnostic> {
        if let Some(&(whole, offset)) = self.parts.get(&v) {
            let at = self.of(whole)?;
            let len = count(&extents(self.graph, v)?);
            return Ok(BufferSlice { buffer: at.buffer, offset: at.offset + offset, len });
        }
        let buffer = self.buffer(v)?;
        Ok(BufferSlice { buffer, offset: 0, len: self.list[buffer.ix()].len })
    }

    fn buffer(&mut self, v: ValueId) -> Result<BufferId, Diagnostic> {
        if let Some(&b) = self.of.get(&v) {
            return Ok(b);
        }
        match self.graph.node(v.node).op.lowering().rule() {
            Rule::Stored => self.source(v),
            _ => {
                let b = self.temp(v)?;
                self.of.insert(v, b);
                Ok(b)
            }
        }
    }

    /// Lets a value live in this buffer.
    pub fn settle(&mut self, v: ValueId, b: BufferId) {
        self.of.insert(v, b);
    }

    /// A new temporary with the type of `v`.
    pub fn temp(&mut self, v: ValueId) -> Result<BufferId, Diagnostic> {
        self.add(&format!("t{}", v.node.0), v, Role::Temp)
    }

    /// The buffer of an output.
    pub fn output(&mut self, name: &str, v: ValueId) -> Result<BufferId, Diagnostic> {
        self.add(name, v, Role::Output)
    }

    fn source(&mut self, v: ValueId) -> Result<BufferId, Diagnostic> {
        let known = match &self.graph.node(v.node).op {
            Op::Input(i) => self.inputs.get(&i.name).copied(),
            _ => None,
        };
        let b = match &self.graph.node(v.node).op {
            Op::Input(_) if known.is_some() => known.unwrap_or_default(),
            Op::Input(i) => {
                let b = self.add(&i.name, v, Role::Input)?;
                self.inputs.insert(i.name.clone(), b);
                b
            }
            Op::State(s) => self.state(&s.path, v)?,
            Op::Constant(c) => self.constant(&c.value, v)?,
            op => return Err(Diagnostic::bug(format!("`{}` is no source", op.name()))),
        };
        self.of.insert(v, b);
        Ok(b)
    }

    /// The buffer of a state; `like` has its type.
    pub fn state(&mut self, path: &Arc<str>, like: ValueId) -> Result<BufferId, Diagnostic> {
        if let Some(&b) = self.states.get(path) {
            return Ok(b);
        }
        let slot = self.layout.find(path);
        let Some((slot, decl)) = slot.and_then(|id| Some((id, self.layout.get(id)?))) else {
            return Err(Diagnostic::bug(format!("the state layout lacks `{path}`")));
        };
        let (len, dtype) = (count(&extents(self.graph, like)?), self.graph.ty(like).dtype);
        if (decl.len, decl.dtype) != (len, dtype) {
            return Err(Diagnostic::bug(format!("state `{path}` is {} elements of {dtype} here", len)));
        }
        let b = self.add(path, like, Role::State(slot))?;
        self.states.insert(path.clone(), b);
        Ok(b)
    }

    fn constant(&mut self, value: &Literal, v: ValueId) -> Result<BufferId, Diagnostic> {
        let content = Const { dtype: value.dtype(), bytes: little_endian(value) };
        let device = self.graph.ty(v).device.unwrap_or(Device::CPU);
        if let Some(&b) = self.known_consts.get(&(content.clone(), device)) {
            return Ok(b);
        }
        self.consts.push(content.clone());
        let id = ConstId(self.consts.len() as u32 - 1);
        let b = self.add(&format!("c{}", id.0), v, Role::Const(id))?;
        self.known_consts.insert((content, device), b);
        Ok(b)
    }

    fn add(&mut self, name: &str, v: ValueId, role: Role) -> Result<BufferId, Diagnostic> {
        let ty = self.graph.ty(v);
        let (dtype, device): (DType, Device) = (ty.dtype, ty.device.unwrap_or(Device::CPU));
        let len = count(&extents(self.graph, v)?);
        let prov: Prov = prov(self.graph, v.node);
        let name = unique(&mut self.names, name);
        self.list.push(Buffer { name, dtype, len, device, role, prov });
        Ok(BufferId(self.list.len() as u32 - 1))
    }
}

fn little_endian(value: &Literal) -> Arc<[u8]> {
    if cfg!(target_endian = "little") {
        return value.shared_bytes();
    }
    value.bytes().chunks_exact(value.dtype().size()).flat_map(|e| e.iter().rev().copied()).collect()
}

/// A name of letters, digits, `_` and `.` that nothing else has.
fn unique(names: &mut FxHashSet<Arc<str>>, name: &str) -> Arc<str> {
    let word = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '.' { c } else { '_' };
    let mut clean: String = name.chars().map(word).collect();
    if !clean.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        clean.insert(0, '_');
    }
    let mut candidate: Arc<str> = clean.as_str().into();
    let mut n = 1;
    while !names.insert(candidate.clone()) {
        n += 1;
        candidate = format!("{clean}_{n}").into();
    }
    candidate
}
