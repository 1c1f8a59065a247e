//! Random bodies: expressions of all types over random domains, loads with strides, guards and gathers, row
//! reductions that later ones use, stores and tails.

use mlc_ir::DType;
use mlc_ir::loops::functions::FUNCTIONS;
use mlc_ir::loops::scalar::PRIMS;
use mlc_ir::loops::{
    Arg, ArgId, Atom, AxisId, BodyBuilder, Bound, ExprId, Func, Index, Kernel, Lit, Mode, Prim, RedOp, Space,
};

use super::{Rng, check_filled, kernel, thinned};
use mlc_ir::loops::Analysis;

struct Gen {
    rng: Rng,
    b: BodyBuilder,
    args: Vec<Arg>,
    extents: Vec<u64>,
    pool: Vec<ExprId>,
}

const TYPES: [DType; 14] = [
    DType::F32,
    DType::F32,
    DType::F32,
    DType::F64,
    DType::F16,
    DType::BF16,
    DType::I64,
    DType::I32,
    DType::I16,
    DType::I8,
    DType::U8,
    DType::U32,
    DType::U64,
    DType::Bool,
];

impl Gen {
    fn arg(&mut self, dtype: DType, len: u64, mode: Mode) -> ArgId {
        self.args.push(Arg::new(format!("a{}", self.args.len()), dtype, len, mode));
        ArgId(self.args.len() as u32 - 1)
    }

    fn load(&mut self) -> ExprId {
        let dtype = self.rng.pick(&TYPES);
        // An index over some axes, with gaps, maybe shifted, then an argument that covers it.
        let mut index = Index::default();
        let mut reach = 0i64;
        for a in (0..self.extents.len()).rev() {
            let e = self.extents[a] as i64;
            match self.rng.below(5) {
                0 => {}
                1 if e > 1 => {
                    let m = 1 + self.rng.below(e as usize) as u64;
                    let of = Box::new(Index::axis(AxisId(a as u32)).plus(self.rng.below(3) as i64));
                    let modulo = Atom::Quot { of, div: 1 + self.rng.below(3) as u64, modulo: Some(m) };
                    index.add_term(reach + 1, modulo);
                    reach += (reach + 1) * (m as i64 - 1);
                }
                _ => {
                    let stride = if self.rng.below(4) == 0 { reach + 2 } else { reach + 1 };
                    index.add_term(stride, Atom::Axis(AxisId(a as u32)));
                    reach += stride * (e - 1).max(0);
                }
            }
        }
        let ints: Vec<ExprId> = self.pool.iter().copied().filter(|&e| self.b.dtype(e).is_int()).collect();
        if !ints.is_empty() && self.rng.below(4) == 0 {
            let extent = 1 + self.rng.below(9) as u64;
            let bound = Bound { extent, wrap: self.rng.below(2) == 0 };
            let which = self.rng.pick(&ints);
            index.terms.push((reach + 1, Atom::Data(which, bound)));
            reach += (reach + 1) * (extent as i64 - 1);
        }
        let arg = self.arg(dtype, reach as u64 + 1, Mode::Read);
        let bools: Vec<ExprId> =
            self.pool.iter().copied().filter(|&e| self.b.dtype(e) == DType::Bool).collect();
        let guard = (!bools.is_empty() && self.rng.below(3) == 0).then(|| self.rng.pick(&bools));
        self.b.load_guarded(arg, index, guard, Lit::int(dtype, 1))
    }

    fn any(&mut self) -> ExprId {
        let pool = self.pool.clone();
        self.rng.pick(&pool)
    }

    fn step(&mut self) {
        let e = match self.rng.below(10) {
            0 | 1 => self.load(),
            2 => {
                let a = self.rng.below(self.extents.len().max(1)) as u32;
                if self.extents.is_empty() { self.load() } else { self.b.axis_value(AxisId(a)) }
            }
            3 => {
                let (x, to) = (self.any(), self.rng.pick(&TYPES));
                self.b.cast(to, x)
            }
            4 => {
                let x = self.any();
                if !matches!(self.b.dtype(x), DType::F32 | DType::F16) {
                    return;
                }
                let f = self.rng.pick(&[Func::Exp, Func::Log, Func::Tanh, Func::Erf, Func::Sigmoid]);
                assert_eq!(FUNCTIONS[f as usize].arity, 1);
                self.b.call(f, &[x])
            }
            _ => {
                let row = &PRIMS[self.rng.below(PRIMS.len())];
                let first = self.any();
                let dtype = self.b.dtype(first);
                let alike: Vec<ExprId> =
                    self.pool.iter().copied().filter(|&e| self.b.dtype(e) == dtype).collect();
                let bools: Vec<ExprId> =
                    self.pool.iter().copied().filter(|&e| self.b.dtype(e) == DType::Bool).collect();
                let mut args: Vec<ExprId> = (0..row.arity).map(|_| self.rng.pick(&alike)).collect();
                if row.prim == Prim::Select {
                    if bools.is_empty() {
                        return;
                    }
                    args[0] = self.rng.pick(&bools);
                }
                let types: Vec<DType> = args.iter().map(|&a| self.b.dtype(a)).collect();
                let special = matches!(row.prim, Prim::Cast | Prim::Bitcast);
                if special || row.prim.result(&types, DType::Bool).is_err() {
                    return;
                }
                self.b.prim(row.prim, &args)
            }
        };
        self.pool.push(e);
    }
}

fn reducible(op: RedOp, dtype: DType) -> bool {
    let small = matches!(dtype, DType::F16 | DType::BF16);
    op.identity(dtype).is_some() && !small
}

fn random(seed: u64) -> Kernel {
    let mut rng = Rng::new(seed);
    let sizes = [0, 1, 2, 3, 4, 5, 8, 13, 17, 31, 64];
    let mut axes =
        |max: usize| (0..rng.below(max + 1)).map(|_| sizes[rng.below(3 + 8).max(rng.below(3))]).collect();
    let (rows, cols): (Vec<u64>, Vec<u64>) = (axes(2), axes(2));
    let b = BodyBuilder::new(&rows, &cols);
    let extents = rows.iter().chain(&cols).copied().collect();
    let mut g = Gen { rng, b, args: Vec::new(), extents, pool: Vec::new() };
    let first = g.load();
    g.pool.push(first);
    let steps = 4 + g.rng.below(24);
    for _ in 0..steps {
        g.step();
        if g.rng.below(9) == 0 && g.b.body().reds.len() < 3 {
            let (x, op) = (g.any(), g.rng.pick(&RedOp::ALL));
            if reducible(op, g.b.dtype(x)) && space(&g.b, x) == Space::Elem && cols.iter().all(|&c| c > 0) {
                let r = g.b.reduce(op, x);
                g.pool.push(r);
            }
        }
    }
    let all: Vec<u64> = g.extents.clone();
    for _ in 0..1 + g.rng.below(2) {
        let v = g.any();
        let dtype = g.b.dtype(v);
        let out = g.arg(dtype, all.iter().product(), Mode::Write);
        g.b.store(out, Index::row_major(AxisId(0), &all), v);
    }
    let (x, op) = (g.any(), g.rng.pick(&RedOp::ALL));
    if reducible(op, g.b.dtype(x)) && !rows.is_empty() {
        let out = op.result(g.b.dtype(x));
        match space(&g.b, x) {
            Space::Elem => {
                let arg = g.arg(out, cols.iter().product(), Mode::Write);
                g.b.tail_col(op, x, arg, Index::row_major(AxisId(rows.len() as u32), &cols));
            }
            Space::Row | Space::Uniform => {
                let arg = g.arg(out, 1, Mode::Write);
                g.b.tail_scalar(op, x, arg, 0);
            }
            Space::ColOnly => {}
        }
    }
    kernel(g.args, g.b.finish())
}

fn space(b: &BodyBuilder, e: ExprId) -> Space {
    Analysis::of(b.body()).space[e.ix()]
}

#[test]
fn random_bodies() {
    for seed in thinned(0..400) {
        check_filled(&format!("seed {seed}"), &random(seed), seed);
    }
}
