//! Prints the samples of all ops with their inputs as JSON, for `tests/fixtures/make_ops.py`: what
//! PyTorch computes from them is what the tests of the op table compare with.

use mlc_ir::eval::{Elements, Tensor};
use mlc_ir::op::{fingerprint, samples};

fn main() {
    let items: Vec<String> = samples()
        .iter()
        .map(|s| {
            let inputs = s.inputs(0);
            let tensors: Vec<String> = inputs.iter().map(tensor).collect();
            format!(
                "{{\"key\": {:?}, \"op\": {:?}, \"attrs\": {{{}}}, \"fingerprint\": {:?}, \"inputs\": [{}]}}",
                s.key(),
                s.op.name(),
                attrs(s),
                fingerprint(&inputs),
                tensors.join(", ")
            )
        })
        .collect();
    println!("[{}]", items.join(",\n"));
}

/// Attributes as text: the script parses the few kinds it needs.
fn attrs(s: &mlc_ir::op::Sample) -> String {
    let pairs: Vec<String> =
        s.op.attrs().iter().map(|(n, v)| format!("{n:?}: {:?}", v.to_string())).collect();
    pairs.join(", ")
}

fn tensor(t: &Tensor) -> String {
    let values: Vec<String> = match &t.data {
        Elements::F(v) => v.iter().map(|&x| float(x)).collect(),
        Elements::I(v) => v.iter().map(i64::to_string).collect(),
        Elements::U(v) => v.iter().map(u64::to_string).collect(),
        Elements::B(v) => v.iter().map(bool::to_string).collect(),
    };
    format!("{{\"dtype\": \"{}\", \"shape\": {:?}, \"values\": [{}]}}", t.dtype, t.shape, values.join(","))
}

/// With the words for odd values that Python's reader knows.
fn float(x: f64) -> String {
    match x {
        x if x.is_nan() => "NaN".into(),
        x if x.is_infinite() => format!("{}Infinity", if x < 0.0 { "-" } else { "" }),
        x => format!("{x:?}"),
    }
}
