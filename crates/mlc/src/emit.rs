//! Every intermediate form as text: what `--emit` prints and what snapshots hold.

use std::str::FromStr;

use mlc_cpu::Text;
use mlc_diag::{Diagnostic, Diagnostics, SourceMap};
use mlc_ir::Binding;
use mlc_ir::graph::{Graph, Stage, print_with_sources};
use mlc_passes::{Decompose, PassManager};

use crate::bound::{BoundEntry, passes};
use crate::{Error, Program};

/// What to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmitKind {
    Ast,
    Graph(Stage),
    Loops,
    Clif,
    Asm,
    Plan,
    /// CUDA C++ and PTX, which this build does not make yet.
    Cuda,
    Ptx,
}

impl FromStr for EmitKind {
    type Err = Diagnostic;

    fn from_str(s: &str) -> Result<EmitKind, Diagnostic> {
        let stage = |name: &str| {
            let stages: Vec<&str> = Stage::ALL.iter().map(|s| s.name()).collect();
            name.parse::<Stage>().map_err(|()| {
                Diagnostic::error("E0911", format!("`{name}` is not a stage of the graph"))
                    .hint(format!("stages are {}", stages.join(", ")))
            })
        };
        Ok(match s {
            "ast" => EmitKind::Ast,
            "graph" => EmitKind::Graph(Stage::Built),
            "loops" => EmitKind::Loops,
            "clif" => EmitKind::Clif,
            "asm" => EmitKind::Asm,
            "plan" => EmitKind::Plan,
            "cuda" => EmitKind::Cuda,
            "ptx" => EmitKind::Ptx,
            _ => match s.strip_prefix("graph=") {
                Some(name) => EmitKind::Graph(stage(name)?),
                None => {
                    return Err(Diagnostic::error("E0911", format!("`{s}` is not something to emit"))
                        .hint("write ast, graph, graph=STAGE, loops, clif, asm or plan"));
                }
            },
        })
    }
}

impl EmitKind {
    /// Does the text depend on the entry?
    pub fn of_entry(self) -> bool {
        self != EmitKind::Ast
    }

    /// Does it need numbers for all dims?
    pub fn needs_dims(self) -> bool {
        match self {
            EmitKind::Ast => false,
            EmitKind::Graph(stage) => stage >= Stage::Bound,
            _ => true,
        }
    }

    pub fn name(self) -> String {
        match self {
            EmitKind::Ast => "ast".into(),
            EmitKind::Graph(Stage::Built) => "graph".into(),
            EmitKind::Graph(stage) => format!("graph={stage}"),
            EmitKind::Loops => "loops".into(),
            EmitKind::Clif => "clif".into(),
            EmitKind::Asm => "asm".into(),
            EmitKind::Plan => "plan".into(),
            EmitKind::Cuda => "cuda".into(),
            EmitKind::Ptx => "ptx".into(),
        }
    }
}

/// The syntax tree of a text.
///
/// # Errors
/// Where it does not parse.
pub fn emit_ast(name: &str, text: &[u8]) -> Result<String, Error> {
    let mut sources = SourceMap::new();
    let id = sources.add(name, None, String::from_utf8_lossy(text).into_owned());
    let parsed = mlc_frontend::syntax::parse_bytes(id, text);
    if parsed.diagnostics.has_errors() {
        return Err(Error::new(parsed.diagnostics, &sources.into()));
    }
    Ok(mlc_frontend::syntax::dump(&parsed.file))
}

impl Program {
    /// The graph of an entry at a stage. Dims must be bound from [`Stage::Bound`] on.
    ///
    /// # Errors
    /// Of the passes up to there.
    pub fn graph(&self, entry: &str, stage: Stage, binding: &Binding) -> Result<Graph, Error> {
        let mut graph = self.source_entry(entry).map_err(|d| self.error(d))?.graph.clone();
        if stage != Stage::Built {
            let run = |graph: &mut Graph| -> Result<(), Diagnostics> {
                passes(self, binding).stop_after(stage).run(graph)?;
                if stage == Stage::Decomposed {
                    PassManager::new(vec![Box::new(Decompose)]).run(graph)?;
                }
                Ok(())
            };
            run(&mut graph).map_err(|ds| self.error(ds))?;
        }
        Ok(graph)
    }

    /// An entry in one of its forms, as text.
    ///
    /// # Errors
    /// Of the passes; where a form is not built.
    pub fn emit(&self, kind: EmitKind, entry: &str, binding: &Binding) -> Result<String, Error> {
        if self.is_loaded() {
            self.source_entry(entry).map_err(|d| self.error(d))?;
        }
        let bound = || self.bind(entry, binding);
        Ok(match kind {
            EmitKind::Graph(stage) => print_with_sources(&self.graph(entry, stage, binding)?, self.sources()),
            EmitKind::Loops => bound()?.plan.program.to_string(),
            EmitKind::Plan => bound()?.plan_text(),
            EmitKind::Clif => self.code(&*bound()?, Text::Clif)?,
            EmitKind::Asm => self.code(&*bound()?, Text::Asm)?,
            EmitKind::Ast => {
                return Err(self.error(Diagnostic::bug("the syntax tree is a file's, not an entry's")));
            }
            EmitKind::Cuda | EmitKind::Ptx => {
                let d = Diagnostic::error("E0590", "this build of mlc has no CUDA back end yet");
                return Err(self.error(d.hint("emit loops, clif or asm")));
            }
        })
    }

    fn code(&self, bound: &BoundEntry, what: Text) -> Result<String, Error> {
        let kernels = bound.plan.program.kernels.iter();
        let texts = kernels.map(|k| self.backend().text(k, what)).collect::<Result<Vec<_>, _>>();
        texts.map(|t| t.concat()).map_err(|d| self.error(d))
    }
}
