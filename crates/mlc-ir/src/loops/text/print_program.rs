//! Programs and plans as text.

use std::fmt::{self, Display, Formatter};

use super::print::ProvText;
use crate::loops::kernel::Prov;
use crate::loops::program::{Arena, ArenaKind, Buffer, BufferSlice, Call, LoopProgram, Plan, Role};

impl Display for LoopProgram {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "program @{} {{", self.name)?;
        self.kernels.iter().try_for_each(|k| write!(f, "{k}"))?;
        for (i, c) in self.consts.iter().enumerate() {
            write!(f, "const const{i}: {} = \"", c.dtype)?;
            c.bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))?;
            f.write_str("\"\n")?;
        }
        self.buffers.iter().try_for_each(|b| buffer(f, b))?;
        self.calls.iter().try_for_each(|c| call(f, self, c))?;
        f.write_str("}\n")
    }
}

fn buffer(f: &mut Formatter<'_>, b: &Buffer) -> fmt::Result {
    write!(f, "buffer {}: {}[{}] @{} ", b.name, b.dtype, b.len, b.device)?;
    match b.role {
        Role::Input => f.write_str("input")?,
        Role::Output => f.write_str("output")?,
        Role::Temp => f.write_str("temp")?,
        Role::State(s) => write!(f, "{s}")?,
        Role::Const(c) => write!(f, "{c}")?,
    }
    end(f, &b.prov)
}

fn call(f: &mut Formatter<'_>, p: &LoopProgram, c: &Call) -> fmt::Result {
    let args: Vec<String> = c.args.iter().map(|s| slice(p, s)).collect();
    let name = p.kernels.get(c.kernel.ix()).map_or("missing", |k| &k.name);
    write!(f, "call {} @{name}({})", c.kernel, args.join(", "))?;
    for (r, w) in &c.donates {
        write!(f, " donates {} to {}", r.0, w.0)?;
    }
    for a in &c.after {
        write!(f, " after {a}")?;
    }
    end(f, &c.prov)
}

/// The whole buffer by its name, a part as `name[first..end]`.
fn slice(p: &LoopProgram, s: &BufferSlice) -> String {
    match p.buffers.get(s.buffer.ix()) {
        Some(b) if s.offset == 0 && s.len == b.len => b.name.to_string(),
        Some(b) => format!("{}[{}..{}]", b.name, s.offset, s.offset.saturating_add(s.len)),
        None => s.buffer.to_string(),
    }
}

fn end(f: &mut Formatter<'_>, prov: &Prov) -> fmt::Result {
    if *prov == Prov::infra() { writeln!(f) } else { writeln!(f, " from {}", ProvText(prov)) }
}

/// The program, then where its buffers lie; for people only.
impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.program)?;
        for (i, Arena { device, kind, bytes, align }) in self.arenas.iter().enumerate() {
            let kind = match kind {
                ArenaKind::State => "state",
                ArenaKind::Const => "const",
                ArenaKind::Io => "io",
                ArenaKind::Temp => "temp",
                ArenaKind::Scratch => "scratch",
            };
            writeln!(f, "arena arena{i}: {kind} @{device} {bytes} bytes align {align}")?;
        }
        for (b, p) in self.program.buffers.iter().zip(&self.places) {
            write!(f, "place {} {}+{} {} bytes", b.name, p.arena, p.offset, p.bytes)?;
            match p.live {
                Some((first, last)) => writeln!(f, " live {first}..{last}")?,
                None => writeln!(f)?,
            }
        }
        for (i, bytes) in self.scratch.iter().enumerate().filter(|s| *s.1 > 0) {
            writeln!(f, "scratch call{i} {bytes} bytes")?;
        }
        Ok(())
    }
}
