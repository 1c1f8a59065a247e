//! Contractions by formula, and `rearrange`.

use mlc_diag::Span;
use mlc_ir::graph::ValueId;
use mlc_ir::op::Contract;
use mlc_ir::types::Shape;
use mlc_ir::{DType, Dim};

use super::{Args, Builtin};
use crate::build::fail::{R, error, fail};
use crate::build::interp::Interp;
use crate::build::value::Value;
use crate::syntax::ast::BinaryOp;

pub const TABLE: &[Builtin] = &[
    Builtin { name: "matmul", params: "a b", run: matmul, doc: "The matrix product, a @ b." },
    Builtin {
        name: "einsum",
        params: "formula a b? c? d?",
        run: einsum,
        doc: "Sums of products by a formula: einsum(\"bhqd,bhkd->bhqk\", q, k).",
    },
    Builtin {
        name: "rearrange",
        params: "x pattern *",
        run: rearrange,
        doc: "Splits, reorders and joins axes: rearrange(x, \"b t (h d) -> b h t d\", h: 8).",
    },
];

fn matmul<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let (a, b) = (args.value("a")?.clone(), args.value("b")?.clone());
    cx.matmul(&a, &b, args.spans("a", "b"))
}

/// A tensor with a letter for each axis.
struct Term {
    value: ValueId,
    labels: Vec<char>,
}

fn einsum<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let formula = args.str("formula")?;
    let at = args.span_of("formula");
    let text: String = formula.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match text.split_once("->") {
        Some((l, r)) => (l.to_owned(), Some(r.to_owned())),
        None => (text, None),
    };
    if let Some(bad) = left
        .chars()
        .chain(right.iter().flat_map(|r| r.chars()))
        .find(|c| !c.is_ascii_alphabetic() && *c != ',')
    {
        return fail("E0214", at, format!("`einsum`: `{bad}` is no axis letter in \"{formula}\""));
    }
    let mut terms = vec![];
    for (part, name) in left.split(',').zip(["a", "b", "c", "d"]) {
        let value = args.tensor(cx, name)?;
        let labels: Vec<char> = part.chars().collect();
        let ty = cx.ty(value);
        if labels.len() != ty.rank() {
            let title = format!("`einsum`: \"{part}\" names {} axes, {ty} has {}", labels.len(), ty.rank());
            return fail("E0214", args.span_of(name), title);
        }
        terms.push(diagonal(cx, Term { value, labels }, args.span)?);
    }
    let given = ["a", "b", "c", "d"].iter().filter(|n| args.get(n).is_some()).count();
    if given != terms.len() || left.split(',').count() != terms.len() {
        return fail(
            "E0214",
            at,
            format!("`einsum`: \"{formula}\" is of {} tensors, {given} are given", left.split(',').count()),
        );
    }
    let output = output_labels(&terms, right.as_deref(), &formula, at)?;
    same_sizes(cx, &terms, args.span)?;
    let mut dtype = cx.ty(terms[0].value).dtype;
    for t in &terms[1..] {
        let other = cx.ty(t.value).dtype;
        let Some(d) = dtype.promote(other) else {
            return Err(error("E0203", args.span, format!("`einsum` of {dtype} and {other}"))
                .hint("cast one of them")
                .into());
        };
        dtype = d;
    }
    for t in &mut terms {
        t.value = cx.b().cast(t.value, dtype)?;
    }
    let mut terms = terms.into_iter();
    let Some(mut acc) = terms.next() else { return fail("E0214", at, "`einsum` of no tensors") };
    while let Some(next) = terms.next() {
        let later: Vec<char> = terms.as_slice().iter().flat_map(|t| t.labels.iter().copied()).collect();
        let needed = |c: &char| output.contains(c) || later.contains(c);
        acc = contract(cx, acc, next, &needed, dtype)?;
    }
    let acc = sum_out(cx, acc, &|c| output.contains(c))?;
    let perm = output.iter().filter_map(|c| acc.labels.iter().position(|l| l == c)).collect();
    Ok(Value::Tensor(cx.b().transpose(acc.value, perm)?))
}

fn output_labels(terms: &[Term], right: Option<&str>, formula: &str, at: Span) -> R<Vec<char>> {
    let all: Vec<char> = terms.iter().flat_map(|t| t.labels.iter().copied()).collect();
    let Some(right) = right else {
        // NumPy's implicit output: letters that occur once, in alphabetical order.
        let mut once: Vec<char> =
            all.iter().copied().filter(|c| all.iter().filter(|d| *d == c).count() == 1).collect();
        once.sort_unstable();
        return Ok(once);
    };
    let out: Vec<char> = right.chars().collect();
    for (i, c) in out.iter().enumerate() {
        if out[..i].contains(c) {
            return fail("E0214", at, format!("`einsum`: the result of \"{formula}\" names `{c}` twice"));
        }
        if !all.contains(c) {
            return fail(
                "E0214",
                at,
                format!("`einsum`: the result of \"{formula}\" names `{c}`, which no tensor has"),
            );
        }
    }
    Ok(out)
}

/// Every letter has one size.
fn same_sizes(cx: &mut Interp<'_>, terms: &[Term], span: Span) -> R<()> {
    let mut known: Vec<(char, Dim)> = vec![];
    for t in terms {
        let shape = cx.ty(t.value).shape;
        for (c, d) in t.labels.iter().zip(&shape) {
            match known.iter().find(|k| k.0 == *c).map(|k| k.1.clone()) {
                None => known.push((*c, d.clone())),
                Some(have) => cx.same_dim(&have, d, span, |_| {
                    error("E0201", span, format!("`einsum`: the axes `{c}` differ: {have} against {d}"))
                })?,
            }
        }
    }
    Ok(())
}

/// Takes the diagonal of axes that share a letter.
fn diagonal(cx: &mut Interp<'_>, mut t: Term, span: Span) -> R<Term> {
    let labels = t.labels.clone();
    let repeat =
        |l: &[char]| (0..l.len()).find_map(|i| (i + 1..l.len()).find(|&j| l[i] == l[j]).map(|j| (i, j)));
    let mut labels = labels;
    while let Some((i, j)) = repeat(&labels) {
        let ty = cx.ty(t.value);
        let (a, b) = (ty.shape[i].clone(), ty.shape[j].clone());
        let c = labels[i];
        cx.same_dim(&a, &b, span, |_| {
            error("E0201", span, format!("`einsum`: the axes `{c}` differ: {a} against {b}"))
        })?;
        let at = cx.b().iota(DType::I64, [a].into_iter().collect(), 0)?;
        t.value = cx.b().gather(t.value, vec![i, j], &[at, at], false)?;
        labels.remove(j);
    }
    t.labels = labels;
    Ok(t)
}

/// Sums axes whose letters are not needed.
fn sum_out(cx: &mut Interp<'_>, t: Term, needed: &dyn Fn(&char) -> bool) -> R<Term> {
    let axes: Vec<usize> = (0..t.labels.len()).filter(|&i| !needed(&t.labels[i])).collect();
    let value = cx.b().sum(t.value, axes)?;
    let labels = t.labels.into_iter().filter(|c| needed(c)).collect();
    Ok(Term { value, labels })
}

fn contract(cx: &mut Interp<'_>, a: Term, b: Term, needed: &dyn Fn(&char) -> bool, dtype: DType) -> R<Term> {
    let (la, lb) = (a.labels.clone(), b.labels.clone());
    let a = sum_out(cx, a, &|c| needed(c) || lb.contains(c))?;
    let b = sum_out(cx, b, &|c| needed(c) || la.contains(c))?;
    let place = |t: &Term, c: char| t.labels.iter().position(|l| *l == c);
    let (mut batch, mut sum, mut labels) = (vec![], vec![], vec![]);
    for (i, &c) in a.labels.iter().enumerate() {
        if let Some(j) = place(&b, c) {
            if needed(&c) {
                batch.push((i, j));
                labels.push(c);
            } else {
                sum.push((i, j));
            }
        }
    }
    let paired: Vec<char> = a.labels.iter().copied().filter(|&c| place(&b, c).is_some()).collect();
    labels.extend(a.labels.iter().chain(&b.labels).copied().filter(|c| !paired.contains(c)));
    if dtype.is_float() {
        let value = cx.b().op(Contract { batch, sum }, &[a.value, b.value])?;
        return Ok(Term { value, labels });
    }
    // Integers: products, then sums.
    let summed: Vec<char> = paired.iter().copied().filter(|c| !needed(c)).collect();
    let all: Vec<char> = labels.iter().chain(&summed).copied().collect();
    let size = |cx: &Interp<'_>, c: char| {
        let of = |t: &Term| place(t, c).map(|i| cx.ty(t.value).shape[i].clone());
        of(&a).or_else(|| of(&b)).unwrap_or(Dim::ONE)
    };
    let shape: Shape = all.iter().map(|&c| size(cx, c)).collect();
    let mut wide = vec![];
    for t in [&a, &b] {
        let order: Vec<usize> = all.iter().filter_map(|&c| place(t, c)).collect();
        let axes = (0..all.len()).filter(|&i| place(t, all[i]).is_some()).collect();
        let v = cx.b().transpose(t.value, order)?;
        wide.push(cx.b().broadcast(v, shape.clone(), axes)?);
    }
    let product = cx.b().mul(wide[0], wide[1])?;
    let value = cx.b().sum(product, (labels.len()..all.len()).collect())?;
    Ok(Term { value, labels })
}

/// One axis of a side of a pattern: the names that it joins.
type Group = Vec<String>;

fn rearrange<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let x = args.tensor(cx, "x")?;
    let pattern = args.str("pattern")?;
    let at = args.span_of("pattern");
    let Some((left, right)) = pattern.split_once("->") else {
        return Err(error("E0214", at, format!("`rearrange`: \"{pattern}\" has no `->`"))
            .hint("for example \"b t (h d) -> b h t d\"")
            .into());
    };
    let ty = cx.ty(x);
    let fixed = groups(left, at)?.len() - usize::from(left.contains(REST));
    let extra = ty.rank().checked_sub(fixed);
    let expand = |side: &str| -> R<Vec<Group>> {
        let mut out = vec![];
        for g in groups(side, at)? {
            if g == [REST] {
                out.extend((0..extra.unwrap_or(0)).map(|i| vec![format!("{REST}{i}")]));
            } else {
                out.push(g);
            }
        }
        Ok(out)
    };
    let (from, to) = (expand(left)?, expand(right)?);
    if from.len() != ty.rank() {
        return fail(
            "E0214",
            at,
            format!("`rearrange`: \"{}\" names {} axes, {ty} has {}", left.trim(), from.len(), ty.rank()),
        );
    }
    let sizes = axis_sizes(cx, &args, &from, &ty.shape, at)?;
    let order: Vec<&String> = from.iter().flatten().collect();
    let target: Vec<&String> = to.iter().flatten().collect();
    for (i, n) in target.iter().enumerate() {
        if target[..i].contains(n) || !order.contains(n) {
            let what =
                if order.contains(n) { "occurs twice on the right" } else { "does not occur on the left" };
            return fail("E0214", at, format!("`rearrange`: `{n}` {what} of \"{pattern}\""));
        }
    }
    if let Some(n) = order.iter().find(|n| !target.contains(n)) {
        return Err(error(
            "E0214",
            at,
            format!("`rearrange`: `{n}` does not occur on the right of \"{pattern}\""),
        )
        .hint("an axis cannot vanish: index or reduce it")
        .into());
    }
    for (n, span, _) in args.extra() {
        if !order.iter().any(|o| **o == n) {
            return fail("E0308", span, format!("`rearrange`: \"{pattern}\" has no axis `{n}`"));
        }
    }
    let size = |n: &String| sizes.iter().find(|s| s.0 == *n).map_or(Dim::ONE, |s| s.1.clone());
    let v = cx.b().reshape(x, order.iter().map(|n| size(n)).collect())?;
    let perm = target.iter().filter_map(|n| order.iter().position(|o| o == n)).collect();
    let v = cx.b().transpose(v, perm)?;
    let shape = to.iter().map(|g| g.iter().fold(Dim::ONE, |d, n| &d * &size(n))).collect();
    Ok(Value::Tensor(cx.b().reshape(v, shape)?))
}

/// Sizes of all names on the left: given, or what is left of their axis.
fn axis_sizes<'a>(
    cx: &mut Interp<'a>,
    args: &Args<'a>,
    from: &[Group],
    shape: &Shape,
    at: Span,
) -> R<Vec<(String, Dim)>> {
    let mut sizes: Vec<(String, Dim)> = vec![];
    for (n, span, v) in args.extra() {
        let d = cx.to_dim(&v, span)?;
        sizes.push((n, d));
    }
    for (g, dim) in from.iter().zip(shape) {
        let known =
            |n: &String, sizes: &[(String, Dim)]| sizes.iter().find(|s| s.0 == *n).map(|s| s.1.clone());
        let open: Vec<&String> = g.iter().filter(|n| known(n, &sizes).is_none()).collect();
        let product = g.iter().filter_map(|n| known(n, &sizes)).fold(Dim::ONE, |a, b| &a * &b);
        match open[..] {
            [] => cx.same_dim(dim, &product, args.span, |_| {
                error(
                    "E0204",
                    args.span,
                    format!("`rearrange`: ({}) has {product} elements, the axis has {dim}", g.join(" ")),
                )
            })?,
            [one] => {
                let spans = [args.span, args.span, at];
                let rest = match cx.binary(
                    BinaryOp::Div,
                    Value::Int(dim.clone()),
                    Value::Int(product.clone()),
                    spans,
                )? {
                    Value::Int(d) => d,
                    _ => {
                        let title = format!(
                            "`rearrange`: an axis of {dim} does not divide into ({}) with {product}",
                            g.join(" ")
                        );
                        return fail("E0204", args.span, title);
                    }
                };
                sizes.push((one.clone(), rest));
            }
            _ => {
                return Err(error(
                    "E0214",
                    at,
                    format!("`rearrange`: the sizes of ({}) are not known", g.join(" ")),
                )
                .hint(format!("give all but one: `{}: n`", open[0]))
                .into());
            }
        }
    }
    Ok(sizes)
}

/// All further axes.
const REST: &str = "..";

fn groups(side: &str, at: Span) -> R<Vec<Group>> {
    let spaced = side.replace("...", " .. ").replace('(', " ( ").replace(')', " ) ");
    let mut out: Vec<Group> = vec![];
    let mut open: Option<Group> = None;
    for word in spaced.split_whitespace() {
        match (word, &mut open) {
            ("(", None) => open = Some(vec![]),
            (")", Some(_)) => out.extend(open.take()),
            ("(" | ")", _) => {
                return fail("E0214", at, format!("`rearrange`: unmatched bracket in \"{side}\""));
            }
            ("1", None) => out.push(vec![]),
            ("1", Some(_)) => {}
            (REST, None) => out.push(vec![REST.to_owned()]),
            (n, slot) => {
                let name = n.chars().all(|c| c.is_alphanumeric() || c == '_')
                    && n.starts_with(|c: char| c.is_alphabetic() || c == '_');
                if !name {
                    return fail("E0214", at, format!("`rearrange`: `{n}` is no axis name"));
                }
                match slot {
                    Some(g) => g.push(n.to_owned()),
                    None => out.push(vec![n.to_owned()]),
                }
            }
        }
    }
    if open.is_some() {
        return fail("E0214", at, format!("`rearrange`: unmatched bracket in \"{side}\""));
    }
    Ok(out)
}
