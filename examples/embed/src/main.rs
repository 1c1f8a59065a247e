//! A program of your own that holds a model: compiles an .mlg file, gives it weights, calls it with
//! arrays and trains it for a step.
//!
//! Run with `cargo run -p embed -- [WEIGHTS.safetensors]` from the root of the repository.

use mlc::runtime::files;
use mlc::{Compiler, Error, HostTensor, IntoTensor, Seed, Target};
use ndarray::{Array, Array1, Array2, Array3};

fn main() -> Result<(), Error> {
    // Everything that can be wrong with the file is found here: types, shapes, names, devices.
    let program = Compiler::new().target(Target::Cpu).compile_file("examples/simple_nn.mlg")?;

    // A session has weights of its own: fresh ones from a seed, or those of a file under PyTorch's names.
    let mut session = program.session(Seed(0))?;
    if let Some(path) = std::env::args().nth(1) {
        session.load_weights(path)?;
    }

    // Arrays in, arrays out; the batch is whatever the array says.
    let images: Array2<f32> = Array::from_shape_fn((4, 784), |(i, j)| ((i * 7 + j) % 11) as f32 / 11.0);
    let logits = session.call("forward", [("x", images.view())])?.array::<f32>("out")?;
    println!("logits of 4 images: {:?}", logits.shape());

    // One update at a time, with data from anywhere.
    let batch = synthetic_batch();
    for step in 1..=20 {
        let result = session.train_step_tensors(&batch)?;
        if step == 1 || step == 20 {
            println!("step {step}: loss {:.4}, {:?}", result.loss, result.metrics);
        }
    }

    let bias = session.state("fc2.bias")?;
    println!("fc2.bias is {} {:?} and takes {} bytes", bias.dtype(), bias.shape(), bias.bytes().len());
    session.save_weights(std::env::temp_dir().join("embed.safetensors"))?;
    let saved = files::safetensors::SafetensorsFile::open(
        &std::env::temp_dir().join("embed.safetensors"),
        &files::Cache::disabled(),
    )
    .map_err(|d| Error::new(d, program.sources()))?;
    println!("saved {}", saved.keys().join(", "));
    Ok(())
}

/// Two kinds of images that a model can tell apart.
fn synthetic_batch() -> Vec<(String, HostTensor)> {
    let image =
        Array3::from_shape_fn((8, 28, 28), |(i, y, x)| if (i % 2 == 0) == (x > y) { 200u8 } else { 10 });
    let label = Array1::from_shape_fn(8, |i| (i % 2) as u8);
    vec![("image".into(), image.into_tensor()), ("label".into(), label.into_tensor())]
}
