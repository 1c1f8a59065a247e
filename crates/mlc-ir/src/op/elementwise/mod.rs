//! Elementwise functions: one op, a row for each function.
//!
//! Operands have equal shapes: broadcasting is explicit ([`super::Broadcast`]). Exact semantics are
//! the loop IR's scalar primitives and function expansions.

mod derivative;
mod reference;
mod rows;

use mlc_diag::Diagnostic;
use smallvec::smallvec;

use super::{
    Attrs, CastPolicy, Cotangents, Domain, Gradient, InferCx, OpDef, Sample, SampleOperand, Types, Vjp,
};
use crate::eval::{Elements, EvalError, Tensor};
use crate::graph::GraphBuilder;
use crate::types::{DType, DTypeKind, Type};

pub use derivative::Chain;
pub use rows::ROWS;

/// `f(operands...)` at every element.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Elementwise {
    pub f: ScalarFn,
}

/// Everything about one function but its name, arity and dtypes, which [`ScalarFn`] has.
pub struct Row {
    pub f: ScalarFn,
    /// What it means, as Markdown.
    pub doc: &'static str,
    pub derivative: Derivative,
    pub policy: CastPolicy,
    /// The reference on floats; truth values are 0 and 1.
    pub floats: Option<fn(&[f64]) -> f64>,
    /// The reference on integers and bools, given the width in bits; the result is wrapped to the dtype.
    pub ints: Option<fn(&[i128], u32) -> i128>,
    /// Where each float operand's samples lie: away from poles and kinks.
    pub domains: &'static [Domain],
    /// How often it is differentiable there.
    pub smooth: u32,
    /// Relative error allowed, in multiples of the dtype's epsilon.
    pub error: f64,
}

/// How a function is differentiated.
pub enum Derivative {
    /// With the cotangents of its operands as Markdown, `g` being the result's and `y` the result.
    Rule(&'static str, fn(&mut GraphBuilder<'_>, &Chain<'_>) -> Result<Cotangents, Diagnostic>),
    Zero(&'static str),
}

/// Which dtypes a function takes and what it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
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

            pub fn signature(self) -> Signature {
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

    pub fn row(self) -> &'static Row {
        &ROWS[self as usize]
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

    fn doc() -> &'static str {
        "A function of scalars at every element: `y[i] = f(a[i], b[i], ..)`. All operands have one shape \
         (broadcasting is an op of its own) and, but for the condition of `select`, one dtype, which the \
         result has too; comparisons give bool. The table lists the functions with the cotangents of \
         their operands, where `g` is the cotangent of the result `y`."
    }

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

    fn gradient(&self) -> Gradient {
        match self.f.row().derivative {
            Derivative::Rule(..) => Gradient::Rule,
            Derivative::Zero(reason) => Gradient::Zero(reason),
        }
    }

    fn vjp(&self, b: &mut GraphBuilder<'_>, at: &Vjp<'_>) -> Result<Cotangents, Diagnostic> {
        match (&self.f.row().derivative, at.cotangents.first()) {
            (Derivative::Rule(_, rule), Some(&Some(g))) => {
                rule(b, &Chain { x: at.operands, y: at.results[0], g, wanted: at.wanted })
            }
            _ => Ok(at.none()),
        }
    }

    fn cast_policy(&self) -> CastPolicy {
        self.f.row().policy
    }

    fn eval(&self, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let last = operands.last().ok_or_else(|| EvalError::new("no operands"))?;
        let (dtype, shape) = (self.f.result(last.dtype), last.shape.clone());
        let missing = || EvalError::new(format!("`{}` does not take {}", self.f.name(), last.dtype));
        let row = self.f.row();
        if let Elements::F(_) = last.data {
            let f = row.floats.ok_or_else(missing)?;
            let columns: Vec<Vec<f64>> = operands.iter().map(|t| t.to_f64()).collect();
            let values: Vec<f64> = rows_of(&columns, last.len()).map(|x| f(&x)).collect();
            return Ok(vec![Tensor::from_f64(dtype, &shape, &values)]);
        }
        let f = row.ints.ok_or_else(missing)?;
        let bits = if last.dtype == DType::Bool { 1 } else { 8 * last.dtype.size() as u32 };
        let columns: Vec<Vec<i128>> = operands.iter().map(|t| t.to_ints()).collect();
        Ok(vec![Tensor::from_ints(dtype, shape, rows_of(&columns, last.len()).map(|x| f(&x, bits)))])
    }

    fn samples() -> Vec<Sample> {
        ScalarFn::ALL.iter().flat_map(|&f| samples_of(f)).collect()
    }
}

/// The i-th elements of all columns, for each i.
fn rows_of<T: Copy>(columns: &[Vec<T>], len: usize) -> impl Iterator<Item = Vec<T>> + '_ {
    (0..len).map(|i| columns.iter().map(|c| c[i]).collect())
}

const SPECIAL: [f64; 15] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -2.5,
    3.0,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f32::MIN_POSITIVE as f64,
    1e-40,
    f32::MAX as f64,
    -88.5,
    100.25,
];

fn samples_of(f: ScalarFn) -> Vec<Sample> {
    let row = f.row();
    let name = f.name();
    let new = |note: &str, operands| Sample::new(&format!("{name}, {note}"), Elementwise { f }, operands);
    let mut out = vec![];
    if !row.domains.is_empty() {
        for shape in [&[][..], &[7], &[2, 3, 5], &[1, 4], &[3, 0]] {
            let operand = |d: &Domain| match d {
                Domain::Bools => SampleOperand::new(DType::Bool, shape, Domain::Bools),
                d => SampleOperand::new(DType::F32, shape, d.clone()),
            };
            let operands = row.domains.iter().map(operand).collect();
            out.push(new(&format!("floats {shape:?}"), operands).error(row.error).smooth(row.smooth));
        }
        // No quotients beyond the digits of f32 and f16: see the doc of `rem`.
        let usual = |v: f64| v == 0.0 || !v.is_finite() || (0.1..1e3).contains(&v.abs());
        let values: Vec<f64> = SPECIAL.into_iter().filter(|&v| f != ScalarFn::Rem || usual(v)).collect();
        out.push(new("special values", special(f, DType::F32, &values)).error(row.error));
    }
    let ints = [0.0, 1.0, -1.0, 2.0, -3.0, 7.0, 127.0, -128.0, 100.0];
    for dtype in [DType::I64, DType::I32, DType::I8, DType::U8, DType::U32, DType::Bool] {
        if f.accepts(dtype) {
            out.push(new(&format!("all pairs of {dtype}"), special(f, dtype, &ints)));
        }
    }
    out
}

/// Every pair (or, for one operand, each) of these values; both truth values as a condition.
fn special(f: ScalarFn, dtype: DType, values: &[f64]) -> Vec<SampleOperand> {
    let n = values.len();
    let repeated: Vec<f64> = values.iter().flat_map(|&v| vec![v; n]).collect();
    let operand =
        |dtype, values: &[f64], len| SampleOperand::new(dtype, &[len], Domain::Values(values.to_vec()));
    match f.arity() {
        1 => vec![operand(dtype, values, n)],
        2 => vec![operand(dtype, &repeated, n * n), operand(dtype, values, n * n)],
        // A period of 2 against one of an odd length or a run meets every combination.
        _ => vec![
            operand(DType::Bool, &[1.0, 0.0], n * n),
            operand(dtype, &repeated, n * n),
            operand(dtype, values, n * n),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_the_order_of_the_functions() {
        for (i, &f) in ScalarFn::ALL.iter().enumerate() {
            assert_eq!((f as usize, ROWS[i].f), (i, f));
        }
    }

    #[test]
    fn rows_have_references_for_what_they_accept() {
        for row in &ROWS {
            let ints = row.f.accepts(DType::I32) || row.f.accepts(DType::Bool);
            assert_eq!(row.ints.is_some(), ints, "{}", row.f.name());
            assert_eq!(row.floats.is_some(), row.f.accepts(DType::F32), "{}", row.f.name());
            assert_eq!(
                row.domains.len(),
                if row.floats.is_some() { row.f.arity() } else { 0 },
                "{}",
                row.f.name()
            );
            if let Derivative::Rule(..) = row.derivative {
                assert!(row.smooth >= 1, "{}: a rule that no finite difference checks", row.f.name());
            }
        }
    }
}
