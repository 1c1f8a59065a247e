//! The interpreter's state: what has been declared so far, and the graph being built.
//!
//! A program is run once for each graph it gives (every entry, and `init`). Instances, their states
//! and train bindings live across graphs; tensors do not: [`GraphCx`] holds what belongs to one.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use mlc_diag::{Diagnostic, Diagnostics, SourceMap, Span};
use mlc_ir::graph::{Graph, GraphBuilder, Phase, Prov, ScopeId, ValueId};
use mlc_ir::op::State;
use mlc_ir::program::{StateKind, system};
use mlc_ir::{DType, Device, Dim, Symbol, Type};

use super::Options;
use super::env::{Env, Owner};
use super::fail::{Fail, R, error};
use super::files::{FileId, Files};
use super::value::{Hyper, InstId, StateId, Value};
use crate::prelude;
use crate::syntax::ast;

/// Nodes of one graph; beyond it a program is absurd (a loop bound of a million, say).
const MAX_NODES: usize = 400_000;

/// Calls inside calls.
pub const MAX_DEPTH: usize = 128;

/// A model instance: config, members, and where its states are named.
#[derive(Debug, Clone)]
pub struct Instance<'a> {
    pub decl: &'a ast::Model,
    pub file: FileId,
    pub root: usize,
    /// Below the root: `blocks.3.attn`.
    pub path: String,
    pub config: Vec<(&'a str, Value<'a>)>,
    pub members: Vec<(&'a str, Value<'a>)>,
    pub device: Option<Device>,
    pub span: Span,
}

/// A tensor of state, before and after it has a path.
#[derive(Debug, Clone)]
pub struct StateInfo<'a> {
    pub root: usize,
    /// Below the root.
    pub path: String,
    pub kind: StateKind,
    pub ty: Type,
    pub init: InitOf<'a>,
    pub span: Span,
    pub aliases: Vec<(usize, String)>,
}

/// What a state starts as.
#[derive(Debug, Clone)]
pub enum InitOf<'a> {
    /// An initialiser expression in the scope of an instance.
    Expr(&'a ast::Expr, Rc<Env<'a>>),
    /// Zeros of its type.
    Zero,
    /// The same as another state (averages).
    Copy(StateId),
    /// An expression of an optimizer, for one parameter.
    Optimizer(&'a ast::Expr, Rc<Hyper<'a>>, StateId),
    /// Set by the runtime.
    System,
}

/// The top of a tree of instances: a binding. `prefix` comes before all paths below.
#[derive(Debug, Clone)]
pub struct Root {
    pub prefix: String,
    /// Built for its mistakes only: its states are not the program's.
    pub hidden: bool,
}

/// A call in progress.
#[derive(Debug, Clone)]
pub struct Frame {
    pub name: String,
    pub decl: *const (),
    pub owner: Option<InstId>,
    /// The call's span in the nearest user file.
    pub span: Span,
    pub prelude: bool,
}

/// The graph under construction and what is known while building it.
pub struct GraphCx<'a> {
    pub graph: Graph,
    /// The value of each state at entry.
    pub entry: HashMap<StateId, ValueId>,
    /// The value of each state read or written so far, in program order.
    pub current: HashMap<StateId, ValueId>,
    /// States written, in order, with the place of the last write.
    pub written: Vec<(StateId, Span)>,
    pub training: bool,
    /// Keys random sites: an entry or loss name, `init`.
    pub stream: String,
    pub ordinals: HashMap<(ScopeId, &'static str), u32>,
    pub sites: HashMap<u32, String>,
    /// Run-time loops around this place, the innermost last.
    pub loops: Vec<super::scan::OpenLoop>,
    /// Random numbers of iteration 0: in `init`.
    pub fixed_iteration: bool,
    pub scope: ScopeId,
    pub phase: Phase,
    pub device: Option<Device>,
    /// File bindings that hold tensors, by the address of their syntax.
    pub bindings: HashMap<*const ast::Binding, Value<'a>>,
    /// Other bindings that hold tensors.
    pub lazy: HashMap<*const super::value::Thunk<'a>, Value<'a>>,
    /// The batch dim of a train block's entry.
    pub batch: Option<Dim>,
}

impl<'a> GraphCx<'a> {
    pub fn new(name: &str) -> GraphCx<'a> {
        GraphCx {
            graph: Graph::new(name),
            entry: HashMap::new(),
            current: HashMap::new(),
            written: vec![],
            training: false,
            stream: name.to_owned(),
            ordinals: HashMap::new(),
            sites: HashMap::new(),
            loops: vec![],
            fixed_iteration: false,
            scope: ScopeId::default(),
            phase: Phase::Forward,
            device: None,
            bindings: HashMap::new(),
            lazy: HashMap::new(),
            batch: None,
        }
    }
}

pub struct Interp<'a> {
    pub files: &'a Files,
    pub sources: &'a SourceMap,
    pub options: &'a Options,
    pub diags: Diagnostics,
    reported: HashSet<(&'static str, Span)>,
    pub instances: Vec<Instance<'a>>,
    pub states: Vec<StateInfo<'a>>,
    pub roots: Vec<Root>,
    pub trains: Vec<super::train::TrainCx<'a>>,
    pub g: GraphCx<'a>,
    /// File bindings that hold no tensors.
    pub bindings: HashMap<*const ast::Binding, Value<'a>>,
    pub open_bindings: Vec<*const ast::Binding>,
    pub stack: Vec<Frame>,
    /// The innermost span in a user's file.
    pub span: Span,
    /// Where an instance that is built now belongs: root and path.
    pub place: Option<(usize, String)>,
    pub system: HashMap<&'static str, StateId>,
    /// Statements and loop rounds run so far.
    pub fuel: u64,
    /// While an entry is built with symbolic integers: did one have to be known? Such errors are kept
    /// back, for the defaults may do.
    pub trial: Option<bool>,
    /// The name of the entry under construction, where its call stands: no call of the user's.
    pub entry_span: Span,
    pub asked: super::test::Asked<'a>,
    pub test_name: String,
}

impl<'a> Interp<'a> {
    pub fn new(files: &'a Files, sources: &'a SourceMap, options: &'a Options) -> Interp<'a> {
        Interp {
            files,
            sources,
            options,
            diags: Diagnostics::new(),
            reported: HashSet::new(),
            instances: vec![],
            states: vec![],
            roots: vec![],
            trains: vec![],
            g: GraphCx::new("scratch"),
            bindings: HashMap::new(),
            open_bindings: vec![],
            stack: vec![],
            span: Span::NONE,
            place: None,
            system: HashMap::new(),
            fuel: 0,
            trial: None,
            entry_span: Span::NONE,
            asked: super::test::Asked::default(),
            test_name: String::new(),
        }
    }

    /// Keeps an error, once for each code and place.
    pub fn report(&mut self, d: Diagnostic) {
        if d.code == "E0312" && self.trial.is_some() {
            self.trial = Some(true);
            return;
        }
        let d = self.blame(d);
        if self.reported.insert((d.code, d.span())) {
            self.diags.push(d);
        }
    }

    pub fn report_fail(&mut self, f: Fail) {
        if let Fail::Error(d) = f {
            self.report(*d);
        }
    }

    /// Moves an error out of the library into the user's file, and says how execution got there.
    pub fn blame(&self, mut d: Diagnostic) -> Diagnostic {
        let blamed = d.labels.first().is_some_and(|l| prelude::contains(l.span));
        if !self.span.is_none() && (blamed || d.labels.is_empty()) {
            let text = d.labels.first().map(|l| l.text.clone()).unwrap_or_default();
            d.labels.retain(|l| !prelude::contains(l.span));
            d.labels.insert(0, mlc_diag::Label { span: self.span, text });
        }
        d.labels.retain(|l| !prelude::contains(l.span));
        if let Some(f) = self.stack.iter().find(|f| f.prelude) {
            // A method's frame is `Model.method`.
            let item = f.name.split('.').next().unwrap_or(&f.name);
            let note = format!("in the library's `{}`: see `mlc doc {item}`", f.name);
            if !d.notes.contains(&note) {
                d.notes.push(note);
            }
        }
        let calls: Vec<(String, Span)> =
            self.stack.iter().rev().filter(|f| !f.prelude).map(|f| (f.name.clone(), f.span)).collect();
        for (name, span) in calls.into_iter().take(3) {
            let known = d.labels.iter().any(|l| l.span == span);
            // A call around the mistake is seen without a label.
            let primary = d.span();
            let around =
                span.source == primary.source && span.start <= primary.start && primary.end <= span.end;
            if !span.is_none() && !known && !around && span != self.entry_span {
                d = d.label(span, format!("in this call of `{name}`"));
            }
        }
        d
    }

    pub fn prov(&self) -> Prov {
        Prov { span: self.span, scope: self.g.scope, phase: self.g.phase }
    }

    /// A builder at the current place of the program.
    pub fn b(&mut self) -> GraphBuilder<'_> {
        let prov = self.prov();
        let device = self.g.device;
        GraphBuilder::new(&mut self.g.graph, prov).on(device)
    }

    pub fn ty(&self, v: ValueId) -> Type {
        self.g.graph.ty(v).clone()
    }

    /// Counts work, so that absurd programs end with an error.
    pub fn tick(&mut self, span: Span) -> R<()> {
        self.fuel += 1;
        if self.g.graph.len() > MAX_NODES || self.fuel > 20_000_000 {
            return Err(error("E0313", span, "this program is too large to build")
                .note(format!("its graph has {} nodes so far", self.g.graph.len()))
                .hint("`for` is unrolled at compile time: check the bounds of loops and lists")
                .into());
        }
        Ok(())
    }

    pub fn new_root(&mut self, prefix: impl Into<String>) -> usize {
        self.roots.push(Root { prefix: prefix.into(), hidden: false });
        self.roots.len() - 1
    }

    /// The full path of something below a root.
    pub fn full_path(&self, root: usize, path: &str) -> String {
        join(&self.roots[root].prefix, path)
    }

    pub fn state_path(&self, id: StateId) -> String {
        let s = &self.states[id.0];
        self.full_path(s.root, &s.path)
    }

    pub fn instance_path(&self, id: InstId) -> String {
        let i = &self.instances[id.0];
        self.full_path(i.root, &i.path)
    }

    pub fn add_state(&mut self, info: StateInfo<'a>) -> StateId {
        self.states.push(info);
        StateId(self.states.len() - 1)
    }

    /// One of the run's own counters.
    pub fn system(&mut self, path: &'static str) -> StateId {
        if let Some(&id) = self.system.get(path) {
            return id;
        }
        let dtype = match path {
            system::SEED => DType::U64,
            system::ITERATION => DType::U32,
            _ => DType::F32,
        };
        let root = self.new_root("");
        let id = self.add_state(StateInfo {
            root,
            path: path.to_owned(),
            kind: StateKind::System,
            ty: Type::scalar(dtype),
            init: InitOf::System,
            span: Span::NONE,
            aliases: vec![],
        });
        self.system.insert(path, id);
        id
    }

    /// The value of a state now: at entry, or as last written.
    pub fn read_state(&mut self, id: StateId) -> R<ValueId> {
        if let Some(&v) = self.g.current.get(&id).or_else(|| self.g.entry.get(&id)) {
            return Ok(v);
        }
        let path: Symbol = self.state_path(id).into();
        let ty = self.states[id.0].ty.clone();
        let scope = match path.rsplit_once('.') {
            Some((owner, _)) if self.states[id.0].kind != StateKind::System => self.g.graph.scope(owner),
            _ => ScopeId::default(),
        };
        // A state belongs to its declaration, not to the first line that happens to read it.
        let declared = self.states[id.0].span;
        let span = if prelude::contains(declared) || declared.is_none() { self.span } else { declared };
        let prov = Prov { span, scope, phase: Phase::Forward };
        let v = self.g.graph.add(State { path, ty }.into(), &[], prov)?.value();
        self.g.entry.insert(id, v);
        Ok(v)
    }

    pub fn write_state(&mut self, id: StateId, v: ValueId, span: Span) {
        self.g.current.insert(id, v);
        match self.g.written.iter_mut().find(|w| w.0 == id) {
            Some(w) => w.1 = span,
            None => self.g.written.push((id, span)),
        }
    }

    /// Runs `f` with another graph, and gives that graph's context back beside the result.
    pub fn in_graph<T>(&mut self, cx: GraphCx<'a>, f: impl FnOnce(&mut Self) -> T) -> (T, GraphCx<'a>) {
        let saved = std::mem::replace(&mut self.g, cx);
        let span = std::mem::replace(&mut self.span, Span::NONE);
        let result = f(self);
        self.span = span;
        (result, std::mem::replace(&mut self.g, saved))
    }

    /// Runs `f` with node provenance in the scope of an instance.
    pub fn in_scope<T>(&mut self, path: &str, f: impl FnOnce(&mut Self) -> T) -> T {
        let scope = self.g.graph.scope(path);
        let saved = std::mem::replace(&mut self.g.scope, scope);
        let result = f(self);
        self.g.scope = saved;
        result
    }

    /// Runs `f` at `span`, where that is in a user's file.
    pub fn at<T>(&mut self, span: Span, f: impl FnOnce(&mut Self) -> T) -> T {
        let saved = self.span;
        if !prelude::contains(span) && !span.is_none() {
            self.span = span;
        }
        let result = f(self);
        self.span = saved;
        result
    }

    /// Runs `f` with instances built in it placed at `place`.
    pub fn placed<T>(&mut self, place: Option<(usize, String)>, f: impl FnOnce(&mut Self) -> T) -> T {
        let saved = std::mem::replace(&mut self.place, place);
        let result = f(self);
        self.place = saved;
        result
    }

    /// The place `name` below the current one.
    pub fn place_below(&self, name: &str) -> Option<(usize, String)> {
        self.place.as_ref().map(|(root, path)| (*root, join(path, name)))
    }

    /// An environment for file-level expressions.
    pub fn file_env(&self, file: FileId) -> Env<'a> {
        Env::new(file, Owner::File)
    }
}

/// `a.b`, or the one that is not empty.
pub fn join(a: &str, b: &str) -> String {
    match (a.is_empty(), b.is_empty()) {
        (true, _) => b.to_owned(),
        (_, true) => a.to_owned(),
        _ => format!("{a}.{b}"),
    }
}
