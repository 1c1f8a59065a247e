//! Programs to machine code: one pass over the steps with registers given on demand.
//!
//! What can be had again (an element, a value, a constant) is loaded where it is first needed, or is the memory operand of
//! the one operation that needs it, and may lose its register to something else in between. Values and constants have
//! registers before the loop as far as there are any left. The loop does whole vectors; the same code with a mask does
//! the rest.

use mlc_ir::mutate::{Mutation, on};

use super::asm::{self, Asm, Cond, Gpr, Mask, MaskOp, Rm, Vec as V, With};
use super::{Code, Compare, Element, Id, MAX_ARRAYS, Program, Step, Width};

/// The table's address.
const TABLE: Gpr = asm::RDI;
/// Elements left.
const LEFT: Gpr = asm::RSI;
/// Elements done.
const AT: Gpr = asm::R11;
const SCRATCH: Gpr = asm::RAX;
/// Addresses of arrays; the caller wants the later ones back.
const BASES: [Gpr; MAX_ARRAYS] = [
    asm::RCX,
    asm::RDX,
    asm::R8,
    asm::R9,
    asm::R10,
    asm::RBX,
    asm::RBP,
    asm::R12,
    asm::R13,
    asm::R14,
    asm::R15,
];
const SAVED_FROM: usize = 5;
/// Which elements of the last vector there are: a mask register, or a vector of signs.
const REST_MASK: Mask = Mask(7);
const REST_SIGNS: u8 = 15;

/// No register is left, or no instruction does it.
struct Refused;

/// Where a step's result is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Vector,
    Mask,
}

struct Gen<'p> {
    p: &'p Program,
    a: Asm,
    /// Uses of each step that are still to come.
    uses: Vec<u32>,
    place: Vec<Option<u8>>,
    free: Vec<u8>,
    free_masks: Vec<u8>,
    hoisted: Vec<bool>,
    /// Whether this is the code for the last, partial vector.
    rest: bool,
}

/// The function's code; with as many values before the loop as there are registers for.
pub fn assemble(p: &Program, width: Width) -> Option<Vec<u8>> {
    if p.arrays.len() > MAX_ARRAYS {
        return None;
    }
    let same: Vec<usize> =
        (0..p.steps.len()).filter(|&i| matches!(p.steps[i], Step::Value(_) | Step::Const(_))).collect();
    (0..=same.len()).rev().find_map(|count| {
        let mut g = Gen::new(p, width);
        same[..count].iter().for_each(|&i| g.hoisted[i] = true);
        g.function().ok().map(|()| g.a.finish())
    })
}

impl<'p> Gen<'p> {
    fn new(p: &'p Program, width: Width) -> Gen<'p> {
        let n = p.steps.len();
        let (uses, place, hoisted) = (vec![0; n], vec![None; n], vec![false; n]);
        Gen { p, a: Asm::new(width), uses, place, free: vec![], free_masks: vec![], hoisted, rest: false }
    }

    fn function(&mut self) -> Result<(), Refused> {
        let bases = &BASES[..self.p.arrays.len()];
        let saved = bases.get(SAVED_FROM..).unwrap_or_default();
        saved.iter().for_each(|&r| self.a.push(r));
        for (i, &base) in bases.iter().enumerate() {
            self.a.load(base, Rm::At { base: TABLE, index: None, disp: 8 * i as i32 });
        }
        let vectors = if self.a.width == Width::Eight { REST_SIGNS } else { 32 };
        self.free = (0..vectors).rev().collect();
        self.free_masks = (1..REST_MASK.0).rev().collect();
        for i in 0..self.p.steps.len() {
            if !self.hoisted[i] {
                continue;
            }
            let register = self.free.pop().ok_or(Refused)?;
            self.broadcast(V(register), i);
            self.place[i] = Some(register);
        }
        let count = self.a.width.count() as i32;
        let (rest, end) = (self.a.label(), self.a.label());
        self.a.clear(AT);
        self.a.compare(LEFT, AT);
        self.a.jump_if(Cond::LessEqual, end);
        if let Some(stream) = self.p.stores.iter().find(|s| s.stream) {
            self.up_to_a_line(BASES[stream.array])?;
        }
        self.a.add_imm(LEFT, -count);
        self.a.compare(AT, LEFT);
        self.a.jump_if(Cond::Greater, rest);
        self.a.align();
        let head = self.a.label();
        self.a.place(head);
        self.body(false)?;
        self.a.add_imm(AT, count);
        self.a.compare(AT, LEFT);
        self.a.jump_if(Cond::LessEqual, head);
        self.a.place(rest);
        self.a.add_imm(LEFT, count);
        self.a.sub(LEFT, AT);
        self.a.jump_if(Cond::LessEqual, end);
        self.rest_mask();
        self.body(true)?;
        self.a.place(end);
        self.a.zero_upper();
        saved.iter().rev().for_each(|&r| self.a.pop(r));
        self.a.ret();
        Ok(())
    }

    /// The first elements, up to where an array's vectors are aligned.
    fn up_to_a_line(&mut self, base: Gpr) -> Result<(), Refused> {
        let count = self.a.width.count() as i32;
        let (none, fits) = (self.a.label(), self.a.label());
        self.a.copy(SCRATCH, base);
        self.a.negate(SCRATCH);
        self.a.shift_right(SCRATCH, 2);
        self.a.and_imm(SCRATCH, count - 1);
        self.a.jump_if(Cond::Zero, none);
        self.a.push(LEFT);
        self.a.compare(SCRATCH, LEFT);
        self.a.jump_if(Cond::Greater, fits);
        self.a.copy(LEFT, SCRATCH);
        self.a.place(fits);
        self.rest_mask();
        self.body(true)?;
        self.a.copy(AT, LEFT);
        self.a.pop(LEFT);
        self.a.place(none);
        Ok(())
    }

    /// The mask of the elements that are left: a window of constants that slides with their number.
    fn rest_mask(&mut self) {
        let more = u32::from(on(Mutation::LongRest));
        if self.a.width == Width::Sixteen {
            let masks: Vec<u8> =
                (0..16).flat_map(|n| ((1u32 << (n + more)) - 1).to_le_bytes()[..2].to_vec()).collect();
            let masks = self.a.constant(&masks);
            self.a.address(SCRATCH, masks);
            self.a.load_mask(REST_MASK, Rm::At { base: SCRATCH, index: Some((LEFT, 1)), disp: 0 });
        } else {
            let ones: Vec<u8> = (0..64).map(|i| if i < 32 + 4 * more { 0xff } else { 0 }).collect();
            let ones = self.a.constant(&ones);
            self.a.address(SCRATCH, ones);
            // From 8 - n: the address less 4 n, plus 32.
            for _ in 0..4 {
                self.a.sub(SCRATCH, LEFT);
            }
            self.a.unary(
                asm::LOAD,
                V(REST_SIGNS),
                Rm::At { base: SCRATCH, index: None, disp: 32 },
                None,
                With::default(),
            );
        }
    }

    /// All steps for the vector at [`AT`].
    fn body(&mut self, rest: bool) -> Result<(), Refused> {
        self.rest = rest;
        self.uses.fill(0);
        self.p.stores.iter().for_each(|s| self.uses[s.value.ix()] += 1);
        // Operands come before what is computed from them.
        for i in (0..self.p.steps.len()).rev() {
            if let Step::Op(_, operands) = &self.p.steps[i]
                && self.uses[i] > 0
            {
                operands.iter().for_each(|o| self.uses[o.ix()] += 1);
            }
        }
        for i in 0..self.p.steps.len() {
            if let Step::Op(code, operands) = &self.p.steps[i]
                && self.uses[i] > 0
            {
                self.step(i, *code, operands)?;
            }
        }
        // An array may be read for the last time here and written in the same breath.
        for s in &self.p.stores {
            self.get(s.value, &[])?;
        }
        for s in &self.p.stores {
            let register = V(self.place[s.value.ix()].ok_or(Refused)?);
            let to = self.element(s.array);
            match (rest, self.a.width) {
                (false, _) => {
                    let op = if s.stream { asm::STREAM } else { asm::STORE };
                    self.a.store(op, register, to, With::default());
                }
                (true, Width::Sixteen) => {
                    let with = With { mask: Some(REST_MASK), ..With::default() };
                    self.a.store(asm::STORE, register, to, with);
                }
                (true, Width::Eight) => self.a.op(asm::STORE_WHERE, register, V(REST_SIGNS), to),
            }
        }
        for s in &self.p.stores {
            self.used(s.value);
        }
        Ok(())
    }

    fn class(&self, i: usize) -> Class {
        let truth = self.p.is_truth(Id(i as u16));
        if truth && self.a.width == Width::Sixteen { Class::Mask } else { Class::Vector }
    }

    fn element(&self, array: usize) -> Rm {
        let scale = if self.p.arrays[array] == Element::Word { 2 } else { 0 };
        Rm::At { base: BASES[array], index: Some((AT, scale)), disp: 0 }
    }

    /// Where a value or a constant stands in memory.
    fn single(&mut self, i: usize) -> Rm {
        match self.p.steps[i] {
            Step::Value(v) => Rm::At { base: TABLE, index: None, disp: 8 * (self.p.arrays.len() + v) as i32 },
            Step::Const(bits) => self.a.constant(&bits.to_le_bytes()),
            _ => unreachable!("only these are the same for all elements"),
        }
    }

    fn broadcast(&mut self, to: V, i: usize) {
        let from = self.single(i);
        self.a.unary(asm::BROADCAST, to, from, None, With::default());
    }

    /// A register that holds nothing of `keep`. What could be had again may lose its own.
    fn register(&mut self, class: Class, keep: &[Id]) -> Result<u8, Refused> {
        let free = if class == Class::Mask { &mut self.free_masks } else { &mut self.free };
        if let Some(r) = free.pop() {
            return Ok(r);
        }
        let again = |i: usize| !self.hoisted[i] && !matches!(self.p.steps[i], Step::Op(..));
        let spare = (0..self.place.len()).find(|&i| {
            let held = self.place[i].is_some() && self.class(i) == class;
            held && again(i) && keep.iter().all(|k| k.ix() != i)
        });
        spare.and_then(|i| self.place[i].take()).ok_or(Refused)
    }

    /// The register of a step's result.
    fn get(&mut self, id: Id, keep: &[Id]) -> Result<u8, Refused> {
        let i = id.ix();
        if let Some(r) = self.place[i] {
            return Ok(r);
        }
        let class = self.class(i);
        let r = self.register(class, keep)?;
        match self.p.steps[i] {
            Step::Load(array) if self.p.arrays[array] == Element::Word => {
                let from = self.element(array);
                match (self.rest, self.a.width) {
                    (true, Width::Eight) => self.a.op(asm::LOAD_WHERE, V(r), V(REST_SIGNS), from),
                    _ => self.a.unary(asm::LOAD, V(r), from, None, self.only_rest()),
                }
            }
            Step::Load(array) => self.load_bytes(array, r, keep)?,
            Step::Value(_) | Step::Const(_) => self.broadcast(V(r), i),
            Step::Position => {
                let count = self.a.width.count() as u32;
                let numbers: Vec<u8> = (0..count).flat_map(u32::to_le_bytes).collect();
                let numbers = self.a.constant(&numbers);
                self.a.broadcast_gpr(V(r), AT);
                self.a.op(asm::ADD_I32, V(r), V(r), numbers);
            }
            Step::Op(..) => return Err(Refused),
        }
        self.place[i] = Some(r);
        Ok(r)
    }

    /// Elements that are not there are neither read nor written.
    fn only_rest(&self) -> With {
        let mask = (self.rest && self.a.width == Width::Sixteen).then_some(REST_MASK);
        With { mask, zero: mask.is_some(), ..With::default() }
    }

    fn load_bytes(&mut self, array: usize, to: u8, keep: &[Id]) -> Result<(), Refused> {
        let from = self.element(array);
        let truth = self.p.arrays[array] == Element::Bool;
        if self.a.width == Width::Sixteen && !truth {
            self.a.unary(asm::WIDEN_U8, V(to), from, None, self.only_rest());
            return Ok(());
        }
        if self.a.width == Width::Sixteen {
            let bytes = self.register(Class::Vector, keep)?;
            self.a.unary(asm::WIDEN_U8, V(bytes), from, None, self.only_rest());
            self.a.compare_into(asm::TEST, Mask(to), V(bytes), V(bytes), None, With::default());
            self.free.push(bytes);
            return Ok(());
        }
        let to = V(to);
        if self.rest {
            self.last_bytes(BASES[array], to);
        } else {
            self.a.unary(asm::WIDEN_U8, to, from, None, With::default());
        }
        if truth {
            // The sign is what counts.
            self.a.shift(asm::Shift::Left, to, to, 31);
        }
        Ok(())
    }

    /// The last bytes of an array, by way of the stack: nothing is read beyond its end.
    fn last_bytes(&mut self, base: Gpr, to: V) {
        let stack = |disp| Rm::At { base: asm::RSP, index: Some((LEFT, 0)), disp };
        self.a.push(base);
        self.a.push(LEFT);
        self.a.add_imm(asm::RSP, -16);
        self.a.add(base, AT);
        let head = self.a.label();
        self.a.place(head);
        self.a.load_byte(SCRATCH, Rm::At { base, index: Some((LEFT, 0)), disp: -1 });
        self.a.store_byte(SCRATCH, stack(-1));
        self.a.add_imm(LEFT, -1);
        self.a.jump_if(Cond::NotZero, head);
        self.a.unary(
            asm::WIDEN_U8,
            to,
            Rm::At { base: asm::RSP, index: None, disp: 0 },
            None,
            With::default(),
        );
        self.a.add_imm(asm::RSP, 16);
        self.a.pop(LEFT);
        self.a.pop(base);
    }

    /// One use of a step is over.
    fn used(&mut self, id: Id) {
        let i = id.ix();
        self.uses[i] -= 1;
        if self.uses[i] == 0
            && !self.hoisted[i]
            && let Some(r) = self.place[i].take()
        {
            let free = if self.class(i) == Class::Mask { &mut self.free_masks } else { &mut self.free };
            free.push(r);
        }
    }

    /// An operand that an instruction may take from memory.
    fn last_operand(&mut self, id: Id, keep: &[Id]) -> Result<(Rm, With), Refused> {
        let i = id.ix();
        if self.place[i].is_none() {
            match self.p.steps[i] {
                Step::Load(array)
                    if !self.rest && self.uses[i] == 1 && self.p.arrays[array] == Element::Word =>
                {
                    return Ok((self.element(array), With::default()));
                }
                Step::Value(_) | Step::Const(_) if self.a.width == Width::Sixteen => {
                    return Ok((self.single(i), With { broadcast: true, ..With::default() }));
                }
                _ => {}
            }
        }
        Ok((Rm::Reg(self.get(id, keep)?), With::default()))
    }

    fn step(&mut self, i: usize, code: Code, operands: &[Id]) -> Result<(), Refused> {
        let wide = self.a.width == Width::Sixteen;
        let binary = match code {
            Code::Add => Some(asm::ADD),
            Code::Sub => Some(asm::SUB),
            Code::Mul => Some(asm::MUL),
            Code::Div => Some(asm::DIV),
            Code::And => Some(asm::AND),
            Code::Or => Some(asm::OR),
            Code::Xor => Some(asm::XOR),
            Code::AddInt => Some(asm::ADD_I32),
            Code::SubInt => Some(asm::SUB_I32),
            Code::MulInt => Some(asm::MUL_I32),
            _ => None,
        };
        if let Some(op) = binary {
            let mut sides = [operands[0], operands[1]];
            // What is in memory is better the second, where the order does not matter.
            let commutes = !matches!(code, Code::Sub | Code::Div | Code::SubInt);
            if commutes && self.place[sides[0].ix()].is_none() && self.place[sides[1].ix()].is_some() {
                sides.reverse();
            }
            let a = V(self.get(sides[0], operands)?);
            let (b, with) = self.last_operand(sides[1], operands)?;
            let to = self.result(i, operands)?;
            self.a.op_with(op, V(to), a, b, with);
            return Ok(());
        }
        match code {
            Code::Sqrt | Code::Floor | Code::Rint | Code::OfInt | Code::OfUint => {
                let x = V(self.get(operands[0], operands)?);
                let (op, imm) = match code {
                    Code::Sqrt => (asm::SQRT, None),
                    Code::Floor => (asm::ROUND, Some(9)),
                    Code::Rint => (asm::ROUND, Some(8)),
                    Code::OfInt => (asm::I32_TO_F32, None),
                    _ if wide => (asm::U32_TO_F32, None),
                    _ => return Err(Refused),
                };
                let to = self.result(i, operands)?;
                self.a.unary(op, V(to), x, imm, With::default());
            }
            Code::Shift(shift, by) => {
                let x = V(self.get(operands[0], operands)?);
                let to = self.result(i, operands)?;
                self.a.shift(shift, V(to), x, by);
            }
            Code::Fma => {
                let [a, b, c] = self.three(operands)?;
                // The sum's place is the result's; it may be needed again, and so may the factors.
                let to = self.register(Class::Vector, operands)?;
                self.a.unary(asm::MOVE, V(to), V(c), None, With::default());
                self.a.op(asm::FMA, V(to), V(a), V(b));
                self.done(i, to, operands);
            }
            Code::Max | Code::Min => self.extreme(i, code, operands)?,
            Code::Compare(cc) => {
                let (a, b) = (V(self.get(operands[0], operands)?), V(self.get(operands[1], operands)?));
                self.compare(i, operands, asm::COMPARE, a, b, Some(cc as u8))?;
            }
            Code::EqualInt | Code::GreaterInt => {
                let (a, b) = (V(self.get(operands[0], operands)?), V(self.get(operands[1], operands)?));
                let op = if code == Code::EqualInt { asm::EQUAL_I32 } else { asm::GREATER_I32 };
                self.compare(i, operands, op, a, b, None)?;
            }
            Code::CompareUint(cc) if wide => {
                let (a, b) = (V(self.get(operands[0], operands)?), V(self.get(operands[1], operands)?));
                self.compare(i, operands, asm::COMPARE_U32, a, b, Some(cc as u8))?;
            }
            Code::Both | Code::Either | Code::Differ => {
                let (a, b) = (self.get(operands[0], operands)?, self.get(operands[1], operands)?);
                let to = self.result(i, operands)?;
                let (mask, vector) = match code {
                    Code::Both => (MaskOp::And, asm::AND),
                    Code::Either => (MaskOp::Or, asm::OR),
                    _ => (MaskOp::Xor, asm::XOR),
                };
                if wide {
                    self.a.masks(mask, Mask(to), Mask(a), Mask(b));
                } else {
                    self.a.op(vector, V(to), V(a), V(b));
                }
            }
            Code::Not => {
                let x = self.get(operands[0], operands)?;
                if wide {
                    let to = self.result(i, operands)?;
                    self.a.not_mask(Mask(to), Mask(x));
                } else {
                    let ones = self.a.constant(&[0xff; 32]);
                    let to = self.result(i, operands)?;
                    self.a.op(asm::XOR, V(to), V(x), ones);
                }
            }
            Code::Pick => {
                let c = self.get(operands[0], operands)?;
                let otherwise = V(self.get(operands[2], operands)?);
                let (a, with) = self.last_operand(operands[1], operands)?;
                let to = self.result(i, operands)?;
                if wide {
                    self.a.op_with(asm::PICK, V(to), otherwise, a, With { mask: Some(Mask(c)), ..with });
                } else {
                    self.a.op_imm(asm::PICK_BY_SIGN, V(to), otherwise, a, c << 4);
                }
            }
            _ => return Err(Refused),
        }
        Ok(())
    }

    fn three(&mut self, operands: &[Id]) -> Result<[u8; 3], Refused> {
        Ok([
            self.get(operands[0], operands)?,
            self.get(operands[1], operands)?,
            self.get(operands[2], operands)?,
        ])
    }

    /// The machine's minimum and maximum give the second operand unless the first is better; a NaN that is the first
    /// must win.
    fn extreme(&mut self, i: usize, code: Code, operands: &[Id]) -> Result<(), Refused> {
        let op = if code == Code::Max { asm::MAX } else { asm::MIN };
        let a = V(self.get(operands[0], operands)?);
        let b = V(self.get(operands[1], operands)?);
        let better = self.register(Class::Vector, operands)?;
        self.a.op(op, V(better), a, b);
        let unordered = Compare::Unordered as u8;
        if self.a.width == Width::Sixteen {
            let nan = Mask(self.register(Class::Mask, operands)?);
            self.a.compare_into(asm::COMPARE, nan, a, a, Some(unordered), With::default());
            self.a.op_with(asm::PICK, V(better), V(better), a, With { mask: Some(nan), ..With::default() });
            self.free_masks.push(nan.0);
        } else {
            let nan = self.register(Class::Vector, operands)?;
            self.a.op_imm(asm::COMPARE, V(nan), a, a, unordered);
            self.a.op_imm(asm::PICK_BY_SIGN, V(better), V(better), a, nan << 4);
            self.free.push(nan);
        }
        self.done(i, better, operands);
        Ok(())
    }

    fn compare(
        &mut self,
        i: usize,
        operands: &[Id],
        op: asm::Op,
        a: V,
        b: V,
        imm: Option<u8>,
    ) -> Result<(), Refused> {
        let to = self.result(i, operands)?;
        match (self.a.width, imm) {
            (Width::Sixteen, _) => self.a.compare_into(op, Mask(to), a, b, imm, With::default()),
            (Width::Eight, Some(imm)) => self.a.op_imm(op, V(to), a, b, imm),
            (Width::Eight, None) => self.a.op(op, V(to), a, b),
        }
        Ok(())
    }

    /// The register for the result of an instruction that reads all operands before it writes: one of theirs, if this
    /// was its last use.
    fn result(&mut self, i: usize, operands: &[Id]) -> Result<u8, Refused> {
        operands.iter().for_each(|&o| self.used(o));
        let still: Vec<Id> = operands.iter().copied().filter(|o| self.uses[o.ix()] > 0).collect();
        let to = self.register(self.class(i), &still)?;
        self.place[i] = Some(to);
        Ok(to)
    }

    /// The result is in a register of its own.
    fn done(&mut self, i: usize, to: u8, operands: &[Id]) {
        operands.iter().for_each(|&o| self.used(o));
        self.place[i] = Some(to);
    }
}
