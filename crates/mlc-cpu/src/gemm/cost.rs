//! Measured costs, from which shapes choose their tiles. All in nanoseconds on one core; ratios matter, not the
//! machine. `cargo run --release -p mlc-cpu --example gemm` shows what they lead to.

use crate::features::Level;

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
}

impl Costs {
    pub fn of(level: Level) -> Costs {
        let vectors = Costs {
            fma: 0.165,
            latency: 1.25,
            vectors: [2, 4],
            call: 12.0,
            transpose: 0.11,
            copy: 0.04,
            gather: 0.6,
            code: 0.35,
        };
        match level {
            Level::Avx512 | Level::Avx2 => vectors,
            // Without the instruction, a multiply-add of each element is a call.
            Level::Portable => Costs { fma: 12.0, latency: 12.0, vectors: [1, 2], transpose: 0.6, ..vectors },
        }
    }

    /// A step of k for a tile of so many rows.
    pub fn step(&self, rows: u64, wide: bool, _size: usize) -> f64 {
        (self.fma * (rows * self.vectors[usize::from(wide)]) as f64).max(self.latency)
    }
}
