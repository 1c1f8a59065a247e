//! Artifacts in memory: what runs is what was compiled, and nothing else is taken for one.

use std::path::Path;

use mlc_diag::Diagnostic;
use mlc_ir::Binding;
use mlc_runtime::HostTensor;
use mlc_runtime::host::{AlignedBuf, Bytes};

use super::container::{self, Head};
use super::load::load;
use crate::{Compiler, Error, Program, Results, Seed, Target};

const MODEL: &str = r#"
model Net {
    embed = Embedding(5, 4)
    fc    = Linear(4, 3)

    forward(ids: i64[batch]) -> f32[batch, 3] {
        tanh(fc(embed(ids)))
    }

    noise(x: f32[batch, 4], n: int) -> f32[n, 3] {
        zeros(f32[n, 3]) + sum(exp(fc(x)), axis: 0)
    }
}
"#;

fn compiled() -> Program {
    Compiler::new().target(Target::Cpu).compile_source("net.mlg", MODEL).unwrap()
}

fn binding(dims: &[(&str, i64)]) -> Binding {
    dims.iter().map(|(name, n)| ((*name).into(), *n)).collect()
}

/// The bytes of an artifact with `forward` for batches of 2 and 3.
fn artifact() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.mlgx");
    let program = compiled();
    let mut artifact = program.artifact();
    for n in [2, 3] {
        artifact.entry("forward", &binding(&[("batch", n)])).unwrap();
    }
    let written = artifact.write(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(written.bytes, bytes.len() as u64);
    assert!(written.functions > 0 && written.code_bytes > 0 && written.weights_bytes == 0);
    bytes
}

fn read(bytes: &[u8]) -> Result<Program, Diagnostic> {
    let bytes = Bytes::from(AlignedBuf::copy_of(bytes).unwrap());
    load("net.mlgx", &bytes, Path::new("/"), &Compiler::new())
}

fn forward(program: &Program, ids: &[i64]) -> Result<Results, Error> {
    let mut session = program.session(Seed(7)).unwrap();
    let ids = HostTensor::from_slice(&[ids.len()], ids).unwrap();
    session.call_tensors("forward", &[("ids".to_string(), ids)])
}

#[test]
fn the_same_bits_without_compiling() {
    let (source, loaded) = (compiled(), read(&artifact()).unwrap());
    assert!(loaded.is_loaded() && !source.is_loaded());
    for ids in [&[4, 0][..], &[1, 2, 3]] {
        let [a, b] = [&source, &loaded].map(|p| forward(p, ids).unwrap());
        assert_eq!(a.get("out").unwrap().bytes(), b.get("out").unwrap().bytes());
    }
    for (entry, dims) in [("init", &[][..]), ("forward", &[("batch", 2)]), ("forward", &[("batch", 3)])] {
        let bound = loaded.bind(entry, &binding(dims)).unwrap();
        let stats = bound.executable.stats();
        assert_eq!((stats.functions, stats.code_bytes, stats.times.len()), (0, 0, 0), "{entry}");
        assert!(stats.shared > 0);
    }
    // A fault's message still has its line.
    let fault = forward(&loaded, &[9, 0]).unwrap_err().to_string();
    assert!(fault.contains("E0801") && fault.contains("embed(ids)"), "{fault}");
}

#[test]
fn what_it_does_not_have_is_named() {
    let loaded = read(&artifact()).unwrap();
    let e = forward(&loaded, &[1]).unwrap_err().to_string();
    assert!(e.contains("E0744") && e.contains("`batch` = 1"), "{e}");
    assert!(e.contains("it has `batch` = 2") && e.contains("it has `batch` = 3"), "{e}");
    let e = loaded.entry("noise").unwrap_err().to_string();
    assert!(e.contains("E0903") && e.contains("forward"), "{e}");
    let e = loaded.lower("forward", &binding(&[("batch", 2)])).err().unwrap().to_string();
    assert!(e.contains("E0744") && e.contains("artifact"), "{e}");
}

#[test]
fn one_size_of_a_dim_that_no_input_binds_is_the_size() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.mlgx");
    let program = compiled();
    let mut artifact = program.artifact();
    artifact.entry("noise", &binding(&[("batch", 2), ("n", 6)])).unwrap();
    artifact.write(&path).unwrap();
    let mut session = Program::load(&path).unwrap().session(Seed(0)).unwrap();
    let x = HostTensor::zeros(mlc_ir::DType::F32, &[2, 4]).unwrap();
    let out = session.call_tensors("noise", &[("x".to_string(), x)]).unwrap();
    assert_eq!(out.get("out").unwrap().shape(), [6, 3]);
}

#[test]
fn an_artifact_can_be_written_from_an_artifact() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("less.mlgx");
    let mut less = read(&artifact()).unwrap().artifact();
    less.entry("forward", &binding(&[("batch", 3)])).unwrap();
    less.write(&path).unwrap();
    let less = Program::load(&path).unwrap();
    let [a, b] = [&compiled(), &less].map(|p| forward(p, &[3, 2, 1]).unwrap());
    assert_eq!(a.get("out").unwrap().bytes(), b.get("out").unwrap().bytes());
    assert!(forward(&less, &[3, 2]).is_err());
}

/// Every byte that is another, and every length that is another, is an error.
#[test]
fn damage_is_found() {
    let good = artifact();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        let code = read(&bad).err().unwrap_or_else(|| panic!("byte {at}")).code;
        let expected: &[&str] = match at {
            0..8 => &["E0740"],
            8..12 => &["E0742"],
            _ => &["E0741"],
        };
        assert!(expected.contains(&code), "byte {at}: {code}");
    }
    for len in 0..good.len() {
        let code = read(&good[..len]).err().unwrap_or_else(|| panic!("{len} bytes")).code;
        assert_eq!(code, if len == 0 { "E0740" } else { "E0741" }, "{len} bytes");
    }
    let longer = [&good[..], &[0]].concat();
    assert_eq!(read(&longer).err().unwrap().code, "E0741");
}

/// A file that is whole, but whose content is not what `change` found there.
fn altered(change: impl Fn(&mut Head, &mut [Vec<u8>; 3])) -> Result<Program, Diagnostic> {
    let bytes = Bytes::from(AlignedBuf::copy_of(&artifact()).unwrap());
    let file = container::read("net.mlgx", &bytes)?;
    let mut head = file.head;
    let mut parts = [file.manifest, file.object, file.weights].map(|b| b.to_vec());
    change(&mut head, &mut parts);
    let mut out = vec![];
    container::write(&mut out, head, [&parts[0], &parts[1], &parts[2]]).unwrap();
    read(&out)
}

#[test]
fn what_is_foreign_is_told_apart() {
    assert!(altered(|_, _| {}).is_ok());
    let cases: [(&str, fn(&mut Head), &str, &str); 4] = [
        ("build", |h| h.build = "0.0.9-older".into(), "E0742", "0.0.9-older"),
        ("target", |h| h.target = "pdp11-unknown".into(), "E0743", "pdp11-unknown"),
        ("device", |h| h.device = "cuda".into(), "E0743", "cuda"),
        ("level", |h| h.level = "avx9".into(), "E0743", "avx9"),
    ];
    for (what, change, code, found) in cases {
        let d = altered(|head, _| change(head)).err().unwrap_or_else(|| panic!("{what}"));
        assert_eq!(d.code, code, "{what}");
        assert!(d.notes.iter().any(|n| n.contains(found) && n.contains("here: ")), "{what}: {:?}", d.notes);
        assert!(d.hint.is_some_and(|h| h.contains("mlc compile")), "{what}");
    }
}

/// Content that passed its checksum but is not as mlc writes it is refused without a panic too.
#[test]
fn content_is_not_taken_at_its_word() {
    for part in [0, 1] {
        let d = altered(|_, parts| parts[part].truncate(40)).err().unwrap();
        assert_eq!(d.code, "E0741", "{part}");
    }
    assert_eq!(altered(|_, parts| parts[1].clear()).err().unwrap().code, "E0741");
}

#[test]
fn another_number_of_threads() {
    let text = "model Sums {\n    fc = Linear(2, 2)\n\n    total(x: f32[rows, 64]) -> f32[64] { exp(x).sum(axis: 0) }\n}\n";
    let alone = Compiler::new().target(Target::Cpu).threads(1).compile_source("sums.mlg", text).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sums.mlgx");
    let mut artifact = alone.artifact();
    artifact.entry("total", &binding(&[("rows", 20_000)])).unwrap();
    artifact.write(&path).unwrap();
    let x: Vec<f32> = (0..20_000 * 64).map(|i| (i % 97) as f32 / 50.0).collect();
    let total = |program: &Program| {
        let x = HostTensor::from_slice(&[20_000, 64], &x).unwrap();
        let out = program.session(Seed(0)).unwrap().call_tensors("total", &[("x".to_string(), x)]).unwrap();
        out.get("out").unwrap().bytes().to_vec()
    };
    let want = total(&alone);
    for threads in [1, 2, 3] {
        let loaded = Compiler::new().threads(threads).load(&path).unwrap();
        assert!(total(&loaded) == want, "{threads} threads");
    }
}
