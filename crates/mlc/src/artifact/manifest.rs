//! What is in an artifact beside code and weights: the program without its graphs, and the bound entries.

use std::path::PathBuf;
use std::sync::Arc;

use mlc_cpu::{Costs, ExportedFunction};
use mlc_diag::{SourceMap, Span};
use mlc_ir::graph::Graph;
use mlc_ir::loops::Plan;
use mlc_ir::program::{Entry, EntryKind, InputDecl, Program, StateDecl, StateLayout, Train, TransferRules};
use mlc_ir::types::SymbolDecl;
use mlc_ir::{Binding, Device};
use serde::{Deserialize, Serialize};

use crate::bound::Port;

#[derive(Debug, Serialize, Deserialize)]
pub struct Manifest {
    pub sources: SourceMap,
    pub states: Vec<StateDecl>,
    pub layout: StateLayout,
    pub entries: Vec<EntryDecl>,
    pub trains: Vec<Train>,
    pub device: Device,
    pub strict: bool,
    /// What the kernels were cut up by: cut another way they would be other functions.
    pub costs: Costs,
    /// Sizes of dims that no input binds and of which there is one only.
    #[serde(with = "mlc_ir::serial::by_symbol")]
    pub dims: Binding,
    /// The folder that the artifact was written into.
    pub folder: PathBuf,
    pub functions: Vec<ExportedFunction>,
    pub bound: Vec<BoundRecord>,
}

/// An entry without its graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EntryDecl {
    pub name: String,
    pub kind: EntryKind,
    pub inputs: Vec<InputDecl>,
    pub dims: Vec<SymbolDecl>,
    pub span: Span,
}

/// An entry for one binding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BoundRecord {
    pub entry: String,
    #[serde(with = "mlc_ir::serial::by_symbol")]
    pub binding: Binding,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    #[serde(with = "mlc_ir::serial::shared")]
    pub plan: Arc<Plan>,
}

impl From<&Entry> for EntryDecl {
    fn from(e: &Entry) -> EntryDecl {
        EntryDecl {
            name: e.name.clone(),
            kind: e.kind.clone(),
            inputs: e.inputs.clone(),
            dims: e.graph.dims.symbols.clone(),
            span: e.span,
        }
    }
}

impl EntryDecl {
    /// The entry with a graph that has dims and nothing else: enough to match inputs with.
    fn into_entry(self) -> Entry {
        let mut graph = Graph::new(self.name.clone());
        graph.dims.symbols = self.dims;
        Entry { name: self.name, kind: self.kind, inputs: self.inputs, graph, span: self.span }
    }
}

impl Manifest {
    /// The program as the runtime sees it: tests and what compiling alone needs are gone.
    pub fn program(&mut self) -> Program {
        Program {
            sources: Arc::new(std::mem::take(&mut self.sources)),
            states: std::mem::take(&mut self.states),
            entries: std::mem::take(&mut self.entries).into_iter().map(EntryDecl::into_entry).collect(),
            trains: std::mem::take(&mut self.trains),
            tests: vec![],
            transfers: TransferRules::default(),
        }
    }
}
