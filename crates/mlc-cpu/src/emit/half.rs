//! f16 and bf16: rounding of an f32 to them, and their bits. On scalars and vectors alike: the code only uses
//! operations that both have.

use cranelift::codegen::ir::condcodes::FloatCC;
use cranelift::codegen::ir::{InstBuilder, MemFlagsData, Type, Value, types};
use mlc_ir::DType;

use super::Emit;

impl Emit<'_, '_> {
    /// The nearest f16 or bf16, ties to even, overflow to inf, as an f32.
    pub fn round_small(&mut self, dtype: DType, x: Value) -> Value {
        match dtype {
            DType::BF16 => self.round_bf16(x),
            DType::F16 => self.round_f16(x),
            _ => x,
        }
    }

    /// Adds half a unit of the kept part (less one if even), then cuts. A carry goes rightly into the exponent.
    fn cut(&mut self, bits: Value, drop: i64) -> Value {
        let ity = self.b.func.dfg.value_type(bits);
        let odd = self.shift_right(bits, drop);
        let one = self.splat_int(ity, 1);
        let odd = self.b.ins().band(odd, one);
        let half = self.splat_int(ity, (1 << (drop - 1)) - 1);
        let sum = self.b.ins().iadd(bits, half);
        let sum = self.b.ins().iadd(sum, odd);
        let keep = self.splat_int(ity, !((1i64 << drop) - 1));
        self.b.ins().band(sum, keep)
    }

    fn round_bf16(&mut self, x: Value) -> Value {
        let bits = self.float_bits(x);
        let cut = self.cut(bits, 16);
        let cut = self.bits_float(cut);
        self.keep_nan(x, cut)
    }

    fn round_f16(&mut self, x: Value) -> Value {
        let fty = self.b.func.dfg.value_type(x);
        let bits = self.float_bits(x);
        let ity = self.b.func.dfg.value_type(bits);
        let sign_mask = self.splat_int(ity, 1 << 31);
        let sign = self.b.ins().band(bits, sign_mask);
        let ax = self.b.ins().fabs(x);
        let abits = self.float_bits(ax);
        let normal = self.cut(abits, 13);
        let normal = self.bits_float(normal);
        // 65520 and above round to 65536 or more: inf.
        let limit = self.splat_float(fty, 65536.0);
        let inf = self.splat_float(fty, f32::INFINITY);
        let over = self.b.ins().fcmp(FloatCC::GreaterThanOrEqual, normal, limit);
        let normal = self.choose(over, inf, normal);
        // Below 2^-14 the unit is 2^-24, that of numbers at 1/2.
        let half = self.splat_float(fty, 0.5);
        let sub = self.b.ins().fadd(ax, half);
        let sub = self.b.ins().fsub(sub, half);
        let least = self.splat_float(fty, 2f32.powi(-14));
        let tiny = self.b.ins().fcmp(FloatCC::LessThan, ax, least);
        let r = self.choose(tiny, sub, normal);
        let rbits = self.float_bits(r);
        let rbits = self.b.ins().bor(rbits, sign);
        let r = self.bits_float(rbits);
        self.keep_nan(x, r)
    }

    fn keep_nan(&mut self, x: Value, rounded: Value) -> Value {
        let nan = self.b.ins().fcmp(FloatCC::Unordered, x, x);
        self.choose(nan, x, rounded)
    }

    /// The f32 (scalar or vector) of f16 or bf16 bits that stand zero-extended in i32.
    pub fn small_from_bits(&mut self, dtype: DType, bits: Value) -> Value {
        if dtype == DType::BF16 {
            let up = self.shift_left(bits, 16);
            return self.bits_float(up);
        }
        let ity = self.b.func.dfg.value_type(bits);
        let sign = self.splat_int(ity, 0x8000);
        let sign = self.b.ins().band(bits, sign);
        let sign = self.shift_left(sign, 16);
        let rest = self.splat_int(ity, 0x7fff);
        let rest = self.b.ins().band(bits, rest);
        let up = self.shift_left(rest, 13);
        // Exponent and fraction now stand as an f32's whose bias is 112 too small; scaling is exact.
        let f = self.bits_float(up);
        let fty = self.b.func.dfg.value_type(f);
        let scale = self.splat_float(fty, 2f32.powi(112));
        let f = self.b.ins().fmul(f, scale);
        let top = self.splat_float(fty, 65536.0);
        let special = self.b.ins().fcmp(FloatCC::GreaterThanOrEqual, f, top);
        let fbits = self.float_bits(f);
        let exponent = self.splat_int(ity, 0x7f80_0000);
        let infinite = self.b.ins().bor(fbits, exponent);
        let (infinite, finite) = (self.bits_float(infinite), self.bits_float(fbits));
        let f = self.choose(special, infinite, finite);
        let fbits = self.float_bits(f);
        let fbits = self.b.ins().bor(fbits, sign);
        self.bits_float(fbits)
    }

    /// The f16 or bf16 bits, zero-extended in i32, of an f32 that is one of their values.
    pub fn small_to_bits(&mut self, dtype: DType, x: Value) -> Value {
        let bits = self.float_bits(x);
        let high = self.shift_right(bits, 16);
        let ity = self.b.func.dfg.value_type(bits);
        if dtype == DType::BF16 {
            // Quiet a NaN whose payload lies in the dropped half.
            let fty = self.b.func.dfg.value_type(x);
            let quiet = self.splat_int(ity, 0x7fc0);
            let nan = self.b.ins().fcmp(FloatCC::Unordered, x, x);
            let (q, h) = (self.as_float_lanes(fty, quiet), self.as_float_lanes(fty, high));
            let out = self.choose(nan, q, h);
            return self.float_bits(out);
        }
        let sign = self.splat_int(ity, 0x8000);
        let sign = self.b.ins().band(high, sign);
        let ax = self.b.ins().fabs(x);
        let fty = self.b.func.dfg.value_type(x);
        let scale = self.splat_float(fty, 2f32.powi(-112));
        let down = self.b.ins().fmul(ax, scale);
        let down = self.float_bits(down);
        let finite = self.shift_right(down, 13);
        let top = self.splat_float(fty, 65536.0);
        let inf = self.splat_int(ity, 0x7c00);
        let is_inf = self.b.ins().fcmp(FloatCC::GreaterThanOrEqual, ax, top);
        let nan = self.b.ins().fcmp(FloatCC::Unordered, x, x);
        let quiet = self.splat_int(ity, 0x7e00);
        let [finite, inf, quiet] = [finite, inf, quiet].map(|v| self.as_float_lanes(fty, v));
        let r = self.choose(is_inf, inf, finite);
        let r = self.choose(nan, quiet, r);
        let r = self.float_bits(r);
        self.b.ins().bor(r, sign)
    }

    // ---- the same operation on scalars and vectors ----

    fn float_bits(&mut self, x: Value) -> Value {
        let to = if self.b.func.dfg.value_type(x).is_vector() { types::I32X4 } else { types::I32 };
        self.reinterpret(to, x)
    }

    fn bits_float(&mut self, x: Value) -> Value {
        let to = if self.b.func.dfg.value_type(x).is_vector() { types::F32X4 } else { types::F32 };
        self.reinterpret(to, x)
    }

    fn as_float_lanes(&mut self, fty: Type, x: Value) -> Value {
        self.reinterpret(fty, x)
    }

    fn reinterpret(&mut self, to: Type, x: Value) -> Value {
        if to.is_vector() {
            return self.as_lanes(to, x);
        }
        if self.b.func.dfg.value_type(x) == to { x } else { self.b.ins().bitcast(to, MemFlagsData::new(), x) }
    }

    fn choose(&mut self, c: Value, a: Value, b: Value) -> Value {
        let ty = self.b.func.dfg.value_type(a);
        if ty.is_vector() {
            let c = self.as_lanes(ty, c);
            self.b.ins().bitselect(c, a, b)
        } else {
            self.b.ins().select(c, a, b)
        }
    }

    fn splat_int(&mut self, ty: Type, x: i64) -> Value {
        let c = self.b.ins().iconst(types::I32, x & 0xffff_ffff);
        if ty.is_vector() { self.b.ins().splat(ty, c) } else { c }
    }

    fn splat_float(&mut self, ty: Type, x: f32) -> Value {
        let c = self.b.ins().f32const(x);
        if ty.is_vector() { self.b.ins().splat(ty, c) } else { c }
    }

    fn shift_left(&mut self, x: Value, by: i64) -> Value {
        let n = self.b.ins().iconst(types::I32, by);
        self.b.ins().ishl(x, n)
    }

    fn shift_right(&mut self, x: Value, by: i64) -> Value {
        let n = self.b.ins().iconst(types::I32, by);
        self.b.ins().ushr(x, n)
    }
}
