//! Reductions over axes.

use mlc_ir::op::ReduceKind;
use mlc_ir::types::{Fact, Relation};
use mlc_ir::{DType, Dim};

use super::{Args, Builtin};
use crate::build::fail::{R, error, fail};
use crate::build::interp::Interp;
use crate::build::value::Value;

pub const TABLE: &[Builtin] = &[
    Builtin {
        name: "sum",
        params: "x axis? keepdim?",
        run: reduce,
        doc: "The sum over an axis, a list of axes, or everything.",
    },
    Builtin {
        name: "prod",
        params: "x axis? keepdim?",
        run: reduce,
        doc: "The product over an axis, a list of axes, or everything.",
    },
    Builtin {
        name: "max",
        params: "x axis? keepdim?",
        run: extremum,
        doc: "The greatest over axes; ties share the gradient. Of compile-time numbers: max(a, b), max(list).",
    },
    Builtin {
        name: "min",
        params: "x axis? keepdim?",
        run: extremum,
        doc: "The least over axes; ties share the gradient. Of compile-time numbers: min(a, b), min(list).",
    },
    Builtin {
        name: "argmax",
        params: "x axis? keepdim?",
        run: reduce,
        doc: "The index of the greatest, the first among equals, as i64.",
    },
    Builtin {
        name: "argmin",
        params: "x axis? keepdim?",
        run: reduce,
        doc: "The index of the least, the first among equals, as i64.",
    },
    Builtin { name: "any", params: "x axis? keepdim?", run: reduce, doc: "Is any element true?" },
    Builtin { name: "all", params: "x axis? keepdim?", run: reduce, doc: "Are all elements true?" },
    Builtin {
        name: "count",
        params: "x axis?",
        run: count,
        doc: "The number of elements over axes, as a compile-time integer.",
    },
];

fn reduce<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    if let Some(v) = known(&args)? {
        return Ok(v);
    }
    let t = args.tensor(cx, "x")?;
    let ty = cx.ty(t);
    let kind = match args.name() {
        "sum" => ReduceKind::Sum,
        "prod" => ReduceKind::Prod,
        "max" => ReduceKind::Max,
        "min" => ReduceKind::Min,
        "argmax" => ReduceKind::ArgMax,
        "argmin" => ReduceKind::ArgMin,
        "any" => ReduceKind::Or,
        _ => ReduceKind::And,
    };
    let axes = args.axes(cx, "axis", ty.rank())?;
    let keep = args.bool("keepdim")?;
    if axes.is_empty() {
        // The index of the greatest of one element is 0.
        let arg = matches!(kind, ReduceKind::ArgMax | ReduceKind::ArgMin);
        return Ok(Value::Tensor(if arg { cx.tensor_of(&Value::int(0), DType::I64, args.span)? } else { t }));
    }
    if kind.needs_elements() {
        for &a in &axes {
            let fact = Fact { lhs: Dim::ONE, rel: Relation::Le, rhs: ty.shape[a].clone(), span: args.span };
            cx.require_range(fact, |_| {
                error(
                    "E0207",
                    args.span,
                    format!("`{}` over axis {a} of {ty}, which may be empty", args.name()),
                )
            })?;
        }
    }
    let mut v = cx.b().reduce(kind, t, axes.clone())?;
    if keep {
        let shape = ty
            .shape
            .iter()
            .enumerate()
            .map(|(i, d)| if axes.contains(&i) { Dim::ONE } else { d.clone() })
            .collect();
        v = cx.b().reshape(v, shape)?;
    }
    Ok(Value::Tensor(v))
}

/// Sums and products of compile-time lists.
fn known<'a>(args: &Args<'a>) -> R<Option<Value<'a>>> {
    let Value::List(items) = args.value("x")? else { return Ok(None) };
    let name = args.name();
    if !matches!(name, "sum" | "prod") {
        return fail("E0305", args.span_of("x"), format!("`{name}` takes a tensor, this is a list"));
    }
    let ints: Option<Vec<Dim>> = items
        .iter()
        .map(|v| match v {
            Value::Int(d) => Some(d.clone()),
            _ => None,
        })
        .collect();
    if let Some(ints) = ints {
        return Ok(Some(Value::Int(match name {
            "sum" => ints.iter().fold(Dim::ZERO, |a, b| &a + b),
            _ => ints.iter().fold(Dim::ONE, |a, b| &a * b),
        })));
    }
    let floats: Option<Vec<f64>> = items.iter().map(Value::as_f64).collect();
    match floats {
        Some(x) => Ok(Some(Value::Float(if name == "sum" { x.iter().sum() } else { x.iter().product() }))),
        None => fail(
            "E0305",
            args.span_of("x"),
            format!("`{name}` of a list takes compile-time numbers; stack tensors first"),
        ),
    }
}

fn extremum<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let x = args.value("x")?;
    let list: Vec<Value<'a>> = match x {
        Value::List(items) | Value::Tuple(items) => items.to_vec(),
        v if v.is_number() => std::iter::once(v.clone()).chain(args.get("axis").cloned()).collect(),
        _ => return reduce(cx, args),
    };
    let greatest = args.name() == "max";
    let mut best: Option<(f64, Value<'a>)> = None;
    for v in list {
        let Some(x) = v.as_f64() else {
            return fail(
                "E0312",
                args.span,
                format!("`{}` of a list takes known numbers; use `maximum` for tensors", args.name()),
            );
        };
        if best.as_ref().is_none_or(|(b, _)| if greatest { x > *b } else { x < *b }) {
            best = Some((x, v));
        }
    }
    match best {
        Some((_, v)) => Ok(v),
        None => fail("E0305", args.span, format!("`{}` of an empty list", args.name())),
    }
}

fn count<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let t = args.tensor(cx, "x")?;
    let ty = cx.ty(t);
    let axes = args.axes(cx, "axis", ty.rank())?;
    Ok(Value::Int(axes.iter().fold(Dim::ONE, |n, &a| &n * &ty.shape[a])))
}
