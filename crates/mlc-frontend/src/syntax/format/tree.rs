//! Tokens to lines and brackets: what the formatter moves around.

use crate::syntax::scan::{Token, TokenKind, continues_after, continues_before};

/// A token by its index, or brackets with what is in them.
#[derive(Debug, Clone)]
pub enum Node {
    Token(usize),
    Comment(usize),
    /// A newline inside a statement.
    Break,
    Group(Group),
    Block(Block),
}

/// `( .. )` or `[ .. ]`
#[derive(Debug, Clone)]
pub struct Group {
    pub open: usize,
    pub close: usize,
    pub nodes: Vec<Node>,
    /// A newline stood right after the opening bracket.
    pub broken: bool,
}

/// `{ .. }`, and a whole file.
#[derive(Debug, Clone)]
pub struct Block {
    pub open: usize,
    pub close: usize,
    /// The comment behind its `{`.
    pub comment: Option<usize>,
    pub lines: Vec<Line>,
    /// It held no newline of its own.
    pub one_line: bool,
    /// Its lines are items or members, not statements.
    pub members: bool,
}

/// A statement, member or item, or a comment on a line of its own.
#[derive(Debug, Clone, Default)]
pub struct Line {
    pub nodes: Vec<Node>,
    pub blank_before: bool,
    /// A comment at its end.
    pub comment: Option<usize>,
}

impl Line {
    pub fn is_comment(&self) -> bool {
        self.nodes.is_empty()
    }
}

/// The whole text as a block without braces. `tokens` have matching brackets.
pub fn build(text: &str, tokens: &[Token]) -> Block {
    let mut builder = Builder { text, tokens, at: 0, blocks: 0 };
    let lines = builder.lines(true);
    Block { open: 0, close: tokens.len(), comment: None, lines, one_line: false, members: true }
}

struct Builder<'a> {
    text: &'a str,
    tokens: &'a [Token],
    at: usize,
    /// Open braces.
    blocks: usize,
}

impl Builder<'_> {
    fn text_at(&self, i: usize) -> &str {
        self.tokens.get(i).map_or("", |t| t.text(self.text))
    }

    /// Lines up to the closing brace or the end.
    fn lines(&mut self, members: bool) -> Vec<Line> {
        let mut lines = vec![];
        let mut line = Line::default();
        let (mut newlines, mut prev): (usize, Option<usize>) = (0, None);
        while let Some(token) = self.tokens.get(self.at).copied() {
            let i = self.at;
            if token.kind == TokenKind::Close {
                break;
            }
            self.at += 1;
            match token.kind {
                TokenKind::Newline => {
                    newlines += 1;
                    if !line.is_comment() && newlines == 1 {
                        if self.goes_on(prev, members) {
                            line.nodes.push(Node::Break);
                        } else {
                            lines.push(finish(&mut line));
                        }
                    }
                    continue;
                }
                TokenKind::Comment | TokenKind::Doc => self.comment(i, newlines, &mut line, &mut lines),
                TokenKind::Op if token.text(self.text) == ";" => {
                    if !line.is_comment() {
                        lines.push(finish(&mut line));
                    }
                }
                _ => {
                    if line.is_comment() {
                        line.blank_before = newlines > 1 && !lines.is_empty();
                    }
                    let node = self.node(i, self.blocks == 0 && line_holds_members(&line, self));
                    line.nodes.push(node);
                    prev = Some(self.at - 1);
                }
            }
            newlines = 0;
        }
        if !line.is_comment() {
            lines.push(finish(&mut line));
        }
        lines
    }

    /// A comment ends its line, goes on inside its statement, or stands alone.
    fn comment(&self, i: usize, newlines: usize, line: &mut Line, lines: &mut Vec<Line>) {
        if !line.is_comment() {
            // What the statement goes on with decides at the newline that follows.
            line.nodes.push(Node::Comment(i));
        } else if newlines == 0 && lines.last().is_some_and(|l| l.comment.is_none() && !l.is_comment()) {
            // After `;`.
            if let Some(last) = lines.last_mut() {
                last.comment = Some(i);
            }
        } else {
            let blank_before = newlines > 1 && !lines.is_empty();
            lines.push(Line { nodes: vec![], blank_before, comment: Some(i) });
        }
    }

    /// Whether a statement goes on behind the newline just read.
    fn goes_on(&self, prev: Option<usize>, members: bool) -> bool {
        if prev.is_some_and(|p| continues_after(&self.tokens[p], self.text)) {
            return true;
        }
        let next = self.tokens[self.at..].iter().find(|t| t.is_real());
        next.is_some_and(|t| {
            continues_before(t, self.text)
                || members && t.kind == TokenKind::Word && t.text(self.text) == "where"
        })
    }

    /// The node that begins with the token `i`, just passed.
    fn node(&mut self, i: usize, members: bool) -> Node {
        match self.text_at(i) {
            "(" | "[" if self.tokens[i].kind == TokenKind::Open => Node::Group(self.group(i)),
            "{" if self.tokens[i].kind == TokenKind::Open => Node::Block(self.block(i, members)),
            _ => Node::Token(i),
        }
    }

    fn block(&mut self, open: usize, members: bool) -> Block {
        let behind = self.tokens.get(self.at).filter(|t| !t.is_real() && t.kind != TokenKind::Newline);
        let comment = behind.map(|_| self.at);
        self.at += usize::from(comment.is_some());
        self.blocks += 1;
        let lines = self.lines(members);
        self.blocks -= 1;
        let close = self.pass_close();
        let one_line = comment.is_none() && !self.newline_between(open, close);
        Block { open, close, comment, lines, one_line, members }
    }

    /// Whether a newline stands directly between the two brackets, not in brackets between.
    fn newline_between(&self, open: usize, close: usize) -> bool {
        let mut depth = 0usize;
        self.tokens[(open + 1).min(close)..close].iter().any(|t| {
            match t.kind {
                TokenKind::Open => depth += 1,
                TokenKind::Close => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && t.kind == TokenKind::Newline
        })
    }

    fn group(&mut self, open: usize) -> Group {
        let mut nodes = vec![];
        while let Some(token) = self.tokens.get(self.at).copied() {
            if token.kind == TokenKind::Close {
                break;
            }
            let i = self.at;
            self.at += 1;
            match token.kind {
                TokenKind::Newline => nodes.push(Node::Break),
                TokenKind::Comment | TokenKind::Doc => nodes.push(Node::Comment(i)),
                _ => {
                    let node = self.node(i, false);
                    nodes.push(node);
                }
            }
        }
        let broken =
            nodes.iter().find(|n| !matches!(n, Node::Comment(_))).is_some_and(|n| matches!(n, Node::Break));
        Group { open, close: self.pass_close(), nodes, broken }
    }

    fn pass_close(&mut self) -> usize {
        let close = self.at;
        self.at += 1;
        close
    }
}

/// Takes a line that has ended; a comment at its end is set apart.
fn finish(line: &mut Line) -> Line {
    let mut line = std::mem::take(line);
    if let Some(Node::Comment(i)) = line.nodes.last() {
        line.comment = Some(*i);
        line.nodes.pop();
    }
    line
}

/// Whether a block on this line, which is an item, holds members.
fn line_holds_members(line: &Line, builder: &Builder<'_>) -> bool {
    match line.nodes.first() {
        Some(Node::Token(first)) => {
            matches!(builder.text_at(*first), "model" | "dataset" | "optimizer" | "train")
                && line.nodes.iter().all(|n| !matches!(n, Node::Token(i) if builder.text_at(*i) == "="))
        }
        _ => false,
    }
}
