//! docs/ops.md, made from the op table.

use std::fmt::Write;

use super::{Attrs, CastPolicy, Derivative, Elementwise, OPS, OpDef, ROWS, ScalarFn, Signature};

const INTRO: &str = "\
# Ops

The op set of the tensor graph: what the language's functions become and what passes work on. Made from the
op table (`crates/mlc-ir/src/op/`): do not edit it here; `MLC_BLESS=1 cargo test -p mlc-tests docs` writes it anew.

Every op states its type rule, derivative, cast policy, f64 reference and samples in one file. In formulas `x` is the
first operand, `y` the result, `g` the cotangent of the result. Values are tensors of one dtype; broadcasting is an op
of its own, so other ops never stretch their operands. *Mixed precision* says what a mixed-precision policy may do
with the operands:

- *lower*: runs in the low dtype, with an f32 accumulator;
- *keep f32*: needs the range or the sums of f32;
- *promote*: runs in the widest dtype of its operands;
- *any*: runs in whatever dtype arrives.
";

/// The reference of all ops as Markdown.
pub fn ops_markdown() -> String {
    let mut out = INTRO.to_string();
    for row in OPS {
        _ = write!(out, "\n## `{}`\n\n", row.name);
        out += &wrap((row.doc)());
        let samples = (row.samples)();
        let attrs = samples.first().map(|s| s.op.attrs()).unwrap_or_default();
        if row.name != Elementwise::NAME {
            let mut policies: Vec<&str> = samples.iter().map(|s| policy(s.op.cast_policy())).collect();
            policies.sort_unstable();
            policies.dedup();
            _ = write!(out, "\n{}Mixed precision: {}.\n", attributes(&attrs), policies.join(" or "));
        } else {
            out += "\n";
            out += &functions();
        }
    }
    out
}

fn attributes(attrs: &Attrs) -> String {
    let names: Vec<String> = attrs.iter().map(|(n, _)| format!("`{n}`")).collect();
    if names.is_empty() { String::new() } else { format!("Attributes: {}. ", names.join(", ")) }
}

fn policy(policy: CastPolicy) -> &'static str {
    match policy {
        CastPolicy::Lower => "*lower*",
        CastPolicy::KeepF32 => "*keep f32*",
        CastPolicy::Promote => "*promote*",
        CastPolicy::Any => "*any*",
        CastPolicy::Banned(_) => "*banned*",
    }
}

fn functions() -> String {
    let mut out = String::from(
        "| function | operands | meaning | cotangents | mixed precision |\n|---|---|---|---|---|\n",
    );
    for row in &ROWS {
        let cotangents = match row.derivative {
            Derivative::Rule(text, _) => text.to_string(),
            Derivative::Zero(reason) => format!("none: {reason}"),
        };
        _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {} |",
            row.f.name(),
            operands(row.f),
            row.doc,
            cotangents,
            policy(row.policy)
        );
    }
    out
}

fn operands(f: ScalarFn) -> String {
    let what = match f.signature() {
        Signature::Float => "floats",
        Signature::Number => "floats or integers",
        Signature::Int => "integers",
        Signature::Bits => "integers or bools",
        Signature::Compare => "of any dtype",
        Signature::Select => "bool, then two of any dtype",
    };
    match f.signature() {
        Signature::Select => what.into(),
        _ => format!("{} {what}", f.arity()),
    }
}

/// Paragraphs at most 118 characters wide.
fn wrap(text: &str) -> String {
    let mut out = String::new();
    for (i, paragraph) in text.split("\n\n").enumerate() {
        out += if i > 0 { "\n" } else { "" };
        let mut width = 0;
        for word in paragraph.split_whitespace() {
            let sep = match width {
                0 => "",
                w if w + 1 + word.len() > 118 => "\n",
                _ => " ",
            };
            width = if sep == "\n" { word.len() } else { width + sep.len() + word.len() };
            out += sep;
            out += word;
        }
        out += "\n";
    }
    out
}
