//! `mlc compile -o` and `mlc run` of what it wrote.

use mlc::ir::DType;
use mlc::runtime::files::Cache;
use mlc::runtime::files::safetensors::SafetensorsFile;

use super::{Folder, MODEL};

const COMPILE: &str = "compile net.mlg --target cpu --dim batch=1,5 -o net.mlgx";

/// With [`MODEL`]'s artifact and without its source.
fn compiled() -> Folder {
    let f = Folder::new();
    f.mlc(COMPILE).ok();
    std::fs::remove_file(f.path("net.mlg")).unwrap();
    f
}

/// A log without times.
fn log(f: &Folder, name: &str) -> Vec<String> {
    let text = f.text(name);
    text.lines().map(|l| l.split(",\"ms\":").next().unwrap_or(l).to_string()).collect()
}

#[test]
fn an_artifact_has_what_its_data_and_its_dims_imply() {
    let f = Folder::new();
    let done = f.mlc(COMPILE).ok();
    let rows: Vec<String> = done
        .out
        .lines()
        .map(|l| l.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
        .filter(|l| l.contains("batch="))
        .collect();
    // 44 samples: in batches of 8 and of 16.
    let want = [
        "forward batch=1",
        "forward batch=5",
        "train.step batch=8",
        "train.step batch=4",
        "train.validate batch=16",
        "train.validate batch=12",
    ];
    let mut sorted = [rows, want.map(str::to_string).to_vec()];
    sorted.iter_mut().for_each(|l| l.sort());
    assert_eq!(sorted[0], sorted[1]);
    assert!(done.out.contains("wrote net.mlgx: "), "{}", done.out);
}

#[test]
fn training_from_an_artifact_is_training_from_the_source() {
    let f = Folder::new();
    f.mlc(COMPILE).ok();
    f.mlc("run net.mlg --log a.jsonl --save a.safetensors --seed 3").ok();
    std::fs::remove_file(f.path("net.mlg")).unwrap();
    let done = f.mlc("run net.mlgx --log b.jsonl --save b.safetensors --seed 3").ok();
    assert!(done.out.contains("trained 12 steps"), "{}", done.out);
    assert_eq!(log(&f, "a.jsonl"), log(&f, "b.jsonl"));
    assert_eq!(f.read("a.safetensors"), f.read("b.safetensors"));
    let validated = f.mlc("run net.mlgx validate --weights b.safetensors").ok();
    assert!(validated.out.contains("44 rows"), "{}", validated.out);
    // Half a run from the artifact, the rest of it resumed, is the whole run.
    f.mlc("run net.mlgx --seed 3 --steps 5 --checkpoint half").ok();
    f.mlc("run net.mlgx --seed 3 --resume half --save c.safetensors").ok();
    assert_eq!(f.read("a.safetensors"), f.read("c.safetensors"));
}

#[test]
fn methods_run_for_the_sizes_there_are() {
    let f = Folder::new();
    f.mlc(COMPILE).ok();
    let call = "forward --random-inputs --dim batch=5 --seed 2 --output";
    f.mlc(&format!("run net.mlg {call} a.npz")).ok();
    f.mlc(&format!("run net.mlgx {call} b.npz")).ok();
    assert_eq!(f.read("a.npz"), f.read("b.npz"));
    let shown = f.mlc("run net.mlgx forward --random-inputs").ok();
    assert!(shown.out.contains("out: f32[1,3] on cpu:0"), "{}", shown.out);
    f.mlc("run net.mlgx forward --random-inputs --dim batch=7").fails(
        1,
        "E0744",
        &["`batch` = 7", "`batch` = 1", "`batch` = 5", "mlc compile", "--dim batch=1,5"],
    );
}

#[test]
fn one_entry_alone() {
    let f = Folder::new();
    // The data is not asked for.
    std::fs::remove_file(f.path("x.npy")).unwrap();
    f.mlc("compile net.mlg forward --target cpu --dim batch=2 -o net.mlgx").ok();
    f.mlc("run net.mlgx --random-inputs --dim batch=2").ok();
    for entry in ["validate", "train", "train.step"] {
        f.mlc(&format!("run net.mlgx {entry}")).fails(2, "E0903", &["entries: forward"]);
    }
    f.mlc("compile net.mlg forward -o other.mlgx").fails(2, "E0910", &["--dim batch=1"]);
    f.mlc("compile net.mlg -o other.mlgx").fails(1, "E0701", &["x.npy"]);
    assert!(!f.path("other.mlgx").exists());
}

#[test]
fn weights_can_be_embedded() {
    let f = Folder::new();
    f.mlc("run net.mlg --quiet --save w.safetensors").ok();
    f.mlc(&format!("{COMPILE} --weights w.safetensors --embed-weights")).ok();
    let call = "forward --random-inputs --dim batch=5 --output";
    f.mlc(&format!("run net.mlg {call} a.npz --weights w.safetensors")).ok();
    std::fs::remove_file(f.path("w.safetensors")).unwrap();
    f.mlc(&format!("run net.mlgx {call} b.npz")).ok();
    assert_eq!(f.read("a.npz"), f.read("b.npz"));
    // Training goes on from them.
    f.mlc("run net.mlgx --steps 0 --save same.safetensors").ok();
    let file = SafetensorsFile::open(&f.path("same.safetensors"), &Cache::disabled()).unwrap();
    assert_eq!(file.tensor(Some("fc1.weight")).unwrap().dtype(), DType::F32);
    f.mlc("run net.mlg --quiet --save w.safetensors").ok();
    assert_eq!(f.read("same.safetensors"), f.read("w.safetensors"));
    assert_eq!(f.mlc("compile net.mlg -o x.mlgx --embed-weights").code, 2);
    assert_eq!(f.mlc("compile net.mlg -o x.mlgx --weights w.safetensors").code, 2);
}

#[test]
fn data_is_found_beside_a_moved_artifact_or_where_it_was() {
    let f = compiled();
    for folder in ["alone", "together"] {
        std::fs::create_dir(f.path(folder)).unwrap();
    }
    std::fs::copy(f.path("net.mlgx"), f.path("alone/net.mlgx")).unwrap();
    f.mlc("run alone/net.mlgx --steps 1").ok();
    for name in ["net.mlgx", "x.npy", "label.npy"] {
        std::fs::rename(f.path(name), f.path("together").join(name)).unwrap();
    }
    f.mlc("run together/net.mlgx --steps 1").ok();
    f.mlc("run alone/net.mlgx --steps 1").fails(1, "E0701", &["alone/x.npy"]);
}

#[test]
fn an_artifact_is_as_it_was_compiled() {
    let f = compiled();
    for option in ["--strict", "--model Net", "--transfers explicit", "--device left=cpu:1", "--target cuda"]
    {
        f.mlc(&format!("run net.mlgx {option}")).fails(2, "E0912", &["compiled"]);
    }
    f.mlc("run net.mlgx --memory-limit 100").fails(1, "E0520", &[]);
    for command in ["check", "test", "compile", "compile --emit plan", "explain fusion"] {
        f.mlc(&format!("{command} net.mlgx")).fails(1, "E0744", &["is an artifact"]);
    }
    f.write("net.mlg", MODEL);
    f.mlc("compile net.mlg --dim batch=1,2 --emit plan").fails(2, "E0912", &["several sizes"]);
    f.mlc("compile net.mlg -o net.mlgx --emit plan").fails(2, "E0912", &["at once"]);
    f.mlc("compile net.mlg --dim batch=1 -o net.mlg").fails(2, "E0912", &["is the source file"]);
    f.mlc("compile net.mlg --dim batch=1 -o no/net.mlgx").fails(1, "E0712", &["there is no folder `no`"]);
    f.mlc("compile net.mlg train --dim batch=3,4 -o net.mlgx").fails(2, "E0909", &["bound by the data"]);
}

#[test]
fn what_is_no_good_artifact_says_why() {
    let f = compiled();
    let good = f.read("net.mlgx");
    f.write("text.mlgx", MODEL);
    f.mlc("run text.mlgx").fails(1, "E0740", &["not an artifact", "model Net"]);
    f.mlc("run none.mlgx").fails(1, "E0701", &["no such file"]);
    f.write("short.mlgx", &good[..good.len() / 2]);
    f.mlc("run short.mlgx").fails(1, "E0741", &["cut off", &good.len().to_string()]);
    let mut changed = good.clone();
    changed[good.len() / 2] ^= 4;
    f.write("changed.mlgx", &changed);
    f.mlc("run changed.mlgx").fails(1, "E0741", &["damaged", "checksum"]);
    let mut newer = good.clone();
    newer[8] += 1;
    f.write("newer.mlgx", &newer);
    f.mlc("run newer.mlgx").fails(1, "E0742", &["format 2", "format 1"]);
    // By its first bytes an artifact under another name is one.
    f.write("renamed.bin", &good);
    f.mlc("run renamed.bin --steps 1").ok();
    if mlc::cpu_description().is_ok_and(|d| d.contains("avx")) {
        let run = f.command(&["run", "net.mlgx"]).env("MLC_CPU_FEATURES", "portable").output().unwrap();
        let err = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(1), "{err}");
        assert!(err.contains("E0743") && err.contains("here: portable"), "{err}");
    }
}
