//! f16 and bf16 in loops that go in tiles: what is stored besides, in place, from several sweeps, in chains that need
//! more slots than there are, and where tiles do not fit.

use mlc_ir::DType;
use mlc_ir::loops::{Arg, AxisId, BodyBuilder, ExprId, Func, Index, Mode, Prim, RedOp};

use super::{A0, A1, A2, check_filled, kernel, read, write};

const SMALL: [DType; 2] = [DType::F16, DType::BF16];
const COLS: [u64; 4] = [23, 64, 300, 1027];

/// A kernel over 3 rows and some columns, for both small floats; its first argument is an array of them.
fn each(what: &str, make: impl Fn(&mut BodyBuilder, DType, ExprId, Index) -> Vec<Arg>) {
    for dtype in SMALL {
        for cols in COLS {
            let mut b = BodyBuilder::new(&[3], &[cols]);
            let at = Index::row_major(AxisId(0), &[3, cols]);
            let x = b.load(A0, dtype, at.clone());
            let mut args = make(&mut b, dtype, x, at);
            args.insert(0, read("x", dtype, 3 * cols));
            check_filled(&format!("{what}, {dtype}, {cols} columns"), &kernel(args, b.finish()), cols);
        }
    }
}

/// How many elements the kernels of [`each`] have.
fn all(b: &BodyBuilder) -> u64 {
    b.body().row_count() * b.body().col_count()
}

#[test]
fn chains_longer_than_the_slots() {
    each("a chain", |b, dtype, x, at| {
        let mut v = x;
        for i in 0..30 {
            let k = b.float(dtype, 0.3 + f64::from(i));
            v = match i % 5 {
                0 => b.prim(Prim::Mul, &[v, x]),
                1 => b.prim(Prim::Sub, &[k, v]),
                2 => b.prim(Prim::Div, &[v, k]),
                3 => b.prim(Prim::Max, &[v, k]),
                _ => b.prim(Prim::Add, &[v, v]),
            };
        }
        b.store(A1, at, v);
        vec![write("y", dtype, all(b))]
    });
}

/// A function is stored as it is, used rounded, and stored in f32.
#[test]
fn rounded_and_stored() {
    each("several stores", |b, dtype, x, at| {
        let y = b.call(Func::Exp, &[x]);
        let z = b.prim(Prim::Neg, &[y]);
        let z = b.prim(Prim::Sub, &[z, x]);
        let wide = b.cast(DType::F32, z);
        b.store(A1, at.clone(), y);
        b.store(A2, at, wide);
        vec![write("y", dtype, all(b)), write("z", DType::F32, all(b))]
    });
    each("two small stores", |b, dtype, x, at| {
        let (y, z) = (b.call(Func::Exp, &[x]), b.call(Func::Sigmoid, &[x]));
        let w = b.call(Func::Tanh, &[z]);
        b.store(A1, at.clone(), y);
        b.store(A2, at, w);
        vec![write("y", dtype, all(b)), write("w", dtype, all(b))]
    });
}

/// Functions in a small float whose values several sweeps over a row use.
#[test]
fn several_sweeps() {
    each("sweeps", |b, dtype, x, at| {
        let y = b.call(Func::Exp, &[x]);
        let wide = b.cast(DType::F32, y);
        let sum = b.reduce(RedOp::Sum, wide);
        let share = b.prim(Prim::Div, &[wide, sum]);
        let most = b.reduce(RedOp::Max, share);
        let most = b.cast(dtype, most);
        let v = b.prim(Prim::Mul, &[y, most]);
        b.store(A1, at, v);
        vec![write("y", dtype, all(b))]
    });
}

/// Weights in f32 are updated in place; a small copy is written of what they were, and of what they become.
#[test]
fn updates_in_place() {
    for dtype in SMALL {
        for cols in COLS {
            for new in [false, true] {
                let mut b = BodyBuilder::new(&[], &[cols]);
                let at = Index::axis(AxisId(0));
                let w = b.load(A0, DType::F32, at.clone());
                let g = b.load(A1, dtype, at.clone());
                let wide = b.cast(DType::F32, g);
                let next = b.prim(Prim::Sub, &[w, wide]);
                let copy = b.cast(dtype, if new { next } else { w });
                b.store(A0, at.clone(), next);
                b.store(A1, at, copy);
                let args = vec![
                    Arg::new("w", DType::F32, cols, Mode::ReadWrite),
                    Arg::new("g", dtype, cols, Mode::ReadWrite),
                ];
                check_filled(
                    &format!("an update, {dtype}, {cols}, new: {new}"),
                    &kernel(args, b.finish()),
                    cols,
                );
            }
        }
    }
}

/// Guards, gaps and transposes stay in line, among calls on tiles.
#[test]
fn where_tiles_do_not_fit() {
    each("places", |b, dtype, x, at| {
        let c = b.axis_value(AxisId(1));
        let limit = b.int(DType::I64, 40);
        let guard = b.prim(Prim::Lt, &[c, limit]);
        let y = b.load_guarded(A0, at.clone(), Some(guard), mlc_ir::loops::Lit::int(dtype, 1));
        let turned = b.load(A0, dtype, Index::axis(AxisId(0)).plus_index(&Index::axis(AxisId(1)).scale(3)));
        let v = b.prim(Prim::Mul, &[x, y]);
        let v = b.prim(Prim::Add, &[v, turned]);
        b.store(A1, Index::axis(AxisId(0)).plus_index(&Index::axis(AxisId(1)).scale(3)), v);
        b.store_guarded(A2, at, v, Some(guard));
        vec![write("y", dtype, all(b)), Arg::new("z", dtype, all(b), Mode::ReadWrite)]
    });
}
