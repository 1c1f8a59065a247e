//! The settings of a train block as the runtime sees them: data, lengths, weights, what to save.

use mlc_diag::Span;
use mlc_ir::program::{self, Loss, Metric, PathRule, Save, SaveBest, Stop, WeightsRule, WeightsSource, glob};

use super::env::{Env, Owner};
use super::fail::error;
use super::interp::Interp;
use super::suggest;
use super::value::{StateId, Value};
use crate::syntax::ast;

impl<'a> Interp<'a> {
    /// What loads before the first step.
    pub fn weights_rules(&mut self, i: usize) -> Vec<WeightsRule> {
        let rule = |glob: &str, span: Span, source| WeightsRule {
            rule: PathRule { glob: glob.to_owned(), span },
            source,
        };
        let span = self.trains[i].binding("weights").map_or(Span::NONE, |b| b.value.span);
        match self.trains[i].value("weights").cloned() {
            Some(Value::Str(f)) => vec![rule("**", span, WeightsSource::File(f.to_string()))],
            Some(Value::PathMap(entries)) => {
                let states = self.saved_states(i);
                if let Err(f) = self.match_paths(i, &entries, &states, "parameter") {
                    self.report_fail(f);
                }
                let mut out = vec![];
                for e in entries.iter() {
                    let source = match &e.value {
                        Value::Str(f) => WeightsSource::File(f.to_string()),
                        Value::Init => WeightsSource::Init,
                        v => {
                            let title =
                                format!("a weights map takes file names and `init`, this is {}", v.kind());
                            self.report(error("E0406", e.span, title));
                            continue;
                        }
                    };
                    out.extend(e.globs.iter().map(|(g, span)| rule(g, *span, source.clone())));
                }
                out
            }
            _ => vec![],
        }
    }

    /// Parameters and buffers of the block's instances.
    pub fn saved_states(&self, i: usize) -> Vec<StateId> {
        let mut out = vec![];
        for (_, id) in self.trained_instances(i) {
            out.extend(self.states_of(id));
        }
        out.dedup();
        out
    }

    pub fn save_spec(&mut self, i: usize) -> Option<Save> {
        let b = self.trains[i].binding("save")?;
        let span = b.value.span;
        let all = |file: String| vec![(PathRule { glob: "**".to_owned(), span }, file)];
        match self.trains[i].value("save").cloned()? {
            Value::Str(f) => Some(Save { rules: all(f.to_string()), best: None }),
            Value::PathMap(entries) => {
                let mut rules = vec![];
                for e in entries.iter() {
                    let Value::Str(f) = &e.value else {
                        self.report(error(
                            "E0406",
                            e.span,
                            format!("a save map takes file names, this is {}", e.value.kind()),
                        ));
                        continue;
                    };
                    for (g, span) in &e.globs {
                        let states = self.saved_states(i);
                        if !states.iter().any(|&s| glob::matches(g, &self.block_path(i, s))) {
                            self.report(error(
                                "E0409",
                                *span,
                                format!("the pattern \"{g}\" matches no parameter"),
                            ));
                        }
                        rules.push((PathRule { glob: g.clone(), span: *span }, f.to_string()));
                    }
                }
                Some(Save { rules, best: None })
            }
            Value::Spec(s) => {
                let (by, maximize) = self.criterion(i, &s.args, s.span)?;
                let file = s.args.iter().find(|a| a.0 == "path").map(|a| a.1.clone());
                let Some(Value::Str(file)) = file else {
                    self.report(error("E0406", s.span, "`best` takes a file name first"));
                    return None;
                };
                Some(Save { rules: all(file.to_string()), best: Some(SaveBest { by, maximize }) })
            }
            _ => None,
        }
    }

    /// What `max: "accuracy"` or `min: "loss"` refers to: a metric or loss of the block.
    pub fn criterion(
        &mut self,
        i: usize,
        args: &[(&'static str, Value<'a>)],
        span: Span,
    ) -> Option<(String, bool)> {
        let (name, v) = args.iter().find(|a| matches!(a.0, "max" | "min"))?;
        let Value::Str(by) = v else {
            self.report(error("E0406", span, format!("`{name}` names a metric or loss in quotes")));
            return None;
        };
        let mut known: Vec<String> = self.trains[i].metrics().iter().map(|m| m.name.text.clone()).collect();
        known.push("loss".to_owned());
        known.extend(self.trains[i].losses().iter().filter_map(|l| l.name.as_ref().map(|n| n.text.clone())));
        if !known.iter().any(|k| **k == **by) {
            let d = error("E0411", span, format!("the block has no metric or loss `{by}`"));
            let all = format!("there are {}", known.join(", "));
            self.report(suggest::hint(d, by, known.iter().map(String::as_str), &all));
            return None;
        }
        if self.trains[i].binding("validate").is_none() {
            self.report(
                error("E0411", span, "there is no `validate` to judge by")
                    .hint("bind `validate = ..` to data"),
            );
        }
        Some((by.to_string(), *name == "max"))
    }

    pub fn count(&mut self, i: usize, name: &str, least: i64) -> Option<u64> {
        let v = self.trains[i].value(name).filter(|v| matches!(v, Value::Int(_)))?.clone();
        let span = self.trains[i].binding(name).map_or(Span::NONE, |b| b.value.span);
        match self.to_int(&v, span) {
            Ok(n) if n >= least => Some(n as u64),
            Ok(n) => {
                self.report(error("E0406", span, format!("`{name}` must be at least {least}, this is {n}")));
                None
            }
            Err(f) => {
                self.report_fail(f);
                None
            }
        }
    }

    /// `every: n` of a loss.
    pub fn loss_every(&mut self, i: usize, l: &'a ast::Loss) -> u64 {
        for a in &l.options {
            let name = a.name.as_ref().map_or("", |n| n.text.as_str());
            if name != "every" {
                let d = error("E0308", a.span, format!("`updates` has no option `{name}`"));
                self.report(suggest::hint(d, name, ["every"], "the option is `every: n`"));
                continue;
            }
            let mut env = Env::new(self.trains[i].file, Owner::Train(i));
            let n = self.int_expr(&mut env, &a.value).map(|d| d.as_const());
            match n {
                Ok(Some(n)) if n >= 1 => return n as u64,
                Ok(_) => self.report(error("E0406", a.span, "`every` must be a known integer of at least 1")),
                Err(f) => self.report_fail(f),
            }
        }
        1
    }

    /// The block as the runtime sees it.
    pub fn train_spec(&mut self, i: usize) -> program::Train {
        let losses = self.trains[i].losses();
        let losses: Vec<Loss> = losses
            .into_iter()
            .map(|l| Loss {
                name: l.name.as_ref().map_or(String::new(), |n| n.text.clone()),
                every: self.loss_every(i, l),
                span: l.body.span,
            })
            .collect();
        let metrics = self.trains[i]
            .metrics()
            .iter()
            .map(|m| Metric { name: m.name.text.clone(), span: m.name.span })
            .collect();
        let stop = match self.trains[i].value("stop").cloned() {
            Some(Value::Spec(s)) => self.criterion(i, &s.args, s.span).map(|(by, maximize)| {
                let n = s.args.iter().find(|a| a.0 == "validations").and_then(|a| a.1.as_int());
                Stop { by, maximize, validations: n.and_then(|n| u64::try_from(n).ok()).unwrap_or(1).max(1) }
            }),
            _ => None,
        };
        let t = &self.trains[i];
        let base_dir = self.files.get(t.file).map(|u| u.dir.clone()).unwrap_or_default();
        let (name, span) = (t.name.clone(), t.span);
        let (data, validate) = (t.data("data"), t.data("validate"));
        if !losses.is_empty() && data.is_none() && t.binding("data").is_none() && t.binding("steps").is_none()
        {
            self.report(
                error("E0408", span, "a train block with a loss needs `data` or `steps`")
                    .hint("bind `data = ..`, or `steps = n` where the loss makes its own data"),
            );
        }
        program::Train {
            name,
            span,
            base_dir,
            data: data.map(|d| (*d).clone()),
            validate: validate.map(|d| (*d).clone()),
            epochs: self.count(i, "epochs", 0),
            steps: self.count(i, "steps", 0),
            accumulate: self.count(i, "accumulate", 1).unwrap_or(1),
            seed: self.count(i, "seed", 0),
            losses,
            metrics,
            weights: self.weights_rules(i),
            save: self.save_spec(i),
            stop,
            instances: self.trained_instances(i).iter().map(|(n, _)| (*n).into()).collect(),
        }
    }
}
