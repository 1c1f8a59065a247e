//! What is printed and written beside training: emit, fmt, check, test, doc, explain, devices, usage.

use super::{Folder, MODEL};

fn sections(text: &str) -> Vec<&str> {
    text.lines().filter(|l| l.starts_with("== ")).collect()
}

#[test]
fn emit_prints_in_the_order_of_its_options() {
    let f = Folder::new();
    let done = f.mlc("compile net.mlg forward --target cpu --dim batch=4 --emit plan --emit ast --emit graph=placed --emit graph").ok();
    assert_eq!(
        sections(&done.out),
        ["== plan forward ==", "== ast net.mlg ==", "== graph=placed forward ==", "== graph forward =="]
    );
    // A train block takes the batch from its data, even where the files are not there.
    std::fs::remove_file(f.path("x.npy")).unwrap();
    let done = f.mlc("compile net.mlg train --emit loops --emit clif --emit asm").ok();
    let found = sections(&done.out);
    assert_eq!(
        found,
        [
            "== loops train.step ==",
            "== loops train.validate ==",
            "== clif train.step ==",
            "== clif train.validate ==",
            "== asm train.step ==",
            "== asm train.validate =="
        ]
    );
    let done = f.mlc("compile net.mlg --emit graph").ok();
    assert_eq!(sections(&done.out).len(), 3, "{:?}", sections(&done.out));
    let summary = f.mlc("compile net.mlg --target cpu").ok();
    assert!(summary.out.contains("train.step") && summary.out.contains("kernel"), "{}", summary.out);
    assert!(summary.err.contains("--dim batch=N"), "{}", summary.err);
}

#[test]
fn compile_refuses_what_it_cannot() {
    let f = Folder::new();
    f.mlc("compile net.mlg forward --emit graph=bound").fails(2, "E0910", &["`batch`", "--dim batch=1"]);
    f.mlc("compile net.mlg --emit grph").fails(2, "E0911", &["grph"]);
    f.mlc("compile net.mlg --emit graph=late").fails(2, "E0911", &["late", "placed"]);
    f.mlc("compile net.mlg trian --emit graph").fails(2, "E0903", &["did you mean `train`"]);
    f.mlc("compile net.mlg train --dim batch=3 --emit loops").fails(2, "E0909", &["bound by the data"]);
    f.mlc("compile net.mlg --target gpu").fails(2, "E0901", &["cuda"]);
}

#[test]
fn names_in_options_that_the_file_has_not() {
    let f = Folder::new();
    f.mlc("check net.mlg --model Nte").fails(2, "E0915", &["Nte", "did you mean `Net`"]);
    f.mlc("run net.mlg --device left=cpu:1").fails(2, "E0915", &["left", "no device at all"]);
    // What is spelled as a device may stand in a command for any program.
    f.mlc("check net.mlg --device cuda:1=cpu:1 --model Net").ok();
    let done = f.mlc("run net.mlg --steps -1");
    assert_eq!(done.code, 2);
    assert!(done.err.contains("'-1' for '--steps <N>'"), "{}", done.err);
    f.mlc("run .").fails(1, "E0701", &["it is a folder"]);
}

#[test]
fn a_target_that_is_missing_says_what_was_looked_for() {
    let f = Folder::new();
    for line in [
        "run net.mlg --target cuda",
        "compile net.mlg --target cuda:1 --emit ast",
        "check net.mlg --target cuda",
        "run net.mlg --target cuda --log log.jsonl",
    ] {
        f.mlc(line).fails(3, "E0590", &["libcuda", "nvrtc", "looked for in", "--target cpu"]);
    }
    assert!(!f.path("log.jsonl").exists(), "nothing half-run");
}

#[test]
fn fmt_rewrites_only_what_it_can_parse() {
    let f = Folder::new();
    f.write("ugly.mlg", "model   M{\n x=Linear( 1,2 ) // kept\n}\n");
    f.write("broken.mlg", "model M {\n    fc = Linear(784, \n}\n");
    let broken = f.read("broken.mlg");
    assert_eq!(f.mlc("fmt --check ugly.mlg").code, 1);
    assert!(f.text("ugly.mlg").starts_with("model   M{"), "--check changes nothing");
    let done = f.mlc("fmt ugly.mlg broken.mlg nope.mlg");
    assert_eq!(done.code, 1);
    assert!(done.err.contains("broken.mlg:") && done.err.contains("cannot read `nope.mlg`"), "{}", done.err);
    assert_eq!(f.read("broken.mlg"), broken);
    let once = f.text("ugly.mlg");
    assert!(once.contains("x = Linear(1, 2)") && once.contains("// kept"), "{once}");
    f.mlc("fmt ugly.mlg").ok();
    assert_eq!(f.text("ugly.mlg"), once);
    f.mlc("fmt --check ugly.mlg").ok();
    assert_eq!(f.mlc("fmt").code, 2);
}

#[test]
fn check_reports_and_works_without_data() {
    let f = Folder::new();
    let done = f.mlc("check net.mlg").ok();
    for part in [
        "fc1.weight",
        "f32[8,4]",
        "total",
        "67",
        "forward",
        "44 samples",
        "transfers: none",
        "optimizer state",
        "train.step, batch=",
        "alive at the peak",
        "born net.mlg:",
    ] {
        assert!(done.out.contains(part), "`{part}` is missing:\n{}", done.out);
    }
    assert_eq!(done.err, "");
    let done = f.mlc("check net.mlg --memory-limit 1GiB").ok();
    assert!(done.out.contains("fits"), "{}", done.out);
    f.mlc("check net.mlg --memory-limit 1KiB").fails(1, "E0520", &["train.step", "1.00 KiB"]);
    f.mlc("check net.mlg --memory-limit lots").fails(2, "E0912", &["lots"]);
    std::fs::remove_file(f.path("x.npy")).unwrap();
    let done = f.mlc("check net.mlg").ok();
    assert!(done.err.contains("warning[W0702]") && done.err.contains("x.npy"), "{}", done.err);
    f.mlc("run net.mlg").fails(1, "E0701", &["x.npy"]);
}

#[test]
fn tests_of_a_file_pass_and_fail() {
    let f = Folder::new();
    let text = format!(
        "{MODEL}\ntest \"good\" {{\n    net = Net()\n    x = normal(f32[2, 4])\n    expect 1 + 1 == 2\n    expect sum(relu(x)) >= 0\n    expect gradcheck(net, x)\n    expect kernels(net.forward) <= 100\n}}\n\
         \ntest \"bad\" {{\n    expect 1 + 1 == 3\n    expect sum(zeros(f32[2])) > 1\n    expect tensor(f32[2, 2], [1, 2, 3, 5]) <= 4\n}}\n"
    );
    f.write("tests.mlg", &text);
    let done = f.mlc("test tests.mlg");
    assert_eq!(done.code, 1, "{}{}", done.out, done.err);
    assert!(done.out.contains("4 passed, 3 failed"), "{}{}", done.out, done.err);
    assert_eq!(done.out.matches("FAIL").count(), 3, "{}", done.out);
    assert_eq!(done.err.matches("error[E0810]").count(), 3, "{}", done.err);
    for values in ["left is 0, right is 1", "at [1, 1] left is 5, right is 4; 1 of 4 elements"] {
        assert!(done.err.contains(values), "{values}: {}", done.err);
    }
    f.mlc("test tests.mlg good").ok();
    f.mlc("test tests.mlg nothing").fails(2, "E0912", &["good"]);
    assert_eq!(f.mlc("test net.mlg").ok().out, "no tests\n");
}

#[test]
fn doc_and_explain_know_their_names() {
    let f = Folder::empty();
    let done = f.mlc("doc").ok();
    for name in ["Linear", "relu", "adamw", "cosine", "cross_entropy"] {
        assert!(done.out.lines().any(|l| l.split_whitespace().next() == Some(name)), "{name}: {}", done.out);
    }
    let done = f.mlc("doc Linear").ok();
    assert!(done.out.starts_with("///") && done.out.contains("model Linear("), "{}", done.out);
    for (name, part) in
        [("kaiming_uniform", "fn init_kaiming_uniform("), ("normal", "fn init_normal("), ("pi", "3.14")]
    {
        let done = f.mlc(&format!("doc {name}")).ok();
        assert!(done.out.contains(part), "{name}: {}", done.out);
    }
    f.mlc("doc Conv2d").fails(2, "E0916", &["`Conv2d` is not built yet"]);
    f.mlc("doc Liner").fails(2, "E0915", &["did you mean `Linear`"]);
    assert!(f.mlc("explain E0201").ok().out.starts_with("E0201: "));
    assert!(f.mlc("explain e0201").ok().out.starts_with("E0201: "));
    f.mlc("explain E0200").fails(2, "E0915", &["did you mean"]);
    f.mlc("explain fusion").fails(2, "E0912", &["needs a file"]);
    assert!(f.mlc("devices").ok().out.contains("cpu: "));
}

#[test]
fn usage_errors_exit_with_2() {
    let f = Folder::new();
    for line in [
        "chekc net.mlg",
        "run",
        "run net.mlg --stepz 3",
        "run net.mlg --steps many",
        "run net.mlg --every 3",
        "check net.mlg a b",
    ] {
        let done = f.mlc(line);
        assert_eq!(done.code, 2, "{line}: {}", done.err);
        assert!(done.err.contains("Usage") || done.err.contains("--help"), "{line}: {}", done.err);
    }
    for line in ["--help", "help run", "--version", "run --help"] {
        assert!(!f.mlc(line).ok().out.is_empty());
    }
}

#[test]
fn colours_are_asked_for_or_not() {
    let f = Folder::new();
    let plain = f.mlc("run nope.mlg");
    assert!(!plain.err.contains('\u{1b}'), "{:?}", plain.err);
    assert!(f.mlc("run nope.mlg --color always").err.contains('\u{1b}'));
}

#[test]
fn explain_transfers_and_fusion_read_a_file() {
    let f = Folder::new();
    f.mlc("explain transfers net.mlg").ok();
    f.mlc("explain fusion net.mlg train").ok();
    f.mlc("explain fusion net.mlg forward").fails(2, "E0910", &["--dim batch"]);
    f.mlc("explain fusion net.mlg forward --dim batch=2").ok();
    f.mlc("explain fusion net.mlg forward --dim batch=2 --model Net --memory-limit 1GiB --threads 1").ok();
}

/// What the backward sends is told too, wherever the devices of the file are.
#[test]
fn transfers_of_both_directions_are_told() {
    let f = Folder::empty();
    f.write(
        "split.mlg",
        r#"
device left  = cuda:0
device right = cuda:1
model Net {
    first  = Linear(4, 3) on left
    second = Linear(3, 1) on right
    forward(x: f32[batch, 4]) -> f32[batch, 1] { second(first(x).to(right)) }
}
dataset Points { x: f32[4] = random(rows: 8) }
train {
    model = Net(); data = Points().batch(4); optimizer = sgd(lr: 0.1); steps = 1
    loss(x) { mean(model(x) ** 2) }
}
"#,
    );
    let devices = "--device left=cpu:0 --device right=cpu:1";
    let done = f.mlc(&format!("check split.mlg {devices}")).ok();
    let rows = |text: &str| done.out.lines().filter(|l| l.contains("train.step") && l.contains(text)).count();
    assert_eq!((rows("cpu:0 -> cpu:1"), rows("cpu:1 -> cpu:0")), (1, 1), "{}", done.out);
    assert!(done.out.contains("backward"), "{}", done.out);
    let done = f.mlc(&format!("explain transfers split.mlg train {devices}")).ok();
    assert!(done.out.contains("the gradient of a crossing"), "{}", done.out);
    f.mlc("explain transfers split.mlg train").fails(3, "E0590", &["--device cuda:0=cpu:0"]);
}
