//! Expansions as expressions: [`Arith`] over a [`BodyBuilder`].

use super::arith::Arith;
use super::{Func, binary, philox, unary};
use crate::DType;
use crate::loops::body::{BodyBuilder, ExprId};
use crate::loops::scalar::{Lit, Prim};

/// Adds the expansion of `f(args)` to a body and returns its value. `args` are of the types that
/// [`Func::result`] accepts.
pub fn expand(b: &mut BodyBuilder, f: Func, args: &[ExprId]) -> ExprId {
    let dtype = b.dtype(args[0]);
    match (f, dtype) {
        (Func::Philox, _) => expand_philox(b, args),
        (_, DType::F64) => apply(&mut Emit::<64>(b), f, args),
        (_, DType::F32) => apply(&mut Emit::<32>(b), f, args),
        _ => {
            let wide: Vec<ExprId> = args.iter().map(|&x| b.cast(DType::F32, x)).collect();
            let y = apply(&mut Emit::<32>(b), f, &wide);
            b.cast(dtype, y)
        }
    }
}

fn apply<const W: u32>(e: &mut Emit<'_, W>, f: Func, args: &[ExprId]) -> ExprId {
    let y = if args.len() == 2 { binary(f, e, args[0], args[1]) } else { unary(f, e, args[0]) };
    y.unwrap_or(args[0])
}

fn expand_philox(b: &mut BodyBuilder, args: &[ExprId]) -> ExprId {
    let (seed, index, site, iteration) = (args[0], args[1], args[2], args[3]);
    let n32 = b.lit(Lit::u64(32));
    let two = b.lit(Lit::u64(2));
    let halves = |b: &mut BodyBuilder, x| {
        let hi = b.prim(Prim::Shr, &[x, n32]);
        [b.cast(DType::U32, x), b.cast(DType::U32, hi)]
    };
    let key = halves(b, seed);
    let block = b.prim(Prim::Shr, &[index, two]);
    let [lo, hi] = halves(b, block);
    let words = philox(&mut Emit::<32>(b), key, [lo, hi, site, iteration]);
    let three = b.lit(Lit::u64(3));
    let which = b.prim(Prim::And, &[index, three]);
    let mut out = words[3];
    for i in (0..3).rev() {
        let n = b.lit(Lit::u64(i));
        let is = b.prim(Prim::Eq, &[which, n]);
        out = b.prim(Prim::Select, &[is, words[i as usize], out]);
    }
    out
}

/// Emits expressions of width `W` (32: f32 and u32; 64: f64 and u64).
pub struct Emit<'a, const W: u32>(pub &'a mut BodyBuilder);

impl<const W: u32> Emit<'_, W> {
    const F: DType = if W == 32 { DType::F32 } else { DType::F64 };
    const U: DType = if W == 32 { DType::U32 } else { DType::U64 };
    const I: DType = if W == 32 { DType::I32 } else { DType::I64 };
}

macro_rules! prims {
    ($($name:ident $prim:ident ($($x:ident),+);)*) => {
        $(fn $name(&mut self, $($x: ExprId),+) -> ExprId {
            self.0.prim(Prim::$prim, &[$($x),+])
        })*
    };
}

impl<const W: u32> Arith for Emit<'_, W> {
    type F = ExprId;
    type U = ExprId;
    type M = ExprId;
    const WIDTH: u32 = W;

    prims! {
        add Add(a, b);
        sub Sub(a, b);
        mul Mul(a, b);
        div Div(a, b);
        fma Fma(a, b, c);
        neg Neg(a);
        abs Abs(a);
        max Max(a, b);
        min Min(a, b);
        rint Rint(a);
        eq Eq(a, b);
        ne Ne(a, b);
        lt Lt(a, b);
        le Le(a, b);
        select Select(c, a, b);
        uadd Add(a, b);
        usub Sub(a, b);
        umul Mul(a, b);
        uand And(a, b);
        uor Or(a, b);
        uxor Xor(a, b);
        shl Shl(a, n);
        shr Shr(a, n);
        umulhi Umulhi(a, b);
        ueq Eq(a, b);
        uselect Select(c, a, b);
        and And(a, b);
        or Or(a, b);
    }

    fn num(&mut self, x: f64) -> ExprId {
        self.0.float(Self::F, x)
    }

    fn bits(&mut self, x: u64) -> ExprId {
        self.0.int(Self::U, x as i64)
    }

    fn to_bits(&mut self, a: ExprId) -> ExprId {
        self.0.bitcast(Self::U, a)
    }

    fn of_bits(&mut self, a: ExprId) -> ExprId {
        self.0.bitcast(Self::F, a)
    }

    fn to_int(&mut self, a: ExprId) -> ExprId {
        let i = self.0.cast(Self::I, a);
        self.0.cast(Self::U, i)
    }

    fn of_int(&mut self, a: ExprId) -> ExprId {
        let i = self.0.cast(Self::I, a);
        self.0.cast(Self::F, i)
    }
}
