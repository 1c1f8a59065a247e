//! Merges nodes that compute the same: equal op with equal attributes, operands and result types.
//!
//! ```text
//! %2 = map.exp %0        %2 = map.exp %0
//! %3 = map.exp %0   =>
//! %4 = map.add %2, %3    %3 = map.add %2, %2
//! ```
//! Every op is a function of its operands and attributes. Random numbers are, too: `random_bits` is
//! keyed by its site, so a metric's `model(x)` merges with the loss's exactly where the language says
//! that they draw the same numbers. Reads of one state, and inputs of one name, merge. The merged node
//! keeps the first one's place in the source and the earliest phase of all. What a `grad` is taken by
//! merges with nothing: `a = exp(p); b = exp(p); grad(a * b, a)` is `b`.

use std::collections::hash_map::Entry;

use mlc_diag::Diagnostics;
use mlc_ir::Type;
use mlc_ir::graph::{Graph, ValueId, Values};
use mlc_ir::op::Op;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::pass::{Pass, PassCx};

#[derive(Debug, Clone, Copy)]
pub struct Cse;

#[derive(PartialEq, Eq, Hash)]
struct Key {
    op: Op,
    operands: SmallVec<[ValueId; 3]>,
    results: SmallVec<[Type; 1]>,
}

impl Pass for Cse {
    fn name(&self) -> &'static str {
        "cse"
    }

    fn run(&self, graph: &mut Graph, _: &mut PassCx) -> Result<(), Diagnostics> {
        let mut seen: FxHashMap<Key, Values> = FxHashMap::default();
        let variables = graph.grad_variables();
        graph.rebuild(|new, id, node| {
            // Reads of one state are one variable; any other two are two, even if they are equal.
            let leaf = matches!(node.op, Op::Input(_) | Op::State(_));
            if !leaf && (0..node.results.len()).any(|i| variables.contains(&id.result(i))) {
                return Ok(new.insert_values(node));
            }
            let key =
                Key { op: node.op.clone(), operands: node.operands.clone(), results: node.results.clone() };
            Ok(match seen.entry(key) {
                Entry::Occupied(e) => {
                    let first = e.get()[0].node;
                    let phase = new.node(first).prov.phase.min(node.prov.phase);
                    new.set_phase(first, phase);
                    e.get().clone()
                }
                Entry::Vacant(e) => e.insert(new.insert_values(node)).clone(),
            })
        })
    }
}
