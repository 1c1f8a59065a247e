//! The run-time loop.

mod body;
mod samples;

use std::collections::HashMap;

use mlc_diag::Diagnostic;

use super::{Attrs, CastPolicy, Cotangents, Gradient, InferCx, Op, OpDef, Sample, Types, Vjp};
use crate::eval::{EvalError, Precision, Tensor, evaluate, sizes};
use crate::graph::{GraphBuilder, Output, Region};
use crate::types::{Binding, DType, Dim, Symbol, Type};

pub use body::{Port, ScanBody};

/// Runs a region `trips` times. Operands: `each` values of which every trip gets its slice along axis 0, then
/// `carries` first values, then what all trips see. Results: the carries' last values, then for each output
/// of the region the tensor of all trips' values, stacked along a new axis 0.
///
/// The region's interface is by name: inputs `trip` (i64), `each.N`, `kept.N`, states `carry.N`, outputs
/// `out.N`. An input that it does not use need not be there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scan {
    pub trips: Dim,
    pub each: usize,
    pub carries: usize,
    pub body: Region,
}

impl Scan {
    /// The operand that a port of the body is fed from.
    pub fn operand(&self, port: Port) -> Option<usize> {
        match port {
            Port::Each(i) => Some(i),
            Port::Carry(i) => Some(self.each + i),
            Port::Kept(i) => Some(self.each + self.carries + i),
            Port::Trip | Port::Out(_) => None,
        }
    }

    /// The type that a port must have, given the operands'.
    fn port_type(&self, port: Port, operands: &[Type]) -> Option<Type> {
        if port == Port::Trip {
            return Some(Type::scalar(DType::I64));
        }
        let ty = operands.get(self.operand(port)?)?;
        let inside = match port {
            Port::Each(i) if i < self.each => ty.with_shape(ty.shape.iter().skip(1).cloned()),
            Port::Carry(i) if i < self.carries => ty.clone(),
            Port::Kept(_) => ty.clone(),
            _ => return None,
        };
        Some(inside.on(None))
    }

    /// The ends of the body against the operands.
    fn check_body(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<(), Diagnostic> {
        let body = self.body.graph();
        for id in body.ids() {
            let (name, is_state) = match &body.node(id).op {
                Op::Input(op) => (&op.name, false),
                Op::State(op) => (&op.path, true),
                _ => continue,
            };
            let port = Port::of(name).filter(|p| matches!(p, Port::Carry(_)) == is_state);
            let Some(want) = port.and_then(|p| self.port_type(p, operands)) else {
                return Err(Diagnostic::bug(format!("the body of a scan has no place for `{name}`")));
            };
            same_type(cx, &format!("`{name}` of a scan"), &want, body.ty(id.value()), operands)?;
        }
        if body.writes.len() != self.carries {
            let title =
                format!("the body of a scan writes {} of {} carries", body.writes.len(), self.carries);
            return Err(Diagnostic::bug(title));
        }
        for w in &body.writes {
            let port = Port::of(&w.state).filter(|p| matches!(p, Port::Carry(_)));
            let Some(want) = port.and_then(|p| self.port_type(p, operands)) else {
                return Err(Diagnostic::bug(format!("the body of a scan writes `{}`", w.state)));
            };
            let what = format!("`{}` of a scan changes its type", w.state);
            same_type(cx, &what, &want, body.ty(w.value), operands)?;
        }
        match body.outputs.iter().enumerate().find(|(i, o)| Port::of(&o.name) != Some(Port::Out(*i))) {
            Some((i, o)) => {
                Err(Diagnostic::bug(format!("output {i} of a scan's body is called `{}`", o.name)))
            }
            None => Ok(()),
        }
    }
}

fn same_type(
    cx: &mut InferCx<'_>,
    what: &str,
    want: &Type,
    have: &Type,
    operands: &[Type],
) -> Result<(), Diagnostic> {
    if want.dtype != have.dtype || want.rank() != have.rank() {
        return Err(Diagnostic::bug(format!("{what}: {have} where {want} is needed")));
    }
    want.shape.iter().zip(&have.shape).try_for_each(|(a, b)| cx.same_dim(what, a, b, operands))
}

impl Op {
    /// The region of an op that has one.
    pub fn region(&self) -> Option<&Region> {
        match self {
            Op::Scan(op) => Some(&op.body),
            _ => None,
        }
    }

    /// The op with another region; itself, where it has none.
    pub fn with_region(&self, body: Region) -> Op {
        match self {
            Op::Scan(op) => Scan { body, ..op.clone() }.into(),
            op => op.clone(),
        }
    }
}

impl OpDef for Scan {
    const NAME: &'static str = "scan";

    fn doc() -> &'static str {
        "Runs its body, a closed graph, `trips` times. Operands: `each` tensors, of which trip `t` sees slice `t` along axis 0; `carries` first values; \
         then what every trip sees. In the body they are the inputs `each.N` and `kept.N` and the states `carry.N`, which each trip reads as the \
         trip before left them; the input `trip` counts from 0. Results: the last values of the carries, then each output of the body stacked \
         along a new axis 0.\n\n\
         Gradient: not built yet."
    }

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        if operands.len() < self.each + self.carries {
            return Err(Diagnostic::bug(format!(
                "a scan of {} operands has {} slices and {} carries",
                operands.len(),
                self.each,
                self.carries
            )));
        }
        for x in &operands[..self.each] {
            cx.axis(0, x)?;
            cx.same_dim("the trips of a scan differ", &self.trips, &x.shape[0], operands)?;
        }
        self.check_body(cx, operands)?;
        let body = self.body.graph();
        let last = operands[self.each..self.each + self.carries].iter().map(|t| t.clone().on(None));
        let stacked = body.outputs.iter().map(|o| {
            let ty = body.ty(o.value);
            ty.with_shape(std::iter::once(self.trips.clone()).chain(ty.shape.iter().cloned()))
        });
        Ok(last.chain(stacked).collect())
    }

    fn attrs(&self) -> Attrs {
        Attrs::new()
            .with("trips", self.trips.clone())
            .with("each", self.each)
            .with("carries", self.carries)
            .with("body", self.body.clone())
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(Scan {
            trips: a.dim("trips")?,
            each: a.axis("each")?,
            carries: a.axis("carries")?,
            body: a.region("body")?,
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::NotDifferentiable("the gradient of a run-time loop is not built yet")
    }

    fn vjp(&self, _: &mut GraphBuilder<'_>, at: &Vjp<'_>) -> Result<Cotangents, Diagnostic> {
        Ok(at.none())
    }

    fn cast_policy(&self) -> CastPolicy {
        CastPolicy::Any
    }

    fn eval(&self, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        self.run(operands, Precision::Exact)
    }

    fn samples() -> Vec<Sample> {
        samples::all()
    }
}

impl Scan {
    /// All trips, with float values kept as `precision` says.
    pub(crate) fn run(&self, operands: &[&Tensor], precision: Precision) -> Result<Vec<Tensor>, EvalError> {
        let trips = sizes(std::slice::from_ref(&self.trips))?[0];
        let name = |port: Port| Symbol::from(port.name());
        let mut inputs: HashMap<Symbol, Tensor> = HashMap::new();
        for (i, x) in operands.iter().skip(self.each + self.carries).enumerate() {
            inputs.insert(name(Port::Kept(i)), (*x).clone());
        }
        let first = operands.iter().skip(self.each).take(self.carries).enumerate();
        let mut carried: HashMap<Symbol, Tensor> =
            first.map(|(i, x)| (name(Port::Carry(i)), (*x).clone())).collect();
        let mut stacked = self.empty_stacks()?;
        for trip in 0..trips {
            inputs
                .insert(name(Port::Trip), Tensor::from_ints(DType::I64, vec![], [trip as i128].into_iter()));
            for (i, x) in operands.iter().take(self.each).enumerate() {
                inputs.insert(name(Port::Each(i)), slice(x, trip));
            }
            let result = evaluate(self.body.graph(), &inputs, &carried, &Binding::new(), precision)?;
            for (stack, (_, value)) in stacked.iter_mut().zip(&result.outputs) {
                stack.data.append(&value.data);
            }
            carried = result.writes;
        }
        stacked.iter_mut().for_each(|s| s.shape[0] = trips);
        let mut results = vec![];
        for i in 0..self.carries {
            let value = carried.remove(&name(Port::Carry(i)));
            results.push(value.ok_or_else(|| EvalError::new(format!("carry {i} of a scan is not written")))?);
        }
        results.extend(stacked);
        Ok(results)
    }

    /// For each output of the body, no trips.
    fn empty_stacks(&self) -> Result<Vec<Tensor>, EvalError> {
        let body = self.body.graph();
        let empty = |o: &Output| {
            let ty = body.ty(o.value);
            let shape: Vec<usize> = std::iter::once(0).chain(sizes(&ty.shape)?).collect();
            Ok(Tensor::from_f64(ty.dtype, &shape, &[]))
        };
        body.outputs.iter().map(empty).collect()
    }
}

/// Slice `i` along axis 0.
fn slice(x: &Tensor, i: usize) -> Tensor {
    let shape = x.shape[1..].to_vec();
    let n: usize = shape.iter().product();
    Tensor { dtype: x.dtype, shape, data: x.data.pick(i * n..(i + 1) * n) }
}
