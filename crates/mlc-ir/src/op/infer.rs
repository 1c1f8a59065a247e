//! What type rules have at hand: facts about dims, source spans, and the common errors.

use mlc_diag::{Diagnostic, Span};

use crate::graph::Check;
use crate::types::{Binding, Dim, DimFacts, Fact, Proof, Relation, Type};

/// Context of one application of a type rule.
pub struct InferCx<'a> {
    dims: &'a DimFacts,
    span: Span,
    operand_spans: &'a [Span],
    checks: Vec<Check>,
}

impl<'a> InferCx<'a> {
    pub fn new(dims: &'a DimFacts, span: Span, operand_spans: &'a [Span]) -> Self {
        InferCx { dims, span, operand_spans, checks: vec![] }
    }

    /// What could not be proven, to be checked when dims are bound.
    pub fn into_checks(self) -> Vec<Check> {
        self.checks
    }

    /// An error at this op, with a label on each operand and its type.
    pub fn error(&self, code: &'static str, title: impl Into<String>, operands: &[Type]) -> Diagnostic {
        let mut d = Diagnostic::error(code, title).label(self.span, "");
        for (i, ty) in operands.iter().enumerate() {
            let span = self.operand_spans.get(i).copied().unwrap_or(Span::NONE);
            if !span.is_none() && span != self.span {
                d = d.label(span, format!("this is {ty}"));
            }
        }
        d
    }

    /// Requires `a rel b`: proven now, refuted with `error` and a counterexample, or left as a check.
    ///
    /// # Errors
    /// Where it fails for some values of the dims that the facts allow.
    pub fn require(
        &mut self,
        a: &Dim,
        rel: Relation,
        b: &Dim,
        error: impl FnOnce(&Self) -> Diagnostic,
    ) -> Result<(), Diagnostic> {
        match self.dims.prove(a, rel, b) {
            Proof::Holds => Ok(()),
            Proof::Fails(binding) => Err(with_counterexample(error(self), a, rel, b, &binding)),
            Proof::Unknown => {
                let fact = Fact { lhs: a.clone(), rel, rhs: b.clone(), span: self.span };
                let error = error(self);
                self.checks.push(Check { fact, error });
                Ok(())
            }
        }
    }

    /// Requires equal dims, naming the axis in the error.
    ///
    /// # Errors
    /// As [`InferCx::require`].
    pub fn same_dim(&mut self, what: &str, a: &Dim, b: &Dim, operands: &[Type]) -> Result<(), Diagnostic> {
        self.require(a, Relation::Eq, b, |cx| cx.error("E0201", format!("{what}: {a} against {b}"), operands))
    }

    /// Requires `axis < rank`.
    ///
    /// # Errors
    /// Where it is not.
    pub fn axis(&self, axis: usize, ty: &Type) -> Result<(), Diagnostic> {
        if axis < ty.rank() {
            return Ok(());
        }
        let title = format!("axis {axis} is out of range for {ty}, which has rank {}", ty.rank());
        Err(self.error("E0202", title, std::slice::from_ref(ty)))
    }

    /// Requires a number of operands: only a bug in a pass or a wrong text form breaks it.
    ///
    /// # Errors
    /// Where the count differs.
    pub fn arity(&self, name: &str, want: usize, operands: &[Type]) -> Result<(), Diagnostic> {
        if operands.len() == want {
            return Ok(());
        }
        Err(Diagnostic::bug(format!("`{name}` takes {want} operands and has {}", operands.len()))
            .label(self.span, ""))
    }
}

fn with_counterexample(mut d: Diagnostic, a: &Dim, rel: Relation, b: &Dim, binding: &Binding) -> Diagnostic {
    if binding.is_empty() {
        return d;
    }
    let values: Vec<String> = binding.iter().map(|(n, v)| format!("{n} = {v}")).collect();
    let show = |d: &Dim| d.eval(binding).map_or("overflow".into(), |n| n.to_string());
    d.notes.push(format!(
        "{a} {} {b} does not hold for {}: {} against {}",
        rel.symbol(),
        values.join(", "),
        show(a),
        show(b)
    ));
    d
}
