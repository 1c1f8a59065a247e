//! Views: transpose, slice, reshape, pad and the like are index maps, composed here once and never copied.
//!
//! Input: a chain of view operations, applied to a [`View`] of a buffer. Output: [`View::load`] adds one load to a
//! kernel body, whatever the chain was.
//!
//! ```text
//! x: f32[4,6] at 6*d0 + d1    transpose       f32[6,4] at d0 + 6*d1
//!                             slice 1:5:2     f32[2,4] at 2*d0 + 6*d1 + 1
//!                             reshape [8]     f32[8]   at 2*(d0 / 4) + 6*(d0 mod 4) + 1
//! ```
//! In a consumer whose domain is [2, 4], the quotients of the last line vanish again.

use super::body::{BodyBuilder, ExprId};
use super::bounds::{div, interval, rem, substitute};
use super::index::{Atom, AxisId, Index};
use super::kernel::ArgId;
use super::scalar::{Lit, Prim};

/// A tensor as a map into a buffer. Dim i of the view is `AxisId(i)` of its indices.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    pub shape: Vec<u64>,
    /// Element offset in the buffer.
    pub index: Index,
    /// Innermost first: where one does not hold, its fill is the element, and the buffer is not touched.
    pub guards: Vec<Guard>,
}

/// `lo <= index < hi`, else `fill`.
#[derive(Debug, Clone, PartialEq)]
pub struct Guard {
    pub index: Index,
    pub lo: i64,
    pub hi: i64,
    pub fill: Lit,
}

impl View {
    /// A dense row-major buffer.
    pub fn dense(shape: &[u64]) -> View {
        View { shape: shape.to_vec(), index: Index::row_major(AxisId(0), shape), guards: Vec::new() }
    }

    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// A new view of `shape` whose element at d is this view's at `dims(d)`: every operation below is one.
    /// `dims` must stay within this view's shape, except where `also` guards it.
    pub fn map(&self, shape: &[u64], dims: &[Index], also: Vec<Guard>) -> View {
        let guards = self
            .guards
            .iter()
            .map(|g| Guard { index: substitute(&g.index, dims, shape), ..g.clone() })
            .chain(also)
            // A guard that always holds says nothing.
            .filter(|g| !interval(&g.index, shape).is_some_and(|(lo, hi)| lo >= g.lo && hi < g.hi))
            .collect();
        View { shape: shape.to_vec(), index: substitute(&self.index, dims, shape), guards }
    }

    fn dims(&self) -> Vec<Index> {
        identity(self.rank())
    }

    /// Dim i of the result is dim `perm[i]`.
    pub fn permute(&self, perm: &[usize]) -> View {
        let shape: Vec<u64> = perm.iter().map(|&p| self.shape[p]).collect();
        let mut dims = self.dims();
        for (i, &p) in perm.iter().enumerate() {
            dims[p] = Index::axis(AxisId(i as u32));
        }
        self.map(&shape, &dims, Vec::new())
    }

    pub fn transpose(&self, a: usize, b: usize) -> View {
        let mut perm: Vec<usize> = (0..self.rank()).collect();
        perm.swap(a, b);
        self.permute(&perm)
    }

    /// Dims align at the end; missing ones and those of extent 1 repeat.
    pub fn broadcast(&self, shape: &[u64]) -> View {
        let lead = shape.len() - self.rank();
        let dims: Vec<Index> = self
            .shape
            .iter()
            .enumerate()
            .map(|(i, &e)| if e == 1 { Index::default() } else { Index::axis(AxisId((lead + i) as u32)) })
            .collect();
        self.map(shape, &dims, Vec::new())
    }

    /// Elements `start`, `start + step`, .. of a dim, `len` of them; the step may be negative.
    pub fn slice(&self, dim: usize, start: i64, step: i64, len: u64) -> View {
        let mut shape = self.shape.clone();
        shape[dim] = len;
        let mut dims = self.dims();
        dims[dim] = Index::axis(AxisId(dim as u32)).scale(step).plus(start);
        self.map(&shape, &dims, Vec::new())
    }

    pub fn flip(&self, dim: usize) -> View {
        self.slice(dim, self.shape[dim] as i64 - 1, -1, self.shape[dim])
    }

    /// Same elements in row-major order.
    pub fn reshape(&self, shape: &[u64]) -> View {
        let linear = Index::row_major(AxisId(0), shape);
        let mut dims = vec![Index::default(); self.rank()];
        let mut stride = 1u64;
        for (i, &e) in self.shape.iter().enumerate().rev() {
            let e = e.max(1);
            let above = div(&linear, stride, shape);
            // Nothing lies above the outermost dim.
            let outermost = self.shape[..i].iter().all(|&e| e <= 1);
            dims[i] = if outermost { above } else { rem(&above, e, shape) };
            if outermost {
                break;
            }
            stride = stride.saturating_mul(e);
        }
        self.map(shape, &dims, Vec::new())
    }

    /// A dim of extent 1 before dim `at`.
    pub fn unsqueeze(&self, at: usize) -> View {
        let mut shape = self.shape.clone();
        shape.insert(at, 1);
        self.reshape(&shape)
    }

    /// `before` and `after` elements of `fill` around a dim.
    pub fn pad(&self, dim: usize, before: u64, after: u64, fill: Lit) -> View {
        let mut shape = self.shape.clone();
        shape[dim] += before + after;
        let mut dims = self.dims();
        dims[dim] = Index::axis(AxisId(dim as u32)).plus(-(before as i64));
        let guard = Guard { index: dims[dim].clone(), lo: 0, hi: self.shape[dim] as i64, fill };
        self.map(&shape, &dims, vec![guard])
    }

    /// Element i of the result is element `(i - shift) mod extent`.
    pub fn roll(&self, dim: usize, shift: i64) -> View {
        let n = self.shape[dim].max(1);
        let mut dims = self.dims();
        let back = (-shift).rem_euclid(n as i64);
        dims[dim] = rem(&Index::axis(AxisId(dim as u32)).plus(back), n, &self.shape);
        self.map(&self.shape.clone(), &dims, Vec::new())
    }

    /// The dim `times` over.
    pub fn tile(&self, dim: usize, times: u64) -> View {
        let mut shape = self.shape.clone();
        shape[dim] *= times;
        let mut dims = self.dims();
        dims[dim] = rem(&Index::axis(AxisId(dim as u32)), self.shape[dim].max(1), &shape);
        self.map(&shape, &dims, Vec::new())
    }

    /// Each element of the dim `times` in a row.
    pub fn repeat_interleave(&self, dim: usize, times: u64) -> View {
        let mut shape = self.shape.clone();
        shape[dim] *= times;
        let mut dims = self.dims();
        dims[dim] = div(&Index::axis(AxisId(dim as u32)), times.max(1), &shape);
        self.map(&shape, &dims, Vec::new())
    }

    /// Windows of a dim, as a new last dim: element j of window i is `i*step + j*dilation`.
    pub fn unfold(&self, dim: usize, windows: u64, size: u64, step: u64, dilation: u64) -> View {
        let mut shape = self.shape.clone();
        shape[dim] = windows;
        shape.push(size);
        let mut dims = self.dims();
        let within = Index::axis(AxisId(self.rank() as u32)).scale(dilation as i64);
        dims[dim] = Index::axis(AxisId(dim as u32)).scale(step as i64).plus_index(&within);
        self.map(&shape, &dims, Vec::new())
    }

    /// Whether the view is its buffer, element for element.
    pub fn is_dense(&self) -> bool {
        self.guards.is_empty() && self.index == Index::row_major(AxisId(0), &self.shape)
    }

    /// Loads the element at `dims`, one index over the body's domain for each dim of the view, and returns its
    /// value; the dtype is `zero`'s. Guards of several fills become selects around one guarded load.
    pub fn load(&self, b: &mut BodyBuilder, arg: ArgId, zero: Lit, dims: &[Index]) -> ExprId {
        let extents: Vec<u64> = b.body().axes().map(|a| a.extent).collect();
        let at = self.at(dims, &extents);
        let mut all = None;
        let mut holds = Vec::new();
        for g in &at.guards {
            let h = b.in_range(&g.index, g.lo, g.hi);
            holds.push(h);
            all = Some(all.map_or(h, |a| b.prim(Prim::And, &[a, h])));
        }
        let other = at.guards.first().map_or(zero, |g| g.fill);
        let mut value = b.load_guarded(arg, at.index, all, other);
        if at.guards.iter().any(|g| g.fill != other) {
            // The guard applied last decides first.
            for (g, h) in at.guards.iter().zip(holds) {
                let fill = b.lit(g.fill);
                value = b.prim(Prim::Select, &[h, value, fill]);
            }
        }
        value
    }

    /// Index and guards over a domain; `shape` of the result is the domain's.
    pub fn at(&self, dims: &[Index], extents: &[u64]) -> View {
        self.map(extents, dims, Vec::new())
    }

    /// Quotients left at the top level of the index.
    pub fn quotients(&self) -> usize {
        self.index.terms.iter().filter(|t| matches!(t.1, Atom::Quot { .. })).count()
    }
}

/// The indices `d0, d1, ..`.
pub fn identity(rank: usize) -> Vec<Index> {
    (0..rank as u32).map(|i| Index::axis(AxisId(i))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;
    use crate::loops::interp::{affine, for_each_point};

    /// A tensor of element numbers; fills are negative.
    #[derive(Clone)]
    struct Copy {
        shape: Vec<u64>,
        data: Vec<i64>,
    }

    impl Copy {
        /// Each element of the result is this one's at a point, or a fill.
        fn map(&self, shape: &[u64], from: impl Fn(&[i64]) -> Result<Vec<i64>, i64>) -> Copy {
            let mut data = Vec::new();
            let _: Result<(), ()> = for_each_point(shape, |p| {
                data.push(match from(p) {
                    Ok(q) => {
                        let at = q.iter().zip(&self.shape).fold(0, |at, (q, e)| at * *e as i64 + q);
                        self.data[at as usize]
                    }
                    Err(fill) => fill,
                });
                Ok(())
            });
            Copy { shape: shape.to_vec(), data }
        }
    }

    struct Rng(u64);

    impl Rng {
        fn below(&mut self, n: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % n.max(1)
        }
    }

    fn with(p: &[i64], dim: usize, v: i64) -> Vec<i64> {
        let mut p = p.to_vec();
        p[dim] = v;
        p
    }

    fn step(rng: &mut Rng, view: &View, copy: &Copy) -> (View, Copy) {
        let rank = view.rank();
        let dim = rng.below(rank as u64) as usize;
        let n = view.shape[dim] as i64;
        let total: u64 = view.shape.iter().product();
        match rng.below(10) {
            0 => {
                let other = rng.below(rank as u64) as usize;
                let v = view.transpose(dim, other);
                let c = copy.map(&v.shape, |p| {
                    let mut p = p.to_vec();
                    p.swap(dim, other);
                    Ok(p)
                });
                (v, c)
            }
            1 if n > 1 => {
                let step = 1 + rng.below(2) as i64;
                let start = rng.below(n as u64) as i64;
                let len = (n - start + step - 1) / step;
                let v = view.slice(dim, start, step, len as u64);
                let c = copy.map(&v.shape, |p| Ok(with(p, dim, start + step * p[dim])));
                (v, c)
            }
            2 => (view.flip(dim), copy.map(&view.shape, |p| Ok(with(p, dim, n - 1 - p[dim])))),
            3 | 4 if total > 0 => {
                let mut shape = vec![];
                let mut left = total;
                while left > 1 && shape.len() < 4 {
                    let divisors: Vec<u64> = (2..=left).filter(|d| left.is_multiple_of(*d)).collect();
                    let d = divisors[rng.below(divisors.len() as u64) as usize];
                    shape.push(d);
                    left /= d;
                }
                shape.push(left);
                (view.reshape(&shape), Copy { shape, data: copy.data.clone() })
            }
            5 if total < 2000 => {
                let (lo, hi) = (rng.below(3), rng.below(3));
                let fill = -1 - rng.below(2) as i64;
                let v = view.pad(dim, lo, hi, Lit::i64(fill));
                let c = copy.map(&v.shape, |p| {
                    let q = p[dim] - lo as i64;
                    if (0..n).contains(&q) { Ok(with(p, dim, q)) } else { Err(fill) }
                });
                (v, c)
            }
            6 => {
                let by = rng.below(9) as i64 - 4;
                (
                    view.roll(dim, by),
                    copy.map(&view.shape, |p| Ok(with(p, dim, (p[dim] - by).rem_euclid(n.max(1))))),
                )
            }
            7 if total < 1000 => {
                let v = view.tile(dim, 2);
                let c = copy.map(&v.shape, |p| Ok(with(p, dim, p[dim] % n.max(1))));
                (v, c)
            }
            8 if total < 1000 => {
                let v = view.repeat_interleave(dim, 3);
                let c = copy.map(&v.shape, |p| Ok(with(p, dim, p[dim] / 3)));
                (v, c)
            }
            9 if total < 1000 && rank < 5 => {
                let mut shape = view.shape.clone();
                shape.insert(0, 2);
                let v = view.broadcast(&shape);
                let c = copy.map(&shape, |p| Ok(p[1..].to_vec()));
                (v, c)
            }
            _ => (view.clone(), copy.clone()),
        }
    }

    fn check(view: &View, copy: &Copy, seed: u64) {
        assert_eq!(view.shape, copy.shape);
        let mut want = copy.data.iter();
        let _: Result<(), ()> = for_each_point(&view.shape, |p| {
            let failed = view.guards.iter().rev().find(|g| !(g.lo..g.hi).contains(&affine(&g.index, p)));
            let got = match failed {
                Some(g) => g.fill.bits as i64,
                None => affine(&view.index, p),
            };
            assert_eq!(Some(&got), want.next(), "seed {seed}, {p:?} of {view:?}");
            Ok(())
        });
    }

    #[test]
    fn random_chains_equal_copies() {
        for seed in 1..600u64 {
            let mut rng = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let shape: Vec<u64> = (0..1 + rng.below(3)).map(|_| 1 + rng.below(6)).collect();
            let total: u64 = shape.iter().product();
            let mut view = View::dense(&shape);
            let mut copy = Copy { shape, data: (0..total as i64).collect() };
            for _ in 0..10 {
                (view, copy) = step(&mut rng, &view, &copy);
            }
            check(&view, &copy, seed);
        }
    }

    #[test]
    fn common_chains_stay_affine() {
        // Attention: [b, t, 3*h*d] -> heads [b, h, t, d] of the second part.
        let qkv = View::dense(&[2, 8, 3 * 4 * 5]);
        let heads = qkv.slice(2, 20, 1, 20).reshape(&[2, 8, 4, 5]).permute(&[0, 2, 1, 3]);
        assert!(heads.index.is_affine(), "{:?}", heads.index);
        let back = heads.permute(&[0, 2, 1, 3]).reshape(&[2, 8, 20]);
        assert!(back.index.is_affine());
        assert_eq!(back, qkv.slice(2, 20, 1, 20));
        assert!(View::dense(&[4, 6]).reshape(&[2, 12]).reshape(&[24]).is_dense());
        let flat = View::dense(&[4, 6]).transpose(0, 1).reshape(&[24]);
        assert_eq!(flat.quotients(), 2);
        assert_eq!(flat.reshape(&[6, 4]), View::dense(&[4, 6]).transpose(0, 1));
        assert!(View::dense(&[3]).pad(0, 1, 1, Lit::i64(0)).slice(0, 1, 1, 3).is_dense());
    }

    #[test]
    fn loads_with_two_fills() {
        use crate::loops::interp::run_kernel;
        use crate::loops::*;
        let view = View::dense(&[2]).pad(0, 1, 0, Lit::i64(-1)).pad(0, 0, 2, Lit::i64(-2));
        let mut b = BodyBuilder::new(&[], &[5]);
        let v = view.load(&mut b, ArgId(0), Lit::i64(0), &identity(1));
        b.store(ArgId(1), Index::axis(AxisId(0)), v);
        let args = vec![Arg::new("x", DType::I64, 2, Mode::Read), Arg::new("y", DType::I64, 5, Mode::Write)];
        let k = Kernel { name: "pad".into(), args, kind: Kind::Loop(b.finish()), prov: vec![Prov::infra()] };
        let bytes = |v: &[i64]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        let mut data = [bytes(&[7, 8]), vec![0; 40]];
        run_kernel(&k, &mut data).unwrap();
        assert_eq!(data[1], bytes(&[-1, 7, 8, -2, -2]));
    }
}
