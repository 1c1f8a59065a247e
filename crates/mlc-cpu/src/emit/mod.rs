//! Loop bodies to CLIF.
//!
//! Input: a body whose axes are merged ([`crate::shape`]) and the kernel's arguments. Output: one function
//! `fn(args: *const *mut u8, begin: u64, end: u64, shared: *mut u8, own: *mut u8)` for each [`Part`] of the
//! schedule. `begin..end` is a range of the part's chunks; `shared` is working memory of the call, `own` of the
//! thread.
//!
//! How: each expression is emitted in the outermost loop in which its operands are known, so what does not
//! depend on the inner loops is computed outside of them; the innermost loop handles four elements at once
//! where its extent allows, then the rest one by one. Both run the same code on [`Val`]s. What whole tiles or long
//! vectors do better is left to them: [`tiles`], [`passes`].
//!
//! Invariants: loads happen only for elements of the domain whose guard holds; an empty domain runs nothing
//! but the identities of its reductions.

mod arith;
mod blocks;
mod boxes;
mod calls;
mod domain;
mod half;
mod index;
mod passes;
mod prims;
mod reduce;
mod scatter;
mod tails;
mod tiles;
mod value;

use cranelift::codegen::ir::condcodes::IntCC;
use cranelift::codegen::ir::{
    AbiParam, ExtFuncData, ExternalName, InstBuilder, MemFlagsData, Signature, StackSlotData, StackSlotKind,
    Type, UserExternalName, Value, types,
};
use cranelift::frontend::FunctionBuilder;
use mlc_ir::loops::body::index_data;
use mlc_ir::loops::{Analysis, Arg, ExprId, ExprOp, Index, Lit, LoopBody, Prim, Scatter, Tail};
use mlc_ir::mutate::{Mutation, on};
use mlc_runtime::exec::ScratchNeed;

use crate::features::CpuFeatures;
use crate::schedule::{Part, Schedule};
use crate::symbols::Symbol;

pub use domain::stores_once_a_row;
pub use passes::{PASSES, Pass};
#[cfg(test)]
pub use tiles::FAR;
pub use value::{LANES, Val};

/// Bytes of a line of the caches.
const LINE: u32 = 64;

/// What is emitted: a body, or a scatter over a body.
#[derive(Debug, Clone, Copy)]
pub enum Work<'a> {
    Body(&'a LoopBody),
    Scatter(&'a Scatter),
}

/// How much one function needs and offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Needs {
    /// Bytes of working memory: of the call, and of each thread.
    pub scratch: ScratchNeed,
    pub chunks: u64,
}

/// Bytes of working memory that the code of a body's parts needs.
pub fn scratch(body: &LoopBody, schedule: &Schedule) -> ScratchNeed {
    let mut need = ScratchNeed::default();
    for (part, _) in &schedule.parts {
        let part = match *part {
            Part::Whole => ScratchNeed { shared: 0, own: tails::own_bytes(body, body.row_count()) },
            Part::Runs { rows } => {
                ScratchNeed { shared: tails::partial_bytes(body, rows), own: tails::own_bytes(body, rows) }
            }
            Part::Tails { rows } => ScratchNeed { shared: tails::partial_bytes(body, rows), own: 0 },
            Part::Stage { cols, .. } | Part::Stores { cols, .. } => {
                ScratchNeed { shared: blocks::scratch_bytes(body, cols), own: 0 }
            }
            Part::Grid { .. } | Part::Box | Part::Slice { .. } | Part::Fill { .. } => ScratchNeed::default(),
        };
        need = need.max(part);
    }
    need
}

/// State of the emission of one function.
pub struct Emit<'a, 'b> {
    pub b: &'a mut FunctionBuilder<'b>,
    pub body: &'a LoopBody,
    pub args: &'a [Arg],
    /// The arguments' addresses.
    pub ptrs: Vec<Value>,
    pub fault: Option<Value>,
    shared: Value,
    own: Value,
    need: ScratchNeed,
    /// Where each axis stands; of the vector axis, lane 0.
    axes: Vec<Option<Value>>,
    pub vec_axis: Option<usize>,
    /// How many elements the current four are after those that the vector axis stands at.
    lane_shift: i64,
    /// Row buffers of expressions.
    buffers: Vec<Option<calls::Buffer>>,
    /// Values known at this point of the code.
    memo: Vec<Option<Val>>,
    trail: Vec<usize>,
    accs: Vec<Option<Value>>,
    /// The loop in which each expression is emitted: 0 before all, else 1 + the axis.
    level: Vec<usize>,
    stage: Vec<u32>,
    sites: Sites,
    cpu: CpuFeatures,
    /// Loops of the longest vectors that the function calls.
    passes: Vec<Pass>,
}

/// Numbers of fault sites.
struct Sites {
    exprs: Vec<u64>,
    stores: Vec<u64>,
    tails: Vec<u64>,
    end: u64,
}

impl Sites {
    fn of(body: &LoopBody, first: u64) -> Sites {
        let mut next = first;
        let mut take = |index: Option<&Index>| {
            let here = next;
            next += index.map_or(0, |i| index_data(i).len() as u64);
            here
        };
        let exprs = body
            .exprs
            .iter()
            .map(|e| take(if let ExprOp::Load(l) = &e.op { Some(&l.index) } else { None }))
            .collect();
        let stores = body.stores.iter().map(|s| take(Some(&s.index))).collect();
        let tails = body.tails.iter().map(|t| take(Some(t.index()))).collect();
        Sites { exprs, stores, tails, end: next }
    }
}

/// Emits the function's whole code into its builder. `site` numbers the first fault site; `faults`: whether a
/// fault record follows the arguments.
pub fn function(
    b: &mut FunctionBuilder<'_>,
    work: Work<'_>,
    part: Part,
    args: &[Arg],
    site: u64,
    faults: bool,
    cpu: CpuFeatures,
) -> (Needs, Vec<Pass>) {
    let body = match work {
        Work::Body(body) => body,
        Work::Scatter(s) => &s.body,
    };
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    let [table, begin, end, shared, own] = std::array::from_fn(|i| b.block_params(entry)[i]);
    let flags = MemFlagsData::trusted();
    let pointer =
        |b: &mut FunctionBuilder<'_>, i: usize| b.ins().load(types::I64, flags, table, 8 * i as i32);
    let ptrs = (0..args.len()).map(|i| pointer(b, i)).collect();
    let fault = faults.then(|| pointer(b, args.len()));
    let analysis = Analysis::of(body);
    let level = levels(body);
    let mut e = Emit {
        body,
        args,
        ptrs,
        fault,
        shared,
        own,
        need: ScratchNeed::default(),
        axes: vec![None; body.axes().count()],
        vec_axis: None,
        lane_shift: 0,
        buffers: vec![None; body.exprs.len()],
        memo: vec![None; body.exprs.len()],
        trail: Vec::new(),
        accs: vec![None; body.reds.len()],
        level,
        stage: analysis.stage,
        sites: Sites::of(body, site),
        cpu,
        passes: Vec::new(),
        b,
    };
    let chunks = match work {
        Work::Body(_) => e.domain(part, begin, end),
        Work::Scatter(s) => e.scatter(s, part, begin, end),
    };
    if e.passes.iter().any(|(program, _)| program.stores.iter().any(|s| s.stream)) {
        e.call(Symbol::Fence, &[], None);
    }
    e.b.ins().return_(&[]);
    (Needs { scratch: e.need, chunks }, e.passes)
}

/// The loop of each expression: see [`Emit::level`].
pub fn levels(body: &LoopBody) -> Vec<usize> {
    let mut level: Vec<usize> = Vec::with_capacity(body.exprs.len());
    for e in &body.exprs {
        let mut own = match &e.op {
            ExprOp::Load(l) => index_level(&l.index),
            ExprOp::AxisValue(a) => 1 + a.ix(),
            ExprOp::Acc(_) => body.rows.len(),
            ExprOp::Product => body.axes().count(),
            ExprOp::Const(_) | ExprOp::Prim(..) | ExprOp::Fn(..) => 0,
        };
        for o in e.operands() {
            own = own.max(level[o.ix()]);
        }
        level.push(own);
    }
    level
}

/// The innermost loop that an index names itself, without its data.
fn index_level(index: &Index) -> usize {
    let mut level = 0;
    index.visit(&mut |atom| {
        if let mlc_ir::loops::Atom::Axis(a) = atom {
            level = level.max(1 + a.ix());
        }
    });
    level
}

impl Emit<'_, '_> {
    /// The value of an expression that was emitted; a constant is emitted on the spot.
    pub fn value(&mut self, e: ExprId) -> Val {
        match self.memo[e.ix()] {
            Some(v) => v,
            None => self.expr(e.ix()),
        }
    }

    /// Emits an expression here. Its operands are emitted first if they are not known.
    fn expr(&mut self, i: usize) -> Val {
        if let Some(v) = self.memo[i] {
            return v;
        }
        let body = self.body;
        let e = &body.exprs[i];
        let v = match &e.op {
            ExprOp::Const(lit) => Val::One(self.lit(*lit)),
            ExprOp::AxisValue(a) => self.axis_value(a.ix()),
            ExprOp::Acc(r) => match self.accs[r.ix()] {
                Some(v) => Val::One(v),
                None => Val::One(self.lit(Lit::zero(e.dtype))),
            },
            // Contractions are rewritten to read their products from memory.
            ExprOp::Product => Val::One(self.lit(Lit::zero(e.dtype))),
            ExprOp::Load(load) => self.load(load, self.sites.exprs[i]),
            ExprOp::Prim(p, args) if self.is_position_test(*p, args) => self.position_test(*p, args),
            ExprOp::Prim(Prim::Add, args) if on(Mutation::FuseMultiplyAdd) && self.is_product(args[0]) => {
                let ExprOp::Prim(_, factors) = &body.expr(args[0]).op else { unreachable!("asked before") };
                let values: Vec<Val> = factors.iter().chain(&args[1..]).map(|&a| self.value(a)).collect();
                self.prim(Prim::Fma, e.dtype, e.dtype, &values)
            }
            ExprOp::Prim(p, args) => {
                let values: Vec<Val> = args.iter().map(|&a| self.value(a)).collect();
                let typed = if *p == Prim::Select { args[1] } else { args[0] };
                self.prim(*p, body.expr(typed).dtype, e.dtype, &values)
            }
            ExprOp::Fn(f, args) => {
                let values: Vec<Val> = args.iter().map(|&a| self.value(a)).collect();
                self.function_call(*f, e.dtype, &values)
            }
        };
        self.memo[i] = Some(v);
        self.trail.push(i);
        v
    }

    /// Whether this is a product of two f32.
    fn is_product(&self, e: ExprId) -> bool {
        let e = self.body.expr(e);
        e.dtype == mlc_ir::DType::F32 && matches!(e.op, ExprOp::Prim(Prim::Mul, _))
    }

    /// Whether this compares the position on the vector axis with something that is the same in all lanes: how
    /// one-hot rows are made, and labels picked.
    fn is_position_test(&mut self, p: Prim, args: &[ExprId]) -> bool {
        let on_axis = |e: &Self, x: ExprId| match e.body.expr(x).op {
            ExprOp::AxisValue(a) => e.vec_axis == Some(a.ix()),
            _ => false,
        };
        matches!(p, Prim::Eq | Prim::Ne)
            && on_axis(self, args[0]) != on_axis(self, args[1])
            && args.iter().all(|&x| on_axis(self, x) || matches!(self.value(x), Val::One(_)))
    }

    /// Which of the four positions it is, if any: two 32-bit vectors are compared instead of four times i64.
    fn position_test(&mut self, p: Prim, args: &[ExprId]) -> Val {
        let (mut at, mut other) = (None, None);
        for &x in args {
            match self.body.expr(x).op {
                ExprOp::AxisValue(a) if self.vec_axis == Some(a.ix()) => at = Some(self.axis(a.ix())),
                _ => other = Some(self.value(x)),
            }
        }
        let (Some(at), Some(Val::One(other))) = (at, other) else {
            return Val::One(self.lit(Lit::bool(false)));
        };
        let ahead = self.b.ins().isub(other, at);
        let lane = self.b.ins().iadd_imm_s(ahead, -self.lane_shift);
        let none = self.imm(-1);
        let here = self.b.ins().icmp_imm_s(IntCC::UnsignedLessThan, lane, LANES as i64);
        let lane = if on(Mutation::NarrowLabel) { lane } else { self.b.ins().select(here, lane, none) };
        let lane = self.b.ins().ireduce(types::I32, lane);
        let lane = self.b.ins().splat(types::I32X4, lane);
        let numbers: Vec<u8> = (0..LANES as u32).flat_map(u32::to_le_bytes).collect();
        let numbers = self.b.func.dfg.constants.insert(numbers.into());
        let numbers = self.b.ins().vconst(types::I32X4, numbers);
        let cc = if p == Prim::Eq { IntCC::Equal } else { IntCC::NotEqual };
        Val::Vec(self.b.ins().icmp(cc, lane, numbers))
    }

    fn axis_value(&mut self, a: usize) -> Val {
        let at = self.axis(a);
        if self.vec_axis != Some(a) {
            return Val::One(at);
        }
        Val::Lanes(std::array::from_fn(|k| self.b.ins().iadd_imm_s(at, self.lane_shift + k as i64)))
    }

    /// Where an axis stands: an i64.
    pub fn axis(&mut self, a: usize) -> Value {
        match self.axes[a] {
            Some(v) => v,
            None => self.imm(0),
        }
    }

    pub fn extents(&self) -> Vec<u64> {
        self.body.axes().map(|a| a.extent).collect()
    }

    /// Emits what belongs into the loop of `level`, of the needed expressions, once `done` reductions are over.
    pub fn emit_level(&mut self, level: usize, needed: &[bool], done: usize) {
        for (i, _) in needed.iter().enumerate().filter(|(_, n)| **n) {
            if self.level[i] == level && self.stage[i] as usize <= done && self.memo[i].is_none() {
                self.expr(i);
            }
        }
    }

    /// Everything that the roots depend on.
    pub fn closure(&self, roots: impl IntoIterator<Item = ExprId>) -> Vec<bool> {
        self.closure_up_to(roots, &[])
    }

    /// As [`Emit::closure`], not going on beyond the expressions in `known`.
    fn closure_up_to(&self, roots: impl IntoIterator<Item = ExprId>, known: &[usize]) -> Vec<bool> {
        let mut seen = vec![false; self.body.exprs.len()];
        let mut todo: Vec<ExprId> = roots.into_iter().collect();
        while let Some(e) = todo.pop() {
            if !std::mem::replace(&mut seen[e.ix()], true) && !known.contains(&e.ix()) {
                todo.extend(self.body.expr(e).operands());
            }
        }
        seen
    }

    /// What stores and tails need.
    fn final_roots(&self) -> Vec<ExprId> {
        let body = self.body;
        let stores = body.stores.iter().flat_map(|s| {
            let data = index_data(&s.index);
            data.into_iter().chain(s.guard).chain([s.value])
        });
        let tails =
            body.tails.iter().flat_map(|t: &Tail| index_data(t.index()).into_iter().chain([t.value()]));
        stores.chain(tails).collect()
    }

    /// Values that `scope` makes known are forgotten after it: its code may not have run.
    pub fn scoped<T>(&mut self, scope: impl FnOnce(&mut Self) -> T) -> T {
        let mark = self.trail.len();
        let out = scope(self);
        for i in self.trail.drain(mark..) {
            self.memo[i] = None;
        }
        out
    }

    /// `for i in lo..hi step step { body(i) }`, at least once: the caller knows that `lo < hi`.
    pub fn repeat(&mut self, lo: Value, hi: Value, step: i64, body: impl FnOnce(&mut Self, Value)) {
        let (head, exit) = (self.b.create_block(), self.b.create_block());
        let i = self.b.append_block_param(head, types::I64);
        self.b.ins().jump(head, &[lo.into()]);
        self.b.switch_to_block(head);
        self.scoped(|e| body(e, i));
        let next = self.b.ins().iadd_imm_s(i, step);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, next, hi);
        self.b.ins().brif(more, head, &[next.into()], exit, &[]);
        self.b.seal_block(head);
        self.b.switch_to_block(exit);
        self.b.seal_block(exit);
    }

    /// As [`Emit::repeat`] with constant bounds; nothing for none, no loop for one.
    pub fn repeat_const(&mut self, lo: u64, hi: u64, step: u64, body: impl FnOnce(&mut Self, Value)) {
        if lo >= hi {
            return;
        }
        let from = self.imm(lo as i64);
        if lo + step >= hi {
            return self.scoped(|e| body(e, from));
        }
        let to = self.imm(hi as i64);
        self.repeat(from, to, step as i64, body);
    }

    /// Calls a symbol; parameters have the types of the values.
    pub fn call(&mut self, symbol: Symbol, args: &[Value], result: Option<Type>) -> Option<Value> {
        let mut signature = Signature::new(self.b.func.signature.call_conv);
        let types = args.iter().map(|&a| AbiParam::new(self.b.func.dfg.value_type(a)));
        signature.params = types.collect();
        signature.returns.extend(result.map(AbiParam::new));
        let signature = self.b.import_signature(signature);
        let name = UserExternalName { namespace: 0, index: symbol.number() };
        let name = ExternalName::user(self.b.func.declare_imported_user_function(name));
        let callee = ExtFuncData { name, signature, colocated: false, patchable: false };
        let callee = self.b.import_function(callee);
        let call = self.b.ins().call(callee, args);
        self.b.inst_results(call).first().copied()
    }

    /// Working memory on the stack, 16-byte aligned; what holds whole vectors at a line's start, as one that lies in two
    /// lines takes twice as long.
    pub fn slot(&mut self, bytes: u32) -> Value {
        let lines = bytes >= LINE;
        let data = StackSlotData::new(StackSlotKind::ExplicitSlot, bytes + if lines { LINE } else { 0 }, 4);
        let slot = self.b.create_sized_stack_slot(data);
        let at = self.b.ins().stack_addr(types::I64, slot, 0);
        if !lines {
            return at;
        }
        let past = self.b.ins().iadd_imm_s(at, i64::from(LINE) - 1);
        self.b.ins().band_imm_s(past, -i64::from(LINE))
    }

    /// Working memory of the call, 64-byte aligned; a function asks once.
    pub fn shared_memory(&mut self, bytes: u64) -> Value {
        self.need.shared = bytes;
        self.shared
    }

    /// Working memory of the thread, 64-byte aligned; a function asks once.
    pub fn own_memory(&mut self, bytes: u64) -> Value {
        self.need.own = bytes;
        self.own
    }
}
