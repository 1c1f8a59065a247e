//! Measured costs, from which shapes choose their tiles. All in nanoseconds on one core; ratios matter, not the
//! machine. `cargo run --release -p mlc-cpu --example gemm` shows what they lead to.

use super::lanes::Element;
use crate::features::Level;
use crate::schedule::Multiply;

/// Costs on one level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Costs {
    /// One fused multiply-add of a vector, where enough of them are independent.
    fma: f64,
    /// The least time of a step of k: the latency of a multiply-add.
    latency: f64,
    /// Vectors across a tile: tall, wide.
    vectors: [u64; 2],
    /// A call of a micro-kernel, with loads and stores of its outputs.
    pub call: f64,
    /// An element that is transposed, copied in runs, gathered one by one, evaluated by code.
    pub transpose: f64,
    pub copy: f64,
    pub gather: f64,
    pub code: f64,
    /// What packing an element takes besides: tiles read short runs far apart, for which they wait.
    pub fetch: f64,
}

impl Costs {
    /// What is built in, or as a machine was measured.
    pub fn of(level: Level, measured: Option<Multiply>) -> Costs {
        let built_in = Costs::built_in(level);
        let Some(m) = measured else { return built_in };
        let (fma, latency) = (m.vector as f64 / 1000.0, m.latency as f64 / 1000.0);
        // What is not measured keeps its ratio to what is.
        let pace = fma / built_in.fma;
        Costs {
            fma,
            latency,
            call: built_in.call * pace,
            transpose: built_in.transpose * pace,
            copy: built_in.copy * pace,
            gather: built_in.gather * pace,
            code: built_in.code * pace,
            fetch: built_in.fetch * pace,
            vectors: built_in.vectors,
        }
    }

    fn built_in(level: Level) -> Costs {
        let vectors = Costs {
            fma: 0.165,
            latency: 1.25,
            vectors: [2, 4],
            call: 12.0,
            transpose: 0.11,
            copy: 0.04,
            gather: 0.6,
            code: 0.35,
            fetch: 0.3,
        };
        match level {
            // Two of 32 GHz make 165 Gflop/s of either, as wider vectors slow the clock.
            Level::Avx512 => Costs { fma: 0.19, vectors: [4, 8], ..vectors },
            Level::Avx2 => vectors,
            // Without the instruction, a multiply-add of each element is a call.
            Level::Portable => Costs { fma: 12.0, latency: 12.0, vectors: [1, 2], transpose: 0.6, ..vectors },
        }
    }

    /// A step of k for a tile of so many rows.
    pub fn step(&self, rows: u64, wide: bool, _size: usize) -> f64 {
        (self.fma * (rows * self.vectors[usize::from(wide)]) as f64).max(self.latency)
    }
}

/// Elements of one of the vectors that [`Multiply`] counts.
pub fn vector_elements(level: Level) -> u64 {
    f32::micro(level).tall.lanes as u64 / Costs::built_in(level).vectors[0]
}

/// Lanes of one row of f32 that a micro-kernel sums at once.
pub fn row_lanes(level: Level) -> u64 {
    f32::micro(level).wide.lanes as u64
}
