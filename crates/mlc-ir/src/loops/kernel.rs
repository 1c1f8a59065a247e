//! Kernels: numbered arguments and one of six kinds. A kernel names no buffer, so equal layers share one.

use std::sync::Arc;

use mlc_diag::Span;
use serde::{Deserialize, Serialize};

use super::body::{Expr, ExprId, ExprOp, LoopBody, RedOp};
use super::contraction::Contraction;
use super::index::{Atom, Bound, Index};
use super::repeat::Repeat;
use crate::{DType, Device};

super::id!(
    /// An argument of one kernel.
    ArgId, "arg");

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kernel {
    /// `[A-Za-z_][A-Za-z0-9_.]*`. Names are for people: they are not hashed and need not be unique.
    #[serde(with = "crate::serial::shared")]
    pub name: Arc<str>,
    pub args: Vec<Arg>,
    pub kind: Kind,
    /// Where expressions and stores come from; `prov` fields index into it. Not hashed.
    pub prov: Vec<Prov>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arg {
    /// As a kernel's name; unique in the kernel. Not hashed.
    #[serde(with = "crate::serial::shared")]
    pub name: Arc<str>,
    pub dtype: DType,
    /// Elements.
    pub len: u64,
    pub mode: Mode,
    /// Bytes, a power of two, at least the dtype's size.
    pub align: u32,
    /// A `Write` argument that may share its memory with this `Read` one (L10).
    pub may_alias: Option<ArgId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mode {
    Read,
    /// Written without being read; every element, except where stores are guarded (L9).
    Write,
    ReadWrite,
}

impl Arg {
    pub fn new(name: impl Into<Arc<str>>, dtype: DType, len: u64, mode: Mode) -> Arg {
        Arg { name: name.into(), dtype, len, mode, align: dtype.size() as u32, may_alias: None }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Kind {
    Loop(LoopBody),
    Contract(Contraction),
    Segments(Vec<Segment>),
    ScatterAdd(Scatter),
    Copy(CopyMap),
    Repeat(Box<Repeat>),
}

/// One of many small loop kernels that run as one (L16). Segments have nothing to do with each other: each has
/// its own arguments, and they may run in any order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// The kernel's arguments that the body's arguments stand for.
    pub args: Vec<ArgId>,
    /// As of a kernel with just these arguments.
    pub body: LoopBody,
}

/// `dest[index] = op(dest[index], value)` for every element of the domain in row-major order where the guard
/// holds (R8). The body has no reductions, tails or stores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scatter {
    pub body: LoopBody,
    pub value: ExprId,
    /// Usually with a `Data` atom.
    pub index: Index,
    pub guard: Option<ExprId>,
    /// `Write` with [`Init::Zero`], `ReadWrite` with [`Init::Existing`].
    pub dest: ArgId,
    pub init: Init,
    /// Sum, Prod, Max, Min, And or Or.
    pub op: RedOp,
    pub prov: u32,
}

impl Scatter {
    /// Forgets where things come from: only what computes stays.
    pub fn clear_prov(&mut self) {
        self.body.clear_prov();
        self.prov = 0;
    }
}

/// What a scatter's destinations hold first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Init {
    /// All bits zero: +0.
    Zero,
    Existing,
}

/// `arg1[dst] = arg0[src]` over a row-major domain; both arguments have one dtype. Between devices if
/// `transfer` says so; no other kind of kernel crosses devices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CopyMap {
    pub src: Index,
    pub dst: Index,
    pub extents: Vec<u64>,
    pub transfer: Option<(Device, Device)>,
}

/// Where something comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Prov {
    pub span: Span,
    /// Scope path, `blocks.3.attn`.
    #[serde(with = "crate::serial::shared")]
    pub scope: Arc<str>,
    /// Graph node.
    pub node: u32,
    pub phase: Phase,
}

impl Prov {
    /// Of what the compiler adds by itself.
    pub fn infra() -> Prov {
        Prov { span: Span::NONE, scope: Arc::from(""), node: 0, phase: Phase::Infra }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    Forward,
    Backward,
    Update,
    Infra,
}

/// What a kernel writes when a data-dependent index is out of range. A kernel that has fault sites takes one
/// hidden argument after its own: a pointer to this record, which the plan zeroes once per run. The kernel
/// stores `site` and `value` if `site` is still 0 and goes on with the clamped index; the executor sets `call`
/// after the first call that left a site. Serial execution in row-major order finds the first fault; where
/// chunks run in parallel any of them may be the one recorded, but one always is. The calls of a repeated
/// program record their own faults: the kernel that repeats it has no sites.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FaultRecord {
    /// 0: none; else 1 + the index into [`Kernel::fault_sites`].
    pub site: u64,
    /// The offending index as it was read.
    pub value: i64,
    /// 1 + the call's number in the program ([`LoopProgram::call_numbered`](super::LoopProgram::call_numbered));
    /// 0 until the executor sets it.
    pub call: u64,
}

/// A data-dependent index of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultSite {
    /// The integer expression, in the body it belongs to (a contraction: lhs, rhs or epilogue).
    pub index: ExprId,
    pub bound: Bound,
    /// The argument that is indexed.
    pub arg: ArgId,
    pub prov: u32,
}

impl Kernel {
    /// Every data-dependent index, in the fixed order that fault records count in: loads by expression id
    /// (lhs, rhs, epilogue for contractions), then stores, then tails, then a scatter's destination; segment
    /// after segment; atoms in the index's order, outer before inner.
    pub fn fault_sites(&self) -> Vec<FaultSite> {
        let mut sites = Vec::new();
        match &self.kind {
            Kind::Loop(body) => body_sites(body, &mut sites),
            Kind::Segments(segments) => {
                for s in segments {
                    let first = sites.len();
                    body_sites(&s.body, &mut sites);
                    for site in &mut sites[first..] {
                        site.arg = s.args[site.arg.ix()];
                    }
                }
            }
            Kind::Contract(c) => {
                expr_sites(&c.lhs.exprs, &mut sites);
                expr_sites(&c.rhs.exprs, &mut sites);
                body_sites(&c.epilogue, &mut sites);
            }
            Kind::ScatterAdd(s) => {
                body_sites(&s.body, &mut sites);
                index_sites(&s.index, s.dest, s.prov, &mut sites);
            }
            Kind::Copy(_) | Kind::Repeat(_) => {}
        }
        sites
    }

    pub fn arg(&self, id: ArgId) -> &Arg {
        &self.args[id.ix()]
    }

    /// How many numbers a call of it takes: its own and those of the calls that it repeats.
    pub fn call_numbers(&self) -> u64 {
        match &self.kind {
            Kind::Repeat(r) => 1 + r.body.call_numbers(),
            _ => 1,
        }
    }

    /// Lets a loop kernel, or a segment, store what it stores in the argument `written` once more, in a new last
    /// argument. False if the argument is no such result.
    pub fn store_again(&mut self, written: ArgId) -> bool {
        let new = ArgId(self.args.len() as u32);
        let again = match &mut self.kind {
            _ if self.args[written.ix()].mode != Mode::Write => false,
            Kind::Loop(body) => body.store_again(written, new),
            Kind::Segments(segments) => {
                let own = segments.iter_mut().find_map(|s| {
                    let at = s.args.iter().position(|&a| a == written)?;
                    Some((s, ArgId(at as u32)))
                });
                own.is_some_and(|(s, at)| {
                    s.args.push(new);
                    s.body.store_again(at, ArgId(s.args.len() as u32 - 1))
                })
            }
            _ => false,
        };
        if again {
            let name =
                (new.ix()..).map(|n| format!("out{n}")).find(|n| self.args.iter().all(|a| *a.name != **n));
            let name: Arc<str> = name.unwrap_or_default().into();
            self.args.push(Arg { name, may_alias: None, ..self.args[written.ix()].clone() });
        }
        again
    }

    /// A segment as a loop kernel of its own, without provenance. Its arguments exist.
    pub fn segment(&self, segment: &Segment) -> Kernel {
        let place = |a: ArgId| segment.args.iter().position(|&b| b == a).map(|i| ArgId(i as u32));
        let own =
            |&a: &ArgId| Arg { may_alias: self.arg(a).may_alias.and_then(place), ..self.arg(a).clone() };
        Kernel {
            name: self.name.clone(),
            args: segment.args.iter().map(own).collect(),
            kind: Kind::Loop(segment.body.clone()),
            prov: Vec::new(),
        }
    }
}

fn body_sites(body: &LoopBody, sites: &mut Vec<FaultSite>) {
    expr_sites(&body.exprs, sites);
    for s in &body.stores {
        index_sites(&s.index, s.arg, s.prov, sites);
    }
    for t in &body.tails {
        index_sites(t.index(), t.out(), t.prov(), sites);
    }
}

fn expr_sites(exprs: &[Expr], sites: &mut Vec<FaultSite>) {
    for e in exprs {
        if let ExprOp::Load(load) = &e.op {
            index_sites(&load.index, load.arg, e.prov, sites);
        }
    }
}

fn index_sites(index: &Index, arg: ArgId, prov: u32, sites: &mut Vec<FaultSite>) {
    index.visit(&mut |atom| {
        if let Atom::Data(e, bound) = atom {
            sites.push(FaultSite { index: *e, bound: *bound, arg, prov });
        }
    });
}
