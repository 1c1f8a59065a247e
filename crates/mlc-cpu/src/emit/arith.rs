//! The functions, emitted from their one expansion: [`Arith`] over [`Emit`].

use mlc_ir::DType;
use mlc_ir::loops::functions::{Arith, binary, philox, unary};
use mlc_ir::loops::{Func, Lit, Prim};

use super::Emit;
use super::value::Val;

/// Emits operations of width `W`: 32 (f32, u32) or 64 (f64, u64).
struct Ops<'e, 'a, 'b, const W: u32>(&'e mut Emit<'a, 'b>);

impl<const W: u32> Ops<'_, '_, '_, W> {
    const F: DType = if W == 32 { DType::F32 } else { DType::F64 };
    const U: DType = if W == 32 { DType::U32 } else { DType::U64 };
    const I: DType = if W == 32 { DType::I32 } else { DType::I64 };
}

impl Emit<'_, '_> {
    /// `f(args)`; all but philox have operands of the result's dtype.
    pub fn function_call(&mut self, f: Func, dtype: DType, args: &[Val]) -> Val {
        match dtype {
            _ if f == Func::Philox => self.philox(args),
            DType::F64 => apply(&mut Ops::<64>(self), f, args),
            DType::F32 => apply(&mut Ops::<32>(self), f, args),
            _ => {
                // Small floats are f32 in registers already; the result is rounded once.
                let y = apply(&mut Ops::<32>(self), f, args);
                self.prim(Prim::Cast, DType::F32, dtype, &[y])
            }
        }
    }

    fn philox(&mut self, args: &[Val]) -> Val {
        let (seed, index, site, iteration) = (args[0], args[1], args[2], args[3]);
        let key = self.halves(seed);
        let two = Val::One(self.lit(Lit::u64(2)));
        let block = self.prim(Prim::Shr, DType::U64, DType::U64, &[index, two]);
        let [low, high] = self.halves(block);
        let words = philox(&mut Ops::<32>(self), key, [low, high, site, iteration]);
        let which = self.prim(Prim::Cast, DType::U64, DType::U32, &[index]);
        let three = Val::One(self.lit(Lit::u32(3)));
        let which = self.prim(Prim::And, DType::U32, DType::U32, &[which, three]);
        let mut out = words[3];
        for i in (0..3).rev() {
            let n = Val::One(self.lit(Lit::u32(i)));
            let is = self.prim(Prim::Eq, DType::U32, DType::Bool, &[which, n]);
            out = self.prim(Prim::Select, DType::U32, DType::U32, &[is, words[i as usize], out]);
        }
        out
    }

    fn halves(&mut self, x: Val) -> [Val; 2] {
        let n = Val::One(self.lit(Lit::u64(32)));
        let high = self.prim(Prim::Shr, DType::U64, DType::U64, &[x, n]);
        [x, high].map(|v| self.prim(Prim::Cast, DType::U64, DType::U32, &[v]))
    }
}

fn apply<A: Arith<F = Val>>(a: &mut A, f: Func, args: &[Val]) -> Val {
    let y = if args.len() == 2 { binary(f, a, args[0], args[1]) } else { unary(f, a, args[0]) };
    y.unwrap_or(args[0])
}

macro_rules! prims {
    ($($name:ident $prim:ident $from:ident $to:ident ($($x:ident),+);)*) => {
        $(fn $name(&mut self, $($x: Val),+) -> Val {
            self.0.prim(Prim::$prim, prims!(@ $from), prims!(@ $to), &[$($x),+])
        })*
    };
    (@ F) => { Self::F };
    (@ U) => { Self::U };
    (@ M) => { DType::Bool };
}

impl<const W: u32> Arith for Ops<'_, '_, '_, W> {
    type F = Val;
    type U = Val;
    type M = Val;
    const WIDTH: u32 = W;

    prims! {
        add Add F F (a, b);
        sub Sub F F (a, b);
        mul Mul F F (a, b);
        div Div F F (a, b);
        fma Fma F F (a, b, c);
        neg Neg F F (a);
        abs Abs F F (a);
        max Max F F (a, b);
        min Min F F (a, b);
        rint Rint F F (a);
        eq Eq F M (a, b);
        ne Ne F M (a, b);
        lt Lt F M (a, b);
        le Le F M (a, b);
        select Select F F (c, a, b);
        uadd Add U U (a, b);
        usub Sub U U (a, b);
        umul Mul U U (a, b);
        uand And U U (a, b);
        uor Or U U (a, b);
        uxor Xor U U (a, b);
        shl Shl U U (a, n);
        shr Shr U U (a, n);
        umulhi Umulhi U U (a, b);
        ueq Eq U M (a, b);
        uselect Select U U (c, a, b);
        and And M M (a, b);
        or Or M M (a, b);
        to_bits Bitcast F U (a);
        of_bits Bitcast U F (a);
    }

    fn num(&mut self, x: f64) -> Val {
        Val::One(self.0.lit(Lit::float(Self::F, x)))
    }

    fn bits(&mut self, x: u64) -> Val {
        Val::One(self.0.lit(Lit::int(Self::U, x as i64)))
    }

    fn to_int(&mut self, a: Val) -> Val {
        self.0.prim(Prim::Cast, Self::F, Self::I, &[a])
    }

    fn of_int(&mut self, a: Val) -> Val {
        self.0.prim(Prim::Cast, Self::I, Self::F, &[a])
    }
}
