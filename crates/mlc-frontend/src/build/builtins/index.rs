//! Reading and adding at computed indices, with PyTorch's meanings.

use mlc_ir::graph::ValueId;
use mlc_ir::types::Shape;
use mlc_ir::{DType, Dim};

use super::{Args, Builtin};
use crate::build::fail::{R, error, fail};
use crate::build::interp::Interp;
use crate::build::value::Value;

pub const TABLE: &[Builtin] = &[
    Builtin {
        name: "gather",
        params: "x index axis",
        run: gather,
        doc: "result[i, j] = x[i, index[i, j]] for axis 1; index has the rank of x.",
    },
    Builtin {
        name: "index_select",
        params: "x index axis?",
        run: take,
        doc: "The slices of x at these indices along an axis.",
    },
    Builtin {
        name: "take",
        params: "x index axis?",
        run: take,
        doc: "The slices of x at these indices along an axis; the index's shape takes the axis' place.",
    },
    Builtin {
        name: "scatter_add",
        params: "x index src",
        run: scatter_add,
        doc: "x with src[i] added at x[index[i]]; a list of index tensors indexes several leading axes.",
    },
    Builtin {
        name: "index_add",
        params: "x index src axis?",
        run: index_add,
        doc: "x with slices of src added at these indices along an axis.",
    },
];

fn index_tensor<'a>(cx: &mut Interp<'a>, args: &Args<'a>, name: &str) -> R<ValueId> {
    let t = args.tensor(cx, name)?;
    let ty = cx.ty(t);
    if ty.dtype.is_int() {
        return Ok(t);
    }
    let title = format!("`{name}` of `{}` must be an integer tensor, this is {ty}", args.name());
    Err(error("E0203", args.span_of(name), title).hint("cast it: `i.cast(i64)`").into())
}

fn gather<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let (x, index) = (args.tensor(cx, "x")?, index_tensor(cx, &args, "index")?);
    let (tx, ti) = (cx.ty(x), cx.ty(index));
    if tx.rank() != ti.rank() || tx.rank() == 0 {
        let title = format!("`gather` takes an index of the same rank: {tx} against {ti}");
        return Err(error("E0201", args.span, title)
            .hint("use `take(x, index, axis: ..)` for whole slices")
            .into());
    }
    let axis = args.axis(cx, "axis", tx.rank())?.unwrap_or(0);
    // The other axes are read at their own position, which must lie inside x.
    let mut indices = vec![];
    for i in 0..tx.rank() {
        if i == axis {
            indices.push(index);
            continue;
        }
        let (a, b) = (ti.shape[i].clone(), tx.shape[i].clone());
        cx.same_dim(&a, &b, args.span, |_| {
            error("E0201", args.span, format!("`gather` at axis {i}: index {ti} against {tx}"))
        })?;
        indices.push(cx.b().iota(DType::I64, ti.shape.clone(), i)?);
    }
    Ok(Value::Tensor(cx.b().gather(x, (0..tx.rank()).collect(), &indices, false)?))
}

fn take<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let (x, index) = (args.tensor(cx, "x")?, index_tensor(cx, &args, "index")?);
    let rank = cx.ty(x).rank();
    let axis = args.axis(cx, "axis", rank)?.unwrap_or(0);
    if rank == 0 {
        return fail("E0202", args.span, "a scalar has no axis to take from");
    }
    Ok(Value::Tensor(cx.b().gather(x, vec![axis], &[index], false)?))
}

fn scatter_add<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let x = args.tensor(cx, "x")?;
    let indices = args.tensors(cx, "index")?;
    let indices = cx.broadcast_all("indices", &indices, args.span_of("index"))?;
    scatter(cx, &args, x, (0..indices.len()).collect(), &indices)
}

fn index_add<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let (x, index) = (args.tensor(cx, "x")?, index_tensor(cx, &args, "index")?);
    let axis = args.axis(cx, "axis", cx.ty(x).rank())?.unwrap_or(0);
    scatter(cx, &args, x, vec![axis], &[index])
}

fn scatter<'a>(
    cx: &mut Interp<'a>,
    args: &Args<'a>,
    x: ValueId,
    axes: Vec<usize>,
    indices: &[ValueId],
) -> R<Value<'a>> {
    let tx = cx.ty(x);
    if axes.len() > tx.rank() || indices.is_empty() {
        return fail("E0202", args.span, format!("{} index tensors for {tx}", axes.len()));
    }
    if let Some(&bad) = indices.iter().find(|&&i| !cx.ty(i).dtype.is_int()) {
        let title = format!("an index must be an integer tensor, this is {}", cx.ty(bad));
        return Err(error("E0203", args.span_of("index"), title).hint("cast it: `i.cast(i64)`").into());
    }
    let v = args.value("src")?.clone();
    let src = cx.tensor_of(&v, tx.dtype, args.span_of("src"))?;
    // What the gather would give is what the source must be; a scalar or a dim of 1 stretches to it.
    let mut want: Shape = tx.shape[..axes[0]].iter().cloned().collect();
    want.extend(cx.ty(indices[0]).shape.iter().cloned());
    want.extend((axes[0]..tx.rank()).filter(|a| !axes.contains(a)).map(|a| tx.shape[a].clone()));
    let ts = cx.ty(src);
    if ts.rank() > want.len() {
        let want: Vec<String> = want.iter().map(Dim::to_string).collect();
        let title =
            format!("`{}` into {tx} takes a source of shape [{}], this is {ts}", args.name(), want.join(","));
        return fail("E0201", args.span_of("src"), title);
    }
    let src = cx.b().broadcast_to(src, &want)?;
    Ok(Value::Tensor(cx.b().scatter_add(x, axes, indices, src, true)?))
}
