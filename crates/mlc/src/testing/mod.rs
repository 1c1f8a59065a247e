//! Snapshot tests of a model's IR, for tools that embed mlc: thin layers over insta.
//!
//! ```ignore
//! let program = mlc::Compiler::new().compile_file("model.mlg")?;
//! mlc::testing::assert_graph_snapshot!(program, "forward");
//! ```

mod random;

use mlc_ir::Binding;
use mlc_ir::graph::Stage;

use crate::{EmitKind, Program};

pub use insta;
pub use random::check_random_program;

/// The text of an entry's graph at a stage, or the rendered error.
pub fn graph_text(program: &Program, entry: &str, stage: Stage, dims: &[(&str, i64)]) -> String {
    emit_text(program, EmitKind::Graph(stage), entry, dims)
}

/// Any form of an entry as text, or the rendered error.
pub fn emit_text(program: &Program, kind: EmitKind, entry: &str, dims: &[(&str, i64)]) -> String {
    let binding: Binding = dims.iter().map(|(n, v)| ((*n).into(), *v)).collect();
    program.emit(kind, entry, &binding).unwrap_or_else(|e| e.to_string())
}

/// The kernels of an entry, a line each: kind, what it holds and what it leaves in memory; or the rendered
/// error.
pub fn kernels_text(program: &Program, entry: &str, dims: &[(&str, i64)]) -> String {
    use std::fmt::Write;
    let binding: Binding = dims.iter().map(|(n, v)| ((*n).into(), *v)).collect();
    let lowered = match program.lower(entry, &binding) {
        Ok(lowered) => lowered,
        Err(e) => return e.to_string(),
    };
    let mut out = format!("{} kernels\n", lowered.kernels.len());
    for (i, k) in lowered.kernels.iter().enumerate() {
        let again = |h: &mlc_passes::form_kernels::Held| if h.again { "*" } else { "" };
        let holds: Vec<String> = k.holds.iter().map(|h| format!("{}{}", h.op, again(h))).collect();
        let writes: Vec<String> =
            k.writes.iter().map(|w| format!("{} ({} bytes)", w.value, w.bytes)).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "{:3}  {}: {}\n       reads {}\n       writes {}",
            i + 1,
            k.kind,
            holds.join(", "),
            k.reads.join(", "),
            writes.join(", ")
        );
    }
    out
}

/// Snapshot of an entry's graph: `assert_graph_snapshot!(program, "forward")` as built, or with a
/// [`Stage`] and dims: `assert_graph_snapshot!(program, "forward", Stage::Bound, [("batch", 2)])`.
#[macro_export]
macro_rules! assert_graph_snapshot {
    ($program:expr, $entry:expr) => {
        $crate::assert_graph_snapshot!($program, $entry, $crate::ir::graph::Stage::Built, [])
    };
    ($program:expr, $entry:expr, $stage:expr, $dims:expr) => {
        $crate::testing::insta::assert_snapshot!($crate::testing::graph_text(
            &$program, $entry, $stage, &$dims
        ))
    };
}

/// Snapshot of an entry's kernels: `assert_loops_snapshot!(program, "forward", [("batch", 2)])`.
#[macro_export]
macro_rules! assert_loops_snapshot {
    ($program:expr, $entry:expr, $dims:expr) => {
        $crate::testing::insta::assert_snapshot!($crate::testing::emit_text(
            &$program,
            $crate::EmitKind::Loops,
            $entry,
            &$dims
        ))
    };
}

pub use crate::{assert_graph_snapshot, assert_loops_snapshot};
