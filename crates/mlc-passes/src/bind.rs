//! Gives every dim its number.
//!
//! Input: a graph whose dims are names, and a [`Binding`] of them. Output: the same graph with numbers
//! for dims, constants for `dim` nodes, and no pending checks: each has been made, and where one fails
//! its stored error is given, with the values it fails for.
//!
//! ```text
//! dims batch >= 1
//! %1: i64 = dim {dim=2*batch}       bind batch = 32       %1: i64 = constant {value=64}
//! ```

use mlc_diag::{Diagnostic, Diagnostics, Span};
use mlc_ir::graph::{Check, Graph, Node, Stage};
use mlc_ir::op::{Constant, Literal, Op};
use mlc_ir::types::{Atom, Fact, Relation};
use mlc_ir::{Binding, DType, Dim, Symbol, Type};

use crate::pass::{Pass, PassCx};

/// No tensor is larger: what comes near it is a mistake in a binding, not a plan.
const MAX_BYTES: i64 = 1 << 40;

#[derive(Debug, Clone)]
pub struct Bind {
    pub binding: Binding,
}

impl Pass for Bind {
    fn name(&self) -> &'static str {
        "bind"
    }

    fn stage_before(&self) -> Stage {
        Stage::Placed
    }

    fn stage_after(&self) -> Option<Stage> {
        Some(Stage::Bound)
    }

    fn run(&self, graph: &mut Graph, _: &mut PassCx) -> Result<(), Diagnostics> {
        self.check_symbols(graph)?;
        let failed = graph.checks.iter().filter_map(|c| self.check(c));
        let mut errors = Diagnostics(failed.collect());
        errors.sort();
        if !errors.is_empty() {
            return Err(errors);
        }
        for output in &mut graph.outputs {
            output.weight = output.weight.as_ref().map(|w| self.value(w));
        }
        graph.rebuild(|new, _, mut node| {
            self.bind_node(&mut node)?;
            Ok(new.insert_values(node))
        })?;
        graph.checks.clear();
        graph.dims = Default::default();
        Ok(())
    }
}

/// Is it `a % b` alone, as in the fact that a division of dims comes out?
fn is_remainder(d: &Dim) -> bool {
    matches!(&d.monomials()[..], [(atoms, _)] if matches!(atoms[..], [(Atom::Rem(_), 1)]))
}

impl Bind {
    pub fn new(binding: Binding) -> Bind {
        Bind { binding }
    }

    /// Every declared name has a value that its bound and the facts allow.
    fn check_symbols(&self, graph: &Graph) -> Result<(), Diagnostics> {
        let mut errors = Diagnostics::new();
        for s in &graph.dims.symbols {
            match self.binding.get(&s.name) {
                None => errors.push(unbound(&s.name, s.span)),
                Some(&n) if n < s.min => errors.push(
                    Diagnostic::error("E0209", format!("`{}` must be at least {}, it is {n}", s.name, s.min))
                        .label(s.span, "introduced here"),
                ),
                Some(_) => {}
            }
        }
        if errors.is_empty() {
            errors.extend(graph.dims.facts.iter().filter_map(|f| self.broken(f)));
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// The error for a `where` fact that this binding does not satisfy.
    fn broken(&self, fact: &Fact) -> Option<Diagnostic> {
        if fact.holds(&self.binding) == Some(true) {
            return None;
        }
        let title = format!("`{}` does not hold for {}", fact, self.values_in(fact));
        Some(Diagnostic::error("E0209", title).label(fact.span, "required here").note(self.sides(fact)).hint(
            match is_remainder(&fact.lhs) {
                true => "bind other sizes; where a fraction is meant, divide a tensor: `x * a / b`",
                false => "bind other sizes, or change what feeds this dim",
            },
        ))
    }

    fn check(&self, check: &Check) -> Option<Diagnostic> {
        if check.fact.holds(&self.binding) == Some(true) {
            return None;
        }
        let note = format!("with {}: {}", self.values_in(&check.fact), self.sides(&check.fact));
        Some(check.error.clone().note(note))
    }

    fn values_in(&self, fact: &Fact) -> String {
        let mut names: Vec<Symbol> = fact.lhs.symbols();
        names.extend(fact.rhs.symbols());
        names.sort();
        names.dedup();
        let show = |s: &Symbol| match self.binding.get(s) {
            Some(n) => format!("{s} = {n}"),
            None => format!("{s} unbound"),
        };
        names.iter().map(show).collect::<Vec<_>>().join(", ")
    }

    fn sides(&self, fact: &Fact) -> String {
        let show = |d: &Dim| match d.eval(&self.binding) {
            Some(n) if d.as_const() == Some(n) => n.to_string(),
            Some(n) => format!("{d} is {n}"),
            None => format!("{d} has no value"),
        };
        let negated = match fact.rel {
            Relation::Eq => "not equal to",
            Relation::Ne => "equal to",
            Relation::Le => "greater than",
            Relation::Lt => "not less than",
        };
        format!("{}, {negated} {}", show(&fact.lhs), show(&fact.rhs))
    }

    fn value(&self, d: &Dim) -> Dim {
        if d.as_const().is_some() {
            return d.clone();
        }
        d.substitute(&|s| self.binding.get(s).map(|&n| Dim::from(n)))
    }

    fn bind_node(&self, node: &mut Node) -> Result<(), Diagnostics> {
        node.op = node.op.map_dims(&|d| self.value(d));
        for ty in &mut node.results {
            for d in &mut ty.shape {
                let bound = self.value(d);
                if !matches!(bound.as_const(), Some(0..)) {
                    return Err(not_a_size(d, &bound, node.prov.span).into());
                }
                *d = bound;
            }
            check_size(ty, node.prov.span)?;
        }
        if let Op::DimScalar(op) = &node.op {
            let Some(n) = op.dim.as_const() else {
                return Err(not_a_size(&op.dim, &op.dim, node.prov.span).into());
            };
            node.op = Constant { value: Literal::int(DType::I64, n) }.into();
        }
        Ok(())
    }
}

fn unbound(name: &Symbol, span: Span) -> Diagnostic {
    Diagnostic::error("E0208", format!("the dim `{name}` has no value"))
        .label(span, "introduced here")
        .hint(format!("give it one with `--dim {name}=N`, or feed an input that has it"))
}

fn not_a_size(d: &Dim, bound: &Dim, span: Span) -> Diagnostic {
    match bound.symbols().first() {
        Some(name) => unbound(name, span),
        None if bound.is_overflow() => {
            Diagnostic::error("E0210", format!("the dim {d} leaves the 64-bit integers")).label(span, "")
        }
        None => {
            Diagnostic::error("E0209", format!("a dim cannot be negative: {d} is {bound}")).label(span, "")
        }
    }
}

fn check_size(ty: &Type, span: Span) -> Result<(), Diagnostic> {
    let bytes = &ty.count() * &Dim::from(ty.dtype.size());
    match bytes.as_const() {
        Some(n) if n <= MAX_BYTES => Ok(()),
        _ => Err(Diagnostic::error("E0210", format!("{ty} would take more than 1 TiB"))
            .label(span, "this value")
            .hint("check the sizes bound to its dims")),
    }
}
