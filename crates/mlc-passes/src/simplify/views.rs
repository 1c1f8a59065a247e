//! Views: each composed with the view below it, and dropped where it does nothing.

use mlc_ir::graph::{Node, ValueId};
use mlc_ir::op::{Broadcast, Concat, Flip, Op, Pad, Reshape, Slice, Transpose};
use mlc_ir::types::Dim;
use smallvec::smallvec;

use super::{Rewrite, Rewriter};

pub(super) fn view(g: &mut Rewriter<'_>, node: &Node) -> Option<Rewrite> {
    match &node.op {
        Op::Broadcast(op) => broadcast(g, node, op),
        Op::Reshape(op) => reshape(g, node, op),
        Op::Transpose(op) => transpose(g, node, op),
        Op::Slice(op) => slice(g, node, op),
        Op::Pad(op) => pad(g, node, op),
        Op::Concat(op) => concat(g, node, op),
        Op::Flip(op) => flip(g, node, op),
        _ => None,
    }
}

fn on(op: impl Into<Op>, v: ValueId) -> Rewrite {
    Rewrite::Op(op.into(), smallvec![v])
}

fn broadcast(g: &Rewriter<'_>, node: &Node, op: &Broadcast) -> Option<Rewrite> {
    let x = node.operands[0];
    let below = g.below(x)?;
    match &below.op {
        // broadcast(x, shape of x) = x
        _ if g.ty(x).shape == op.shape => Some(Rewrite::Value(x)),
        // broadcast(broadcast(x, a), b) = broadcast(x, b after a)
        Op::Broadcast(inner) => {
            let axes = inner.axes.iter().map(|&a| op.axes[a]).collect();
            Some(on(Broadcast { shape: op.shape.clone(), axes }, below.operands[0]))
        }
        // A reshape that only adds dims of 1 says where the axes go, as the broadcast does.
        Op::Reshape(_) => {
            let source = below.operands[0];
            let places = unit_insertion(&g.ty(source).shape, &g.ty(x).shape)?;
            let axes = places.iter().map(|&a| op.axes[a]).collect();
            Some(on(Broadcast { shape: op.shape.clone(), axes }, source))
        }
        _ => None,
    }
}

/// Where the axes of `from` are in `to`, if `to` is `from` with dims of 1 added.
fn unit_insertion(from: &[Dim], to: &[Dim]) -> Option<Vec<usize>> {
    let mut places = vec![];
    for (at, d) in to.iter().enumerate() {
        match from.get(places.len()) {
            Some(want) if want == d => places.push(at),
            _ if d.is_const(1) => {}
            _ => return None,
        }
    }
    (places.len() == from.len()).then_some(places)
}

fn reshape(g: &Rewriter<'_>, node: &Node, op: &Reshape) -> Option<Rewrite> {
    let x = node.operands[0];
    if g.ty(x).shape == op.shape {
        return Some(Rewrite::Value(x));
    }
    // reshape(reshape(x)) = reshape(x)
    let below = g.below(x)?;
    matches!(below.op, Op::Reshape(_)).then(|| on(op.clone(), below.operands[0]))
}

fn transpose(g: &Rewriter<'_>, node: &Node, op: &Transpose) -> Option<Rewrite> {
    let x = node.operands[0];
    if op.perm.iter().copied().eq(0..op.perm.len()) {
        return Some(Rewrite::Value(x));
    }
    // transpose(transpose(x, p), q) = transpose(x, p after q)
    let below = g.below(x)?;
    let Op::Transpose(inner) = &below.op else { return None };
    let perm = op.perm.iter().map(|&a| inner.perm[a]).collect();
    Some(on(Transpose { perm }, below.operands[0]))
}

fn slice(g: &Rewriter<'_>, node: &Node, op: &Slice) -> Option<Rewrite> {
    let x = node.operands[0];
    let dims = &g.ty(x).shape;
    let whole = |i: usize| op.starts[i].is_const(0) && op.limits[i] == dims[i] && op.steps[i] == 1;
    if (0..dims.len()).all(whole) {
        return Some(Rewrite::Value(x));
    }
    let below = g.below(x)?;
    match &below.op {
        // x[s : l][s2 : l2 : k] = x[s + s2 : s + l2 : k]
        Op::Slice(inner) if inner.steps.iter().all(|&s| s == 1) => {
            let shift =
                |dims: &[Dim]| inner.starts.iter().zip(dims).map(|(s, d)| s + d).collect::<Vec<Dim>>();
            let (starts, limits) = (shift(&op.starts), shift(&op.limits));
            Some(on(Slice { starts, limits, steps: op.steps.clone() }, below.operands[0]))
        }
        // The slice that is exactly one part of a concat is that part.
        Op::Concat(concat) => {
            let axis = concat.axis;
            if !(0..dims.len()).all(|i| i == axis || whole(i)) || op.steps[axis] != 1 {
                return None;
            }
            let mut at = Dim::ZERO;
            for &part in &below.operands {
                let end = &at + &g.ty(part).shape[axis];
                if at == op.starts[axis] && end == op.limits[axis] {
                    return Some(Rewrite::Value(part));
                }
                at = end;
            }
            None
        }
        _ => None,
    }
}

fn pad(g: &Rewriter<'_>, node: &Node, op: &Pad) -> Option<Rewrite> {
    let (x, fill) = (node.operands[0], node.operands[1]);
    if op.low.iter().chain(&op.high).all(|d| d.is_const(0)) {
        return Some(Rewrite::Value(x));
    }
    // pad(pad(x, a, f), b, f) = pad(x, a + b, f)
    let below = g.below(x)?;
    let Op::Pad(inner) = &below.op else { return None };
    if below.operands[1] != fill {
        return None;
    }
    let add = |a: &[Dim], b: &[Dim]| a.iter().zip(b).map(|(a, b)| a + b).collect::<Vec<Dim>>();
    let both = Pad { low: add(&op.low, &inner.low), high: add(&op.high, &inner.high) };
    Some(Rewrite::Op(both.into(), smallvec![below.operands[0], fill]))
}

fn concat(g: &mut Rewriter<'_>, node: &Node, op: &Concat) -> Option<Rewrite> {
    if let [one] = node.operands[..] {
        return Some(Rewrite::Value(one));
    }
    // concat(concat(a, b), c) = concat(a, b, c); an empty part adds nothing.
    let mut parts = smallvec![];
    for &v in &node.operands {
        match g.below(v) {
            _ if g.ty(v).shape[op.axis].is_const(0) => {}
            Some(Node { op: Op::Concat(inner), operands, .. }) if inner.axis == op.axis => {
                parts.extend(operands.iter().copied());
            }
            _ => parts.push(v),
        }
    }
    (!parts.is_empty() && parts != node.operands).then(|| Rewrite::Op(op.clone().into(), parts))
}

fn flip(g: &mut Rewriter<'_>, node: &Node, op: &Flip) -> Option<Rewrite> {
    let x = node.operands[0];
    let dims = g.ty(x).shape.clone();
    let mut axes: Vec<usize> = op.axes.iter().copied().filter(|&a| !dims[a].is_const(1)).collect();
    axes.sort_unstable();
    if axes.is_empty() {
        return Some(Rewrite::Value(x));
    }
    // flip(flip(x, a), b) = flip(x, the axes in one of both)
    let below = g.below(x)?;
    if let Op::Flip(inner) = &below.op {
        let source = below.operands[0];
        let both: Vec<usize> =
            (0..dims.len()).filter(|a| axes.contains(a) != inner.axes.contains(a)).collect();
        return Some(if both.is_empty() { Rewrite::Value(source) } else { on(Flip { axes: both }, source) });
    }
    // flip(broadcast(x)) = broadcast(x) along axes that repeat.
    if let Op::Broadcast(b) = &below.op {
        let source = below.operands[0];
        let kept: Vec<usize> = axes
            .iter()
            .copied()
            .filter(|a| {
                b.axes.iter().position(|p| p == a).is_some_and(|i| !g.ty(source).shape[i].is_const(1))
            })
            .collect();
        if kept != axes {
            let ty = g.ty(x).clone();
            let v = if kept.is_empty() { x } else { g.also(Flip { axes: kept }, &[x], ty, node.prov) };
            return Some(Rewrite::Value(v));
        }
    }
    (axes != op.axes).then(|| on(Flip { axes }, x))
}
