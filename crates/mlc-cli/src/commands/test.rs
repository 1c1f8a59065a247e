//! `mlc test FILE`: the file's `test` blocks, one line for each `expect`.

use mlc::diag::{Diagnostic, Span};
use mlc::ir::Binding;
use mlc::ir::program::{EntryKind, Expect, ExpectKind, PlanFigure, Test};
use mlc::ir::types::Relation;
use mlc::passes::Lowered;
use mlc::{Error, HostTensor, Program, Results, Seed, Session};

use super::gradcheck;
use crate::args::TestArgs;
use crate::show::{Show, out};
use crate::{exit, parse, sizes, summary, text};

pub fn run(a: &TestArgs, show: &Show) -> Result<u8, Error> {
    let compiler = parse::compiler(&a.model)?.tests(true);
    let program = super::compiled(&a.model.file, compiler, show)?;
    let tests = &program.ir().tests;
    let wanted = |t: &&Test| a.filter.as_ref().is_none_or(|f| t.name.contains(f.as_str()));
    let chosen: Vec<&Test> = tests.iter().filter(wanted).collect();
    if chosen.is_empty() {
        return match (&a.filter, tests.len()) {
            (Some(f), 1..) => {
                let names: Vec<&str> = tests.iter().map(|t| &*t.name).collect();
                Err(parse::usage(
                    format!("no test's name holds `{f}`"),
                    &format!("tests: {}", names.join(", ")),
                ))
            }
            _ => {
                out("no tests\n");
                Ok(exit::OK)
            }
        };
    }
    let mut session = program.session(Seed(a.model.seed.unwrap_or(0)))?;
    let (mut passed, mut failed) = (0, 0);
    for test in chosen {
        let index = tests.iter().position(|t| std::ptr::eq(t, test)).unwrap_or(0);
        out(&format!("test \"{}\"\n", test.name));
        let outcome = results(&program, &mut session, index, test);
        for expect in &test.expects {
            let line = program.sources().line_col(expect.span).map_or(0, |p| p.0);
            let source =
                program.sources().snippet(expect.span).split_whitespace().collect::<Vec<_>>().join(" ");
            let verdict = match &outcome {
                Err(e) => Err(e.clone()),
                Ok(results) => one(&program, &session, index, expect, results.as_ref()),
            };
            match verdict {
                Ok(note) => {
                    passed += 1;
                    out(&format!(
                        "  pass  {line}: {source}{}\n",
                        note.map_or(String::new(), |n| format!("  ({n})"))
                    ));
                }
                Err(e) => {
                    failed += 1;
                    out(&format!("  FAIL  {line}: {source}\n"));
                    // One error for the whole block is shown once.
                    if outcome.is_ok() || std::ptr::eq(expect, &test.expects[0]) {
                        show.error(&e);
                    }
                }
            }
        }
    }
    out(&format!("{passed} passed, {failed} failed\n"));
    Ok(if failed == 0 { exit::OK } else { exit::FAILED })
}

/// Runs the block's entry, if an `expect` needs it.
fn results(
    program: &Program,
    session: &mut Session,
    index: usize,
    test: &Test,
) -> Result<Option<Results>, Error> {
    if !test.expects.iter().any(|e| matches!(e.kind, ExpectKind::Output(_))) {
        return Ok(None);
    }
    session.call_tensors(&entry_of(program, index)?, &[]).map(Some)
}

fn entry_of(program: &Program, index: usize) -> Result<String, Error> {
    let found = program.ir().entries.iter().find(|e| e.kind == EntryKind::Test { test: index });
    found.map(|e| e.name.clone()).ok_or_else(|| Error::plain(Diagnostic::bug("a test without an entry")))
}

/// `Ok` with a note, or why it failed.
fn one(
    program: &Program,
    session: &Session,
    index: usize,
    e: &Expect,
    results: Option<&Results>,
) -> Result<Option<String>, Error> {
    match &e.kind {
        ExpectKind::Static(true) => Ok(None),
        ExpectKind::Static(false) => Err(failed(program, e.span, "this is false", None)),
        ExpectKind::Output(name) => {
            let value = results.and_then(|r| r.get(name));
            match value.map(|t| t.bytes()) {
                Some([1]) => Ok(None),
                Some(_) => {
                    let note = results.and_then(|r| compared(r, name));
                    Err(failed(program, e.span, "this is false", note))
                }
                None => Err(Error::new(
                    Diagnostic::bug(format!("the test has no output `{name}`")).label(e.span, ""),
                    program.sources(),
                )),
            }
        }
        ExpectKind::GradCheck { entry } => {
            let check = entry.rsplit_once('/').map_or(entry.as_str(), |(_, name)| name);
            match gradcheck::run(program, session, &entry_of(program, index)?, check) {
                Ok(report) if report.worst <= gradcheck::TOLERANCE => Ok(Some(format!(
                    "{}, error {:.1e}",
                    text::plural(report.elements, "derivative"),
                    report.worst
                ))),
                Ok(report) => {
                    let note = format!(
                        "d/d{}[{}]: the derivative is {}, differences give {}",
                        report.path, report.element, report.analytic, report.numeric
                    );
                    Err(failed(program, e.span, "the derivative differs from finite differences", Some(note)))
                }
                Err(d) => Err(Error::new(d.label(e.span, "checked here"), program.sources())),
            }
        }
        ExpectKind::Plan { entry, figure, rel, bound } => {
            figure_of(program, e.span, entry, *figure, *rel, *bound)
        }
    }
}

/// The first elements of a comparison that do not compare as they should.
fn compared(results: &Results, name: &str) -> Option<String> {
    let part = |part: &str| results.get(&format!("{name}.{part}"));
    let (each, left, right) = (part("each")?, part("left")?, part("right")?);
    let at = each.bytes().iter().position(|&b| b != 1)?;
    let wrong = each.bytes().iter().filter(|&&b| b != 1).count();
    let mut place = vec![];
    let mut rest = at;
    for &n in each.shape().iter().rev() {
        place.insert(0, (rest % n).to_string());
        rest /= n;
    }
    let element = |t: &HostTensor| t.reshape(&[t.len()]).ok()?.index(at).map(|v| summary::scalar(&v));
    let (left, right) = (element(left)?, element(right)?);
    Some(match place.is_empty() {
        true => format!("left is {left}, right is {right}"),
        false => format!(
            "at [{}] left is {left}, right is {right}; {wrong} of {} elements are so",
            place.join(", "),
            text::count(each.len() as u64)
        ),
    })
}

fn figure_of(
    program: &Program,
    span: Span,
    entry: &str,
    figure: PlanFigure,
    rel: Relation,
    bound: u64,
) -> Result<Option<String>, Error> {
    let mut value = 0;
    let names = measured(program, entry)?;
    for name in &names {
        let plan = lowered(program, span, name, figure)?;
        match figure {
            PlanFigure::Kernels => value += plan.program().calls.len() as u64,
            PlanFigure::PeakBytes => value = plan.memory.total().max(value),
        }
    }
    let (what, shown) = match figure {
        PlanFigure::Kernels => ("kernels", text::count(value)),
        PlanFigure::PeakBytes => ("peak", text::bytes(value)),
    };
    match rel.holds(value as i64, bound as i64) {
        true => Ok(Some(shown)),
        false => Err(failed(program, span, &format!("{what} of `{}`: {shown}", names.join("`, `")), None)),
    }
}

/// The entries that a figure is of. A train block's name means its step, in which all losses run.
fn measured(program: &Program, entry: &str) -> Result<Vec<String>, Error> {
    let ir = program.ir();
    let step = |i: usize| ir.calls(i, ir.trains[i].updates().first()?, true);
    let block = ir.trains.iter().position(|t| entry.strip_suffix(".step") == Some(&t.name));
    if let (None, Some(calls)) = (ir.entry(entry), block.and_then(step)) {
        return Ok(calls.iter().map(|e| e.name.clone()).collect());
    }
    let name = match ir.entry(entry) {
        Some(e) => e.name.clone(),
        None => crate::entries::for_compile(program, Some(entry))?.remove(0),
    };
    Ok(vec![name])
}

fn lowered(program: &Program, span: Span, name: &str, figure: PlanFigure) -> Result<Lowered, Error> {
    let entry = program.entry(name)?;
    let mut binding = sizes::known(program, entry, None);
    // Dims that nobody binds are 1: a number of kernels does not depend on them.
    for open in sizes::open_dims(entry, &Binding::clone(&binding)) {
        if figure == PlanFigure::PeakBytes {
            let d = Diagnostic::error("E0910", format!("the peak of `{name}` depends on the dim `{open}`"));
            return Err(Error::new(
                d.label(span, "").hint(format!("bind it: --dim {open}=1")),
                program.sources(),
            ));
        }
        binding.insert(open, 1);
    }
    program.lower(name, &binding)
}

fn failed(program: &Program, span: Span, what: &str, note: Option<String>) -> Error {
    let mut d = Diagnostic::error("E0810", "an expectation failed").label(span, what);
    d.notes.extend(note);
    Error::new(d, program.sources())
}
