//! An entry for one binding of its dims: the pipeline run to its end.

use std::sync::Arc;

use mlc_diag::{Diagnostic, Diagnostics};
use mlc_ir::graph::Graph;
use mlc_ir::loops::{Arena, ArenaKind, BufferId, Call, Plan, Role};
use mlc_ir::program::{Entry, StateLayout};
use mlc_ir::{Binding, DType, Device, Symbol};
use mlc_passes::pipeline::{Options, pipeline};
use mlc_passes::plan_memory::MemoryReport;
use mlc_passes::remat::Recomputed;
use mlc_passes::{Decision, Lowered, PassManager};
use mlc_runtime::exec::Backend;
use mlc_runtime::exec::Executable;

use serde::{Deserialize, Serialize};

use crate::Program;
use crate::artifact::BoundRecord;

/// What identifies a bound entry in a program.
pub(crate) type Key = (String, Binding);

/// A tensor that goes in or comes out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Port {
    #[serde(with = "mlc_ir::serial::shared")]
    pub name: Symbol,
    pub dtype: DType,
    pub shape: Vec<usize>,
    /// `None` for an input that nothing reads.
    pub buffer: Option<BufferId>,
    /// For scalar outputs: see [`mlc_ir::graph::Output::weight`].
    pub weight: Option<u64>,
}

/// Machine code for an entry at these sizes, with what it reads and returns.
pub struct BoundEntry {
    pub name: String,
    pub binding: Binding,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    pub plan: Arc<Plan>,
    /// Empty for an entry of an artifact.
    text: String,
    /// Peak memory by part, and the lines alive at it, which an artifact does not hold.
    pub memory: MemoryReport,
    /// What is computed twice to stay within the memory limit.
    pub recomputed: Option<Recomputed>,
    pub executable: Arc<dyn Executable>,
    /// Why things were fused, copied or placed as they are. Empty for an entry of an artifact.
    pub decisions: Vec<Decision>,
}

impl BoundEntry {
    pub(crate) fn compile(
        program: &Program,
        entry: &Entry,
        binding: &Binding,
    ) -> Result<BoundEntry, Diagnostics> {
        let (graph, mut lowered) = lower(program, entry, binding)?;
        let recomputed = lowered.recomputed.as_ref();
        if let Some(u) = program.unfit(&entry.name, binding, &lowered.plan, &lowered.memory, recomputed) {
            return Err(u.diagnostic(program.sources()).into());
        }
        let decisions = std::mem::take(&mut lowered.decisions);
        let text = mlc_passes::plan_text(&lowered);
        let plan = Arc::new(lowered.plan);
        let executable = program.backend().compile(plan.clone())?;
        Ok(BoundEntry {
            name: entry.name.clone(),
            binding: binding.clone(),
            inputs: inputs(entry, &plan, binding)?,
            outputs: outputs(&graph, &plan)?,
            plan,
            memory: lowered.memory,
            recomputed: lowered.recomputed,
            text,
            executable,
            decisions,
        })
    }

    /// An entry of an artifact, made runnable.
    pub(crate) fn of_record(program: &Program, record: &BoundRecord) -> Result<BoundEntry, Diagnostics> {
        let plan = for_threads(&record.plan, program);
        let memory = MemoryReport::of_arenas(&plan);
        if let Some(u) = program.unfit(&record.entry, &record.binding, &plan, &memory, None) {
            return Err(u.diagnostic(program.sources()).into());
        }
        Ok(BoundEntry {
            name: record.entry.clone(),
            binding: record.binding.clone(),
            inputs: record.inputs.clone(),
            outputs: record.outputs.clone(),
            text: String::new(),
            memory,
            recomputed: None,
            executable: program.backend().compile(plan.clone())?,
            plan,
            decisions: vec![],
        })
    }

    /// Where a result is computed.
    pub fn device(&self, port: &Port) -> Option<Device> {
        port.buffer.map(|b| self.plan.program.buffer(b).device)
    }
}

/// A plan that may have been made for another number of threads, with the working memory that this program's need.
fn for_threads(plan: &Arc<Plan>, program: &Program) -> Arc<Plan> {
    let p = &plan.program;
    let needs: Vec<u64> = p.calls.iter().map(|c| program.backend().scratch_bytes(p.kernel_of(c))).collect();
    if needs == plan.scratch {
        return plan.clone();
    }
    let mut plan = Plan::clone(plan);
    for (call, _) in p.calls.iter().zip(&needs).filter(|(_, n)| **n > 0) {
        let Some(device) = call.args.first().map(|s| p.buffer(s.buffer).device) else { continue };
        if !plan.arenas.iter().any(|a| a.kind == ArenaKind::Scratch && a.device == device) {
            let align = StateLayout::ALIGN as u32;
            plan.arenas.push(Arena { device, kind: ArenaKind::Scratch, bytes: 0, align });
        }
    }
    for arena in plan.arenas.iter_mut().filter(|a| a.kind == ArenaKind::Scratch) {
        let here = |c: &Call| c.args.first().is_some_and(|s| p.buffer(s.buffer).device == arena.device);
        let largest = p.calls.iter().zip(&needs).filter(|(c, _)| here(c)).map(|(_, n)| *n).max();
        arena.bytes = largest.unwrap_or(0).next_multiple_of(arena.align.into());
    }
    plan.scratch = needs;
    Arc::new(plan)
}

/// The bound graph of an entry, and its plan with the decisions of all passes.
pub(crate) fn lower(
    program: &Program,
    entry: &Entry,
    binding: &Binding,
) -> Result<(Graph, Lowered), Diagnostics> {
    let mut graph = entry.graph.clone();
    let mut decisions = passes(program, binding).run(&mut graph)?.decisions;
    let scratch = |k: &mlc_ir::loops::Kernel| program.backend().scratch_bytes(k);
    let (limit, fusion) = (program.memory_limit(), program.options().fusion);
    let mut lowered = mlc_passes::lower_entry_within(&graph, program.layout(), &scratch, fusion, limit)?;
    decisions.append(&mut lowered.decisions);
    lowered.decisions = decisions;
    Ok((graph, lowered))
}

/// The passes of this program's options, up to the graph that is lowered.
pub(crate) fn passes<'p>(program: &Program, binding: &Binding) -> PassManager<'p> {
    let options = Options { place: program.place().clone(), binding: binding.clone() };
    pipeline(&options).verify(cfg!(debug_assertions))
}

fn inputs(entry: &Entry, plan: &Plan, binding: &Binding) -> Result<Vec<Port>, Diagnostics> {
    let port = |i: &mlc_ir::program::InputDecl| {
        let shape = i.ty.shape.iter().map(|d| d.eval(binding).and_then(|n| usize::try_from(n).ok()));
        Some(Port {
            name: i.name.clone(),
            dtype: i.ty.dtype,
            shape: shape.collect::<Option<_>>()?,
            buffer: buffers(plan, Role::Input).find(|&b| plan.program.buffer(b).name == i.name),
            weight: None,
        })
    };
    let unbound = |i: &mlc_ir::program::InputDecl| {
        Diagnostic::bug(format!("`{}` has an unbound dim: {}", i.name, i.ty))
    };
    entry.inputs.iter().map(|i| port(i).ok_or_else(|| unbound(i).into())).collect()
}

fn outputs(graph: &Graph, plan: &Plan) -> Result<Vec<Port>, Diagnostics> {
    let mut ports = vec![];
    // By order, not by name: a result may be called as an input is, and its buffer then is not.
    let mut in_order = buffers(plan, Role::Output);
    for out in &graph.outputs {
        let ty = graph.ty(out.value);
        let buffer = in_order.next();
        let (Some(shape), Some(_)) = (ty.bound_shape(), buffer) else {
            return Err(Diagnostic::bug(format!("no buffer for the output `{}` ({ty})", out.name)).into());
        };
        let weight = out.weight.as_ref().and_then(|d| d.as_const()).and_then(|n| u64::try_from(n).ok());
        ports.push(Port { name: out.name.as_str().into(), dtype: ty.dtype, shape, buffer, weight });
    }
    Ok(ports)
}

/// The program's buffers of one role, in order.
fn buffers(plan: &Plan, role: Role) -> impl Iterator<Item = BufferId> + '_ {
    let all = plan.program.buffers.iter().enumerate();
    all.filter(move |(_, b)| b.role == role).map(|(i, _)| BufferId(i as u32))
}

impl BoundEntry {
    /// The plan as text: arenas, places, calls.
    pub fn plan_text(&self) -> String {
        self.text.clone()
    }
}
