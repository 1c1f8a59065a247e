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
    pub fn broadcast_gpr(&mut self, dst: Vec, from: Gpr) {
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
mod tests;
