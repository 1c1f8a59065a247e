//! How far the vector functions are from the true values, over ranges of inputs up to all 2^32.
//!
//! The tile primitives are the normative expansion bit for bit, and many times faster than evaluating it
//! one number at a time: so all inputs of a function take a minute or two instead of an hour.

use std::ops::RangeInclusive;

use mlc_ir::loops::Func;
use mlc_ir::loops::functions::{Scalar32, UlpError, ulp_error, unary};

use super::{TILE, code};
use crate::CpuFeatures;

/// The largest error of a function over these bit patterns; `None` for functions that are not unary.
pub fn worst_error(f: Func, cpu: CpuFeatures, inputs: RangeInclusive<u32>) -> Option<UlpError> {
    let vector = code(f, cpu.level);
    let (mut x, mut y) = ([0f32; TILE], [0f32; TILE]);
    let mut worst = UlpError { ulps: 0.0, at: 0.0 };
    let (mut at, end) = (u64::from(*inputs.start()), u64::from(*inputs.end()));
    while at <= end {
        let n = TILE.min((end - at + 1) as usize);
        for (i, x) in x[..n].iter_mut().enumerate() {
            *x = f32::from_bits((at + i as u64) as u32);
        }
        match vector {
            // SAFETY: the level is one of the machine's, and there are n elements in each.
            Some(code) => unsafe { code(y.as_mut_ptr(), x.as_ptr(), x.as_ptr(), n as u64) },
            None => {
                for (y, &x) in y.iter_mut().zip(&x[..n]) {
                    *y = unary(f, &mut Scalar32, x)?;
                }
            }
        }
        for (&x, &y) in x[..n].iter().zip(&y) {
            let ulps = ulp_error(f, x, y)?;
            if ulps > worst.ulps {
                worst = UlpError { ulps, at: x };
            }
        }
        at += n as u64;
    }
    Some(worst)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_on_every_level() {
        // 1 + 2^-23 and its neighbours, an odd number of them.
        let range = 0x3f7f_ff00..=0x3f80_0100;
        let all: Vec<UlpError> = CpuFeatures::available()
            .into_iter()
            .map(|cpu| worst_error(Func::Exp, cpu, range.clone()).unwrap())
            .collect();
        assert!(all.iter().all(|e| *e == all[0] && e.ulps > 0.4 && e.ulps <= 1.0), "{all:?}");
        assert_eq!(worst_error(Func::Pow, CpuFeatures::detect(), 0..=1), None);
    }
}
