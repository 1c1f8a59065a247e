//! Functions that move elements without computing.

use mlc_ir::graph::ValueId;
use mlc_ir::op::Flip;
use mlc_ir::types::Shape;
use mlc_ir::{DType, Dim};

use super::{Args, Builtin, axis_at};
use crate::build::fail::{R, error, fail};
use crate::build::interp::Interp;
use crate::build::value::Value;

pub const TABLE: &[Builtin] = &[
    Builtin {
        name: "reshape",
        params: "x shape",
        run: reshape,
        doc: "The same elements in row-major order under another shape; one dim may be -1.",
    },
    Builtin {
        name: "flatten",
        params: "x start? end?",
        run: flatten,
        doc: "Joins the axes start to end, both included, into one.",
    },
    Builtin {
        name: "transpose",
        params: "x a? b?",
        run: transpose,
        doc: "Swaps two axes, by default the last two.",
    },
    Builtin { name: "permute", params: "x axes", run: permute, doc: "The axes in another order." },
    Builtin {
        name: "squeeze",
        params: "x axis?",
        run: squeeze,
        doc: "Drops an axis of size 1, a list of them, or all.",
    },
    Builtin {
        name: "unsqueeze",
        params: "x axis",
        run: unsqueeze,
        doc: "A new axis of size 1 at this place of the result.",
    },
    Builtin {
        name: "expand",
        params: "x shape",
        run: expand,
        doc: "Stretches dims of 1 to a shape; -1 keeps a dim.",
    },
    Builtin {
        name: "broadcast_to",
        params: "x shape",
        run: expand,
        doc: "Stretches dims of 1 to a shape; -1 keeps a dim.",
    },
    Builtin {
        name: "concat",
        params: "tensors axis?",
        run: concat,
        doc: "Joins tensors along an axis, by default the first.",
    },
    Builtin {
        name: "stack",
        params: "tensors axis?",
        run: stack,
        doc: "Joins tensors along a new axis, by default the first.",
    },
    Builtin { name: "chunk", params: "x n axis?", run: chunk, doc: "A list of n equal parts along an axis." },
    Builtin {
        name: "split",
        params: "x sizes axis?",
        run: split,
        doc: "A list of parts of these sizes (or of one size) along an axis.",
    },
    Builtin {
        name: "unstack",
        params: "x axis?",
        run: unstack,
        doc: "The list of slices along an axis, without it.",
    },
    Builtin {
        name: "pad",
        params: "x pad value?",
        run: pad,
        doc: "Adds elements: [before, after] of the last axis, then of the one before it, as in PyTorch.",
    },
    Builtin {
        name: "roll",
        params: "x shift axis?",
        run: roll,
        doc: "Shifts elements along an axis; what leaves one end enters at the other.",
    },
    Builtin { name: "flip", params: "x axes", run: flip, doc: "Reverses the order along axes." },
    Builtin { name: "tile", params: "x repeats", run: tile, doc: "Repeats the whole along each axis." },
    Builtin {
        name: "repeat_interleave",
        params: "x n axis",
        run: repeat_interleave,
        doc: "Repeats each slice along an axis n times.",
    },
];

fn reshape<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let t = args.tensor(cx, "x")?;
    let mut dims = args.dims(cx, "shape")?;
    let open: Vec<usize> = (0..dims.len()).filter(|&i| dims[i].is_const(-1)).collect();
    if let [at] = open[..] {
        let known = dims.iter().enumerate().filter(|(i, _)| *i != at).fold(Dim::ONE, |n, (_, d)| &n * d);
        let count = cx.ty(t).count();
        dims[at] = match count.div_exact(&known) {
            Some(d) => d,
            None if known.is_const(0) => {
                return fail("E0204", args.span, "-1 is undetermined beside a dim of 0");
            }
            None => count.floor_div(&known),
        };
    } else if open.len() > 1 {
        return fail("E0204", args.span_of("shape"), "only one dim may be -1");
    }
    Ok(Value::Tensor(cx.b().reshape(t, dims.into_iter().collect())?))
}

fn flatten<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let t = args.tensor(cx, "x")?;
    let ty = cx.ty(t);
    if ty.rank() == 0 {
        return Ok(Value::Tensor(cx.b().reshape(t, [Dim::ONE].into_iter().collect())?));
    }
    let start = args.axis(cx, "start", ty.rank())?.unwrap_or(0);
    let end = args.axis(cx, "end", ty.rank())?.unwrap_or(ty.rank() - 1);
    if start > end {
        return fail("E0202", args.span, format!("`flatten` from axis {start} to {end}"));
    }
    let joined = ty.shape[start..=end].iter().fold(Dim::ONE, |n, d| &n * d);
    let shape = ty.shape[..start]
        .iter()
        .cloned()
        .chain([joined])
        .chain(ty.shape[end + 1..].iter().cloned())
        .collect();
    Ok(Value::Tensor(cx.b().reshape(t, shape)?))
}

fn transpose<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let t = args.tensor(cx, "x")?;
    let rank = cx.ty(t).rank();
    if rank < 2 {
        return fail("E0202", args.span, format!("`transpose` of {}: it needs two axes", cx.ty(t)));
    }
    let a = args.axis(cx, "a", rank)?.unwrap_or(rank - 2);
    let b = args.axis(cx, "b", rank)?.unwrap_or(rank - 1);
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(a, b);
    Ok(Value::Tensor(cx.b().transpose(t, perm)?))
}

fn permute<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let t = args.tensor(cx, "x")?;
    let rank = cx.ty(t).rank();
    let span = args.span_of("axes");
    let mut perm = vec![];
    for d in args.dims(cx, "axes")? {
        let Some(i) = d.as_const() else { return fail("E0312", span, "axes must be known at compile time") };
        perm.push(axis_at(i, rank, "permute", span)?);
    }
    Ok(Value::Tensor(cx.b().transpose(t, perm)?))
}

fn squeeze<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let t = args.tensor(cx, "x")?;
    let ty = cx.ty(t);
    let axes = args.axes(cx, "axis", ty.rank())?;
    if args.get("axis").is_some()
        && let Some(&a) = axes.iter().find(|&&a| !ty.shape[a].is_const(1))
    {
        let title = format!("`squeeze` drops axes of size 1; axis {a} of {ty} has {}", ty.shape[a]);
        return fail("E0202", args.span_of("axis"), title);
    }
    let keep = |(i, d): (usize, &Dim)| (!(axes.contains(&i) && d.is_const(1))).then(|| d.clone());
    let shape = ty.shape.iter().enumerate().filter_map(keep).collect();
    Ok(Value::Tensor(cx.b().reshape(t, shape)?))
}

fn unsqueeze<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let t = args.tensor(cx, "x")?;
    let mut shape = cx.ty(t).shape;
    let at = args.axis(cx, "axis", shape.len() + 1)?.unwrap_or(0);
    shape.insert(at, Dim::ONE);
    Ok(Value::Tensor(cx.b().reshape(t, shape)?))
}

fn expand<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let t = args.tensor(cx, "x")?;
    let ty = cx.ty(t);
    let mut dims = args.dims(cx, "shape")?;
    if dims.len() < ty.rank() {
        return fail("E0201", args.span, format!("cannot expand {ty} to {} axes", dims.len()));
    }
    let first = dims.len() - ty.rank();
    for (i, d) in dims.iter_mut().enumerate() {
        if d.is_const(-1) {
            match i.checked_sub(first) {
                Some(j) => *d = ty.shape[j].clone(),
                None => return fail("E0201", args.span, "-1 keeps a dim, and a new axis has none"),
            }
        }
    }
    let shape: Shape = dims.into_iter().collect();
    Ok(Value::Tensor(cx.b().broadcast_to(t, &shape)?))
}

/// The tensors of a list in their common dtype.
fn same_dtype<'a>(cx: &mut Interp<'a>, args: &Args<'a>) -> R<Vec<ValueId>> {
    let span = args.span_of("tensors");
    let tensors = args.tensors(cx, "tensors")?;
    let Some(&first) = tensors.first() else {
        return fail("E0206", span, format!("`{}` needs at least one tensor", args.name()));
    };
    let mut dtype = cx.ty(first).dtype;
    for &t in &tensors {
        let next = cx.ty(t).dtype;
        let Some(d) = dtype.promote(next) else {
            return Err(error("E0203", span, format!("`{}` of {dtype} and {next}", args.name()))
                .hint("cast one of them: `x.cast(f32)`")
                .into());
        };
        dtype = d;
    }
    tensors.into_iter().map(|t| Ok(cx.b().cast(t, dtype)?)).collect()
}

fn concat<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let tensors = same_dtype(cx, &args)?;
    let axis = args.axis(cx, "axis", cx.ty(tensors[0]).rank())?.unwrap_or(0);
    Ok(Value::Tensor(cx.b().concat(&tensors, axis)?))
}

fn stack<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let tensors = same_dtype(cx, &args)?;
    let first = cx.ty(tensors[0]);
    let axis = args.axis(cx, "axis", first.rank() + 1)?.unwrap_or(0);
    let mut parts = vec![];
    for &t in &tensors {
        let mut shape = cx.ty(t).shape;
        if shape.len() != first.rank() {
            return fail("E0206", args.span, format!("cannot stack {first} and {}", cx.ty(t)));
        }
        shape.insert(axis, Dim::ONE);
        parts.push(cx.b().reshape(t, shape)?);
    }
    Ok(Value::Tensor(cx.b().concat(&parts, axis)?))
}

fn chunk<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let t = args.tensor(cx, "x")?;
    let ty = cx.ty(t);
    let axis = args.axis(cx, "axis", ty.rank())?.unwrap_or(0);
    let n = args.int(cx, "n")?.unwrap_or(1);
    if !(1..=4096).contains(&n) || ty.rank() == 0 {
        return fail("E0205", args.span, format!("cannot cut {ty} into {n} parts"));
    }
    let dim = &ty.shape[axis];
    let Some(size) = dim.div_exact(&Dim::from(n)) else {
        return Err(error(
            "E0205",
            args.span,
            format!("axis {axis} of {ty} does not divide into {n} equal parts"),
        )
        .hint("use `split(x, sizes, axis: ..)` for parts of different sizes")
        .into());
    };
    parts(cx, t, axis, vec![size; n as usize])
}

fn split<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let t = args.tensor(cx, "x")?;
    let ty = cx.ty(t);
    let axis = args.axis(cx, "axis", ty.rank())?.unwrap_or(0);
    if ty.rank() == 0 {
        return fail("E0202", args.span, "a scalar cannot be split");
    }
    let dim = ty.shape[axis].clone();
    let sizes = match args.value("sizes")? {
        Value::List(_) | Value::Tuple(_) => args.dims(cx, "sizes")?,
        v => {
            let size = cx.to_int(v, args.span_of("sizes"))?;
            let Some(n) = dim.as_const().filter(|_| size > 0) else {
                return fail(
                    "E0312",
                    args.span,
                    format!("splitting {ty} by one size needs a known dim and a positive size"),
                );
            };
            let mut out = vec![Dim::from(size); (n / size) as usize];
            if n % size != 0 {
                out.push(Dim::from(n % size));
            }
            out
        }
    };
    let total = sizes.iter().fold(Dim::ZERO, |a, b| &a + b);
    cx.same_dim(&total, &dim, args.span, |_| {
        error("E0205", args.span, format!("the sizes add up to {total}, axis {axis} of {ty} has {dim}"))
    })?;
    parts(cx, t, axis, sizes)
}

fn parts<'a>(cx: &mut Interp<'a>, t: ValueId, axis: usize, sizes: Vec<Dim>) -> R<Value<'a>> {
    let mut at = Dim::ZERO;
    let mut out = vec![];
    for size in sizes {
        let end = &at + &size;
        out.push(Value::Tensor(cx.b().slice_axis(t, axis, at, end.clone())?));
        at = end;
    }
    Ok(Value::list(out))
}

fn unstack<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let t = args.tensor(cx, "x")?;
    let ty = cx.ty(t);
    let axis = args.axis(cx, "axis", ty.rank())?.unwrap_or(0);
    let n = ty.shape.get(axis).and_then(Dim::as_const);
    let Some(n) = n.filter(|n| (0..=4096).contains(n)) else {
        return fail(
            "E0312",
            args.span,
            format!("`unstack` needs a known, small dim at axis {axis} of {ty}"),
        );
    };
    let mut shape = ty.shape.clone();
    shape.remove(axis);
    let mut out = vec![];
    for i in 0..n {
        let v = cx.b().slice_axis(t, axis, Dim::from(i), Dim::from(i + 1))?;
        out.push(Value::Tensor(cx.b().reshape(v, shape.clone())?));
    }
    Ok(Value::list(out))
}

fn pad<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let t = args.tensor(cx, "x")?;
    let ty = cx.ty(t);
    let sizes = args.dims(cx, "pad")?;
    if sizes.len() % 2 != 0 || sizes.len() / 2 > ty.rank() {
        let title =
            format!("`pad` takes two sizes for each of the last axes, this is {} for {ty}", sizes.len());
        return fail("E0205", args.span_of("pad"), title);
    }
    let (mut low, mut high) = (vec![Dim::ZERO; ty.rank()], vec![Dim::ZERO; ty.rank()]);
    for (i, pair) in sizes.chunks_exact(2).enumerate() {
        let axis = ty.rank() - 1 - i;
        (low[axis], high[axis]) = (pair[0].clone(), pair[1].clone());
    }
    let fill = match args.get("value").cloned() {
        Some(v) => cx.tensor_of(&v, ty.dtype, args.span_of("value"))?,
        None if ty.dtype == DType::Bool => cx.tensor_of(&Value::Bool(false), DType::Bool, args.span)?,
        None => cx.b().scalar(ty.dtype, 0.0)?,
    };
    Ok(Value::Tensor(cx.b().pad(t, low, high, fill)?))
}

fn roll<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let t = args.tensor(cx, "x")?;
    let ty = cx.ty(t);
    let shift = args.int(cx, "shift")?.unwrap_or(0);
    // Without an axis, PyTorch rolls the flattened tensor.
    let Some(axis) = args.axis(cx, "axis", ty.rank())? else {
        let flat = cx.b().reshape(t, [ty.count()].into_iter().collect())?;
        let v = roll_axis(cx, flat, 0, shift)?;
        return Ok(Value::Tensor(cx.b().reshape(v, ty.shape)?));
    };
    Ok(Value::Tensor(roll_axis(cx, t, axis, shift)?))
}

fn roll_axis(cx: &mut Interp<'_>, t: ValueId, axis: usize, shift: i64) -> R<ValueId> {
    let dim = cx.ty(t).shape[axis].clone();
    if shift == 0 || dim.is_const(0) {
        return Ok(t);
    }
    let cut = match dim.as_const() {
        Some(n) => Dim::from(n - shift.rem_euclid(n)),
        None => &dim - &Dim::from(shift).rem(&dim),
    };
    let head = cx.b().slice_axis(t, axis, cut.clone(), dim)?;
    let tail = cx.b().slice_axis(t, axis, Dim::ZERO, cut)?;
    Ok(cx.b().concat(&[head, tail], axis)?)
}

fn flip<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let t = args.tensor(cx, "x")?;
    let axes = args.axes(cx, "axes", cx.ty(t).rank())?;
    Ok(Value::Tensor(if axes.is_empty() { t } else { cx.b().op(Flip { axes }, &[t])? }))
}

fn tile<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let t = args.tensor(cx, "x")?;
    let repeats = args.dims(cx, "repeats")?;
    let mut v = t;
    let mut shape = cx.ty(t).shape;
    while shape.len() < repeats.len() {
        shape.insert(0, Dim::ONE);
    }
    v = cx.b().reshape(v, shape.clone())?;
    // Each axis becomes (repeat, dim), which a broadcast fills and a reshape joins.
    let mut wide = Shape::new();
    let mut axes = vec![];
    let mut result = Shape::new();
    let skip = shape.len() - repeats.len();
    for (i, d) in shape.iter().enumerate() {
        let n = i.checked_sub(skip).map_or(Dim::ONE, |j| repeats[j].clone());
        wide.push(n.clone());
        axes.push(wide.len());
        wide.push(d.clone());
        result.push(&n * d);
    }
    let v = cx.b().broadcast(v, wide, axes)?;
    Ok(Value::Tensor(cx.b().reshape(v, result)?))
}

fn repeat_interleave<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let t = args.tensor(cx, "x")?;
    let ty = cx.ty(t);
    let axis = args.axis(cx, "axis", ty.rank())?.unwrap_or(0);
    let n = cx.to_dim(args.value("n")?, args.span_of("n"))?;
    if n.is_const(1) || ty.rank() == 0 {
        return Ok(Value::Tensor(t));
    }
    let mut wide = ty.shape.clone();
    wide.insert(axis + 1, n.clone());
    let axes = (0..wide.len()).filter(|&a| a != axis + 1).collect();
    let mut shape = ty.shape;
    shape[axis] = &shape[axis] * &n;
    let v = cx.b().broadcast(t, wide, axes)?;
    Ok(Value::Tensor(cx.b().reshape(v, shape)?))
}
