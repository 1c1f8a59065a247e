//! The elements of a broken bracket, a few or one a line.

use super::layout::Layout;
use super::tree::{Line, Node};
use crate::syntax::scan::TokenKind;

/// Some elements of a broken bracket, on a line of their own.
pub struct Row {
    pub line: Line,
    /// A comma ends it.
    pub comma: bool,
}

/// Splits elements after commas: at the author's newlines, or after each comma.
pub fn split_rows(layout: &Layout<'_>, nodes: &[Node], by_author: bool, keyed: bool) -> Vec<Row> {
    let loops = nodes.iter().any(|n| matches!(n, Node::Token(i) if layout.is_loop(*i)));
    let keyed = keyed && nodes.iter().any(|n| matches!(n, Node::Token(i) if layout.token(*i) == ":"));
    let mut rows: Vec<Row> = vec![];
    let mut line = Line::default();
    let mut breaks = 0;
    let mut comma_last = false;
    let mut rest = nodes.iter().enumerate().peekable();
    while let Some((n, node)) = rest.next() {
        match node {
            Node::Break => {
                breaks += 1;
                if comma_last && by_author && !line.nodes.is_empty() {
                    take_row(&mut line, layout, &mut rows);
                } else if !line.nodes.is_empty() && !comma_last {
                    line.nodes.push(Node::Break);
                }
                continue;
            }
            Node::Comment(c) if line.nodes.is_empty() => match rows.last_mut() {
                Some(last) if breaks == 0 && last.line.comment.is_none() && !last.line.is_comment() => {
                    last.line.comment = Some(*c);
                }
                _ => {
                    let blank_before = breaks > 1 && !rows.is_empty();
                    rows.push(Row {
                        line: Line { nodes: vec![], blank_before, comment: Some(*c) },
                        comma: false,
                    });
                }
            },
            Node::Comment(c) if comma_last => {
                line.comment = Some(*c);
                take_row(&mut line, layout, &mut rows);
            }
            // Behind or below the last element, which has no comma.
            Node::Comment(c) if nodes[n..].iter().all(|n| matches!(n, Node::Break | Node::Comment(_))) => {
                line.comment = (breaks == 0).then_some(*c);
                take_row(&mut line, layout, &mut rows);
                if breaks > 0 {
                    let line = Line { nodes: vec![], blank_before: breaks > 1, comment: Some(*c) };
                    rows.push(Row { line, comma: false });
                }
            }
            node => {
                if line.nodes.is_empty() {
                    line.blank_before = breaks > 1 && !rows.is_empty();
                }
                line.nodes.push(node.clone());
                comma_last = matches!(node, Node::Token(i) if layout.token(*i) == ",");
                let shares = keyed && lone_string(layout, &line.nodes) && n + 1 < nodes.len();
                let comment_next = matches!(rest.peek(), Some((_, Node::Comment(_))));
                if comma_last && !by_author && !loops && !shares && !comment_next {
                    take_row(&mut line, layout, &mut rows);
                }
                breaks = 0;
                continue;
            }
        }
        breaks = 0;
        comma_last = false;
    }
    if !line.nodes.is_empty() {
        take_row(&mut line, layout, &mut rows);
    }
    rows
}

/// Ends a row; its last comma and the comments around that are set apart.
fn take_row(line: &mut Line, layout: &Layout<'_>, rows: &mut Vec<Row>) {
    let mut line = std::mem::take(line);
    let mut comma = false;
    let mut comments: Vec<usize> = line.comment.take().into_iter().collect();
    while let Some(last) = line.nodes.last() {
        match last {
            Node::Break => {}
            Node::Comment(c) => comments.push(*c),
            Node::Token(i) if layout.token(*i) == "," && !comma => comma = true,
            _ => break,
        }
        line.nodes.pop();
    }
    line.comment = comments.pop();
    rows.push(Row { line, comma });
    for c in comments.into_iter().rev() {
        rows.push(Row { line: Line { comment: Some(c), ..Line::default() }, comma: false });
    }
}

/// Strings and commas only: keys of a path map that share the next entry's value.
fn lone_string(layout: &Layout<'_>, nodes: &[Node]) -> bool {
    nodes.iter().all(|n| {
        matches!(n, Node::Token(i) if layout.tokens[*i].kind == TokenKind::Str || layout.token(*i) == ",")
            || matches!(n, Node::Break)
    })
}
