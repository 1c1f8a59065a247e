//! How far the f32 expansions are from the true values, in units of the last place.

use super::arith::{Scalar32, Scalar64};
use super::{Func, unary};

/// The largest error found and where.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UlpError {
    /// Infinite where a NaN, infinity or sign of zero is wrong.
    pub ulps: f64,
    pub at: f32,
}

/// The error of `got` for `f(x)`. `None` for functions that are not unary.
pub fn ulp_error(f: Func, x: f32, got: f32) -> Option<f64> {
    Some(error(got, reference(f, x.into())?))
}

/// Over every `stride`-th input from `start`: all exponents, with mantissas spread.
pub fn ulp_error_sampled(f: Func, start: u32, stride: u32) -> Option<UlpError> {
    worst(f, (start..=u32::MAX).step_by(stride.max(1) as usize))
}

fn worst(f: Func, inputs: impl Iterator<Item = u32>) -> Option<UlpError> {
    let mut worst = UlpError { ulps: 0.0, at: 0.0 };
    for bits in inputs {
        let x = f32::from_bits(bits);
        let ulps = ulp_error(f, x, unary(f, &mut Scalar32, x)?)?;
        if ulps > worst.ulps {
            worst = UlpError { ulps, at: x };
        }
    }
    Some(worst)
}

/// The platform's f64 function; for what it lacks, our own f64 expansion, which has references of its own.
fn reference(f: Func, x: f64) -> Option<f64> {
    Some(match f {
        Func::Exp => x.exp(),
        Func::Expm1 => x.exp_m1(),
        Func::Log => x.ln(),
        Func::Log1p => x.ln_1p(),
        Func::Sin => x.sin(),
        Func::Cos => x.cos(),
        Func::Tan => x.tan(),
        Func::Tanh => x.tanh(),
        // Beyond 6 erf is 1 and near 0 two terms are its series, both within f64; the rest is slow.
        Func::Erf if x.abs() > 6.0 => 1f64.copysign(x),
        Func::Erf if x.abs() < 2f64.powi(-14) => std::f64::consts::FRAC_2_SQRT_PI * x * (1.0 - x * x / 3.0),
        Func::Sigmoid if x < 0.0 => x.exp() / (1.0 + x.exp()),
        Func::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        _ => return unary(f, &mut Scalar64, x),
    })
}

/// |got - want| in units of the last place of `want` as f32.
pub(super) fn error(got: f32, want: f64) -> f64 {
    if want.is_nan() || got.is_nan() {
        return if want.is_nan() && got.is_nan() { 0.0 } else { f64::INFINITY };
    }
    let nearest = want as f32;
    if got == nearest {
        let same_zero = want != 0.0 || got.is_sign_negative() == want.is_sign_negative();
        return if same_zero { 0.0f64.max(gap(got, want)) } else { f64::INFINITY };
    }
    if got.is_infinite() || nearest.is_infinite() {
        // The first float beyond the largest counts as its neighbour.
        let clip = |x: f64| x.clamp(-2f64.powi(128), 2f64.powi(128));
        return (clip(got.into()) - clip(want)).abs() / 2f64.powi(104);
    }
    gap(got, want)
}

fn gap(got: f32, want: f64) -> f64 {
    if got.is_infinite() {
        return 0.0;
    }
    let exponent = ((want.abs().to_bits() >> 52) as i32 - 1023).max(-126);
    (f64::from(got) - want).abs() / 2f64.powi(exponent - 23)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loops::functions::{Arith, binary, eval, expand, philox_word};

    const UNARY: [Func; 10] = [
        Func::Exp,
        Func::Expm1,
        Func::Log,
        Func::Log1p,
        Func::Sin,
        Func::Cos,
        Func::Tan,
        Func::Tanh,
        Func::Erf,
        Func::Sigmoid,
    ];

    fn over(f: Func, e: UlpError) -> Option<String> {
        (e.ulps > 1.0).then(|| format!("{f}: {} ulp at {:e}", e.ulps, e.at))
    }

    #[test]
    fn f32_within_one_ulp() {
        let wrong: Vec<String> =
            UNARY.iter().filter_map(|&f| over(f, ulp_error_sampled(f, 17, 5003).unwrap())).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn f32_dense_where_functions_bend() {
        let mut wrong = Vec::new();
        for f in UNARY {
            for center in [0.25f32, 0.3466, 0.5, 0.7072, 1.0, 1.4143, 1.571, 3.15, 4.0, 12.566, 88.0] {
                for sign in [0u32, 1 << 31] {
                    let base = center.to_bits() | sign;
                    wrong.extend(over(f, worst(f, (base - 20_000..base + 20_000).step_by(31)).unwrap()));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Pairs of any bits, and pairs whose power is an ordinary number.
    fn pairs(n: usize) -> Vec<(f32, f32)> {
        let mut s = 7;
        (0..n)
            .flat_map(|_| {
                let (a, b) = (random(&mut s), random(&mut s));
                let x = f32::from_bits(a as u32);
                let base = 2f32.powf((b as u32 as f32 / 2f32.powi(28)) - 8.0);
                let y = (a >> 40) as f32 / 2f32.powi(18) - 32.0;
                [
                    (x, f32::from_bits(b as u32)),
                    (base, y),
                    (1.0 + x.fract() / 64.0, (b >> 52) as f32 - 2048.0),
                ]
            })
            .collect()
    }

    #[test]
    fn f32_binary_within_two_ulp() {
        let mut wrong = Vec::new();
        for (x, y) in pairs(30_000) {
            for (f, want) in
                [(Func::Pow, f64::from(x).powf(y.into())), (Func::Atan2, f64::from(x).atan2(y.into()))]
            {
                let got = binary(f, &mut Scalar32, x, y).unwrap();
                let e = error(got, want);
                if e > 1.0 {
                    wrong.push(format!("{f}({x:e}, {y:e}) = {got:e}, want {want:e}: {e} ulp"));
                }
            }
        }
        assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
    }

    #[test]
    fn special_values_are_libms() {
        let v =
            [0.0f64, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 2.5, 1e300, -1e300, 5e-324, -5e-324];
        let v: Vec<f64> =
            v.into_iter().chain([f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MAX]).collect();
        for &x in &v {
            for &y in &v {
                let near = |got: f64, want: f64, name: &str| {
                    let close = got == want || (got - want).abs() <= 4.5e-16 * want.abs();
                    let ok = if want.is_nan() {
                        got.is_nan()
                    } else {
                        close && got.is_sign_negative() == want.is_sign_negative()
                    };
                    assert!(ok, "{name}({x:e}, {y:e}) = {got:e}, want {want:e}");
                };
                near(binary(Func::Pow, &mut Scalar64, x, y).unwrap(), x.powf(y), "pow");
                near(binary(Func::Atan2, &mut Scalar64, x, y).unwrap(), x.atan2(y), "atan2");
                let (a, b) = (x as f32, y as f32);
                let got = binary(Func::Pow, &mut Scalar32, a, b).unwrap();
                assert!(error(got, f64::from(a).powf(b.into())) <= 1.0, "pow({a:e}, {b:e}) = {got:e}");
                let got = binary(Func::Atan2, &mut Scalar32, a, b).unwrap();
                assert!(error(got, f64::from(a).atan2(b.into())) <= 1.0, "atan2({a:e}, {b:e}) = {got:e}");
            }
            for f in UNARY {
                let (got, want) = (unary(f, &mut Scalar64, x).unwrap(), reference(f, x).unwrap());
                let ok = if want.is_nan() {
                    got.is_nan()
                } else {
                    got.is_sign_negative() == want.is_sign_negative()
                        && (got == want || (got - want).abs() <= 4.5e-16 * want.abs())
                };
                assert!(ok, "{f}({x:e}) = {got:e}, want {want:e}");
            }
        }
    }

    /// Lines `function x [y] upper lower`: hexadecimal f64 bits; the true value is upper + lower.
    #[test]
    fn f64_within_two_ulp_of_high_precision() {
        let (mut count, mut wrong) = (0, Vec::new());
        for line in include_str!("reference.txt").lines().filter(|l| !l.starts_with('#')) {
            let mut words = line.split(' ');
            let f = Func::from_name(words.next().unwrap()).unwrap();
            let v: Vec<f64> = words.map(|w| f64::from_bits(u64::from_str_radix(w, 16).unwrap())).collect();
            let got = match v[..] {
                [x, _, _] => unary(f, &mut Scalar64, x).unwrap(),
                [x, y, _, _] => binary(f, &mut Scalar64, x, y).unwrap(),
                _ => panic!("{line}"),
            };
            let (hi, lo) = (v[v.len() - 2], v[v.len() - 1]);
            let ulp = f64::from_bits(hi.abs().to_bits() + 1) - hi.abs();
            let ulps = ((got - hi) - lo).abs() / ulp;
            if ulps > 1.2 {
                wrong.push(format!("{f}{:?} = {got:e}, want {hi:e}: {ulps} ulp", &v[..v.len() - 2]));
            }
            count += 1;
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(count > 500);
    }

    #[test]
    fn philox_known_answers() {
        // The generator's published vectors: all zero, all one.
        let words =
            |key: u64, c: [u32; 4]| super::super::philox(&mut Scalar32, [key as u32, (key >> 32) as u32], c);
        assert_eq!(words(0, [0; 4]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(words(u64::MAX, [u32::MAX; 4]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
        assert_eq!(philox_word(0, 2, 0, 0), 0xbc57ac4c);
        assert_ne!(philox_word(0, 4, 0, 0), philox_word(0, 0, 0, 0));
        assert_eq!(philox_word(5, 1 << 40, 9, 3), words(5, [0, 1 << 6, 9, 3])[0]);
    }

    /// The builder's expansion, evaluated primitive by primitive, is the scalar evaluator bit for bit.
    #[test]
    fn emitted_expansions_agree() {
        use crate::DType;
        use crate::loops::body::BodyBuilder;
        use crate::loops::interp::eval_scalar;
        use crate::loops::scalar::Lit;
        let mut s = 3;
        let specials = [0.0, -0.0, 1.0, -1.5, 1e10, 3e38, 1e-40, f64::INFINITY, f64::NAN, 100.0, -100.0];
        for f in UNARY.into_iter().chain([Func::Pow, Func::Atan2]) {
            for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
                for i in 0..60 {
                    let mut draw = |j: usize| {
                        let bits = random(&mut s);
                        match specials.get(i * (j + 1) % 23) {
                            Some(&x) => Lit::float(dtype, x),
                            None if i % 2 == 0 => Lit::float(dtype, (bits >> 40) as f64 / 2e6 - 4.0),
                            None => Lit { dtype, bits: bits & crate::loops::scalar::mask(dtype) },
                        }
                    };
                    let args: Vec<Lit> = (0..f.row().arity).map(&mut draw).collect();
                    let mut b = BodyBuilder::new(&[], &[]);
                    let ids: Vec<_> = args.iter().map(|&l| b.lit(l)).collect();
                    let y = expand(&mut b, f, &ids);
                    let got = eval_scalar(b.body(), y);
                    let bits: Vec<u64> = args.iter().map(|l| l.bits).collect();
                    let want = Lit { dtype, bits: eval(f, dtype, &bits) };
                    let same = got == want || got.as_f64().is_nan() && want.as_f64().is_nan();
                    assert!(same, "{f} {dtype} {args:?}: {got:?} {want:?}");
                }
            }
        }
        let mut b = BodyBuilder::new(&[], &[]);
        for (seed, index) in [(0, 2), (7, 5), (u64::MAX, u64::MAX), (1 << 40, 1 << 35)] {
            let ids = [b.lit(Lit::u64(seed)), b.lit(Lit::u64(index)), b.lit(Lit::u32(9)), b.lit(Lit::u32(4))];
            let y = expand(&mut b, Func::Philox, &ids);
            assert_eq!(eval_scalar(b.body(), y), Lit::u32(philox_word(seed, index, 9, 4)));
        }
        assert_eq!(Scalar32::WIDTH, 32);
    }
}
