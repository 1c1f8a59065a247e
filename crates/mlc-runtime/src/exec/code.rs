//! The code of a program's kernels, and of the programs that they repeat.

use std::sync::Arc;

use mlc_diag::Diagnostic;
use mlc_ir::loops::{ArenaKind, KernelId, Kind, Plan, Role};

use super::kernel::{HostKernel, Phase};
use super::memory::HostMemory;

/// For each kernel of a program, its code.
pub struct Code {
    of: Vec<KernelCode>,
}

pub enum KernelCode {
    Kernel(Arc<dyn HostKernel>),
    Repeat(RepeatCode),
}

/// A repeated program's code and constants.
pub struct RepeatCode {
    pub code: Code,
    pub consts: Consts,
}

/// The constants of a plan, laid out as its const arenas; `None` for its other arenas.
pub type Consts = Vec<Option<Arc<HostMemory>>>;

impl Code {
    /// `kernels`: the code of [`leaf_kernels`](mlc_ir::loops::LoopProgram::leaf_kernels), in their order.
    ///
    /// # Errors
    /// A bug where code or the plan of a repeated program is missing.
    pub fn new(
        plan: &Plan,
        kernels: &mut dyn Iterator<Item = Arc<dyn HostKernel>>,
    ) -> Result<Code, Diagnostic> {
        let mut of = Vec::with_capacity(plan.program.kernels.len());
        for (i, kernel) in plan.program.kernels.iter().enumerate() {
            let missing = || Diagnostic::bug(format!("{} has no code or no plan", kernel.name));
            of.push(match &kernel.kind {
                Kind::Repeat(_) => {
                    let body = plan.bodies.get(&KernelId(i as u32)).ok_or_else(missing)?;
                    let code = Code::new(body, kernels)?;
                    KernelCode::Repeat(RepeatCode { code, consts: const_arenas(body)? })
                }
                _ => KernelCode::Kernel(kernels.next().ok_or_else(missing)?),
            });
        }
        Ok(Code { of })
    }

    pub fn of(&self, kernel: KernelId) -> Option<&KernelCode> {
        self.of.get(kernel.ix())
    }

    /// Does any phase have work for several threads?
    pub fn shares_work(&self) -> bool {
        self.of.iter().any(|k| match k {
            KernelCode::Kernel(k) => k.phases().iter().any(Phase::is_shared),
            KernelCode::Repeat(r) => r.code.shares_work(),
        })
    }
}

/// Memory with the constants of a plan.
///
/// # Errors
/// A bug where a constant has no contents or no place.
pub fn const_arenas(plan: &Plan) -> Result<Consts, Diagnostic> {
    let mut arenas = Vec::with_capacity(plan.arenas.len());
    for arena in &plan.arenas {
        arenas.push(match arena.kind {
            ArenaKind::Const => Some(HostMemory::zeroed(arena.bytes, arena.align as usize)?),
            _ => None,
        });
    }
    for (buffer, place) in plan.program.buffers.iter().zip(&plan.places) {
        let Role::Const(id) = buffer.role else { continue };
        let bytes = plan.program.consts.get(id.ix()).map(|c| &c.bytes[..]);
        let memory = arenas.get_mut(place.arena.ix()).and_then(Option::as_mut);
        match (bytes, memory) {
            (Some(bytes), Some(memory)) if bytes.len() as u64 == buffer.bytes() => {
                let at = place.offset as usize;
                memory.as_mut_slice()[at..at + bytes.len()].copy_from_slice(bytes);
            }
            _ => return Err(Diagnostic::bug(format!("constant {} has no place", buffer.name))),
        }
    }
    Ok(arenas.into_iter().map(|a| a.map(Arc::new)).collect())
}
