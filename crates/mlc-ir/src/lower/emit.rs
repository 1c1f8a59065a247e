//! The emitter: builds the body of one kernel by asking for elements of values.

use std::sync::Arc;

use mlc_diag::Diagnostic;
use rustc_hash::FxHashMap;

use super::coords::{Coords, row_major};
use super::{Domain, Homes, Rule, merge_axes, merge_contraction};
use crate::DType;
use crate::graph::{self, NodeId, ValueId};
use crate::loops::bounds::simplify;
use crate::loops::{Arg, ArgId, BodyBuilder, ExprId, Index, Kernel, Kind, Lit, LoopBody, Mode, Phase, Prov};

/// A kernel with what its arguments stand for.
#[derive(Debug, Clone)]
pub struct Draft {
    pub kernel: Kernel,
    /// For each argument but the last, in order: the value whose memory it reads.
    pub reads: Vec<ValueId>,
    /// The value that the last argument holds after the call.
    pub writes: ValueId,
    /// The value that must lie in the last argument's memory before the call (`ReadWrite`).
    pub starts_as: Option<ValueId>,
}

/// Builds one kernel. Arguments are numbered by first use; the written one comes last.
pub struct Emitter<'a> {
    pub cx: &'a Homes<'a>,
    pub body: BodyBuilder,
    /// Holds where the element being built is needed at all: loads do not touch memory elsewhere.
    pub guard: Option<ExprId>,
    extents: Vec<u64>,
    args: Vec<Arg>,
    reads: Vec<ValueId>,
    known: FxHashMap<(ValueId, Coords, Option<ExprId>), ExprId>,
    prov: Vec<Prov>,
    prov_of: FxHashMap<NodeId, u32>,
    /// Indices in which quotients were left.
    quotients: Vec<Index>,
}

impl<'a> Emitter<'a> {
    /// An emitter for a domain of row and column axes.
    pub fn new(cx: &'a Homes<'a>, rows: &[u64], cols: &[u64]) -> Emitter<'a> {
        Emitter {
            cx,
            body: BodyBuilder::new(rows, cols),
            guard: None,
            extents: [rows, cols].concat(),
            args: vec![],
            reads: vec![],
            known: FxHashMap::default(),
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
        let (v, coords) = self.through_views(v, coords, false)?;
        match self.cx.of(v) {
            Some(home) => {
                let index = row_major(&coords, &self.cx.shape(v)?);
                self.load(home, index)
            }
            None => self.compute(v, &coords),
        }
    }

    /// An element of a value, always as a load: of memory, or of a constant's.
    ///
    /// # Errors
    /// A bug where the value lies nowhere.
    pub fn memory(&mut self, v: ValueId, coords: &[Index]) -> Result<ExprId, Diagnostic> {
        let (v, coords) = self.through_views(v, coords, false)?;
        let index = row_major(&coords, &self.cx.shape(v)?);
        match self.cx.of(v) {
            Some(home) => self.load(home, index),
            None => Err(self.bug(v, "is read as memory but was not stored")),
        }
    }

    /// Follows views to a value that lies in memory or is computed; `first` makes the first step even if
    /// the value lies in memory.
    fn through_views(
        &mut self,
        mut v: ValueId,
        coords: &[Index],
        mut first: bool,
    ) -> Result<(ValueId, Coords), Diagnostic> {
        let mut coords: Coords = coords.into();
        let graph = self.cx.graph;
        while first || self.cx.of(v).is_none() {
            first = false;
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

    /// An element of a value from its operands, wherever the value lies.
    ///
    /// # Errors
    /// Those of the ops on the way.
    pub fn compute(&mut self, v: ValueId, coords: &[Index]) -> Result<ExprId, Diagnostic> {
        let node = self.cx.graph.node(v.node);
        match node.op.lowering().rule() {
            Rule::View(_) => {
                let (v, coords) = self.through_views(v, coords, true)?;
                self.value(v, &coords)
            }
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
            _ => Err(self.bug(v, "has no element rule and does not lie in memory")),
        }
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

    /// The written argument. Nothing may be loaded from new memory after this.
    ///
    /// # Errors
    /// A bug where the value is not bound.
    pub fn write_arg(&mut self, v: ValueId, mode: Mode) -> Result<ArgId, Diagnostic> {
        let len = super::count(&self.cx.shape(v)?);
        self.args.push(Arg::new("out", self.cx.graph.ty(v).dtype, len, mode));
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
    pub fn finish(mut self, v: ValueId, name: &str, kind: Kind) -> (Draft, Vec<Index>) {
        let mut kernel =
            Kernel { name: Arc::from(name), args: self.args, kind, prov: std::mem::take(&mut self.prov) };
        match &mut kernel.kind {
            Kind::Loop(body) => merge_axes(body),
            Kind::Contract(c) => merge_contraction(c),
            Kind::ScatterAdd(_) | Kind::Copy(_) | Kind::Repeat(_) => {}
        }
        (Draft { kernel, reads: self.reads, writes: v, starts_as: None }, self.quotients)
    }

    pub fn take_body(&mut self) -> LoopBody {
        self.next_body(&[], &[])
    }

    fn bug(&self, v: ValueId, what: &str) -> Diagnostic {
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

/// The kernel that computes a value element by element into memory of its own.
///
/// # Errors
/// Those of the ops on the way.
pub fn map_kernel(cx: &Homes<'_>, v: ValueId) -> Result<Draft, Diagnostic> {
    let shape = cx.shape(v)?;
    super::domain::refined(&shape, |domain: &Domain| {
        let mut e = Emitter::new(cx, &[], &domain.all_extents());
        e.at(v.node);
        let coords = domain.coords();
        let value = e.compute(v, &coords)?;
        let out = e.write_arg(v, Mode::Write)?;
        e.body.store(out, row_major(&coords, &shape), value);
        let body = e.take_body();
        Ok(e.finish(v, &kernel_name(cx.graph, v), Kind::Loop(body)))
    })
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
