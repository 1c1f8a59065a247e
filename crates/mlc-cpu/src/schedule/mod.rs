//! How a kernel that is no contraction is cut into phases and chunks.
//!
//! Input: a simplified body, its arguments, the cost table. Output: [`Part`]s, one a phase and one compiled function
//! each. Invariants: what is cut depends on shapes and the table alone (S1: chunks end where the reduction trees
//! do), so no bit of a result depends on it.
//!
//! | body | chunks | then |
//! |---|---|---|
//! | map | pieces of an axis | |
//! | row reductions | rows | |
//! | with tails | aligned runs of rows (R5), each with its own partial results | a phase combines them in order |
//! | few long rows | blocks of each row (R4), a phase a stage | every chunk combines the partial results it needs |
//! | scatter | pieces of an axis that destinations do not share | |

mod cost;

use std::fmt;

use mlc_ir::loops::{Arg, Atom, AxisId, Init, LoopBody, Scatter, Tail};
use mlc_ir::mutate::{Mutation, on};
use mlc_runtime::exec::Phase;

pub use cost::{Costs, Multiply};

/// Rows of a run of the column tree.
pub const RUN: u64 = 16;
/// Elements of a block of the row tree.
pub const BLOCK: u64 = 4096;
/// Most chunks that have partial results of their own: they are combined by one thread or by every chunk.
const MAX_PARTIALS: u64 = 32;
/// Chunks of maps start at multiples of so many elements of the innermost axis: whole tiles, whole cache lines.
const COLUMN_STEP: u64 = 256;

/// What one function does of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub enum Part {
    /// All of it, in one chunk.
    #[default]
    Whole,
    /// All of it within a box of the domain, which is the last argument: parts of contractions.
    Box,
    /// All of it; a chunk is up to `grain` steps of `axis` at one position of the axes before it.
    Grid { axis: usize, grain: u64 },
    /// All of it for `grain` steps of `axis`, at every position of the other axes: what a chunk writes depends on
    /// where it stands on this axis.
    Slice { axis: usize, grain: u64 },
    /// Everything but the tails' results; a chunk is `rows` rows and leaves its partial results.
    Runs { rows: u64 },
    /// The tails' results, from the partial ones.
    Tails { rows: u64 },
    /// The reductions of a stage; a chunk is `cols` columns of a row and leaves its partial results.
    Stage { stage: usize, cols: u64 },
    /// What is stored, from the partial results of all stages; chunks as there, or one if nothing is stored for
    /// each column.
    Stores { cols: u64, once: bool },
    /// The zeros of a scatter's destination, `grain` elements a chunk.
    Fill { grain: u64 },
}

/// The parts of a kernel, with their phases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    pub parts: Vec<(Part, Phase)>,
    /// Why one thread does it all, where that is.
    pub serial: Option<&'static str>,
}

impl Schedule {
    fn one(ns: u64, why: &'static str) -> Schedule {
        Schedule { parts: vec![(Part::Whole, Phase::whole(ns))], serial: Some(why) }
    }

    fn parts(parts: Vec<(Part, u64, u64)>) -> Schedule {
        let parts =
            parts.into_iter().map(|(part, chunks, est_ns)| (part, Phase { chunks, est_ns })).collect();
        Schedule { parts, serial: None }
    }

    pub fn phases(&self) -> impl Iterator<Item = Phase> {
        self.parts.iter().map(|p| p.1)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (part, phase)) in self.parts.iter().enumerate() {
            let sep = if i > 0 { "; then " } else { "" };
            write!(f, "{sep}{part}: {} chunks, {} us", phase.chunks, phase.est_ns.div_ceil(1000))?;
        }
        match self.serial {
            Some(why) => write!(f, ", one thread: {why}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Whole => f.write_str("whole"),
            Part::Box => f.write_str("box"),
            Part::Grid { axis, grain } => write!(f, "{grain} steps of axis {axis}"),
            Part::Slice { axis, grain } => write!(f, "slices of {grain} of axis {axis}"),
            Part::Runs { rows } => write!(f, "{rows} rows"),
            Part::Tails { .. } => f.write_str("tails"),
            Part::Stage { stage, cols } => write!(f, "stage {stage} of {cols} columns"),
            Part::Stores { cols, once: false } => write!(f, "stores of {cols} columns"),
            Part::Stores { .. } => f.write_str("stores"),
            Part::Fill { grain } => write!(f, "zeros of {grain} elements"),
        }
    }
}

/// Cuts a body up.
pub fn of_body(body: &LoopBody, args: &[Arg], costs: &Costs) -> Schedule {
    let ns = costs.body_ns(body, args);
    if ns < 2 * costs.grain_ns {
        return Schedule::one(ns, "it is short");
    }
    if !body.tails.is_empty() {
        return runs(body, ns, costs);
    }
    if let Some(split) = long_rows(body, ns, costs) {
        return split;
    }
    let cuttable = if body.reds.is_empty() { body.axes().count() } else { body.rows.len() };
    match grid(body, ns, cuttable, costs) {
        Some((axis, grain, chunks)) => Schedule::parts(vec![(Part::Grid { axis, grain }, chunks, ns)]),
        None => Schedule::one(ns, "it is one row"),
    }
}

/// The axis to cut among the first `cuttable`, its grain, and the number of chunks.
fn grid(body: &LoopBody, ns: u64, cuttable: usize, costs: &Costs) -> Option<(usize, u64, u64)> {
    let extents: Vec<u64> = body.axes().map(|a| a.extent).collect();
    let mut outer = 1u64;
    for (axis, &n) in extents.iter().enumerate().take(cuttable) {
        let steps = outer.saturating_mul(n).max(1);
        let step_ns = ns / steps;
        let mut grain = costs.grain_ns.div_ceil(step_ns.max(1)).max(1);
        // A step that is much longer than a chunk should be is cut further in, if that is possible.
        if step_ns > 2 * costs.grain_ns && axis + 1 < cuttable {
            outer = steps;
            continue;
        }
        if axis + 1 == extents.len() && step_ns == 0 {
            grain = ((costs.grain_ns as u128 * steps as u128 / u128::from(ns)) as u64).max(1);
        }
        if axis + 1 == extents.len() {
            grain = grain.next_multiple_of(COLUMN_STEP);
        }
        let chunks = outer * n.div_ceil(grain);
        return (chunks > 1).then_some((axis, grain, chunks));
    }
    None
}

/// Rows in aligned runs, then the tails.
fn runs(body: &LoopBody, ns: u64, costs: &Costs) -> Schedule {
    let rows = body.row_count();
    let per_run = (u128::from(ns) * u128::from(RUN) / u128::from(rows.max(1))) as u64;
    let wanted = costs.grain_ns.div_ceil(per_run.max(1)).max(rows.div_ceil(RUN).div_ceil(MAX_PARTIALS));
    let cut_off = if on(Mutation::UnalignedChunk) { RUN / 2 } else { 0 };
    let chunk = RUN * wanted.next_power_of_two() - cut_off;
    let chunks = rows.div_ceil(chunk);
    if chunks < 2 {
        return Schedule::one(ns, "it has few rows");
    }
    let elements: u64 = body.tails.iter().map(|t| tail_len(t, body.col_count())).sum();
    let combine = chunks * elements * costs.reduce / 1000;
    Schedule::parts(vec![(Part::Runs { rows: chunk }, chunks, ns), (Part::Tails { rows: chunk }, 1, combine)])
}

/// Results of a tail.
pub fn tail_len(tail: &Tail, cols: u64) -> u64 {
    if matches!(tail, Tail::Col { .. }) { cols } else { 1 }
}

/// Few rows that are long: blocks of them are shared.
fn long_rows(body: &LoopBody, ns: u64, costs: &Costs) -> Option<Schedule> {
    let (rows, cols) = (body.row_count(), body.col_count());
    if body.reds.is_empty() || body.cols.len() != 1 || rows == 0 || ns / rows < 2 * costs.grain_ns {
        return None;
    }
    let blocks = cols.div_ceil(BLOCK);
    let block_ns = (ns / rows / blocks.max(1)).max(1);
    let wanted = costs.grain_ns.div_ceil(block_ns).max(blocks.div_ceil(MAX_PARTIALS));
    let cols = BLOCK * wanted.next_power_of_two();
    let pieces = body.col_count().div_ceil(cols);
    let stages = stages(body).len();
    if pieces < 2 || rows * pieces > 4096 {
        return None;
    }
    let once = crate::emit::stores_once_a_row(body);
    let phases = stages as u64 + u64::from(!once);
    let stage = |stage| (Part::Stage { stage, cols }, rows * pieces, ns / phases);
    let mut parts: Vec<_> = (0..stages).map(stage).collect();
    let last = if once { (1, 1000) } else { (rows * pieces, ns / phases) };
    parts.push((Part::Stores { cols, once }, last.0, last.1));
    Some(Schedule::parts(parts))
}

/// The reductions that one sweep over the columns computes, in order.
pub fn stages(body: &LoopBody) -> Vec<std::ops::Range<usize>> {
    let stage = mlc_ir::loops::Analysis::of(body).stage;
    let mut out = Vec::new();
    let mut done = 0;
    while done < body.reds.len() {
        let waits = |j: &usize| stage[body.reds[*j].value.ix()] as usize > done;
        let end = (done + 1..body.reds.len()).find(waits).unwrap_or(body.reds.len());
        out.push(done..end);
        done = end;
    }
    out
}

/// Cuts a scatter up.
pub fn of_scatter(s: &Scatter, args: &[Arg], costs: &Costs) -> Schedule {
    let body = &s.body;
    let dest = &args[s.dest.ix()];
    let elements = body.row_count().saturating_mul(body.col_count());
    let ns = costs.body_ns(body, args) + elements.saturating_mul(2 * costs.scalar) / 1000;
    let zeros =
        if s.init == Init::Zero { dest.len * dest.dtype.size() as u64 * costs.near_byte / 1000 } else { 0 };
    if ns + zeros < 2 * costs.grain_ns {
        return Schedule::one(ns + zeros, "it is short");
    }
    let Some((axis, grain, chunks)) = own_axis(s, ns, costs) else {
        return Schedule::one(ns + zeros, "its destinations are shared by all sources");
    };
    let mut parts = Vec::new();
    if s.init == Init::Zero {
        let grain = (dest.len * costs.grain_ns / zeros.max(1)).max(1).next_multiple_of(COLUMN_STEP);
        parts.push((Part::Fill { grain }, dest.len.div_ceil(grain).max(1), zeros));
    }
    parts.push((Part::Slice { axis, grain }, chunks, ns));
    Schedule::parts(parts)
}

/// An axis whose positions never share a destination: each chunk adds to elements of its own, in the order of
/// its sources (R8).
fn own_axis(s: &Scatter, ns: u64, costs: &Costs) -> Option<(usize, u64, u64)> {
    let extents: Vec<u64> = s.body.axes().map(|a| a.extent).collect();
    let (axis, n) = extents.iter().copied().enumerate().next_back()?;
    let own = s.index.coef(AxisId(axis as u32));
    // Everything else moves by multiples of what this axis spans.
    let span = own.checked_mul(i64::try_from(n).ok()?)?;
    let apart = |(coef, atom): &(i64, Atom)| match atom {
        Atom::Axis(a) if a.ix() == axis => true,
        Atom::Axis(_) | Atom::Data(..) => span > 0 && coef % span == 0,
        Atom::Quot { .. } => false,
    };
    if own <= 0 || !s.index.terms.iter().all(apart) {
        return None;
    }
    // No chunk shares a cache line with the next.
    let wanted = (ns / costs.grain_ns).min(n / 16).max(1);
    let grain = n.div_ceil(wanted).next_multiple_of(16);
    let chunks = n.div_ceil(grain);
    (chunks > 1).then_some((axis, grain, chunks))
}
