//! Ops that mean something to the compiler: transfers are copies, the others are gone by now.

use mlc_diag::Diagnostic;

use super::{Cx, Draft, Emitter, Lower, Need, OwnKernel, Rule};
use crate::Device;
use crate::graph::{Graph, Node, ValueId};
use crate::loops::{AxisId, CopyMap, Index, Kind, Mode};
use crate::op::{Grad, StopGradient, Transfer};

impl Lower for Grad {
    fn rule(&self) -> Rule<'_> {
        Rule::Gone
    }
}

impl Lower for StopGradient {
    fn rule(&self) -> Rule<'_> {
        Rule::Gone
    }
}

impl Lower for Transfer {
    fn rule(&self) -> Rule<'_> {
        Rule::Kernel(self)
    }
}

impl OwnKernel for Transfer {
    fn kernel(&self, cx: Cx<'_>, v: ValueId) -> Result<Draft, Diagnostic> {
        let x = cx.graph.node(v.node).operands[0];
        let from = cx.graph.ty(x).device.unwrap_or(Device::CPU);
        copy_kernel(cx, x, v, (from != self.to).then_some((from, self.to)))
    }

    fn need(&self, _: &Graph, _: &Node, _: usize) -> Need {
        Need::Dense
    }
}

/// The kernel that copies the memory of `x` to that of `v`, whole.
///
/// # Errors
/// A bug where `x` does not lie in memory.
pub fn copy_kernel(
    cx: Cx<'_>,
    x: ValueId,
    v: ValueId,
    transfer: Option<(Device, Device)>,
) -> Result<Draft, Diagnostic> {
    let Some(home) = cx.home(x) else {
        return Err(Diagnostic::bug(format!("{x} is copied but nowhere stored")));
    };
    let len = super::count(&cx.shape(x)?);
    let mut e = Emitter::new(cx, &[], &[len]);
    e.at(v.node);
    e.load(home, Index::axis(AxisId(0)))?;
    e.write_arg(v, Mode::Write)?;
    e.take_body();
    let index = || if len == 1 { Index::default() } else { Index::axis(AxisId(0)) };
    let kind = Kind::Copy(CopyMap { src: index(), dst: index(), extents: vec![len], transfer });
    Ok(e.finish("copy", kind).0)
}
