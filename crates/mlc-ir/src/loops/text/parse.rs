//! Kernels from text. What parses need not be well-formed: that is the verifier's to say.

use mlc_diag::{SourceId, Span};
use smallvec::SmallVec;

use super::lex::{Cursor, Read, TextError, Token};
use crate::loops::body::{Axis, Expr, ExprId, ExprOp, LoopBody, RedId, RedOp, RowRed, Store, Tail};
use crate::loops::contraction::{Contraction, Operand, Rounding};
use crate::loops::functions::Func;
use crate::loops::index::{Atom, AxisId, Bound, Index, Load};
use crate::loops::kernel::{Arg, ArgId, CopyMap, Init, Kernel, Kind, Mode, Phase, Prov, Scatter, Segment};
use crate::loops::scalar::{Lit, Prim, mask};
use crate::{DType, Device};

/// Quotients within quotients beyond this depth are refused, so that no text overflows the stack.
const DEPTH: u32 = 64;

/// Reads one kernel.
pub fn parse_kernel(text: &str) -> Result<Kernel, TextError> {
    let mut c = Cursor::new(text)?;
    let k = kernel(&mut c)?;
    if c.done() { Ok(k) } else { c.fail("the text goes on after the kernel") }
}

pub(super) fn kernel(c: &mut Cursor) -> Read<Kernel> {
    let word = c.word()?;
    c.sign('@')?;
    let name = c.word()?;
    let mut aliases = Vec::new();
    let args = c.list('(', ')', |c| arg(c, &mut aliases))?;
    let mut k =
        Kernel { name: name.as_str().into(), args, kind: Kind::Loop(LoopBody::default()), prov: Vec::new() };
    for (i, alias) in aliases.iter().enumerate() {
        if let Some(alias) = alias {
            k.args[i].may_alias = Some(arg_named(c, &k.args, alias)?);
        }
    }
    match word.as_str() {
        "kernel" => {
            let (rows, cols) = (axes(c, "rows", "i")?, axes(c, "cols", "c")?);
            open(c, &mut k.prov)?;
            let mut p = Parser::new(&k.args, &[("i", &rows), ("c", &cols)]);
            k.kind = Kind::Loop(p.body(c, rows, cols)?);
        }
        "contract" => k.kind = Kind::Contract(contraction(c, &k.args, &mut k.prov)?),
        "segments" => k.kind = Kind::Segments(segments(c, &k.args, &mut k.prov)?),
        "scatter" => k.kind = Kind::ScatterAdd(scatter(c, &k.args, &mut k.prov)?),
        "copy" => k.kind = Kind::Copy(copy(c, &k.args, &mut k.prov)?),
        w => return c.fail(format!("`{w}` is no kind of kernel")),
    }
    c.sign('}')?;
    Ok(k)
}

fn arg(c: &mut Cursor, aliases: &mut Vec<Option<String>>) -> Read<Arg> {
    let mode = match c.word()?.as_str() {
        "read" => Mode::Read,
        "write" => Mode::Write,
        "readwrite" => Mode::ReadWrite,
        w => return c.fail(format!("`{w}` is no mode")),
    };
    let name = c.word()?;
    c.sign(':')?;
    let dtype = dtype(c)?;
    c.sign('[')?;
    let len = c.number()?;
    c.sign(']')?;
    let mut arg = Arg::new(name, dtype, len, mode);
    if c.take_word("align") {
        arg.align = c.number()?;
    }
    aliases.push(if c.take_word("alias") { Some(c.word()?) } else { None });
    Ok(arg)
}

fn arg_named(c: &Cursor, args: &[Arg], name: &str) -> Read<ArgId> {
    match args.iter().position(|a| &*a.name == name) {
        Some(i) => Ok(ArgId(i as u32)),
        None => c.fail(format!("there is no argument `{name}`")),
    }
}

pub(super) fn dtype(c: &mut Cursor) -> Read<DType> {
    let w = c.word()?;
    w.parse().or_else(|()| c.fail(format!("`{w}` is no dtype")))
}

fn axes(c: &mut Cursor, group: &str, prefix: &str) -> Read<Vec<Axis>> {
    c.keyword(group)?;
    let mut count = 0;
    c.list('(', ')', |c| {
        if c.numbered(prefix)? != count {
            return c.fail("axes count from 0");
        }
        count += 1;
        c.sign(':')?;
        Ok(Axis { extent: c.number()? })
    })
}

fn open(c: &mut Cursor, prov: &mut Vec<Prov>) -> Read<()> {
    c.sign('{')?;
    while c.take('!') {
        if c.number::<usize>()? != prov.len() {
            return c.fail("provenance counts from 0");
        }
        c.sign('=')?;
        prov.push(provenance(c)?);
    }
    Ok(())
}

pub(super) fn provenance(c: &mut Cursor) -> Read<Prov> {
    let phase = match c.word()?.as_str() {
        "forward" => Phase::Forward,
        "backward" => Phase::Backward,
        "update" => Phase::Update,
        "infra" => Phase::Infra,
        w => return c.fail(format!("`{w}` is no phase")),
    };
    let node = c.numbered("%")?;
    let scope = c.text()?.into();
    let span = if c.take('-') {
        Span::NONE
    } else {
        let source = SourceId(c.number()?);
        c.sign(':')?;
        let start = c.number()?;
        c.sign('.')?;
        c.sign('.')?;
        Span { source, start, end: c.number()? }
    };
    Ok(Prov { span, scope, node, phase })
}

fn contraction(c: &mut Cursor, args: &[Arg], prov: &mut Vec<Prov>) -> Read<Contraction> {
    let (batch, m) = (axes(c, "b", "b")?, axes(c, "m", "m")?);
    let (n, k) = (axes(c, "n", "n")?, axes(c, "k", "k")?);
    let rounding = match c.word()?.as_str() {
        "canonical" => Rounding::Canonical,
        "free" => Rounding::Free,
        w => return c.fail(format!("`{w}` is no rounding")),
    };
    c.keyword("acc")?;
    let acc = dtype(c)?;
    open(c, prov)?;
    let mut p = Parser::new(args, &[("b", &batch), ("m", &m), ("n", &n), ("k", &k)]);
    let lhs = p.operand(c, "lhs")?;
    let rhs = p.operand(c, "rhs")?;
    c.keyword("epilogue")?;
    let epilogue = if c.take('{') {
        let mut p = Parser::new(args, &[("b", &batch), ("m", &m), ("n", &n)]);
        p.body(c, batch.iter().chain(&m).copied().collect(), n.clone())?
    } else {
        let (rows, cols) = (axes(c, "rows", "i")?, axes(c, "cols", "c")?);
        c.sign('{')?;
        Parser::new(args, &[("i", &rows), ("c", &cols)]).body(c, rows, cols)?
    };
    c.sign('}')?;
    Ok(Contraction { batch, m, n, k, lhs, rhs, acc, rounding, epilogue })
}

fn segments(c: &mut Cursor, args: &[Arg], prov: &mut Vec<Prov>) -> Read<Vec<Segment>> {
    open(c, prov)?;
    let mut list = Vec::new();
    while c.take_word("segment") {
        let ids = c.list('(', ')', |c| {
            let name = c.word()?;
            arg_named(c, args, &name)
        })?;
        let own: Vec<Arg> = ids.iter().map(|a| args[a.ix()].clone()).collect();
        let (rows, cols) = (axes(c, "rows", "i")?, axes(c, "cols", "c")?);
        c.sign('{')?;
        let body = Parser::new(&own, &[("i", &rows), ("c", &cols)]).body(c, rows, cols)?;
        c.sign('}')?;
        list.push(Segment { args: ids, body });
    }
    Ok(list)
}

fn scatter(c: &mut Cursor, args: &[Arg], prov: &mut Vec<Prov>) -> Read<Scatter> {
    let (rows, cols) = (axes(c, "rows", "i")?, axes(c, "cols", "c")?);
    let init = match c.word()?.as_str() {
        "zero" => Init::Zero,
        "existing" => Init::Existing,
        w => return c.fail(format!("`{w}` is no start of a scatter")),
    };
    open(c, prov)?;
    let mut p = Parser::new(args, &[("i", &rows), ("c", &cols)]);
    let body = p.body(c, rows, cols)?;
    let op = red_op(c)?;
    let (dest, index) = p.place(c)?;
    c.sign('=')?;
    let value = ExprId(c.numbered("%")?);
    let guard = p.guard(c)?;
    Ok(Scatter { body, value, index, guard, dest, init, op, prov: p.end(c)? })
}

fn copy(c: &mut Cursor, args: &[Arg], prov: &mut Vec<Prov>) -> Read<CopyMap> {
    let list = axes(c, "over", "c")?;
    let transfer = if c.take_word("from") {
        let from = device(c)?;
        c.keyword("to")?;
        Some((from, device(c)?))
    } else {
        None
    };
    open(c, prov)?;
    let p = Parser::new(args, &[("c", &list)]);
    let (to, dst) = p.place(c)?;
    c.sign('=')?;
    let (from, src) = p.place(c)?;
    if (from, to) != (ArgId(0), ArgId(1)) {
        return c.fail("a copy goes from the first argument to the second");
    }
    Ok(CopyMap { src, dst, extents: list.iter().map(|a| a.extent).collect(), transfer })
}

pub(super) fn device(c: &mut Cursor) -> Read<Device> {
    let kind = c.word()?;
    c.sign(':')?;
    let index: u32 = c.number()?;
    format!("{kind}:{index}").parse().or_else(|e: String| c.fail(e))
}

fn red_op(c: &mut Cursor) -> Read<RedOp> {
    let w = c.word()?;
    RedOp::from_name(&w).map_or_else(|| c.fail(format!("`{w}` is no reduction")), Ok)
}

struct Parser<'a> {
    args: &'a [Arg],
    /// Of the axes in scope.
    names: Vec<String>,
}

impl<'a> Parser<'a> {
    fn new(args: &'a [Arg], groups: &[(&str, &[Axis])]) -> Parser<'a> {
        let names =
            groups.iter().flat_map(|(p, axes)| (0..axes.len()).map(move |i| format!("{p}{i}"))).collect();
        Parser { args, names }
    }

    /// Lines up to the closing brace, which is taken only if a body ends here and not a scatter.
    fn body(&mut self, c: &mut Cursor, rows: Vec<Axis>, cols: Vec<Axis>) -> Read<LoopBody> {
        let mut body = LoopBody { rows, cols, ..LoopBody::default() };
        loop {
            match c.peek() {
                Some(Token::Sign('%')) => {
                    let e = self.expr(c, body.exprs.len())?;
                    body.exprs.push(e);
                }
                Some(Token::Word(w)) if w == "store" => {
                    c.next()?;
                    let (arg, index) = self.place(c)?;
                    c.sign('=')?;
                    let value = ExprId(c.numbered("%")?);
                    let guard = self.guard(c)?;
                    body.stores.push(Store { arg, index, value, guard, prov: self.end(c)? });
                }
                Some(Token::Word(w)) if w == "col" || w == "row" => {
                    let col = w == "col";
                    c.next()?;
                    body.tails.push(self.tail(c, col)?);
                }
                Some(Token::Word(w)) if w.starts_with("acc") => {
                    if c.numbered("acc")? as usize != body.reds.len() {
                        return c.fail("reductions count from 0");
                    }
                    c.sign(':')?;
                    let acc = dtype(c)?;
                    c.sign('=')?;
                    let op = red_op(c)?;
                    c.keyword("lanes")?;
                    let value = ExprId(c.numbered("%")?);
                    body.reds.push(RowRed { value, op, acc, prov: self.end(c)? });
                }
                _ => return Ok(body),
            }
        }
    }

    fn operand(&mut self, c: &mut Cursor, word: &str) -> Read<Operand> {
        c.keyword(word)?;
        if !c.take('{') {
            return Ok(Operand { exprs: vec![self.expr(c, 0)?], value: ExprId(0) });
        }
        let mut exprs = Vec::new();
        while !c.take_word("value") {
            exprs.push(self.expr(c, exprs.len())?);
        }
        let value = ExprId(c.numbered("%")?);
        c.sign('}')?;
        Ok(Operand { exprs, value })
    }

    fn tail(&mut self, c: &mut Cursor, col: bool) -> Read<Tail> {
        let (out, index) = self.place(c)?;
        c.sign('=')?;
        let op = red_op(c)?;
        let acc = dtype(c)?;
        c.keyword("runs")?;
        let value = ExprId(c.numbered("%")?);
        let prov = self.end(c)?;
        Ok(if col {
            Tail::Col { value, op, acc, out, index, prov }
        } else {
            Tail::RowScalar { value, op, acc, out, index, prov }
        })
    }

    fn expr(&mut self, c: &mut Cursor, number: usize) -> Read<Expr> {
        if c.numbered("%")? as usize != number {
            return c.fail(format!("%{number} comes next"));
        }
        c.sign(':')?;
        let dtype = dtype(c)?;
        c.sign('=')?;
        let word = c.word()?;
        let op = match word.as_str() {
            "load" => {
                let (arg, index) = self.place(c)?;
                let guard = self.guard(c)?;
                let other = if c.take_word("else") { lit(c, dtype)? } else { Lit::zero(dtype) };
                ExprOp::Load(Load { arg, index, guard, other })
            }
            "const" => ExprOp::Const(lit(c, dtype)?),
            "axis" => {
                let name = c.word()?;
                ExprOp::AxisValue(self.axis(c, &name)?)
            }
            "product" => ExprOp::Product,
            w => match w.strip_prefix("acc").and_then(|n| n.parse().ok()) {
                Some(n) => ExprOp::Acc(RedId(n)),
                None => self.operation(c, w)?,
            },
        };
        Ok(Expr { op, dtype, prov: self.end(c)? })
    }

    fn operation(&self, c: &mut Cursor, word: &str) -> Read<ExprOp> {
        let mut args: SmallVec<[ExprId; 3]> = SmallVec::new();
        loop {
            args.push(ExprId(c.numbered("%")?));
            if !c.take(',') {
                break;
            }
        }
        match (Prim::from_name(word), Func::from_name(word)) {
            (Some(p), _) => Ok(ExprOp::Prim(p, args)),
            (_, Some(f)) => Ok(ExprOp::Fn(f, args)),
            _ => c.fail(format!("`{word}` is no operation")),
        }
    }

    fn guard(&self, c: &mut Cursor) -> Read<Option<ExprId>> {
        if c.take_word("if") { Ok(Some(ExprId(c.numbered("%")?))) } else { Ok(None) }
    }

    fn end(&self, c: &mut Cursor) -> Read<u32> {
        if c.take('!') { c.number() } else { Ok(0) }
    }

    fn axis(&self, c: &Cursor, name: &str) -> Read<AxisId> {
        match self.names.iter().position(|n| n == name) {
            Some(i) => Ok(AxisId(i as u32)),
            None => c.fail(format!("there is no axis `{name}`")),
        }
    }

    /// `arg[index]`
    fn place(&self, c: &mut Cursor) -> Read<(ArgId, Index)> {
        let name = c.word()?;
        let arg = arg_named(c, self.args, &name)?;
        c.sign('[')?;
        let index = self.index(c, 0)?;
        c.sign(']')?;
        Ok((arg, index))
    }

    fn index(&self, c: &mut Cursor, depth: u32) -> Read<Index> {
        if depth > DEPTH {
            return c.fail("the index is nested too deeply");
        }
        let mut index = Index::default();
        let mut minus = c.take('-');
        loop {
            let number = match c.peek() {
                Some(Token::Number(_)) => Some(c.number::<u64>()?),
                _ => None,
            };
            let value = number.unwrap_or(1) as i64;
            let value = if minus { value.wrapping_neg() } else { value };
            if number.is_some() && !c.take('*') {
                index.offset = index.offset.wrapping_add(value);
            } else {
                let atom = self.atom(c, depth)?;
                index.add_term(value, atom);
            }
            minus = c.take('-');
            if !minus && !c.take('+') {
                return Ok(index);
            }
        }
    }

    fn atom(&self, c: &mut Cursor, depth: u32) -> Read<Atom> {
        if c.take('(') {
            c.sign('(')?;
            let of = Box::new(self.index(c, depth + 1)?);
            c.sign(')')?;
            let div = if c.take('/') { c.number()? } else { 1 };
            let modulo = if c.take('%') { Some(c.number()?) } else { None };
            c.sign(')')?;
            return Ok(Atom::Quot { of, div, modulo });
        }
        let word = c.word()?;
        if word != "clamp" && word != "wrap" {
            return Ok(Atom::Axis(self.axis(c, &word)?));
        }
        c.sign('(')?;
        let e = ExprId(c.numbered("%")?);
        c.sign(',')?;
        let extent = c.number()?;
        c.sign(')')?;
        Ok(Atom::Data(e, Bound { extent, wrap: word == "wrap" }))
    }
}

fn lit(c: &mut Cursor, dtype: DType) -> Read<Lit> {
    if dtype == DType::Bool {
        return match c.word()?.as_str() {
            "true" => Ok(Lit::bool(true)),
            "false" => Ok(Lit::bool(false)),
            w => c.fail(format!("`{w}` is no bool")),
        };
    }
    let text = c.number_text()?;
    let wrong = |c: &Cursor| c.fail(format!("`{text}` is no {dtype}"));
    if let Some(hex) = text.strip_prefix("0x") {
        return match u64::from_str_radix(hex, 16) {
            Ok(bits) if bits & !mask(dtype) == 0 => Ok(Lit { dtype, bits }),
            _ => wrong(c),
        };
    }
    let lit = match dtype {
        DType::F32 => text.parse().ok().map(Lit::f32),
        d if d.is_float() => text.parse().ok().map(|x| Lit::float(d, x)),
        DType::U64 => text.parse().ok().map(Lit::u64),
        d => text.parse().ok().map(|x| Lit::int(d, x)).filter(|l| l.as_i64() == text.parse().ok()),
    };
    lit.map_or_else(|| wrong(c), Ok)
}
