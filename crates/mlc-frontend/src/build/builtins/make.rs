//! Tensors from nothing: fills, ranges, literals, random numbers.

use mlc_ir::graph::ValueId;
use mlc_ir::op::{Literal, RandomBits, ScalarFn};
use mlc_ir::{DType, Dim, Type};

use super::{Args, Builtin};
use crate::build::fail::{R, error, fail};
use crate::build::interp::Interp;
use crate::build::value::Value;

pub const TABLE: &[Builtin] = &[
    Builtin { name: "zeros", params: "type", run: filled, doc: "Zeros of a type: zeros(f32[n, 10])." },
    Builtin { name: "ones", params: "type", run: filled, doc: "Ones of a type." },
    Builtin { name: "full", params: "type value", run: filled, doc: "One value everywhere." },
    Builtin { name: "zeros_like", params: "x", run: like, doc: "Zeros with the type of x." },
    Builtin { name: "ones_like", params: "x", run: like, doc: "Ones with the type of x." },
    Builtin {
        name: "full_like",
        params: "x value",
        run: like,
        doc: "One value everywhere, with the type of x.",
    },
    Builtin {
        name: "iota",
        params: "type axis?",
        run: iota,
        doc: "0, 1, 2, .. along an axis: iota(i64[n]).",
    },
    Builtin {
        name: "tensor",
        params: "type values",
        run: tensor,
        doc: "A tensor of known values: tensor(f32[3], [0.1, 0.2, 0.3]).",
    },
    Builtin {
        name: "random_uniform",
        params: "type",
        run: random_uniform,
        doc: "Uniform in [0, 1): what all random functions are made of.",
    },
    Builtin { name: "random_index", params: "type n", run: random_index, doc: "Integers uniform in [0, n)." },
];

/// A scalar stretched to a type.
fn fill<'a>(cx: &mut Interp<'a>, ty: &Type, v: &Value<'a>, span: mlc_diag::Span) -> R<Value<'a>> {
    if let Value::Tensor(t) = v
        && cx.ty(*t).rank() != 0
    {
        return fail("E0201", span, format!("a fill takes one value, this is {}", cx.ty(*t)));
    }
    let v = match (ty.dtype, v) {
        (DType::Bool, Value::Int(d)) => Value::Bool(!d.is_const(0)),
        (_, v) => v.clone(),
    };
    let t = cx.tensor_of(&v, ty.dtype, span)?;
    Ok(Value::Tensor(cx.b().broadcast_to(t, &ty.shape)?))
}

fn constant_of<'a>(args: &Args<'a>) -> R<Value<'a>> {
    Ok(match args.name() {
        "zeros" | "zeros_like" => Value::int(0),
        "ones" | "ones_like" => Value::int(1),
        _ => args.value("value")?.clone(),
    })
}

fn filled<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let (ty, v) = (args.ty("type")?, constant_of(&args)?);
    fill(cx, &ty, &v, args.span)
}

fn like<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let v = constant_of(&args)?;
    if args.value("x")?.is_number() {
        return Ok(v);
    }
    let x = args.tensor(cx, "x")?;
    let ty = cx.ty(x);
    fill(cx, &ty, &v, args.span)
}

fn iota<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let ty = args.ty("type")?;
    if ty.rank() == 0 || ty.dtype == DType::Bool {
        return Err(error(
            "E0201",
            args.span,
            format!("`iota` needs an axis and a number dtype, this is {ty}"),
        )
        .hint("for example `iota(i64[n])`")
        .into());
    }
    let axis = args.axis(cx, "axis", ty.rank())?.unwrap_or(0);
    Ok(Value::Tensor(cx.b().iota(ty.dtype, ty.shape, axis)?))
}

fn tensor<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let ty = args.ty("type")?;
    let span = args.span_of("values");
    let mut flat = vec![];
    flatten(args.value("values")?, &mut flat);
    let Some(shape) = ty.bound_shape() else {
        return fail("E0312", args.span, format!("the dims of `tensor` must be numbers, this is {ty}"));
    };
    let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    if count != Some(flat.len()) {
        return fail("E0204", span, format!("{} values for {ty}", flat.len()));
    }
    if flat.iter().all(|v| v.as_f64().is_some() || matches!(v, Value::Bool(_))) {
        let mut values = vec![];
        for v in &flat {
            values.push(match v {
                Value::Bool(b) if ty.dtype == DType::Bool => f64::from(u8::from(*b)),
                Value::Int(_) if ty.dtype == DType::Bool => {
                    return fail("E0212", span, "bool cannot hold a number");
                }
                v => {
                    // The check for representability is that of one element.
                    let x = v.as_f64().unwrap_or(0.0);
                    if ty.dtype.is_int() && x.fract() != 0.0 {
                        return fail("E0212", span, format!("{} cannot hold {x}", ty.dtype));
                    }
                    x
                }
            });
        }
        let shape = shape.iter().map(|&d| d as u64).collect();
        if let Some(lit) = Literal::from_f64(ty.dtype, shape, &values) {
            return Ok(Value::Tensor(cx.b().constant(lit)?));
        }
    }
    let parts: Vec<ValueId> = flat.iter().map(|v| cx.tensor_of(v, ty.dtype, span)).collect::<R<_>>()?;
    let one = |cx: &mut Interp<'a>, v| {
        Ok::<_, crate::build::fail::Fail>(cx.b().reshape(v, [Dim::ONE].into_iter().collect())?)
    };
    let parts: Vec<ValueId> = parts.into_iter().map(|v| one(cx, v)).collect::<R<_>>()?;
    if parts.is_empty() {
        return fill(cx, &ty, &Value::int(0), span);
    }
    let v = cx.b().concat(&parts, 0)?;
    Ok(Value::Tensor(cx.b().reshape(v, ty.shape)?))
}

fn flatten<'a>(v: &Value<'a>, out: &mut Vec<Value<'a>>) {
    match v {
        Value::List(items) | Value::Tuple(items) => items.iter().for_each(|v| flatten(v, out)),
        v => out.push(v.clone()),
    }
}

/// A new random site: its place is (stream, scope, how many of its kind came before in this scope).
pub fn random_site(cx: &mut Interp<'_>, kind: &'static str, span: mlc_diag::Span) -> R<u32> {
    let ordinal = cx.g.ordinals.entry((cx.g.scope, kind)).or_insert(0);
    let place = format!("{}/{}/{kind}{ordinal}", cx.g.stream, cx.g.graph.scope_path(cx.g.scope));
    *ordinal += 1;
    let site = fnv1a(place.as_bytes());
    match cx.g.sites.get(&site) {
        Some(other) if *other != place => {
            return Err(error("E0316", span, "two random sites of this program share a key")
                .note(format!("`{other}` and `{place}` have the same hash"))
                .hint("rename one of the members or the loss")
                .into());
        }
        _ => cx.g.sites.insert(site, place),
    };
    Ok(site)
}

/// Random bits of a new site.
fn bits(cx: &mut Interp<'_>, ty: &Type, span: mlc_diag::Span) -> R<ValueId> {
    let site = random_site(cx, "", span)?;
    let (seed, iteration) = (cx.random_key()?, cx.random_iteration()?);
    Ok(cx.b().op(RandomBits { site, shape: ty.shape.clone() }, &[seed, iteration])?)
}

/// FNV-1a, 32 bits: the hash that random sites are keyed by.
pub fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |h, &b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193))
}

fn random_uniform<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let ty = args.ty("type")?;
    if !ty.dtype.is_float() {
        return Err(error("E0203", args.span, format!("`{}` gives floats, this is {ty}", args.name()))
            .hint("use `randint(type, low, high)` for integers")
            .into());
    }
    let raw = bits(cx, &ty, args.span)?;
    // As many leading bits as the dtype holds exactly, so that 1 is never reached.
    let kept = match ty.dtype {
        DType::F64 => 32,
        DType::F32 => 24,
        DType::F16 => 11,
        _ => 8,
    };
    let mut v = raw;
    if kept < 32 {
        let by = cx.b().constant(Literal::int(DType::U32, 32 - kept))?;
        let shape = cx.ty(raw).shape;
        let by = cx.b().broadcast(by, shape, vec![])?;
        v = cx.b().map(ScalarFn::Shr, &[raw, by])?;
    }
    // f16 cannot hold 2^11 - 1 scaled in one step of its range, so halves scale in f32.
    let wide = if ty.dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let v = cx.b().cast(v, wide)?;
    let scale = cx.b().full_like(v, (-(kept as f64)).exp2())?;
    let v = cx.b().mul(v, scale)?;
    Ok(Value::Tensor(cx.b().cast(v, ty.dtype)?))
}

fn random_index<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let ty = args.ty("type")?;
    if !ty.dtype.is_int() {
        return fail("E0203", args.span, format!("`{}` gives integers, this is {ty}", args.name()));
    }
    let n = cx.to_dim(args.value("n")?, args.span_of("n"))?;
    if n.as_const().is_some_and(|n| n < 1 || n > i64::from(i32::MAX)) {
        return fail("E0212", args.span, format!("a random integer below {n}"));
    }
    // floor(bits * n / 2^32), in 64 bits: no bias that n below 2^24 could show.
    let raw = bits(cx, &ty, args.span)?;
    let raw = cx.b().cast(raw, DType::I64)?;
    let shape = cx.ty(raw).shape;
    let n = cx.tensor_of(&Value::Int(n), DType::I64, args.span)?;
    let n = cx.b().broadcast(n, shape.clone(), vec![])?;
    let product = cx.b().mul(raw, n)?;
    let by = cx.b().constant(Literal::int(DType::I64, 32))?;
    let by = cx.b().broadcast(by, shape, vec![])?;
    let v = cx.b().map(ScalarFn::Shr, &[product, by])?;
    Ok(Value::Tensor(cx.b().cast(v, ty.dtype)?))
}
