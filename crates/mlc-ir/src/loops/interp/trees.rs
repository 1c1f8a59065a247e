//! The reduction trees R4 (`lanes`), R5 (`Runs`) and the pair order R6, word for word.

use super::scalar::eval_prim;
use crate::DType;
use crate::loops::body::RedOp;
use crate::loops::scalar::{Lit, Prim};

const BLOCK: usize = 4096;
const LANES: usize = 256;
const RUN: u64 = 16;

/// A partial result: bits, and for ArgMax and ArgMin the position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Partial {
    pub value: u64,
    pub at: i64,
}

/// A reduction's operation on partial results.
#[derive(Debug, Clone, Copy)]
pub struct Reducer {
    op: RedOp,
    dtype: DType,
    identity: Partial,
}

impl Reducer {
    /// `None` where `op` does not reduce `dtype` (L8).
    pub fn new(op: RedOp, dtype: DType) -> Option<Reducer> {
        let identity = Partial { value: op.identity(dtype)?.bits, at: i64::MAX };
        Some(Reducer { op, dtype, identity })
    }

    pub fn identity(&self) -> Partial {
        self.identity
    }

    pub fn combine(&self, a: Partial, b: Partial) -> Partial {
        match self.op.prim() {
            Some(prim) => {
                Partial { value: eval_prim(prim, self.dtype, self.dtype, [a.value, b.value, 0]), at: 0 }
            }
            None if self.second_wins(a, b) => b,
            None => a,
        }
    }

    fn second_wins(&self, a: Partial, b: Partial) -> bool {
        let nan =
            |p: Partial| self.dtype.is_float() && Lit { dtype: self.dtype, bits: p.value }.as_f64().is_nan();
        match (nan(a), nan(b)) {
            (true, true) => b.at < a.at,
            (true, false) => false,
            (false, true) => true,
            (false, false) => {
                let less = |x: Partial, y: Partial| {
                    eval_prim(Prim::Lt, self.dtype, DType::Bool, [x.value, y.value, 0]) != 0
                };
                let (low, high) = if self.op == RedOp::ArgMax { (a, b) } else { (b, a) };
                if less(low, high) {
                    return true;
                }
                !less(high, low) && b.at < a.at
            }
        }
    }

    /// The bits of the reduction's result, of dtype [`RedOp::result`].
    pub fn result(&self, p: Partial) -> u64 {
        if self.op.is_arg() { p.at as u64 } else { p.value }
    }

    /// R4 over the values in order.
    pub fn lanes(&self, values: &[u64]) -> Partial {
        let blocks: Vec<Partial> =
            values.chunks(BLOCK).enumerate().map(|(i, b)| self.block(b, i * BLOCK)).collect();
        self.pairs(&blocks)
    }

    fn block(&self, values: &[u64], first: usize) -> Partial {
        let mut lanes = [self.identity; LANES];
        for (i, &value) in values.iter().enumerate() {
            let lane = &mut lanes[i % LANES];
            *lane = self.combine(*lane, Partial { value, at: (first + i) as i64 });
        }
        let mut width = LANES / 2;
        while width > 0 {
            for i in 0..width {
                lanes[i] = self.combine(lanes[i], lanes[i + width]);
            }
            width /= 2;
        }
        lanes[0]
    }

    /// The adjacent-pair tree over partial results.
    pub fn pairs(&self, parts: &[Partial]) -> Partial {
        match parts {
            [] => self.identity,
            [one] => *one,
            _ => {
                let half = parts.len().next_power_of_two() / 2;
                let (left, right) = (self.pairs(&parts[..half]), self.pairs(&parts[half..]));
                self.combine(left, right)
            }
        }
    }
}

/// R5 for one column: rows are pushed in order.
#[derive(Debug, Clone)]
pub struct Runs {
    red: Reducer,
    run: Partial,
    rows: u64,
    done: Vec<Partial>,
}

impl Runs {
    pub fn new(red: Reducer) -> Runs {
        Runs { red, run: red.identity, rows: 0, done: Vec::new() }
    }

    pub fn push(&mut self, value: u64) {
        self.run = self.red.combine(self.run, Partial { value, at: self.rows as i64 });
        self.rows += 1;
        if self.rows.is_multiple_of(RUN) {
            self.done.push(self.run);
            self.run = self.red.identity;
        }
    }

    /// The result's bits.
    pub fn finish(mut self) -> u64 {
        if !self.rows.is_multiple_of(RUN) {
            self.done.push(self.run);
        }
        self.red.result(self.red.pairs(&self.done))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(x: f32) -> u64 {
        x.to_bits().into()
    }

    /// R4 again, written another way: recursive, over padded arrays.
    fn naive_lanes(x: &[f32]) -> f32 {
        fn tree(x: &[f32]) -> f32 {
            if x.len() == 1 {
                return x[0];
            }
            let mut half = 1;
            while half * 2 < x.len() {
                half *= 2;
            }
            tree(&x[..half]) + tree(&x[half..])
        }
        fn fold(x: Vec<f32>) -> f32 {
            if x.len() == 1 {
                return x[0];
            }
            let h = x.len() / 2;
            fold((0..h).map(|i| x[i] + x[h + i]).collect())
        }
        let blocks: Vec<f32> = x
            .chunks(4096)
            .map(|b| {
                // Lanes beyond the block are missing; a short block folds from the next power of two.
                let n = b.len().next_power_of_two().min(256);
                fold((0..n).map(|l| b.iter().skip(l).step_by(256).fold(-0.0, |s, v| s + v)).collect())
            })
            .collect();
        if blocks.is_empty() { -0.0 } else { tree(&blocks) }
    }

    fn naive_runs(x: &[f32]) -> f32 {
        // A binary counter, as a streaming implementation keeps.
        let mut levels: Vec<Option<f32>> = Vec::new();
        for run in x.chunks(16) {
            let mut v = run.iter().fold(-0.0, |s, v| s + v);
            let mut l = 0;
            loop {
                if levels.len() == l {
                    levels.push(None);
                }
                match levels[l].take() {
                    Some(left) => v += left,
                    None => {
                        levels[l] = Some(v);
                        break;
                    }
                }
                l += 1;
            }
        }
        levels.into_iter().flatten().reduce(|right, left| left + right).unwrap_or(-0.0)
    }

    #[test]
    fn trees_match_a_second_implementation() {
        let red = Reducer::new(RedOp::Sum, DType::F32).unwrap();
        let mut s = 1u32;
        let values: Vec<f32> = (0..20_000)
            .map(|_| {
                s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (s >> 8) as f32 / 1e5 - 80.0
            })
            .collect();
        for n in [0, 1, 2, 3, 15, 16, 17, 33, 255, 256, 257, 1000, 4095, 4096, 4097, 8193, 12_289, 20_000] {
            let x = &values[..n];
            let v: Vec<u64> = x.iter().map(|&x| bits(x)).collect();
            assert_eq!(red.lanes(&v).value, bits(naive_lanes(x)), "lanes {n}");
            let mut runs = Runs::new(red);
            v.iter().for_each(|&v| runs.push(v));
            assert_eq!(runs.finish(), bits(naive_runs(x)), "runs {n}");
        }
    }

    #[test]
    fn special_values() {
        let sum = Reducer::new(RedOp::Sum, DType::F32).unwrap();
        assert_eq!(sum.lanes(&[bits(-0.0); 5]).value, bits(-0.0));
        let max = Reducer::new(RedOp::Max, DType::F32).unwrap();
        let v = max.lanes(&[bits(1.0), bits(f32::NAN), bits(2.0)]).value;
        assert!(f32::from_bits(v as u32).is_nan());
        let arg = Reducer::new(RedOp::ArgMax, DType::F32).unwrap();
        let at = |x: &[f32]| arg.lanes(&x.iter().map(|&x| bits(x)).collect::<Vec<_>>()).at;
        assert_eq!(at(&[1.0, 3.0, 3.0, 2.0]), 1);
        assert_eq!(at(&[0.0, -0.0]), 0);
        assert_eq!(at(&[-0.0, 0.0]), 0);
        assert_eq!(at(&[1.0, f32::NAN, 9.0, f32::NAN]), 1);
        assert_eq!(at(&[f32::NEG_INFINITY; 3]), 0);
        let mut long = vec![1.0; 9000];
        (long[300], long[5000]) = (7.0, 7.0);
        assert_eq!(at(&long), 300);
        let min = Reducer::new(RedOp::ArgMin, DType::I32).unwrap();
        let v: Vec<u64> = [3i64, -5, -5].iter().map(|&x| Lit::int(DType::I32, x).bits).collect();
        assert_eq!(min.lanes(&v).at, 1);
        assert!(Reducer::new(RedOp::Sum, DType::Bool).is_none());
    }
}
