//! `random(..)`: made-up data, the same on every machine.
//!
//! The generator is ChaCha8, keyed by the seed and the field's name. Floats are N(0, 1) by Marsaglia's
//! polar method, in operations that IEEE 754 rounds exactly (the logarithm is a series of our own), or
//! uniform; integers are uniform; bool is a fair coin.

use mlc_diag::Diagnostic;
use mlc_ir::DType;
use mlc_ir::program::RandomSpec;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::order::{below, generator};
use crate::host::{Element, HostTensor, Number, ShapeError};

/// A tensor of random values for the field `name`. `run_seed` stands in for a seed not given.
pub fn tensor(
    spec: &RandomSpec,
    name: &str,
    dtype: DType,
    shape: &[usize],
    run_seed: u64,
) -> Result<HostTensor, Diagnostic> {
    let key = blake3::hash(name.as_bytes());
    let field = key.as_bytes().first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
    let mut rng = generator(spec.seed.unwrap_or(run_seed), field, *b"mlc.random.v1\0\0\0");
    let too_large = |e: ShapeError| Diagnostic::error("E0711", format!("field `{name}`: {e}"));
    if dtype.is_float() {
        let values = floats(spec, name, &mut rng)?;
        // Drawn as f64 and rounded, so that a field's dtype does not change its numbers.
        let mut wide = HostTensor::zeros(DType::F64, shape).map_err(too_large)?;
        let mut values = values;
        wide.as_mut_slice::<f64>().unwrap_or(&mut []).iter_mut().for_each(|x| *x = values(dtype));
        return Ok(wide.cast(dtype));
    }
    let (low, span) = match dtype {
        DType::Bool => (0, 2),
        _ => bounds(spec, name, dtype)?,
    };
    let mut wide = HostTensor::zeros(DType::I64, shape).map_err(too_large)?;
    for x in wide.as_mut_slice::<i64>().unwrap_or(&mut []) {
        *x = low.wrapping_add_unsigned(below(&mut rng, span));
    }
    Ok(wide.cast(dtype))
}

type Draw<'a> = Box<dyn FnMut(DType) -> f64 + 'a>;

fn floats<'a>(spec: &RandomSpec, name: &str, rng: &'a mut ChaCha8Rng) -> Result<Draw<'a>, Diagnostic> {
    if spec.low.is_none() && spec.high.is_none() {
        let mut spare = None;
        return Ok(Box::new(move |_| normal(rng, &mut spare)));
    }
    let (low, high) = (spec.low.unwrap_or(0.0), spec.high.unwrap_or(1.0));
    if !(low < high && (high - low).is_finite()) {
        return Err(bad_bounds(name, format!("there is no number in [{low}, {high})")));
    }
    Ok(Box::new(move |dtype| uniform(rng, low, high, dtype)))
}

/// In `[low, high)` also after rounding to the dtype, if it has a value there.
fn uniform(rng: &mut ChaCha8Rng, low: f64, high: f64, dtype: DType) -> f64 {
    for _ in 0..64 {
        let x = low + (high - low) * unit(rng);
        let rounded: f64 = match dtype {
            DType::F32 => f64::from(x as f32),
            DType::F16 => half::f16::from_number(Number::Float(x)).to_f64(),
            DType::BF16 => half::bf16::from_number(Number::Float(x)).to_f64(),
            _ => x,
        };
        if rounded < high {
            return rounded;
        }
    }
    low
}

/// A multiple of 2^-53 in `[0, 1)`.
fn unit(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

fn normal(rng: &mut ChaCha8Rng, spare: &mut Option<f64>) -> f64 {
    if let Some(x) = spare.take() {
        return x;
    }
    loop {
        let (u, v) = (2.0 * unit(rng) - 1.0, 2.0 * unit(rng) - 1.0);
        let s = u * u + v * v;
        if s > 0.0 && s < 1.0 {
            let scale = (-2.0 * ln(s) / s).sqrt();
            *spare = Some(v * scale);
            return u * scale;
        }
    }
}

/// The natural logarithm of a normal number in `(0, 1)`, to about one ulp: `x = m 2^e` with `m` in
/// `[sqrt(1/2), sqrt(2))`, and `ln m = 2 atanh((m - 1) / (m + 1))` as a series.
fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut e = (bits >> 52) as i64 - 1023;
    let mut m = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    if m > std::f64::consts::SQRT_2 {
        m *= 0.5;
        e += 1;
    }
    let s = (m - 1.0) / (m + 1.0);
    let series = (0..=12).rev().fold(0.0, |sum, k| sum * (s * s) + 1.0 / f64::from(2 * k + 1));
    e as f64 * std::f64::consts::LN_2 + 2.0 * s * series
}

/// The least value and the number of values.
fn bounds(spec: &RandomSpec, name: &str, dtype: DType) -> Result<(i64, u64), Diagnostic> {
    let bits = 8 * dtype.size() as u32;
    let (least, most) = if dtype.is_signed_int() {
        (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)
    } else {
        (0, (1i128 << bits.min(63)) - 1)
    };
    let whole = |x: f64| if x.fract() == 0.0 { Ok(x as i128) } else { Err(format!("{x} is not an integer")) };
    let low = whole(spec.low.unwrap_or(0.0)).map_err(|e| bad_bounds(name, e))?;
    let high = whole(spec.high.unwrap_or(2.0)).map_err(|e| bad_bounds(name, e))?;
    if low >= high || low < least || high - 1 > most {
        return Err(bad_bounds(name, format!("[{low}, {high}) is empty or goes beyond {dtype}")));
    }
    match (i64::try_from(low), u64::try_from(high - low)) {
        (Ok(low), Ok(span)) => Ok((low, span)),
        _ => Err(bad_bounds(name, format!("[{low}, {high}) is too wide"))),
    }
}

fn bad_bounds(name: &str, what: String) -> Diagnostic {
    Diagnostic::error("E0716", format!("field `{name}`: random(..) with bad bounds: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(dtype: DType, low: Option<f64>, high: Option<f64>) -> Result<HostTensor, Diagnostic> {
        let spec = RandomSpec { rows: 0, low, high, seed: None };
        tensor(&spec, "x", dtype, &[20_000], 1)
    }

    #[test]
    fn logarithms_agree_with_the_library() {
        for i in 1..1000 {
            let x = f64::from(i) / 1000.0 * if i % 2 == 0 { 1.0 } else { 1e-9 };
            assert!((ln(x) - x.ln()).abs() <= 4e-16 * x.ln().abs().max(1.0), "{x}");
        }
    }

    #[test]
    fn moments_of_the_normal() {
        let x = draw(DType::F32, None, None).unwrap().to_vec::<f64>();
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }

    #[test]
    fn bounds_hold_after_rounding() {
        for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16] {
            let x = draw(dtype, Some(-1.0), Some(2.0)).unwrap().to_vec::<f64>();
            assert!(x.iter().all(|&x| (-1.0..2.0).contains(&x)));
            assert!(x.iter().any(|&x| x < -0.9) && x.iter().any(|&x| x > 1.9));
        }
        let x = draw(DType::I8, Some(-3.0), Some(4.0)).unwrap().to_vec::<i64>();
        assert!((-3..4).all(|v| x.contains(&v)) && x.iter().all(|v| (-3..4).contains(v)));
        let coin = draw(DType::Bool, None, None).unwrap().to_vec::<i64>().iter().sum::<i64>();
        assert!((9500..10_500).contains(&coin));
    }

    #[test]
    fn bad_bounds_are_errors() {
        assert!(draw(DType::F32, Some(1.0), Some(1.0)).is_err());
        assert!(draw(DType::F32, Some(f64::NAN), None).is_err());
        assert!(draw(DType::I64, Some(0.5), None).is_err());
        assert!(draw(DType::U8, Some(0.0), Some(257.0)).is_err());
        assert!(draw(DType::I64, Some(-1e300), Some(1e300)).is_err());
    }
}
