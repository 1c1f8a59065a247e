//! f64 and integer references that the standard library does not have.

/// Within two units in the last place: below 1 by the Taylor series, above by the continued fraction of
/// erfc = 1 - erf, which is small there.
pub fn erf(x: f64) -> f64 {
    let a = x.abs();
    if x.is_nan() || a > 6.5 {
        return if x.is_nan() { x } else { 1f64.copysign(x) };
    }
    if a < 1.0 {
        // 2/sqrt(pi) * sum of (-1)^n a^(2n+1) / (n! (2n+1)), the small terms first.
        let power = |n: u32| (1..=n).fold(a, |p, k| -p * a * a / f64::from(k));
        let sum = (0..24).rev().map(|n| power(n) / f64::from(2 * n + 1)).sum::<f64>();
        return (std::f64::consts::FRAC_2_SQRT_PI * sum).copysign(x);
    }
    // erfc(a) = exp(-a*a) / sqrt(pi) / (a + (1/2) / (a + (2/2) / (a + ...)))
    let fraction = (1..=300).rev().fold(a, |rest, k| a + 0.5 * f64::from(k) / rest);
    let scale = 0.5 * std::f64::consts::FRAC_2_SQRT_PI * (-a * a).exp();
    (1.0 - scale / fraction).copysign(x)
}

pub fn sigmoid(x: f64) -> f64 {
    let e = (-x.abs()).exp();
    if x.is_nan() {
        x
    } else if x >= 0.0 {
        1.0 / (1.0 + e)
    } else {
        e / (1.0 + e)
    }
}

/// The exact remainder with the divisor's sign, as Python's and PyTorch's `%`.
pub fn rem(a: f64, b: f64) -> f64 {
    let r = a % b;
    if r != 0.0 && (r < 0.0) != (b < 0.0) { r + b } else { r }
}

/// `(a - rem(a, b)) / b`, which is an integer but for rounding: as PyTorch's `floor_divide`. The plain
/// quotient where b is 0.
pub fn floor_div(a: f64, b: f64) -> f64 {
    if b == 0.0 {
        return a / b;
    }
    let r = a % b;
    let mut q = (a - r) / b;
    if r != 0.0 && (r < 0.0) != (b < 0.0) {
        q -= 1.0;
    }
    if q == 0.0 {
        return 0f64.copysign(a / b);
    }
    let floor = q.floor();
    if q - floor > 0.5 { floor + 1.0 } else { floor }
}

pub fn int_floor_div(a: i128, b: i128) -> i128 {
    match a.checked_div(b) {
        None => 0,
        Some(q) => q - i128::from(a % b != 0 && (a < 0) != (b < 0)),
    }
}

pub fn int_rem(a: i128, b: i128) -> i128 {
    if b == 0 { 0 } else { a - b * int_floor_div(a, b) }
}

/// A shift count masked to a width, which is a power of two.
pub fn count(n: i128, bits: u32) -> u32 {
    (n & i128::from(bits - 1)) as u32
}

pub fn truth(b: bool) -> f64 {
    f64::from(u8::from(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of mpmath.
    #[test]
    fn erf_is_accurate() {
        for (x, want) in [
            (0.0, 0.0),
            (1e-10, 1.1283791670955126e-10),
            (0.5, 0.5204998778130465),
            (1.0, 0.8427007929497149),
            (1.3369666747330944, 0.941_343_130_733_054_2),
            (1.9582986658219164, 0.994_384_941_449_679_6),
            (2.9, 0.9999589021219005),
            (3.1, 0.9999883513426328),
            (5.0, 0.9999999999984626),
        ] {
            assert!((erf(x) - want).abs() <= 2.0 * f64::EPSILON * want, "erf({x}) = {}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
    }

    #[test]
    fn division_rounds_down() {
        assert_eq!((int_floor_div(-7, 2), int_rem(-7, 2)), (-4, 1));
        assert_eq!((int_floor_div(7, -2), int_rem(7, -2)), (-4, -1));
        assert_eq!((int_floor_div(7, 0), int_rem(7, 0)), (0, 0));
        assert_eq!((floor_div(-7.0, 2.0), rem(-7.0, 2.0)), (-4.0, 1.0));
    }
}
