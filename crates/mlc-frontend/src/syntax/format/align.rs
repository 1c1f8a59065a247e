//! Columns: which consecutive lines align, and by how many blanks.
//!
//! ```text
//! fc1 = Linear(1, 2)        fc1  = Linear(1, 2)
//! norm = LayerNorm(2)       norm = LayerNorm(2)
//! ```
//! Only lines that fit on one line even with the padding take part, so that alignment never causes a break.

use super::WIDTH;
use super::layout::{Layout, width};
use super::rows::Row;
use super::tree::{Block, Line, Node};

/// How much the widths in one column may differ.
const SPREAD: usize = 7;
/// The same for types before an `=`.
const TYPE_SPREAD: usize = 12;
/// The same for the heads of losses and metrics.
const HEAD_SPREAD: usize = 16;

/// A line that may align with its neighbours of the same kind.
struct Aligned {
    kind: Kind,
    /// Each column's first token with the width of what stands before it, from the column before.
    columns: Vec<(usize, usize)>,
    /// Its width without padding, indentation included.
    width: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// `name = value`
    Binding,
    /// `name: type = value`, by its first word where that is `param`, `buffer`, `state` or `shared`.
    Typed(String),
    /// `loss(..) { .. }`, `metric name(..) { .. }`
    Head,
    /// A statement whose `=` stands in this column of the source.
    Statement(usize),
    /// `"glob": value`
    Entry,
}

/// Pads the lines of a block.
pub fn lines(layout: &mut Layout<'_>, block: &Block, indent: usize) {
    let mut run: Vec<Aligned> = vec![];
    for line in &block.lines {
        let aligned = aligned(layout, line, block.members, indent);
        let apart = line.blank_before || aligned.is_none();
        if apart || !aligned.as_ref().is_some_and(|a| joins(&run, a)) {
            pad(layout, &mut run);
        }
        run.extend(aligned);
    }
    pad(layout, &mut run);
}

/// Pads the entries of a broken path map.
pub fn rows(layout: &mut Layout<'_>, rows: &[Row], indent: usize) {
    let mut run: Vec<Aligned> = vec![];
    for row in rows {
        let aligned = entry(layout, &row.line.nodes, indent);
        if row.line.blank_before || !aligned.as_ref().is_some_and(|a| joins(&run, a)) {
            pad(layout, &mut run);
        }
        run.extend(aligned);
    }
    pad(layout, &mut run);
}

fn joins(run: &[Aligned], next: &Aligned) -> bool {
    let Some(first) = run.first() else { return true };
    if first.kind != next.kind {
        return false;
    }
    let limit = |c: usize| match next.kind {
        Kind::Head => HEAD_SPREAD,
        Kind::Statement(_) => usize::MAX,
        _ if c == 0 => SPREAD,
        _ => TYPE_SPREAD,
    };
    let all = || run.iter().chain([next]);
    let columns = all().map(|a| a.columns.len()).max().unwrap_or(0);
    let widths = |c: usize| all().filter_map(move |a| a.columns.get(c)).map(|x| x.1);
    let near = (0..columns).all(|c| widths(c).max().unwrap_or(0) - widths(c).min().unwrap_or(0) <= limit(c));
    near && all().all(|a| {
        let padding = a.columns.iter().enumerate().map(|(c, x)| widths(c).max().unwrap_or(0) - x.1);
        a.width + padding.sum::<usize>() <= WIDTH
    })
}

fn pad(layout: &mut Layout<'_>, run: &mut Vec<Aligned>) {
    let columns = run.iter().map(|a| a.columns.len()).max().unwrap_or(0);
    for c in 0..columns {
        let widest = run.iter().filter_map(|a| a.columns.get(c)).map(|x| x.1).max().unwrap_or(0);
        for (token, wide) in run.iter().filter_map(|a| a.columns.get(c)) {
            layout.pads.insert(*token, widest - wide);
        }
    }
    run.clear();
}

fn aligned(layout: &Layout<'_>, line: &Line, members: bool, indent: usize) -> Option<Aligned> {
    let flat = layout.flat(&line.nodes)?;
    if layout.must_break(&line.nodes) || line.is_comment() {
        return None;
    }
    let token = |n: usize| match line.nodes.get(n) {
        Some(Node::Token(i)) => layout.token(*i),
        _ => "",
    };
    let first_of =
        |text: &str| line.nodes.iter().position(|n| matches!(n, Node::Token(i) if layout.token(*i) == text));
    let equals = first_of("=");
    let all = indent + width(&flat);
    if all > WIDTH {
        return None;
    }
    let before = |n: usize| layout.flat(&line.nodes[..n]).map_or(0, |f| width(&f));
    if members && matches!(token(0), "loss" | "metric") && equals.is_none() {
        let last = line.nodes.len() - 1;
        let Node::Block(body) = &line.nodes[last] else { return None };
        return Some(Aligned { kind: Kind::Head, columns: vec![(body.open, before(last))], width: all });
    }
    if !members {
        let n = equals?;
        let at = first_token(&line.nodes[n])?;
        let column = source_column(layout, at);
        return Some(Aligned { kind: Kind::Statement(column), columns: vec![(at, before(n))], width: all });
    }
    let word = if matches!(token(0), "param" | "buffer" | "state" | "shared" | "device")
        && matches!(token(1), w if is_word(w))
    {
        token(0)
    } else {
        ""
    };
    let name = usize::from(!word.is_empty());
    match token(name + 1) {
        "=" => {
            let at = first_token(&line.nodes[name + 1])?;
            let kind = if word.is_empty() { Kind::Binding } else { Kind::Typed(format!("{word} =")) };
            Some(Aligned { kind, columns: vec![(at, before(name + 1))], width: all })
        }
        ":" => {
            let ty = name + 2;
            let mut columns = vec![(first_token(line.nodes.get(ty)?)?, before(ty))];
            if let Some(n) = equals {
                columns.push((first_token(&line.nodes[n])?, before(n) - before(ty)));
            }
            Some(Aligned { kind: Kind::Typed(word.to_owned()), columns, width: all })
        }
        _ => None,
    }
}

/// A row with one entry of a path map.
fn entry(layout: &Layout<'_>, nodes: &[Node], indent: usize) -> Option<Aligned> {
    let flat = layout.flat(nodes)?;
    let is = |n: &Node, text: &str| matches!(n, Node::Token(i) if layout.token(*i) == text);
    let colon = nodes.iter().position(|n| is(n, ":"))?;
    let keys = matches!(nodes.first(), Some(Node::Token(i)) if layout.token(*i).starts_with('"'));
    let single = !nodes[colon..].iter().any(|n| is(n, ",")) && !layout.must_break(nodes);
    let value = nodes[colon + 1..].iter().find_map(first_token)?;
    let all = indent + width(&flat) + 1;
    let before = width(&layout.flat(&nodes[..=colon])?);
    (keys && single && all <= WIDTH).then(|| Aligned {
        kind: Kind::Entry,
        columns: vec![(value, before)],
        width: all,
    })
}

fn first_token(node: &Node) -> Option<usize> {
    match node {
        Node::Token(i) => Some(*i),
        Node::Group(g) => Some(g.open),
        Node::Block(b) => Some(b.open),
        Node::Comment(_) | Node::Break => None,
    }
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

fn source_column(layout: &Layout<'_>, token: usize) -> usize {
    let before = &layout.text[..layout.tokens[token].start as usize];
    before[before.rfind('\n').map_or(0, |n| n + 1)..].chars().count()
}
