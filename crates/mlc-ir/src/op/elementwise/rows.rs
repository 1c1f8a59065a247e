//! The table of elementwise functions: doc, derivative, f64 reference and sample domains side by side.
//!
//! Derivatives follow PyTorch where a choice exists: the two operands of `max` and `min` share a tie,
//! `abs` has derivative 0 at 0, `pow` has derivative 0 for exponent 0 and, by the exponent, at base 0.

use super::derivative as d;
use super::reference as r;
use super::{Derivative, Row, ScalarFn};
use crate::op::{CastPolicy, Domain};

use CastPolicy::{Any, KeepF32, Promote};
use Derivative::{Rule, Zero};
use Domain::{Apart, Range};

const STEP: &str = "it is constant between its jumps";
const LOGIC: &str = "its result is not a float";

/// One row a function, in the order of [`ScalarFn`].
#[rustfmt::skip]
pub static ROWS: [Row; ScalarFn::ALL.len()] = [
    Row { f: ScalarFn::Neg, doc: "`-x`", derivative: Rule("`-g`", d::neg), policy: Any,
          floats: Some(|x| -x[0]), ints: Some(|x, _| -x[0]), domains: &[Range(-2.0, 2.0)], smooth: 2, error: 0.0 },
    Row { f: ScalarFn::Abs, doc: "magnitude; the least integer stays as it is", derivative: Rule("`g * sign(x)`, 0 at 0", d::abs), policy: Any,
          floats: Some(|x| x[0].abs()), ints: Some(|x, _| x[0].abs()), domains: &[Apart(0.1, 2.0)], smooth: 2, error: 0.0 },
    Row { f: ScalarFn::Sqrt, doc: "square root; NaN below 0", derivative: Rule("`g / (2 * y)`, infinite at 0", d::sqrt), policy: Any,
          floats: Some(|x| x[0].sqrt()), ints: None, domains: &[Range(0.1, 4.0)], smooth: 2, error: 1.0 },
    Row { f: ScalarFn::Floor, doc: "the greatest integer that is not above x", derivative: Zero(STEP), policy: Any,
          floats: Some(|x| x[0].floor()), ints: None, domains: &[Range(-3.0, 3.0)], smooth: 0, error: 0.0 },
    Row { f: ScalarFn::Round, doc: "nearest integer, ties to even", derivative: Zero(STEP), policy: Any,
          floats: Some(|x| x[0].round_ties_even()), ints: None, domains: &[Range(-3.0, 3.0)], smooth: 0, error: 0.0 },
    Row { f: ScalarFn::Exp, doc: "`e**x`", derivative: Rule("`g * y`", d::exp), policy: KeepF32,
          floats: Some(|x| x[0].exp()), ints: None, domains: &[Range(-2.0, 2.0)], smooth: 2, error: 2.0 },
    Row { f: ScalarFn::Expm1, doc: "`e**x - 1`, accurate near 0", derivative: Rule("`g * (y + 1)`", d::expm1), policy: KeepF32,
          floats: Some(|x| x[0].exp_m1()), ints: None, domains: &[Range(-2.0, 2.0)], smooth: 2, error: 2.0 },
    Row { f: ScalarFn::Log, doc: "natural logarithm; -inf at 0, NaN below", derivative: Rule("`g / x`", d::log), policy: KeepF32,
          floats: Some(|x| x[0].ln()), ints: None, domains: &[Range(0.1, 4.0)], smooth: 2, error: 2.0 },
    Row { f: ScalarFn::Log1p, doc: "`log(1 + x)`, accurate near 0", derivative: Rule("`g / (x + 1)`", d::log1p), policy: KeepF32,
          floats: Some(|x| x[0].ln_1p()), ints: None, domains: &[Range(-0.9, 3.0)], smooth: 2, error: 2.0 },
    Row { f: ScalarFn::Sin, doc: "x in radians; NaN for infinities", derivative: Rule("`g * cos(x)`", d::sin), policy: Any,
          floats: Some(|x| x[0].sin()), ints: None, domains: &[Range(-4.0, 4.0)], smooth: 2, error: 2.0 },
    Row { f: ScalarFn::Cos, doc: "x in radians; NaN for infinities", derivative: Rule("`-g * sin(x)`", d::cos), policy: Any,
          floats: Some(|x| x[0].cos()), ints: None, domains: &[Range(-4.0, 4.0)], smooth: 2, error: 2.0 },
    Row { f: ScalarFn::Tan, doc: "x in radians; NaN for infinities", derivative: Rule("`g * (1 + y*y)`", d::tan), policy: KeepF32,
          floats: Some(|x| x[0].tan()), ints: None, domains: &[Range(-1.2, 1.2)], smooth: 2, error: 2.0 },
    Row { f: ScalarFn::Tanh, doc: "hyperbolic tangent", derivative: Rule("`g * (1 - y*y)`", d::tanh), policy: Any,
          floats: Some(|x| x[0].tanh()), ints: None, domains: &[Range(-2.0, 2.0)], smooth: 2, error: 2.0 },
    Row { f: ScalarFn::Erf, doc: "error function, `2/sqrt(pi)` times the integral of `exp(-t*t)` from 0 to x", derivative: Rule("`g * 2/sqrt(pi) * exp(-x*x)`", d::erf), policy: Any,
          floats: Some(|x| r::erf(x[0])), ints: None, domains: &[Range(-2.5, 2.5)], smooth: 2, error: 2.0 },
    Row { f: ScalarFn::Sigmoid, doc: "`1 / (1 + exp(-x))`", derivative: Rule("`g * (1 - y) * y`", d::sigmoid), policy: Any,
          floats: Some(|x| r::sigmoid(x[0])), ints: None, domains: &[Range(-3.0, 3.0)], smooth: 2, error: 2.0 },
    Row { f: ScalarFn::Not, doc: "each bit flipped; logical on bool", derivative: Zero(LOGIC), policy: Any,
          floats: None, ints: Some(|x, _| !x[0]), domains: &[], smooth: 0, error: 0.0 },
    Row { f: ScalarFn::Add, doc: "sum; integers wrap", derivative: Rule("`g`; `g`", d::add), policy: Promote,
          floats: Some(|x| x[0] + x[1]), ints: Some(|x, _| x[0] + x[1]), domains: &[Range(-2.0, 2.0), Range(-2.0, 2.0)], smooth: 2, error: 1.0 },
    Row { f: ScalarFn::Sub, doc: "difference; integers wrap", derivative: Rule("`g`; `-g`", d::sub), policy: Promote,
          floats: Some(|x| x[0] - x[1]), ints: Some(|x, _| x[0] - x[1]), domains: &[Range(-2.0, 2.0), Range(-2.0, 2.0)], smooth: 2, error: 1.0 },
    Row { f: ScalarFn::Mul, doc: "product; integers wrap", derivative: Rule("`g * b`; `g * a`", d::mul), policy: Promote,
          floats: Some(|x| x[0] * x[1]), ints: Some(|x, _| x[0].wrapping_mul(x[1])), domains: &[Range(-2.0, 2.0), Range(-2.0, 2.0)], smooth: 2, error: 1.0 },
    Row { f: ScalarFn::Div, doc: "correctly rounded quotient", derivative: Rule("`g / b`; `-g * (y / b)`", d::div), policy: Promote,
          floats: Some(|x| x[0] / x[1]), ints: None, domains: &[Range(-2.0, 2.0), Apart(0.3, 2.0)], smooth: 2, error: 1.0 },
    Row { f: ScalarFn::FloorDiv, doc: "quotient rounded down; for integers x/0 = 0", derivative: Zero(STEP), policy: Promote,
          floats: Some(|x| r::floor_div(x[0], x[1])), ints: Some(|x, _| r::int_floor_div(x[0], x[1])), domains: &[Range(-4.0, 4.0), Apart(0.3, 2.0)], smooth: 0, error: 0.0 },
    Row { f: ScalarFn::Rem, doc: "remainder with the divisor's sign; for integers x%0 = 0; of floats exact while a/b has no more digits than the dtype, else 0", derivative: Rule("`g`; `-g * floor_div(a, b)`", d::rem), policy: Promote,
          floats: Some(|x| r::rem(x[0], x[1])), ints: Some(|x, _| r::int_rem(x[0], x[1])), domains: &[Range(1.2, 1.4), Range(0.8, 1.1)], smooth: 2, error: 2.0 },
    Row { f: ScalarFn::Pow, doc: "a to the power of b, as C's `pow`: `pow(x, 0) = pow(1, y) = 1` even for NaN", derivative: Rule("`g * b * pow(a, b-1)`, 0 where b = 0; `g * y * log(a)`, 0 where a = 0 and b >= 0", d::pow), policy: KeepF32,
          floats: Some(|x| x[0].powf(x[1])), ints: None, domains: &[Range(0.2, 3.0), Range(-2.0, 3.0)], smooth: 2, error: 4.0 },
    Row { f: ScalarFn::Atan2, doc: "angle of the point (b, a) in -pi ..= pi, as C's `atan2`", derivative: Rule("`g * b / (a*a + b*b)`; `g * -a / (a*a + b*b)`; 0 at the origin", d::atan2), policy: Promote,
          floats: Some(|x| x[0].atan2(x[1])), ints: None, domains: &[Apart(0.2, 2.0), Apart(0.2, 2.0)], smooth: 2, error: 2.0 },
    Row { f: ScalarFn::Max, doc: "the greater; NaN if either is; of equals the second (this matters for signed zero)", derivative: Rule("`g` where it is greater, `g/2` where equal, `g` where either is NaN", d::max), policy: Promote,
          floats: Some(|x| if x[0] > x[1] || x[0].is_nan() { x[0] } else { x[1] }), ints: Some(|x, _| x[0].max(x[1])), domains: &[Range(-2.0, 0.0), Range(-1.0, 2.0)], smooth: 2, error: 0.0 },
    Row { f: ScalarFn::Min, doc: "the less; NaN if either is; of equals the second", derivative: Rule("`g` where it is less, `g/2` where equal, `g` where either is NaN", d::min), policy: Promote,
          floats: Some(|x| if x[0] < x[1] || x[0].is_nan() { x[0] } else { x[1] }), ints: Some(|x, _| x[0].min(x[1])), domains: &[Range(-2.0, 0.0), Range(-1.0, 2.0)], smooth: 2, error: 0.0 },
    Row { f: ScalarFn::And, doc: "bitwise; logical on bool", derivative: Zero(LOGIC), policy: Any,
          floats: None, ints: Some(|x, _| x[0] & x[1]), domains: &[], smooth: 0, error: 0.0 },
    Row { f: ScalarFn::Or, doc: "bitwise; logical on bool", derivative: Zero(LOGIC), policy: Any,
          floats: None, ints: Some(|x, _| x[0] | x[1]), domains: &[], smooth: 0, error: 0.0 },
    Row { f: ScalarFn::Xor, doc: "bitwise; logical on bool", derivative: Zero(LOGIC), policy: Any,
          floats: None, ints: Some(|x, _| x[0] ^ x[1]), domains: &[], smooth: 0, error: 0.0 },
    Row { f: ScalarFn::Shl, doc: "shift left; the count is masked to the width", derivative: Zero(LOGIC), policy: Any,
          floats: None, ints: Some(|x, bits| x[0].wrapping_shl(r::count(x[1], bits))), domains: &[], smooth: 0, error: 0.0 },
    Row { f: ScalarFn::Shr, doc: "shift right, arithmetic on signed integers; the count is masked to the width", derivative: Zero(LOGIC), policy: Any,
          floats: None, ints: Some(|x, bits| x[0].wrapping_shr(r::count(x[1], bits))), domains: &[], smooth: 0, error: 0.0 },
    Row { f: ScalarFn::Eq, doc: "equal; false if either is NaN", derivative: Zero(LOGIC), policy: Promote,
          floats: Some(|x| r::truth(x[0] == x[1])), ints: Some(|x, _| (x[0] == x[1]).into()), domains: &[Range(-2.0, 2.0), Range(-2.0, 2.0)], smooth: 0, error: 0.0 },
    Row { f: ScalarFn::Ne, doc: "not equal; true if either is NaN", derivative: Zero(LOGIC), policy: Promote,
          floats: Some(|x| r::truth(x[0] != x[1])), ints: Some(|x, _| (x[0] != x[1]).into()), domains: &[Range(-2.0, 2.0), Range(-2.0, 2.0)], smooth: 0, error: 0.0 },
    Row { f: ScalarFn::Lt, doc: "less; false if either is NaN", derivative: Zero(LOGIC), policy: Promote,
          floats: Some(|x| r::truth(x[0] < x[1])), ints: Some(|x, _| (x[0] < x[1]).into()), domains: &[Range(-2.0, 2.0), Range(-2.0, 2.0)], smooth: 0, error: 0.0 },
    Row { f: ScalarFn::Le, doc: "less or equal; false if either is NaN", derivative: Zero(LOGIC), policy: Promote,
          floats: Some(|x| r::truth(x[0] <= x[1])), ints: Some(|x, _| (x[0] <= x[1]).into()), domains: &[Range(-2.0, 2.0), Range(-2.0, 2.0)], smooth: 0, error: 0.0 },
    Row { f: ScalarFn::Select, doc: "`select(c, a, b)`: a where c, else b; both are evaluated", derivative: Rule("none; `select(c, g, 0)`; `select(c, 0, g)`", d::select), policy: Promote,
          floats: Some(|x| if x[0] != 0.0 { x[1] } else { x[2] }), ints: Some(|x, _| if x[0] != 0 { x[1] } else { x[2] }), domains: &[Domain::Bools, Range(-2.0, 2.0), Range(-2.0, 2.0)], smooth: 2, error: 0.0 },
];
