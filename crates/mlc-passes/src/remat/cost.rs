//! What running a call again costs: flops and bytes against a machine's rates.

use mlc_ir::loops::{Call, Kernel, Kind, LoopBody, LoopProgram};

/// Rates of a machine. Estimates only rank what to recompute and are shown to the user as such.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    pub flops_per_ns: f64,
    pub bytes_per_ns: f64,
}

impl Default for Rates {
    /// One core of a present server: 32 flops a cycle at half of its peak, memory shared with others.
    fn default() -> Self {
        Rates { flops_per_ns: 40.0, bytes_per_ns: 8.0 }
    }
}

impl Rates {
    /// Nanoseconds of one call.
    pub fn call(&self, program: &LoopProgram, call: &Call) -> f64 {
        let kernel = program.kernel_of(call);
        if let Kind::Repeat(r) = &kernel.kind {
            return r.trips as f64 * r.body.calls.iter().map(|c| self.call(&r.body, c)).sum::<f64>();
        }
        let bytes: f64 = kernel.args.iter().map(|a| a.len as f64 * a.dtype.size() as f64).sum();
        flops(kernel) / self.flops_per_ns + bytes / self.bytes_per_ns
    }
}

/// Without those of a repeated program.
fn flops(kernel: &Kernel) -> f64 {
    let points = |body: &LoopBody| body.axes().map(|a| a.extent as f64).product::<f64>();
    let body = |body: &LoopBody| points(body) * body.exprs.len() as f64;
    match &kernel.kind {
        Kind::Loop(b) => body(b),
        Kind::Contract(c) => {
            let axes = c.batch.iter().chain(&c.m).chain(&c.n).chain(&c.k);
            2.0 * axes.map(|a| a.extent as f64).product::<f64>() + body(&c.epilogue)
        }
        Kind::ScatterAdd(s) => body(&s.body),
        Kind::Segments(parts) => parts.iter().map(|s| body(&s.body)).sum(),
        Kind::Copy(_) | Kind::Repeat(_) => 0.0,
    }
}
