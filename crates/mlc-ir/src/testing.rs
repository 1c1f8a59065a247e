//! Random typed graphs, for properties that must hold of every graph: passes preserve values, text
//! round-trips, compiled code agrees with the evaluator.
//!
//! Everything follows from the seed. The graphs are small in elements (dims up to 4, and the names `a`
//! and `b`), deep in ops, and verified by construction: each node is added through its type rule, and
//! what the rule refuses is not added. Gathers only read in range.

use mlc_diag::Span;

use crate::graph::{Graph, GraphBuilder, Output, Prov, StateWrite, ValueId};
use crate::op::{Flip, Input, Literal, Port, RandomBits, ReduceKind, ScalarFn, Scan, ScanBody, Slice, State};
use crate::types::{DType, Dim, Proof, Relation, Shape, Type};

/// A stream of numbers that a test prints its seed for (SplitMix64).
#[derive(Debug, Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`; 0 for `n` = 0.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.word() % n as u64) as usize }
    }

    pub fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// What a random graph may contain.
#[derive(Debug, Clone)]
pub struct GraphShape {
    /// Nodes to add, about.
    pub nodes: usize,
    /// Names in dims (`a` >= 1, `b` >= 1) beside numbers.
    pub symbols: bool,
    /// dtypes of inputs; others come from casts and comparisons.
    pub dtypes: Vec<DType>,
    /// One in how many nodes is a loop; 0 for none.
    pub loops: usize,
}

impl Default for GraphShape {
    fn default() -> Self {
        let dtypes = vec![DType::F32, DType::F32, DType::I64, DType::Bool];
        GraphShape { nodes: 24, symbols: true, dtypes, loops: 0 }
    }
}

/// The graph of a seed. Its outputs are values of every dtype that occurs; some states are written.
pub fn random_graph(seed: u64, shape: &GraphShape) -> Graph {
    let mut graph = Graph::new(format!("random{seed}"));
    if shape.symbols {
        graph.dims.declare("a".into(), Span::NONE, 1);
        graph.dims.declare("b".into(), Span::NONE, 1);
    }
    let scope = graph.scope("block.0");
    let mut g = Generator { rng: Rng(seed), values: vec![], graph: &mut graph, shape };
    for i in 0..3 {
        g.source(i);
    }
    for i in 3..3 + shape.nodes {
        let prov = Prov { scope: if i % 3 == 0 { scope } else { Default::default() }, ..Prov::NONE };
        g.node(i, prov);
    }
    g.ends();
    // A check that is left for binding is about the generator's luck, not about a pass.
    graph.checks.clear();
    graph
}

struct Generator<'g> {
    rng: Rng,
    values: Vec<ValueId>,
    graph: &'g mut Graph,
    shape: &'g GraphShape,
}

impl Generator<'_> {
    fn dim(&mut self) -> Dim {
        let names = if self.shape.symbols { 2 } else { 0 };
        match self.rng.below(4 + names) {
            4 => Dim::sym("a"),
            5 => Dim::sym("b"),
            n => Dim::from(n as i64 + 1),
        }
    }

    fn dims(&mut self) -> Shape {
        (0..self.rng.below(4)).map(|_| self.dim()).collect()
    }

    fn any(&mut self) -> ValueId {
        // Later values more often, so that graphs get deep.
        let (n, m) = (self.rng.below(self.values.len()), self.rng.below(self.values.len()));
        self.values[n.max(m)]
    }

    /// Another value of this very type, or the same.
    fn alike(&mut self, v: ValueId) -> ValueId {
        let ty = self.graph.ty(v);
        let alike: Vec<ValueId> = self.values.iter().copied().filter(|&w| self.graph.ty(w) == ty).collect();
        if alike.is_empty() { v } else { *self.rng.pick(&alike) }
    }

    fn source(&mut self, i: usize) {
        let dtype = *self.rng.pick(&self.shape.dtypes);
        let ty = Type::new(dtype, self.dims());
        let mut b = GraphBuilder::new(self.graph, Prov::NONE);
        let added = match self.rng.below(3) {
            0 => b.op(State { path: format!("state{i}").into(), ty }, &[]),
            _ => b.op(Input { name: format!("x{i}").into(), ty }, &[]),
        };
        self.values.extend(added);
    }

    fn node(&mut self, i: usize, prov: Prov) {
        let checks = self.graph.checks.len();
        let before = self.graph.ids().last().map_or(0, |n| n.0 as usize + 1);
        match self.try_node(i, prov) {
            Some(v) if self.graph.checks.len() == checks => self.values.push(v),
            // Refused, or true for some sizes only: what was added on the way stays unused.
            _ => {
                self.graph.checks.truncate(checks);
                let added: Vec<_> = self.graph.ids().filter(|n| n.0 as usize >= before).collect();
                for n in added.into_iter().rev() {
                    self.graph.remove(n);
                }
            }
        }
    }

    fn try_node(&mut self, i: usize, prov: Prov) -> Option<ValueId> {
        let x = self.any();
        let ty = self.graph.ty(x).clone();
        let axis = self.rng.below(ty.rank());
        // Nodes in a loop are numbered in thousands, so loops nest twice at most.
        if self.shape.loops > 0 && i < 1_000_000 && self.rng.chance(self.shape.loops) {
            return self.scan(x, i, prov);
        }
        match self.rng.below(22) {
            0 => {
                self.source(i);
                self.values.pop()
            }
            1 => self.leaf(prov),
            2..8 => self.elementwise(x, prov),
            8 => {
                let to =
                    *self.rng.pick(&[DType::F32, DType::F64, DType::I32, DType::I64, DType::U8, DType::Bool]);
                GraphBuilder::new(self.graph, prov).cast(x, to).ok()
            }
            9 => {
                let mut shape = ty.shape.clone();
                shape.insert(self.rng.below(ty.rank() + 1), self.dim());
                let axes: Vec<usize> = (0..shape.len()).collect();
                let skip = self.rng.below(shape.len());
                let axes = axes.into_iter().filter(|&a| a != skip).collect();
                GraphBuilder::new(self.graph, prov).broadcast(x, shape, axes).ok()
            }
            10 => {
                let mut shape = ty.shape.clone();
                if shape.len() > 1 && self.rng.chance(2) {
                    let at = self.rng.below(shape.len() - 1);
                    let merged = &shape[at] * &shape[at + 1];
                    shape.remove(at);
                    shape[at] = merged;
                } else {
                    shape.insert(self.rng.below(ty.rank() + 1), Dim::ONE);
                }
                GraphBuilder::new(self.graph, prov).reshape(x, shape).ok()
            }
            11 => {
                let mut perm: Vec<usize> = (0..ty.rank()).collect();
                for k in (1..perm.len()).rev() {
                    perm.swap(k, self.rng.below(k + 1));
                }
                GraphBuilder::new(self.graph, prov).transpose(x, perm).ok()
            }
            12 => self.slice(x, &ty, prov),
            13 => {
                let mut pad = |_: usize| Dim::from(self.rng.below(3) as i64);
                let (low, high): (Vec<Dim>, Vec<Dim>) = (0..ty.rank()).map(|i| (pad(i), pad(i))).unzip();
                let mut b = GraphBuilder::new(self.graph, prov);
                let fill = b.scalar(ty.dtype, 1.0).ok()?;
                b.pad(x, low, high, fill).ok()
            }
            14 if ty.rank() > 0 => {
                let y = self.alike(x);
                GraphBuilder::new(self.graph, prov).concat(&[x, y], axis).ok()
            }
            15 if ty.rank() > 0 => {
                GraphBuilder::new(self.graph, prov).op(Flip { axes: vec![axis] }, &[x]).ok()
            }
            16..18 if ty.rank() > 0 => {
                let kind = *self.rng.pick(&ReduceKind::ALL);
                let mut axes: Vec<usize> = (0..ty.rank()).filter(|_| self.rng.chance(2)).collect();
                if axes.is_empty() {
                    axes.push(axis);
                }
                GraphBuilder::new(self.graph, prov).reduce(kind, x, axes).ok()
            }
            18 => {
                let y = self.alike(x);
                let sum = if ty.rank() > 0 { vec![(axis, axis)] } else { vec![] };
                GraphBuilder::new(self.graph, prov).contract(x, y, vec![], sum).ok()
            }
            19 => {
                self.filled(&ty, axis)?;
                let shape: Shape = self.dims();
                let mut b = GraphBuilder::new(self.graph, prov);
                let zero = b.constant(Literal::int(DType::I64, 0)).ok()?;
                let index = b.broadcast(zero, shape, vec![]).ok()?;
                b.gather(x, vec![axis], &[index], false).ok()
            }
            20 => {
                self.filled(&ty, axis)?;
                let mut b = GraphBuilder::new(self.graph, prov);
                let zero = b.constant(Literal::int(DType::I64, 0)).ok()?;
                let src = b.gather(x, vec![axis], &[zero], false).ok()?;
                b.scatter_add(x, vec![axis], &[zero], src, false).ok()
            }
            _ => GraphBuilder::new(self.graph, prov).op(crate::op::StopGradient, &[x]).ok(),
        }
    }

    /// A loop that carries a value of the type of `x` and one of its own, over slices or a count.
    fn scan(&mut self, x: ValueId, i: usize, prov: Prov) -> Option<ValueId> {
        let (first, sliced) = ([x, self.any()], self.any());
        let over = self.graph.ty(sliced).clone();
        let each = if over.rank() > 0 && self.rng.chance(2) { vec![sliced] } else { vec![] };
        let trips = if each.is_empty() { self.dim() } else { over.shape[0].clone() };
        let mut params = vec![Port::Trip.insert(self.graph, Type::scalar(DType::I64), prov)];
        let mut carried = vec![];
        for (k, &v) in first.iter().enumerate() {
            let ty = self.graph.ty(v).clone().on(None);
            carried.push(Port::Carry(k).insert(self.graph, ty, prov));
        }
        params.extend(&carried);
        for (k, _) in each.iter().enumerate() {
            let slice = over.with_shape(over.shape[1..].to_vec());
            params.push(Port::Each(k).insert(self.graph, slice, prov));
        }
        let outside = self.values.len();
        self.values.extend(&params);
        for k in 0..2 + self.rng.below(6) {
            self.node(1000 * i + k, prov);
        }
        let next: Vec<ValueId> = carried.iter().map(|&c| self.alike(c)).collect();
        let out = self.any();
        let given: Vec<_> = params.iter().map(|p| p.node).collect();
        let outlined = self.graph.outline(&given, &[next[0], next[1], out], &|i| Port::Kept(i).name().into());
        self.values.truncate(outside);
        let mut body = ScanBody { graph: outlined.graph };
        outlined.roots[..2].iter().for_each(|&v| body.carry(v, Span::NONE));
        body.output(outlined.roots[2], Span::NONE);
        let op = Scan { trips, each: each.len(), carries: 2, body: body.finish() };
        let operands: Vec<ValueId> = each.into_iter().chain(first).chain(outlined.kept).collect();
        let node = self.graph.add(op.into(), &operands, prov).ok()?;
        self.values.extend([node.result(0), node.result(1)]);
        Some(node.result(2))
    }

    /// Is index 0 of an axis surely in range?
    fn filled(&self, ty: &Type, axis: usize) -> Option<()> {
        let dim = ty.shape.get(axis)?;
        (self.graph.dims.prove(&Dim::ONE, Relation::Le, dim) == Proof::Holds).then_some(())
    }

    fn leaf(&mut self, prov: Prov) -> Option<ValueId> {
        let shape = self.dims();
        let dim = self.dim();
        let kind = self.rng.below(4);
        let number = *self.rng.pick(&[0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 3.0, f64::INFINITY, f64::NAN]);
        let axis = self.rng.below(shape.len());
        let site = self.rng.word() as u32;
        let mut b = GraphBuilder::new(self.graph, prov);
        match kind {
            0 => {
                let v = b.scalar(DType::F32, number).ok()?;
                b.broadcast(v, shape, vec![]).ok()
            }
            1 => b.dim(&dim + &Dim::ONE).ok(),
            2 if !shape.is_empty() => b.iota(DType::I64, shape, axis).ok(),
            2 => None,
            _ => {
                let seed = b.constant(Literal::int(DType::U64, 7)).ok()?;
                let iteration = b.constant(Literal::int(DType::U32, 3)).ok()?;
                b.op(RandomBits { site, shape }, &[seed, iteration]).ok()
            }
        }
    }

    fn elementwise(&mut self, x: ValueId, prov: Prov) -> Option<ValueId> {
        let f = *self.rng.pick(ScalarFn::ALL);
        let y = self.alike(x);
        let mut operands = vec![x, y, x];
        if f == ScalarFn::Select {
            let b = &mut GraphBuilder::new(self.graph, prov);
            let c = b.map(ScalarFn::Lt, &[x, y]).ok()?;
            operands = vec![c, x, y];
        }
        operands.truncate(f.arity());
        // Identities of zeros and ones are what simplify is about: meet them often.
        if f.arity() == 2 && self.rng.chance(3) {
            let number = *self.rng.pick(&[0.0, -0.0, 1.0, -1.0, 4.0]);
            operands[1] = GraphBuilder::new(self.graph, prov).full_like(x, number).ok()?;
        }
        GraphBuilder::new(self.graph, prov).map(f, &operands).ok()
    }

    fn slice(&mut self, x: ValueId, ty: &Type, prov: Prov) -> Option<ValueId> {
        let starts: Vec<Dim> = ty.shape.iter().map(|_| Dim::from(self.rng.below(2) as i64)).collect();
        let limits = ty.shape.to_vec();
        let steps = ty.shape.iter().map(|_| 1 + self.rng.below(2) as i64).collect();
        GraphBuilder::new(self.graph, prov).op(Slice { starts, limits, steps }, &[x]).ok()
    }

    fn ends(&mut self) {
        let last: Vec<ValueId> = self.values.iter().rev().take(6).copied().collect();
        for (i, value) in last.into_iter().enumerate() {
            let output = Output { name: format!("y{i}"), value, weight: None, span: Span::NONE };
            self.graph.outputs.push(output);
        }
        let reads: Vec<_> = self.graph.ids().collect();
        for id in reads {
            let crate::op::Op::State(op) = &self.graph.node(id).op else { continue };
            let state = op.path.clone();
            let value = self.alike(id.value());
            if self.rng.chance(2) {
                self.graph.writes.push(StateWrite { state, value, span: Span::NONE });
            }
        }
    }
}
