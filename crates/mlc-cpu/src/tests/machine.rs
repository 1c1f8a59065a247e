//! What is about the machine: dirty upper vector halves, memory of many modules, text.

use mlc_ir::DType;
use mlc_ir::loops::{AxisId, BodyBuilder, Func, Index, Kernel, Prim};

use super::{A0, A1, A2, Order, Rng, backend, check_filled, compile, fill, fine, kernel, read, run, write};
use mlc_runtime::exec::Workspace;

use crate::backend::{CpuBackend, CpuOptions};
use crate::features::{CpuFeatures, Level};
use crate::jit::Text;
use crate::schedule::Costs;

fn exp(n: u64) -> Kernel {
    let mut b = BodyBuilder::new(&[], &[n]);
    let x = b.load(A0, DType::F32, Index::axis(AxisId(0)));
    let y = b.call(Func::Exp, &[x]);
    b.store(A1, Index::axis(AxisId(0)), y);
    kernel(vec![read("x", DType::F32, n), write("y", DType::F32, n)], b.finish())
}

#[cfg(target_arch = "x86_64")]
#[test]
fn dirty_upper_halves_do_not_show() {
    if !is_x86_feature_detected!("avx2") {
        return;
    }
    #[target_feature(enable = "avx2")]
    fn dirty() {
        // SAFETY: writes a vector register, which is declared.
        unsafe { std::arch::asm!("vpcmpeqd ymm7, ymm7, ymm7", out("ymm7") _, options(nomem, nostack)) }
    }
    let k = exp(1000);
    let mut rng = Rng::new(1);
    let args = vec![fill(&mut rng, DType::F32, 1000), vec![0; 4000]];
    for features in CpuFeatures::available() {
        let code = compile(&k, features).unwrap();
        let clean = run(&k, &*code, &args, Order::Forward).0;
        // SAFETY: AVX2 was just detected.
        unsafe { dirty() };
        assert!(run(&k, &*code, &args, Order::Forward).0 == clean);
    }
}

/// Each call of code begins with upper halves of zero, whatever ran before.
#[cfg(target_arch = "x86_64")]
#[test]
fn code_starts_with_clean_upper_halves() {
    if !is_x86_feature_detected!("avx2") {
        return;
    }
    /// Fills registers, runs one call, and says what is in their upper halves then. Without AVX2 enabled: where it is,
    /// the compiler itself clears upper halves before the call. Of several, as the code may use one.
    fn after(call: &mut dyn FnMut()) -> [u64; 2] {
        let mut upper = [0u64; 2];
        // SAFETY: vector registers, which are declared; AVX2 was detected.
        unsafe {
            std::arch::asm!(
                "vpcmpeqd ymm8, ymm8, ymm8", "vpcmpeqd ymm11, ymm11, ymm11", "vpcmpeqd ymm15, ymm15, ymm15",
                out("xmm8") _, out("xmm11") _, out("xmm15") _, options(nomem, nostack)
            )
        }
        call();
        // SAFETY: as above, and room for half a vector.
        unsafe {
            std::arch::asm!(
                "vpor ymm15, ymm15, ymm11", "vpor ymm15, ymm15, ymm8",
                "vextracti128 xmmword ptr [{to}], ymm15, 1", "vzeroupper",
                to = in(reg) upper.as_mut_ptr(), out("xmm8") _, out("xmm11") _, out("xmm15") _, options(nostack)
            )
        }
        upper
    }
    // Without functions on tiles, whose code clears them too.
    let mut b = BodyBuilder::new(&[], &[4]);
    let x = b.load(A0, DType::F32, Index::axis(AxisId(0)));
    b.store(A1, Index::axis(AxisId(0)), x);
    let k = kernel(vec![read("x", DType::F32, 4), write("y", DType::F32, 4)], b.finish());
    for features in CpuFeatures::available().into_iter().filter(|f| f.level > Level::Portable) {
        let code = compile(&k, features).unwrap();
        let (x, mut y) = ([1f32; 4], [0f32; 4]);
        let args = [x.as_ptr().cast::<u8>().cast_mut(), y.as_mut_ptr().cast()];
        let none = Workspace { shared: std::ptr::null_mut(), own: std::ptr::null_mut() };
        let mut run = || {
            // SAFETY: both arguments are as long as the kernel's; it needs no working memory. AVX2 was detected.
            unsafe { code.run(0, 0..1, args.as_ptr(), none) }
        };
        // What a first run sets up may use vectors, and clear them.
        run();
        let upper = after(&mut run);
        assert_eq!(upper, [0, 0], "{features}");
        assert_eq!(y, x);
    }
}

/// Comparisons of vectors read right from memory, which lies at every element of a vector's length: the baseline's
/// instructions with a memory operand demand alignment.
#[test]
fn compared_vectors_lie_anywhere() {
    const N: u64 = 23;
    for prim in [Prim::Lt, Prim::Le, Prim::Eq, Prim::Ne, Prim::Max, Prim::Min] {
        for (left, right) in [(0, 1), (1, 2), (3, 0), (2, 3)] {
            let mut b = BodyBuilder::new(&[], &[N]);
            let at = |offset: i64| Index::axis(AxisId(0)).plus(offset);
            let x = b.load(A0, DType::F32, at(left));
            let y = b.load(A1, DType::F32, at(right));
            let v = b.prim(prim, &[x, y]);
            let v = b.cast(DType::F32, v);
            b.store(A2, at(0), v);
            let read = |name| read(name, DType::F32, N + 3);
            check_filled(
                "compare",
                &kernel(vec![read("x"), read("y"), write("z", DType::F32, N)], b.finish()),
                7,
            );
        }
    }
}

#[test]
fn modules_come_and_go() {
    let kernels: Vec<Kernel> = (1..20).map(exp).collect();
    for _ in 0..20 {
        let backend = CpuBackend::new(CpuOptions::new(CpuFeatures::detect(), false));
        let (made, stats) = backend.kernels(&kernels).unwrap();
        assert_eq!((made.len(), stats.functions), (19, 19));
        assert!(stats.code_bytes > 0 && stats.times.len() == 19);
        drop(made);
    }
    check_filled("after", &exp(9), 1);
}

#[test]
fn every_kind_of_loop_is_cut() {
    let phases = |k: &Kernel, costs: Costs| -> Vec<u64> {
        let code = backend(CpuFeatures::detect(), costs).kernels(std::slice::from_ref(k)).unwrap().0;
        code[0].phases().iter().map(|p| p.chunks).collect()
    };
    // Long enough to be worth it as it is: a flat map, and two axes that do not merge.
    assert!(phases(&exp(1 << 20), Costs::default())[0] > 3);
    let (m, n) = (300u64, 501u64);
    let mut b = BodyBuilder::new(&[], &[m, n]);
    let x =
        b.load(A0, DType::F32, Index::axis(AxisId(1)).scale(m as i64).plus_index(&Index::axis(AxisId(0))));
    let y = b.prim(mlc_ir::loops::Prim::Mul, &[x, x]);
    b.store(A1, Index::row_major(AxisId(0), &[m, n]), y);
    let transposed = kernel(vec![read("x", DType::F32, m * n), write("y", DType::F32, m * n)], b.finish());
    assert!(phases(&transposed, fine())[0] > 3);
    check_filled("transposed", &transposed, 4);
    check_filled("flat", &exp(100_001), 5);
    // Short: one chunk.
    assert_eq!(phases(&exp(100), Costs::default()), [1]);
}

#[test]
fn texts() {
    let backend = CpuBackend::new(CpuOptions::new(CpuFeatures::detect(), false));
    // Too short for tiles: the expansion stands in the code.
    let clif = backend.text(&exp(32), Text::Clif).unwrap();
    assert!(clif.contains("fma") && clif.contains("f32x4"), "{clif}");
    let asm = backend.text(&exp(32), Text::Asm).unwrap();
    assert!(asm.contains("ret"), "{asm}");
}
