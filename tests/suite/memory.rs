//! Memory: what a plan says is what a session allocates, and a limit changes no bit.

use mlc::ir::Binding;
use mlc::ir::loops::ArenaKind;
use mlc::{Compiler, HostTensor, Program, Seed, Session, Target};

/// Deep enough that its activations are what the peak is made of; dropout, because its masks must be drawn again.
const MODEL: &str = "
model Net {
    layers = [Linear(24, 24) for _ in 0..10]
    forward(x: f32[batch, 24]) -> f32[batch, 24] {
        for l in layers { x = dropout(gelu(l(x)), 0.1) }
        x
    }
}

dataset Fed() {
    x: f32[24]
    y: f32[24]
}

train {
    model     = Net()
    data      = Fed().batch(64)
    optimizer = adamw(lr: 0.01)
    steps     = 1
    loss(x, y) { mean((model(x) - y) * (model(x) - y)) }
}
";

const STEP: &str = "train.step";

fn compile(limit: Option<u64>) -> Program {
    let compiler = Compiler::new().target(Target::Cpu).strict(true).memory_limit(limit);
    compiler.compile_source("net.mlg", MODEL).unwrap_or_else(|e| panic!("{e}"))
}

fn batch() -> Binding {
    Binding::from([("batch".into(), 64)])
}

/// A step's data: numbers that differ from element to element and step to step.
fn fed(step: usize) -> Vec<(String, HostTensor)> {
    let values = |shift: usize| -> Vec<f32> {
        (0..64 * 24).map(|i| ((i * 37 + step * 11 + shift) % 101) as f32 / 50.0 - 1.0).collect()
    };
    let tensor = |shift| HostTensor::from_slice(&[64, 24], &values(shift)).unwrap();
    vec![("x".into(), tensor(0)), ("y".into(), tensor(5))]
}

/// The losses of some steps and all states afterwards, as bits.
fn trace(program: &Program) -> (Vec<u64>, Vec<Vec<u8>>) {
    let mut session = program.session(Seed(3)).unwrap();
    let losses = (0..4).map(|i| session.train_step_tensors(&fed(i)).unwrap().loss.to_bits()).collect();
    let states = program.ir().states.iter().map(|s| session.state(&s.path).unwrap().bytes().to_vec());
    (losses, states.collect())
}

#[test]
fn a_session_allocates_what_the_plans_say() {
    let program = compile(None);
    let mut session: Session = program.session(Seed(0)).unwrap();
    session.train_step_tensors(&fed(0)).unwrap();
    let entries = [program.bind("init", &Binding::new()).unwrap(), program.bind(STEP, &batch()).unwrap()];
    let own = |m: &mlc::passes::plan_memory::MemoryReport| {
        m.parts.iter().filter(|p| p.kind != ArenaKind::State).map(|p| p.bytes).sum::<u64>()
    };
    let state = entries[1].memory.part(program.device(), ArenaKind::State);
    let predicted = state + entries.iter().map(|e| own(&e.memory)).sum::<u64>();
    assert_eq!(session.bytes(), predicted);
    // The parts are the arenas, and the arenas are what the report sums up.
    let plan = &entries[1].plan;
    assert_eq!(entries[1].memory.total(), plan.arenas.iter().map(|a| a.bytes).sum::<u64>());
}

#[test]
fn a_limit_changes_memory_and_no_bit() {
    let free = compile(None);
    let memory = free.lower(STEP, &batch()).unwrap().memory;
    let temps = memory.part(free.device(), ArenaKind::Temp);
    let want = trace(&free);
    for part in [85, 70] {
        let limit = memory.total() - temps * (100 - part) / 100;
        let tight = compile(Some(limit));
        let bound = tight.bind(STEP, &batch()).unwrap_or_else(|e| panic!("{part} %: {e}"));
        assert!(bound.memory.total() <= limit, "{part} %");
        let recomputed = bound.recomputed.as_ref().unwrap();
        let rows = mlc::recomputed_rows(recomputed, tight.sources());
        assert!(rows.iter().all(|r| r.bytes > 0 && r.born.starts_with("net.mlg:")), "{rows:?}");
        assert!(bound.decisions.iter().any(|d| d.verdict == "recomputed"));
        assert_eq!(trace(&tight), want, "{part} %");
    }
}

#[test]
fn what_does_not_fit_says_what_would_help() {
    let free = compile(None);
    let memory = free.lower(STEP, &batch()).unwrap().memory;
    let state = memory.part(free.device(), ArenaKind::State);
    // Room for a quarter of what grows with the batch: a smaller one helps.
    let grows =
        [ArenaKind::Temp, ArenaKind::Io].map(|kind| memory.part(free.device(), kind)).iter().sum::<u64>();
    let tight = compile(Some(memory.total() - grows * 3 / 4));
    let Err(error) = tight.bind(STEP, &batch()) else { panic!("it fits") };
    let d = &error.diagnostics.0[0];
    assert_eq!(d.code, "E0520");
    let hint = d.hint.as_deref().unwrap_or("");
    assert!(hint.starts_with("`batch = ") && hint.contains("accumulate"), "{hint}");
    let n: i64 = hint["`batch = ".len()..].split('`').next().unwrap().parse().unwrap();
    assert!((1..64).contains(&n), "{hint}");
    let smaller = Binding::from([("batch".into(), n)]);
    tight.bind(STEP, &smaller).unwrap_or_else(|e| panic!("{e}"));
    for part in ["state", "kept for net.mlg:", "most is alive at net.mlg:", "computing values again"] {
        assert!(d.notes.iter().any(|n| n.contains(part)), "`{part}` is missing: {:?}", d.notes);
    }
    // Not even room for the state: no batch helps.
    let Err(error) = compile(Some(state / 2)).bind(STEP, &batch()) else { panic!("it fits") };
    assert!(error.diagnostics.0[0].hint.as_deref().unwrap().contains("state alone"));
}

#[test]
fn the_lines_alive_at_the_peak_are_the_models() {
    let program = compile(None);
    let memory = program.lower(STEP, &batch()).unwrap().memory;
    let peak = memory.temps_of(program.device()).unwrap();
    assert_eq!(peak.alive.iter().map(|a| a.bytes.next_multiple_of(64)).sum::<u64>(), peak.live);
    assert!(peak.live <= memory.part(program.device(), ArenaKind::Temp));
    let rows = mlc::alive_rows(peak, program.sources());
    assert!(rows.windows(2).all(|w| w[0].bytes >= w[1].bytes));
    assert_eq!(rows.iter().map(|r| r.count).sum::<usize>(), peak.alive.len());
    assert!(rows[0].born.starts_with("net.mlg:") && rows[0].kept_for.contains("net.mlg:"), "{rows:?}");
    // Layers stand together.
    assert!(rows.iter().any(|r| r.count >= 8 && r.scope.contains('*')), "{rows:?}");
}
