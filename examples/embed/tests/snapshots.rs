//! The IR of a model as a snapshot: what changes in the compiler's output for it is seen in review.

use mlc::{Compiler, Program, Seed};

const TWO_LAYERS: &str = r#"
model TwoLayers(width: int = 4) {
    a = Linear(3, width)
    b = Linear(width, 2)
    forward(x: f32[batch, 3]) -> f32[batch, 2] { b(relu(a(x))) }
}
"#;

fn program() -> Program {
    Compiler::new().compile_source("two_layers.mlg", TWO_LAYERS).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn graph_as_built() {
    mlc::testing::assert_graph_snapshot!(program(), "forward");
}

#[test]
fn kernels_for_a_batch_of_two() {
    mlc::testing::assert_loops_snapshot!(program(), "forward", [("batch", 2)]);
}

#[test]
fn a_session_moves_between_threads_and_shares_the_program() {
    let program = program();
    let handles: Vec<_> = (0..2)
        .map(|_| {
            let mut session = program.session(Seed(3)).unwrap_or_else(|e| panic!("{e}"));
            std::thread::spawn(move || {
                let x = ndarray::Array2::<f32>::ones((5, 3));
                let out = session.call("forward", [("x", x.view())]).unwrap_or_else(|e| panic!("{e}"));
                out.array::<f32>("out").unwrap_or_else(|e| panic!("{e}"))
            })
        })
        .collect();
    let outs: Vec<_> = handles.into_iter().map(|h| h.join().expect("the thread ends")).collect();
    assert_eq!(outs[0].shape(), [5, 2]);
    assert_eq!(outs[0], outs[1]);
}
