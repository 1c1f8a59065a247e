//! The emitter: builds the body of one kernel by asking for elements of values.

use std::sync::Arc;

use mlc_diag::Diagnostic;
use rustc_hash::FxHashMap;

use super::coords::{Coords, row_major};
use super::group::Frame;
use super::reduce::{accumulator, red_op};
use super::{Cx, Rule, merge_axes, merge_contraction};
use crate::DType;
use crate::graph::{self, NodeId, ValueId};
use crate::loops::bounds::simplify;
use crate::loops::{Arg, ArgId, BodyBuilder, ExprId, Index, Kernel, Kind, Lit, LoopBody, Mode, Phase, Prov};

/// A kernel with what its arguments stand for.
#[derive(Debug, Clone)]
pub struct Draft {
    pub kernel: Kernel,
    /// For each of the first arguments, in order: the value whose memory it reads.
    pub reads: Vec<ValueId>,
    /// For each of the other arguments: the value that it holds after the call.
    pub writes: Vec<ValueId>,
    /// The value that must lie in the last argument's memory before the call (`ReadWrite`).
    pub starts_as: Option<ValueId>,
}

/// Builds one kernel. Arguments are numbered by first use; the written ones come last.
pub struct Emitter<'a> {
    pub cx: Cx<'a>,
    pub body: BodyBuilder,
    /// Holds where the element being built is needed at all: loads do not touch memory elsewhere.
    pub guard: Option<ExprId>,
    /// In an epilogue: the contraction, its coordinates, and the dtype of its sums.
    pub product: Option<(ValueId, Coords, DType)>,
    /// Rows and columns of a kernel that reduces.
    pub frame: Option<Frame>,
    extents: Vec<u64>,
    args: Vec<Arg>,
    reads: Vec<ValueId>,
    writes: Vec<ValueId>,
    known: FxHashMap<(ValueId, Coords, Option<ExprId>), ExprId>,
    /// Results of row reductions.
    accs: FxHashMap<ValueId, ExprId>,
    prov: Vec<Prov>,
    prov_of: FxHashMap<NodeId, u32>,
    /// Indices in which quotients were left.
    quotients: Vec<Index>,
}

impl<'a> Emitter<'a> {
    /// An emitter for a domain of row and column axes.
    pub fn new(cx: Cx<'a>, rows: &[u64], cols: &[u64]) -> Emitter<'a> {
        Emitter {
            cx,
            body: BodyBuilder::new(rows, cols),
            guard: None,
            product: None,
            frame: None,
            extents: [rows, cols].concat(),
            args: vec![],
            reads: vec![],
            writes: vec![],
            known: FxHashMap::default(),
            accs: FxHashMap::default(),
            prov: vec![],
            prov_of: FxHashMap::default(),
            quotients: vec![],
        }
    }

    /// Goes on with an empty body over other axes; arguments and provenance stay.
    pub fn next_body(&mut self, rows: &[u64], cols: &[u64]) -> LoopBody {
        self.known.clear();
        self.guard = None;
        self.extents = [rows, cols].concat();
        std::mem::replace(&mut self.body, BodyBuilder::new(rows, cols)).finish()
    }

    /// The extents of the domain's axes.
    pub fn extents(&self) -> &[u64] {
        &self.extents
    }

    /// The shape of a value.
    ///
    /// # Errors
    /// A bug where it is not bound.
    pub fn shape(&self, v: ValueId) -> Result<Vec<u64>, Diagnostic> {
        self.cx.shape(v)
    }

    /// An element of a value: loaded where the value lies in memory, else computed.
    ///
    /// # Errors
    /// Those of the ops on the way.
    pub fn value(&mut self, v: ValueId, coords: &[Index]) -> Result<ExprId, Diagnostic> {
        let (v, coords) = self.through_views(v, coords)?;
        match self.cx.of(v) {
            Some(home) => {
                let index = row_major(&coords, &self.cx.shape(v)?);
                self.load(home, index)
            }
            None => self.compute(v, &coords),
        }
    }

    /// Follows views to a value that lies in memory or is computed.
    fn through_views(&mut self, mut v: ValueId, coords: &[Index]) -> Result<(ValueId, Coords), Diagnostic> {
        let mut coords: Coords = coords.into();
        let graph = self.cx.graph;
        while self.cx.of(v).is_none() {
            let node = graph.node(v.node);
            let (Rule::View(view), Some(&operand)) = (node.op.lowering().rule(), node.operands.first())
            else {
                break;
            };
            let (from, to) = (self.cx.shape(operand)?, self.cx.shape(v)?);
            coords = view.coords(&from, &to, &coords, &self.extents);
            v = operand;
        }
        Ok((v, coords))
    }

    /// An element of a value that is no view, from its operands.
    fn compute(&mut self, v: ValueId, coords: &[Index]) -> Result<ExprId, Diagnostic> {
        let node = self.cx.graph.node(v.node);
        match node.op.lowering().rule() {
            Rule::Element(rule) => {
                let key = (v, Coords::from(coords), self.guard);
                if let Some(&known) = self.known.get(&key) {
                    return Ok(known);
                }
                let saved = self.at(v.node);
                let e = rule.element(self, node, coords)?;
                self.body.prov = saved;
                self.known.insert(key, e);
                Ok(e)
            }
            Rule::Reduce(_) => self.accumulated(v, coords),
            Rule::Contract(_) => self.product(v, coords),
            _ => Err(self.bug(v, "has no element rule and does not lie in memory")),
        }
    }

    /// A row reduction's result, where the coordinates are the row's.
    fn accumulated(&mut self, v: ValueId, coords: &[Index]) -> Result<ExprId, Diagnostic> {
        let node = self.cx.graph.node(v.node);
        let (Rule::Reduce(r), Some(frame)) = (node.op.lowering().rule(), self.frame.clone()) else {
            return Err(self.bug(v, "is reduced outside of a row kernel"));
        };
        self.same_place(v, coords, &frame.row)?;
        if let Some(&known) = self.accs.get(&v) {
            return Ok(known);
        }
        let saved = (self.at(v.node), self.guard.take());
        let x = node.operands[0];
        let at = frame.element(&self.cx.shape(x)?, &self.extents);
        let value = self.value(x, &at)?;
        let value = self.body.cast(accumulator(self.body.dtype(value)), value);
        let result = self.body.reduce(red_op(r.kind), value);
        let result = self.body.cast(node.results[0].dtype, result);
        (self.body.prov, self.guard) = saved;
        self.accs.insert(v, result);
        Ok(result)
    }

    /// A contraction's product in its epilogue.
    fn product(&mut self, v: ValueId, coords: &[Index]) -> Result<ExprId, Diagnostic> {
        let Some((_, own, acc)) = self.product.clone().filter(|p| p.0 == v) else {
            return Err(self.bug(v, "is multiplied in another kernel and does not lie in memory"));
        };
        let shape = self.cx.shape(v)?;
        self.same_place(v, coords, &row_major(&own, &shape))?;
        let saved = self.at(v.node);
        let product = self.body.product(acc);
        let product = self.body.cast(self.cx.graph.ty(v).dtype, product);
        self.body.prov = saved;
        Ok(product)
    }

    /// Requires that a value is asked for at its own place in the domain. While quotients are left the
    /// domain is split and everything built again.
    fn same_place(&mut self, v: ValueId, coords: &[Index], own: &Index) -> Result<(), Diagnostic> {
        let index = simplify(&row_major(coords, &self.cx.shape(v)?), &self.extents);
        self.note(&index);
        if index == *own || !index.is_affine() {
            return Ok(());
        }
        Err(self.bug(v, "is asked for at another place than its own"))
    }

    /// Reads the memory of `home` at an element offset.
    ///
    /// # Errors
    /// A bug where the value is not bound.
    pub fn load(&mut self, home: ValueId, index: Index) -> Result<ExprId, Diagnostic> {
        let dtype = self.cx.graph.ty(home).dtype;
        let arg = self.read_arg(home)?;
        let index = if index.is_affine() { index } else { simplify(&index, &self.extents) };
        self.note(&index);
        Ok(self.body.load_guarded(arg, index, self.guard, Lit::zero(dtype)))
    }

    /// Remembers an index for the refinement of the domain.
    pub fn note(&mut self, index: &Index) {
        if !index.is_affine() {
            self.quotients.push(index.clone());
        }
    }

    fn read_arg(&mut self, home: ValueId) -> Result<ArgId, Diagnostic> {
        if let Some(i) = self.reads.iter().position(|&r| r == home) {
            return Ok(ArgId(i as u32));
        }
        let len = super::count(&self.cx.shape(home)?);
        let dtype = self.cx.graph.ty(home).dtype;
        self.reads.push(home);
        self.args.push(Arg::new(format!("a{}", self.args.len()), dtype, len, Mode::Read));
        Ok(ArgId(self.args.len() as u32 - 1))
    }

    /// A written argument. Nothing may be loaded from new memory after this.
    ///
    /// # Errors
    /// A bug where the value is not bound.
    pub fn write_arg(&mut self, v: ValueId, mode: Mode) -> Result<ArgId, Diagnostic> {
        let len = super::count(&self.cx.shape(v)?);
        let name = match self.writes.len() {
            0 => "out".to_string(),
            n => format!("out{n}"),
        };
        self.writes.push(v);
        self.args.push(Arg::new(name, self.cx.graph.ty(v).dtype, len, mode));
        Ok(ArgId(self.args.len() as u32 - 1))
    }

    /// Makes `node` the provenance of what is built next; returns what it was before.
    pub fn at(&mut self, node: NodeId) -> u32 {
        let next = self.prov.len() as u32;
        let id = *self.prov_of.entry(node).or_insert(next);
        if id == next {
            self.prov.push(prov(self.cx.graph, node));
        }
        std::mem::replace(&mut self.body.prov, id)
    }

    /// A cast that leaves equal dtypes alone.
    pub fn cast(&mut self, to: DType, x: ExprId) -> ExprId {
        self.body.cast(to, x)
    }

    /// Wraps up: the kernel and the indices with quotients.
    pub fn finish(mut self, name: &str, kind: Kind) -> (Draft, Vec<Index>) {
        let mut kernel =
            Kernel { name: Arc::from(name), args: self.args, kind, prov: std::mem::take(&mut self.prov) };
        match &mut kernel.kind {
            Kind::Loop(body) => merge_axes(body),
            Kind::Contract(c) => merge_contraction(c),
            Kind::Segments(_) | Kind::ScatterAdd(_) | Kind::Copy(_) => {}
        }
        (Draft { kernel, reads: self.reads, writes: self.writes, starts_as: None }, self.quotients)
    }

    pub fn take_body(&mut self) -> LoopBody {
        self.next_body(&[], &[])
    }

    pub fn bug(&self, v: ValueId, what: &str) -> Diagnostic {
        let node = self.cx.graph.node(v.node);
        Diagnostic::bug(format!("{v} ({}) {what}", node.op.name())).label(node.prov.span, "")
    }
}

/// The provenance of a node in the loop IR's terms.
pub fn prov(graph: &graph::Graph, node: NodeId) -> Prov {
    let n = graph.node(node);
    Prov {
        span: n.prov.span,
        scope: graph.scope_path(n.prov.scope).clone(),
        node: node.0,
        phase: match n.prov.phase {
            graph::Phase::Forward => Phase::Forward,
            graph::Phase::Backward => Phase::Backward,
            graph::Phase::Update => Phase::Update,
            graph::Phase::Infra => Phase::Infra,
        },
    }
}

/// What a kernel is called: the op, or the function of an elementwise one.
pub fn kernel_name(graph: &graph::Graph, v: ValueId) -> String {
    use crate::op::Op;
    let node = graph.node(v.node);
    match &node.op {
        Op::Elementwise(m) => m.f.name().into(),
        Op::Reduce(r) => r.kind.name().into(),
        op => op.name().into(),
    }
}
