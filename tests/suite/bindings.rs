//! Bindings that hold tensors made of parameters: every use is as if the expression stood there, so that a later loss
//! of a step sees what the earlier ones left.

use std::sync::atomic::AtomicBool;

use mlc::runtime::train::{Observer, StepReport, TrainOptions};
use mlc::{Compiler, HostTensor, Seed, Target};
use mlc_tests::case;

#[derive(Default)]
struct Steps(Vec<StepReport>);

impl Observer for Steps {
    fn step(&mut self, report: &StepReport) {
        self.0.push(StepReport { ms: 0.0, ..report.clone() });
    }
}

type Trained = (Vec<(String, HostTensor)>, Vec<StepReport>);

/// All states after a training run, and what each step reported.
fn trained(text: &str) -> Trained {
    let program = Compiler::new().target(Target::Cpu).compile_source("losses_bound", text);
    let program = program.unwrap_or_else(|e| panic!("{e}"));
    let mut session = program.session(Seed(0)).unwrap_or_else(|e| panic!("{e}"));
    let mut steps = Steps::default();
    let done = session.train(0, &TrainOptions::default(), &AtomicBool::new(false), &mut steps);
    done.unwrap_or_else(|e| panic!("{e}"));
    let paths = program.ir().states.iter().map(|s| s.path.to_string());
    (paths.map(|p| (p.clone(), session.state(&p).expect("a state"))).collect(), steps.0)
}

/// The text with each binding's line gone and its expression in the place of its name.
fn written_out(text: &str, names: &[&str]) -> String {
    let mut text = text.to_string();
    for name in names {
        let line = text.lines().find(|l| l.trim_start().split(' ').next() == Some(name) && l.contains(" = "));
        let line = line.unwrap_or_else(|| panic!("`{name}` is bound")).to_string();
        let expr = line.split_once(" = ").map_or("", |l| l.1);
        let (before, after) = text.split_once(&line).expect("found");
        let used = |t: &str| {
            let ends = [' ', ')', '['];
            ends.iter()
                .fold(t.to_string(), |t, end| t.replace(&format!("{name}{end}"), &format!("({expr}){end}")))
        };
        text = format!("{}{}", used(before), used(after));
    }
    text
}

const NAMES: [&str; 4] = ["judged", "probe", "size", "both"];

fn text() -> String {
    std::fs::read_to_string(case("train/losses_bound.mlg")).expect("a case")
}

/// In one graph for all losses, and in a pass of its own for each under `accumulate`.
#[test]
fn bindings_are_what_their_expressions_are_at_each_loss() {
    for accumulate in ["", "accumulate = 2\n    "] {
        let text = text().replace("epochs    = 2", &format!("{accumulate}epochs = 2"));
        let out = written_out(&text, &NAMES);
        assert!(
            NAMES.iter().all(|n| text.contains(&format!("{n} ")) && !out.contains(&format!(" {n} "))),
            "{out}"
        );
        assert_eq!(trained(&text), trained(&out));
    }
}
