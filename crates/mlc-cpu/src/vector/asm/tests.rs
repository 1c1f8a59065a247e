//! Instructions beside what GNU as makes of their text.

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
        (Eight, "{vex3} vmulps ymm0, ymm1, ymm2", "c4e17459c2", |a, _, _| a.op(MUL, Vec(0), Vec(1), Vec(2))),
        (Eight, "{vex3} vdivps ymm0, ymm1, ymm2", "c4e1745ec2", |a, _, _| a.op(DIV, Vec(0), Vec(1), Vec(2))),
        (Eight, "{vex3} vminps ymm0, ymm1, ymm2", "c4e1745dc2", |a, _, _| a.op(MIN, Vec(0), Vec(1), Vec(2))),
        (Eight, "{vex3} vmaxps ymm0, ymm1, ymm2", "c4e1745fc2", |a, _, _| a.op(MAX, Vec(0), Vec(1), Vec(2))),
        (Eight, "{vex3} vandps ymm8, ymm9, ymm10", "c4413454c2", |a, _, _| {
            a.op(AND, Vec(8), Vec(9), Vec(10))
        }),
        (Eight, "{vex3} vorps ymm8, ymm9, ymm10", "c4413456c2", |a, _, _| a.op(OR, Vec(8), Vec(9), Vec(10))),
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
        (Sixteen, "vaddps zmm1, zmm28, zmm15", "62d11c4058cf", |a, _, _| a.op(ADD, Vec(1), Vec(28), Vec(15))),
        (Sixteen, "vaddps zmm17, zmm4, zmm31", "62815c4858cf", |a, _, _| a.op(ADD, Vec(17), Vec(4), Vec(31))),
        (Sixteen, "{disp32} vmulps zmm17, zmm4, [rdi+24]{1to16}", "62e15c58598f18000000", |a, none, _| {
            a.op_with(MUL, Vec(17), Vec(4), Z, With { broadcast: true, ..none })
        }),
        (Sixteen, "vsubps zmm10, zmm2, [r9+r11*4]", "62116c485c1499", |a, _, _| {
            a.op(SUB, Vec(10), Vec(2), Y)
        }),
        (Sixteen, "vdivps zmm0, zmm1, zmm2", "62f174485ec2", |a, _, _| a.op(DIV, Vec(0), Vec(1), Vec(2))),
        (Sixteen, "vminps zmm0, zmm1, zmm2", "62f174485dc2", |a, _, _| a.op(MIN, Vec(0), Vec(1), Vec(2))),
        (Sixteen, "vmaxps zmm0, zmm1, zmm2", "62f174485fc2", |a, _, _| a.op(MAX, Vec(0), Vec(1), Vec(2))),
        (Sixteen, "vandps zmm8, zmm9, zmm10", "6251344854c2", |a, _, _| a.op(AND, Vec(8), Vec(9), Vec(10))),
        (Sixteen, "vorps zmm8, zmm29, zmm10", "6251144056c2", |a, _, _| a.op(OR, Vec(8), Vec(29), Vec(10))),
        (Sixteen, "vxorps zmm8, zmm9, zmm30", "6211344857c6", |a, _, _| a.op(XOR, Vec(8), Vec(9), Vec(30))),
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
        (Sixteen, "{disp32} add rsi, 0x12345678", "4881c678563412", |a, _, _| a.add_imm(RSI, 0x1234_5678)),
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
        (Sixteen, "vpbroadcastd zmm20, r11d", "62c27d487ce3", |a, _, _| a.broadcast_gpr(Vec(20), R11)),
        (
            Eight,
            "{vex3} vmovd xmm9, r11d; {vex3} vpbroadcastd ymm9, xmm9",
            "c441796ecbc4427d58c9",
            |a, _, _| a.broadcast_gpr(Vec(9), R11),
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
