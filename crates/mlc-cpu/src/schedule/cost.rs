//! What a kernel is estimated to take on one thread, from a table: the same table gives the same chunks and the
//! same choice between one thread and several, whatever the machine does at the moment.

use mlc_ir::DType;
use mlc_ir::loops::{Arg, ExprOp, Func, LoopBody, Prim};
use serde::{Deserialize, Serialize};

/// Times in picoseconds for an element of vector code in the first cache, measured on one core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Costs {
    /// A primitive that vectors do in one or two instructions.
    pub cheap: u64,
    pub divide: u64,
    /// A primitive that is done lane by lane: 64-bit integers, divisions of integers, gathers.
    pub scalar: u64,
    /// exp, log and their like.
    pub function: u64,
    /// pow, and others of about twice that.
    pub long_function: u64,
    /// A function of a value that vectors do not hold.
    pub scalar_function: u64,
    /// Taking an element into a reduction.
    pub reduce: u64,
    /// A byte from or to memory behind the second cache.
    pub far_byte: u64,
    /// A byte from or to the caches.
    pub near_byte: u64,
    /// Where a kernel's data counts as far, in bytes.
    pub near: u64,
    /// What a chunk takes at least, in nanoseconds.
    pub grain_ns: u64,
    /// Of contractions; without it, what is built in for the level of the code.
    pub multiply: Option<Multiply>,
}

/// How fast contractions multiply f32, in picoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Multiply {
    /// A multiply-add of one vector, where enough of them are independent.
    pub vector: u64,
    /// Until its result can be added to.
    pub latency: u64,
}

impl Default for Costs {
    fn default() -> Costs {
        Costs {
            cheap: 80,
            divide: 250,
            scalar: 600,
            function: 350,
            long_function: 900,
            scalar_function: 8000,
            reduce: 80,
            far_byte: 60,
            near_byte: 15,
            near: 512 << 10,
            grain_ns: 20_000,
            multiply: None,
        }
    }
}

impl Costs {
    /// Nanoseconds for the whole body.
    pub fn body_ns(&self, body: &LoopBody, args: &[Arg]) -> u64 {
        let (rows, elems) = (body.row_count(), body.row_count().saturating_mul(body.col_count()));
        let levels = crate::emit::levels(body);
        let bytes: u64 = args.iter().map(|a| a.len.saturating_mul(a.dtype.size() as u64)).sum();
        let byte = if bytes > self.near { self.far_byte } else { self.near_byte };
        let (mut a_row, mut an_elem) = (0u64, 0u64);
        for (e, &level) in body.exprs.iter().zip(&levels) {
            let own = self.expr(&e.op, e.dtype, byte);
            if level > body.rows.len() {
                an_elem = an_elem.saturating_add(own);
            } else if level > 0 {
                // Once a row, on one lane.
                a_row = a_row.saturating_add(10 * own);
            }
        }
        for s in &body.stores {
            an_elem += byte * args[s.arg.ix()].dtype.size() as u64 + self.cheap;
        }
        an_elem += self.reduce * (body.reds.len() + body.tails.len()) as u64;
        // A fold of the lanes for each reduction.
        a_row += 60_000 * body.reds.len() as u64;
        rows.saturating_mul(a_row).saturating_add(elems.saturating_mul(an_elem)) / 1000
    }

    fn expr(&self, op: &ExprOp, dtype: DType, byte: u64) -> u64 {
        let vectors = dtype.size() <= 4;
        match op {
            ExprOp::Const(_) | ExprOp::Acc(_) | ExprOp::Product => 0,
            ExprOp::AxisValue(_) => self.cheap,
            ExprOp::Load(l) => {
                let bytes = byte * dtype.size() as u64;
                if l.index.is_affine() { bytes + self.cheap } else { bytes + self.scalar }
            }
            ExprOp::Prim(p, _) => match p {
                _ if !vectors => self.scalar,
                Prim::Div | Prim::Sqrt if dtype.is_float() => self.divide,
                Prim::Div | Prim::Rem => self.scalar,
                _ => self.cheap,
            },
            ExprOp::Fn(..) if !vectors => self.scalar_function,
            ExprOp::Fn(Func::Pow | Func::Atan2 | Func::Philox, _) => self.long_function,
            ExprOp::Fn(..) => self.function,
        }
    }
}
