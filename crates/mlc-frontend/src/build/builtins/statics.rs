//! Functions that the compiler answers itself, and `grad`.

use std::collections::HashSet;

use mlc_ir::Type;
use mlc_ir::graph::ValueId;
use mlc_ir::op::{Grad, Op};

use super::{Args, Builtin};
use crate::build::fail::{R, error, fail};
use crate::build::interp::Interp;
use crate::build::value::Value;

pub const TABLE: &[Builtin] = &[
    Builtin {
        name: "len",
        params: "x",
        run: len,
        doc: "The number of elements of a compile-time list, or the first dim of a tensor.",
    },
    Builtin {
        name: "enumerate",
        params: "list",
        run: enumerate,
        doc: "The pairs (index, element) of a compile-time list.",
    },
    Builtin {
        name: "reversed",
        params: "list",
        run: reversed,
        doc: "A compile-time list or range, backwards.",
    },
    Builtin {
        name: "pairs",
        params: "list",
        run: pairs,
        doc: "The pairs of neighbours of a compile-time list.",
    },
    Builtin {
        name: "range",
        params: "start end?",
        run: range,
        doc: "The integers from start up to end as a list; range(n) starts at 0.",
    },
    Builtin { name: "shape", params: "x", run: shape, doc: "The dims of a tensor as a compile-time list." },
    Builtin { name: "rank", params: "x", run: shape, doc: "The number of axes." },
    Builtin {
        name: "type_of",
        params: "x",
        run: type_of,
        doc: "The type of a tensor, for functions that take types.",
    },
    Builtin { name: "error", params: "message", run: user_error, doc: "Stops compilation with a message." },
    Builtin { name: "static_zero", params: "x", run: static_zero, doc: "Is it 0, known at compile time?" },
    Builtin {
        name: "grad",
        params: "y x",
        run: grad,
        doc: "The derivative of the scalar y with respect to the binding x; nests.",
    },
];

fn len<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    match args.value("x")? {
        Value::List(v) | Value::Tuple(v) => Ok(Value::int(v.len() as i64)),
        Value::Range(a, b) => Ok(Value::Int(b - a)),
        Value::Str(s) => Ok(Value::int(s.chars().count() as i64)),
        Value::Tensor(t) if cx.ty(*t).rank() > 0 => Ok(Value::Int(cx.ty(*t).shape[0].clone())),
        v => fail("E0305", args.span, format!("`len` of {}", cx.text(v))),
    }
}

fn elements<'a>(cx: &mut Interp<'a>, args: &Args<'a>) -> R<Vec<Value<'a>>> {
    cx.iterate(args.value("list")?, args.span_of("list"))
}

fn enumerate<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let items = elements(cx, &args)?;
    let pair = |(i, v)| Value::tuple(vec![Value::int(i as i64), v]);
    Ok(Value::list(items.into_iter().enumerate().map(pair).collect()))
}

fn reversed<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    Ok(Value::list(elements(cx, &args)?.into_iter().rev().collect()))
}

fn pairs<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let items = elements(cx, &args)?;
    Ok(Value::list(items.windows(2).map(|w| Value::tuple(w.to_vec())).collect()))
}

fn range<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let start = cx.to_dim(args.value("start")?, args.span_of("start"))?;
    let (a, b) = match args.get("end") {
        None => (mlc_ir::Dim::ZERO, start),
        Some(end) => (start, cx.to_dim(end, args.span_of("end"))?),
    };
    Ok(Value::list(cx.range_list(&a, &b, args.span)?))
}

fn shape<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let dims = match args.value("x")? {
        Value::Tensor(t) => cx.ty(*t).shape,
        Value::Type(t) => t.shape.clone(),
        v if v.is_number() || matches!(v, Value::Bool(_)) => mlc_ir::Shape::new(),
        v => return fail("E0305", args.span, format!("`{}` of {}", args.name(), v.kind())),
    };
    Ok(match args.name() {
        "rank" => Value::int(dims.len() as i64),
        _ => Value::list(dims.into_iter().map(Value::Int).collect()),
    })
}

fn type_of<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let t = args.tensor(cx, "x")?;
    let ty = cx.ty(t);
    Ok(Value::Type(Type::new(ty.dtype, ty.shape)))
}

fn user_error<'a>(_: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    fail("E0317", args.span, args.str("message")?)
}

fn static_zero<'a>(_: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    Ok(Value::Bool(args.value("x")?.as_f64() == Some(0.0)))
}

fn grad<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let x = match args.value("x")? {
        Value::Tensor(t) => *t,
        Value::List(items) | Value::Tuple(items) => {
            let mut xs = vec![];
            for v in items.iter() {
                xs.push(cx.any_tensor(v, args.span_of("x"))?);
            }
            let y = args.tensor(cx, "y")?;
            let node = differentiate(cx, &args, y, &xs)?;
            return Ok(Value::list((0..xs.len()).map(|i| Value::Tensor(node.node.result(i))).collect()));
        }
        v => {
            let title = format!("`grad` differentiates by a tensor, this is {}", v.kind());
            let number = v.is_number();
            return Err(error("E0602", args.span_of("x"), title)
                .hint(match number {
                    true => "a number known at compile time is a constant; give `full(f32, 2)` for a tensor",
                    false => "the second argument is a binding or a parameter, such as `model.fc1.weight`",
                })
                .into());
        }
    };
    let y = args.tensor(cx, "y")?;
    differentiate(cx, &args, y, &[x]).map(Value::Tensor)
}

fn differentiate<'a>(cx: &mut Interp<'a>, args: &Args<'a>, y: ValueId, xs: &[ValueId]) -> R<ValueId> {
    let sources = ancestors(cx, y);
    for &x in xs {
        if !sources.contains(&x) {
            let (ty, tx) = (cx.ty(y), cx.ty(x));
            return Err(error(
                "E0603",
                args.span,
                "`grad` of a value that does not depend on its second argument",
            )
            .label(args.span_of("y"), format!("this ({ty}) is not computed from"))
            .label(args.span_of("x"), format!("this ({tx})"))
            .hint("differentiate by the binding that the value was computed from, before it was reassigned")
            .into());
        }
    }
    let operands: Vec<ValueId> = std::iter::once(y).chain(xs.iter().copied()).collect();
    Ok(cx.b().op(Op::Grad(Grad { allow_unused: false }), &operands)?)
}

/// The values that `y` is computed from, other than through `stop_gradient`, and itself. Numbers of nodes say
/// nothing about order: a loop's body gives its own back when it becomes a region.
fn ancestors(cx: &Interp<'_>, y: ValueId) -> HashSet<ValueId> {
    let graph = &cx.g.graph;
    let (mut values, mut work) = (HashSet::from([y]), vec![y]);
    while let Some(v) = work.pop() {
        let node = graph.node(v.node);
        if !matches!(node.op, Op::StopGradient(_)) {
            work.extend(node.operands.iter().copied().filter(|&v| values.insert(v)));
        }
    }
    values
}
