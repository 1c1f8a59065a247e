//! Kernels as text.

use std::fmt::{self, Display, Formatter, Write};

use crate::DType;
use crate::loops::body::{Axis, Expr, ExprId, ExprOp, LoopBody, RedOp, Store, Tail};
use crate::loops::contraction::{Contraction, Operand, Rounding};
use crate::loops::index::{Atom, Index};
use crate::loops::kernel::{Arg, ArgId, CopyMap, Init, Kernel, Kind, Mode, Phase, Prov, Scatter, Segment};
use crate::loops::scalar::Lit;

impl Display for Kernel {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let word = match &self.kind {
            Kind::Loop(_) => "kernel",
            Kind::Contract(_) => "contract",
            Kind::Segments(_) => "segments",
            Kind::ScatterAdd(_) => "scatter",
            Kind::Copy(_) => "copy",
        };
        let args: Vec<String> = self.args.iter().map(|a| arg_text(self, a)).collect();
        write!(f, "{word} @{}({})", self.name, args.join(", "))?;
        match &self.kind {
            Kind::Loop(body) => {
                let names = names(&[("i", &body.rows), ("c", &body.cols)]);
                axes(f, "rows", "i", &body.rows)?;
                axes(f, "cols", "c", &body.cols)?;
                open(f, self)?;
                Printer { kernel: self, names, indent: "  " }.body(f, body)?;
            }
            Kind::Contract(c) => contraction(f, self, c)?,
            Kind::Segments(list) => segments(f, self, list)?,
            Kind::ScatterAdd(s) => scatter(f, self, s)?,
            Kind::Copy(c) => copy(f, self, c)?,
        }
        f.write_str("}\n")
    }
}

fn arg_text(kernel: &Kernel, a: &Arg) -> String {
    let mode = match a.mode {
        Mode::Read => "read",
        Mode::Write => "write",
        Mode::ReadWrite => "readwrite",
    };
    let mut s = format!("{mode} {}: {}[{}]", a.name, a.dtype, a.len);
    if a.align as usize != a.dtype.size() {
        let _ = write!(s, " align {}", a.align);
    }
    if let Some(r) = a.may_alias {
        let _ = write!(s, " alias {}", arg_name(kernel, r));
    }
    s
}

fn arg_name(kernel: &Kernel, arg: ArgId) -> String {
    kernel.args.get(arg.ix()).map_or_else(|| arg.to_string(), |a| a.name.to_string())
}

fn axes(f: &mut Formatter<'_>, group: &str, prefix: &str, axes: &[Axis]) -> fmt::Result {
    let list: Vec<String> =
        axes.iter().enumerate().map(|(i, a)| format!("{prefix}{i}: {}", a.extent)).collect();
    write!(f, " {group}({})", list.join(", "))
}

/// Names of consecutive axes: each prefix counts from 0.
fn names(groups: &[(&str, &[Axis])]) -> Vec<String> {
    groups.iter().flat_map(|(p, axes)| (0..axes.len()).map(move |i| format!("{p}{i}"))).collect()
}

fn open(f: &mut Formatter<'_>, kernel: &Kernel) -> fmt::Result {
    f.write_str(" {\n")?;
    for (i, p) in kernel.prov.iter().enumerate() {
        writeln!(f, "  !{i} = {}", ProvText(p))?;
    }
    Ok(())
}

/// `forward %12 "head" 0:310..322`; `-` without a source.
pub(super) struct ProvText<'a>(pub &'a Prov);

impl Display for ProvText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let p = self.0;
        let phase = match p.phase {
            Phase::Forward => "forward",
            Phase::Backward => "backward",
            Phase::Update => "update",
            Phase::Infra => "infra",
        };
        write!(f, "{phase} %{} \"{}\" ", p.node, p.scope)?;
        if p.span.is_none() {
            f.write_str("-")
        } else {
            write!(f, "{}:{}..{}", p.span.source.0, p.span.start, p.span.end)
        }
    }
}

fn contraction(f: &mut Formatter<'_>, kernel: &Kernel, c: &Contraction) -> fmt::Result {
    let groups: [(&str, &[Axis]); 4] = [("b", &c.batch), ("m", &c.m), ("n", &c.n), ("k", &c.k)];
    for (name, list) in groups {
        axes(f, name, name, list)?;
    }
    let rounding = match c.rounding {
        Rounding::Canonical => "canonical",
        Rounding::Free => "free",
    };
    write!(f, " {rounding} acc {}", c.acc)?;
    open(f, kernel)?;
    let p = Printer { kernel, names: names(&groups), indent: "  " };
    p.operand(f, "lhs", &c.lhs)?;
    p.operand(f, "rhs", &c.rhs)?;
    let e = &c.epilogue;
    f.write_str("  epilogue")?;
    // The epilogue's domain is printed only where it is not the contraction's, which L13 forbids.
    let rows: Vec<Axis> = c.batch.iter().chain(&c.m).copied().collect();
    if e.rows != rows || e.cols != c.n {
        axes(f, "rows", "i", &e.rows)?;
        axes(f, "cols", "c", &e.cols)?;
        f.write_str(" {\n")?;
        let names = names(&[("i", &e.rows), ("c", &e.cols)]);
        Printer { kernel, names, indent: "    " }.body(f, e)?;
    } else {
        f.write_str(" {\n")?;
        Printer { kernel, names: names(&groups[..3]), indent: "    " }.body(f, e)?;
    }
    f.write_str("  }\n")
}

/// Each segment names its arguments as the kernel does.
fn segments(f: &mut Formatter<'_>, kernel: &Kernel, list: &[Segment]) -> fmt::Result {
    open(f, kernel)?;
    for s in list {
        let own = kernel.segment(s);
        let args: Vec<&str> = own.args.iter().map(|a| &*a.name).collect();
        write!(f, "  segment({})", args.join(", "))?;
        axes(f, "rows", "i", &s.body.rows)?;
        axes(f, "cols", "c", &s.body.cols)?;
        f.write_str(" {\n")?;
        let names = names(&[("i", &s.body.rows), ("c", &s.body.cols)]);
        Printer { kernel: &own, names, indent: "    " }.body(f, &s.body)?;
        f.write_str("  }\n")?;
    }
    Ok(())
}

fn scatter(f: &mut Formatter<'_>, kernel: &Kernel, s: &Scatter) -> fmt::Result {
    axes(f, "rows", "i", &s.body.rows)?;
    axes(f, "cols", "c", &s.body.cols)?;
    f.write_str(if s.init == Init::Zero { " zero" } else { " existing" })?;
    open(f, kernel)?;
    let p = Printer { kernel, names: names(&[("i", &s.body.rows), ("c", &s.body.cols)]), indent: "  " };
    p.body(f, &s.body)?;
    let (op, dest) = (s.op.name(), arg_name(kernel, s.dest));
    write!(f, "  {op} {dest}[{}] = {}", p.index(&s.index), s.value)?;
    p.guard(f, s.guard)?;
    p.end(f, s.prov)
}

fn copy(f: &mut Formatter<'_>, kernel: &Kernel, c: &CopyMap) -> fmt::Result {
    let list: Vec<Axis> = c.extents.iter().map(|&extent| Axis { extent }).collect();
    axes(f, "over", "c", &list)?;
    if let Some((from, to)) = c.transfer {
        write!(f, " from {from} to {to}")?;
    }
    open(f, kernel)?;
    let p = Printer { kernel, names: names(&[("c", &list)]), indent: "  " };
    let (src, dst) = (arg_name(kernel, ArgId(0)), arg_name(kernel, ArgId(1)));
    writeln!(f, "  {dst}[{}] = {src}[{}]", p.index(&c.dst), p.index(&c.src))
}

struct Printer<'a> {
    kernel: &'a Kernel,
    /// Of the axes in scope.
    names: Vec<String>,
    indent: &'a str,
}

impl Printer<'_> {
    fn body(&self, f: &mut Formatter<'_>, body: &LoopBody) -> fmt::Result {
        let mut reds = 0;
        for (i, e) in body.exprs.iter().enumerate() {
            if let ExprOp::Acc(r) = e.op {
                self.reds(f, body, &mut reds, r.ix() + 1)?;
            }
            f.write_str(self.indent)?;
            self.expr(f, i, e)?;
        }
        self.reds(f, body, &mut reds, body.reds.len())?;
        body.stores.iter().try_for_each(|s| self.store(f, s))?;
        body.tails.iter().try_for_each(|t| self.tail(f, t))
    }

    fn operand(&self, f: &mut Formatter<'_>, word: &str, o: &Operand) -> fmt::Result {
        if o.exprs.len() == 1 && o.value == ExprId(0) {
            write!(f, "  {word} ")?;
            return self.expr(f, 0, &o.exprs[0]);
        }
        writeln!(f, "  {word} {{")?;
        for (i, e) in o.exprs.iter().enumerate() {
            f.write_str("    ")?;
            self.expr(f, i, e)?;
        }
        writeln!(f, "    value {}\n  }}", o.value)
    }

    /// Reductions up to number `to`, as far as not printed.
    fn reds(&self, f: &mut Formatter<'_>, body: &LoopBody, from: &mut usize, to: usize) -> fmt::Result {
        while *from < to.min(body.reds.len()) {
            let r = &body.reds[*from];
            write!(f, "{}acc{from}: {} = {} lanes {}", self.indent, r.acc, r.op.name(), r.value)?;
            self.end(f, r.prov)?;
            *from += 1;
        }
        Ok(())
    }

    fn expr(&self, f: &mut Formatter<'_>, i: usize, e: &Expr) -> fmt::Result {
        write!(f, "%{i}: {} = ", e.dtype)?;
        match &e.op {
            ExprOp::Load(l) => {
                write!(f, "load {}[{}]", arg_name(self.kernel, l.arg), self.index(&l.index))?;
                self.guard(f, l.guard)?;
                if l.guard.is_some() || l.other != Lit::zero(e.dtype) {
                    write!(f, " else {}", l.other)?;
                }
            }
            ExprOp::Const(lit) => write!(f, "const {lit}")?,
            ExprOp::AxisValue(a) => write!(f, "axis {}", self.axis(a.ix()))?,
            ExprOp::Acc(r) => write!(f, "{r}")?,
            ExprOp::Product => f.write_str("product")?,
            ExprOp::Prim(p, args) => write!(f, "{p} {}", list(args))?,
            ExprOp::Fn(func, args) => write!(f, "{func} {}", list(args))?,
        }
        self.end(f, e.prov)
    }

    fn store(&self, f: &mut Formatter<'_>, s: &Store) -> fmt::Result {
        let (arg, index) = (arg_name(self.kernel, s.arg), self.index(&s.index));
        write!(f, "{}store {arg}[{index}] = {}", self.indent, s.value)?;
        self.guard(f, s.guard)?;
        self.end(f, s.prov)
    }

    fn tail(&self, f: &mut Formatter<'_>, t: &Tail) -> fmt::Result {
        let word = if matches!(t, Tail::Col { .. }) { "col" } else { "row" };
        let (out, index) = (arg_name(self.kernel, t.out()), self.index(t.index()));
        let (op, acc): (RedOp, DType) = (t.op(), t.acc());
        write!(f, "{}{word} {out}[{index}] = {} {acc} runs {}", self.indent, op.name(), t.value())?;
        self.end(f, t.prov())
    }

    fn guard(&self, f: &mut Formatter<'_>, guard: Option<ExprId>) -> fmt::Result {
        guard.map_or(Ok(()), |g| write!(f, " if {g}"))
    }

    fn end(&self, f: &mut Formatter<'_>, prov: u32) -> fmt::Result {
        if prov == 0 { writeln!(f) } else { writeln!(f, " !{prov}") }
    }

    fn axis(&self, i: usize) -> String {
        self.names.get(i).cloned().unwrap_or_else(|| format!("axis{i}"))
    }

    fn index(&self, index: &Index) -> String {
        let mut s = String::new();
        for (c, atom) in &index.terms {
            match (s.is_empty(), *c < 0) {
                (true, false) => {}
                (true, true) => s.push('-'),
                (false, false) => s.push_str(" + "),
                (false, true) => s.push_str(" - "),
            }
            if c.unsigned_abs() != 1 {
                let _ = write!(s, "{}*", c.unsigned_abs());
            }
            s.push_str(&self.atom(atom));
        }
        let o = index.offset;
        let _ = match (s.is_empty(), o) {
            (true, _) => write!(s, "{o}"),
            (false, 0) => Ok(()),
            (false, 1..) => write!(s, " + {o}"),
            (false, _) => write!(s, " - {}", o.unsigned_abs()),
        };
        s
    }

    fn atom(&self, atom: &Atom) -> String {
        match atom {
            Atom::Axis(a) => self.axis(a.ix()),
            Atom::Quot { of, div, modulo } => {
                let by = if *div == 1 && modulo.is_some() { String::new() } else { format!(" / {div}") };
                let modulo = modulo.map_or(String::new(), |m| format!(" % {m}"));
                format!("(({}){by}{modulo})", self.index(of))
            }
            Atom::Data(e, b) => format!("{}({e}, {})", if b.wrap { "wrap" } else { "clamp" }, b.extent),
        }
    }
}

fn list(args: &[ExprId]) -> String {
    args.iter().map(ExprId::to_string).collect::<Vec<_>>().join(", ")
}

/// Numbers as their shortest exact text, NaN by its bits.
impl Display for Lit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.dtype {
            DType::Bool => write!(f, "{}", self.bits != 0),
            DType::U64 => write!(f, "{}", self.bits),
            d if d.is_float() => {
                let x = self.as_f64();
                match d {
                    _ if x.is_nan() => write!(f, "0x{:x}", self.bits),
                    DType::F32 => write!(f, "{:?}", x as f32),
                    _ => write!(f, "{x:?}"),
                }
            }
            _ => write!(f, "{}", self.as_i64().unwrap_or(0)),
        }
    }
}
