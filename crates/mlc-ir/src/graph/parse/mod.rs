//! Reads the text form of a graph back (see [`super::print`] for the form).
//!
//! `parse(g.to_string())` is `g` up to the numbers of nodes, source spans, and the labels of pending
//! checks. The result is not verified: tests write broken graphs on purpose. Operands must be defined
//! above their use, so what is parsed has no cycle.

mod cursor;
mod values;

use mlc_diag::{Diagnostic, Span, catalogue};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::{Check, Graph, Node, NodeId, Output, Phase, Prov, Region, ScopeId, Stage, StateWrite, ValueId};
use crate::op::{AttrValue, Op};
use crate::types::{Dim, Fact, Type};

pub use cursor::ParseError;
use cursor::{Cursor, Result};

/// Regions nest at most this deep.
const MAX_REGIONS: usize = 64;

/// Reads one graph; nothing may follow it.
///
/// # Errors
/// The first thing that does not fit, with line and column.
pub fn parse(text: &str) -> std::result::Result<Graph, ParseError> {
    let mut graphs = parse_all(text)?;
    match (graphs.pop(), graphs.is_empty()) {
        (Some(graph), true) => Ok(graph),
        (None, _) => Err(Cursor::new(text).error("there is no graph")),
        (Some(_), false) => Err(Cursor::new(text).error("there is more than one graph")),
    }
}

/// Reads all graphs of a text.
///
/// # Errors
/// As [`parse`].
pub fn parse_all(text: &str) -> std::result::Result<Vec<Graph>, ParseError> {
    let mut cursor = Cursor::new(text);
    let mut graphs = vec![];
    while !cursor.at_end() {
        graphs.push(Parser { c: &mut cursor, ids: FxHashMap::default() }.graph()?);
    }
    Ok(graphs)
}

impl std::str::FromStr for Graph {
    type Err = ParseError;

    fn from_str(text: &str) -> std::result::Result<Graph, ParseError> {
        parse(text)
    }
}

struct Parser<'c, 't> {
    c: &'c mut Cursor<'t>,
    /// Node numbers of the text.
    ids: FxHashMap<u64, NodeId>,
}

impl Parser<'_, '_> {
    fn graph(&mut self) -> Result<Graph> {
        self.c.keyword("graph")?;
        self.c.expect("@")?;
        let mut graph = Graph::new(self.c.word("a name")?);
        self.c.keyword("stage")?;
        self.c.expect("=")?;
        let at = self.c.mark();
        let stage = self.c.word("a stage")?;
        graph.stage = stage.parse::<Stage>().map_err(|()| {
            let names: Vec<&str> = Stage::ALL.iter().map(|s| s.name()).collect();
            self.c.error_at(at, format!("`{stage}` is not a stage: write one of {}", names.join(", ")))
        })?;
        self.c.expect("{")?;
        while !self.c.eat("}") {
            self.line(&mut graph)?;
        }
        Ok(graph)
    }

    fn line(&mut self, graph: &mut Graph) -> Result<()> {
        if self.c.peek("%") {
            return self.node(graph);
        }
        let at = self.c.mark();
        match self.c.word("a node, `dims`, `check`, `output`, `write` or `}`")? {
            "dims" => self.dims(graph),
            "check" => {
                let check = self.check()?;
                graph.checks.push(check);
                Ok(())
            }
            "output" => {
                let name = self.c.string()?;
                self.c.expect("=")?;
                let value = self.value(graph)?;
                let weight = if self.c.eat_word("weight") { Some(self.c.dim()?) } else { None };
                graph.outputs.push(Output { name, value, weight, span: Span::NONE });
                Ok(())
            }
            "write" => {
                let state = self.c.string()?.into();
                self.c.expect("=")?;
                let value = self.value(graph)?;
                graph.writes.push(StateWrite { state, value, span: Span::NONE });
                Ok(())
            }
            other => Err(self.c.error_at(at, format!("`{other}` begins no line of a graph"))),
        }
    }

    fn dims(&mut self, graph: &mut Graph) -> Result<()> {
        while !self.c.peek_word("where") {
            let at = self.c.mark();
            let name = self.c.word("a dim name")?;
            if graph.dims.declares(name) {
                return Err(self.c.error_at(at, format!("the dim `{name}` is declared twice")));
            }
            self.c.expect(">=")?;
            let min = self.c.integer()?;
            graph.dims.declare(name.into(), Span::NONE, min);
            if self.c.eat_word("default") {
                let value = self.c.integer()?;
                graph.dims.set_default(name, value);
            }
            if !self.c.eat(",") {
                break;
            }
        }
        if self.c.eat_word("where") {
            loop {
                let fact = self.fact()?;
                graph.dims.assume(fact);
                if !self.c.eat(",") {
                    break;
                }
            }
        }
        Ok(())
    }

    fn fact(&mut self) -> Result<Fact> {
        let lhs = self.c.dim()?;
        let rel = self.c.relation()?;
        Ok(Fact { lhs, rel, rhs: self.c.dim()?, span: Span::NONE })
    }

    fn check(&mut self) -> Result<Check> {
        let fact = self.fact()?;
        self.c.keyword("else")?;
        let at = self.c.mark();
        let code = self.c.word("an error code")?;
        let Some(entry) = catalogue::find(code) else {
            return Err(self.c.error_at(at, format!("`{code}` is not an error code")));
        };
        let error = Diagnostic::error(entry.code, self.c.string()?);
        Ok(Check { fact, error })
    }

    /// The number and result index of `%3.1`.
    fn number(&mut self) -> Result<(u64, u16)> {
        self.c.expect("%")?;
        let at = self.c.mark();
        let node = self.c.natural()?;
        let result = if self.c.eat_tight(".") { self.c.natural()? } else { 0 };
        let result =
            u16::try_from(result).map_err(|_| self.c.error_at(at, format!("there is no result {result}")))?;
        Ok((node, result))
    }

    /// A value that is defined above.
    fn value(&mut self, graph: &Graph) -> Result<ValueId> {
        let at = self.c.mark();
        let (number, result) = self.number()?;
        let Some(&node) = self.ids.get(&number) else {
            return Err(self.c.error_at(at, format!("%{number} is not defined above")));
        };
        if result as usize >= graph.node(node).results.len() {
            return Err(self.c.error_at(at, format!("%{number} has no result {result}")));
        }
        Ok(node.result(result as usize))
    }

    fn node(&mut self, graph: &mut Graph) -> Result<()> {
        let at = self.c.mark();
        let (number, results) = self.results()?;
        self.c.expect("=")?;
        let op_at = self.c.mark();
        let name = self.c.word("an op")?;
        let mut operands = SmallVec::new();
        while self.c.peek("%") {
            operands.push(self.value(graph)?);
            if !self.c.eat(",") {
                break;
            }
        }
        let mut attrs = self.c.attrs()?;
        if self.c.eat_word("body") {
            attrs.list.push(("body".into(), AttrValue::Region(self.region(graph)?)));
        }
        let op = Op::from_attrs(name, &attrs).map_err(|e| self.c.error_at(op_at, e))?;
        let prov = self.prov(graph)?;
        let id = graph.insert(Node { op, operands, results, prov });
        if self.ids.insert(number, id).is_some() {
            return Err(self.c.error_at(at, format!("%{number} is defined twice")));
        }
        Ok(())
    }

    /// `{ .. }`: the lines of a graph that shares the stage and dims of the one around it.
    fn region(&mut self, around: &Graph) -> Result<Region> {
        let at = self.c.mark();
        self.c.expect("{")?;
        self.c.depth += 1;
        if self.c.depth > MAX_REGIONS {
            return Err(self.c.error_at(at, "regions nest too deep"));
        }
        let mut body = Graph::new(around.name.clone());
        (body.stage, body.dims) = (around.stage, around.dims.clone());
        let mut inner = Parser { c: &mut *self.c, ids: FxHashMap::default() };
        while !inner.c.eat("}") {
            inner.line(&mut body)?;
        }
        self.c.depth -= 1;
        if !body.checks.is_empty() || body.dims != around.dims {
            return Err(self.c.error_at(at, "dims and checks belong to the graph around a region"));
        }
        Ok(Region::new(body))
    }

    /// `%3: f32[4], %3.1: i64`.
    fn results(&mut self) -> Result<(u64, SmallVec<[Type; 1]>)> {
        let mut types = SmallVec::new();
        let mut number = None;
        loop {
            let at = self.c.mark();
            let (node, result) = self.number()?;
            if *number.get_or_insert(node) != node || result as usize != types.len() {
                let want = number.unwrap_or(node);
                return Err(self.c.error_at(at, format!("result {} of %{want} stands here", types.len())));
            }
            self.c.expect(":")?;
            types.push(self.c.ty()?);
            if !self.c.eat(",") {
                return Ok((node, types));
            }
        }
    }

    /// `in "fc1" backward`, both optional.
    fn prov(&mut self, graph: &mut Graph) -> Result<Prov> {
        let mut prov = Prov { span: Span::NONE, scope: ScopeId::default(), phase: Phase::Forward };
        if self.c.eat_word("in") {
            let scope = self.c.string()?;
            prov.scope = graph.scope(&scope);
        }
        for phase in [Phase::Backward, Phase::Update, Phase::Infra] {
            if self.c.eat_word(phase.name()) {
                prov.phase = phase;
            }
        }
        Ok(prov)
    }
}

/// Reads a dim as it prints.
///
/// # Errors
/// With line and column, as [`parse`].
pub fn parse_dim(text: &str) -> std::result::Result<Dim, ParseError> {
    let mut c = Cursor::new(text);
    let dim = c.dim()?;
    if c.at_end() { Ok(dim) } else { Err(c.error("a dim ends here")) }
}
