//! Programs from text.

use super::lex::{Cursor, Read, TextError, Token};
use super::parse::{device, dtype, kernel, provenance};
use crate::loops::kernel::{ArgId, Prov};
use crate::loops::program::{
    Buffer, BufferSlice, Call, CallId, Const, ConstId, KernelId, LoopProgram, Role, StateId,
};

/// Reads one program.
pub fn parse_program(text: &str) -> Result<LoopProgram, TextError> {
    let mut c = Cursor::new(text)?;
    let p = program(&mut c)?;
    if c.done() { Ok(p) } else { c.fail("the text goes on after the program") }
}

pub(super) fn program(c: &mut Cursor) -> Read<LoopProgram> {
    c.keyword("program")?;
    c.sign('@')?;
    let mut p = LoopProgram { name: c.word()?.into(), ..LoopProgram::default() };
    c.sign('{')?;
    while !c.take('}') {
        match c.peek() {
            Some(Token::Word(w)) if w == "const" => {
                let data = constant(c, p.consts.len())?;
                p.consts.push(data);
            }
            Some(Token::Word(w)) if w == "buffer" => p.buffers.push(buffer(c)?),
            Some(Token::Word(w)) if w == "call" => {
                let call = call(c, &p)?;
                p.calls.push(call);
            }
            _ => p.kernels.push(kernel(c)?),
        }
    }
    Ok(p)
}

fn constant(c: &mut Cursor, number: usize) -> Read<Const> {
    c.keyword("const")?;
    if c.numbered("const")? as usize != number {
        return c.fail("constants count from 0");
    }
    c.sign(':')?;
    let dtype = dtype(c)?;
    c.sign('=')?;
    let hex = c.text()?;
    let digits: Option<Vec<u8>> = hex.chars().map(|d| d.to_digit(16).map(|d| d as u8)).collect();
    match digits {
        Some(d) if d.len().is_multiple_of(2) => {
            Ok(Const { dtype, bytes: d.chunks(2).map(|d| d[0] * 16 + d[1]).collect() })
        }
        _ => c.fail("the contents are not whole bytes"),
    }
}

fn buffer(c: &mut Cursor) -> Read<Buffer> {
    c.keyword("buffer")?;
    let name = c.word()?;
    c.sign(':')?;
    let dtype = dtype(c)?;
    c.sign('[')?;
    let len = c.number()?;
    c.sign(']')?;
    c.sign('@')?;
    let device = device(c)?;
    let word = c.word()?;
    let number = |prefix: &str| word.strip_prefix(prefix).and_then(|n| n.parse().ok());
    let role = match word.as_str() {
        "input" => Role::Input,
        "output" => Role::Output,
        "temp" => Role::Temp,
        _ => match (number("state"), number("const")) {
            (Some(n), _) => Role::State(StateId(n)),
            (_, Some(n)) => Role::Const(ConstId(n)),
            _ => return c.fail(format!("`{word}` is no role")),
        },
    };
    Ok(Buffer { name: name.into(), dtype, len, device, role, prov: end(c)? })
}

fn call(c: &mut Cursor, p: &LoopProgram) -> Read<Call> {
    c.keyword("call")?;
    let kernel = KernelId(c.numbered("kernel")?);
    c.sign('@')?;
    c.word()?;
    let args = c.list('(', ')', |c| slice(c, p))?;
    let mut call = Call { kernel, args, donates: Vec::new(), after: Vec::new(), prov: Prov::infra() };
    while c.take_word("donates") {
        let from = ArgId(c.number()?);
        c.keyword("to")?;
        call.donates.push((from, ArgId(c.number()?)));
    }
    while c.take_word("after") {
        call.after.push(CallId(c.numbered("call")?));
    }
    call.prov = end(c)?;
    Ok(call)
}

fn slice(c: &mut Cursor, p: &LoopProgram) -> Read<BufferSlice> {
    let name = c.word()?;
    let Some(buffer) = p.buffer_named(&name) else { return c.fail(format!("there is no buffer `{name}`")) };
    if !c.take('[') {
        return Ok(p.whole(buffer));
    }
    let offset: u64 = c.number()?;
    c.sign('.')?;
    c.sign('.')?;
    let end: u64 = c.number()?;
    c.sign(']')?;
    match end.checked_sub(offset) {
        Some(len) => Ok(BufferSlice { buffer, offset, len }),
        None => c.fail("the slice ends before it starts"),
    }
}

fn end(c: &mut Cursor) -> Read<Prov> {
    if c.take_word("from") { provenance(c) } else { Ok(Prov::infra()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loops::BufferId;

    #[test]
    fn ids_resolve() {
        let text = "program @p { buffer a: f32[4] @cpu:0 input call kernel0 @k(a[1..3]) }";
        let p = parse_program(text).unwrap();
        assert_eq!(p.calls[0].args, [BufferSlice { buffer: BufferId(0), offset: 1, len: 2 }]);
        assert!(parse_program("program @p { call kernel0 @k(zz) }").is_err());
    }
}
