//! Elementwise functions: one op, a row for each function.
//!
//! Operands have equal shapes: broadcasting is explicit ([`super::Broadcast`]). Exact semantics are
//! the loop IR's scalar primitives and function expansions.

use mlc_diag::Diagnostic;
use smallvec::smallvec;

use super::{Attrs, InferCx, OpDef, Types};
use crate::types::{DType, DTypeKind, Type};

/// `f(operands...)` at every element.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Elementwise {
    pub f: ScalarFn,
}

/// Which dtypes a function takes and what it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signature {
    /// Floats to the same dtype.
    Float,
    /// Floats or integers to the same dtype.
    Number,
    /// Integers to the same dtype.
    Int,
    /// Integers or bools, bitwise.
    Bits,
    /// Two of any one dtype to bool.
    Compare,
    /// bool, then two of any one dtype.
    Select,
}

macro_rules! scalar_fns {
    ($($(#[$doc:meta])* $variant:ident $name:literal $arity:literal $sig:ident;)*) => {
        /// The functions of [`Elementwise`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ScalarFn {
            $($(#[$doc])* $variant,)*
        }

        impl ScalarFn {
            pub const ALL: &[ScalarFn] = &[$(ScalarFn::$variant,)*];

            pub fn name(self) -> &'static str {
                match self { $(ScalarFn::$variant => $name,)* }
            }

            pub fn arity(self) -> usize {
                match self { $(ScalarFn::$variant => $arity,)* }
            }

            fn signature(self) -> Signature {
                match self { $(ScalarFn::$variant => Signature::$sig,)* }
            }
        }
    };
}

scalar_fns! {
    Neg "neg" 1 Number;
    Abs "abs" 1 Number;
    Sqrt "sqrt" 1 Float;
    Floor "floor" 1 Float;
    /// Nearest integer, ties to even.
    Round "round" 1 Float;
    Exp "exp" 1 Float;
    Expm1 "expm1" 1 Float;
    Log "log" 1 Float;
    Log1p "log1p" 1 Float;
    Sin "sin" 1 Float;
    Cos "cos" 1 Float;
    Tan "tan" 1 Float;
    Tanh "tanh" 1 Float;
    Erf "erf" 1 Float;
    Sigmoid "sigmoid" 1 Float;
    Not "not" 1 Bits;
    Add "add" 2 Number;
    Sub "sub" 2 Number;
    Mul "mul" 2 Number;
    /// Correctly rounded quotient.
    Div "div" 2 Float;
    /// Quotient rounded down; for integers x/0 = 0.
    FloorDiv "floor_div" 2 Number;
    /// Remainder with the divisor's sign; for integers x%0 = 0.
    Rem "rem" 2 Number;
    Pow "pow" 2 Float;
    Atan2 "atan2" 2 Float;
    /// The greater; NaN if either is. Ties give the second operand (this matters for signed zero).
    Max "max" 2 Number;
    Min "min" 2 Number;
    And "and" 2 Bits;
    Or "or" 2 Bits;
    Xor "xor" 2 Bits;
    /// Shifts mask the count to the width; right is arithmetic on signed integers.
    Shl "shl" 2 Int;
    Shr "shr" 2 Int;
    Eq "eq" 2 Compare;
    Ne "ne" 2 Compare;
    Lt "lt" 2 Compare;
    Le "le" 2 Compare;
    /// `select(c, a, b)`: a where c, else b.
    Select "select" 3 Select;
}

impl ScalarFn {
    pub fn find(name: &str) -> Option<ScalarFn> {
        ScalarFn::ALL.iter().copied().find(|f| f.name() == name)
    }

    fn from_text(name: &str) -> Result<ScalarFn, String> {
        ScalarFn::find(name).ok_or_else(|| format!("`{name}` is not an elementwise function"))
    }

    /// May the operands be of this dtype (the last ones, for `select`)?
    pub fn accepts(self, dtype: DType) -> bool {
        match self.signature() {
            Signature::Float => dtype.is_float(),
            Signature::Number => dtype.kind() != DTypeKind::Bool,
            Signature::Int => dtype.is_int(),
            Signature::Bits => !dtype.is_float(),
            Signature::Compare | Signature::Select => true,
        }
    }

    /// The dtype of the result for operands of this dtype.
    pub fn result(self, operand: DType) -> DType {
        if self.signature() == Signature::Compare { DType::Bool } else { operand }
    }
}

impl OpDef for Elementwise {
    const NAME: &'static str = "map";

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(self.f.name(), self.f.arity(), operands)?;
        let name = self.f.name();
        let values = if self.f == ScalarFn::Select { &operands[1..] } else { operands };
        if self.f == ScalarFn::Select && operands[0].dtype != DType::Bool {
            return Err(cx.error(
                "E0203",
                format!("the condition of `{name}` must be bool, this is {}", operands[0].dtype),
                operands,
            ));
        }
        let first = &values[0];
        if !self.f.accepts(first.dtype) {
            let hint = match first.dtype.kind() {
                DTypeKind::Bool => "cast it first: `x.cast(f32)`",
                DTypeKind::Int => "cast it to a float dtype first: `x.cast(f32)`",
                DTypeKind::Float => "it takes integers or bools",
            };
            return Err(cx
                .error("E0203", format!("`{name}` does not take {}", first.dtype), operands)
                .hint(hint));
        }
        for v in &values[1..] {
            if v.dtype != first.dtype {
                let title =
                    format!("`{name}` takes operands of one dtype: {} against {}", first.dtype, v.dtype);
                return Err(cx.error("E0203", title, operands).hint("cast one side: `x.cast(f32)`"));
            }
        }
        let shaped = &operands[0];
        for v in &operands[1..] {
            if v.rank() != shaped.rank() {
                return Err(cx.error(
                    "E0201",
                    format!("`{name}` of {shaped} and {v}: the ranks differ"),
                    operands,
                ));
            }
            for (axis, (a, b)) in shaped.shape.iter().zip(&v.shape).enumerate() {
                cx.same_dim(&format!("`{name}` at axis {axis}"), a, b, operands)?;
            }
        }
        Ok(smallvec![Type::new(self.f.result(first.dtype), shaped.shape.iter().cloned())])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("f", self.f.name())
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(Elementwise { f: ScalarFn::from_text(a.str("f")?)? })
    }
}
