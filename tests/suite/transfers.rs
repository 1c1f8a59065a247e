//! `transfers <= n per step` is held when a file is compiled.

use mlc::ir::Device;
use mlc::{Compiler, Seed};

/// Two layers on two devices: one crossing forward, one backward.
fn split(limit: u32) -> String {
    format!(
        r#"
device left  = cuda:0
device right = cuda:1
model Net {{
    first  = Linear(4, 3) on left
    second = Linear(3, 1) on right
    transfers <= {limit} per step
    forward(x: f32[batch, 4]) -> f32[batch, 1] {{ second(first(x).to(right)) }}
}}
dataset Points {{ x: f32[4] = random(rows: 8) }}
train {{
    model     = Net()
    data      = Points().batch(4)
    optimizer = sgd(lr: 0.1)
    steps     = 1
    loss(x) {{ mean(model(x) ** 2) }}
}}
"#
    )
}

fn compile(limit: u32) -> Result<mlc::Program, mlc::Error> {
    let compiler = Compiler::new().device("left", Device::cpu(0)).device("right", Device::cpu(1));
    compiler.compile_source("split.mlg", &split(limit))
}

#[test]
fn a_step_with_more_crossings_than_allowed_is_an_error_that_shows_them() {
    let error = compile(1).map(|_| ()).expect_err("two crossings against one");
    let text = error.to_string();
    assert!(text.contains("E0502") && text.contains("has 2 transfers, more than 1"), "{text}");
    assert!(text.contains("cpu:0 to cpu:1") && text.contains("in the backward pass"), "{text}");
}

#[test]
fn a_step_within_its_limit_compiles_and_runs() {
    let program = compile(2).unwrap_or_else(|e| panic!("{e}"));
    let mut session = program.session(Seed(0)).unwrap_or_else(|e| panic!("{e}"));
    let x = ones();
    let loss = session.train_step([("x", x)]).unwrap_or_else(|e| panic!("{e}")).loss;
    assert!(loss.is_finite());
}

/// Under `accumulate` two losses run one after the other: what both send is in one step.
#[test]
fn losses_that_run_apart_are_counted_together() {
    let text = |limit: u32| {
        let two =
            "accumulate = 2\n    loss a(x) { mean(model(x) ** 2) }\n    loss b(x) { mean(abs(model(x))) }";
        split(limit).replace("loss(x) { mean(model(x) ** 2) }", two)
    };
    let compiler = Compiler::new().device("left", Device::cpu(0)).device("right", Device::cpu(1));
    let error = compiler.compile_source("split.mlg", &text(3)).map(|_| ()).expect_err("four against three");
    let text_of = error.to_string();
    for part in [
        "`train.update.a`, `train.step.b` together have 4 transfers, more than 3",
        "`train.micro.a`, `train.micro.b`",
    ] {
        assert!(text_of.contains(part), "{part}: {text_of}");
    }
    compiler.compile_source("split.mlg", &text(4)).unwrap_or_else(|e| panic!("{e}"));
}

fn ones() -> mlc::HostTensor {
    mlc::HostTensor::from_slice(&[4, 4], &[1.0f32; 16]).expect("16 elements")
}
