//! Random programs through everything: evaluator, passes, loop interpreter, compiled code.
//!
//! ```text
//! seed --random_graph--> graph --evaluate (f64)--\
//!                        --passes--> bound --evaluate (f64)--> equal up to the order of additions
//!                                      --lower--> plan --interpret, memory poisoned--\
//!                                                      --compile, each instruction set--> equal bits
//!                                      --lower, each op a kernel of its own--> .. equal bits
//! ```

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use mlc_cpu::{CpuBackend, CpuFeatures, CpuOptions};
use mlc_ir::eval::{self, Elements, Evaluated, Tensor};
use mlc_ir::graph::Graph;
use mlc_ir::loops::interp::{Feeds, run_plan};
use mlc_ir::loops::{BufferId, Kernel, Lit, Plan, Role};
use mlc_ir::op::Op;
use mlc_ir::program::StateLayout;
use mlc_ir::testing::{GraphShape, Rng, random_graph};
use mlc_ir::{Binding, DType, Device, Dim, Symbol, Type};
use mlc_passes::pipeline::{Options, pipeline};
use mlc_passes::{Fusion, Place, lower_entry_with};
use mlc_runtime::exec::{Backend, StateStore};

type Values = HashMap<Symbol, Tensor>;

/// Checks the program of a seed.
///
/// # Errors
/// What disagrees with what, and for which seed. `Ok(false)` where the program is refused (an index
/// into an empty axis), which every evaluator must do.
pub fn check_random_program(seed: u64) -> Result<bool, String> {
    let fail = |what: &dyn std::fmt::Display| format!("seed {seed}: {what}");
    use DType::*;
    let dtypes = [vec![F32, F32, I64, Bool], vec![F32, F64, U8], vec![F16, F32, I32], vec![BF16, F32, I8]];
    let shape = GraphShape {
        symbols: seed.is_multiple_of(3),
        nodes: 6 + seed as usize % 40,
        dtypes: dtypes[seed as usize % dtypes.len()].clone(),
    };
    let graph = random_graph(seed, &shape);
    let binding = Binding::from([("a".into(), 1 + seed as i64 % 3), ("b".into(), 1 + seed as i64 % 4)]);
    let (inputs, states) = random_feed(&graph, &binding, seed);
    let Ok(before) = eval::run(&graph, &inputs, &states, &binding) else { return Ok(false) };

    let mut bound = graph.clone();
    let options = Options { place: Place::on(Device::CPU), binding: binding.clone() };
    pipeline(&options).verify(true).run(&mut bound).map_err(|e| fail(&e))?;
    let after = eval::run(&bound, &inputs, &states, &Binding::new()).map_err(|e| fail(&e))?;
    same_values(&before, &after).map_err(|e| fail(&e))?;

    let layout = layout_of(&graph, &binding);
    let fed = (inputs, states);
    let fused = check_plan(&bound, &layout, &fed, true).map_err(|e| fail(&e))?;
    let single = check_plan(&bound, &layout, &fed, false).map_err(|e| fail(&format!("unfused: {e}")))?;
    for (name, (dtype, bytes)) in &fused {
        match single.get(name).map(|s| first_difference(*dtype, bytes, &s.1)) {
            Some(None) => {}
            Some(Some(i)) => return Err(fail(&format!("element {i} of {name} changes with fusion"))),
            None => return Err(fail(&format!("{name} is missing without fusion"))),
        }
    }
    Ok(true)
}

/// Results of a program by name.
type Results = BTreeMap<String, (DType, Vec<u8>)>;

/// Lowers a bound graph and runs it in the interpreter and as machine code of each instruction set, which
/// must agree.
fn check_plan(
    bound: &Graph,
    layout: &StateLayout,
    fed: &(Values, Values),
    fuse: bool,
) -> Result<Results, String> {
    let mut results = Results::new();
    for features in CpuFeatures::available() {
        let backend = CpuBackend::new(CpuOptions::new(features, true));
        let scratch = |k: &Kernel| backend.scratch_bytes(k);
        let lowered =
            lower_entry_with(bound, layout, &scratch, Fusion { fuse }).map_err(|e| e.to_string())?;
        let plan = Arc::new(lowered.plan);
        let feeds = feeds(&plan, layout, &fed.0, &fed.1)?;
        let mut expected = feeds.clone();
        run_plan(&plan, &mut expected).map_err(|e| e.to_string())?;
        let got = run_compiled(&plan, &feeds, &backend)?;
        for (id, bytes) in expected {
            let buffer = plan.program.buffer(id);
            if let Some(i) = first_difference(buffer.dtype, &bytes, &got[&id]) {
                return Err(format!(
                    "{features}: element {i} of {} differs from the interpreter",
                    buffer.name
                ));
            }
            if buffer.role != Role::Input {
                results.insert(buffer.name.to_string(), (buffer.dtype, bytes));
            }
        }
    }
    Ok(results)
}

/// Runs a plan as machine code; gives back every input, output and state.
fn run_compiled(plan: &Arc<Plan>, feeds: &Feeds, backend: &CpuBackend) -> Result<Feeds, String> {
    let text = |d: mlc_diag::Diagnostic| d.title;
    let state = Arc::new(StateStore::new(plan, backend).map_err(text)?);
    let mut session = backend.compile(plan.clone()).and_then(|e| e.session(state.clone())).map_err(text)?;
    let mut out = feeds.clone();
    for (id, bytes) in feeds {
        match plan.program.buffer(*id).role {
            Role::Input => session.write(*id, bytes).map_err(text)?,
            Role::State(_) => state.write(plan, &plan.places[id.ix()], bytes).map_err(text)?,
            _ => {}
        }
    }
    session.run().map_err(text)?;
    for (i, buffer) in plan.program.buffers.iter().enumerate() {
        let id = BufferId(i as u32);
        let mut bytes = vec![0; buffer.bytes() as usize];
        match buffer.role {
            Role::Output => session.read(id, &mut bytes).map_err(text)?,
            Role::State(_) => state.read(plan, &plan.places[i], &mut bytes).map_err(text)?,
            _ => continue,
        }
        out.insert(id, bytes);
    }
    Ok(out)
}

/// All states of a graph in order of their nodes.
fn layout_of(g: &Graph, binding: &Binding) -> StateLayout {
    let mut layout = StateLayout::default();
    for id in g.ids() {
        if let Op::State(s) = &g.node(id).op
            && layout.find(&s.path).is_none()
        {
            let dims = s.ty.shape.iter().map(|d| Dim::from(d.eval(binding).unwrap_or(0)));
            layout.add(s.path.clone(), &Type::new(s.ty.dtype, dims));
        }
    }
    layout
}

fn random_feed(g: &Graph, binding: &Binding, seed: u64) -> (Values, Values) {
    let mut rng = Rng(seed ^ 0x5eed);
    let (mut inputs, mut states) = (Values::new(), Values::new());
    for id in g.ids() {
        match &g.node(id).op {
            Op::Input(i) => drop(inputs.insert(i.name.clone(), random_tensor(&mut rng, &i.ty, binding))),
            Op::State(s) => drop(states.insert(s.path.clone(), random_tensor(&mut rng, &s.ty, binding))),
            _ => {}
        }
    }
    (inputs, states)
}

fn random_tensor(rng: &mut Rng, ty: &Type, binding: &Binding) -> Tensor {
    let shape: Vec<usize> = ty.shape.iter().map(|d| d.eval(binding).unwrap_or(0) as usize).collect();
    let n: usize = shape.iter().product();
    let mut value = || match ty.dtype.is_float() {
        true => (rng.below(33) as f64 - 16.0) / 8.0 + rng.below(100) as f64 / 1024.0,
        false => rng.below(5) as f64 - if ty.dtype == DType::I64 { 2.0 } else { 0.0 },
    };
    let values: Vec<f64> = (0..n).map(|_| value()).collect();
    Tensor::from_f64(ty.dtype, &shape, &values)
}

fn feeds(plan: &Plan, layout: &StateLayout, inputs: &Values, states: &Values) -> Result<Feeds, String> {
    let mut feeds = Feeds::new();
    for (i, b) in plan.program.buffers.iter().enumerate() {
        let tensor = match b.role {
            Role::Input => inputs.get(&b.name),
            Role::State(id) => layout.get(id).and_then(|s| states.get(&s.path)),
            _ => continue,
        };
        let tensor = tensor.ok_or_else(|| format!("no value for {}", b.name))?;
        feeds.insert(BufferId(i as u32), bytes_of(tensor));
    }
    Ok(feeds)
}

/// Little-endian bytes of a tensor, rounded to its dtype.
fn bytes_of(t: &Tensor) -> Vec<u8> {
    let lits: Vec<Lit> = match &t.data {
        Elements::F(v) => v.iter().map(|&x| Lit::float(t.dtype, x)).collect(),
        Elements::I(v) => v.iter().map(|&x| Lit::int(t.dtype, x)).collect(),
        Elements::U(v) => v.iter().map(|&x| Lit::int(t.dtype, x as i64)).collect(),
        Elements::B(v) => v.iter().map(|&x| Lit::bool(x)).collect(),
    };
    lits.iter().flat_map(|l| l.bits.to_le_bytes()[..t.dtype.size()].to_vec()).collect()
}

/// The first element that differs by bits; NaNs are equal.
fn first_difference(dtype: DType, a: &[u8], b: &[u8]) -> Option<usize> {
    let is_nan = |bytes: &[u8]| {
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        dtype.is_float() && Lit { dtype, bits: u64::from_le_bytes(wide) }.as_f64().is_nan()
    };
    let pairs = a.chunks_exact(dtype.size()).zip(b.chunks_exact(dtype.size()));
    pairs.enumerate().find(|(_, (x, y))| x != y && !(is_nan(x) && is_nan(y))).map(|(i, _)| i)
}

/// Passes reorder no additions and fold only exactly: in f64 the values are equal but for rounding.
fn same_values(a: &Evaluated, b: &Evaluated) -> Result<(), String> {
    let near = |x: f64, y: f64| {
        x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= 1e-9 * x.abs().max(y.abs()).max(1.0)
    };
    let written = |e: &Evaluated| {
        let mut all: Vec<(String, Tensor)> =
            e.writes.iter().map(|(k, t)| (k.to_string(), t.clone())).collect();
        all.sort_by(|x, y| x.0.cmp(&y.0));
        e.outputs.iter().cloned().chain(all).collect::<Vec<_>>()
    };
    for ((name, x), (_, y)) in written(a).iter().zip(&written(b)) {
        let differ = x.to_f64().into_iter().zip(y.to_f64()).position(|(x, y)| !near(x, y));
        if let Some(i) = differ {
            return Err(format!(
                "the passes change element {i} of {name}: {} to {}",
                x.to_f64()[i],
                y.to_f64()[i]
            ));
        }
    }
    Ok(())
}
