//! Library functions and their gradients against PyTorch: every fn of tests/cases/library/library.mlg.

use mlc::ir::DType;
use mlc::runtime::files::{Cache, safetensors::SafetensorsFile};
use mlc::{Compiler, HostTensor, Seed, Target};
use mlc_tests::{case, fixture};

/// Relative to the element, or to the largest element where sums cancel. PyTorch's own float32 results
/// differ from float64 ones by about this much (its vectorised exp and its order of additions).
const TOLERANCE: f64 = 3e-6;

fn values(t: &HostTensor) -> Vec<f64> {
    t.cast(DType::F64).bytes().chunks_exact(8).map(|b| f64::from_ne_bytes(b.try_into().unwrap())).collect()
}

/// Describes the first element that is off, if one is.
fn difference(got: &HostTensor, want: &HostTensor) -> Option<String> {
    if got.shape() != want.shape() {
        return Some(format!("shape {:?}, PyTorch has {:?}", got.shape(), want.shape()));
    }
    let (a, b) = (values(got), values(want));
    let largest = b.iter().filter(|v| v.is_finite()).fold(0.0f64, |m, v| m.max(v.abs()));
    // A gradient of 1e-30 beside one of 1e30 is not compared by the largest, but by itself.
    let scale = largest.min(100.0);
    let off = |(x, y): (&f64, &f64)| {
        let same = x == y || (x.is_nan() && y.is_nan());
        let near = (x - y).abs() <= TOLERANCE * y.abs().max(scale);
        !same && !near
    };
    let at = a.iter().zip(&b).position(off)?;
    Some(format!("element {at} is {}, PyTorch has {}", a[at], b[at]))
}

#[test]
fn functions_and_gradients_are_pytorchs() {
    let compiler = Compiler::new().target(Target::Cpu);
    let program = compiler.compile_file(case("library/library.mlg")).unwrap_or_else(|e| panic!("{e}"));
    let expected =
        SafetensorsFile::open(&fixture("library/library.safetensors"), &Cache::disabled()).expect("fixture");
    let keys = expected.keys();
    let tensor = |key: &str| expected.tensor(Some(key)).expect("the fixture has it");
    let mut session = program.session(Seed(0)).unwrap_or_else(|e| panic!("{e}"));
    let (mut count, mut failures) = (0, vec![]);
    for entry in &program.ir().entries {
        let Some(name) = entry.name.strip_prefix("case_") else { continue };
        count += 1;
        let inputs: Vec<(String, HostTensor)> = entry
            .inputs
            .iter()
            .map(|i| (i.name.to_string(), tensor(&format!("{name}.{}", i.name))))
            .collect();
        let results = match session.call_tensors(&entry.name, &inputs) {
            Ok(results) => results,
            Err(e) => {
                failures.push(format!("{name}: {e}"));
                continue;
            }
        };
        let mut wanted = vec![format!("{name}.out")];
        let mut gradients: Vec<String> =
            keys.iter().filter(|k| k.starts_with(&format!("{name}.d"))).cloned().collect();
        gradients.sort();
        wanted.extend(gradients);
        for ((_, got), key) in results.iter().zip(&wanted) {
            if let Some(what) = difference(got, &tensor(key)) {
                failures.push(format!("{key}: {what}"));
            }
        }
        if results.iter().count() != wanted.len() {
            failures.push(format!("{name}: {} results for {wanted:?}", results.iter().count()));
        }
    }
    assert!(count > 150, "only {count} cases were found");
    assert!(failures.is_empty(), "{} of {count} cases differ:\n{}", failures.len(), failures.join("\n"));
}
