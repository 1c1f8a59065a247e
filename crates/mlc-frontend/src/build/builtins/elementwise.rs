//! Elementwise functions; on compile-time numbers they compute at once.

use mlc_ir::op::ScalarFn;
use mlc_ir::{DType, Dim};

use super::{Args, Builtin};
use crate::build::fail::{R, error, fail};
use crate::build::interp::Interp;
use crate::build::value::Value;
use crate::syntax::ast::BinaryOp;

macro_rules! row {
    ($name:literal, $params:literal, $run:expr, $doc:literal) => {
        Builtin { name: $name, params: $params, run: $run, doc: $doc }
    };
}

pub const TABLE: &[Builtin] = &[
    row!("neg", "x", unary, "-x"),
    row!("abs", "x", unary, "|x|"),
    row!("sqrt", "x", unary, "The square root."),
    row!("floor", "x", unary, "The greatest integer that is not above x."),
    row!("round", "x", unary, "The nearest integer, ties to even."),
    row!("exp", "x", unary, "e ** x"),
    row!("expm1", "x", unary, "exp(x) - 1, without cancellation near 0."),
    row!("log", "x", unary, "The natural logarithm."),
    row!("log1p", "x", unary, "log(1 + x), without cancellation near 0."),
    row!("sin", "x", unary, "The sine."),
    row!("cos", "x", unary, "The cosine."),
    row!("tanh", "x", unary, "The hyperbolic tangent."),
    row!("erf", "x", unary, "The error function."),
    row!("sigmoid", "x", unary, "1 / (1 + exp(-x))"),
    row!("maximum", "a b", binary, "The greater, elementwise; NaN if either is."),
    row!("minimum", "a b", binary, "The lesser, elementwise; NaN if either is."),
    row!("pow", "a b", power, "a ** b"),
    row!("atan2", "a b", binary, "The angle of the point (b, a)."),
    row!("floor_div", "a b", binary, "The quotient, rounded down."),
    row!("where", "condition a b", select, "a where the condition holds, else b."),
    row!(
        "cast",
        "x dtype",
        cast,
        "Another dtype: floats round to nearest even, float to integer truncates, anything to bool is x != 0."
    ),
    row!("stop_gradient", "x", stop_gradient, "x, as a constant for differentiation."),
    row!("to", "x device", to, "x on another device."),
];

fn unary<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let name = args.name();
    match args.value("x")? {
        Value::Int(d) if d.as_const().is_some() || name == "neg" => match name {
            "neg" => Ok(Value::Int(&Dim::ZERO - d)),
            "abs" => Ok(d.as_const().and_then(i64::checked_abs).map_or(Value::Poison, Value::int)),
            "floor" | "round" => Ok(Value::Int(d.clone())),
            _ => number(name, d.as_const().unwrap_or(0) as f64, &args),
        },
        Value::Float(x) => number(name, *x, &args),
        v => {
            let v = v.clone();
            let Some(f) = ScalarFn::find(name) else { return fail("E9999", args.span, "no such function") };
            let span = args.span_of("x");
            let t = match &v {
                Value::Int(_) => cx.tensor_of(&v, DType::F32, span)?,
                _ => args.tensor(cx, "x")?,
            };
            // Rounding of integers changes nothing.
            if matches!(f, ScalarFn::Floor | ScalarFn::Round) && cx.ty(t).dtype.is_int() {
                return Ok(Value::Tensor(t));
            }
            Ok(Value::Tensor(cx.b().map(f, &[t])?))
        }
    }
}

fn number<'a>(name: &str, x: f64, args: &Args<'a>) -> R<Value<'a>> {
    let y = match name {
        "neg" => -x,
        "abs" => x.abs(),
        "sqrt" if x < 0.0 => return fail("E0211", args.span, format!("the square root of {x}")),
        "sqrt" => x.sqrt(),
        "floor" => return Ok(whole(x.floor())),
        "round" => return Ok(whole(x.round_ties_even())),
        "exp" => x.exp(),
        "expm1" => x.exp_m1(),
        "log" if x <= 0.0 => return fail("E0211", args.span, format!("the logarithm of {x}")),
        "log" => x.ln(),
        "log1p" => x.ln_1p(),
        "sin" => x.sin(),
        "cos" => x.cos(),
        "tanh" => x.tanh(),
        "erf" => erf(x),
        "sigmoid" => 1.0 / (1.0 + (-x).exp()),
        _ => return fail("E0305", args.span, format!("`{name}` takes tensors")),
    };
    Ok(Value::Float(y))
}

/// A rounded number as the integer it is.
fn whole<'a>(x: f64) -> Value<'a> {
    if x.abs() < 9.0e15 { Value::int(x as i64) } else { Value::Float(x) }
}

/// erf of a compile-time number, by its series where that converges fast and by a continued fraction
/// elsewhere: good to a few units in the last place.
fn erf(x: f64) -> f64 {
    let a = x.abs();
    let y = if a < 2.5 {
        let (mut term, mut sum) = (a, a);
        for n in 1..100 {
            term *= -a * a / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        let mut f = 0.0;
        for n in (1..=60).rev() {
            f = f64::from(n) / 2.0 / (a + f);
        }
        1.0 - (-a * a).exp() / ((a + f) * std::f64::consts::PI.sqrt())
    };
    if x < 0.0 { -y } else { y }
}

fn binary<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let (a, b) = (args.value("a")?.clone(), args.value("b")?.clone());
    let name = args.name();
    let f = match name {
        "maximum" => ScalarFn::Max,
        "minimum" => ScalarFn::Min,
        "atan2" => ScalarFn::Atan2,
        _ => ScalarFn::FloorDiv,
    };
    if let (Value::Int(x), Value::Int(y)) = (&a, &b) {
        if f == ScalarFn::FloorDiv {
            let q = x.floor_div(y);
            return if q.is_overflow() {
                fail("E0211", args.span, "division by zero")
            } else {
                Ok(Value::Int(q))
            };
        }
        if let (Some(x), Some(y)) = (x.as_const(), y.as_const())
            && f != ScalarFn::Atan2
        {
            return Ok(Value::int(if f == ScalarFn::Max { x.max(y) } else { x.min(y) }));
        }
    }
    if let (Some(x), Some(y)) = (a.as_f64(), b.as_f64()) {
        return Ok(match f {
            ScalarFn::Max => Value::Float(x.max(y)),
            ScalarFn::Min => Value::Float(x.min(y)),
            ScalarFn::Atan2 => Value::Float(x.atan2(y)),
            _ if y == 0.0 => return fail("E0211", args.span, "division by zero"),
            _ => whole((x / y).floor()),
        });
    }
    let spans = args.spans("a", "b");
    let what = format!("`{name}`");
    let dtype = cx.common_dtype(&what, &a, &b, spans)?;
    let (x, y) = (cx.tensor_of(&a, dtype, spans[1])?, cx.tensor_of(&b, dtype, spans[2])?);
    let v = cx.broadcast_all(&what, &[x, y], args.span)?;
    Ok(Value::Tensor(cx.b().map(f, &v)?))
}

fn power<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let (a, b) = (args.value("a")?.clone(), args.value("b")?.clone());
    cx.binary(BinaryOp::Pow, a, b, args.spans("a", "b"))
}

fn select<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let (c, a, b) = (args.value("condition")?.clone(), args.value("a")?.clone(), args.value("b")?.clone());
    if let Value::Bool(known) = c {
        let tensors = [&a, &b].into_iter().any(|v| matches!(v, Value::Tensor(_)));
        if !tensors {
            return Ok(if known { a } else { b });
        }
    }
    let spans = args.spans("a", "b");
    let c = match &c {
        Value::Tensor(t) if cx.ty(*t).dtype == DType::Bool => *t,
        Value::Bool(_) => cx.tensor_of(&c, DType::Bool, args.span)?,
        c => {
            let title = format!("the condition of `where` must be bool, this is {}", cx.text(c));
            return Err(error("E0203", args.span_of("condition"), title).hint("compare it: `x != 0`").into());
        }
    };
    let dtype = cx.common_dtype("`where`", &a, &b, spans)?;
    let (x, y) = (cx.tensor_of(&a, dtype, spans[1])?, cx.tensor_of(&b, dtype, spans[2])?);
    let v = cx.broadcast_all("`where`", &[c, x, y], args.span)?;
    Ok(Value::Tensor(cx.b().select(v[0], v[1], v[2])?))
}

fn cast<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let to = args.dtype("dtype")?;
    let v = args.value("x")?.clone();
    let t = match &v {
        Value::Bool(_) => cx.tensor_of(&v, DType::Bool, args.span)?,
        Value::Int(_) if to.is_float() => return Ok(Value::Tensor(cx.tensor_of(&v, to, args.span)?)),
        _ => args.tensor(cx, "x")?,
    };
    Ok(Value::Tensor(cx.b().cast(t, to)?))
}

fn stop_gradient<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    match args.value("x")? {
        v if v.is_number() => Ok(v.clone()),
        _ => {
            let t = args.tensor(cx, "x")?;
            Ok(Value::Tensor(cx.b().op(mlc_ir::op::StopGradient, &[t])?))
        }
    }
}

fn to<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let Value::Device(to) = *args.value("device")? else {
        let v = args.value("device")?;
        let title = format!("`to` takes a device, this is {}", v.kind());
        return Err(error("E0510", args.span_of("device"), title)
            .hint("write `x.to(cpu)` or `x.to(cuda:1)`")
            .into());
    };
    let t = args.tensor(cx, "x")?;
    Ok(Value::Tensor(cx.b().op(mlc_ir::op::Transfer { to, explicit: true }, &[t])?))
}

#[cfg(test)]
mod tests {
    #[test]
    fn erf_of_known_values() {
        // Abramowitz and Stegun, table 7.1.
        for (x, y) in [
            (0.0, 0.0),
            (0.5, 0.520_499_877_8),
            (1.0, 0.842_700_792_9),
            (2.0, 0.995_322_265_0),
            (3.0, 0.999_977_909_5),
        ] {
            assert!((super::erf(x) - y).abs() < 1e-9, "{x}");
            assert_eq!(super::erf(-x), -super::erf(x));
        }
    }
}
