//! The vjps of the elementwise functions, as expressions in the graph.

use mlc_diag::Diagnostic;

use crate::graph::{GraphBuilder, ValueId};
use crate::op::{Cotangents, ScalarFn};

type B<'a, 'g> = &'a mut GraphBuilder<'g>;
type One = Result<ValueId, Diagnostic>;
pub(super) type Pulled = Result<Cotangents, Diagnostic>;

/// A node `y = f(x...)` with its cotangent `g` and which operands want theirs.
pub struct Chain<'a> {
    pub x: &'a [ValueId],
    pub y: ValueId,
    pub g: ValueId,
    pub wanted: &'a [bool],
}

impl Chain<'_> {
    fn wants(&self, i: usize) -> bool {
        self.wanted.get(i).copied().unwrap_or(false)
    }

    /// One cotangent for each function, made only where it is wanted.
    fn pair(
        &self,
        b: B<'_, '_>,
        first: impl FnOnce(&mut GraphBuilder<'_>) -> One,
        second: impl FnOnce(&mut GraphBuilder<'_>) -> One,
    ) -> Pulled {
        let first = if self.wants(0) { Some(first(b)?) } else { None };
        let second = if self.wants(1) { Some(second(b)?) } else { None };
        Ok(vec![first, second])
    }
}

fn one(v: One) -> Pulled {
    Ok(vec![Some(v?)])
}

fn less(b: B<'_, '_>, x: ValueId, y: ValueId) -> One {
    b.map(ScalarFn::Lt, &[x, y])
}

pub fn neg(b: B<'_, '_>, c: &Chain<'_>) -> Pulled {
    one(b.neg(c.g))
}

pub fn abs(b: B<'_, '_>, c: &Chain<'_>) -> Pulled {
    let x = c.x[0];
    let (zero, one_, minus) = (b.full_like(x, 0.0)?, b.full_like(x, 1.0)?, b.full_like(x, -1.0)?);
    let (above, below) = (less(b, zero, x)?, less(b, x, zero)?);
    let below = b.select(below, minus, zero)?;
    let sign = b.select(above, one_, below)?;
    one(b.mul(c.g, sign))
}

pub fn sqrt(b: B<'_, '_>, c: &Chain<'_>) -> Pulled {
    let two = b.full_like(c.y, 2.0)?;
    let twice = b.mul(two, c.y)?;
    one(b.div(c.g, twice))
}

pub fn exp(b: B<'_, '_>, c: &Chain<'_>) -> Pulled {
    one(b.mul(c.g, c.y))
}

pub fn expm1(b: B<'_, '_>, c: &Chain<'_>) -> Pulled {
    let unit = b.full_like(c.y, 1.0)?;
    let slope = b.add(c.y, unit)?;
    one(b.mul(c.g, slope))
}

pub fn log(b: B<'_, '_>, c: &Chain<'_>) -> Pulled {
    one(b.div(c.g, c.x[0]))
}

pub fn log1p(b: B<'_, '_>, c: &Chain<'_>) -> Pulled {
    let unit = b.full_like(c.y, 1.0)?;
    let shifted = b.add(c.x[0], unit)?;
    one(b.div(c.g, shifted))
}

pub fn sin(b: B<'_, '_>, c: &Chain<'_>) -> Pulled {
    let slope = b.map(ScalarFn::Cos, c.x)?;
    one(b.mul(c.g, slope))
}

pub fn cos(b: B<'_, '_>, c: &Chain<'_>) -> Pulled {
    let sin = b.map(ScalarFn::Sin, c.x)?;
    let slope = b.neg(sin)?;
    one(b.mul(c.g, slope))
}

pub fn tan(b: B<'_, '_>, c: &Chain<'_>) -> Pulled {
    let unit = b.full_like(c.y, 1.0)?;
    let square = b.mul(c.y, c.y)?;
    let slope = b.add(unit, square)?;
    one(b.mul(c.g, slope))
}

pub fn tanh(b: B<'_, '_>, c: &Chain<'_>) -> Pulled {
    let unit = b.full_like(c.y, 1.0)?;
    let square = b.mul(c.y, c.y)?;
    let slope = b.sub(unit, square)?;
    one(b.mul(c.g, slope))
}

pub fn erf(b: B<'_, '_>, c: &Chain<'_>) -> Pulled {
    let square = b.mul(c.x[0], c.x[0])?;
    let minus = b.neg(square)?;
    let bell = b.map(ScalarFn::Exp, &[minus])?;
    let scale = b.full_like(c.y, std::f64::consts::FRAC_2_SQRT_PI)?;
    let slope = b.mul(scale, bell)?;
    one(b.mul(c.g, slope))
}

pub fn sigmoid(b: B<'_, '_>, c: &Chain<'_>) -> Pulled {
    let unit = b.full_like(c.y, 1.0)?;
    let rest = b.sub(unit, c.y)?;
    let scaled = b.mul(c.g, rest)?;
    one(b.mul(scaled, c.y))
}

pub fn add(_: B<'_, '_>, c: &Chain<'_>) -> Pulled {
    Ok(vec![Some(c.g), Some(c.g)])
}

pub fn sub(b: B<'_, '_>, c: &Chain<'_>) -> Pulled {
    c.pair(b, |_| Ok(c.g), |b| b.neg(c.g))
}

pub fn mul(b: B<'_, '_>, c: &Chain<'_>) -> Pulled {
    c.pair(b, |b| b.mul(c.g, c.x[1]), |b| b.mul(c.g, c.x[0]))
}

pub fn div(b: B<'_, '_>, c: &Chain<'_>) -> Pulled {
    let second = |b: B<'_, '_>| {
        let slope = b.div(c.y, c.x[1])?;
        let minus = b.neg(c.g)?;
        b.mul(minus, slope)
    };
    c.pair(b, |b| b.div(c.g, c.x[1]), second)
}

/// a % b = a - b * floor(a / b), and the floor is constant.
pub fn rem(b: B<'_, '_>, c: &Chain<'_>) -> Pulled {
    let second = |b: B<'_, '_>| {
        let whole = b.map(ScalarFn::FloorDiv, c.x)?;
        let minus = b.neg(c.g)?;
        b.mul(minus, whole)
    };
    c.pair(b, |_| Ok(c.g), second)
}

pub fn pow(b: B<'_, '_>, c: &Chain<'_>) -> Pulled {
    let (base, exponent) = (c.x[0], c.x[1]);
    let by_base = |b: B<'_, '_>| {
        let (zero, unit) = (b.full_like(exponent, 0.0)?, b.full_like(exponent, 1.0)?);
        let less = b.sub(exponent, unit)?;
        let power = b.map(ScalarFn::Pow, &[base, less])?;
        let slope = b.mul(exponent, power)?;
        let scaled = b.mul(c.g, slope)?;
        let constant = b.map(ScalarFn::Eq, &[exponent, zero])?;
        b.select(constant, zero, scaled)
    };
    // 0 ** b is constant in b >= 0; the logarithm is kept finite there, so that its own derivative,
    // multiplied by the zero, is none.
    let by_exponent = |b: B<'_, '_>| {
        let (zero, unit) = (b.full_like(base, 0.0)?, b.full_like(base, 1.0)?);
        let at_zero = b.map(ScalarFn::Eq, &[base, zero])?;
        let not_negative = b.map(ScalarFn::Le, &[zero, exponent])?;
        let constant = b.map(ScalarFn::And, &[at_zero, not_negative])?;
        let safe = b.select(constant, unit, base)?;
        let log = b.map(ScalarFn::Log, &[safe])?;
        let slope = b.mul(c.y, log)?;
        let scaled = b.mul(c.g, slope)?;
        b.select(constant, zero, scaled)
    };
    c.pair(b, by_base, by_exponent)
}

pub fn atan2(b: B<'_, '_>, c: &Chain<'_>) -> Pulled {
    let (y, x) = (c.x[0], c.x[1]);
    let (yy, xx) = (b.mul(y, y)?, b.mul(x, x)?);
    let square = b.add(yy, xx)?;
    // At the origin, where there is no angle, none of it changes.
    let zero = b.full_like(square, 0.0)?;
    let origin = b.map(ScalarFn::Eq, &[square, zero])?;
    let quotient = b.div(c.g, square)?;
    let scaled = b.select(origin, zero, quotient)?;
    let second = |b: B<'_, '_>| {
        let minus = b.neg(y)?;
        b.mul(scaled, minus)
    };
    c.pair(b, |b| b.mul(scaled, x), second)
}

/// Of `loses(i)`, true where operand i is not the result: ties share, and where a NaN makes every
/// comparison false the whole cotangent goes both ways.
fn extremum(
    b: B<'_, '_>,
    c: &Chain<'_>,
    loses: impl Fn(&mut GraphBuilder<'_>, ValueId, ValueId) -> One,
) -> Pulled {
    let (p, q) = (c.x[0], c.x[1]);
    let zero = b.full_like(c.g, 0.0)?;
    let half = b.full_like(c.g, 0.5)?;
    let tie = b.map(ScalarFn::Eq, &[p, q])?;
    let halved = b.mul(c.g, half)?;
    let shared = b.select(tie, halved, c.g)?;
    let side = |b: &mut GraphBuilder<'_>, mine: ValueId, other: ValueId| {
        let lost = loses(b, mine, other)?;
        b.select(lost, zero, shared)
    };
    c.pair(b, |b| side(b, p, q), |b| side(b, q, p))
}

pub fn max(b: B<'_, '_>, c: &Chain<'_>) -> Pulled {
    extremum(b, c, less)
}

pub fn min(b: B<'_, '_>, c: &Chain<'_>) -> Pulled {
    extremum(b, c, |b, mine, other| less(b, other, mine))
}

pub fn select(b: B<'_, '_>, c: &Chain<'_>) -> Pulled {
    let zero = b.full_like(c.g, 0.0)?;
    let yes = if c.wants(1) { Some(b.select(c.x[0], c.g, zero)?) } else { None };
    let no = if c.wants(2) { Some(b.select(c.x[0], zero, c.g)?) } else { None };
    Ok(vec![None, yes, no])
}
