//! Moves what costs nothing where it is used into loops: constants, positions and views of what a loop is given.
//!
//! Outside, a view that a loop reads would have to be stored, as a loop reads memory; inside, it is an index map
//! of whoever reads it. Constants fold with what the loop computes. What the body does not use is not passed to
//! it. After differentiate, because a derivative may be taken by a view.
//!
//! ```text
//! %1 = transpose %w                           %1 = scan %0, %w body {
//! %2 = scan %0, %1 body {                       %0 = input {name="kept.0"}
//!   %0 = input {name="kept.0"}          =>      %1 = transpose %0
//!   ..                                          ..
//! ```

use mlc_diag::{Diagnostic, Diagnostics};
use mlc_ir::graph::{Graph, Node, NodeId, Region, Stage, ValueId, Values};
use mlc_ir::lower::Rule;
use mlc_ir::op::{Input, Op, Port, Scan};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::smallvec;

use crate::pass::{Pass, PassCx};

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct Sink;

impl Pass for Sink {
    fn name(&self) -> &'static str {
        "sink"
    }

    fn stage_before(&self) -> Stage {
        Stage::Differentiated
    }

    fn run(&self, graph: &mut Graph, _: &mut PassCx) -> Result<(), Diagnostics> {
        if graph.with_regions().is_empty() {
            return Ok(());
        }
        graph.rebuild(|new, _, mut node| {
            if let Op::Scan(scan) = &node.op {
                let (op, operands) = sunk(new, scan, &node.operands)?;
                node.op = op.into();
                node.operands = operands.into();
            }
            Ok(new.insert_values(node))
        })?;
        graph.remove_dead();
        Ok(())
    }
}

/// The scan with all that it can compute by itself inside, and its operands.
fn sunk(around: &Graph, scan: &Scan, operands: &[ValueId]) -> Result<(Scan, Vec<ValueId>), Diagnostics> {
    let (given, kept) = operands.split_at(scan.each + scan.carries);
    let mut body = Graph::clone(scan.body.graph());
    body.stage = around.stage;
    drop_unused_inputs(&mut body);
    let mut s = Sinker { around, values: FxHashMap::default(), kept: vec![] };
    body.rebuild(|new, _, node| {
        let port = match &node.op {
            Op::Input(op) => Port::of(&op.name),
            _ => None,
        };
        match port {
            Some(Port::Kept(i)) => match kept.get(i) {
                Some(&v) => Ok(smallvec![s.value(new, v)]),
                None => Err(Diagnostic::bug(format!("a loop has no operand for its kept value {i}")).into()),
            },
            _ => Ok(new.insert_values(node)),
        }
    })?;
    let operands = given.iter().chain(&s.kept).copied().collect();
    Ok((Scan { body: Region::new(body), ..scan.clone() }, operands))
}

fn drop_unused_inputs(body: &mut Graph) {
    let ends = body.outputs.iter().map(|o| o.value).chain(body.writes.iter().map(|w| w.value));
    let ends: FxHashSet<NodeId> = ends.map(|v| v.node).collect();
    let unused = |n: &NodeId| {
        matches!(body.node(*n).op, Op::Input(_)) && body.users(*n).is_empty() && !ends.contains(n)
    };
    let unused: Vec<NodeId> = body.ids().filter(unused).collect();
    unused.into_iter().for_each(|n| body.remove(n));
}

struct Sinker<'g> {
    around: &'g Graph,
    /// Values of the graph around in the body.
    values: FxHashMap<ValueId, ValueId>,
    /// What the body is still given.
    kept: Vec<ValueId>,
}

impl Sinker<'_> {
    fn value(&mut self, body: &mut Graph, v: ValueId) -> ValueId {
        if let Some(&inside) = self.values.get(&v) {
            return inside;
        }
        let mut node = self.around.node(v.node).clone();
        node.prov.scope = body.scope(&self.around.scope_path(node.prov.scope).clone());
        if is_free(&node) {
            node.operands.iter_mut().for_each(|o| *o = self.value(body, *o));
        } else {
            let ty = self.around.ty(v).clone();
            let name = Port::Kept(self.kept.len()).name().into();
            let op = Input { name, ty: ty.clone() }.into();
            self.kept.push(v);
            node = Node { op, operands: smallvec![], results: smallvec![ty], prov: node.prov };
        }
        let values: Values = body.insert_values(node);
        self.values.insert(v, values[0]);
        values[0]
    }
}

/// Does it cost nothing where it is used?
fn is_free(node: &Node) -> bool {
    matches!(node.op, Op::Constant(_) | Op::DimScalar(_) | Op::Iota(_))
        || matches!(node.op.lowering().rule(), Rule::View(_))
}
