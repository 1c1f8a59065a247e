//! Values during emission: one scalar for all lanes, a 128-bit vector of four lanes, or four scalars.
//!
//! Registers: f16 and bf16 are carried as the f32 of the same value; i8, u8 and bool (0 or 1) as `I8`, i16 as
//! `I16`. A vector has four 32-bit lanes, whatever the dtype: f32 for all three small floats, i32 and u32 as
//! `I32X4`, bool as a mask (0 or -1). 64-bit dtypes have no vectors here: they are four scalars.

use cranelift::codegen::ir::{InstBuilder, MemFlagsData, Type, Value, types};
use mlc_ir::DType;
use mlc_ir::loops::Lit;

use super::Emit;

/// Lanes of a vector.
pub const LANES: usize = 4;

#[derive(Debug, Clone, Copy)]
pub enum Val {
    /// The same in all lanes.
    One(Value),
    Vec(Value),
    /// Integers of 8 or 16 bits, each extended to 32 by its own sign rule.
    Wide(Value),
    Lanes([Value; LANES]),
}

/// The register type of a scalar.
pub fn reg(dtype: DType) -> Type {
    match dtype {
        DType::F64 => types::F64,
        DType::F32 | DType::F16 | DType::BF16 => types::F32,
        DType::I64 | DType::U64 => types::I64,
        DType::I32 | DType::U32 => types::I32,
        DType::I16 => types::I16,
        DType::I8 | DType::U8 | DType::Bool => types::I8,
    }
}

/// Whether four lanes of the dtype can be one vector that arithmetic works on.
pub fn has_vec(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F16 | DType::BF16 | DType::I32 | DType::U32 | DType::Bool)
}

pub fn is_wide(dtype: DType) -> bool {
    matches!(dtype, DType::I8 | DType::U8 | DType::I16)
}

pub fn vec_type(dtype: DType) -> Type {
    if dtype.is_float() { types::F32X4 } else { types::I32X4 }
}

impl Emit<'_, '_> {
    /// A constant, the same in all lanes.
    pub fn lit(&mut self, lit: Lit) -> Value {
        match lit.dtype {
            DType::F64 => self.b.ins().f64const(f64::from_bits(lit.bits)),
            DType::F32 => self.b.ins().f32const(f32::from_bits(lit.bits as u32)),
            DType::F16 | DType::BF16 => self.b.ins().f32const(lit.as_f64() as f32),
            d => {
                let v = if d == DType::U64 { lit.bits as i64 } else { lit.as_i64().unwrap_or(0) };
                let ty = reg(d);
                let bits = ty.bits();
                // Immediates are the sign-free bits of the type.
                let v = if bits == 64 { v } else { v & ((1i64 << bits) - 1) };
                self.b.ins().iconst(ty, v)
            }
        }
    }

    pub fn imm(&mut self, x: i64) -> Value {
        self.b.ins().iconst(types::I64, x)
    }

    /// One lane of a value.
    pub fn lane(&mut self, v: Val, dtype: DType, lane: usize) -> Value {
        match v {
            Val::One(x) => x,
            Val::Lanes(l) => l[lane],
            Val::Vec(x) => {
                let x = self.b.ins().extractlane(x, lane as u8);
                if dtype == DType::Bool { self.mask_to_bool(x) } else { x }
            }
            Val::Wide(x) => {
                let x = self.b.ins().extractlane(x, lane as u8);
                self.b.ins().ireduce(reg(dtype), x)
            }
        }
    }

    fn mask_to_bool(&mut self, x: Value) -> Value {
        let one = self.b.ins().band_imm_u(x, 1);
        self.b.ins().ireduce(types::I8, one)
    }

    pub fn lanes(&mut self, v: Val, dtype: DType) -> [Value; LANES] {
        std::array::from_fn(|i| self.lane(v, dtype, i))
    }

    /// The value as a vector; only for dtypes that have one.
    pub fn vector(&mut self, v: Val, dtype: DType) -> Value {
        let ty = vec_type(dtype);
        match v {
            Val::Vec(x) | Val::Wide(x) => x,
            Val::One(x) => {
                let x = self.vector_lane(x, dtype);
                self.b.ins().splat(ty, x)
            }
            Val::Lanes(l) => {
                let first = self.vector_lane(l[0], dtype);
                let mut out = self.b.ins().scalar_to_vector(ty, first);
                for (i, &x) in l.iter().enumerate().skip(1) {
                    let x = self.vector_lane(x, dtype);
                    out = self.b.ins().insertlane(out, x, i as u8);
                }
                out
            }
        }
    }

    /// What a scalar is as a lane of a vector.
    fn vector_lane(&mut self, x: Value, dtype: DType) -> Value {
        if dtype != DType::Bool {
            return x;
        }
        let wide = self.b.ins().uextend(types::I32, x);
        self.b.ins().ineg(wide)
    }

    /// The 8- or 16-bit value as extended 32-bit lanes.
    pub fn widened(&mut self, v: Val, dtype: DType) -> Value {
        match v {
            Val::Wide(x) | Val::Vec(x) => x,
            _ => {
                let l = self.lanes(v, dtype).map(|x| self.extend(x, dtype, types::I32));
                self.vector(Val::Lanes(l), DType::I32)
            }
        }
    }

    /// An integer or bool scalar in a wider type, by the dtype's sign rule.
    pub fn extend(&mut self, x: Value, dtype: DType, to: Type) -> Value {
        if reg(dtype) == to {
            x
        } else if dtype.is_signed_int() {
            self.b.ins().sextend(to, x)
        } else {
            self.b.ins().uextend(to, x)
        }
    }

    /// Reinterprets a vector's lanes.
    pub fn as_lanes(&mut self, to: Type, x: Value) -> Value {
        if self.b.func.dfg.value_type(x) == to {
            return x;
        }
        let flags = MemFlagsData::new().with_endianness(cranelift::codegen::ir::Endianness::Little);
        self.b.ins().bitcast(to, flags, x)
    }
}
