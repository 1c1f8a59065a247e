//! The loop IR: kernels after fusion and before code.
//!
//! Input: one kernel per group of graph nodes (`lower` builds it with [`BodyBuilder`]). Output: what the
//! back ends emit and the interpreter runs. A [`Kernel`] fixes every bit of its result; how fast it gets
//! there (tiles, threads, vector width) is the back end's and can never show in the result.
//!
//! | file | what it fixes |
//! |---|---|
//! | [`scalar`] | the 27 total primitives |
//! | [`functions`] | one expansion of each function into the primitives |
//! | [`index`] | index maps, guarded loads, data-dependent indices |
//! | [`body`] | map, row and column kernels |
//! | [`contraction`], [`kernel`] | matmul and the other kinds; arguments |
//! | [`program`] | buffers, calls, planned memory |
//! | [`bounds`], [`views`], [`mod@refine`] | arithmetic of indices; view operations as index maps; axes split and merged |
//! | [`verify`] | the rules, labelled, that make a kernel, program or plan well-formed |
//! | [`text`], [`hash`] | print and parse; what identifies a kernel's code |
//! | [`interp`] | the bit-exact interpreter |
//!
//! ```text
//! kernel @softmax(read x: f32[64000], write y: f32[64000] alias x) rows(i0: 64) cols(c0: 1000) {
//!   %0: f32 = load x[1000*i0 + c0]
//!   acc0: f32 = max lanes %0
//!   %1: f32 = acc0
//!   %2: f32 = sub %0, %1
//!   %3: f32 = exp %2
//!   acc1: f32 = sum lanes %3
//!   %4: f32 = acc1
//!   %5: f32 = div %3, %4
//!   store y[1000*i0 + c0] = %5
//! }
//! ```
//!
//! # Order of reductions
//! Order is meaning: every reduction has one fixed tree, the same on every device and for every thread count.
//! - **R4, rows: `Lanes`** over the n elements of a row in row-major order of the column axes. Blocks of
//!   4096 elements; in a block element i goes to lane `i mod 256`; a lane starts as the identity and takes its
//!   elements in ascending order (`lane = op(lane, x)`); lanes fold by halving, `l[i] = op(l[i], l[i+w])` for
//!   w = 128, 64, .. 1; block results combine as an adjacent-pair tree: over n blocks,
//!   `op(tree(first h), tree(rest))` with h half of n's next power of two.
//! - **R5, columns: `Runs`** over the rows in row-major order. Runs of 16 rows, each starting as the identity
//!   and sequential; run results combine in the same adjacent-pair tree.
//! - **R6** Max, Min, And, Or use the same trees. ArgMax carries (value, index): greater wins, equal keeps the
//!   lower index, NaN counts as greatest (for ArgMin: as least), so the first NaN wins.
//! - **R7, contraction, canonical**: k linear in row-major order of the k axes, chunks of 256; in a chunk
//!   `c = fma(a, b, c)` ascending from +0; chunk results added ascending, the first chunk is the start.
//! - **R8, scatter**: each destination takes its sources one after another in row-major order of the domain,
//!   starting from its initial value.
//! - **R9** rows are independent: a row's result depends on no other row.

/// Defines a `u32` id that prints as it stands in the text form.
macro_rules! id {
    ($(#[$m:meta])* $name:ident, $prefix:literal) => {
        $(#[$m])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize,
        )]
        pub struct $name(pub u32);

        impl $name {
            pub fn ix(self) -> usize {
                self.0 as usize
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}
use id;

pub mod body;
pub mod bounds;
pub mod contraction;
pub mod functions;
pub mod hash;
pub mod index;
pub mod interp;
pub mod kernel;
pub mod program;
pub mod refine;
pub mod scalar;
pub mod text;
pub mod verify;
pub mod views;

pub use body::{
    Analysis, Axis, BodyBuilder, Expr, ExprId, ExprOp, LoopBody, RedId, RedOp, RowRed, Space, Store, Tail,
};
pub use contraction::{Contraction, KC, Operand, Rounding};
pub use functions::Func;
pub use hash::{KernelKey, kernel_key};
pub use index::{Atom, AxisId, Bound, Index, Load};
pub use kernel::{
    Arg, ArgId, CopyMap, FaultRecord, FaultSite, Init, Kernel, Kind, Mode, Phase, Prov, Scatter, Segment,
};
pub use program::{
    Arena, ArenaId, ArenaKind, Buffer, BufferId, BufferSlice, Call, CallId, Const, ConstId, KernelId,
    LoopProgram, Place, Plan, Role, StateId,
};
pub use refine::refine;
pub use scalar::{Lit, Prim};
pub use text::{TextError, parse_kernel, parse_program};
pub use verify::{Violation, verify_kernel, verify_plan, verify_program};
pub use views::View;
