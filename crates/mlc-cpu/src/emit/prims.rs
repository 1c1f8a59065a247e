//! The 27 primitives as CLIF, scalar and on four lanes. Exact to the table in `mlc_ir::loops::scalar`: no
//! instruction that traps is reached with operands that trap.

use cranelift::codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift::codegen::ir::{InstBuilder, Value, types};
use mlc_ir::DType;
use mlc_ir::loops::{Lit, Prim};
use mlc_ir::mutate::{Mutation, on};

use super::Emit;
use super::value::{LANES, Val, has_vec, is_wide, reg};

impl Emit<'_, '_> {
    /// `prim(args)`, with `from` the operands' dtype (of `select`: its values') and `to` the result's.
    pub fn prim(&mut self, prim: Prim, from: DType, to: DType, args: &[Val]) -> Val {
        let of = |i: usize| if prim == Prim::Select && i == 0 { DType::Bool } else { from };
        if let Some(ones) = ones(args) {
            return Val::One(self.scalar(prim, from, to, &ones));
        }
        if prim == Prim::Cast && from == to {
            return args[0];
        }
        if self.can_vector(prim, from, to, args) {
            return self.vector_prim(prim, from, to, args);
        }
        let lanes: Vec<[Value; LANES]> =
            args.iter().enumerate().map(|(i, &a)| self.lanes(a, of(i))).collect();
        Val::Lanes(std::array::from_fn(|k| {
            let args: Vec<Value> = lanes.iter().map(|l| l[k]).collect();
            self.scalar(prim, from, to, &args)
        }))
    }

    fn can_vector(&self, prim: Prim, from: DType, to: DType, args: &[Val]) -> bool {
        use Prim::*;
        let float = from.is_float();
        match prim {
            Cast => can_cast(from, to),
            _ if !has_vec(from) => false,
            Bitcast => true,
            Div => float,
            Rem => false,
            Fma => from == DType::F32,
            Shl | Shr => matches!(args[1], Val::One(_)),
            Lt | Le => from != DType::Bool,
            Select | Eq | Ne | And | Or | Xor | Not => true,
            Umulhi => true,
            Add | Sub | Mul | Neg | Abs | Max | Min | Sqrt | Floor | Rint => from != DType::Bool,
        }
    }

    fn vector_prim(&mut self, prim: Prim, from: DType, to: DType, args: &[Val]) -> Val {
        if prim == Prim::Cast {
            return self.vector_cast(from, to, args[0]);
        }
        if prim == Prim::Select {
            let c = self.vector(args[0], DType::Bool);
            let (a, b) = (self.vector(args[1], from), self.vector(args[2], from));
            return Val::Vec(self.pick(c, a, b));
        }
        if let (Prim::Shl | Prim::Shr, Val::One(count)) = (prim, args[args.len() - 1]) {
            let a = self.vector(args[0], from);
            let count = self.b.ins().band_imm_u(count, 31);
            return Val::Vec(self.shift(prim, from, a, count));
        }
        let v: Vec<Value> = args.iter().map(|&a| self.vector(a, from)).collect();
        if from.is_float() {
            return self.vector_float(prim, from, &v);
        }
        Val::Vec(match prim {
            Prim::Umulhi => self.vector_umulhi(v[0], v[1]),
            Prim::Bitcast => self.as_lanes(types::F32X4, v[0]),
            _ => self.int(prim, from, &v),
        })
    }

    fn vector_float(&mut self, prim: Prim, from: DType, v: &[Value]) -> Val {
        let out = match prim {
            Prim::Bitcast => self.as_lanes(types::I32X4, v[0]),
            _ => self.float(prim, v),
        };
        Val::Vec(self.round_after(prim, from, out))
    }

    /// Lane-wise `c ? a : b` of vectors.
    fn pick(&mut self, c: Value, a: Value, b: Value) -> Value {
        let ty = self.b.func.dfg.value_type(a);
        let c = self.as_lanes(ty, c);
        self.b.ins().bitselect(c, a, b)
    }

    /// A float primitive on scalars or vectors alike, without the rounding to f16 and bf16.
    fn float(&mut self, prim: Prim, v: &[Value]) -> Value {
        match prim {
            Prim::Add => self.b.ins().fadd(v[0], v[1]),
            Prim::Sub => self.b.ins().fsub(v[0], v[1]),
            Prim::Mul => self.b.ins().fmul(v[0], v[1]),
            Prim::Div => self.b.ins().fdiv(v[0], v[1]),
            Prim::Fma => self.b.ins().fma(v[0], v[1], v[2]),
            Prim::Neg => self.b.ins().fneg(v[0]),
            Prim::Abs => self.b.ins().fabs(v[0]),
            Prim::Max if on(Mutation::SwapMax) => self.float_select(FloatCC::GreaterThan, v[1], v[0]),
            Prim::Max => self.float_select(FloatCC::GreaterThan, v[0], v[1]),
            Prim::Min => self.float_select(FloatCC::LessThan, v[0], v[1]),
            Prim::Sqrt => self.b.ins().sqrt(v[0]),
            Prim::Floor => self.b.ins().floor(v[0]),
            Prim::Rint => self.b.ins().nearest(v[0]),
            Prim::Eq => self.b.ins().fcmp(FloatCC::Equal, v[0], v[1]),
            Prim::Ne => self.b.ins().fcmp(FloatCC::NotEqual, v[0], v[1]),
            Prim::Lt => self.b.ins().fcmp(FloatCC::LessThan, v[0], v[1]),
            Prim::Le if on(Mutation::LessForLessEqual) => self.b.ins().fcmp(FloatCC::LessThan, v[0], v[1]),
            Prim::Le => self.b.ins().fcmp(FloatCC::LessThanOrEqual, v[0], v[1]),
            // L1 keeps integer primitives from floats.
            _ => v[0],
        }
    }

    /// `(a cc b or a != a) ? a : b`, with `cc` one of less and greater than.
    fn float_select(&mut self, cc: FloatCC, a: Value, b: Value) -> Value {
        let nan = self.b.ins().fcmp(FloatCC::Unordered, a, a);
        // In vectors this is the form of the machine's own minimum and maximum.
        let (x, y) = if cc == FloatCC::LessThan { (a, b) } else { (b, a) };
        let better = self.b.ins().fcmp(FloatCC::LessThan, x, y);
        if self.b.func.dfg.value_type(a).is_vector() {
            let v = self.pick(better, a, b);
            self.pick(nan, a, v)
        } else {
            let c = self.b.ins().bor(better, nan);
            self.b.ins().select(c, a, b)
        }
    }

    /// An integer or bool primitive that scalars and vectors share.
    fn int(&mut self, prim: Prim, dtype: DType, v: &[Value]) -> Value {
        let vector = self.b.func.dfg.value_type(v[0]).is_vector();
        let signed = dtype.is_signed_int();
        let (lt, le) = if signed {
            (IntCC::SignedLessThan, IntCC::SignedLessThanOrEqual)
        } else {
            (IntCC::UnsignedLessThan, IntCC::UnsignedLessThanOrEqual)
        };
        match prim {
            Prim::Add => self.b.ins().iadd(v[0], v[1]),
            Prim::Sub => self.b.ins().isub(v[0], v[1]),
            Prim::Mul => self.b.ins().imul(v[0], v[1]),
            Prim::Neg => self.b.ins().ineg(v[0]),
            Prim::Abs if !signed => v[0],
            Prim::Abs if vector => self.b.ins().iabs(v[0]),
            Prim::Abs => {
                let n = self.b.ins().ineg(v[0]);
                let c = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, v[0], 0);
                self.b.ins().select(c, n, v[0])
            }
            Prim::Max | Prim::Min => {
                let (x, y) = if prim == Prim::Max { (v[1], v[0]) } else { (v[0], v[1]) };
                let c = self.b.ins().icmp(lt, x, y);
                if vector { self.pick(c, v[0], v[1]) } else { self.b.ins().select(c, v[0], v[1]) }
            }
            Prim::And => self.b.ins().band(v[0], v[1]),
            Prim::Or => self.b.ins().bor(v[0], v[1]),
            Prim::Xor => self.b.ins().bxor(v[0], v[1]),
            Prim::Not if dtype == DType::Bool && !vector => self.b.ins().bxor_imm_u(v[0], 1),
            Prim::Not => self.b.ins().bnot(v[0]),
            Prim::Eq => self.b.ins().icmp(IntCC::Equal, v[0], v[1]),
            Prim::Ne => self.b.ins().icmp(IntCC::NotEqual, v[0], v[1]),
            Prim::Lt => self.b.ins().icmp(lt, v[0], v[1]),
            Prim::Le => self.b.ins().icmp(le, v[0], v[1]),
            // L1 keeps the rest from integers.
            _ => v[0],
        }
    }

    fn shift(&mut self, prim: Prim, dtype: DType, a: Value, count: Value) -> Value {
        match prim {
            Prim::Shl => self.b.ins().ishl(a, count),
            _ if dtype.is_signed_int() => self.b.ins().sshr(a, count),
            _ => self.b.ins().ushr(a, count),
        }
    }

    /// Products of 32-bit lanes in two halves of 64-bit lanes, of which the upper words are taken.
    fn vector_umulhi(&mut self, a: Value, b: Value) -> Value {
        let (al, bl) = (self.b.ins().uwiden_low(a), self.b.ins().uwiden_low(b));
        let low = self.b.ins().imul(al, bl);
        let (ah, bh) = (self.b.ins().uwiden_high(a), self.b.ins().uwiden_high(b));
        let high = self.b.ins().imul(ah, bh);
        let (low, high) = (self.as_lanes(types::I32X4, low), self.as_lanes(types::I32X4, high));
        let words = [(low, 1u8), (low, 3), (high, 1), (high, 3)].map(|(v, i)| self.b.ins().extractlane(v, i));
        self.vector(Val::Lanes(words), DType::U32)
    }

    /// A primitive on scalars.
    pub fn scalar(&mut self, prim: Prim, from: DType, to: DType, v: &[Value]) -> Value {
        match prim {
            Prim::Cast => self.scalar_cast(from, to, v[0]),
            Prim::Select => self.b.ins().select(v[0], v[1], v[2]),
            Prim::Bitcast => {
                let flags = cranelift::codegen::ir::MemFlagsData::new();
                self.b.ins().bitcast(reg(to), flags, v[0])
            }
            _ if from.is_float() => {
                let out = self.float(prim, v);
                self.round_after(prim, from, out)
            }
            Prim::Div | Prim::Rem => self.divide(prim, from, v[0], v[1]),
            Prim::Shl | Prim::Shr => {
                let width = i64::from(reg(from).bits());
                let count = self.b.ins().band_imm_u(v[1], width - 1);
                self.shift(prim, from, v[0], count)
            }
            Prim::Umulhi => self.b.ins().umulhi(v[0], v[1]),
            _ => self.int(prim, from, v),
        }
    }

    /// Rounds a result that was computed in f32 to f16 or bf16, where the primitive rounds at all.
    fn round_after(&mut self, prim: Prim, dtype: DType, x: Value) -> Value {
        use Prim::*;
        match (dtype, prim) {
            (DType::F16 | DType::BF16, Add | Sub | Mul | Div | Fma | Sqrt) => self.round_small(dtype, x),
            _ => x,
        }
    }

    /// Floor division and its remainder: x/0 = x%0 = 0, MIN/-1 = MIN, MIN%-1 = 0.
    fn divide(&mut self, prim: Prim, dtype: DType, x: Value, y: Value) -> Value {
        // Narrow integers divide in 32 bits: their MIN/-1 cannot overflow there and wraps on the way back.
        let narrow = reg(dtype).bits() < 32;
        let (x, y) = if narrow {
            (self.extend(x, dtype, types::I32), self.extend(y, dtype, types::I32))
        } else {
            (x, y)
        };
        let zero_divisor = self.b.ins().icmp_imm_s(IntCC::Equal, y, 0);
        let ty = self.b.func.dfg.value_type(x);
        let (zero, one) = (self.b.ins().iconst(ty, 0), self.b.ins().iconst(ty, 1));
        let out = if dtype.is_signed_int() {
            // x / -1 = -x wraps rightly also for MIN, where the instruction would trap.
            let minus = self.b.ins().icmp_imm_s(IntCC::Equal, y, -1);
            let unsafe_divisor = self.b.ins().bor(zero_divisor, minus);
            let d = self.b.ins().select(unsafe_divisor, one, y);
            let q = self.b.ins().sdiv(x, d);
            let product = self.b.ins().imul(q, d);
            let r = self.b.ins().isub(x, product);
            let inexact = self.b.ins().icmp_imm_s(IntCC::NotEqual, r, 0);
            let signs = self.b.ins().bxor(r, d);
            let differ = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, signs, 0);
            let adjust = self.b.ins().band(inexact, differ);
            if prim == Prim::Div {
                let below = self.b.ins().isub(q, one);
                let q = self.b.ins().select(adjust, below, q);
                let negated = self.b.ins().ineg(x);
                self.b.ins().select(minus, negated, q)
            } else {
                let above = self.b.ins().iadd(r, d);
                let r = self.b.ins().select(adjust, above, r);
                self.b.ins().select(minus, zero, r)
            }
        } else {
            let d = self.b.ins().select(zero_divisor, one, y);
            if prim == Prim::Div { self.b.ins().udiv(x, d) } else { self.b.ins().urem(x, d) }
        };
        let out = self.b.ins().select(zero_divisor, zero, out);
        if narrow { self.b.ins().ireduce(reg(dtype), out) } else { out }
    }

    fn scalar_cast(&mut self, from: DType, to: DType, x: Value) -> Value {
        if from == to {
            return x;
        }
        match (from.is_float(), to.is_float()) {
            (true, true) => self.float_to_float(from, to, x),
            (true, false) => self.float_to_int(from, to, x),
            (false, true) => self.int_to_float(from, to, x),
            (false, false) => self.int_to_int(from, to, x),
        }
    }

    fn float_to_float(&mut self, from: DType, to: DType, x: Value) -> Value {
        match (from, to) {
            (DType::F64, DType::F32) => self.b.ins().fdemote(types::F32, x),
            (DType::F64, _) => {
                let odd = self.demote_odd(x);
                self.round_small(to, odd)
            }
            (_, DType::F64) => self.b.ins().fpromote(types::F64, x),
            (_, DType::F32) => x,
            _ => self.round_small(to, x),
        }
    }

    /// f64 to f32 by rounding to odd: rounding that once more, to f16 or bf16, is as rounding once.
    fn demote_odd(&mut self, x: Value) -> Value {
        let near = self.b.ins().fdemote(types::F32, x);
        let back = self.b.ins().fpromote(types::F64, near);
        let flags = cranelift::codegen::ir::MemFlagsData::new();
        let bits = self.b.ins().bitcast(types::I32, flags, near);
        let inexact = self.b.ins().fcmp(FloatCC::OrderedNotEqual, back, x);
        // Away from zero: step back towards zero, to the truncated value; then set its last bit.
        let (ax, aback) = (self.b.ins().fabs(x), self.b.ins().fabs(back));
        let beyond = self.b.ins().fcmp(FloatCC::GreaterThan, aback, ax);
        let step = self.b.ins().uextend(types::I32, beyond);
        let truncated = self.b.ins().isub(bits, step);
        let odd = self.b.ins().bor_imm_u(truncated, 1);
        let bits = self.b.ins().select(inexact, odd, bits);
        self.b.ins().bitcast(types::F32, flags, bits)
    }

    fn float_to_int(&mut self, from: DType, to: DType, x: Value) -> Value {
        let clamped = |e: &mut Self, lo: i64, hi: i64| {
            let v = e.b.ins().fcvt_to_sint_sat(types::I32, x);
            let (lo, hi) = (e.b.ins().iconst(types::I32, lo), e.b.ins().iconst(types::I32, hi));
            let under = e.b.ins().icmp(IntCC::SignedLessThan, v, lo);
            let v = e.b.ins().select(under, lo, v);
            let over = e.b.ins().icmp(IntCC::SignedGreaterThan, v, hi);
            let v = e.b.ins().select(over, hi, v);
            e.b.ins().ireduce(reg(to), v)
        };
        match to {
            DType::Bool => {
                let zero = self.lit(Lit::float(if from == DType::F64 { from } else { DType::F32 }, 0.0));
                self.b.ins().fcmp(FloatCC::NotEqual, x, zero)
            }
            DType::I64 => self.b.ins().fcvt_to_sint_sat(types::I64, x),
            DType::I32 => self.b.ins().fcvt_to_sint_sat(types::I32, x),
            DType::U64 => self.b.ins().fcvt_to_uint_sat(types::I64, x),
            DType::U32 => self.b.ins().fcvt_to_uint_sat(types::I32, x),
            DType::U8 => clamped(self, 0, 255),
            DType::I8 => clamped(self, -128, 127),
            _ => clamped(self, -32768, 32767),
        }
    }

    fn int_to_float(&mut self, from: DType, to: DType, x: Value) -> Value {
        let wide = if reg(from).bits() < 32 { self.extend(x, from, types::I32) } else { x };
        let signed = !matches!(from, DType::U32 | DType::U64);
        let convert = |e: &mut Self, ty| {
            if signed { e.b.ins().fcvt_from_sint(ty, wide) } else { e.b.ins().fcvt_from_uint(ty, wide) }
        };
        match to {
            DType::F64 => convert(self, types::F64),
            DType::F32 => convert(self, types::F32),
            // Up to 16 bits are exact in f32, up to 32 in f64.
            _ if reg(from).bits() < 32 => {
                let f = convert(self, types::F32);
                self.round_small(to, f)
            }
            _ if reg(from).bits() == 32 => {
                let f = convert(self, types::F64);
                let odd = self.demote_odd(f);
                self.round_small(to, odd)
            }
            _ => {
                let odd = self.int_odd(from, wide);
                let f = self.int_to_float(from, DType::F64, odd);
                let odd = self.demote_odd(f);
                self.round_small(to, odd)
            }
        }
    }

    /// A 64-bit integer whose lowest 12 bits are folded into bit 12: exact in f64, and rounding it to f16 or bf16
    /// gives the same.
    fn int_odd(&mut self, dtype: DType, x: Value) -> Value {
        let low = self.b.ins().band_imm_u(x, 0xfff);
        let sticky = self.b.ins().icmp_imm_s(IntCC::NotEqual, low, 0);
        let sticky = self.b.ins().uextend(types::I64, sticky);
        let sticky = self.b.ins().ishl_imm_u(sticky, 12);
        let high = self.b.ins().bor(x, sticky);
        let high = self.b.ins().band_imm_s(high, !0xfff);
        // Small numbers are exact as they are.
        let small = if dtype == DType::U64 {
            self.b.ins().icmp_imm_s(IntCC::UnsignedLessThan, x, 1 << 53)
        } else {
            let shifted = self.b.ins().iadd_imm_s(x, 1 << 52);
            self.b.ins().icmp_imm_s(IntCC::UnsignedLessThan, shifted, 1 << 53)
        };
        self.b.ins().select(small, x, high)
    }

    fn int_to_int(&mut self, from: DType, to: DType, x: Value) -> Value {
        if to == DType::Bool {
            return self.b.ins().icmp_imm_s(IntCC::NotEqual, x, 0);
        }
        let (a, b) = (reg(from), reg(to));
        if a.bits() < b.bits() {
            self.extend(x, from, b)
        } else if a.bits() > b.bits() {
            self.b.ins().ireduce(b, x)
        } else {
            x
        }
    }

    fn vector_cast(&mut self, from: DType, to: DType, v: Val) -> Val {
        let small = |d| matches!(d, DType::F16 | DType::BF16);
        // Narrow integers and bools become 32-bit lanes first.
        let (x, from) = if is_wide(from) {
            (self.widened(v, from), DType::I32)
        } else if from == DType::Bool && to.is_int() | to.is_float() {
            let mask = self.vector(v, DType::Bool);
            let one = self.b.ins().iconst(types::I32, 1);
            let one = self.b.ins().splat(types::I32X4, one);
            (self.b.ins().band(mask, one), DType::I32)
        } else {
            (self.vector(v, from), from)
        };
        let out = match (from, to) {
            _ if from == to => x,
            (DType::I32 | DType::U32, DType::I32 | DType::U32) => x,
            (_, DType::Bool) => {
                let zero = self.lit(Lit::zero(if from.is_float() { DType::F32 } else { DType::I32 }));
                let zero = self.b.ins().splat(super::value::vec_type(from), zero);
                if from.is_float() {
                    self.b.ins().fcmp(FloatCC::NotEqual, x, zero)
                } else {
                    self.b.ins().icmp(IntCC::NotEqual, x, zero)
                }
            }
            (DType::I32, _) => {
                let f = self.b.ins().fcvt_from_sint(types::F32X4, x);
                if small(to) { self.round_small(to, f) } else { f }
            }
            (DType::U32, _) => self.b.ins().fcvt_from_uint(types::F32X4, x),
            (_, DType::I32) => self.b.ins().fcvt_to_sint_sat(types::I32X4, x),
            (_, t) if small(t) => self.round_small(t, x),
            _ => x,
        };
        Val::Vec(out)
    }
}

fn can_cast(from: DType, to: DType) -> bool {
    let small_int = is_wide(from) || from == DType::Bool;
    match (from, to) {
        (_, DType::Bool) => has_vec(from) || is_wide(from),
        (_, DType::F32 | DType::F16 | DType::BF16) => {
            small_int || (from.is_float() && has_vec(from)) || (to == DType::F32 && has_vec(from))
        }
        (_, DType::I32 | DType::U32) if small_int => true,
        (DType::I32 | DType::U32, DType::I32 | DType::U32) => true,
        (DType::F32 | DType::F16 | DType::BF16, DType::I32) => true,
        _ => false,
    }
}

fn ones(args: &[Val]) -> Option<Vec<Value>> {
    args.iter().map(|a| if let Val::One(x) = a { Some(*x) } else { None }).collect()
}
