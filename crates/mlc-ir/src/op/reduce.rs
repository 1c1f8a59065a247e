//! Reductions over axes.

use mlc_diag::Diagnostic;
use smallvec::smallvec;

use super::{
    Attrs, CastPolicy, Cotangents, Domain, Gradient, InferCx, OpDef, Sample, SampleOperand, ScalarFn, Types,
    Vjp,
};
use crate::eval::{Elements, EvalError, Tensor, coordinates, linear_index};
use crate::graph::{GraphBuilder, ValueId};
use crate::types::{DType, DTypeKind, Dim, Relation, Shape, Type};

/// Reduces over `axes` (ascending, at least one), which the result lacks. The order of additions is
/// the loop IR's row and column trees.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reduce {
    pub kind: ReduceKind,
    pub axes: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReduceKind {
    Sum,
    Prod,
    Max,
    Min,
    /// The linear index over `axes` of the greatest, as i64; the first among equals, NaN greatest.
    ArgMax,
    ArgMin,
    And,
    Or,
}

impl ReduceKind {
    pub const ALL: [ReduceKind; 8] = [
        ReduceKind::Sum,
        ReduceKind::Prod,
        ReduceKind::Max,
        ReduceKind::Min,
        ReduceKind::ArgMax,
        ReduceKind::ArgMin,
        ReduceKind::And,
        ReduceKind::Or,
    ];

    pub fn name(self) -> &'static str {
        match self {
            ReduceKind::Sum => "sum",
            ReduceKind::Prod => "prod",
            ReduceKind::Max => "max",
            ReduceKind::Min => "min",
            ReduceKind::ArgMax => "argmax",
            ReduceKind::ArgMin => "argmin",
            ReduceKind::And => "and",
            ReduceKind::Or => "or",
        }
    }

    /// The kind of this name.
    ///
    /// # Errors
    /// Where there is none.
    pub fn find(name: &str) -> Result<ReduceKind, String> {
        let found = ReduceKind::ALL.into_iter().find(|k| k.name() == name);
        found.ok_or_else(|| format!("`{name}` is not a reduction"))
    }

    /// Is the result an index?
    pub fn is_arg(self) -> bool {
        matches!(self, ReduceKind::ArgMax | ReduceKind::ArgMin)
    }

    /// Has an empty axis no result? (The others give their identity.)
    pub fn needs_elements(self) -> bool {
        matches!(self, ReduceKind::Max | ReduceKind::Min | ReduceKind::ArgMax | ReduceKind::ArgMin)
    }
}

impl OpDef for Reduce {
    const NAME: &'static str = "reduce";

    fn doc() -> &'static str {
        "Combines the elements over `axes` (ascending, at least one), which the result lacks. `kind` is `sum`, `prod`, `max`, `min` (of numbers), \
         `argmax`, `argmin` (the linear index over `axes`, i64; the first among equals; NaN counts as greatest and as least), `and`, `or` (of bools). \
         Over no elements a sum is 0, a product 1, `and` true, `or` false; the others need elements. NaN wins in `max` and `min`. The order of \
         additions is fixed by the shape alone.\n\n \
         Gradient: `sum`: the cotangent repeated. `prod`: the product of the others, exact with zeros. `max`, `min`: shared evenly among \
         the equal greatest or least. None through the rest."
    }

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 1, operands)?;
        let x = &operands[0];
        let name = self.kind.name();
        for &axis in &self.axes {
            cx.axis(axis, x)?;
        }
        if self.axes.is_empty() || !self.axes.windows(2).all(|w| w[0] < w[1]) {
            return Err(Diagnostic::bug(format!("reduce axes {:?} are not ascending", self.axes)));
        }
        let logical = matches!(self.kind, ReduceKind::And | ReduceKind::Or);
        if logical != (x.dtype.kind() == DTypeKind::Bool) {
            let hint = if logical { "compare first: `x != 0`" } else { "cast it first: `x.cast(f32)`" };
            return Err(cx
                .error("E0203", format!("`{name}` does not take {}", x.dtype), operands)
                .hint(hint));
        }
        if self.kind.needs_elements() {
            for &axis in &self.axes {
                let one = crate::types::Dim::ONE;
                cx.require(&one, Relation::Le, &x.shape[axis], |cx| {
                    cx.error(
                        "E0207",
                        format!("`{name}` over axis {axis} of {x}, which may be empty"),
                        operands,
                    )
                })?;
            }
        }
        let dtype =
            if matches!(self.kind, ReduceKind::ArgMax | ReduceKind::ArgMin) { DType::I64 } else { x.dtype };
        let kept = x.shape.iter().enumerate().filter(|(i, _)| !self.axes.contains(i)).map(|(_, d)| d.clone());
        Ok(smallvec![Type::new(dtype, kept)])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("kind", self.kind.name()).with("axes", &*self.axes)
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(Reduce { kind: ReduceKind::find(a.str("kind")?)?, axes: a.axes("axes")? })
    }

    fn gradient(&self) -> Gradient {
        match self.kind {
            ReduceKind::Sum | ReduceKind::Prod | ReduceKind::Max | ReduceKind::Min => Gradient::Rule,
            ReduceKind::ArgMax | ReduceKind::ArgMin => {
                Gradient::Zero("an index is constant between its jumps")
            }
            ReduceKind::And | ReduceKind::Or => Gradient::Zero("its result is not a float"),
        }
    }

    fn vjp(&self, b: &mut GraphBuilder<'_>, at: &Vjp<'_>) -> Result<Cotangents, Diagnostic> {
        let (x, y) = (at.operands[0], at.results[0]);
        at.first(|g| match self.kind {
            ReduceKind::Prod => self.pull_prod(b, x, y, g),
            ReduceKind::Max | ReduceKind::Min => self.pull_extremum(b, x, y, g),
            _ => {
                let shape = b.shape(x);
                b.unreduce(g, &shape, &self.axes)
            }
        })
    }

    fn cast_policy(&self) -> CastPolicy {
        match self.kind {
            ReduceKind::Sum | ReduceKind::Prod => CastPolicy::KeepF32,
            _ => CastPolicy::Any,
        }
    }

    fn eval(&self, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let x = operands[0];
        let kept: Vec<usize> = (0..x.rank()).filter(|a| !self.axes.contains(a)).collect();
        let pick = |axes: &[usize], at: &[usize]| axes.iter().map(|&a| at[a]).collect::<Vec<_>>();
        let shape = pick(&kept, &x.shape);
        let mut groups: Vec<Vec<usize>> = vec![vec![]; shape.iter().product()];
        for (i, at) in coordinates(&x.shape).enumerate() {
            groups[linear_index(&shape, &pick(&kept, &at))].push(i);
        }
        if self.kind.needs_elements() && groups.iter().any(Vec::is_empty) {
            return Err(EvalError::new(format!("`{}` of no elements", self.kind.name())));
        }
        let floats = matches!(x.data, Elements::F(_));
        if floats && !matches!(self.kind, ReduceKind::ArgMax | ReduceKind::ArgMin) {
            let values = x.to_f64();
            let results: Vec<f64> =
                groups.iter().map(|g| self.combine_floats(g.iter().map(|&i| values[i]))).collect();
            return Ok(vec![Tensor::from_f64(x.dtype, &shape, &results)]);
        }
        let dtype = if self.kind.is_arg() { DType::I64 } else { x.dtype };
        let results: Vec<i128> = if floats {
            let values = x.to_f64();
            groups.iter().map(|g| self.float_index(g.iter().map(|&i| values[i]))).collect()
        } else {
            let values = x.to_ints();
            groups
                .iter()
                .map(|g| self.combine_ints(&g.iter().map(|&i| values[i]).collect::<Vec<_>>()))
                .collect()
        };
        Ok(vec![Tensor::from_ints(dtype, shape, results.into_iter())])
    }

    fn samples() -> Vec<Sample> {
        let mut out = vec![];
        for kind in ReduceKind::ALL {
            let logical = matches!(kind, ReduceKind::And | ReduceKind::Or);
            let smooth = match kind {
                ReduceKind::Sum | ReduceKind::Prod => 2,
                ReduceKind::Max | ReduceKind::Min => 1,
                _ => 0,
            };
            let error = if matches!(kind, ReduceKind::Sum | ReduceKind::Prod) { 32.0 } else { 0.0 };
            let mut add = |note: &str, shape: &[usize], axes: &[usize], dtype: DType, domain: Domain| {
                let op = Reduce { kind, axes: axes.to_vec() };
                let operands = vec![SampleOperand::new(dtype, shape, domain)];
                let sample = Sample::new(&format!("{}, {note}", kind.name()), op, operands).error(error);
                out.push(if dtype.is_float() { sample } else { sample.error(0.0) });
            };
            if logical {
                for (shape, axes) in [(&[4, 5][..], &[1][..]), (&[3, 2], &[0]), (&[0, 2], &[0]), (&[7], &[0])]
                {
                    add(&format!("{shape:?} over {axes:?}"), shape, axes, DType::Bool, Domain::Bools);
                }
                continue;
            }
            for (shape, axes) in REDUCTIONS {
                if kind.needs_elements() && axes.iter().any(|&a| shape[a] == 0) {
                    continue;
                }
                let domain =
                    if smooth == 1 || kind.is_arg() { Domain::Distinct } else { Domain::Apart(0.3, 1.5) };
                add(&format!("{shape:?} over {axes:?}"), shape, axes, DType::F32, domain);
            }
            add("many, with zeros", &[2, 41], &[1], DType::F32, Domain::Values(many(41)));
            add("ties", &[3, 4], &[1], DType::F32, Domain::Values(vec![1.0, 1.0, 0.0, 1.0, 0.0]));
            add("NaN", &[4, 3], &[1], DType::F32, Domain::Values(ODD.to_vec()));
            add("i64", &[3, 5], &[1], DType::I64, Domain::Ints(-9, 9));
            add("u8", &[3, 5], &[0], DType::U8, Domain::Ints(0, 255));
            let generic = |s: &Sample| s.note.contains("over") && s.operands[0].ty.dtype == DType::F32;
            out.iter_mut()
                .filter(|s| generic(s) && s.note.starts_with(&format!("{},", kind.name())))
                .for_each(|s| s.smooth = smooth);
        }
        out
    }
}

const REDUCTIONS: [(&[usize], &[usize]); 9] = [
    (&[7], &[0]),
    (&[3, 5], &[1]),
    (&[3, 5], &[0]),
    (&[2, 3, 4], &[0, 2]),
    (&[2, 3, 4], &[1]),
    (&[3, 1], &[1]),
    (&[2, 3], &[0, 1]),
    (&[0, 3], &[1]),
    (&[3, 0], &[1]),
];

/// The longest product whose derivative is made of the matrix of pairs.
const MOST_PAIRED: i64 = 32;

const ODD: [f64; 12] =
    [1.0, f64::NAN, 2.0, f64::INFINITY, 0.0, -0.0, f64::NEG_INFINITY, 3.0, f64::NAN, -0.0, 0.0, -1.0];

/// Values near 1 in two rows of n: with one zero, then with two.
fn many(n: usize) -> Vec<f64> {
    let zero = |i: usize| [7, n + 3, n + 9].contains(&i);
    (0..2 * n).map(|i| if zero(i) { 0.0 } else { 0.8 + 0.01 * i as f64 }).collect()
}

impl Reduce {
    fn combine_floats(&self, values: impl Iterator<Item = f64>) -> f64 {
        let beats = |a: f64, b: f64| match self.kind {
            _ if a.is_nan() || b.is_nan() => a.is_nan(),
            ReduceKind::Max => a > b,
            _ => a < b,
        };
        match self.kind {
            ReduceKind::Sum => values.sum::<f64>() + 0.0,
            ReduceKind::Prod => values.product(),
            _ => values.reduce(|a, b| if beats(a, b) { a } else { b }).unwrap_or(f64::NAN),
        }
    }

    /// The first place of the greatest or least, a NaN before all.
    fn float_index(&self, values: impl Iterator<Item = f64>) -> i128 {
        let mut best: Option<(usize, f64)> = None;
        for (i, v) in values.enumerate() {
            let better = |b: f64| if self.kind == ReduceKind::ArgMax { v > b } else { v < b };
            if best.is_none_or(|(_, b)| !b.is_nan() && (v.is_nan() || better(b))) {
                best = Some((i, v));
            }
        }
        best.map_or(0, |(i, _)| i as i128)
    }

    fn combine_ints(&self, values: &[i128]) -> i128 {
        let place = |best: Option<&i128>| best.and_then(|b| values.iter().position(|v| v == b)).unwrap_or(0);
        match self.kind {
            ReduceKind::Sum => values.iter().sum(),
            // Modulo 2^64, which every dtype's width divides.
            ReduceKind::Prod => values.iter().fold(1, |p: i128, &v| i128::from(p.wrapping_mul(v) as i64)),
            ReduceKind::Max => values.iter().copied().max().unwrap_or(0),
            ReduceKind::Min => values.iter().copied().min().unwrap_or(0),
            ReduceKind::ArgMax => place(values.iter().max()) as i128,
            ReduceKind::ArgMin => place(values.iter().min()) as i128,
            ReduceKind::And => values.iter().all(|&v| v != 0).into(),
            ReduceKind::Or => values.iter().any(|&v| v != 0).into(),
        }
    }

    /// (x == y) * g / how many are equal. A NaN equals nothing: 0 / 0 gives NaN, as in PyTorch.
    fn pull_extremum(
        &self,
        b: &mut GraphBuilder<'_>,
        x: ValueId,
        y: ValueId,
        g: ValueId,
    ) -> Result<ValueId, Diagnostic> {
        let (shape, dtype) = (b.shape(x), b.ty(x).dtype);
        let greatest = b.unreduce(y, &shape, &self.axes)?;
        let equal = b.map(ScalarFn::Eq, &[x, greatest])?;
        let mask = b.cast(equal, dtype)?;
        let count = b.sum(mask, self.axes.clone())?;
        let count = b.unreduce(count, &shape, &self.axes)?;
        let g = b.unreduce(g, &shape, &self.axes)?;
        let masked = b.mul(g, mask)?;
        b.div(masked, count)
    }

    fn pull_prod(
        &self,
        b: &mut GraphBuilder<'_>,
        x: ValueId,
        y: ValueId,
        g: ValueId,
    ) -> Result<ValueId, Diagnostic> {
        let shape = b.shape(x);
        let count = self.axes.iter().fold(Dim::ONE, |n, &a| &n * &shape[a]);
        let others = match count.as_const() {
            Some(..=MOST_PAIRED) => self.others_by_pairs(b, x, count)?,
            _ => self.others_by_quotient(b, x, y)?,
        };
        let g = b.unreduce(g, &shape, &self.axes)?;
        b.mul(g, others)
    }

    /// For each factor the product of the others, from the matrix of (factor left out, factor): exact
    /// for zeros, infinities and NaN, in every order of differentiation.
    fn others_by_pairs(
        &self,
        b: &mut GraphBuilder<'_>,
        x: ValueId,
        count: Dim,
    ) -> Result<ValueId, Diagnostic> {
        let shape = b.shape(x);
        let kept = (0..shape.len()).filter(|a| !self.axes.contains(a));
        let perm: Vec<usize> = kept.chain(self.axes.iter().copied()).collect();
        let moved = b.transpose(x, perm.clone())?;
        let moved_shape = b.shape(moved);
        let mut flat: Shape = moved_shape[..shape.len() - self.axes.len()].into();
        flat.push(count.clone());
        let factors = b.reshape(moved, flat.clone())?;
        let last = flat.len() - 1;
        let mut square = flat.clone();
        square.push(count);
        let spread = b.broadcast(factors, square.clone(), (0..last).chain([last + 1]).collect())?;
        let (left_out, factor) =
            (b.iota(DType::I64, square.clone(), last)?, b.iota(DType::I64, square, last + 1)?);
        let own = b.map(ScalarFn::Eq, &[left_out, factor])?;
        let unit = b.full_like(spread, 1.0)?;
        let rest = b.select(own, unit, spread)?;
        let others = b.reduce(ReduceKind::Prod, rest, vec![last + 1])?;
        let others = b.reshape(others, moved_shape)?;
        let mut inverse = vec![0; perm.len()];
        perm.iter().enumerate().for_each(|(i, &p)| inverse[p] = i);
        b.transpose(others, inverse)
    }

    /// The same in linear time: y / x where no factor is 0; else the product of the factors that are
    /// not 0, at the place of the only zero, and 0 elsewhere. Exact but for rounding; second
    /// derivatives take the zeros for constants.
    fn others_by_quotient(
        &self,
        b: &mut GraphBuilder<'_>,
        x: ValueId,
        y: ValueId,
    ) -> Result<ValueId, Diagnostic> {
        let (shape, dtype) = (b.shape(x), b.ty(x).dtype);
        let (zero, unit) = (b.full_like(x, 0.0)?, b.full_like(x, 1.0)?);
        let is_zero = b.map(ScalarFn::Eq, &[x, zero])?;
        let zeros = b.cast(is_zero, dtype)?;
        let zeros = b.sum(zeros, self.axes.clone())?;
        let zeros = b.unreduce(zeros, &shape, &self.axes)?;
        let safe = b.select(is_zero, unit, x)?;
        let rest = b.reduce(ReduceKind::Prod, safe, self.axes.clone())?;
        let rest = b.unreduce(rest, &shape, &self.axes)?;
        let y = b.unreduce(y, &shape, &self.axes)?;
        let quotient = b.div(y, safe)?;
        let only = b.map(ScalarFn::Eq, &[zeros, unit])?;
        let at_only = b.map(ScalarFn::And, &[is_zero, only])?;
        let none = b.map(ScalarFn::Eq, &[zeros, zero])?;
        let elsewhere = b.select(none, quotient, zero)?;
        b.select(at_only, rest, elsewhere)
    }
}
