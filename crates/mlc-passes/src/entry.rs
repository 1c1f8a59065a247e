//! From a bound graph to a plan: what the facade calls after the graph passes.

use std::fmt::Write;

use mlc_diag::{Diagnostic, Diagnostics};
use mlc_ir::graph::Graph;
use mlc_ir::loops::verify::verify_plan;
use mlc_ir::loops::{Kernel, LoopProgram, Plan, Role};
use mlc_ir::program::StateLayout;

use crate::form_kernels::KernelNote;
use crate::plan_memory::{MemoryReport, Planned, Scratch, kind_name, plan_memory};
use crate::remat::{self, Recomputed};
use crate::{Decision, Decompose, Fusion, Pass, PassManager, Residuals, lower, order};

/// An entry in its last form before code.
#[derive(Debug, Clone)]
pub struct Lowered {
    /// The plan; its program is `plan.program`.
    pub plan: Plan,
    pub memory: MemoryReport,
    /// What each kernel holds, for people; copies are not among them.
    pub kernels: Vec<KernelNote>,
    /// What was stored, folded, updated in place or copied, and why.
    pub decisions: Vec<Decision>,
    /// What is computed twice to stay within a memory limit.
    pub recomputed: Option<Recomputed>,
}

impl Lowered {
    pub fn program(&self) -> &LoopProgram {
        &self.plan.program
    }
}

/// Lowers a bound graph: decompose, lower, order, plan. No kernel gets scratch memory.
///
/// # Errors
/// See [`lower_entry_with`].
pub fn lower_entry(graph: &Graph, layout: &StateLayout) -> Result<Lowered, Diagnostics> {
    lower_entry_with(graph, layout, &|_: &Kernel| 0, Fusion::default())
}

/// Lowers a bound graph; `scratch` says how many bytes of working memory a kernel needs on its device.
///
/// # Errors
/// An index into an axis without elements; bugs.
pub fn lower_entry_with(
    graph: &Graph,
    layout: &StateLayout,
    scratch: Scratch<'_>,
    fusion: Fusion,
) -> Result<Lowered, Diagnostics> {
    lower_entry_within(graph, layout, scratch, fusion, None)
}

/// Lowers a bound graph so that no device needs more than `limit` bytes, if recomputing values can do that. The
/// best plan found comes back even if it does not fit: ask [`MemoryReport::over`].
///
/// # Errors
/// As [`lower_entry_with`].
pub fn lower_entry_within(
    graph: &Graph,
    layout: &StateLayout,
    scratch: Scratch<'_>,
    fusion: Fusion,
    limit: Option<u64>,
) -> Result<Lowered, Diagnostics> {
    let mut graph = graph.clone();
    let passes: Vec<Box<dyn Pass>> = vec![Box::new(Decompose), Box::new(Residuals)];
    let of_graph = PassManager::new(passes).run(&mut graph)?.decisions;
    let planned = |graph: &Graph| plan(graph, layout, scratch, fusion);
    let mut lowered = planned(&graph)?;
    if let Some(limit) = limit {
        lowered = remat::fit(&graph, lowered, limit, &planned)?;
    }
    lowered.decisions.splice(0..0, of_graph);
    Ok(lowered)
}

/// The plan of a decomposed graph.
pub(crate) fn plan(
    graph: &Graph,
    layout: &StateLayout,
    scratch: Scratch<'_>,
    fusion: Fusion,
) -> Result<Lowered, Diagnostics> {
    let lowered = lower::lower(graph, layout, fusion)?;
    let (mut program, mut decisions) = (lowered.program, lowered.decisions);
    order::order(&mut program);
    let Planned { plan, memory, decisions: more } = plan_memory(program, layout, scratch);
    decisions.extend(more);
    // As the pass manager does with graphs: always in debug and test builds, where compile time matters less.
    if cfg!(debug_assertions) {
        let violations = verify_plan(&plan);
        if !violations.is_empty() {
            return Err(Diagnostics(violations.into_iter().map(Diagnostic::from).collect()));
        }
    }
    Ok(Lowered { plan, memory, kernels: lowered.kernels, decisions, recomputed: None })
}

/// A plan as text: arenas, then every buffer's place, then the calls.
pub fn plan_text(lowered: &Lowered) -> String {
    let (plan, program) = (&lowered.plan, &lowered.plan.program);
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(out, "plan @{} {{", program.name);
    for (i, a) in plan.arenas.iter().enumerate() {
        let kind = kind_name(a.kind);
        let _ = writeln!(out, "  arena{i} = {kind} {}: {} bytes, align {}", a.device, a.bytes, a.align);
    }
    for (b, p) in program.buffers.iter().zip(&plan.places) {
        let role = match b.role {
            Role::Input => "input",
            Role::State(_) => "state",
            Role::Const(_) => "const",
            Role::Output => "output",
            Role::Temp => "temp",
        };
        let live = p.live.map_or(String::new(), |(a, b)| format!(" live {a}..{b}"));
        let (arena, end) = (p.arena, p.offset + p.bytes);
        let _ = writeln!(
            out,
            "  {role} %{}: {}[{}] = {arena}[{}..{end}]{live}",
            b.name, b.dtype, b.len, p.offset
        );
    }
    for (i, call) in program.calls.iter().enumerate() {
        let args: Vec<String> =
            call.args.iter().map(|s| format!("%{}", program.buffer(s.buffer).name)).collect();
        let _ = write!(out, "  call{i} @{}({})", program.kernel_of(call).name, args.join(", "));
        let donates = call.donates.iter().filter(|(r, w)| call.args[r.ix()] != call.args[w.ix()]);
        for (r, w) in donates {
            let name = |a: mlc_ir::loops::ArgId| &program.buffer(call.args[a.ix()].buffer).name;
            let _ = write!(out, " in place %{} over %{}", name(*w), name(*r));
        }
        if !call.after.is_empty() {
            let after: Vec<String> = call.after.iter().map(ToString::to_string).collect();
            let _ = write!(out, " after {}", after.join(", "));
        }
        let _ = writeln!(out);
    }
    out += "}\n";
    out
}
