//! What is measured: one row a workload, with its model, inputs and arithmetic. `bench/peers.py` has the same rows.

use mlc::HostTensor;
use mlc::ir::DType;

/// One workload.
pub struct Row {
    /// As `peers.py` knows it.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// A file of `crates/xtask/bench`.
    pub file: &'static str,
    pub entry: &'static str,
    pub inputs: Vec<Input>,
    /// Floating-point operations of the contractions; 0 for rows that are bound by memory.
    pub flop: f64,
    /// Bytes that have to cross memory at least; 0 where arithmetic is the limit.
    pub bytes: f64,
}

pub struct Input {
    pub name: &'static str,
    pub dtype: DType,
    pub shape: Vec<usize>,
    /// Integers are drawn below this.
    pub below: u64,
}

impl Input {
    pub fn new(name: &'static str, dtype: DType, shape: &[usize], below: u64) -> Input {
        Input { name, dtype, shape: shape.to_vec(), below }
    }

    /// Numbers from a fixed sequence: floats in [-1, 1), integers below the bound.
    pub fn tensor(&self) -> HostTensor {
        let n: usize = self.shape.iter().product();
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed >> 33
        };
        let made = match self.dtype {
            DType::F32 => HostTensor::from_slice(
                &self.shape,
                &(0..n).map(|_| next() as f32 / (1u32 << 30) as f32 - 1.0).collect::<Vec<f32>>(),
            ),
            DType::U8 => HostTensor::from_slice(
                &self.shape,
                &(0..n).map(|_| (next() % self.below) as u8).collect::<Vec<u8>>(),
            ),
            _ => HostTensor::from_slice(
                &self.shape,
                &(0..n).map(|_| (next() % self.below) as i64).collect::<Vec<i64>>(),
            ),
        };
        made.expect("as many elements as the shape says")
    }
}

/// Multiply-adds of fully connected layers for one input row, forward only.
const SIMPLE_NN: [f64; 2] = [784.0 * 128.0, 128.0 * 10.0];
const MLP: [f64; 3] = [1024.0 * 4096.0, 4096.0 * 4096.0, 4096.0 * 1000.0];

/// The first layer's input needs no gradient: two products there, three elsewhere.
fn step_of(layers: &[f64], batch: f64) -> f64 {
    2.0 * batch * (3.0 * layers.iter().sum::<f64>() - layers[0])
}

fn forward_of(layers: &[f64], batch: f64) -> f64 {
    2.0 * batch * layers.iter().sum::<f64>()
}

/// 4 layers of dim 256 over 128 tokens, vocabulary 256.
fn gpt(batch: f64) -> f64 {
    let (tokens, dim, depth, vocab) = (128.0, 256.0, 4.0, 256.0);
    let attention = 2.0 * tokens * dim;
    2.0 * batch * tokens * (depth * (12.0 * dim * dim + attention) + dim * vocab)
}

pub fn rows() -> Vec<Row> {
    use DType::{F32, I64, U8};
    let row =
        |name, title, file, entry, inputs, flop, bytes| Row { name, title, file, entry, inputs, flop, bytes };
    let mut all = vec![
        row(
            "simple_nn.step",
            "simple_nn, training step, batch 64",
            "simple_nn.mlg",
            "step",
            vec![Input::new("image", U8, &[64, 28, 28], 256), Input::new("label", I64, &[64], 10)],
            step_of(&SIMPLE_NN, 64.0),
            0.0,
        ),
        row(
            "mlp.step",
            "MLP 1024-4096-4096-1000, training step, batch 256",
            "mlp.mlg",
            "step",
            vec![Input::new("x", F32, &[256, 1024], 0), Input::new("label", I64, &[256], 1000)],
            step_of(&MLP, 256.0),
            0.0,
        ),
        row(
            "gpt.step",
            "GPT (4 layers, dim 256, 128 tokens), training step, batch 8",
            "gpt.mlg",
            "step",
            vec![Input::new("text", U8, &[8, 129], 256)],
            3.0 * gpt(8.0),
            0.0,
        ),
    ];
    for (batch, [simple, mlp, gpt_row]) in [
        (
            1usize,
            [
                ("simple_nn.b1", "simple_nn, inference, batch 1"),
                ("mlp.b1", "MLP, inference, batch 1"),
                ("gpt.b1", "GPT, inference, batch 1"),
            ],
        ),
        (
            64,
            [
                ("simple_nn.b64", "simple_nn, inference, batch 64"),
                ("mlp.b64", "MLP, inference, batch 64"),
                ("gpt.b64", "GPT, inference, batch 64"),
            ],
        ),
    ] {
        let b = batch as f64;
        let weights = |layers: &[f64]| if batch == 1 { 4.0 * layers.iter().sum::<f64>() } else { 0.0 };
        all.push(row(
            simple.0,
            simple.1,
            "simple_nn.mlg",
            "forward",
            vec![Input::new("x", F32, &[batch, 784], 0)],
            forward_of(&SIMPLE_NN, b),
            weights(&SIMPLE_NN),
        ));
        all.push(row(
            mlp.0,
            mlp.1,
            "mlp.mlg",
            "forward",
            vec![Input::new("x", F32, &[batch, 1024], 0)],
            forward_of(&MLP, b),
            weights(&MLP),
        ));
        all.push(row(
            gpt_row.0,
            gpt_row.1,
            "gpt.mlg",
            "forward",
            vec![Input::new("text", U8, &[batch, 128], 256)],
            gpt(b),
            0.0,
        ));
    }
    all.push(row(
        "softmax.rows",
        "softmax 4096x1000",
        "softmax.mlg",
        "forward",
        vec![Input::new("x", F32, &[4096, 1000], 0)],
        0.0,
        2.0 * 4.0 * 4096.0 * 1000.0,
    ));
    all.push(row(
        "norm_gelu.rows",
        "layer norm + GELU 4096x1024",
        "norm_gelu.mlg",
        "forward",
        vec![Input::new("x", F32, &[4096, 1024], 0)],
        0.0,
        2.0 * 4.0 * 4096.0 * 1024.0,
    ));
    all
}
