//! What a run shows while it trains: one line that is redrawn on a terminal, else a plain line now and
//! then. Losses and metrics are means over the steps since the line was last drawn.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mlc::diag::{Diagnostic, SourceMap};
use mlc::runtime::train::{Observer, Planned, StepReport, ValidationReport};

use crate::show::{Show, err};
use crate::text;

/// Redraws of a terminal's line, and plain lines.
const REDRAW: Duration = Duration::from_millis(100);
const PLAIN: Duration = Duration::from_secs(2);

/// Shows a run on stderr.
pub struct Progress<'a> {
    show: &'a Show,
    sources: &'a SourceMap,
    mode: Mode,
    plan: Option<Planned>,
    epochs: Option<u64>,
    window: Window,
    /// When the line was last drawn.
    drawn: Instant,
    /// Steps and rows since the first step, for speed and time left.
    begun: Option<(Instant, u64)>,
    epoch: u64,
}

enum Mode {
    Quiet,
    Plain,
    Bar(ProgressBar),
}

/// Sums since the line was last drawn.
#[derive(Default)]
struct Window {
    steps: u64,
    rows: u64,
    loss: f64,
    metrics: Vec<(String, f64)>,
    since: Option<Instant>,
}

impl<'a> Progress<'a> {
    pub fn new(quiet: bool, show: &'a Show, sources: &'a SourceMap) -> Progress<'a> {
        let mode = match quiet {
            true => Mode::Quiet,
            false if std::io::stderr().is_terminal() => Mode::Bar(ProgressBar::hidden()),
            false => Mode::Plain,
        };
        Progress {
            show,
            sources,
            mode,
            plan: None,
            epochs: None,
            window: Window::default(),
            drawn: Instant::now(),
            begun: None,
            epoch: 0,
        }
    }

    /// Takes the line away; what was printed stays.
    pub fn finish(&mut self) {
        if let Mode::Bar(bar) = &self.mode {
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: &str) {
        match &self.mode {
            Mode::Quiet => {}
            Mode::Plain => err(&format!("{text}\n")),
            Mode::Bar(bar) => bar.println(text),
        }
    }

    fn place(&self, r: &StepReport) -> String {
        let steps = self.plan.map_or(0, |p| p.steps);
        match self.epochs {
            Some(n) => {
                format!("epoch {}/{n}  step {}/{}", r.epoch + 1, text::count(r.step), text::count(steps))
            }
            None => format!("step {}/{}", text::count(r.step), text::count(steps)),
        }
    }

    /// `loss 0.2311`, `accuracy 0.93`, `scale 32768, 2 skipped`, `12.3 s left`, `41,000 samples/s`: what matters
    /// most first, for a narrow terminal has no room for the last.
    fn numbers(&self, r: &StepReport) -> Vec<String> {
        let w = &self.window;
        let mean = |sum: f64| sum / w.steps.max(1) as f64;
        let mut parts = vec![];
        if !r.losses.is_empty() {
            parts.push(format!("loss {}", text::value(mean(w.loss))));
        }
        parts.extend(w.metrics.iter().map(|(n, sum)| format!("{n} {}", text::value(mean(*sum)))));
        if r.scale != 1.0 || r.skipped > 0 {
            parts.push(format!("scale {}, {} skipped", text::value(r.scale), r.skipped));
        }
        parts.extend(self.left(r));
        if let Some(since) = w.since {
            let rate =
                if w.rows > 0 { w.rows } else { w.steps } as f64 / since.elapsed().as_secs_f64().max(1e-9);
            let what = if w.rows > 0 { "samples/s" } else { "steps/s" };
            let rate = if rate < 10.0 { text::value(rate) } else { text::count(rate as u64) };
            parts.push(format!("{rate} {what}"));
        }
        parts
    }

    /// Time left, from the mean over all steps so far.
    fn left(&self, r: &StepReport) -> Option<String> {
        let (start, first) = self.begun?;
        let done = r.step.saturating_sub(first);
        let total = self.plan?.steps;
        (done > 0 && total > r.step).then(|| {
            let each = start.elapsed().as_secs_f64() / done as f64;
            format!("{} left", text::seconds(each * (total - r.step) as f64))
        })
    }

    fn draw(&mut self, r: &StepReport) {
        let (place, numbers) = (self.place(r), self.numbers(r));
        match &self.mode {
            Mode::Quiet => {}
            Mode::Plain => err(&format!("{place}  {}\n", numbers.join("  "))),
            Mode::Bar(bar) => {
                bar.set_position(r.step);
                let width = usize::from(console::Term::stderr().size().1);
                bar.set_message(fit(&numbers, width.saturating_sub(place.len() + 2)));
                bar.set_prefix(place);
            }
        }
        self.window = Window { since: Some(Instant::now()), ..Window::default() };
        self.drawn = Instant::now();
    }
}

impl Observer for Progress<'_> {
    fn start(&mut self, plan: &Planned) {
        self.plan = Some(*plan);
        self.epochs = plan.steps_per_epoch.filter(|n| *n > 0).map(|n| plan.steps.div_ceil(n));
        if let Mode::Bar(bar) = &mut self.mode
            && plan.steps > plan.done
        {
            *bar = ProgressBar::with_draw_target(Some(plan.steps), ProgressDrawTarget::stderr_with_hz(10));
            // The template is a constant: were it wrong, the default style would be shown.
            if let Ok(style) = ProgressStyle::with_template("{prefix}  {wide_msg}") {
                bar.set_style(style);
            }
            bar.set_position(plan.done);
        }
        let now = Instant::now();
        (self.drawn, self.begun, self.window.since) = (now, Some((now, plan.done)), Some(now));
    }

    fn step(&mut self, r: &StepReport) {
        if matches!(self.mode, Mode::Quiet) {
            return;
        }
        let w = &mut self.window;
        w.steps += 1;
        w.rows += r.rows;
        w.loss += r.loss();
        if w.metrics.len() != r.metrics.len() {
            w.metrics = r.metrics.iter().map(|m| (m.0.clone(), 0.0)).collect();
        }
        for (sum, m) in w.metrics.iter_mut().zip(&r.metrics) {
            sum.1 += m.1;
        }
        self.epoch = r.epoch;
        let last_of_epoch =
            self.plan.and_then(|p| p.steps_per_epoch).is_some_and(|n| n > 1 && r.step.is_multiple_of(n));
        let last = self.plan.is_some_and(|p| p.steps == r.step);
        let due = match self.mode {
            Mode::Plain => self.drawn.elapsed() >= PLAIN || last_of_epoch || last,
            _ => self.drawn.elapsed() >= REDRAW || last,
        };
        if due {
            self.draw(r);
        }
    }

    fn validation(&mut self, r: &ValidationReport) {
        if matches!(self.mode, Mode::Quiet) {
            return;
        }
        let at = match self.epochs {
            Some(n) if r.step > 0 => format!("epoch {}/{n}, ", r.epoch + 1),
            _ => String::new(),
        };
        self.line(&format!("{at}step {}: validation {}", text::count(r.step), validation(r)));
        // Time spent here is not the steps'.
        let spent = Duration::from_secs_f64(r.ms / 1e3);
        if let Some((start, _)) = &mut self.begun {
            *start += spent;
        }
        if let Some(since) = &mut self.window.since {
            *since += spent;
        }
    }

    fn warn(&mut self, warning: Diagnostic) {
        let show = || self.show.one(warning.clone(), self.sources);
        match &self.mode {
            Mode::Bar(bar) => bar.suspend(show),
            _ => show(),
        }
    }
}

/// As many of the parts, from the first on, as have room whole; the first in any case.
fn fit(parts: &[String], room: usize) -> String {
    let mut line = String::new();
    for part in parts {
        if line.is_empty() {
            line.push_str(part);
        } else if line.len() + 2 + part.len() <= room {
            line.push_str("  ");
            line.push_str(part);
        } else {
            break;
        }
    }
    line
}

/// `loss 0.0812  accuracy 0.9751`
pub fn validation(r: &ValidationReport) -> String {
    named(&r.losses, "loss", &r.metrics)
}

/// Losses, then metrics, by name.
pub fn named(losses: &[(String, f64)], loss: &str, metrics: &[(String, f64)]) -> String {
    let losses = losses.iter().map(|(n, v)| match n.is_empty() {
        true => format!("{loss} {}", text::value(*v)),
        false => format!("{loss} {n} {}", text::value(*v)),
    });
    let metrics = metrics.iter().map(|(n, v)| format!("{n} {}", text::value(*v)));
    losses.chain(metrics).collect::<Vec<_>>().join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_line_has_whole_parts() {
        let parts = ["loss 0.1", "accuracy 0.9", "3 s left"].map(str::to_string);
        assert_eq!(fit(&parts, 80), "loss 0.1  accuracy 0.9  3 s left");
        assert_eq!(fit(&parts, 31), "loss 0.1  accuracy 0.9");
        assert_eq!(fit(&parts, 5), "loss 0.1");
        assert_eq!(fit(&[], 5), "");
    }
}
