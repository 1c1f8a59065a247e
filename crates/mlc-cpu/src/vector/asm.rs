//! The instructions that loops over vectors take, as bytes: AVX2 with VEX prefixes, AVX-512 with EVEX prefixes.
//!
//! Encodings are those of the Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2. Displacements are
//! 32 bits wide, so that none is scaled.

/// A vector register, 0 to 31 (AVX2: to 15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vec(pub u8);

/// A mask register, 0 to 7; 0 means no mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mask(pub u8);

/// A general register by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gpr(pub u8);

pub const RAX: Gpr = Gpr(0);
pub const RCX: Gpr = Gpr(1);
pub const RDX: Gpr = Gpr(2);
pub const RBX: Gpr = Gpr(3);
pub const RSP: Gpr = Gpr(4);
pub const RBP: Gpr = Gpr(5);
pub const RSI: Gpr = Gpr(6);
pub const RDI: Gpr = Gpr(7);
pub const R8: Gpr = Gpr(8);
pub const R9: Gpr = Gpr(9);
pub const R10: Gpr = Gpr(10);
pub const R11: Gpr = Gpr(11);
pub const R12: Gpr = Gpr(12);
pub const R13: Gpr = Gpr(13);
pub const R14: Gpr = Gpr(14);
pub const R15: Gpr = Gpr(15);

/// The last operand of an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rm {
    Reg(u8),
    /// `[base + index * scale + disp]`; the scale is a power of two, given by its logarithm.
    At {
        base: Gpr,
        index: Option<(Gpr, u8)>,
        disp: i32,
    },
    /// Bytes of the constants behind the code.
    Pool(usize),
}

impl From<Vec> for Rm {
    fn from(v: Vec) -> Rm {
        Rm::Reg(v.0)
    }
}

impl From<Mask> for Rm {
    fn from(m: Mask) -> Rm {
        Rm::Reg(m.0)
    }
}

/// Prefix, opcode map and opcode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    prefix: u8,
    map: u8,
    code: u8,
}

const fn op(prefix: u8, map: u8, code: u8) -> Op {
    Op {
        prefix: match prefix {
            0x66 => 1,
            0xf3 => 2,
            0xf2 => 3,
            _ => 0,
        },
        map,
        code,
    }
}

/// Opcode maps: 0F, 0F 38, 0F 3A.
const M1: u8 = 1;
const M2: u8 = 2;
const M3: u8 = 3;

pub const LOAD: Op = op(0, M1, 0x10);
pub const STORE: Op = op(0, M1, 0x11);
/// To an aligned place, past the caches.
pub const STREAM: Op = op(0, M1, 0x2b);
pub const MOVE: Op = op(0, M1, 0x28);
pub const SQRT: Op = op(0, M1, 0x51);
pub const AND: Op = op(0, M1, 0x54);
pub const OR: Op = op(0, M1, 0x56);
pub const XOR: Op = op(0, M1, 0x57);
pub const ADD: Op = op(0, M1, 0x58);
pub const MUL: Op = op(0, M1, 0x59);
pub const I32_TO_F32: Op = op(0, M1, 0x5b);
pub const SUB: Op = op(0, M1, 0x5c);
pub const MIN: Op = op(0, M1, 0x5d);
pub const DIV: Op = op(0, M1, 0x5e);
pub const MAX: Op = op(0, M1, 0x5f);
/// `dst = a * b + dst`
pub const FMA: Op = op(0x66, M2, 0xb8);
/// With an immediate: 8 is to nearest even, 9 down.
pub const ROUND: Op = op(0x66, M3, 0x08);
/// With an immediate of [`Compare`]; into a mask register with AVX-512, else all ones or zeros.
pub const COMPARE: Op = op(0, M1, 0xc2);
pub const BROADCAST: Op = op(0x66, M2, 0x18);
pub const ADD_I32: Op = op(0x66, M1, 0xfe);
pub const SUB_I32: Op = op(0x66, M1, 0xfa);
pub const MUL_I32: Op = op(0x66, M2, 0x40);
/// Into a mask register with AVX-512, as [`COMPARE`].
pub const EQUAL_I32: Op = op(0x66, M1, 0x76);
pub const GREATER_I32: Op = op(0x66, M1, 0x66);
/// AVX-512: unsigned, with an immediate of [`Compare`].
pub const COMPARE_U32: Op = op(0x66, M3, 0x1e);
/// AVX-512.
pub const U32_TO_F32: Op = op(0xf2, M1, 0x7a);
/// Bytes to 32 bits, zero-extended.
pub const WIDEN_U8: Op = op(0x66, M2, 0x31);
/// AVX-512: which elements of `a & b` are not zero, into a mask register.
pub const TEST: Op = op(0x66, M2, 0x27);
/// AVX-512: `b` where the mask is set, else `a`.
pub const PICK: Op = op(0x66, M2, 0x65);
/// AVX2: `b` where the fourth register's signs are set, else `a`.
pub const PICK_BY_SIGN: Op = op(0x66, M3, 0x4a);
/// AVX2: where the signs of `a` are set.
pub const LOAD_WHERE: Op = op(0x66, M2, 0x2c);
pub const STORE_WHERE: Op = op(0x66, M2, 0x2e);
/// AVX-512: all elements from a general register.
pub const FROM_GPR: Op = op(0x66, M2, 0x7c);
/// All elements from a vector's first.
pub const FROM_FIRST: Op = op(0x66, M2, 0x58);
/// Shifts by an immediate: one opcode, told apart by a number where a register would stand.
const SHIFT_I32: Op = op(0x66, M1, 0x72);

/// Immediates of comparisons; false for NaN but for [`Compare::NotEqual`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Compare {
    Equal = 0,
    Less = 1,
    LessEqual = 2,
    /// Either is NaN.
    Unordered = 3,
    NotEqual = 4,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Shift {
    Right = 2,
    RightSigned = 4,
    Left = 6,
}

/// Operations on mask registers, of 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum MaskOp {
    And = 0x41,
    Or = 0x45,
    Xor = 0x47,
}

/// Conditions of jumps, after a comparison of signed numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Cond {
    Zero = 0x84,
    NotZero = 0x85,
    LessEqual = 0x8e,
    Greater = 0x8f,
}

/// What an instruction does besides, with AVX-512.
#[derive(Debug, Clone, Copy, Default)]
pub struct With {
    /// Only elements of this mask.
    pub mask: Option<Mask>,
    /// Elements outside of the mask become zero instead of staying.
    pub zero: bool,
    /// The memory operand is one element for all.
    pub broadcast: bool,
}

/// Elements of 32 bits in a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    Eight,
    Sixteen,
}

impl Width {
    pub fn count(self) -> usize {
        if self == Width::Eight { 8 } else { 16 }
    }
}

/// A place to jump to.
#[derive(Debug, Clone, Copy)]
pub struct Label(usize);

/// Code under construction, and the constants that will stand behind it.
pub struct Asm {
    pub width: Width,
    bytes: std::vec::Vec<u8>,
    pool: std::vec::Vec<u8>,
    /// Where 32-bit distances stand, what to, and from how many bytes after them.
    to_pool: std::vec::Vec<(usize, usize, usize)>,
    to_label: std::vec::Vec<(usize, usize)>,
    labels: std::vec::Vec<Option<usize>>,
}

impl Asm {
    pub fn new(width: Width) -> Asm {
        let [bytes, pool] = [(); 2].map(|()| std::vec::Vec::new());
        let (to_pool, to_label, labels) = Default::default();
        Asm { width, bytes, pool, to_pool, to_label, labels }
    }

    /// Puts a constant behind the code, once, at a multiple of its length.
    pub fn constant(&mut self, bytes: &[u8]) -> Rm {
        let known = self.pool.chunks_exact(bytes.len()).position(|c| c == bytes);
        let at = known.map_or_else(
            || {
                let at = self.pool.len().next_multiple_of(bytes.len());
                self.pool.resize(at, 0);
                self.pool.extend_from_slice(bytes);
                at
            },
            |i| i * bytes.len(),
        );
        Rm::Pool(at)
    }

    /// The code with its constants; it may stand at any multiple of 64.
    pub fn finish(mut self) -> std::vec::Vec<u8> {
        for (at, label) in std::mem::take(&mut self.to_label) {
            let to = self.labels[label].unwrap_or(at);
            self.distance(at, to, 4);
        }
        let pool = self.bytes.len().next_multiple_of(64);
        for (at, to, after) in std::mem::take(&mut self.to_pool) {
            self.distance(at, pool + to, after);
        }
        self.bytes.resize(pool, 0xcc);
        self.bytes.extend_from_slice(&self.pool);
        self.bytes
    }

    fn distance(&mut self, at: usize, to: usize, after: usize) {
        let d = to.wrapping_sub(at + after) as u32;
        self.bytes[at..at + 4].copy_from_slice(&d.to_le_bytes());
    }

    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// The label stands here.
    pub fn place(&mut self, label: Label) {
        self.labels[label.0] = Some(self.bytes.len());
    }

    /// `dst = a op b` of whole vectors.
    pub fn op(&mut self, op: Op, dst: Vec, a: Vec, b: impl Into<Rm>) {
        self.full(op, dst.0, a.0, b.into(), None, With::default());
    }

    /// As [`Asm::op`], with more.
    pub fn op_with(&mut self, op: Op, dst: Vec, a: Vec, b: impl Into<Rm>, with: With) {
        self.full(op, dst.0, a.0, b.into(), None, with);
    }

    /// `dst = op b`
    pub fn unary(&mut self, op: Op, dst: Vec, b: impl Into<Rm>, imm: Option<u8>, with: With) {
        self.full(op, dst.0, 0, b.into(), imm, with);
    }

    /// AVX2: a comparison of elements or a pick by a register's signs.
    pub fn op_imm(&mut self, op: Op, dst: Vec, a: Vec, b: impl Into<Rm>, imm: u8) {
        self.full(op, dst.0, a.0, b.into(), Some(imm), With::default());
    }

    /// AVX-512: a comparison into a mask register.
    pub fn compare_into(&mut self, op: Op, dst: Mask, a: Vec, b: impl Into<Rm>, imm: Option<u8>, with: With) {
        self.full(op, dst.0, a.0, b.into(), imm, with);
    }

    /// Stores a vector: [`STORE`] or [`STREAM`].
    pub fn store(&mut self, op: Op, v: Vec, to: Rm, with: With) {
        self.full(op, v.0, 0, to, None, with);
    }

    pub fn shift(&mut self, shift: Shift, dst: Vec, a: Vec, by: u8) {
        self.full(SHIFT_I32, shift as u8, dst.0, a.into(), Some(by), With::default());
    }

    fn full(&mut self, op: Op, reg: u8, a: u8, b: Rm, imm: Option<u8>, with: With) {
        match self.width {
            Width::Eight => self.vex(op, reg, a, b, imm, 1),
            Width::Sixteen => self.evex(op, reg, a, b, imm, with),
        }
    }

    /// `long`: the L bit.
    fn vex(&mut self, op: Op, reg: u8, a: u8, b: Rm, imm: Option<u8>, long: u8) {
        let (x, base) = extension(b);
        let flip = |bit: u8, at: u8| (bit & 1 ^ 1) << at;
        self.bytes.push(0xc4);
        self.bytes.push(flip(reg >> 3, 7) | flip(x, 6) | flip(base >> 3, 5) | op.map);
        self.bytes.push((!a & 15) << 3 | long << 2 | op.prefix);
        self.bytes.push(op.code);
        self.operand(reg, b, imm);
    }

    fn evex(&mut self, op: Op, reg: u8, a: u8, b: Rm, imm: Option<u8>, with: With) {
        let (x, base) = extension(b);
        let x = if let Rm::Reg(r) = b { r >> 4 } else { x };
        let flip = |bit: u8, at: u8| (bit & 1 ^ 1) << at;
        self.bytes.push(0x62);
        self.bytes.push(flip(reg >> 3, 7) | flip(x, 6) | flip(base >> 3, 5) | flip(reg >> 4, 4) | op.map);
        self.bytes.push((!a & 15) << 3 | 1 << 2 | op.prefix);
        let mask = with.mask.map_or(0, |m| m.0);
        let long = 0b10 << 5;
        self.bytes
            .push(u8::from(with.zero) << 7 | long | u8::from(with.broadcast) << 4 | flip(a >> 4, 3) | mask);
        self.bytes.push(op.code);
        self.operand(reg, b, imm);
    }

    /// ModRM, SIB, displacement and immediate.
    fn operand(&mut self, reg: u8, rm: Rm, imm: Option<u8>) {
        let reg = (reg & 7) << 3;
        match rm {
            Rm::Reg(r) => self.bytes.push(0xc0 | reg | (r & 7)),
            Rm::Pool(at) => {
                self.bytes.push(reg | 5);
                self.to_pool.push((self.bytes.len(), at, 4 + usize::from(imm.is_some())));
                self.bytes.extend_from_slice(&[0; 4]);
            }
            Rm::At { base, index, disp } => {
                // Base 5 without a displacement means something else.
                let near = disp == 0 && base.0 & 7 != 5;
                let mode = if near { 0 } else { 0x80 };
                match index {
                    Some((index, scale)) => {
                        self.bytes.push(mode | reg | 4);
                        self.bytes.push(scale << 6 | (index.0 & 7) << 3 | (base.0 & 7));
                    }
                    None if base.0 & 7 == 4 => self.bytes.extend_from_slice(&[mode | reg | 4, 0x24]),
                    None => self.bytes.push(mode | reg | (base.0 & 7)),
                }
                if !near {
                    self.bytes.extend_from_slice(&disp.to_le_bytes());
                }
            }
        }
        self.bytes.extend(imm);
    }

    /// `dst = a op b` of mask registers.
    pub fn masks(&mut self, op: MaskOp, dst: Mask, a: Mask, b: Mask) {
        self.vex(Op { prefix: 0, map: M1, code: op as u8 }, dst.0, a.0, b.into(), None, 1);
    }

    pub fn not_mask(&mut self, dst: Mask, a: Mask) {
        self.vex(Op { prefix: 0, map: M1, code: 0x44 }, dst.0, 0, a.into(), None, 0);
    }

    /// 16 bits from memory.
    pub fn load_mask(&mut self, dst: Mask, from: Rm) {
        self.vex(Op { prefix: 0, map: M1, code: 0x90 }, dst.0, 0, from, None, 0);
    }

    /// All elements are the lower half of a general register.
    pub fn from_gpr(&mut self, dst: Vec, from: Gpr) {
        if self.width == Width::Sixteen {
            return self.full(FROM_GPR, dst.0, 0, Rm::Reg(from.0), None, With::default());
        }
        self.vex(op(0x66, M1, 0x6e), dst.0, 0, Rm::Reg(from.0), None, 0);
        self.full(FROM_FIRST, dst.0, 0, dst.into(), None, With::default());
    }

    /// Ends the use of long vectors.
    pub fn zero_upper(&mut self) {
        self.bytes.extend_from_slice(&[0xc5, 0xf8, 0x77]);
    }

    /// An instruction of general registers of 64 bits.
    fn general(&mut self, code: u8, reg: u8, rm: Rm, wide: bool) {
        let (x, base) = extension(rm);
        self.bytes.push(0x40 | u8::from(wide) << 3 | (reg >> 3) << 2 | (x & 1) << 1 | base >> 3);
        self.bytes.push(code);
        self.operand(reg, rm, None);
    }

    pub fn load(&mut self, dst: Gpr, from: Rm) {
        self.general(0x8b, dst.0, from, true);
    }

    /// The address of a constant.
    pub fn address(&mut self, dst: Gpr, of: Rm) {
        self.general(0x8d, dst.0, of, true);
    }

    pub fn load_byte(&mut self, dst: Gpr, from: Rm) {
        self.general(0x8a, dst.0, from, false);
    }

    pub fn store_byte(&mut self, v: Gpr, to: Rm) {
        self.general(0x88, v.0, to, false);
    }

    pub fn copy(&mut self, dst: Gpr, from: Gpr) {
        self.general(0x89, from.0, Rm::Reg(dst.0), true);
    }

    pub fn negate(&mut self, dst: Gpr) {
        self.general(0xf7, 3, Rm::Reg(dst.0), true);
    }

    pub fn shift_right(&mut self, dst: Gpr, by: u8) {
        self.general(0xc1, 5, Rm::Reg(dst.0), true);
        self.bytes.push(by);
    }

    /// Sets the conditions of a comparison with 0.
    pub fn and_imm(&mut self, dst: Gpr, imm: i32) {
        self.general(0x81, 4, Rm::Reg(dst.0), true);
        self.bytes.extend_from_slice(&imm.to_le_bytes());
    }

    pub fn clear(&mut self, dst: Gpr) {
        self.general(0x31, dst.0, Rm::Reg(dst.0), false);
    }

    pub fn add_imm(&mut self, dst: Gpr, imm: i32) {
        self.general(0x81, 0, Rm::Reg(dst.0), true);
        self.bytes.extend_from_slice(&imm.to_le_bytes());
    }

    pub fn add(&mut self, dst: Gpr, b: Gpr) {
        self.general(0x01, b.0, Rm::Reg(dst.0), true);
    }

    /// `dst -= b`, with the conditions that a comparison with 0 gives.
    pub fn sub(&mut self, dst: Gpr, b: Gpr) {
        self.general(0x29, b.0, Rm::Reg(dst.0), true);
    }

    pub fn compare(&mut self, a: Gpr, b: Gpr) {
        self.general(0x39, b.0, Rm::Reg(a.0), true);
    }

    pub fn jump_if(&mut self, cond: Cond, to: Label) {
        self.bytes.extend_from_slice(&[0x0f, cond as u8]);
        self.to_label.push((self.bytes.len(), to.0));
        self.bytes.extend_from_slice(&[0; 4]);
    }

    pub fn push(&mut self, r: Gpr) {
        self.bytes.extend_from_slice(&[0x40 | r.0 >> 3, 0x50 | (r.0 & 7)]);
    }

    pub fn pop(&mut self, r: Gpr) {
        self.bytes.extend_from_slice(&[0x40 | r.0 >> 3, 0x58 | (r.0 & 7)]);
    }

    pub fn ret(&mut self) {
        self.bytes.push(0xc3);
    }

    /// Starts a loop's code at a multiple of 32.
    pub fn align(&mut self) {
        while !self.bytes.len().is_multiple_of(32) {
            let rest = 32 - self.bytes.len() % 32;
            let nop: &[u8] = match rest {
                1 => &[0x90],
                2 => &[0x66, 0x90],
                3 => &[0x0f, 0x1f, 0x00],
                4..8 => &[0x0f, 0x1f, 0x40, 0x00],
                _ => &[0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0],
            };
            self.bytes.extend_from_slice(nop);
        }
    }
}

/// The fourth bits of an operand's index, and its base or register.
fn extension(rm: Rm) -> (u8, u8) {
    match rm {
        Rm::Reg(r) => (0, r & 15),
        Rm::At { base, index, .. } => (index.map_or(0, |i| i.0.0 >> 3), base.0),
        Rm::Pool(_) => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(width: Width, emit: impl FnOnce(&mut Asm)) -> String {
        let mut a = Asm::new(width);
        emit(&mut a);
        let end = a.bytes.len();
        a.finish()[..end].iter().map(|b| format!("{b:02x}")).collect()
    }

    const X: Rm = Rm::At { base: RBP, index: Some((R11, 2)), disp: 0 };
    const Y: Rm = Rm::At { base: R9, index: Some((R11, 2)), disp: 0 };
    const Z: Rm = Rm::At { base: RDI, index: None, disp: 24 };

    const B: Rm = Rm::At { base: R9, index: Some((R11, 0)), disp: 0 };

    /// As GNU as encodes the text beside; the prefixes in braces ask for one of several encodings.
    #[test]
    fn instructions() {
        use Width::{Eight, Sixteen};
        type Case = (Width, &'static str, &'static str, fn(&mut Asm, With, With));
        let cases: &[Case] = &[
            (Eight, "{vex3} {disp32} vmovups ymm9, [rbp+r11*4]", "c4217c108c9d00000000", |a, none, _| {
                a.unary(LOAD, Vec(9), X, None, none)
            }),
            (Eight, "{vex3} vmovups [r9+r11*4], ymm3", "c4817c111c99", |a, none, _| {
                a.store(STORE, Vec(3), Y, none)
            }),
            (Eight, "{vex3} vaddps ymm1, ymm12, ymm15", "c4c11c58cf", |a, _, _| {
                a.op(ADD, Vec(1), Vec(12), Vec(15))
            }),
            (Eight, "{vex3} vsubps ymm10, ymm2, [r9+r11*4]", "c4016c5c1499", |a, _, _| {
                a.op(SUB, Vec(10), Vec(2), Y)
            }),
            (Eight, "{vex3} vmulps ymm0, ymm1, ymm2", "c4e17459c2", |a, _, _| {
                a.op(MUL, Vec(0), Vec(1), Vec(2))
            }),
            (Eight, "{vex3} vdivps ymm0, ymm1, ymm2", "c4e1745ec2", |a, _, _| {
                a.op(DIV, Vec(0), Vec(1), Vec(2))
            }),
            (Eight, "{vex3} vminps ymm0, ymm1, ymm2", "c4e1745dc2", |a, _, _| {
                a.op(MIN, Vec(0), Vec(1), Vec(2))
            }),
            (Eight, "{vex3} vmaxps ymm0, ymm1, ymm2", "c4e1745fc2", |a, _, _| {
                a.op(MAX, Vec(0), Vec(1), Vec(2))
            }),
            (Eight, "{vex3} vandps ymm8, ymm9, ymm10", "c4413454c2", |a, _, _| {
                a.op(AND, Vec(8), Vec(9), Vec(10))
            }),
            (Eight, "{vex3} vorps ymm8, ymm9, ymm10", "c4413456c2", |a, _, _| {
                a.op(OR, Vec(8), Vec(9), Vec(10))
            }),
            (Eight, "{vex3} vxorps ymm8, ymm9, ymm10", "c4413457c2", |a, _, _| {
                a.op(XOR, Vec(8), Vec(9), Vec(10))
            }),
            (Eight, "{vex3} vsqrtps ymm8, ymm10", "c4417c51c2", |a, none, _| {
                a.unary(SQRT, Vec(8), Vec(10), None, none)
            }),
            (Eight, "{vex3} vroundps ymm8, ymm10, 9", "c4437d08c209", |a, none, _| {
                a.unary(ROUND, Vec(8), Vec(10), Some(9), none)
            }),
            (Eight, "{vex3} vcvtdq2ps ymm8, ymm10", "c4417c5bc2", |a, none, _| {
                a.unary(I32_TO_F32, Vec(8), Vec(10), None, none)
            }),
            (Eight, "{vex3} vmovaps ymm8, ymm10", "c4417c28c2", |a, none, _| {
                a.unary(MOVE, Vec(8), Vec(10), None, none)
            }),
            (Eight, "{vex3} vfmadd231ps ymm8, ymm1, ymm10", "c44275b8c2", |a, _, _| {
                a.op(FMA, Vec(8), Vec(1), Vec(10))
            }),
            (Eight, "{vex3} vcmpps ymm4, ymm1, ymm10, 2", "c4c174c2e202", |a, _, _| {
                a.op_imm(COMPARE, Vec(4), Vec(1), Vec(10), Compare::LessEqual as u8)
            }),
            (Eight, "{vex3} {disp32} vbroadcastss ymm4, [rdi+24]", "c4e27d18a718000000", |a, none, _| {
                a.unary(BROADCAST, Vec(4), Z, None, none)
            }),
            (Eight, "{vex3} vpaddd ymm4, ymm1, ymm10", "c4c175fee2", |a, _, _| {
                a.op(ADD_I32, Vec(4), Vec(1), Vec(10))
            }),
            (Eight, "{vex3} vpsubd ymm4, ymm1, ymm10", "c4c175fae2", |a, _, _| {
                a.op(SUB_I32, Vec(4), Vec(1), Vec(10))
            }),
            (Eight, "{vex3} vpmulld ymm4, ymm1, ymm10", "c4c27540e2", |a, _, _| {
                a.op(MUL_I32, Vec(4), Vec(1), Vec(10))
            }),
            (Eight, "{vex3} vpcmpeqd ymm4, ymm1, ymm10", "c4c17576e2", |a, _, _| {
                a.op(EQUAL_I32, Vec(4), Vec(1), Vec(10))
            }),
            (Eight, "{vex3} vpcmpgtd ymm4, ymm1, ymm10", "c4c17566e2", |a, _, _| {
                a.op(GREATER_I32, Vec(4), Vec(1), Vec(10))
            }),
            (Eight, "{vex3} vpmovzxbd ymm4, [r9+r11]", "c4827d312419", |a, none, _| {
                a.unary(WIDEN_U8, Vec(4), B, None, none)
            }),
            (Eight, "{vex3} vblendvps ymm4, ymm1, ymm10, ymm13", "c4c3754ae2d0", |a, _, _| {
                a.op_imm(PICK_BY_SIGN, Vec(4), Vec(1), Vec(10), 13 << 4)
            }),
            (Eight, "{vex3} vmaskmovps ymm4, ymm15, [r9+r11*4]", "c482052c2499", |a, _, _| {
                a.op(LOAD_WHERE, Vec(4), Vec(15), Y)
            }),
            (Eight, "{vex3} vmaskmovps [r9+r11*4], ymm15, ymm4", "c482052e2499", |a, _, _| {
                a.op(STORE_WHERE, Vec(4), Vec(15), Y)
            }),
            (Eight, "{vex3} vpslld ymm4, ymm13, 31", "c4c15d72f51f", |a, _, _| {
                a.shift(Shift::Left, Vec(4), Vec(13), 31)
            }),
            (Eight, "{vex3} vpsrld ymm14, ymm3, 8", "c4e10d72d308", |a, _, _| {
                a.shift(Shift::Right, Vec(14), Vec(3), 8)
            }),
            (Eight, "{vex3} vpsrad ymm14, ymm3, 8", "c4e10d72e308", |a, _, _| {
                a.shift(Shift::RightSigned, Vec(14), Vec(3), 8)
            }),
            (Sixteen, "{disp32} vmovups zmm25, [rbp+r11*4]", "62217c48108c9d00000000", |a, none, _| {
                a.unary(LOAD, Vec(25), X, None, none)
            }),
            (Sixteen, "vmovups zmm9{k7}{z}, [r9+r11*4]", "62117ccf100c99", |a, _, masked| {
                a.unary(LOAD, Vec(9), Y, None, With { zero: true, ..masked })
            }),
            (Sixteen, "vmovups [r9+r11*4], zmm19", "62817c48111c99", |a, none, _| {
                a.store(STORE, Vec(19), Y, none)
            }),
            (Sixteen, "vmovups [r9+r11*4]{k7}, zmm3", "62917c4f111c99", |a, _, masked| {
                a.store(STORE, Vec(3), Y, masked)
            }),
            (Sixteen, "vaddps zmm1, zmm28, zmm15", "62d11c4058cf", |a, _, _| {
                a.op(ADD, Vec(1), Vec(28), Vec(15))
            }),
            (Sixteen, "vaddps zmm17, zmm4, zmm31", "62815c4858cf", |a, _, _| {
                a.op(ADD, Vec(17), Vec(4), Vec(31))
            }),
            (
                Sixteen,
                "{disp32} vmulps zmm17, zmm4, [rdi+24]{1to16}",
                "62e15c58598f18000000",
                |a, none, _| a.op_with(MUL, Vec(17), Vec(4), Z, With { broadcast: true, ..none }),
            ),
            (Sixteen, "vsubps zmm10, zmm2, [r9+r11*4]", "62116c485c1499", |a, _, _| {
                a.op(SUB, Vec(10), Vec(2), Y)
            }),
            (Sixteen, "vdivps zmm0, zmm1, zmm2", "62f174485ec2", |a, _, _| a.op(DIV, Vec(0), Vec(1), Vec(2))),
            (Sixteen, "vminps zmm0, zmm1, zmm2", "62f174485dc2", |a, _, _| a.op(MIN, Vec(0), Vec(1), Vec(2))),
            (Sixteen, "vmaxps zmm0, zmm1, zmm2", "62f174485fc2", |a, _, _| a.op(MAX, Vec(0), Vec(1), Vec(2))),
            (Sixteen, "vandps zmm8, zmm9, zmm10", "6251344854c2", |a, _, _| {
                a.op(AND, Vec(8), Vec(9), Vec(10))
            }),
            (Sixteen, "vorps zmm8, zmm29, zmm10", "6251144056c2", |a, _, _| {
                a.op(OR, Vec(8), Vec(29), Vec(10))
            }),
            (Sixteen, "vxorps zmm8, zmm9, zmm30", "6211344857c6", |a, _, _| {
                a.op(XOR, Vec(8), Vec(9), Vec(30))
            }),
            (Sixteen, "vsqrtps zmm8, zmm20", "62317c4851c4", |a, none, _| {
                a.unary(SQRT, Vec(8), Vec(20), None, none)
            }),
            (Sixteen, "vrndscaleps zmm8, zmm10, 8", "62537d4808c208", |a, none, _| {
                a.unary(ROUND, Vec(8), Vec(10), Some(8), none)
            }),
            (Sixteen, "vcvtdq2ps zmm8, zmm10", "62517c485bc2", |a, none, _| {
                a.unary(I32_TO_F32, Vec(8), Vec(10), None, none)
            }),
            (Sixteen, "vcvtudq2ps zmm8, zmm10", "62517f487ac2", |a, none, _| {
                a.unary(U32_TO_F32, Vec(8), Vec(10), None, none)
            }),
            (Sixteen, "vmovaps zmm8, zmm10", "62517c4828c2", |a, none, _| {
                a.unary(MOVE, Vec(8), Vec(10), None, none)
            }),
            (Sixteen, "vfmadd231ps zmm8, zmm21, zmm10", "62525540b8c2", |a, _, _| {
                a.op(FMA, Vec(8), Vec(21), Vec(10))
            }),
            (Sixteen, "vcmpps k3, zmm21, zmm10, 4", "62d15440c2da04", |a, none, _| {
                a.compare_into(COMPARE, Mask(3), Vec(21), Vec(10), Some(Compare::NotEqual as u8), none)
            }),
            (Sixteen, "vpcmpeqd k3, zmm21, zmm10", "62d1554076da", |a, none, _| {
                a.compare_into(EQUAL_I32, Mask(3), Vec(21), Vec(10), None, none)
            }),
            (Sixteen, "vpcmpgtd k3, zmm21, zmm10", "62d1554066da", |a, none, _| {
                a.compare_into(GREATER_I32, Mask(3), Vec(21), Vec(10), None, none)
            }),
            (Sixteen, "vpcmpud k3, zmm21, zmm10, 1", "62d355401eda01", |a, none, _| {
                a.compare_into(COMPARE_U32, Mask(3), Vec(21), Vec(10), Some(Compare::Less as u8), none)
            }),
            (Sixteen, "{disp32} vbroadcastss zmm24, [rdi+24]", "62627d48188718000000", |a, none, _| {
                a.unary(BROADCAST, Vec(24), Z, None, none)
            }),
            (Sixteen, "vpaddd zmm4, zmm1, zmm10", "62d17548fee2", |a, _, _| {
                a.op(ADD_I32, Vec(4), Vec(1), Vec(10))
            }),
            (Sixteen, "vpsubd zmm4, zmm1, zmm10", "62d17548fae2", |a, _, _| {
                a.op(SUB_I32, Vec(4), Vec(1), Vec(10))
            }),
            (Sixteen, "vpmulld zmm4, zmm1, zmm10", "62d2754840e2", |a, _, _| {
                a.op(MUL_I32, Vec(4), Vec(1), Vec(10))
            }),
            (Sixteen, "vpmovzxbd zmm4, [r9+r11]", "62927d48312419", |a, none, _| {
                a.unary(WIDEN_U8, Vec(4), B, None, none)
            }),
            (Sixteen, "vptestmd k5, zmm4, zmm4", "62f25d4827ec", |a, none, _| {
                a.compare_into(TEST, Mask(5), Vec(4), Vec(4), None, none)
            }),
            (Sixteen, "vblendmps zmm4{k2}, zmm1, zmm30", "6292754a65e6", |a, none, _| {
                a.op_with(PICK, Vec(4), Vec(1), Vec(30), With { mask: Some(Mask(2)), ..none })
            }),
            (Sixteen, "vpslld zmm24, zmm13, 31", "62d13d4072f51f", |a, _, _| {
                a.shift(Shift::Left, Vec(24), Vec(13), 31)
            }),
            (Sixteen, "vpsrad zmm4, zmm23, 3", "62b15d4872e703", |a, _, _| {
                a.shift(Shift::RightSigned, Vec(4), Vec(23), 3)
            }),
            (Sixteen, "{vex3} kandw k1, k2, k3", "c4e16c41cb", |a, _, _| {
                a.masks(MaskOp::And, Mask(1), Mask(2), Mask(3))
            }),
            (Sixteen, "{vex3} korw k1, k2, k3", "c4e16c45cb", |a, _, _| {
                a.masks(MaskOp::Or, Mask(1), Mask(2), Mask(3))
            }),
            (Sixteen, "{vex3} kxorw k1, k2, k3", "c4e16c47cb", |a, _, _| {
                a.masks(MaskOp::Xor, Mask(1), Mask(2), Mask(3))
            }),
            (Sixteen, "{vex3} knotw k1, k6", "c4e17844ce", |a, _, _| a.not_mask(Mask(1), Mask(6))),
            (Sixteen, "{vex3} kmovw k7, [rax+rsi*2]", "c4e178903c70", |a, _, _| {
                a.load_mask(Mask(7), Rm::At { base: RAX, index: Some((RSI, 1)), disp: 0 })
            }),
            (Sixteen, "vzeroupper", "c5f877", |a, _, _| a.zero_upper()),
            (Sixteen, "{disp32} mov r9, [rdi+24]", "4c8b8f18000000", |a, _, _| a.load(R9, Z)),
            (Sixteen, "{disp32} mov rax, [r12+8]", "498b842408000000", |a, _, _| {
                a.load(RAX, Rm::At { base: R12, index: None, disp: 8 })
            }),
            (Sixteen, "{rex} {disp32} mov al, [r9+rsi-1]", "418a8431ffffffff", |a, _, _| {
                a.load_byte(RAX, Rm::At { base: R9, index: Some((RSI, 0)), disp: -1 })
            }),
            (Sixteen, "{rex} {disp32} mov [rsp+rsi-1], al", "40888434ffffffff", |a, _, _| {
                a.store_byte(RAX, Rm::At { base: RSP, index: Some((RSI, 0)), disp: -1 })
            }),
            (Sixteen, "xor r11d, r11d", "4531db", |a, _, _| a.clear(R11)),
            (Sixteen, "{disp32} add rsi, 0x12345678", "4881c678563412", |a, _, _| {
                a.add_imm(RSI, 0x1234_5678)
            }),
            (Sixteen, "add rbx, r11", "4c01db", |a, _, _| a.add(RBX, R11)),
            (Sixteen, "sub rsi, r11", "4c29de", |a, _, _| a.sub(RSI, R11)),
            (Sixteen, "cmp r11, rsi", "4939f3", |a, _, _| a.compare(R11, RSI)),
            (Sixteen, "{rex} push rbx", "4053", |a, _, _| a.push(RBX)),
            (Sixteen, "push r13", "4155", |a, _, _| a.push(R13)),
            (Sixteen, "pop r14", "415e", |a, _, _| a.pop(R14)),
            (Sixteen, "ret", "c3", |a, _, _| a.ret()),
            (Sixteen, "vmovntps [r9+r11*4], zmm19", "62817c482b1c99", |a, none, _| {
                a.store(STREAM, Vec(19), Y, none)
            }),
            (Eight, "{vex3} vmovntps [r9+r11*4], ymm3", "c4817c2b1c99", |a, none, _| {
                a.store(STREAM, Vec(3), Y, none)
            }),
            (Eight, "mov rax, r9", "4c89c8", |a, _, _| a.copy(RAX, R9)),
            (Eight, "neg rax", "48f7d8", |a, _, _| a.negate(RAX)),
            (Eight, "shr rax, 2", "48c1e802", |a, _, _| a.shift_right(RAX, 2)),
            (Eight, "{disp32} and r9, 0x12345678", "4981e178563412", |a, _, _| a.and_imm(R9, 0x1234_5678)),
            (Sixteen, "vpbroadcastd zmm20, r11d", "62c27d487ce3", |a, _, _| a.from_gpr(Vec(20), R11)),
            (
                Eight,
                "{vex3} vmovd xmm9, r11d; {vex3} vpbroadcastd ymm9, xmm9",
                "c441796ecbc4427d58c9",
                |a, _, _| a.from_gpr(Vec(9), R11),
            ),
        ];
        let none = With::default();
        for (width, text, want, emit) in cases {
            let got = bytes(*width, |a| emit(a, none, With { mask: Some(Mask(7)), ..none }));
            assert_eq!(got, *want, "{text}");
        }
    }

    #[test]
    fn constants_and_jumps() {
        let mut a = Asm::new(Width::Eight);
        let (end, one) = (a.label(), a.constant(&[1, 0, 0, 0]));
        assert_eq!(a.constant(&[1, 0, 0, 0]), one);
        let two = a.constant(&[2; 32]);
        a.jump_if(Cond::Greater, end);
        a.op_imm(COMPARE, Vec(0), Vec(0), two, 3);
        a.place(end);
        a.address(RAX, one);
        let code = a.finish();
        assert_eq!(code[2..6], 10u32.to_le_bytes());
        // From the end of the comparison, which is its immediate.
        assert_eq!(code[11..15], (64 + 32 - 16u32).to_le_bytes());
        assert_eq!(code[19..23], (64 - 23u32).to_le_bytes());
        assert_eq!((code[64], &code[96..]), (1, &[2; 32][..]));
    }
}
