//! The text form of a graph.
//!
//! ```text
//! graph @SimpleNN.step stage=built {
//!   dims batch >= 1, h >= 0, n >= 0 default 16 where h%4 == 0, batch <= 64
//!   check 2*batch == h else E0201 "cannot add: 2*batch against h"
//!   %0: f32[batch,784] = input {name="image", type=f32[batch,784]}
//!   %1: f32[128,784] @cuda:0 = state {path="fc1.weight", type=f32[128,784] @cuda:0} in "fc1"
//!   %2: f32[batch,128] = contract %0, %1 {batch=[], sum=[(1,1)]} in "fc1" backward   // simple_nn.mlg:7:18
//!   %3: f32[128,784], %3.1: f32[batch,784] = grad %2, %1, %0 {allow_unused=false}
//!   output "loss" = %2 weight batch
//!   write "fc1.weight" = %3
//! }
//! ```
//! An op with a region has the region's lines behind its attributes, in braces:
//!
//! ```text
//!   %3: f32[8], %3.1: f32[n,8] = scan %2, %1 {trips=n, each=0, carries=1} body {
//!     %0: f32[8] = state {path="carry.0", type=f32[8]}
//!     ..
//!   } in "cell"
//! ```
//! Nodes stand in canonical order and are numbered by it, so printing what was parsed gives the same
//! text. Everything that a pass reads is printed but two things, which are for people: source spans
//! (the comment, where a source map is at hand) and, of pending checks, labels and notes.

use std::fmt::{self, Write};

use mlc_diag::SourceMap;
use rustc_hash::FxHashMap;

use super::{Graph, NodeId, Phase, Region, ValueId};
use crate::types::{DimFacts, SymbolDecl};

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printer::new(self, None).print(f)
    }
}

/// The text of a graph with the source line of each node as a comment.
pub fn print_with_sources(graph: &Graph, sources: &SourceMap) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = Printer::new(graph, Some(sources)).print(&mut text);
    text
}

/// The lines of a region.
impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printer::new(self.graph(), None).lines(f)
    }
}

struct Printer<'g> {
    graph: &'g Graph,
    sources: Option<&'g SourceMap>,
    order: Vec<NodeId>,
    numbers: FxHashMap<NodeId, usize>,
    /// Regions around this one.
    depth: usize,
}

impl<'g> Printer<'g> {
    fn new(graph: &'g Graph, sources: Option<&'g SourceMap>) -> Self {
        let mut order = graph.topo_order();
        if order.len() != graph.len() {
            // A cycle: the verifier says so, and whoever looks for it wants to see the nodes.
            order = graph.ids().collect();
        }
        let numbers = order.iter().enumerate().map(|(i, &id)| (id, i)).collect();
        Printer { graph, sources, order, numbers, depth: 0 }
    }

    fn print(&self, f: &mut dyn Write) -> fmt::Result {
        let g = self.graph;
        writeln!(f, "graph @{} stage={} {{", g.name, g.stage)?;
        print_dims(f, &g.dims)?;
        for c in &g.checks {
            writeln!(f, "  check {} else {} {:?}", c.fact, c.error.code, c.error.title)?;
        }
        self.lines(f)?;
        f.write_str("}\n")
    }

    fn lines(&self, f: &mut dyn Write) -> fmt::Result {
        let (g, indent) = (self.graph, "  ".repeat(self.depth + 1));
        for &id in &self.order {
            f.write_str(&indent)?;
            self.node(f, id)?;
        }
        for o in &g.outputs {
            write!(f, "{indent}output {:?} = {}", o.name, self.value(o.value))?;
            match &o.weight {
                Some(w) => writeln!(f, " weight {w}")?,
                None => writeln!(f)?,
            }
        }
        for w in &g.writes {
            writeln!(f, "{indent}write {:?} = {}", &*w.state, self.value(w.value))?;
        }
        Ok(())
    }

    fn node(&self, f: &mut dyn Write, id: NodeId) -> fmt::Result {
        let node = self.graph.node(id);
        for (i, ty) in node.results.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{}: {ty}", self.value(id.result(i)))?;
        }
        write!(f, " = {}", node.op.name())?;
        for (i, &v) in node.operands.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            write!(f, "{comma} {}", self.value(v))?;
        }
        write!(f, "{}", node.op.attrs())?;
        if let Some(region) = node.op.region() {
            f.write_str(" body {\n")?;
            let inner = Printer::new(region.graph(), self.sources);
            Printer { depth: self.depth + 1, ..inner }.lines(f)?;
            write!(f, "{}}}", "  ".repeat(self.depth + 1))?;
        }
        match self.graph.scopes().get(node.prov.scope.0 as usize) {
            Some(scope) if !scope.is_empty() => write!(f, " in {:?}", &**scope)?,
            _ => {}
        }
        if node.prov.phase != Phase::Forward {
            write!(f, " {}", node.prov.phase.name())?;
        }
        let place = self.sources.map_or_else(String::new, |s| s.locate(node.prov.span));
        if !place.is_empty() {
            write!(f, "  // {place}")?;
        }
        writeln!(f)
    }

    fn value(&self, v: ValueId) -> String {
        match (self.numbers.get(&v.node), v.result) {
            (None, _) => format!("%missing_{}", v.node.0),
            (Some(n), 0) => format!("%{n}"),
            (Some(n), i) => format!("%{n}.{i}"),
        }
    }
}

fn print_dims(f: &mut dyn Write, dims: &DimFacts) -> fmt::Result {
    if dims.symbols.is_empty() && dims.facts.is_empty() {
        return Ok(());
    }
    let default = |n: Option<i64>| n.map_or(String::new(), |n| format!(" default {n}"));
    let text = |s: &SymbolDecl| format!("{} >= {}{}", s.name, s.min, default(s.default));
    let names: Vec<String> = dims.symbols.iter().map(text).collect();
    write!(f, "  dims {}", names.join(", "))?;
    let facts: Vec<String> = dims.facts.iter().map(ToString::to_string).collect();
    if !facts.is_empty() {
        write!(f, " where {}", facts.join(", "))?;
    }
    writeln!(f)
}
