//! Passes over contiguous elements as programs for the machine's longest vectors ([`crate::vector`]).
//!
//! Whether a pass can be one is found before anything is emitted: all that it computes must be arithmetic of 32 bits on
//! elements that lie one after another, and on values that are the same for all of them. What cannot, Cranelift does four
//! elements at a time.

use cranelift::codegen::ir::condcodes::IntCC;
use cranelift::codegen::ir::{
    AbiParam, ExtFuncData, ExternalName, InstBuilder, MemFlagsData, Signature, UserExternalName, Value, types,
};
use cranelift::codegen::isa::CallConv;
use mlc_ir::DType;
use mlc_ir::loops::{ArgId, ExprId, ExprOp, Index, Lit, Mode, Prim, RedOp};
use mlc_ir::mutate::{Mutation, on};
use rustc_hash::FxHashMap;

use super::Emit;
use super::calls::is_small;
use super::tiles::Part;
use crate::features::Level;
use crate::vector::{Code, Compare, Element, Id, Program, Shift, Step, Store};

/// Namespace of the names of a function's own passes.
pub const PASSES: u32 = 1;

/// Bytes of a result from which on it is written past the caches.
pub const STREAM: u64 = if cfg!(test) { 128 << 10 } else { 8 << 20 };

/// A program and its code.
pub type Pass = (Program, Vec<u8>);

/// What becomes of a value that a pass computes.
#[derive(Clone, Copy)]
pub enum To<'n> {
    /// It goes to memory.
    Place(Value),
    Arg(ArgId, &'n Index),
    /// It is combined with what is there.
    Into(RedOp, Value),
}

/// Where an array of a program begins.
#[derive(Clone, Copy, PartialEq)]
enum Array<'n> {
    Place(Value),
    Arg(ArgId, &'n Index),
}

/// What the table holds for all elements.
#[derive(Clone, Copy, PartialEq)]
enum Same {
    Value(ExprId),
    /// How far a position is ahead of the first element; -1 for what is behind, or too far.
    Ahead(ExprId),
}

/// A program under construction, and what its table holds.
struct Build<'e, 'n, 'a, 'b> {
    e: &'e Emit<'a, 'b>,
    axis: usize,
    known: &'e [(usize, Value)],
    program: Program,
    arrays: Vec<Array<'n>>,
    values: Vec<Same>,
    memo: FxHashMap<usize, Id>,
}

impl<'a> Emit<'a, '_> {
    /// Emits a pass over `count` elements from the part's start on. False, and nothing is emitted, if that is not a
    /// program.
    pub fn vector_pass<'n>(&mut self, part: &Part, outs: &[(ExprId, To<'n>)], count: Value) -> bool
    where
        'a: 'n,
    {
        if self.cpu.level == Level::Portable || outs.is_empty() {
            return false;
        }
        let mut build = Build {
            e: self,
            axis: part.axis,
            known: &part.known,
            program: Program::default(),
            arrays: Vec::new(),
            values: Vec::new(),
            memo: FxHashMap::default(),
        };
        if build.all(outs).is_none() {
            return false;
        }
        let Build { mut program, arrays, values, .. } = build;
        program.values = values.len();
        let Some(pass) = self.pass(program) else { return false };
        let table = self.slot(8 * (arrays.len() + values.len()) as u32);
        for (i, array) in arrays.into_iter().enumerate() {
            let at = match array {
                Array::Place(at) => at,
                Array::Arg(arg, index) => self.address_at(part, arg, index),
            };
            self.put_in_table(table, i, at);
        }
        for (i, same) in values.into_iter().enumerate() {
            let v = match same {
                Same::Value(e) => {
                    let v = self.value(e);
                    let dtype = self.body.expr(e).dtype;
                    let v = self.lane(v, dtype, 0);
                    if dtype == DType::Bool { self.b.ins().uextend(types::I32, v) } else { v }
                }
                Same::Ahead(e) => self.ahead(part, e),
            };
            self.put_in_table(table, self.passes[pass].0.arrays.len() + i, v);
        }
        self.call_pass(pass, table, count);
        true
    }

    fn ahead(&mut self, part: &Part, position: ExprId) -> Value {
        let v = self.value(position);
        let v = self.lane(v, DType::I64, 0);
        let ahead = self.b.ins().isub(v, part.start);
        let near = self.b.ins().icmp_imm_s(IntCC::UnsignedLessThan, ahead, i64::from(i32::MAX));
        let none = self.imm(-1);
        let ahead = if on(Mutation::NarrowLabel) { ahead } else { self.b.ins().select(near, ahead, none) };
        self.b.ins().ireduce(types::I32, ahead)
    }

    /// The number of a program's code among this function's.
    fn pass(&mut self, program: Program) -> Option<usize> {
        if let Some(i) = self.passes.iter().position(|(p, _)| *p == program) {
            return Some(i);
        }
        let code = program.code(self.cpu.level)?;
        self.passes.push((program, code));
        Some(self.passes.len() - 1)
    }

    fn put_in_table(&mut self, table: Value, at: usize, v: Value) {
        self.b.ins().store(MemFlagsData::trusted(), v, table, 8 * at as i32);
    }

    fn call_pass(&mut self, pass: usize, table: Value, count: Value) {
        let mut signature = Signature::new(CallConv::SystemV);
        signature.params = vec![AbiParam::new(types::I64); 2];
        let signature = self.b.import_signature(signature);
        let name = UserExternalName { namespace: PASSES, index: pass as u32 };
        let name = ExternalName::user(self.b.func.declare_imported_user_function(name));
        let callee = ExtFuncData { name, signature, colocated: true, patchable: false };
        let callee = self.b.import_function(callee);
        self.b.ins().call(callee, &[table, count]);
    }
}

impl Emit<'_, '_> {
    /// Whether an argument is written past the caches, where whole vectors are.
    pub fn streams(&self, arg: ArgId) -> bool {
        let a = &self.args[arg.ix()];
        a.mode == Mode::Write && a.len * a.dtype.size() as u64 >= STREAM && self.cpu.level > Level::Portable
    }
}

impl<'n, 'a: 'n> Build<'_, 'n, 'a, '_> {
    fn all(&mut self, outs: &[(ExprId, To<'n>)]) -> Option<()> {
        for &(e, to) in outs {
            let dtype = self.e.body.expr(e).dtype;
            (is_word(dtype) || is_small(dtype)).then_some(())?;
            let mut value = self.expr(e)?;
            let array = match to {
                To::Place(at) => self.array(Array::Place(at), Element::Word),
                To::Arg(arg, index) => {
                    let fits = is_word(dtype) && self.e.args[arg.ix()].dtype == dtype;
                    fits.then(|| self.array(Array::Arg(arg, index), Element::Word))?
                }
                To::Into(op, at) => {
                    let array = self.array(Array::Place(at), Element::Word);
                    let there = self.program.step(Step::Load(array));
                    let code = match op {
                        RedOp::Sum => Code::Add,
                        RedOp::Prod => Code::Mul,
                        RedOp::Max => Code::Max,
                        RedOp::Min => Code::Min,
                        _ => return None,
                    };
                    value = self.program.op(code, &[there, value]);
                    array
                }
            };
            (!self.program.is_truth(value)).then_some(())?;
            let stream = self.streams(to);
            self.program.stores.push(Store { value, array, stream });
        }
        Some(())
    }

    /// Whether a store goes past the caches: to an argument that they cannot hold anyway and that is not read. Of several,
    /// all that begin alike.
    fn streams(&self, to: To<'n>) -> bool {
        let To::Arg(arg, index) = to else { return false };
        let alike = |s: &&Store| s.stream && self.arrays[s.array] != Array::Arg(arg, index);
        let others = self.program.stores.iter().filter(alike);
        let same = |s: &Store| matches!(self.arrays[s.array], Array::Arg(_, i) if i == index);
        self.e.streams(arg) && others.into_iter().all(same)
    }

    fn array(&mut self, array: Array<'n>, element: Element) -> usize {
        self.arrays.iter().position(|a| *a == array).unwrap_or_else(|| {
            self.arrays.push(array);
            self.program.arrays.push(element);
            self.arrays.len() - 1
        })
    }

    /// The program's value of an expression.
    fn expr(&mut self, e: ExprId) -> Option<Id> {
        if let Some(&id) = self.memo.get(&e.ix()) {
            return Some(id);
        }
        let id = self.fresh(e)?;
        self.memo.insert(e.ix(), id);
        Some(id)
    }

    fn fresh(&mut self, e: ExprId) -> Option<Id> {
        let body = self.e.body;
        let expr = body.expr(e);
        if let Some(&(_, at)) = self.known.iter().find(|k| k.0 == e.ix()) {
            let word = expr.dtype.is_float() || is_word(expr.dtype);
            let array = word.then(|| self.array(Array::Place(at), Element::Word))?;
            return Some(self.program.step(Step::Load(array)));
        }
        if let ExprOp::Const(lit) = expr.op {
            return self.constant(lit);
        }
        if self.e.level[e.ix()] <= self.axis {
            return self.same(e);
        }
        match &expr.op {
            ExprOp::Load(load) => {
                self.e.is_plain_load(e, self.axis, expr.dtype).then_some(())?;
                let element = match expr.dtype {
                    DType::Bool => Element::Bool,
                    DType::U8 => Element::Byte,
                    dtype => is_word(dtype).then_some(Element::Word)?,
                };
                let array = self.array(Array::Arg(load.arg, &load.index), element);
                Some(self.program.step(Step::Load(array)))
            }
            ExprOp::Prim(prim, args) => self.prim(*prim, expr.dtype, args),
            _ => None,
        }
    }

    fn constant(&mut self, lit: Lit) -> Option<Id> {
        match lit.dtype {
            DType::F32 | DType::I32 | DType::U32 => Some(self.program.constant(lit.bits as u32)),
            DType::F16 | DType::BF16 => Some(self.program.constant((lit.as_f64() as f32).to_bits())),
            _ => None,
        }
    }

    /// A value that is the same for all elements.
    fn same(&mut self, e: ExprId) -> Option<Id> {
        let dtype = self.e.body.expr(e).dtype;
        let truth = dtype == DType::Bool;
        (is_word(dtype) || is_small(dtype) || truth).then_some(())?;
        let value = self.in_table(Same::Value(e));
        if !truth {
            return Some(value);
        }
        let zero = self.program.constant(0);
        Some(self.program.op(Code::GreaterInt, &[value, zero]))
    }

    fn in_table(&mut self, same: Same) -> Id {
        let number = self.values.iter().position(|&v| v == same).unwrap_or_else(|| {
            self.values.push(same);
            self.values.len() - 1
        });
        self.program.step(Step::Value(number))
    }

    /// Whether the position on the innermost axis is, or is not, one that is the same for all elements: how one-hot rows
    /// are made, and labels picked.
    fn position_test(&mut self, prim: Prim, args: &[ExprId]) -> Option<Id> {
        let body = self.e.body;
        let is_axis = |x: ExprId| matches!(body.expr(x).op, ExprOp::AxisValue(a) if a.ix() == self.axis);
        let (at, other) = if is_axis(args[0]) { (args[0], args[1]) } else { (args[1], args[0]) };
        let few = self.e.extents()[self.axis] < i32::MAX as u64;
        (few && is_axis(at) && self.e.level[other.ix()] <= self.axis).then_some(())?;
        let value = self.in_table(Same::Ahead(other));
        let position = self.program.step(Step::Position);
        let equal = self.program.op(Code::EqualInt, &[position, value]);
        Some(if prim == Prim::Eq { equal } else { self.program.op(Code::Not, &[equal]) })
    }

    fn prim(&mut self, prim: Prim, to: DType, args: &[ExprId]) -> Option<Id> {
        let body = self.e.body;
        let dtype = |i: usize| body.expr(args[i]).dtype;
        let from = if prim == Prim::Select { dtype(1) } else { dtype(0) };
        if prim == Prim::Add
            && from == DType::F32
            && on(Mutation::FuseMultiplyAdd)
            && self.e.is_product(args[0])
        {
            let ExprOp::Prim(_, factors) = &body.expr(args[0]).op else { unreachable!("asked before") };
            let [a, b, c] = [self.expr(factors[0])?, self.expr(factors[1])?, self.expr(args[1])?];
            return Some(self.program.op(Code::Fma, &[a, b, c]));
        }
        if let (Prim::Shl | Prim::Shr, 2) = (prim, args.len()) {
            return self.shift(prim, from, args);
        }
        if let (Prim::Eq | Prim::Ne, DType::I64) = (prim, from) {
            return self.position_test(prim, args);
        }
        let ids = args.iter().map(|&a| self.expr(a)).collect::<Option<Vec<Id>>>()?;
        match (prim, from) {
            (Prim::Cast, _) => self.cast(from, to, ids[0]),
            (Prim::Bitcast, _) => (is_word(from) && is_word(to)).then_some(ids[0]),
            (Prim::Select, _) if is_word(from) || is_small(from) => Some(self.program.op(Code::Pick, &ids)),
            (_, DType::F32) => self.float(prim, &ids),
            (_, DType::I32 | DType::U32) => self.int(prim, from, &ids),
            (_, DType::Bool) => self.truth(prim, &ids),
            _ => None,
        }
    }

    fn float(&mut self, prim: Prim, ids: &[Id]) -> Option<Id> {
        let code = match prim {
            Prim::Add => Code::Add,
            Prim::Sub => Code::Sub,
            Prim::Mul => Code::Mul,
            Prim::Div => Code::Div,
            Prim::Fma => Code::Fma,
            Prim::Sqrt => Code::Sqrt,
            Prim::Floor => Code::Floor,
            Prim::Rint => Code::Rint,
            Prim::Max if on(Mutation::SwapMax) => return Some(self.program.op(Code::Max, &[ids[1], ids[0]])),
            Prim::Max => Code::Max,
            Prim::Min => Code::Min,
            Prim::Eq => Code::Compare(Compare::Equal),
            Prim::Ne => Code::Compare(Compare::NotEqual),
            Prim::Lt => Code::Compare(Compare::Less),
            Prim::Le if on(Mutation::LessForLessEqual) => Code::Compare(Compare::Less),
            Prim::Le => Code::Compare(Compare::LessEqual),
            Prim::Neg => return Some(self.with_bits(Code::Xor, ids[0], 1 << 31)),
            Prim::Abs => return Some(self.with_bits(Code::And, ids[0], !(1 << 31))),
            _ => return None,
        };
        Some(self.program.op(code, ids))
    }

    fn with_bits(&mut self, code: Code, x: Id, bits: u32) -> Id {
        let bits = self.program.constant(bits);
        self.program.op(code, &[x, bits])
    }

    fn int(&mut self, prim: Prim, dtype: DType, ids: &[Id]) -> Option<Id> {
        let signed = dtype == DType::I32;
        let code = match prim {
            Prim::Add => Code::AddInt,
            Prim::Sub => Code::SubInt,
            Prim::Mul => Code::MulInt,
            Prim::And => Code::And,
            Prim::Or => Code::Or,
            Prim::Xor => Code::Xor,
            Prim::Not => return Some(self.with_bits(Code::Xor, ids[0], u32::MAX)),
            Prim::Eq => Code::EqualInt,
            Prim::Ne => {
                let equal = self.program.op(Code::EqualInt, ids);
                return Some(self.program.op(Code::Not, &[equal]));
            }
            Prim::Lt if signed => return Some(self.program.op(Code::GreaterInt, &[ids[1], ids[0]])),
            Prim::Le if signed => {
                let greater = self.program.op(Code::GreaterInt, ids);
                return Some(self.program.op(Code::Not, &[greater]));
            }
            Prim::Lt => Code::CompareUint(Compare::Less),
            Prim::Le => Code::CompareUint(Compare::LessEqual),
            _ => return None,
        };
        Some(self.program.op(code, ids))
    }

    fn truth(&mut self, prim: Prim, ids: &[Id]) -> Option<Id> {
        let code = match prim {
            Prim::And => Code::Both,
            Prim::Or => Code::Either,
            Prim::Xor | Prim::Ne => Code::Differ,
            Prim::Not => Code::Not,
            Prim::Eq => {
                let differ = self.program.op(Code::Differ, ids);
                return Some(self.program.op(Code::Not, &[differ]));
            }
            _ => return None,
        };
        Some(self.program.op(code, ids))
    }

    fn cast(&mut self, from: DType, to: DType, x: Id) -> Option<Id> {
        match (from, to) {
            _ if from == to => Some(x),
            (DType::F16 | DType::BF16, DType::F32) => Some(x),
            (DType::I32 | DType::U32, DType::I32 | DType::U32) => Some(x),
            (DType::U8, DType::I32 | DType::U32) => Some(x),
            (DType::I32 | DType::U8, DType::F32) => Some(self.program.op(Code::OfInt, &[x])),
            (DType::U32, DType::F32) => Some(self.program.op(Code::OfUint, &[x])),
            (DType::Bool, _) if is_word(to) => {
                let one = if to == DType::F32 { 1f32.to_bits() } else { 1 };
                let [one, zero] = [one, 0].map(|bits| self.program.constant(bits));
                Some(self.program.op(Code::Pick, &[x, one, zero]))
            }
            (DType::F32, DType::Bool) => {
                let zero = self.program.constant(0);
                Some(self.program.op(Code::Compare(Compare::NotEqual), &[x, zero]))
            }
            _ => None,
        }
    }

    /// By a constant; the count goes round at 32.
    fn shift(&mut self, prim: Prim, dtype: DType, args: &[ExprId]) -> Option<Id> {
        let ExprOp::Const(by) = self.e.body.expr(args[1]).op else { return None };
        let shift = match (prim, dtype) {
            (Prim::Shl, DType::I32 | DType::U32) => Shift::Left,
            (Prim::Shr, DType::I32) => Shift::RightSigned,
            (Prim::Shr, DType::U32) => Shift::Right,
            _ => return None,
        };
        let x = self.expr(args[0])?;
        Some(self.program.op(Code::Shift(shift, by.bits as u8 & 31), &[x]))
    }
}

fn is_word(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::I32 | DType::U32)
}
