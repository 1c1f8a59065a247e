//! Models, data and files that are wrong: a clear error and the right exit code, whatever is in them.

use std::collections::BTreeMap;

use mlc::runtime::HostTensor;
use mlc::runtime::files::safetensors;

use super::{Folder, MODEL, ROWS, files_in};

#[test]
fn models_that_are_wrong() {
    // What is changed in the model, and what the error says.
    let cases = [
        ("relu(fc1(x))", "rleu(fc1(x))", &["rleu", "relu"][..]),
        ("Linear(8, 3)", "Liner(8, 3)", &["Liner", "Linear"]),
        ("Linear(8, 3)", "Linear(9, 3)", &["8", "9"]),
        ("f32[batch, 3]", "f32[batch, 4]", &["3", "4"]),
        ("f32[batch, 3]", "f16[batch, 3]", &["f16", "f32"]),
        ("fc2(relu(fc1(x)))", "fc2(relu(fc1(x))) + 1 > 2", &["bool"]),
        ("optimizer =", "optimiser =", &["optimiser", "optimizer"]),
        ("model(x), label)", "model(x), labels)", &["labels", "label"]),
        ("loss(x, label) ", "loss(x, lable) ", &["lable"]),
        ("{\n        fc2", "\n        fc2", &[]),
    ];
    for (from, to, parts) in cases {
        println!("{from} -> {to}");
        let f = Folder::with(from, to);
        for command in ["check", "run"] {
            let done = f.mlc(&format!("{command} net.mlg"));
            assert_eq!(done.code, 1, "{command} {to}: {}{}", done.out, done.err);
            assert!(done.err.contains("error[E") && done.err.contains("net.mlg:"), "{}", done.err);
            for part in parts {
                assert!(done.err.contains(part), "`{part}` is missing: {}", done.err);
            }
            assert!(!done.err.contains("E9999"), "{}", done.err);
        }
    }
}

/// A parameter that only the loop reads is one that the result depends on: what is missing is the derivative.
#[test]
fn a_derivative_through_a_loop() {
    let f = Folder::empty();
    let text = |last: &str| {
        format!(
            "model M {{\n    param w: f32[4] = ones\n    forward(x: f32[n, 4]) {{\n        h = zeros(f32[4])\n        \
             scan r in x {{ h = tanh(r * w + h) }}\n        {last}\n    }}\n}}\n"
        )
    };
    f.write("net.mlg", text("grad(sum(h), w)"));
    f.mlc("check net.mlg").fails(1, "E0605", &["net.mlg:5", "scan r in x", "not built yet"]);
    f.write("net.mlg", text("grad(sum(h), x)"));
    f.mlc("check net.mlg").fails(1, "E0605", &["net.mlg:5"]);
    f.write("net.mlg", text("sum(h)"));
    f.mlc("check net.mlg").ok();
}

#[test]
fn several_mistakes_are_told_in_one_run() {
    let f = Folder::new();
    f.write("net.mlg", MODEL.replace("relu(", "rleu(").replace("cross_entropy(", "cros_entropy("));
    let done = f.mlc("check net.mlg");
    assert!(done.err.contains("rleu") && done.err.contains("cros_entropy"), "{}", done.err);
}

#[test]
fn recursion_and_absurd_sizes() {
    let cases = [
        "fn f(x: f32[n]) -> f32[n] { f(x) }",
        "fn f(x: f32[n]) -> f32[n] { g(x) }\nfn g(x: f32[n]) -> f32[n] { f(x) }",
        "model A { a = A() \n forward(x: f32[n]) -> f32[n] { a(x) } }",
        "use \"net.mlg\"",
        "model A { fc = Linear(9000000000000, 9000000000000) \n forward(x: f32[n, 9000000000000]) -> f32[n, 9000000000000] { fc(x) } }",
        "model A { blocks = [Linear(1, 1) for i in 0..100000000] \n forward(x: f32[n, 1]) -> f32[n, 1] { for b in blocks { x = b(x) } \n x } }",
        "fn f() -> f32[9223372036854775807, 9223372036854775807] { zeros(f32[9223372036854775807, 9223372036854775807]) }",
    ];
    for text in cases {
        println!("{text}");
        let f = Folder::empty();
        f.write("net.mlg", text);
        let done = f.mlc("check net.mlg");
        assert_eq!(done.code, 1, "{}{}", done.out, done.err);
        assert!(done.err.contains("error[E") && !done.err.contains("E9999"), "{}", done.err);
    }
    let f = Folder::empty();
    f.write(
        "deep.mlg",
        format!("fn f(x: f32) -> f32 {{ {}x{} }}\n", "(".repeat(100_000), ")".repeat(100_000)),
    );
    f.mlc("check deep.mlg").fails(1, "E0104", &[]);
}

#[test]
fn garbage_as_a_model() {
    let f = Folder::empty();
    let mut state = 1u64;
    let mut noise = |n: usize| -> Vec<u8> {
        let mut bytes = Vec::with_capacity(n);
        while bytes.len() < n {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            bytes.push((state >> 33) as u8);
        }
        bytes
    };
    let size = 10_000_000;
    f.write("noise.mlg", noise(size));
    f.write("ascii.mlg", noise(size).iter().map(|b| 32 + b % 95).collect::<Vec<u8>>());
    f.write("braces.mlg", "{".repeat(size / 10));
    f.write("zeros.mlg", vec![0u8; size]);
    f.write("empty.mlg", "");
    for name in ["noise", "ascii", "braces", "zeros"] {
        let done = f.mlc(&format!("check {name}.mlg"));
        assert_eq!(done.code, 1, "{name}");
        assert!(done.err.contains("error[E01"), "{name}: {}", &done.err[..done.err.len().min(500)]);
        assert!(done.err.len() < 200_000, "{name}: {} bytes of errors", done.err.len());
    }
    f.mlc("run empty.mlg").fails(2, "E0903", &["nothing to run"]);
    f.mlc("check .").fails(1, "E0701", &[]);
    f.mlc("run nope.mlg").fails(1, "E0701", &["nope.mlg"]);
}

#[test]
fn data_that_is_wrong() {
    let f = Folder::new();
    let run = || f.mlc("run net.mlg --steps 1");
    f.labels("label.npy", ROWS - 1, |_| 0);
    run().fails(1, "E0708", &["44", "43"]);
    f.labels("label.npy", ROWS, |i| if i == 3 { 3 } else { 0 });
    f.mlc("run net.mlg --no-shuffle --save w.safetensors").fails(1, "E0801", &["index 3", "net.mlg:"]);
    assert!(!f.path("w.safetensors").exists(), "nothing of a faulted run is saved");
    f.floats("label.npy", &[ROWS], |_| 0.0);
    run().fails(1, "E0706", &["f32", "i64"]);
    f.labels("label.npy", ROWS, |_| 0);
    f.floats("x.npy", &[ROWS, 5], |_| 0.0);
    run().fails(1, "E0707", &["5", "4"]);
    f.floats("x.npy", &[0, 4], |_| 0.0);
    f.labels("label.npy", 0, |_| 0);
    run().fails(1, "E0713", &["empty"]);
    f.write("x.npy", b"");
    run().fails(1, "E0702", &["x.npy"]);
    std::fs::remove_file(f.path("x.npy")).unwrap();
    run().fails(1, "E0701", &["x.npy"]);
}

#[test]
fn truncated_and_corrupt_files() {
    let f = Folder::new();
    let whole = f.read("x.npy");
    for cut in [0, 3, 9, 60, whole.len() - 1] {
        f.write("x.npy", &whole[..cut]);
        f.mlc("run net.mlg --steps 1").fails(1, "E0702", &["x.npy"]);
    }
    let source = |to: &str| MODEL.replace("npy(\"x.npy\")", to);
    f.mlc("run net.mlg --steps 1").fails(1, "E0702", &[]);
    let x = HostTensor::from_slice(&[ROWS, 4], &vec![0f32; ROWS * 4]).unwrap();
    mlc::runtime::files::npz::write(&f.path("x.npz"), &[("x", x.view())]).unwrap();
    safetensors::write(&f.path("x.safetensors"), &[("x", x.view())], &BTreeMap::new()).unwrap();
    // idx: 2 dims of f32 (0x0d), big-endian.
    let mut idx = vec![0, 0, 0x0d, 2, 0, 0, 0, ROWS as u8, 0, 0, 0, 4];
    idx.extend(vec![0u8; ROWS * 16]);
    f.write("x.idx", &idx);
    for (file, text) in [
        ("x.npz", "npz(\"x.npz\", key: \"x\")"),
        ("x.safetensors", "safetensors(\"x.safetensors\", key: \"x\")"),
        ("x.idx", "idx(\"x.idx\")"),
    ] {
        f.write("net.mlg", source(text));
        f.mlc("run net.mlg --steps 1 --quiet").ok();
        let whole = f.read(file);
        for cut in [0, 5, whole.len() / 2, whole.len() - 1] {
            f.write(file, &whole[..cut]);
            let done = f.mlc("run net.mlg --steps 1");
            assert_eq!(done.code, 1, "{file} cut to {cut}: {}", done.err);
            assert!(done.err.contains("error[E07") && done.err.contains(file), "{}", done.err);
        }
    }
}

#[test]
fn weights_that_do_not_fit_are_listed_at_once() {
    let f = Folder::new();
    let tensor =
        |shape: &[usize]| HostTensor::from_slice(shape, &vec![0f32; shape.iter().product()]).unwrap();
    let (w, b, extra) = (tensor(&[8, 5]), tensor(&[8]), tensor(&[1]));
    let tensors = [("fc1.weight", w.view()), ("fc1.bias", b.view()), ("head.bias", extra.view())];
    safetensors::write(&f.path("w.safetensors"), &tensors, &BTreeMap::new()).unwrap();
    f.mlc("run net.mlg --weights w.safetensors").fails(
        1,
        "E0724",
        &[
            "missing: fc2.weight",
            "missing: fc2.bias",
            "extra: head.bias",
            "fc1.weight",
            "[8, 5]",
            "nothing was loaded",
        ],
    );
    f.mlc("run net.mlg forward --random-inputs --weights w.safetensors").fails(1, "E0724", &["fc2.weight"]);
    f.mlc("run net.mlg --weights nope.safetensors").fails(1, "E0701", &["nope.safetensors"]);
    f.write("w.safetensors", b"not at all");
    f.mlc("run net.mlg --weights w.safetensors").fails(1, "E0702", &["w.safetensors"]);
}

#[test]
fn a_disk_that_is_full_or_missing() {
    let f = Folder::new();
    f.mlc("run net.mlg --steps 1 --save nope/w.safetensors").fails(1, "E0712", &["nope"]);
    f.mlc("run net.mlg --steps 1 --log nope/log.jsonl").fails(1, "E0712", &["nope"]);
    f.mlc("run net.mlg --steps 1 --resume nope").fails(1, "E0701", &["nope"]);
    f.mlc("run net.mlg --steps 1 --save .").fails(1, "E0712", &["folder"]);
    f.write("file", "");
    f.mlc("run net.mlg --steps 1 --checkpoint file").fails(1, "E0721", &["file"]);
    if !std::path::Path::new("/dev/full").exists() {
        return;
    }
    f.mlc("run net.mlg --steps 1 --save /dev/full").fails(1, "E0712", &["/dev/full"]);
    f.mlc("run net.mlg --steps 1 --log /dev/full").fails(1, "E0720", &["/dev/full"]);
    f.mlc("run net.mlg forward --random-inputs --output /dev/full").fails(1, "E0703", &["/dev/full"]);
    let left: Vec<String> = files_in(&f.path(".")).into_iter().filter(|n| n.starts_with(".mlc-")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn checkpoints_of_something_else() {
    let f = Folder::new();
    f.mlc("run net.mlg --quiet --steps 1 --checkpoint ckpt --save w.safetensors").ok();
    std::fs::create_dir(f.path("other")).unwrap();
    std::fs::copy(f.path("w.safetensors"), f.path("other/checkpoint.safetensors")).unwrap();
    f.mlc("run net.mlg --resume other").fails(1, "E0722", &["other"]);
    f.write("net.mlg", MODEL.replace("Linear(4, 8)", "Linear(4, 7)").replace("Linear(8, 3)", "Linear(7, 3)"));
    f.mlc("run net.mlg --resume ckpt").fails(1, "E0723", &["fc1.weight"]);
    let whole = f.read("ckpt/checkpoint.safetensors");
    f.write("ckpt/checkpoint.safetensors", &whole[..whole.len() / 2]);
    f.mlc("run net.mlg --resume ckpt").fails(1, "E0702", &["checkpoint.safetensors"]);
}
