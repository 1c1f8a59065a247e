//! Where a node reads an operand: the relation of the operand's place to the node's own.
//!
//! The place of an element is its row-major number. A kernel computes a value at the place of the domain's
//! point, so nodes can share a kernel only if they agree about it. Views between two nodes (broadcasts,
//! reshapes, transposes, slices) move places; here they are followed symbolically.

use mlc_diag::Diagnostic;
use mlc_ir::graph::{Graph, NodeId, ValueId};
use mlc_ir::loops::bounds::{injective, simplify};
use mlc_ir::loops::{Atom, AxisId, Index};
use mlc_ir::lower::coords::row_major;
use mlc_ir::lower::{Coords, Domain, Rule, count, extents, refined};
use mlc_ir::op::Op;

use super::facts::Inline;

/// How the place in an operand follows from the place in the node that reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// The same number.
    Same,
    /// The number of the row, where each row has so many of the node's elements.
    Row(u64),
    /// The number within the row.
    Column,
    /// The operand is one element.
    One,
    /// Each element once, elsewhere.
    Permuted,
    /// One element of the row with the node's number; data says which.
    Pick,
    /// Anything else.
    Other,
}

/// An operand below all views and all that is never stored, and where it is read.
pub type Read = (NodeId, Relation);

/// What the operand `i` of a node comes down to.
///
/// # Errors
/// A bug where the graph is not bound.
pub fn reads(graph: &Graph, inline: &Inline, id: NodeId, i: usize) -> Result<Vec<Read>, Diagnostic> {
    let node = graph.node(id);
    let operand = node.operands[i];
    // Most operands need no arithmetic.
    if matches!(node.op, Op::Elementwise(_) | Op::Cast(_)) && !inline.passes(operand.node) {
        return Ok(vec![(operand.node, Relation::Same)]);
    }
    let shape = domain(graph, id)?;
    refined(&shape, |domain| {
        let mut walk = Walk { graph, inline, domain, found: vec![], left: vec![] };
        match coords_of(graph, id, i, domain)? {
            Some(coords) => walk.follow(operand, coords)?,
            None => walk.guarded(operand),
        }
        Ok((walk.found, walk.left))
    })
}

/// The extents of the domain that a node is computed over.
pub fn domain(graph: &Graph, id: NodeId) -> Result<Vec<u64>, Diagnostic> {
    let node = graph.node(id);
    match node.op.lowering().rule() {
        Rule::Reduce(_) => extents(graph, node.operands[0]),
        _ => extents(graph, id.value()),
    }
}

/// Where a node reads its operand `i`, in the operand's own coordinates, if that is a fixed map.
fn coords_of(graph: &Graph, id: NodeId, i: usize, domain: &Domain) -> Result<Option<Coords>, Diagnostic> {
    let (node, own) = (graph.node(id), domain.coords());
    Ok(match node.op.lowering().rule() {
        Rule::Element(e) => e.reads(graph, node, i, &own),
        Rule::Reduce(_) => Some(own),
        Rule::View(view) => {
            let (from, to) = (extents(graph, node.operands[0])?, extents(graph, id.value())?);
            Some(view.coords(&from, &to, &own, &domain.all_extents()))
        }
        _ => None,
    })
}

struct Walk<'a> {
    graph: &'a Graph,
    inline: &'a Inline,
    domain: &'a Domain,
    found: Vec<Read>,
    /// Indices in which quotients are left.
    left: Vec<Index>,
}

impl Walk<'_> {
    /// Follows what is never stored down to what may be.
    fn follow(&mut self, v: ValueId, coords: Coords) -> Result<(), Diagnostic> {
        let node = self.graph.node(v.node);
        if !self.inline.passes(v.node) {
            let shape = extents(self.graph, v)?;
            let relation = self.classify(&coords, &shape);
            self.found.push((v.node, relation));
            return Ok(());
        }
        match node.op.lowering().rule() {
            Rule::View(view) => {
                let operand = node.operands[0];
                let (from, to) = (extents(self.graph, operand)?, extents(self.graph, v)?);
                let coords = view.coords(&from, &to, &coords, &self.domain.all_extents());
                self.follow(operand, coords)
            }
            Rule::Element(rule) => {
                for (i, &operand) in node.operands.iter().enumerate() {
                    match rule.reads(self.graph, node, i, &coords) {
                        Some(coords) => self.follow(operand, coords)?,
                        None => self.guarded(operand),
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Everything below an operand, read wherever.
    fn guarded(&mut self, v: ValueId) {
        let mut work = vec![v];
        while let Some(v) = work.pop() {
            if self.inline.passes(v.node) {
                work.extend(&self.graph.node(v.node).operands);
            } else {
                self.found.push((v.node, Relation::Other));
            }
        }
    }

    fn classify(&mut self, coords: &[Index], shape: &[u64]) -> Relation {
        let parts = self.domain.all_extents();
        let (size, total) = (count(shape), count(&parts));
        let own = |range: std::ops::Range<usize>| {
            let axes: Coords = range.clone().map(|a| Index::axis(AxisId(a as u32))).collect();
            row_major(&axes, &parts[range])
        };
        if size == 1 {
            return if total == 1 { Relation::Same } else { Relation::One };
        }
        if let Some((Index { terms, offset: 0 }, before)) = coords.split_last()
            && let [(1, Atom::Data(..))] = &terms[..]
            && row_major(before, &shape[..before.len()]) == own(0..parts.len())
        {
            return Relation::Pick;
        }
        let index = simplify(&row_major(coords, shape), &parts);
        if !index.is_affine() {
            self.left.push(index);
            return Relation::Other;
        }
        if index == own(0..parts.len()) {
            return Relation::Same;
        }
        for at in 1..parts.len() {
            if count(&parts[..at]) == size && index == own(0..at) {
                return Relation::Row(total / size);
            }
            if count(&parts[at..]) == size && index == own(at..parts.len()) {
                return Relation::Column;
            }
        }
        let once = size == total && injective(&index, &parts) == Some(true);
        if once { Relation::Permuted } else { Relation::Other }
    }
}
