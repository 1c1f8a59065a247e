//! The names in scope of a body.

use std::rc::Rc;

use mlc_diag::Span;

use super::files::FileId;
use super::value::{InstId, StateId, Value};

/// Whose body it is: where members, config or train bindings are looked up.
#[derive(Debug, Clone)]
pub enum Owner<'a> {
    /// Nobody's: a fn, a file binding.
    File,
    Instance(InstId),
    /// A train block, by its index.
    Train(usize),
    /// An optimizer or schedule with evaluated hyper-parameters.
    Hyper(Rc<HyperScope<'a>>),
    /// The fields of a dataset with its config.
    Config(Rc<Vec<(&'a str, Value<'a>)>>),
}

/// Names of an optimizer's or schedule's body.
#[derive(Debug, Default)]
pub struct HyperScope<'a> {
    pub values: Vec<(&'a str, Value<'a>)>,
    /// `None` for a state that this configuration does not have.
    pub states: Vec<(&'a str, Option<StateId>)>,
}

#[derive(Debug, Clone)]
pub struct Local<'a> {
    pub name: &'a str,
    pub value: Value<'a>,
    pub span: Span,
}

/// Locals (innermost last) and what lies around them.
#[derive(Debug, Clone)]
pub struct Env<'a> {
    pub file: FileId,
    pub owner: Owner<'a>,
    pub vars: Vec<Local<'a>>,
    /// Dims that the signature introduced; `..s` is a list.
    pub dims: Vec<(&'a str, Value<'a>)>,
}

impl<'a> Env<'a> {
    pub fn new(file: FileId, owner: Owner<'a>) -> Env<'a> {
        Env { file, owner, vars: vec![], dims: vec![] }
    }

    pub fn var(&self, name: &str) -> Option<&Local<'a>> {
        self.vars.iter().rev().find(|v| v.name == name)
    }

    pub fn dim(&self, name: &str) -> Option<&Value<'a>> {
        self.dims.iter().find(|d| d.0 == name).map(|d| &d.1)
    }

    pub fn declare(&mut self, name: &'a str, value: Value<'a>, span: Span) {
        self.vars.push(Local { name, value, span });
    }

    /// Assigns by the block rule: updates a name bound outside, else makes a new local.
    pub fn assign(&mut self, name: &'a str, value: Value<'a>, span: Span) {
        match self.vars.iter_mut().rev().find(|v| v.name == name) {
            Some(v) => v.value = value,
            None => self.declare(name, value, span),
        }
    }
}
