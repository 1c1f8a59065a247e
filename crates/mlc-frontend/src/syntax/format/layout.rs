//! Lines and brackets to text: blanks, indentation, and where to break.
//!
//! A statement is laid out with as few broken brackets as fit: first those that its author broke, then,
//! while a line is too long, the widest bracket on that line. Since what was broken stays broken, the
//! result is a fixed point.

use std::collections::{HashMap, HashSet};

use super::WIDTH;
use super::align;
use super::rows::{Row, split_rows};
use super::tree::{Block, Group, Line, Node};
use crate::syntax::scan::{Token, TokenKind, continues_after};

const INDENT: usize = 4;

pub struct Layout<'a> {
    pub text: &'a str,
    pub tokens: &'a [Token],
    /// Role of each token that has one.
    roles: HashMap<usize, Role>,
    /// Extra blanks before tokens, for alignment.
    pub pads: HashMap<usize, usize>,
    /// Brackets to break, by their opening token.
    broken: HashSet<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// A minus sign before its operand.
    Sign,
    /// An opening bracket that calls or indexes what stands before it.
    Applied,
    /// The colon of a slice between simple bounds, and between others.
    TightColon,
    LooseColon,
}

impl<'a> Layout<'a> {
    pub fn new(text: &'a str, tokens: &'a [Token]) -> Self {
        let (roles, pads, broken) = (HashMap::new(), HashMap::new(), HashSet::new());
        Layout { text, tokens, roles, pads, broken }
    }

    pub fn file(mut self, file: &Block) -> String {
        self.find_roles();
        let mut out = String::with_capacity(self.text.len() + self.text.len() / 8);
        self.lines(file, 0, &mut out);
        out
    }

    pub fn token(&self, i: usize) -> &'a str {
        self.tokens.get(i).map_or("", |t| t.text(self.text)).trim_end()
    }

    // ---- roles

    fn find_roles(&mut self) {
        // The open brackets: whether each is an index, and since its last comma the colons and whether the
        // bounds are simple.
        struct Open {
            brace: bool,
            index: bool,
            colons: Vec<usize>,
            simple: bool,
        }
        let mut open: Vec<Open> = vec![];
        let mut prev: Option<usize> = None;
        let mut before: Option<usize> = None;
        for (i, token) in self.tokens.iter().enumerate().filter(|(_, t)| t.is_real()) {
            let new_line = open.last().is_none_or(|o| o.brace) && self.newline_between(prev, i);
            let operand = !new_line && prev.is_some_and(|p| self.ends_operand(p, before));
            let text = self.token(i);
            match token.kind {
                TokenKind::Open => {
                    // `expect (a) == b` and `where (a) == b` are no calls.
                    let apart = prev.is_some_and(|p| {
                        matches!(self.token(p), "expect" | "where") && self.tokens[p].end < token.start
                    });
                    let applied = operand && text != "{" && !apart;
                    if applied {
                        self.roles.insert(i, Role::Applied);
                    }
                    open.push(Open {
                        brace: text == "{",
                        index: applied && text == "[",
                        colons: vec![],
                        simple: true,
                    });
                }
                TokenKind::Close => {
                    if let Some(o) = open.pop() {
                        self.set_colons(o.colons, o.simple);
                    }
                }
                TokenKind::Op if text == "," => {
                    if let Some(o) = open.last_mut() {
                        let (colons, simple) =
                            (std::mem::take(&mut o.colons), std::mem::replace(&mut o.simple, true));
                        self.set_colons(colons, simple);
                    }
                }
                TokenKind::Op if text == "-" && !operand => {
                    self.roles.insert(i, Role::Sign);
                }
                TokenKind::Op if text == ":" => {
                    if let Some(o) = open.last_mut().filter(|o| o.index) {
                        o.colons.push(i);
                    }
                }
                TokenKind::Op if text != "." => {
                    if let Some(o) = open.last_mut() {
                        o.simple = false;
                    }
                }
                _ => {}
            }
            before = prev.replace(i);
        }
    }

    fn set_colons(&mut self, colons: Vec<usize>, simple: bool) {
        let role = if simple { Role::TightColon } else { Role::LooseColon };
        self.roles.extend(colons.into_iter().map(|c| (c, role)));
    }

    fn newline_between(&self, prev: Option<usize>, i: usize) -> bool {
        prev.is_some_and(|p| self.tokens[p..i].iter().any(|t| t.kind == TokenKind::Newline))
    }

    fn begins_statement(&self, i: usize, before: Option<usize>) -> bool {
        before.is_none_or(|b| matches!(self.token(b), "{" | ";")) || self.newline_between(before, i)
    }

    /// Whether an operand ends with token `i`, so that a bracket after it applies to it.
    fn ends_operand(&self, i: usize, before: Option<usize>) -> bool {
        const WORDS: [&str; 18] = [
            "if",
            "else",
            "for",
            "in",
            "while",
            "scan",
            "keep",
            "on",
            "and",
            "or",
            "not",
            "use",
            "as",
            "updates",
            "transfers",
            "per",
            "device",
            "test",
        ];
        match self.tokens[i].kind {
            TokenKind::Word => {
                // A word only where it begins a statement and a blank follows; else a name.
                let blank = self.tokens.get(i + 1).is_some_and(|next| next.start > self.tokens[i].end);
                let expect = self.token(i) == "expect" && blank && self.begins_statement(i, before);
                before.is_some_and(|b| self.token(b) == ".") || !(expect || WORDS.contains(&self.token(i)))
            }
            TokenKind::Number | TokenKind::Str | TokenKind::Close => true,
            _ => false,
        }
    }

    /// Blanks between two tokens of one line.
    fn gap(&self, prev: usize, i: usize) -> usize {
        let (a, b) = (self.token(prev), self.token(i));
        let role = |i: usize| self.roles.get(&i).copied();
        let none = match (a, b) {
            ("{", "}") => true,
            ("(" | "[", _) | (_, ")" | "]" | "," | ";") | (".", _) | (_, ".") => true,
            (_, ":") => a != "," && role(i) != Some(Role::LooseColon),
            (":", _) => role(prev) == Some(Role::TightColon),
            ("..", _) => true,
            (_, "..") => !matches!(a, "," | "=" | ":" | "in"),
            (_, "(" | "[") => role(i) == Some(Role::Applied),
            _ => role(prev) == Some(Role::Sign),
        };
        usize::from(!none) + self.pads.get(&i).copied().unwrap_or(0)
    }

    // ---- one line

    /// The nodes on one line; `None` if something in them needs more.
    pub fn flat(&self, nodes: &[Node]) -> Option<String> {
        let mut out = String::new();
        self.flat_into(nodes, &mut None, &mut out).then_some(out)
    }

    fn flat_into(&self, nodes: &[Node], prev: &mut Option<usize>, out: &mut String) -> bool {
        nodes.iter().enumerate().all(|(n, node)| match node {
            Node::Token(i) => {
                // The last comma of several elements goes with the line's end it stood at.
                let last_comma =
                    self.token(*i) == "," && nodes[n + 1..].iter().all(|n| matches!(n, Node::Break));
                if !(last_comma && count_commas(self, nodes) > 1) {
                    self.put(*i, prev, out);
                }
                true
            }
            Node::Comment(_) => false,
            Node::Break => true,
            Node::Group(g) => {
                self.put(g.open, prev, out);
                let flat = !g.broken && !self.broken.contains(&g.open) && self.flat_into(&g.nodes, prev, out);
                self.put(g.close, prev, out);
                flat
            }
            Node::Block(b) => self.flat_block(b, prev, out),
        })
    }

    fn flat_block(&self, b: &Block, prev: &mut Option<usize>, out: &mut String) -> bool {
        if !b.one_line || self.broken.contains(&b.open) {
            return false;
        }
        self.put(b.open, prev, out);
        for (n, line) in b.lines.iter().enumerate() {
            if n > 0 {
                out.push(';');
            }
            let bare = !line.is_comment() && line.comment.is_none() && !self.must_break(&line.nodes);
            if !bare || !self.flat_into(&line.nodes, prev, out) {
                return false;
            }
        }
        self.put(b.close, prev, out);
        true
    }

    fn put(&self, i: usize, prev: &mut Option<usize>, out: &mut String) {
        if let Some(p) = *prev {
            out.extend(std::iter::repeat_n(' ', self.gap(p, i)));
        }
        out.push_str(self.token(i));
        *prev = Some(i);
    }

    // ---- blocks

    fn lines(&mut self, block: &Block, indent: usize, out: &mut String) {
        align::lines(self, block, indent);
        for line in &block.lines {
            if line.blank_before {
                out.push('\n');
            }
            self.line(line, indent, out);
            out.push('\n');
        }
    }

    fn line(&mut self, line: &Line, indent: usize, out: &mut String) {
        out.extend(std::iter::repeat_n(' ', indent));
        if line.is_comment() {
            out.push_str(line.comment.map_or("", |c| self.token(c)));
            return;
        }
        out.push_str(&self.statement(&line.nodes, indent));
        if let Some(comment) = line.comment {
            self.end_comment(comment, out);
        }
    }

    /// A comment at a line's end, in its old column if the code is shorter.
    fn end_comment(&self, comment: usize, out: &mut String) {
        let line = &out[out.rfind('\n').map_or(0, |n| n + 1)..];
        let used = line.chars().count();
        let start = self.tokens[comment].start as usize;
        let before = &self.text[..start];
        let column = before[before.rfind('\n').map_or(0, |n| n + 1)..].chars().count();
        let blanks = if used == 0 { 0 } else { column.min(WIDTH).saturating_sub(used).max(2) };
        out.extend(std::iter::repeat_n(' ', blanks));
        out.push_str(self.token(comment));
    }

    /// A statement without the indentation of its first line.
    fn statement(&mut self, nodes: &[Node], indent: usize) -> String {
        if !self.must_break(nodes)
            && let Some(flat) = self.flat(nodes)
            && indent + width(&flat) <= WIDTH
        {
            return flat;
        }
        loop {
            let text = self.spread(nodes, indent);
            match self.too_long(nodes, &text, indent) {
                Some(open) => self.broken.insert(open),
                None => return text,
            };
        }
    }

    /// The widest bracket to break, if a line of the laid out statement is too long. Lines inside broken
    /// brackets have been seen to already.
    fn too_long(&self, nodes: &[Node], text: &str, indent: usize) -> Option<usize> {
        let long = text.lines().enumerate().any(|(n, l)| width(l) + if n == 0 { indent } else { 0 } > WIDTH);
        if !long {
            return None;
        }
        let mut best: Option<(usize, usize)> = None;
        for node in nodes {
            if let Some((open, wide)) = self.breakable(node)
                && best.is_none_or(|(_, w)| wide >= w)
            {
                best = Some((open, wide));
            }
        }
        best.map(|(open, _)| open)
    }

    /// The opening token and width of a bracket that is flat yet.
    fn breakable(&self, node: &Node) -> Option<(usize, usize)> {
        let (open, inner) = match node {
            Node::Group(g) if hugs(g) => return g.nodes.last().and_then(|n| self.breakable(n)),
            Node::Group(g) if g.nodes.is_empty() => return None,
            Node::Group(g) if !g.broken => (g.open, g.nodes.as_slice()),
            Node::Block(b) if b.one_line && !b.lines.is_empty() => (b.open, &[][..]),
            _ => return None,
        };
        if self.broken.contains(&open) {
            return None;
        }
        let wide = match node {
            Node::Block(_) => width(&self.flat(std::slice::from_ref(node))?),
            _ => width(&self.flat(inner)?),
        };
        Some((open, wide))
    }

    /// The nodes with every broken bracket spread over lines.
    fn spread(&mut self, nodes: &[Node], indent: usize) -> String {
        let mut out = String::new();
        let mut prev = None;
        for (n, node) in nodes.iter().enumerate() {
            match node {
                Node::Token(i) => self.put(*i, &mut prev, &mut out),
                Node::Comment(c) => {
                    // At a line's beginning its indentation stands there already.
                    out.push_str(if prev.is_none() { "" } else { "  " });
                    out.push_str(self.token(*c));
                }
                Node::Break => {
                    if self.keeps_break(nodes, n, prev) {
                        out.push('\n');
                        out.extend(std::iter::repeat_n(' ', indent + INDENT));
                        prev = None;
                    }
                }
                Node::Group(g) => self.group(g, indent, &mut prev, &mut out),
                Node::Block(b) => self.block(b, indent, &mut prev, &mut out),
            }
        }
        out
    }

    /// Whether a statement has a newline or comment that stays.
    pub fn must_break(&self, nodes: &[Node]) -> bool {
        let mut prev = None;
        nodes.iter().enumerate().any(|(n, node)| match node {
            Node::Comment(_) => true,
            Node::Break => self.keeps_break(nodes, n, prev),
            Node::Token(i) | Node::Group(Group { close: i, .. }) | Node::Block(Block { close: i, .. }) => {
                prev = Some(*i);
                false
            }
        })
    }

    /// Whether an author's newline inside a statement stays.
    fn keeps_break(&self, nodes: &[Node], n: usize, prev: Option<usize>) -> bool {
        if matches!(n.checked_sub(1).and_then(|p| nodes.get(p)), Some(Node::Comment(_))) {
            return true;
        }
        let Some(prev) = prev else { return false };
        let next = nodes[n + 1..].iter().find_map(|n| match n {
            Node::Token(i) => Some(*i),
            Node::Group(g) => Some(g.open),
            Node::Block(b) => Some(b.open),
            Node::Comment(_) | Node::Break => None,
        });
        match next.map(|i| self.token(i)) {
            Some("." | "->" | "where" | "for" | "if") => true,
            Some("else") | None => false,
            Some(_) => {
                continues_after(&self.tokens[prev], self.text) && !matches!(self.token(prev), "=" | "<-")
            }
        }
    }

    fn block(&mut self, b: &Block, indent: usize, prev: &mut Option<usize>, out: &mut String) {
        let mut flat = String::new();
        let mut flat_prev = *prev;
        if self.flat_block(b, &mut flat_prev, &mut flat) {
            out.push_str(&flat);
            *prev = flat_prev;
            return;
        }
        self.put(b.open, prev, out);
        if let Some(comment) = b.comment {
            out.push_str("  ");
            out.push_str(self.token(comment));
        }
        out.push('\n');
        self.lines(b, indent + INDENT, out);
        out.extend(std::iter::repeat_n(' ', indent));
        out.push_str(self.token(b.close));
        *prev = Some(b.close);
    }

    // ---- round and square brackets

    fn group(&mut self, g: &Group, indent: usize, prev: &mut Option<usize>, out: &mut String) {
        self.put(g.open, prev, out);
        let broken = g.broken || self.broken.contains(&g.open) || has_comment(&g.nodes);
        if !broken {
            let mut flat = String::new();
            let mut flat_prev = *prev;
            if self.flat_into(&g.nodes, &mut flat_prev, &mut flat) {
                out.push_str(&flat);
                *prev = flat_prev;
                self.put(g.close, prev, out);
                return;
            }
            if g.nodes.iter().any(|n| matches!(n, Node::Block(_))) || hugs(g) {
                let body: Vec<Node> = g.nodes.iter().filter(|n| !matches!(n, Node::Break)).cloned().collect();
                out.push_str(&self.spread(&body, indent));
                *prev = Some(g.close);
                out.push_str(self.token(g.close));
                return;
            }
        }
        self.rows(g, indent + INDENT, out);
        out.extend(std::iter::repeat_n(' ', indent));
        out.push_str(self.token(g.close));
        *prev = Some(g.close);
    }

    /// The elements of a broken bracket, from the end of the opening line to the last row's newline.
    fn rows(&mut self, g: &Group, indent: usize, out: &mut String) {
        let mut nodes = g.nodes.as_slice();
        if let [Node::Comment(c), rest @ ..] = nodes {
            out.push_str("  ");
            out.push_str(self.token(*c));
            nodes = rest;
        }
        out.push('\n');
        let loops = nodes.iter().any(|n| matches!(n, Node::Token(i) if self.is_loop(*i)));
        let parted = if loops && !g.broken { self.part_loops(nodes) } else { nodes.to_vec() };
        let keyed = self.token(g.open) == "[" && self.roles.get(&g.open) != Some(&Role::Applied);
        let mut rows = split_rows(self, &parted, g.broken, keyed);
        if !loops {
            self.split_long(&mut rows, indent, keyed);
        }
        if self.may_end_in_comma(g, &rows)
            && let Some(last) = rows.iter_mut().rev().find(|r| !r.line.is_comment())
        {
            last.comma = true;
        }
        align::rows(self, &rows, indent);
        for row in rows {
            if row.line.blank_before {
                out.push('\n');
            }
            out.extend(std::iter::repeat_n(' ', indent));
            if row.line.is_comment() {
                out.push_str(row.line.comment.map_or("", |c| self.token(c)));
            } else {
                out.push_str(&self.statement(&row.line.nodes, indent));
                if row.comma {
                    out.push(',');
                }
                if let Some(comment) = row.line.comment {
                    self.end_comment(comment, out);
                }
            }
            out.push('\n');
        }
    }

    /// A comprehension that does not fit breaks before its `for` and `if`.
    fn part_loops(&self, nodes: &[Node]) -> Vec<Node> {
        let mut parted: Vec<Node> = vec![];
        for node in nodes {
            let begins = matches!(node, Node::Token(i) if matches!(self.token(*i), "for" | "if"));
            if begins && !parted.is_empty() && !matches!(parted.last(), Some(Node::Break)) {
                parted.push(Node::Break);
            }
            parted.push(node.clone());
        }
        parted
    }

    /// An author's row that does not fit becomes a row for each element.
    fn split_long(&self, rows: &mut Vec<Row>, indent: usize, keyed: bool) {
        let mut split = vec![];
        for row in rows.drain(..) {
            let fits = self.flat(&row.line.nodes).is_none_or(|f| indent + width(&f) < WIDTH);
            if fits || row.line.is_comment() || count_commas(self, &row.line.nodes) == 0 {
                split.push(row);
                continue;
            }
            let mut parts = split_rows(self, &row.line.nodes, false, keyed);
            if let Some(first) = parts.first_mut() {
                first.line.blank_before = row.line.blank_before;
            }
            if let Some(last) = parts.last_mut() {
                last.comma = row.comma;
                last.line.comment = row.line.comment;
            }
            split.extend(parts);
        }
        *rows = split;
    }

    /// A comma after the last element changes nothing where there are several already. In `[f(a, b) for a,
    /// b in c]` and the head of a `scan` the commas are no element's.
    fn may_end_in_comma(&self, g: &Group, rows: &[Row]) -> bool {
        let loops = g.nodes.iter().any(|n| matches!(n, Node::Token(i) if self.is_loop(*i)));
        rows.iter().any(|r| r.comma || count_commas(self, &r.line.nodes) > 0) && !loops
    }

    pub fn is_loop(&self, i: usize) -> bool {
        self.tokens[i].kind == TokenKind::Word && matches!(self.token(i), "for" | "scan" | "while")
    }
}

/// `f([..])`: brackets whose only content is, or ends in, a bracket, break with it.
fn hugs(g: &Group) -> bool {
    let inner = g.nodes.iter().all(|n| matches!(n, Node::Token(_) | Node::Group(_)));
    let groups = g.nodes.iter().filter(|n| matches!(n, Node::Group(_))).count();
    !g.broken && inner && groups == 1 && matches!(g.nodes.last(), Some(Node::Group(_))) && g.nodes.len() <= 2
}

fn has_comment(nodes: &[Node]) -> bool {
    nodes.iter().any(|n| matches!(n, Node::Comment(_)))
}

fn count_commas(layout: &Layout<'_>, nodes: &[Node]) -> usize {
    nodes.iter().filter(|n| matches!(n, Node::Token(i) if layout.token(*i) == ",")).count()
}

pub fn width(text: &str) -> usize {
    text.chars().count()
}
