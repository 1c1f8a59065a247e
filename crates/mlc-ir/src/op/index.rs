//! Reading and adding at computed indices.

use mlc_diag::Diagnostic;
use smallvec::smallvec;

use super::{
    Attrs, CastPolicy, Cotangents, Domain, Gradient, InferCx, OpDef, Sample, SampleOperand, Types, Vjp,
};
use crate::eval::{Elements, EvalError, Tensor, coordinates, linear_index, wrap_int};
use crate::graph::GraphBuilder;
use crate::types::{DType, Shape, Type};

/// Operands: `x`, then one integer tensor per entry of `axes`, all of one shape S. The result replaces
/// the indexed axes by S, at the place of `axes[0]`:
/// `result[a.., s.., b..] = x[.., i0[s], .., i1[s], ..]`. An index out of range is a run-time fault.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Gather {
    /// Ascending.
    pub axes: Vec<usize>,
    /// Do negative indices count from the end? (The `x[i]` syntax; not embeddings and labels.)
    pub wrap: bool,
}

/// Operands: `x`, the index tensors as for [`Gather`], then `src`, shaped as the gather of `x` would
/// be. The result is `x` with each element of `src` added at its place, in ascending source order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ScatterAdd {
    pub axes: Vec<usize>,
    pub wrap: bool,
}

/// The shape of a gather, after checking the index operands.
fn gathered(
    cx: &mut InferCx<'_>,
    name: &str,
    axes: &[usize],
    operands: &[Type],
) -> Result<Shape, Diagnostic> {
    let x = &operands[0];
    let indices = &operands[1..1 + axes.len()];
    if axes.is_empty() || !axes.windows(2).all(|w| w[0] < w[1]) {
        return Err(Diagnostic::bug(format!("{name} axes {axes:?} are not ascending")));
    }
    for &axis in axes {
        cx.axis(axis, x)?;
    }
    for index in indices {
        if !index.dtype.is_int() {
            let title = format!("an index must be an integer tensor, this is {index}");
            return Err(cx.error("E0203", title, operands).hint("cast it: `i.cast(i64)`"));
        }
        if index.rank() != indices[0].rank() {
            return Err(cx.error(
                "E0201",
                format!("index tensors {} and {index} differ in rank", indices[0]),
                operands,
            ));
        }
        for (a, b) in indices[0].shape.iter().zip(&index.shape) {
            cx.same_dim("index tensors differ", a, b, operands)?;
        }
    }
    let mut shape: Shape = x.shape[..axes[0]].iter().cloned().collect();
    shape.extend(indices[0].shape.iter().cloned());
    shape.extend((axes[0]..x.rank()).filter(|a| !axes.contains(a)).map(|a| x.shape[a].clone()));
    Ok(shape)
}

impl OpDef for Gather {
    const NAME: &'static str = "gather";

    fn doc() -> &'static str {
        "Operands `x` and one integer tensor for each of `axes` (ascending), all of one shape S. The result replaces the indexed axes by S, at the \
         place of `axes[0]`: `y[a.., s.., b..] = x[.., i0[s], .., i1[s], ..]`. With `wrap` a negative index counts from the end. An index out of \
         range is a run-time fault that names the line.\n\n \
         Gradient: the scatter-add of the cotangent onto zeros; none for the indices."
    }

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 1 + self.axes.len(), operands)?;
        let shape = gathered(cx, Self::NAME, &self.axes, operands)?;
        Ok(smallvec![Type::new(operands[0].dtype, shape)])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("axes", &*self.axes).with("wrap", self.wrap)
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(Gather { axes: a.axes("axes")?, wrap: a.bool("wrap")? })
    }

    fn gradient(&self) -> Gradient {
        Gradient::Rule
    }

    fn vjp(&self, b: &mut GraphBuilder<'_>, at: &Vjp<'_>) -> Result<Cotangents, Diagnostic> {
        at.first(|g| {
            let zeros = b.full_like(at.operands[0], 0.0)?;
            b.scatter_add(zeros, self.axes.clone(), &at.operands[1..], g, self.wrap)
        })
    }

    fn cast_policy(&self) -> CastPolicy {
        CastPolicy::Any
    }

    fn eval(&self, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let (shape, places) = places(&self.axes, self.wrap, operands[0], &operands[1..])?;
        Ok(vec![operands[0].pick(shape, places.into_iter())])
    }

    fn samples() -> Vec<Sample> {
        cases()
            .into_iter()
            .map(|(note, shape, axes, index, wrap)| {
                let op = Gather { axes: axes.clone(), wrap };
                let operands = std::iter::once(SampleOperand::f32(&shape))
                    .chain(axes.iter().map(|&a| index_operand(&index, shape[a], wrap)));
                Sample::new(note, op, operands.collect()).smooth(2)
            })
            .collect()
    }
}

impl OpDef for ScatterAdd {
    const NAME: &'static str = "scatter_add";

    fn doc() -> &'static str {
        "Operands `x`, the index tensors as for `gather`, and `src`, shaped as the gather of `x` by them: `x` with each element of `src` added at \
         its place, in ascending order of the source, so that repeated indices add up and the result never depends on threads.\n\n \
         Gradient: of `x` the cotangent; of `src` its gather; none for the indices."
    }

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 2 + self.axes.len(), operands)?;
        let want = gathered(cx, Self::NAME, &self.axes, operands)?;
        let (x, src) = (&operands[0], &operands[operands.len() - 1]);
        if x.dtype == DType::Bool {
            return Err(cx
                .error("E0203", "`scatter_add` does not take bool", operands)
                .hint("cast it first: `x.cast(f32)`"));
        }
        if src.dtype != x.dtype || src.rank() != want.len() {
            let title = format!(
                "`scatter_add` into {x} takes a source of rank {} and dtype {}, this is {src}",
                want.len(),
                x.dtype
            );
            return Err(cx.error("E0203", title, operands));
        }
        for (i, (a, b)) in want.iter().zip(&src.shape).enumerate() {
            cx.same_dim(&format!("`scatter_add`: the source does not fit at axis {i}"), a, b, operands)?;
        }
        Ok(smallvec![Type::new(x.dtype, x.shape.iter().cloned())])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("axes", &*self.axes).with("wrap", self.wrap)
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(ScatterAdd { axes: a.axes("axes")?, wrap: a.bool("wrap")? })
    }

    fn gradient(&self) -> Gradient {
        Gradient::Rule
    }

    fn vjp(&self, b: &mut GraphBuilder<'_>, at: &Vjp<'_>) -> Result<Cotangents, Diagnostic> {
        let last = at.operands.len() - 1;
        at.each(|i, g| match i {
            0 => Ok(Some(g)),
            i if i == last => b.gather(g, self.axes.clone(), &at.operands[1..last], self.wrap).map(Some),
            _ => Ok(None),
        })
    }

    fn cast_policy(&self) -> CastPolicy {
        CastPolicy::KeepF32
    }

    fn eval(&self, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let (x, src) = (operands[0], operands[operands.len() - 1]);
        let (_, places) = places(&self.axes, self.wrap, x, &operands[1..operands.len() - 1])?;
        if let Elements::F(values) = &x.data {
            let mut values = values.clone();
            places.iter().zip(src.to_f64()).for_each(|(&i, v)| values[i] += v);
            return Ok(vec![Tensor::from_f64(x.dtype, &x.shape, &values)]);
        }
        let mut values = x.to_ints();
        places.iter().zip(src.to_ints()).for_each(|(&i, v)| values[i] = wrap_int(x.dtype, values[i] + v));
        Ok(vec![Tensor::from_ints(x.dtype, x.shape.clone(), values.into_iter())])
    }

    fn samples() -> Vec<Sample> {
        let case = |(note, shape, axes, index, wrap): Case| {
            let kept = (axes[0]..shape.len()).filter(|a| !axes.contains(a)).map(|a| shape[a]);
            let src: Vec<usize> =
                shape[..axes[0]].iter().copied().chain(index.iter().copied()).chain(kept).collect();
            let indices = axes.iter().map(|&a| index_operand(&index, shape[a], wrap));
            let operands = std::iter::once(SampleOperand::f32(&shape))
                .chain(indices)
                .chain([SampleOperand::f32(&src)])
                .collect();
            Sample::new(note, ScatterAdd { axes, wrap }, operands).error(32.0).smooth(2)
        };
        cases().into_iter().map(case).collect()
    }
}

/// The shape of the gathered tensor and the linear place in `x` of each of its elements.
fn places(
    axes: &[usize],
    wrap: bool,
    x: &Tensor,
    indices: &[&Tensor],
) -> Result<(Vec<usize>, Vec<usize>), EvalError> {
    let inner: &[usize] = indices.first().map_or(&[], |i| &i.shape);
    let kept: Vec<usize> = (axes[0]..x.rank()).filter(|a| !axes.contains(a)).collect();
    let shape: Vec<usize> =
        x.shape[..axes[0]].iter().chain(inner).copied().chain(kept.iter().map(|&a| x.shape[a])).collect();
    let columns: Vec<Vec<i128>> = indices.iter().map(|t| t.to_ints()).collect();
    let mut out = vec![];
    for at in coordinates(&shape) {
        let (before, rest) = at.split_at(axes[0]);
        let (within, after) = rest.split_at(inner.len());
        let s = linear_index(inner, within);
        let mut source = vec![0; x.rank()];
        source[..axes[0]].copy_from_slice(before);
        kept.iter().zip(after).for_each(|(&a, &i)| source[a] = i);
        for (&axis, column) in axes.iter().zip(&columns) {
            let (n, i) = (x.shape[axis] as i128, column[s]);
            let wrapped = if wrap && i < 0 { i + n } else { i };
            if !(0..n).contains(&wrapped) {
                return Err(EvalError::new(format!(
                    "the index {i} is out of range of axis {axis} with dim {n}"
                )));
            }
            source[axis] = wrapped as usize;
        }
        out.push(linear_index(&x.shape, &source));
    }
    Ok((shape, out))
}

/// Note, shape of x, axes, shape of the indices, wrap.
type Case = (&'static str, Vec<usize>, Vec<usize>, Vec<usize>, bool);

fn cases() -> Vec<Case> {
    vec![
        ("an embedding", vec![5, 3], vec![0], vec![2, 4], false),
        ("labels: one element a row", vec![4, 5], vec![0, 1], vec![4], false),
        ("the last axis", vec![3, 4], vec![1], vec![5], false),
        ("a middle axis, wrapping", vec![2, 4, 3], vec![1], vec![2, 2], true),
        ("two axes apart", vec![3, 2, 4], vec![0, 2], vec![3], true),
        ("a scalar index", vec![3, 2], vec![0], vec![], false),
        ("no indices", vec![3, 2], vec![0], vec![0], false),
        ("many repeats", vec![2], vec![0], vec![9], false),
        ("an axis of 1", vec![1, 3], vec![0], vec![2], true),
    ]
}

fn index_operand(shape: &[usize], dim: usize, wrap: bool) -> SampleOperand {
    let n = dim as i64;
    SampleOperand::new(DType::I64, shape, Domain::Ints(if wrap { -n } else { 0 }, n - 1))
}
