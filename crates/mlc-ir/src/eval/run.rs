//! Running a graph node by node.

use std::collections::HashMap;

use super::{EvalError, Tensor};
use crate::graph::{Graph, ValueId};
use crate::op::Op;
use crate::types::{Binding, Dim, Symbol, Type};

/// How float results are kept between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// f64 throughout.
    Exact,
    /// Rounded to the dtype of each value.
    Rounded,
}

/// What a graph computes.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluated {
    /// In the order of [`Graph::outputs`].
    pub outputs: Vec<(String, Tensor)>,
    pub writes: HashMap<Symbol, Tensor>,
}

impl Evaluated {
    /// The output of this name.
    pub fn output(&self, name: &str) -> Option<&Tensor> {
        self.outputs.iter().find(|(n, _)| n == name).map(|(_, t)| t)
    }
}

/// Evaluates in f64.
///
/// # Errors
/// An input, state or dim without a value or of the wrong type, an index out of range, a `grad` node.
pub fn run(
    graph: &Graph,
    inputs: &HashMap<Symbol, Tensor>,
    states: &HashMap<Symbol, Tensor>,
    binding: &Binding,
) -> Result<Evaluated, EvalError> {
    evaluate(graph, inputs, states, binding, Precision::Exact)
}

/// Evaluates with every float value rounded to its dtype.
///
/// # Errors
/// As [`run`].
pub fn run_rounded(
    graph: &Graph,
    inputs: &HashMap<Symbol, Tensor>,
    states: &HashMap<Symbol, Tensor>,
    binding: &Binding,
) -> Result<Evaluated, EvalError> {
    evaluate(graph, inputs, states, binding, Precision::Rounded)
}

pub(crate) fn evaluate(
    graph: &Graph,
    inputs: &HashMap<Symbol, Tensor>,
    states: &HashMap<Symbol, Tensor>,
    binding: &Binding,
    precision: Precision,
) -> Result<Evaluated, EvalError> {
    let mut values: HashMap<ValueId, Tensor> = HashMap::new();
    let bind = |d: &Dim| d.eval(binding).map_or_else(|| d.clone(), Dim::from);
    for id in graph.topo_order() {
        let node = graph.node(id);
        // An error from inside a region has its place already.
        let place = |e: EvalError| match e.node {
            Some(_) => e,
            None => EvalError { node: Some(id), span: node.prov.span, ..e },
        };
        let results = match &node.op {
            Op::Input(op) => given(inputs, &op.name, "input").map(|t| vec![t]),
            Op::State(op) => given(states, &op.path, "state").map(|t| vec![t]),
            op => {
                let operands: Option<Vec<&Tensor>> = node.operands.iter().map(|v| values.get(v)).collect();
                match operands {
                    Some(operands) => match op.map_dims(&bind) {
                        // What its region computes is rounded as everything is.
                        Op::Scan(scan) => scan.run(&operands, precision),
                        op => op.eval(&operands),
                    },
                    None => Err(EvalError::new("an operand has no value")),
                }
            }
        }
        .map_err(place)?;
        if results.len() != node.results.len() {
            return Err(place(EvalError::new(format!(
                "`{}` gave {} results",
                node.op.name(),
                results.len()
            ))));
        }
        for (i, (tensor, ty)) in results.into_iter().zip(&node.results).enumerate() {
            fits(&tensor, ty, &bind).map_err(place)?;
            let tensor = if precision == Precision::Rounded { tensor.rounded() } else { tensor };
            values.insert(id.result(i), tensor);
        }
    }
    let value = |v: &ValueId| {
        values.get(v).cloned().ok_or_else(|| EvalError::new(format!("the value {v} is not in the graph")))
    };
    let outputs =
        graph.outputs.iter().map(|o| Ok((o.name.clone(), value(&o.value)?))).collect::<Result<_, _>>()?;
    let writes =
        graph.writes.iter().map(|w| Ok((w.state.clone(), value(&w.value)?))).collect::<Result<_, _>>()?;
    Ok(Evaluated { outputs, writes })
}

fn given(from: &HashMap<Symbol, Tensor>, name: &Symbol, what: &str) -> Result<Tensor, EvalError> {
    from.get(name).cloned().ok_or_else(|| EvalError::new(format!("no value for the {what} `{name}`")))
}

fn fits(tensor: &Tensor, ty: &Type, bind: &dyn Fn(&Dim) -> Dim) -> Result<(), EvalError> {
    let want: Vec<Dim> = ty.shape.iter().map(bind).collect();
    let same =
        want.len() == tensor.rank() && want.iter().zip(&tensor.shape).all(|(d, &n)| *d == Dim::from(n));
    if tensor.dtype == ty.dtype && same {
        return Ok(());
    }
    Err(EvalError::new(format!("{}{:?} is not {ty}, which is {want:?}", tensor.dtype, tensor.shape)))
}
