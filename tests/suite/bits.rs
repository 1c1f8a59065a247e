//! Nothing but a program and its data decides a bit (R1 to R9): whole models, trained and called, with other threads,
//! other kernels, other tables of costs, other plans, rows elsewhere, and in the interpreter.

use std::collections::BTreeMap;

use mlc::cpu::{Costs, Multiply};
use mlc::ir::Binding;
use mlc::ir::loops::interp::{Feeds, run_plan};
use mlc::ir::loops::{BufferId, Role};
use mlc::runtime::train::Engine;
use mlc::{Compiler, HostTensor, Program, Seed, Target};
use mlc_tests::case;

/// A transformer with dropout, so that masks take part, and an optimizer with clipping.
const MODEL: &str = r#"
use "GPT_FILE"

dataset Fed() {
    text: u8[18]
}

train {
    model     = GPT(limit: 17, dim: 24, depth: 2, heads: 3)
    data      = Fed().batch(6)
    optimizer = adamw(lr: 0.01)
    clip_norm = 1.0
    steps     = 1

    loss(text) { cross_entropy(dropout(model(text[:, :-1]), 0.1), text[:, 1:]) }
}
"#;

const ROWS: usize = 6;
const TIME: usize = 17;

fn compiler() -> Compiler {
    Compiler::new().target(Target::Cpu).strict(true)
}

fn program(compiler: Compiler) -> Program {
    let gpt = case("").join("../../examples/gpt.mlg");
    let text = MODEL.replace("GPT_FILE", &gpt.display().to_string());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gpt.mlg");
    std::fs::write(&file, text).unwrap();
    compiler.compile_file(&file).unwrap_or_else(|e| panic!("{e}"))
}

/// Texts that differ from row to row and step to step.
fn texts(step: usize, time: usize) -> HostTensor {
    let bytes: Vec<u8> = (0..ROWS * time).map(|i| ((i * 37 + step * 101 + i / 7 * 5) % 251) as u8).collect();
    HostTensor::from_slice(&[ROWS, time], &bytes).unwrap()
}

fn states(session: &mlc::Session, program: &Program) -> BTreeMap<String, Vec<u8>> {
    let all = program.ir().states.iter();
    all.map(|s| (s.path.to_string(), session.state(&s.path).unwrap().bytes().to_vec())).collect()
}

/// The losses of three steps and all states afterwards.
fn trained(compiler: Compiler) -> (Vec<u64>, BTreeMap<String, Vec<u8>>) {
    let program = program(compiler);
    let mut session = program.session(Seed(4)).unwrap();
    let mut step = |i| {
        let fed = [("text".to_string(), texts(i, TIME + 1))];
        session.train_step_tensors(&fed).unwrap_or_else(|e| panic!("{e}")).loss.to_bits()
    };
    let losses = (0..3).map(&mut step).collect();
    (losses, states(&session, &program))
}

/// Everything is far too slow to be left to one thread: what a machine a thousand times slower would do.
fn slow() -> Costs {
    let c = Costs::default();
    Costs {
        cheap: 1000 * c.cheap,
        function: 1000 * c.function,
        reduce: 1000 * c.reduce,
        near_byte: 1000 * c.near_byte,
        multiply: Some(Multiply { vector: 100_000, latency: 500_000 }),
        ..c
    }
}

#[test]
fn training_is_the_same_however_it_is_compiled_and_run() {
    let want = trained(compiler().threads(1));
    let free = program(compiler()).lower("train.step", &Binding::from([("batch".into(), ROWS as i64)]));
    let peak = free.unwrap_or_else(|e| panic!("{e}")).memory.total();
    let odd = Costs { grain_ns: 300, multiply: Some(Multiply { vector: 9000, latency: 1 }), ..slow() };
    let cases = [
        ("slow, 1 thread", compiler().threads(1).costs(Some(slow()))),
        ("slow, 2 threads", compiler().threads(2).costs(Some(slow()))),
        ("slow, 7 threads", compiler().threads(7).costs(Some(slow()))),
        ("odd, 3 threads", compiler().threads(3).costs(Some(odd))),
        ("every op alone", compiler().threads(2).fuse(false)),
        ("every op alone, slow, 7 threads", compiler().threads(7).fuse(false).costs(Some(slow()))),
        ("a limit", compiler().threads(1).memory_limit(Some(peak - peak / 20))),
    ];
    for (what, compiler) in cases {
        let got = trained(compiler);
        assert_eq!(got.0, want.0, "{what}: losses");
        for (path, bytes) in &want.1 {
            assert!(got.1[path] == *bytes, "{what}: {path}");
        }
    }
}

/// R9 through a whole model, its products included.
#[test]
fn rows_do_not_depend_on_each_other() {
    let program = program(compiler().costs(Some(slow())).threads(3));
    let mut session = program.session(Seed(1)).unwrap();
    let mut logits = |text: HostTensor| -> Vec<Vec<u8>> {
        let rows = text.shape()[0];
        let results = session.call_tensors("forward", &[("text".to_string(), text)]);
        let results = results.unwrap_or_else(|e| panic!("{e}"));
        let bytes = results.get("out").unwrap().bytes();
        bytes.chunks(bytes.len() / rows).map(<[u8]>::to_vec).collect()
    };
    let text = texts(0, TIME);
    let want = logits(text.clone());
    let order: Vec<usize> = (0..ROWS).map(|i| (5 * i + 2) % ROWS).collect();
    let moved: Vec<u8> =
        order.iter().flat_map(|&r| text.bytes()[r * TIME..(r + 1) * TIME].to_vec()).collect();
    let moved = logits(HostTensor::from_slice(&[ROWS, TIME], &moved).unwrap());
    for (to, &from) in order.iter().enumerate() {
        assert!(moved[to] == want[from], "row {from} at {to}");
    }
    for parts in [vec![0..2, 2..6], vec![0..1, 1..5, 5..6]] {
        let split: Vec<Vec<u8>> =
            parts.iter().flat_map(|p| logits(text.rows(p.start, p.end).unwrap())).collect();
        assert!(split == want, "{parts:?}");
    }
}

/// What a compiled step does to all states and results, the interpreter does to them.
#[test]
fn a_step_is_the_interpreters() {
    let program = program(compiler());
    let mut session = program.session(Seed(2)).unwrap();
    let text = texts(7, TIME + 1);
    let fed = [("text".to_string(), text.clone())];
    session.train_step_tensors(&fed).unwrap_or_else(|e| panic!("{e}"));
    let before = states(&session, &program);
    session.train_step_tensors(&fed).unwrap_or_else(|e| panic!("{e}"));
    let after = states(&session, &program);
    let call = session.bind(
        "train.step",
        &[mlc::runtime::train::Fed {
            name: "text".into(),
            dtype: text.dtype(),
            shape: text.shape().to_vec(),
        }],
    );
    let plan = session.plan(&call.unwrap_or_else(|e| panic!("{e:?}"))).clone();
    let mut feeds = Feeds::default();
    let buffers = || plan.program.buffers.iter().enumerate().map(|(i, b)| (BufferId(i as u32), b));
    for (id, b) in buffers() {
        match b.role {
            Role::Input => _ = feeds.insert(id, text.bytes().to_vec()),
            Role::State(_) => _ = feeds.insert(id, before[&*b.name].clone()),
            _ => {}
        }
    }
    run_plan(&plan, &mut feeds).unwrap_or_else(|e| panic!("{e}"));
    let mut compared = 0;
    for (id, b) in buffers().filter(|(_, b)| matches!(b.role, Role::State(_))) {
        assert!(feeds[&id] == after[&*b.name], "{}", b.name);
        compared += usize::from(before[&*b.name] != after[&*b.name]);
    }
    assert!(compared > 50, "{compared} states changed");
}
