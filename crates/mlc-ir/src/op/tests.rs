//! Laws over the whole op table, run for every sample of every op.

use std::collections::{BTreeMap, HashSet};

use mlc_diag::Span;
use safetensors::SafeTensors;

use super::*;
use crate::types::{DType, DimFacts};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/ops/ops.safetensors");

/// What [`OpDef::eval`] cannot know.
const WITHOUT_VALUE: [&str; 3] = ["input", "state", "grad"];

fn infer(sample: &Sample, op: &Op) -> Types {
    let dims = DimFacts::default();
    let mut cx = InferCx::new(&dims, Span::NONE, &[]);
    let types = op.infer(&mut cx, &sample.types()).unwrap_or_else(|d| panic!("{}: {d:?}", sample.key()));
    assert!(cx.into_checks().is_empty(), "{}: constants leave no checks", sample.key());
    types
}

#[test]
fn every_op_has_a_doc_and_samples_with_distinct_keys() {
    let mut keys = HashSet::new();
    for row in OPS {
        assert!((row.doc)().len() > 20, "{} has no doc", row.name);
        assert!(!(row.samples)().is_empty(), "{} has no samples", row.name);
        for s in (row.samples)() {
            assert_eq!(s.op.name(), row.name, "a sample of another op");
            assert!(keys.insert(s.key()), "two samples are called {}", s.key());
        }
    }
}

#[test]
fn evaluation_gives_the_inferred_types() {
    for s in samples() {
        let inputs = s.inputs(1);
        let results = s.op.eval(&inputs.iter().collect::<Vec<_>>());
        let types = infer(&s, &s.op);
        if WITHOUT_VALUE.contains(&s.op.name()) {
            assert!(results.is_err(), "{}", s.key());
            continue;
        }
        let results = results.unwrap_or_else(|e| panic!("{}: {e}", s.key()));
        assert_eq!(results.len(), types.len(), "{}", s.key());
        for (tensor, ty) in results.iter().zip(&types) {
            assert_eq!(Some(&tensor.shape), ty.bound_shape().as_ref(), "{}", s.key());
            assert_eq!(tensor.dtype, ty.dtype, "{}", s.key());
            assert_eq!(tensor.len(), tensor.shape.iter().product::<usize>(), "{}", s.key());
        }
    }
}

#[test]
fn attributes_make_the_op_again() {
    for s in samples() {
        let attrs = s.op.attrs();
        assert_eq!(Op::from_attrs(s.op.name(), &attrs).as_ref(), Ok(&s.op), "{}", s.key());
        assert_eq!(s.op.map_dims(&Clone::clone), s.op, "{}", s.key());
        let odd = attrs.clone().with("bogus", 1i64);
        assert!(Op::from_attrs(s.op.name(), &odd).is_err(), "{}: an unknown attribute passes", s.key());
        for i in 0..attrs.list.len() {
            let mut fewer = attrs.clone();
            fewer.list.remove(i);
            assert!(Op::from_attrs(s.op.name(), &fewer).is_err(), "{}: a missing attribute passes", s.key());
        }
    }
    assert!(Op::from_attrs("bogus", &Attrs::new()).is_err());
}

#[test]
fn differentiable_ops_have_samples_for_finite_differences() {
    for row in OPS {
        let samples = (row.samples)();
        let rule = samples.iter().any(|s| s.op.gradient() == Gradient::Rule);
        assert_eq!(rule, samples.iter().any(|s| s.smooth > 0), "{}", row.name);
    }
}

#[test]
fn literals_round_trip_through_text() {
    for s in (OPS.iter().find(|r| r.name == "constant").expect("it is in the table").samples)() {
        let Op::Constant(Constant { value }) = &s.op else { panic!("not a constant") };
        let text = value.to_string();
        let inner = text.split_once('{').and_then(|(_, t)| t.strip_suffix('}')).expect("braces");
        let elements = inner.split(", ").filter(|e| !e.is_empty());
        let again = Literal::parse_elements(value.dtype(), value.shape().to_vec(), elements);
        assert_eq!(again.as_ref(), Some(value), "{text}");
    }
    assert_eq!(Literal::parse_elements(DType::U8, vec![1], ["256"]), None);
    assert_eq!(Literal::parse_elements(DType::F32, vec![2], ["1.0"]), None);
}

/// Everything but casts is computed in f64 on both sides, from values that f32 has.
fn results(s: &Sample) -> Vec<Tensor> {
    let mut inputs = s.inputs(0);
    if s.op.name() != "cast" {
        inputs.iter_mut().filter(|t| t.dtype == DType::F32).for_each(|t| t.dtype = DType::F64);
    }
    let results =
        s.op.eval(&inputs.iter().collect::<Vec<_>>()).unwrap_or_else(|e| panic!("{}: {e}", s.key()));
    results.into_iter().map(Tensor::rounded).collect()
}

#[test]
fn values_are_pytorchs() {
    let bytes = std::fs::read(FIXTURE).expect("the fixture is there");
    let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("a header");
    let notes: BTreeMap<String, String> =
        metadata.metadata().clone().unwrap_or_default().into_iter().collect();
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    // A region's dtypes are its own, and PyTorch has no loop to compare with.
    for s in samples().into_iter().filter(|s| s.op.region().is_none()) {
        let key = s.key();
        if notes.contains_key(&format!("absent {key}")) {
            continue;
        }
        let made_for = notes.get(&format!("fingerprint {key}"));
        let print = fingerprint(&s.inputs(0));
        assert_eq!(made_for, Some(&print), "{key}: run tests/fixtures/make_ops.py");
        let want = fixture_values(&tensors.tensor(&format!("{key}/y")).expect("a result"));
        let got = results(&s)[0].to_f64();
        assert_eq!(got.len(), want.len(), "{key}");
        for (i, (&g, &w)) in got.iter().zip(&want).enumerate() {
            let close = (g - w).abs() <= 8.0 * s.error * f64::EPSILON * w.abs().max(1e-300);
            assert!(g == w || close || (g.is_nan() && w.is_nan()), "{key} at {i}: {g:e}, PyTorch {w:e}");
        }
    }
}

fn fixture_values(t: &safetensors::tensor::TensorView<'_>) -> Vec<f64> {
    use safetensors::Dtype;
    let dtype = match t.dtype() {
        Dtype::F64 => DType::F64,
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::I8 => DType::I8,
        Dtype::U8 => DType::U8,
        Dtype::BOOL => DType::Bool,
        other => panic!("a fixture of dtype {other:?}"),
    };
    let shape = t.shape().iter().map(|&d| d as u64).collect();
    Literal::new(dtype, shape, t.data().into()).expect("as long as its header says").to_f64()
}
