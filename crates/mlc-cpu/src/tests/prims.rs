//! Every primitive and function on every dtype, over special and random values, scalar and in lanes.

use mlc_ir::DType;
use mlc_ir::loops::functions::FUNCTIONS;
use mlc_ir::loops::scalar::PRIMS;
use mlc_ir::loops::{AxisId, BodyBuilder, ExprId, Func, Index, Prim};

use super::{check_filled, kernel, read, write};
use mlc_ir::loops::ArgId;

/// Full vectors and a rest, with functions in line; and two tiles of functions.
const LENGTHS: [u64; 2] = [23, 403];

/// `out[i] = f(in0[i], in1[i], ..)`
fn map(what: &str, types: &[DType], f: impl Fn(&mut BodyBuilder, &[ExprId]) -> ExprId) {
    for n in LENGTHS {
        let mut b = BodyBuilder::new(&[], &[n]);
        let i = Index::axis(AxisId(0));
        let loads: Vec<ExprId> =
            types.iter().enumerate().map(|(k, &d)| b.load(ArgId(k as u32), d, i.clone())).collect();
        let v = f(&mut b, &loads);
        let out = b.dtype(v);
        b.store(ArgId(types.len() as u32), i, v);
        let mut args: Vec<_> = types.iter().enumerate().map(|(k, &d)| read(&format!("a{k}"), d, n)).collect();
        args.push(write("out", out, n));
        check_filled(what, &kernel(args, b.finish()), 7 + types.len() as u64);
    }
}

#[test]
fn all_primitives() {
    for row in &PRIMS {
        for dtype in DType::ALL {
            let types: Vec<DType> = match row.prim {
                Prim::Cast | Prim::Bitcast => continue,
                Prim::Select => vec![DType::Bool, dtype, dtype],
                _ => vec![dtype; row.arity],
            };
            if row.prim.result(&types, DType::Bool).is_err() {
                continue;
            }
            map(&format!("{} {dtype}", row.name), &types, |b, x| b.prim(row.prim, x));
        }
    }
}

#[test]
fn all_casts() {
    for from in DType::ALL {
        for to in DType::ALL {
            map(&format!("cast {from} {to}"), &[from], |b, x| b.cast(to, x[0]));
        }
    }
}

#[test]
fn bitcasts() {
    use DType::*;
    // NaN bits may differ, so only to floats and through a comparison.
    for (from, to) in [(U32, F32), (U64, F64)] {
        map(&format!("bitcast {from} {to}"), &[from], |b, x| b.bitcast(to, x[0]));
    }
}

#[test]
fn all_functions() {
    for row in &FUNCTIONS {
        if row.func == Func::Philox {
            use DType::*;
            map("philox", &[U64, U64, U32, U32], |b, x| b.call(Func::Philox, x));
            continue;
        }
        for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16] {
            map(&format!("{} {dtype}", row.name), &vec![dtype; row.arity], |b, x| b.call(row.func, x));
        }
    }
}
