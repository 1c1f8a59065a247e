//! `expect gradcheck(net, x)`: derivatives against central differences, both in f64.
//!
//! The test's graph has outputs `NAME.loss` and `NAME.grad.PATH`; the gradients are results of one `grad`
//! node whose further operands are what is differentiated by. Those operands are made inputs of a copy
//! of the graph, so that each of their elements can be moved a little.

use std::collections::HashMap;

use mlc::diag::{Diagnostic, Diagnostics};
use mlc::ir::eval::{self, Elements, EvalError, Tensor};
use mlc::ir::graph::{Graph, Output, Stage, ValueId};
use mlc::ir::op::{Input, Op};
use mlc::ir::{Binding, DType, Symbol};
use mlc::{HostTensor, Program, Session};

/// Relative to the larger of 1 and the derivative. Differences of f64 with this step are good to 1e-9
/// away from kinks.
pub const TOLERANCE: f64 = 1e-5;
const STEP: f64 = 1e-5;
/// Of each tensor, at most this many elements are tried, evenly spread.
const ELEMENTS: usize = 48;

/// The worst of all derivatives.
pub struct Report {
    pub elements: u64,
    pub worst: f64,
    pub path: String,
    pub element: usize,
    pub analytic: f64,
    pub numeric: f64,
}

pub fn run(program: &Program, session: &Session, entry: &str, name: &str) -> Result<Report, Diagnostic> {
    let graph = program
        .ir()
        .entry(entry)
        .map(|e| &e.graph)
        .ok_or_else(|| Diagnostic::bug("a check without its entry"))?;
    let states = states(program, session)?;
    let analytic = analytic(program, entry, name, &states)?;
    let by = operands(graph, name)?;
    let (moved, base) = base(graph, name, &by, &states)?;
    let loss = |inputs: &HashMap<Symbol, Tensor>| {
        let out = eval::run(&moved, inputs, &states, &Binding::new()).map_err(|e| of_eval(&e))?;
        out.outputs.first().map(|o| first(&o.1)).ok_or_else(|| Diagnostic::bug("no loss"))
    };
    let mut report =
        Report { elements: 0, worst: 0.0, path: String::new(), element: 0, analytic: 0.0, numeric: 0.0 };
    let mut inputs = base;
    for (i, (path, _)) in by.iter().enumerate() {
        let key: Symbol = input_name(i).into();
        let gradient =
            analytic.get(path).ok_or_else(|| Diagnostic::bug(format!("no gradient of `{path}`")))?;
        let len = values(gradient).len();
        let shown = len.min(ELEMENTS);
        for k in 0..shown {
            let element = k * len / shown;
            let mut at = |delta: f64| {
                nudge(&mut inputs, &key, element, delta);
                let value = loss(&inputs);
                nudge(&mut inputs, &key, element, -delta);
                value
            };
            let numeric = (at(STEP)? - at(-STEP)?) / (2.0 * STEP);
            let a = values(gradient)[element];
            let error = (a - numeric).abs() / 1f64.max(a.abs()).max(numeric.abs());
            report.elements += 1;
            // A NaN is the worst there is.
            if error > report.worst || error.is_nan() {
                let worst = if error.is_nan() { f64::INFINITY } else { error };
                report = Report { worst, path: path.clone(), element, analytic: a, numeric, ..report };
            }
        }
    }
    Ok(report)
}

/// The gradients by name, from the differentiated graph.
fn analytic(
    program: &Program,
    entry: &str,
    name: &str,
    states: &HashMap<Symbol, Tensor>,
) -> Result<HashMap<String, Tensor>, Diagnostic> {
    let mut graph =
        program.graph(entry, Stage::Differentiated, &Binding::new()).map_err(|e| one(e.diagnostics))?;
    let prefix = format!("{name}.grad.");
    graph.outputs.retain(|o| o.name.starts_with(&prefix));
    graph.writes.clear();
    graph.remove_dead();
    let out = eval::run(&graph, &HashMap::new(), states, &Binding::new()).map_err(|e| of_eval(&e))?;
    Ok(out.outputs.into_iter().filter_map(|(n, t)| Some((n.strip_prefix(&prefix)?.to_string(), t))).collect())
}

/// What is differentiated by, with its name.
fn operands(graph: &Graph, name: &str) -> Result<Vec<(String, ValueId)>, Diagnostic> {
    let prefix = format!("{name}.grad.");
    let gradients = graph.outputs.iter().filter_map(|o| Some((o.name.strip_prefix(&prefix)?, o.value)));
    gradients
        .map(|(path, v)| {
            let operand = graph.node(v.node).operands.get(v.result as usize + 1);
            operand.map(|o| (path.to_string(), *o)).ok_or_else(|| Diagnostic::bug("a gradient of nothing"))
        })
        .collect()
}

fn input_name(i: usize) -> String {
    format!("gradcheck.by.{i}")
}

/// A copy of the graph that computes the loss from inputs in place of `by`, and those inputs' values.
fn base(
    graph: &Graph,
    name: &str,
    by: &[(String, ValueId)],
    states: &HashMap<Symbol, Tensor>,
) -> Result<(Graph, HashMap<Symbol, Tensor>), Diagnostic> {
    let loss = graph.outputs.iter().find(|o| o.name == format!("{name}.loss"));
    let loss = loss.ok_or_else(|| Diagnostic::bug("a check without its loss"))?.value;
    let output = |name: String, value| Output { name, value, weight: None, span: mlc::diag::Span::NONE };
    let mut values = graph.clone();
    values.outputs = by.iter().enumerate().map(|(i, b)| output(input_name(i), b.1)).collect();
    values.writes.clear();
    values.remove_dead();
    let out = eval::run(&values, &HashMap::new(), states, &Binding::new()).map_err(|e| of_eval(&e))?;
    let inputs = out.outputs.into_iter().map(|(n, t)| (Symbol::from(n), t)).collect();
    let mut moved = graph.clone();
    moved.outputs = vec![output("loss".into(), loss)];
    moved.writes.clear();
    for (i, (_, v)) in by.iter().enumerate() {
        let prov = moved.node(v.node).prov;
        let ty = moved.ty(*v).clone();
        let op: Op = Input { name: input_name(i).into(), ty }.into();
        let node = moved.add(op, &[], prov)?;
        moved.replace_uses(*v, node.value());
    }
    moved.remove_dead();
    Ok((moved, inputs))
}

/// All states as the session has them.
fn states(program: &Program, session: &Session) -> Result<HashMap<Symbol, Tensor>, Diagnostic> {
    let read = |s: &mlc::ir::program::StateDecl| {
        let value = session.state(&s.path).map_err(|e| one(e.diagnostics))?;
        Ok((s.path.clone(), tensor(&value)?))
    };
    program.ir().states.iter().map(read).collect()
}

fn tensor(t: &HostTensor) -> Result<Tensor, Diagnostic> {
    let data = match t.dtype() {
        d if d.is_float() => Elements::F(t.to_vec::<f64>()),
        d if d.is_signed_int() => Elements::I(t.to_vec::<i64>()),
        DType::Bool => Elements::B(t.bytes().iter().map(|&b| b != 0).collect()),
        _ => Elements::U(t.to_vec::<u64>()),
    };
    Tensor::new(t.dtype(), t.shape().to_vec(), data)
        .ok_or_else(|| Diagnostic::bug("a state of another shape"))
}

fn nudge(inputs: &mut HashMap<Symbol, Tensor>, key: &Symbol, element: usize, delta: f64) {
    if let Some(Tensor { data: Elements::F(v), .. }) = inputs.get_mut(key)
        && let Some(x) = v.get_mut(element)
    {
        *x += delta;
    }
}

fn values(t: &Tensor) -> &[f64] {
    match &t.data {
        Elements::F(v) => v,
        _ => &[],
    }
}

fn first(t: &Tensor) -> f64 {
    values(t).first().copied().unwrap_or(f64::NAN)
}

fn of_eval(e: &EvalError) -> Diagnostic {
    Diagnostic::error("E0810", format!("the check cannot be evaluated: {}", e.message)).label(e.span, "this")
}

fn one(ds: Diagnostics) -> Diagnostic {
    ds.into_iter().next().unwrap_or_else(|| Diagnostic::bug("an error without a message"))
}
