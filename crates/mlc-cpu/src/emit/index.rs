//! Index maps, loads and stores. Nothing is read or written out of bounds: guards are branches, data-dependent
//! indices are clamped and a fault recorded where they had to be.

use cranelift::codegen::ir::condcodes::IntCC;
use cranelift::codegen::ir::{BlockArg, InstBuilder, MemFlagsData, Value, types};
use mlc_ir::DType;
use mlc_ir::loops::{ArgId, Atom, Bound, ExprId, Index, Load};

use super::Emit;
use super::value::{LANES, Val, is_wide, reg};
use crate::features::Level;

/// How an index moves from lane to lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// All lanes the same.
    Uniform,
    /// By so many elements a lane.
    By(i64),
    Irregular,
}

impl Emit<'_, '_> {
    pub fn load(&mut self, load: &Load, site: u64) -> Val {
        let dtype = self.args[load.arg.ix()].dtype;
        let step = self.step(&load.index);
        let guard = load.guard.map(|g| self.value(g));
        match guard {
            None => self.load_at(load.arg, dtype, &load.index, step, site),
            Some(Val::One(g)) => {
                let other = self.lit(load.other);
                let other = match self.shape_of(dtype, step) {
                    Shape::One => Val::One(other),
                    Shape::Lanes => Val::Lanes([other; LANES]),
                    Shape::Vec => Val::Vec(self.vector(Val::One(other), dtype)),
                    Shape::Wide => Val::Wide(self.widened(Val::One(other), dtype)),
                };
                self.branch(g, other, |e| e.load_at(load.arg, dtype, &load.index, step, site))
            }
            Some(g) => {
                let other = self.lit(load.other);
                Val::Lanes(std::array::from_fn(|k| {
                    let g = self.lane(g, DType::Bool, k);
                    let v = self.branch(g, Val::One(other), |e| {
                        let at = e.address(load.arg, dtype, &load.index, k, site);
                        Val::One(e.load_scalar(dtype, at, 0))
                    });
                    self.lane(v, dtype, 0)
                }))
            }
        }
    }

    /// `c ? then() : other`, with `then` evaluated only where `c` holds. Both have one shape.
    fn branch(&mut self, c: Value, other: Val, then: impl FnOnce(&mut Self) -> Val) -> Val {
        let (yes, merge) = (self.b.create_block(), self.b.create_block());
        let parts: Vec<Value> = match other {
            Val::One(x) | Val::Vec(x) | Val::Wide(x) => vec![x],
            Val::Lanes(l) => l.to_vec(),
        };
        let params: Vec<Value> = parts
            .iter()
            .map(|&p| {
                let ty = self.b.func.dfg.value_type(p);
                self.b.append_block_param(merge, ty)
            })
            .collect();
        let parts: Vec<BlockArg> = parts.into_iter().map(BlockArg::Value).collect();
        self.b.ins().brif(c, yes, &[], merge, &parts);
        self.b.switch_to_block(yes);
        self.b.seal_block(yes);
        let v: Vec<BlockArg> = match then(self) {
            Val::One(x) | Val::Vec(x) | Val::Wide(x) => vec![x.into()],
            Val::Lanes(l) => l.map(BlockArg::Value).to_vec(),
        };
        self.b.ins().jump(merge, &v);
        self.b.switch_to_block(merge);
        self.b.seal_block(merge);
        match other {
            Val::One(_) => Val::One(params[0]),
            Val::Vec(_) => Val::Vec(params[0]),
            Val::Wide(_) => Val::Wide(params[0]),
            Val::Lanes(_) => Val::Lanes(std::array::from_fn(|i| params[i])),
        }
    }

    /// Runs `then` only where `c` holds.
    pub fn only_if(&mut self, c: Value, then: impl FnOnce(&mut Self)) {
        let (yes, merge) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(c, yes, &[], merge, &[]);
        self.b.switch_to_block(yes);
        self.b.seal_block(yes);
        then(self);
        self.b.ins().jump(merge, &[]);
        self.b.switch_to_block(merge);
        self.b.seal_block(merge);
    }

    /// `c ? yes() : no()`
    pub fn either(&mut self, c: Value, yes: impl FnOnce(&mut Self), no: impl FnOnce(&mut Self)) {
        let (then, other, merge) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.ins().brif(c, then, &[], other, &[]);
        self.b.switch_to_block(then);
        self.b.seal_block(then);
        self.scoped(yes);
        self.b.ins().jump(merge, &[]);
        self.b.switch_to_block(other);
        self.b.seal_block(other);
        self.scoped(no);
        self.b.ins().jump(merge, &[]);
        self.b.switch_to_block(merge);
        self.b.seal_block(merge);
    }

    fn shape_of(&self, dtype: DType, step: Step) -> Shape {
        match step {
            Step::Uniform => Shape::One,
            Step::By(1) if reg(dtype).bits() == 64 => Shape::Lanes,
            Step::By(1) if is_wide(dtype) => Shape::Wide,
            Step::By(1) => Shape::Vec,
            _ => Shape::Lanes,
        }
    }

    fn load_at(&mut self, arg: ArgId, dtype: DType, index: &Index, step: Step, site: u64) -> Val {
        match step {
            Step::Uniform => {
                let at = self.address(arg, dtype, index, 0, site);
                Val::One(self.load_scalar(dtype, at, 0))
            }
            Step::By(1) => {
                let at = self.address(arg, dtype, index, 0, site);
                self.load_contiguous(dtype, at)
            }
            Step::By(by) => {
                let at = self.address(arg, dtype, index, 0, site);
                let by = by.wrapping_mul(dtype.size() as i64);
                Val::Lanes(std::array::from_fn(|k| {
                    let offset = by.wrapping_mul(k as i64);
                    match i32::try_from(offset) {
                        Ok(offset) => self.load_scalar(dtype, at, offset),
                        Err(_) => {
                            let at = self.b.ins().iadd_imm_s(at, offset);
                            self.load_scalar(dtype, at, 0)
                        }
                    }
                }))
            }
            Step::Irregular => Val::Lanes(std::array::from_fn(|k| {
                let at = self.address(arg, dtype, index, k, site);
                self.load_scalar(dtype, at, 0)
            })),
        }
    }

    /// Four elements that lie one after another.
    pub fn load_contiguous(&mut self, dtype: DType, at: Value) -> Val {
        let flags = MemFlagsData::new().with_notrap();
        match dtype {
            // The generator takes an operand of a comparison right from memory, for which the baseline's instruction
            // demands alignment; what it loads as integers it moves to a register first.
            DType::F32 if self.cpu.level == Level::Portable => {
                let bits = self.b.ins().load(types::I32X4, flags, at, 0);
                Val::Vec(self.as_lanes(types::F32X4, bits))
            }
            DType::F32 => Val::Vec(self.b.ins().load(types::F32X4, flags, at, 0)),
            DType::I32 | DType::U32 => Val::Vec(self.b.ins().load(types::I32X4, flags, at, 0)),
            DType::F64 | DType::I64 | DType::U64 => {
                Val::Lanes(std::array::from_fn(|k| self.load_scalar(dtype, at, 8 * k as i32)))
            }
            DType::F16 | DType::BF16 | DType::I16 => {
                let four = self.b.ins().load(types::I64, flags, at, 0);
                let v = self.b.ins().scalar_to_vector(types::I64X2, four);
                let v = self.as_lanes(types::I16X8, v);
                if dtype == DType::I16 {
                    return Val::Wide(self.b.ins().swiden_low(v));
                }
                let bits = self.b.ins().uwiden_low(v);
                Val::Vec(self.small_from_bits(dtype, bits))
            }
            DType::I8 | DType::U8 | DType::Bool => {
                let four = self.b.ins().load(types::I32, flags, at, 0);
                let v = self.b.ins().scalar_to_vector(types::I32X4, four);
                let v = self.as_lanes(types::I8X16, v);
                if dtype == DType::I8 {
                    let v = self.b.ins().swiden_low(v);
                    return Val::Wide(self.b.ins().swiden_low(v));
                }
                let v = self.b.ins().uwiden_low(v);
                let v = self.b.ins().uwiden_low(v);
                if dtype == DType::U8 {
                    return Val::Wide(v);
                }
                Val::Vec(self.b.ins().ineg(v))
            }
        }
    }

    pub fn load_scalar(&mut self, dtype: DType, at: Value, offset: i32) -> Value {
        let flags = MemFlagsData::new().with_notrap();
        match dtype {
            DType::F16 | DType::BF16 => {
                let bits = self.b.ins().uload16(types::I32, flags, at, offset);
                self.small_from_bits(dtype, bits)
            }
            _ => self.b.ins().load(reg(dtype), flags, at, offset),
        }
    }

    pub fn store_scalar(&mut self, dtype: DType, v: Value, at: Value, offset: i32) {
        let flags = MemFlagsData::new().with_notrap();
        match dtype {
            DType::F16 | DType::BF16 => {
                let bits = self.small_to_bits(dtype, v);
                self.b.ins().istore16(flags, bits, at, offset);
            }
            _ => {
                self.b.ins().store(flags, v, at, offset);
            }
        }
    }

    /// Stores four elements one after another.
    pub fn store_contiguous(&mut self, dtype: DType, v: Val, at: Value) {
        let flags = MemFlagsData::new().with_notrap();
        match dtype {
            DType::F32 | DType::I32 | DType::U32 => {
                let v = self.vector(v, dtype);
                self.b.ins().store(flags, v, at, 0);
            }
            DType::Bool if !matches!(v, Val::Lanes(_)) => {
                let v = self.vector(v, dtype);
                let v = self.b.ins().snarrow(v, v);
                let v = self.b.ins().snarrow(v, v);
                let v = self.as_lanes(types::I32X4, v);
                let four = self.b.ins().extractlane(v, 0);
                let four = self.b.ins().band_imm_u(four, 0x0101_0101);
                self.b.ins().store(flags, four, at, 0);
            }
            _ => {
                let size = dtype.size() as i32;
                for (k, v) in self.lanes(v, dtype).into_iter().enumerate() {
                    self.store_scalar(dtype, v, at, size * k as i32);
                }
            }
        }
    }

    /// Stores a value at an index, once a lane; once for all lanes if nothing depends on the lane.
    pub fn store(&mut self, arg: ArgId, index: &Index, v: Val, guard: Option<ExprId>, site: u64) {
        let dtype = self.args[arg.ix()].dtype;
        let guard = guard.map(|g| self.value(g));
        if self.vec_axis.is_none() {
            let v = self.lane(v, dtype, 0);
            let put = |e: &mut Self| {
                let at = e.address(arg, dtype, index, 0, site);
                e.store_scalar(dtype, v, at, 0);
            };
            return match guard {
                Some(g) => {
                    let g = self.lane(g, DType::Bool, 0);
                    self.only_if(g, put);
                }
                None => put(self),
            };
        }
        let step = self.step(index);
        match guard {
            Some(Val::One(g)) => self.only_if(g, |e| e.store_lanes(arg, dtype, index, step, v, site)),
            None => self.store_lanes(arg, dtype, index, step, v, site),
            Some(g) => {
                for k in 0..LANES {
                    let g = self.lane(g, DType::Bool, k);
                    self.only_if(g, |e| {
                        let v = e.lane(v, dtype, k);
                        let at = e.address(arg, dtype, index, k, site);
                        e.store_scalar(dtype, v, at, 0);
                    });
                }
            }
        }
    }

    fn store_lanes(&mut self, arg: ArgId, dtype: DType, index: &Index, step: Step, v: Val, site: u64) {
        if step == Step::By(1) {
            let at = self.address(arg, dtype, index, 0, site);
            return self.store_contiguous(dtype, v, at);
        }
        for k in 0..LANES {
            let v = self.lane(v, dtype, k);
            let at = self.address(arg, dtype, index, k, site);
            self.store_scalar(dtype, v, at, 0);
        }
    }

    /// The byte address of `arg[index]` for one lane.
    pub fn address(&mut self, arg: ArgId, dtype: DType, index: &Index, lane: usize, site: u64) -> Value {
        let mut site = site;
        let at = self.offset(index, lane, dtype.size() as i64, &mut site);
        let base = self.ptrs[arg.ix()];
        self.b.ins().iadd(base, at)
    }

    /// `index * scale` for one lane. Terms of outer loops come first, so that their sum is invariant in the inner.
    pub fn offset(&mut self, index: &Index, lane: usize, scale: i64, site: &mut u64) -> Value {
        let mut sum: Option<Value> = None;
        let mut constant = index.offset;
        let mut terms = Vec::with_capacity(index.terms.len());
        for (coef, atom) in &index.terms {
            let v = match atom {
                Atom::Axis(a) => {
                    if self.vec_axis == Some(a.ix()) {
                        constant = constant.wrapping_add(coef.wrapping_mul(lane as i64 + self.lane_shift));
                    }
                    self.axis(a.ix())
                }
                Atom::Quot { of, div, modulo } => {
                    let of = self.offset(of, lane, 1, site);
                    self.quotient(of, *div, *modulo)
                }
                Atom::Data(e, bound) => {
                    let v = self.data(*e, lane);
                    let here = *site;
                    *site += 1;
                    self.bounded(v, *bound, here)
                }
            };
            terms.push((self.depth_of(atom), coef.wrapping_mul(scale), v));
        }
        terms.sort_by_key(|t| t.0);
        for (_, coef, v) in terms {
            let v = if coef == 1 { v } else { self.b.ins().imul_imm_s(v, coef) };
            sum = Some(match sum {
                Some(s) => self.b.ins().iadd(s, v),
                None => v,
            });
        }
        let constant = constant.wrapping_mul(scale);
        match sum {
            None => self.imm(constant),
            Some(s) if constant == 0 => s,
            Some(s) => self.b.ins().iadd_imm_s(s, constant),
        }
    }

    /// The depth of the loop that an atom changes in; data counts as innermost.
    fn depth_of(&self, atom: &Atom) -> usize {
        match atom {
            Atom::Axis(a) => a.ix(),
            _ => usize::MAX,
        }
    }

    fn quotient(&mut self, v: Value, div: u64, modulo: Option<u64>) -> Value {
        let mut v = v;
        if div != 1 {
            v = self.floor_by(mlc_ir::loops::Prim::Div, v, div);
        }
        match modulo {
            Some(m) => self.floor_by(mlc_ir::loops::Prim::Rem, v, m),
            None => v,
        }
    }

    /// Floor division by a positive constant.
    pub fn floor_by(&mut self, prim: mlc_ir::loops::Prim, v: Value, by: u64) -> Value {
        let div = prim == mlc_ir::loops::Prim::Div;
        if by.is_power_of_two() {
            return if div {
                self.b.ins().sshr_imm_u(v, by.trailing_zeros() as i64)
            } else {
                self.b.ins().band_imm_s(v, by as i64 - 1)
            };
        }
        let by = self.imm(by as i64);
        self.scalar(prim, DType::I64, DType::I64, &[v, by])
    }

    /// A data-dependent index of one lane, as i64.
    fn data(&mut self, e: ExprId, lane: usize) -> Value {
        let dtype = self.body.expr(e).dtype;
        let v = self.value(e);
        let v = self.lane(v, dtype, lane);
        self.extend_index(v, dtype)
    }

    fn extend_index(&mut self, v: Value, dtype: DType) -> Value {
        self.extend(v, dtype, types::I64)
    }

    fn bounded(&mut self, v: Value, bound: Bound, site: u64) -> Value {
        let mut at = v;
        if bound.wrap {
            let up = self.b.ins().iadd_imm_s(v, bound.extent as i64);
            let negative = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, v, 0);
            at = self.b.ins().select(negative, up, v);
        }
        let extent = self.imm(bound.extent as i64);
        let outside = self.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, at, extent);
        let (cold, merge) = (self.b.create_block(), self.b.create_block());
        self.b.set_cold_block(cold);
        let result = self.b.append_block_param(merge, types::I64);
        self.b.ins().brif(outside, cold, &[], merge, &[at.into()]);
        self.b.switch_to_block(cold);
        self.b.seal_block(cold);
        self.record_fault(v, site);
        let zero = self.imm(0);
        let last = self.imm(bound.extent.saturating_sub(1) as i64);
        let below = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, at, 0);
        let clamped = self.b.ins().select(below, zero, last);
        self.b.ins().jump(merge, &[clamped.into()]);
        self.b.switch_to_block(merge);
        self.b.seal_block(merge);
        result
    }

    /// Writes site and value into the fault record if it is still clear. Chunks run at once, so the first to set the
    /// site also sets the value.
    fn record_fault(&mut self, value: Value, site: u64) {
        let Some(record) = self.fault else { return };
        let flags = MemFlagsData::trusted();
        let (clear, site) = (self.imm(0), self.imm(site as i64 + 1));
        let old = self.b.ins().atomic_cas(flags, record, clear, site);
        let first = self.b.ins().icmp_imm_s(IntCC::Equal, old, 0);
        self.only_if(first, |e| {
            e.b.ins().store(flags, value, record, 8);
        });
    }

    fn step(&mut self, index: &Index) -> Step {
        if self.vec_axis.is_none() {
            return Step::Uniform;
        }
        let mut by = 0i64;
        for (coef, atom) in &index.terms {
            match atom {
                Atom::Axis(a) if self.vec_axis == Some(a.ix()) => by = by.wrapping_add(*coef),
                Atom::Axis(_) => {}
                Atom::Quot { of, .. } => {
                    if self.step(of) != Step::Uniform {
                        return Step::Irregular;
                    }
                }
                Atom::Data(e, _) => {
                    if !matches!(self.value(*e), Val::One(_)) {
                        return Step::Irregular;
                    }
                }
            }
        }
        if by == 0 { Step::Uniform } else { Step::By(by) }
    }
}

enum Shape {
    One,
    Vec,
    Wide,
    Lanes,
}
