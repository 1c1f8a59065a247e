//! Every primitive and function on every dtype, over special and random values, scalar and in lanes.

use mlc_ir::DType;
use mlc_ir::loops::functions::FUNCTIONS;
use mlc_ir::loops::scalar::PRIMS;
use mlc_ir::loops::{ArgId, Atom, AxisId, BodyBuilder, ExprId, Func, Index, Prim, RedOp};

use super::{A0, A1, A2, check_filled, kernel, read, write};

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

/// Random words along rows: one after another, from any word of a counter on, and at distances at which each word has
/// a counter of its own; once, and in several sweeps over a row.
#[test]
fn random_words() {
    use DType::*;
    for cols in [23, 64, 300, 1027] {
        for (row, step, offset) in
            [(cols as i64, 1, 0), (cols as i64 + 1, 1, 3), (-7, 1, -20), (1, 4, 0), (3, 0, 1)]
        {
            for sweeps in [false, true] {
                let mut b = BodyBuilder::new(&[5], &[cols]);
                let (i, c) = (AxisId(0), AxisId(1));
                let seed = b.load(A0, U64, Index::constant(0));
                let iteration = b.load(A1, U32, Index::constant(0));
                let at = Index::term(row, Atom::Axis(i))
                    .plus_index(&Index::term(step, Atom::Axis(c)))
                    .plus(offset);
                let index = b.index_value(&at);
                let index = b.cast(U64, index);
                let site = b.int(U32, 9);
                let mut word = b.call(Func::Philox, &[seed, index, site, iteration]);
                if sweeps {
                    let number = b.cast(F32, word);
                    let sum = b.reduce(RedOp::Sum, number);
                    let mean = b.prim(Prim::Div, &[number, sum]);
                    let most = b.reduce(RedOp::Max, mean);
                    let most = b.bitcast(U32, most);
                    word = b.prim(Prim::Xor, &[word, most]);
                }
                b.store(A2, Index::row_major(i, &[5, cols]), word);
                let args = vec![read("seed", U64, 1), read("iteration", U32, 1), write("out", U32, 5 * cols)];
                let what = format!("random words, {cols} columns {step} apart, rows {row}, sweeps: {sweeps}");
                check_filled(&what, &kernel(args, b.finish()), cols);
            }
        }
    }
}
