//! `mlc run` of a train block: steps and epochs, log, saving, resuming, Ctrl-C.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use super::{Done, Folder, MODEL, ROWS, STEPS_PER_EPOCH, files_in};

fn log(f: &Folder, name: &str) -> Vec<Value> {
    f.text(name).lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
}

fn steps(log: &[Value]) -> Vec<u64> {
    log.iter()
        .filter(|l| l.get("loss").is_some() && l.get("validate").is_none())
        .map(|l| l["step"].as_u64().unwrap())
        .collect()
}

fn validations(log: &[Value]) -> Vec<u64> {
    log.iter().filter(|l| l.get("validate").is_some()).map(|l| l["step"].as_u64().unwrap()).collect()
}

#[test]
fn trains_validates_and_says_what_it_did() {
    let f = Folder::new();
    let done = f.mlc("run net.mlg --target cpu --log log.jsonl").ok();
    let log = log(&f, "log.jsonl");
    let all = 2 * STEPS_PER_EPOCH as u64;
    assert_eq!(steps(&log), (1..=all).collect::<Vec<_>>());
    assert_eq!(validations(&log), [all / 2, all]);
    for line in log.iter().filter(|l| l.get("validate").is_none()) {
        let keys: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        let mut sorted = keys.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, ["epoch", "loss", "lr", "metrics", "ms", "scale", "skipped", "step"]);
        assert_eq!(line["epoch"], (line["step"].as_u64().unwrap() - 1) / STEPS_PER_EPOCH as u64);
        assert!(line["loss"].is_f64() && line["metrics"]["accuracy"].is_number());
        assert_eq!(line["lr"], 0.05);
    }
    let last = log.last().unwrap();
    assert_eq!(last["rows"], ROWS);
    for part in [
        "trained 12 steps",
        "validation: loss ",
        "accuracy ",
        "(44 rows)",
        "seed: 0",
        "nothing was saved",
        "--save",
    ] {
        assert!(done.out.contains(part), "{part}: {}", done.out);
    }
    assert!(done.err.contains("epoch 1/2") && done.err.contains("epoch 2/2"), "{}", done.err);
    assert!(!done.err.contains('\r'), "no redrawn line where stderr is no terminal: {:?}", done.err);
}

#[test]
fn steps_and_epochs_replace_the_files() {
    let f = Folder::new();
    let run = |options: &str| {
        f.mlc(&format!("run net.mlg --quiet --log log.jsonl {options}")).ok();
        let log = log(&f, "log.jsonl");
        (steps(&log).len(), validations(&log))
    };
    assert_eq!(run("--steps 0"), (0, vec![0]));
    assert_eq!(run("--steps 4"), (4, vec![4]));
    // An epoch ends at step 6: never validated twice at one step.
    assert_eq!(run("--steps 6"), (6, vec![6]));
    assert_eq!(run("--steps 20"), (20, vec![6, 12, 18, 20]));
    assert_eq!(run("--epochs 1"), (6, vec![6]));
    assert_eq!(run("--epochs 3 --steps 8"), (8, vec![6, 8]));
    assert_eq!(run("--epochs 1 --steps 8"), (6, vec![6]));
}

#[test]
fn the_same_bits_on_every_run_and_another_seed_gives_others() {
    let f = Folder::new();
    f.mlc("run net.mlg --quiet --save a.safetensors").ok();
    f.mlc("run net.mlg --quiet --save b.safetensors --threads 1").ok();
    f.mlc("run net.mlg --quiet --save c.safetensors --seed 1").ok();
    assert_eq!(f.read("a.safetensors"), f.read("b.safetensors"));
    assert_ne!(f.read("a.safetensors"), f.read("c.safetensors"));
}

#[test]
fn a_resumed_run_ends_in_the_same_bits() {
    let f = Folder::new();
    f.mlc("run net.mlg --quiet --steps 17 --save whole.safetensors --log whole.jsonl").ok();
    f.mlc("run net.mlg --quiet --steps 9 --checkpoint ckpt --every 4 --log part.jsonl").ok();
    let done = f.mlc("run net.mlg --steps 17 --resume ckpt --save part.safetensors --log part.jsonl").ok();
    assert_eq!(f.read("whole.safetensors"), f.read("part.safetensors"));
    assert!(done.out.contains("resumed at step 9"), "{}", done.out);
    // The log is appended on resume; its lines are those of the whole run, but for the times and the
    // validation at the end of the first part.
    let strip = |name: &str| -> Vec<String> {
        let lines = log(&f, name).into_iter().filter(|l| l.get("validate").is_none());
        lines
            .map(|mut l| {
                l["ms"] = Value::Null;
                l.to_string()
            })
            .collect()
    };
    assert_eq!(strip("whole.jsonl"), strip("part.jsonl"));
    // Without --resume the log starts anew.
    f.mlc("run net.mlg --quiet --steps 1 --log part.jsonl").ok();
    assert_eq!(steps(&log(&f, "part.jsonl")), [1]);
    // Steps are the total: nothing is left to do.
    let done = f.mlc("run net.mlg --steps 3 --resume ckpt").ok();
    assert!(done.out.contains("no steps to train"), "{}", done.out);
}

#[test]
fn weights_round_trip_and_file_order_is_kept() {
    let f = Folder::new();
    f.mlc("run net.mlg --quiet --steps 3 --save w.safetensors").ok();
    f.mlc("run net.mlg --quiet --steps 0 --weights w.safetensors --save again.safetensors").ok();
    assert_eq!(f.read("w.safetensors"), f.read("again.safetensors"));
    // In file order the first epoch and the second see the same batches: with a zero learning rate the
    // losses repeat.
    f.write("net.mlg", MODEL.replace("lr: 0.05, momentum: 0.9", "lr: 0.0"));
    f.mlc("run net.mlg --quiet --no-shuffle --log log.jsonl").ok();
    let losses: Vec<f64> = log(&f, "log.jsonl")
        .iter()
        .filter(|l| l.get("validate").is_none())
        .map(|l| l["loss"].as_f64().unwrap())
        .collect();
    assert_eq!(losses[..STEPS_PER_EPOCH], losses[STEPS_PER_EPOCH..]);
    f.mlc("run net.mlg --quiet --log log.jsonl").ok();
    let shuffled: Vec<f64> = log(&f, "log.jsonl")
        .iter()
        .filter(|l| l.get("validate").is_none())
        .map(|l| l["loss"].as_f64().unwrap())
        .collect();
    assert_ne!(shuffled[..STEPS_PER_EPOCH], shuffled[STEPS_PER_EPOCH..]);
}

#[test]
fn validates_without_training() {
    let f = Folder::new();
    f.mlc("run net.mlg --quiet --steps 5 --save w.safetensors --log log.jsonl").ok();
    let done = f.mlc("run net.mlg validate --weights w.safetensors").ok();
    let trained = log(&f, "log.jsonl").last().unwrap()["loss"].as_f64().unwrap();
    let shown: f64 =
        done.out.split("loss ").nth(1).and_then(|t| t.split_whitespace().next()).unwrap().parse().unwrap();
    assert!((trained - shown).abs() < 1e-3, "{trained} and {}", done.out);
    f.mlc("run net.mlg validate --steps 3").fails(2, "E0912", &["--steps"]);
}

#[test]
fn a_loss_that_is_not_finite_warns_once_with_its_step() {
    let f = Folder::with("lr: 0.05, momentum: 0.9", "lr: 1e30");
    let done = f.mlc("run net.mlg --log log.jsonl").ok();
    assert_eq!(done.err.matches("warning[W0801]").count(), 1, "{}", done.err);
    let log = log(&f, "log.jsonl");
    let bad: Vec<&Value> = log.iter().filter(|l| l.get("nonfinite").is_some()).collect();
    assert!(!bad.is_empty() && bad.iter().all(|l| l["nonfinite"] == true));
}

#[test]
fn quiet_prints_nothing_and_a_reader_that_leaves_is_no_error() {
    let f = Folder::new();
    let done = f.mlc("run net.mlg --quiet --steps 2").ok();
    assert_eq!((done.out.as_str(), done.err.as_str()), ("", ""));
    let mut child = f.command(&["doc"]).stdout(Stdio::piped()).spawn().expect("mlc runs");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[cfg(unix)]
#[test]
fn ctrl_c_finishes_the_step_saves_and_says_how_to_go_on() {
    let f = Folder::new();
    let mut child = f
        .command(&["run", "net.mlg", "--steps", "100000000", "--log", "log.jsonl"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("mlc runs");
    // A first line of progress: it is training.
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let first = lines.next().expect("a line").expect("text");
    assert!(first.contains("step"), "{first}");
    let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.expect("kill runs").success());
    let rest: String = lines.map_while(Result::ok).collect::<Vec<_>>().join("\n");
    let done = Done::of(&child.wait_with_output().expect("it ends"));
    assert_eq!(done.code, 130, "{rest}");
    assert!(done.out.contains("interrupted after step"), "{}", done.out);
    let command = rest.lines().last().expect("how to go on").trim();
    assert!(command.ends_with("--resume net.ckpt") && command.contains("run net.mlg"), "{rest}");
    assert_eq!(files_in(&f.path("net.ckpt")), ["checkpoint.safetensors"]);
    // The log ends with the step that was saved, and going on starts behind it.
    let last = *steps(&log(&f, "log.jsonl")).last().expect("steps");
    let target = (last + 2).to_string();
    let go_on =
        f.run(&["run", "net.mlg", "--steps", &target, "--resume", "net.ckpt", "--log", "log.jsonl"]).ok();
    assert!(go_on.out.contains("trained 2 steps"), "{}", go_on.out);
    let all = steps(&log(&f, "log.jsonl"));
    assert_eq!(all, (1..=last + 2).collect::<Vec<_>>());
}

#[test]
fn what_cannot_be_written_is_found_before_the_first_step() {
    let f = Folder::new();
    f.mlc("run net.mlg --checkpoint net.mlg/ck").fails(1, "E0721", &["net.mlg/ck", "a file stands where"]);
    f.mlc("run net.mlg --checkpoint net.mlg").fails(1, "E0721", &["net.mlg"]);
    f.write(
        "saves.mlg",
        super::MODEL.replace("epochs    = 2", "epochs    = 2\n    save = \"out/w.safetensors\""),
    );
    let done = f.mlc("run saves.mlg").fails(1, "E0712", &["there is no folder", "out"]);
    assert!(!done.err.contains("epoch 1"), "{}", done.err);
}

#[test]
fn a_file_that_cannot_be_written_does_not_keep_the_others() {
    let f = Folder::new();
    f.write("saves.mlg", super::MODEL.replace("epochs    = 2", "steps = 2\n    save = \"/dev/full\""));
    f.mlc("run saves.mlg --save w.safetensors --checkpoint ck").fails(1, "E0712", &["/dev/full"]);
    assert!(f.path("w.safetensors").is_file() && f.path("ck/checkpoint.safetensors").is_file());
}

#[test]
fn lines_of_the_log_keep_their_order() {
    let f = Folder::new();
    f.mlc("run net.mlg --steps 1 --log log.jsonl").ok();
    let text = f.text("log.jsonl");
    assert!(text.starts_with(r#"{"step":1,"epoch":0,"loss":"#), "{text}");
    assert!(
        text.lines().nth(1).is_some_and(|l| l.starts_with(r#"{"validate":1,"step":1,"epoch":0,"#)),
        "{text}"
    );
}

#[cfg(unix)]
#[test]
fn a_disk_that_fills_up_in_the_middle_of_a_checkpoint_loses_nothing() {
    let f = Folder::new();
    f.mlc("run net.mlg --steps 3 --checkpoint ck").ok();
    let before = f.read("ck/checkpoint.safetensors");
    assert!(before.len() > 600, "the limit below must end a write of this in its middle");
    // Files may grow to 512 bytes; what goes beyond fails as on a full disk, instead of by a signal.
    let limited = "trap '' XFSZ; ulimit -f 1; exec \"$@\"";
    let mlc = mlc_tests::mlc_bin().to_str().expect("a UTF-8 path");
    let args =
        ["-c", limited, "sh", mlc, "run", "net.mlg", "--steps", "5", "--resume", "ck", "--checkpoint", "ck"];
    let mut command = std::process::Command::new("sh");
    command.args(args).current_dir(f.path(""));
    let done = Done::of(&command.output().expect("sh runs"));
    done.fails(1, "E0712", &["ck/checkpoint.safetensors", "unchanged"]);
    assert_eq!(f.read("ck/checkpoint.safetensors"), before);
    assert_eq!(files_in(&f.path("ck")), ["checkpoint.safetensors"], "no half-written file is left");
    f.mlc("run net.mlg --steps 5 --resume ck").ok();
}

/// [`super::MODEL`] with two losses and accumulation: an epoch is three updates of 2 batches.
fn two_losses() -> String {
    let losses = "accumulate = 2\n
    loss all(x, label) { cross_entropy(model(x), label) }
    loss last(x, label) updates \"fc2.**\", every: 2 { mean(model(dropout(x, 0.5)) ** 2) + 0 * label[0].cast(f32) }";
    super::MODEL.replace("loss(x, label)            { cross_entropy(model(x), label) }", losses)
        + "\ntest \"figures\" { expect kernels(train) <= 1000; expect kernels(train) <= 2 }\n"
}

#[test]
fn losses_that_accumulate_run_apart() {
    let f = Folder::new();
    f.write("net.mlg", two_losses());
    let checked = f.mlc("check net.mlg").ok();
    for entry in
        ["train.update.all+metrics", "train.step.last", "train.step.all+metrics", "train.micro.all+metrics"]
    {
        let of = |l: &&str| l.split_whitespace().next() == Some(entry);
        assert!(checked.out.lines().any(|l| of(&l)), "{entry}: {}", checked.out);
    }
    f.mlc("run net.mlg --quiet --log log.jsonl --save whole.safetensors").ok();
    let log = log(&f, "log.jsonl");
    assert_eq!((steps(&log), validations(&log)), ((1..=6).collect(), vec![3, 6]));
    let first = log.iter().find(|l| l["step"] == 1).expect("a step");
    assert!(first["losses"]["all"].is_number() && first["losses"]["last"].is_number(), "{first}");
    let second = log.iter().find(|l| l["step"] == 2).expect("a step");
    assert!(second["losses"].get("last").is_none() && second["metrics"]["accuracy"].is_number(), "{second}");
    // Resumed in the middle of an epoch, and from an artifact.
    f.mlc("run net.mlg --quiet --steps 2 --checkpoint ck").ok();
    f.mlc("run net.mlg --quiet --resume ck --save resumed.safetensors").ok();
    f.mlc("compile net.mlg --target cpu --dim batch=1 -o net.mlgx").ok();
    f.mlc("run net.mlgx --quiet --save compiled.safetensors").ok();
    for file in ["resumed.safetensors", "compiled.safetensors"] {
        assert!(f.read("whole.safetensors") == f.read(file), "{file}");
    }
    // An artifact of one entry has not all that an update calls.
    f.mlc("compile net.mlg train.step.last -o part.mlgx").ok();
    f.mlc("run part.mlgx").fails(2, "E0903", &["`train` cannot be trained", "mlc compile FILE train"]);
}

#[test]
fn figures_of_a_block_are_those_of_all_its_losses() {
    let f = Folder::new();
    f.write("net.mlg", two_losses());
    let done = f.mlc("test net.mlg").fails(
        1,
        "E0810",
        &["kernels of `train.update.all+metrics`, `train.step.last`: "],
    );
    let shown = |entry: &str| {
        let out = f.mlc(&format!("compile net.mlg {entry} --target cpu")).ok().out;
        let row = out.lines().find(|l| l.contains(" calls")).expect("a row").to_owned();
        let words: Vec<&str> = row.split_whitespace().collect();
        let at = words.iter().position(|w| *w == "calls").expect("calls");
        words[at - 1].parse::<u64>().expect("a number")
    };
    let sum = shown("train.update.all+metrics") + shown("train.step.last");
    assert!(done.err.contains(&format!("`train.step.last`: {sum}\n")), "{sum}: {}", done.err);
}
