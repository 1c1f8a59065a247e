//! `mlc run FILE ENTRY`: inputs, dims, results.

use mlc::runtime::HostTensor;
use mlc::runtime::files::{self, Cache, FileRef};

use super::Folder;

const FNS: &str = r#"
model Net {
    fc = Linear(3, 2)
    forward(x: f32[batch, 3]) -> f32[batch, 2] { fc(x) }
}

fn twice(x: f32[n], by: f32 = 2.0) -> f32[n] { x * by }
fn shift(text: u8[n]) -> u8[n] { text }
fn both(a: f32[n, m], b: f32[n]) -> (f32[n, m], f32[n]) { (a + 1, b + 1) }
fn at(i: i64, k: i32) -> i64 { i + k.cast(i64) }
"#;

fn folder() -> Folder {
    let f = Folder::empty();
    f.write("fns.mlg", FNS);
    f.floats("x.npy", &[4], |i| i as f32);
    f
}

fn array(f: &Folder, file: &str) -> Vec<f32> {
    let t = files::read_one(&FileRef::parse(&f.path(file).display().to_string()), &Cache::disabled());
    t.unwrap_or_else(|d| panic!("{}", d.title)).to_vec::<f32>()
}

#[test]
fn inputs_from_files_and_literals() {
    let f = folder();
    let done = f.mlc("run fns.mlg twice --input x=x.npy").ok();
    assert_eq!(done.out, "out: f32[4] on cpu:0  [0, 2, 4, 6]  from 0 to 6\n");
    f.mlc("run fns.mlg twice --input x=x.npy --input by=-0.5 --output out.npz").ok();
    assert_eq!(array(&f, "out.npz:out"), [0.0, -0.5, -1.0, -1.5]);
    f.mlc("run fns.mlg twice --input out.npz --input x=x.npy --output out.safetensors --quiet").ok();
    assert_eq!(array(&f, "out.safetensors:out"), [0.0, 2.0, 4.0, 6.0]);
    let done = f.mlc("run fns.mlg at --input i=40 --input k=2").ok();
    assert_eq!(done.out, "out: i64 on cpu:0  42\n");
}

#[test]
fn archives_bind_by_name_and_tuples_have_numbered_results() {
    let f = folder();
    let a = HostTensor::from_slice(&[2, 3], &[0f32, 1., 2., 3., 4., 5.]).unwrap();
    let b = HostTensor::from_slice(&[2], &[7f32, 8.]).unwrap();
    files::npz::write(&f.path("in.npz"), &[("a", a.view()), ("b", b.view())]).unwrap();
    let done = f.mlc("run fns.mlg both --input in.npz").ok();
    let lines: Vec<&str> = done.out.lines().collect();
    assert_eq!(
        lines,
        [
            "out0: f32[2,3] on cpu:0  [[1, 2, 3], ..]  from 1 to 6",
            "out1: f32[2] on cpu:0  [8, 9]  from 8 to 9"
        ]
    );
    f.mlc("run fns.mlg both --input a=in.npz:a --input b=in.npz:b").ok();
}

#[test]
fn texts_go_in_and_out() {
    let f = folder();
    f.run(&["run", "fns.mlg", "shift", "--input", "text=text:HELLO you", "--output", "out.txt"]).ok();
    assert_eq!(f.text("out.txt"), "HELLO you");
}

#[test]
fn random_inputs_take_dims_and_the_seed() {
    let f = folder();
    let done = f.mlc("run fns.mlg --random-inputs").ok();
    assert!(done.out.starts_with("out: f32[1,2] on cpu:0"), "{}", done.out);
    let run = |options: &str| f.mlc(&format!("run fns.mlg forward --random-inputs {options}")).ok().out;
    assert!(run("--dim batch=5").starts_with("out: f32[5,2]"));
    assert_eq!(run("--dim batch=5"), run("--dim batch=5"));
    assert_ne!(run("--dim batch=5 --seed 1"), run("--dim batch=5 --seed 2"));
}

#[test]
fn wrong_inputs_say_what_is_declared() {
    let f = folder();
    f.labels("ints.npy", 4, |i| i as i64);
    f.floats("flat.npy", &[3], |_| 0.0);
    f.floats("wide.npy", &[2, 4], |_| 0.0);
    let y = HostTensor::from_slice(&[3], &[0f32; 3]).unwrap();
    mlc::runtime::files::npz::write(&f.path("other.npz"), &[("y", y.view())]).unwrap();
    let bad = [
        ("run fns.mlg forwrd", 2, "E0903", &["forwrd", "did you mean `forward`"][..]),
        ("run fns.mlg forward", 2, "E0907", &["`x`", "f32[batch,3]", "--random-inputs"]),
        ("run fns.mlg forward --input y=x.npy", 2, "E0904", &["no input `y`", "inputs: x"]),
        ("run fns.mlg forward --input x=nope.npy", 1, "E0701", &["nope.npy"]),
        ("run fns.mlg forward --input x=flat.npy", 1, "E0908", &["f32[batch,3]", "[3]"]),
        ("run fns.mlg forward --input x=wide.npy", 1, "E0908", &["f32[batch,3]"]),
        ("run fns.mlg forward --input other.npz", 2, "E0907", &["by their names", "--input x=other.npz:y"]),
        ("run fns.mlg forward --random-inputs --output out.bin", 1, "E0703", &["u8 as .txt"]),
        ("run fns.mlg twice --input x=ints.npy", 1, "E0908", &["i64", "astype"]),
        ("run fns.mlg twice --input x=3", 1, "E0908", &["single number"]),
        ("run fns.mlg at --input i=1 --input k=3000000000", 1, "E0908", &["does not fit"]),
        ("run fns.mlg at --input i=1.5 --input k=3", 1, "E0908", &["1.5"]),
        ("run fns.mlg forward --input x", 2, "E0912", &["NAME=VALUE"]),
        ("run fns.mlg forward --random-inputs --dim bach=3", 2, "E0914", &["did you mean `batch`"]),
        ("run fns.mlg twice --input x=x.npy --dim n=4", 2, "E0909", &["bound by the input `x`"]),
        ("run fns.mlg forward --random-inputs --dim batch=-1", 2, "E0912", &["whole numbers"]),
        ("run fns.mlg forward --random-inputs --steps 3", 2, "E0912", &["--steps"]),
        ("run fns.mlg forward --random-inputs --output out.txt", 1, "E0703", &["f32"]),
        ("run fns.mlg forward --random-inputs --output nope/out.npz", 1, "E0712", &["nope"]),
        ("run fns.mlg forward --random-inputs --memory-limit 10", 1, "E0520", &["10 B"]),
    ];
    for (line, exit, code, parts) in bad {
        println!("{line}");
        f.mlc(line).fails(exit, code, parts);
    }
}

#[test]
fn an_int_parameter_has_its_default_unless_dim_says_otherwise() {
    let f = Folder::empty();
    f.write("m.mlg", "fn ramp(x: f32[n], times: int = 3, by: int = 2) -> f32[n, times * by] { expand(x[:, None], [n, times * by]) }");
    f.floats("x.npy", &[5], |i| i as f32);
    assert!(f.mlc("run m.mlg ramp --input x=x.npy").ok().out.contains("f32[5,6]"));
    assert!(f.mlc("run m.mlg ramp --input x=x.npy --dim times=4").ok().out.contains("f32[5,8]"));
    assert!(f.mlc("run m.mlg ramp --random-inputs --dim by=1").ok().out.contains("f32[1,3]"));
    assert!(f.mlc("compile m.mlg ramp --dim n=1 --emit loops").ok().out.contains("== loops ramp =="));
}

#[test]
fn a_fault_names_its_own_line_where_kernels_are_equal() {
    let f = Folder::empty();
    f.write(
        "pick.mlg",
        "fn pick(t: f32[5], a: i64[n], b: i64[n]) -> (f32[n], f32[n]) {\n    x = take(t, a, axis: 0)\n    \
         y = take(t, b, axis: 0)\n    (x, y)\n}\n",
    );
    f.floats("t.npy", &[5], |i| i as f32);
    f.labels("good.npy", 3, |i| i as i64);
    f.labels("bad.npy", 3, |_| 9);
    for (a, b, line) in [("good", "bad", 3), ("bad", "good", 2)] {
        let run = f.mlc(&format!("run pick.mlg pick --input t=t.npy --input a={a}.npy --input b={b}.npy"));
        run.fails(1, "E0801", &["index 9", &format!("pick.mlg:{line}:")]);
    }
}
