//! Element types.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The element type of a tensor. `U32` and `U64` exist in the IR only (random bits, bitcasts, the
/// seed): the language has no name for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DType {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U8,
    U32,
    U64,
    Bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DTypeKind {
    Float,
    Int,
    Bool,
}

impl DType {
    pub const ALL: [DType; 12] = [
        DType::F64,
        DType::F32,
        DType::F16,
        DType::BF16,
        DType::I64,
        DType::I32,
        DType::I16,
        DType::I8,
        DType::U8,
        DType::U32,
        DType::U64,
        DType::Bool,
    ];

    /// Bytes of one element in memory; bool takes one.
    pub fn size(self) -> usize {
        match self {
            DType::F64 | DType::I64 | DType::U64 => 8,
            DType::F32 | DType::I32 | DType::U32 => 4,
            DType::F16 | DType::BF16 | DType::I16 => 2,
            DType::I8 | DType::U8 | DType::Bool => 1,
        }
    }

    pub fn kind(self) -> DTypeKind {
        match self {
            DType::F64 | DType::F32 | DType::F16 | DType::BF16 => DTypeKind::Float,
            DType::Bool => DTypeKind::Bool,
            _ => DTypeKind::Int,
        }
    }

    pub fn is_float(self) -> bool {
        self.kind() == DTypeKind::Float
    }

    pub fn is_int(self) -> bool {
        self.kind() == DTypeKind::Int
    }

    pub fn is_signed_int(self) -> bool {
        matches!(self, DType::I64 | DType::I32 | DType::I16 | DType::I8)
    }

    pub fn name(self) -> &'static str {
        match self {
            DType::F64 => "f64",
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::I64 => "i64",
            DType::I32 => "i32",
            DType::I16 => "i16",
            DType::I8 => "i8",
            DType::U8 => "u8",
            DType::U32 => "u32",
            DType::U64 => "u64",
            DType::Bool => "bool",
        }
    }

    /// The least dtype that both widen to: integers to integers, floats to floats, f16 with bf16 to
    /// f32. `None` between kinds: the language asks for a cast.
    pub fn promote(self, other: DType) -> Option<DType> {
        use DType::*;
        if self == other {
            return Some(self);
        }
        match (self.kind(), other.kind()) {
            (DTypeKind::Float, DTypeKind::Float) => match (self, other) {
                (F16, BF16) | (BF16, F16) => Some(F32),
                _ => Some(if self.size() >= other.size() { self } else { other }),
            },
            (DTypeKind::Int, DTypeKind::Int) => match (self, other) {
                (U8, I8) | (I8, U8) => Some(I16),
                (U32, s) | (s, U32) if s.is_signed_int() => Some(I64),
                (U64, _) | (_, U64) => Some(U64),
                (U8, s) | (s, U8) => Some(s),
                _ => Some(if self.size() >= other.size() { self } else { other }),
            },
            _ => None,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for DType {
    type Err = ();

    fn from_str(s: &str) -> Result<DType, ()> {
        DType::ALL.into_iter().find(|d| d.name() == s).ok_or(())
    }
}
