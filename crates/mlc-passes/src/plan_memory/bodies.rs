//! Programs that kernels repeat: each has a plan of its own, whose temporaries and scratch are working memory
//! of the calls of the kernel.

use std::collections::BTreeMap;

use mlc_ir::loops::{KernelId, Kind, LoopProgram, Plan, Role};
use mlc_ir::program::StateLayout;
use mlc_ir::{Dim, Type};

use super::{Scratch, plan_memory};

/// The plans of the repeated programs, by kernel.
pub(super) fn plan_bodies(program: &LoopProgram, scratch: Scratch<'_>) -> BTreeMap<KernelId, Plan> {
    let mut plans = BTreeMap::new();
    for (i, kernel) in program.kernels.iter().enumerate() {
        if let Kind::Repeat(r) = &kernel.kind {
            let planned = plan_memory(r.body.clone(), &states(&r.body), scratch);
            plans.insert(KernelId(i as u32), planned.plan);
        }
    }
    plans
}

/// The states of a repeated program are arguments of its kernel: a layout that only counts them.
fn states(body: &LoopProgram) -> StateLayout {
    let of_role = |b: &&mlc_ir::loops::Buffer| matches!(b.role, Role::State(_));
    let mut states: Vec<_> = body.buffers.iter().filter(of_role).collect();
    states.sort_by_key(|b| b.role);
    let mut layout = StateLayout::default();
    for b in states {
        let len = i64::try_from(b.len).unwrap_or(i64::MAX);
        layout.add(b.name.clone(), &Type::new(b.dtype, [Dim::from(len)]).on(b.device));
    }
    layout
}
