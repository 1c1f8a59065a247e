//! [`Arith`] on eight f32 in AVX2 vectors.

use std::arch::x86_64::*;

use mlc_ir::loops::functions::Arith;

use super::Lanes;
use super::reduce::Fold;

/// Only used inside of functions that enable the instruction set, into which everything is inlined.
#[derive(Clone, Copy)]
struct Avx2;

super::tile_functions!(Avx2, "avx2,fma");

/// The methods of [`Arith`]: each body runs where the instruction set is enabled.
macro_rules! methods {
    ($(fn $name:ident(&mut self $(, $x:ident: $t:ty)*) -> $r:ty $body:block)*) => {$(
        #[inline(always)]
        fn $name(&mut self $(, $x: $t)*) -> $r {
            // SAFETY: see [`Avx2`].
            #[allow(unused_unsafe, reason = "bodies without intrinsics are safe")]
            unsafe { $body }
        }
    )*};
}

/// `best` as an instruction has it takes the second operand unless the first is better; here a NaN that comes first
/// wins too. The choice is made before: chosen last, and stored where `a` came from, it would become a store under a
/// mask, which costs tens of cycles on some machines.
#[inline(always)]
fn second_unless_better(a: __m256, b: __m256, best: impl Fn(__m256, __m256) -> __m256) -> __m256 {
    // SAFETY: see [`Avx2`].
    unsafe {
        let nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a);
        best(a, _mm256_blendv_ps(b, a, nan))
    }
}

impl Arith for Avx2 {
    type F = __m256;
    type U = __m256i;
    type M = __m256i;
    const WIDTH: u32 = 32;

    methods! {
        fn num(&mut self, x: f64) -> __m256 {
            _mm256_set1_ps(x as f32)
        }
        fn add(&mut self, a: __m256, b: __m256) -> __m256 {
            _mm256_add_ps(a, b)
        }
        fn sub(&mut self, a: __m256, b: __m256) -> __m256 {
            _mm256_sub_ps(a, b)
        }
        fn mul(&mut self, a: __m256, b: __m256) -> __m256 {
            _mm256_mul_ps(a, b)
        }
        fn div(&mut self, a: __m256, b: __m256) -> __m256 {
            _mm256_div_ps(a, b)
        }
        fn fma(&mut self, a: __m256, b: __m256, c: __m256) -> __m256 {
            _mm256_fmadd_ps(a, b, c)
        }
        fn neg(&mut self, a: __m256) -> __m256 {
            _mm256_xor_ps(a, _mm256_set1_ps(-0.0))
        }
        fn abs(&mut self, a: __m256) -> __m256 {
            _mm256_andnot_ps(_mm256_set1_ps(-0.0), a)
        }
        fn max(&mut self, a: __m256, b: __m256) -> __m256 {
            second_unless_better(a, b, |a, b| _mm256_max_ps(a, b))
        }
        fn min(&mut self, a: __m256, b: __m256) -> __m256 {
            second_unless_better(a, b, |a, b| _mm256_min_ps(a, b))
        }
        fn at_most(&mut self, a: __m256, c: __m256) -> __m256 {
            _mm256_min_ps(c, a)
        }
        fn at_least(&mut self, a: __m256, c: __m256) -> __m256 {
            _mm256_max_ps(c, a)
        }
        fn rint(&mut self, a: __m256) -> __m256 {
            _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a)
        }
        fn eq(&mut self, a: __m256, b: __m256) -> __m256i {
            _mm256_castps_si256(_mm256_cmp_ps::<_CMP_EQ_OQ>(a, b))
        }
        fn ne(&mut self, a: __m256, b: __m256) -> __m256i {
            _mm256_castps_si256(_mm256_cmp_ps::<_CMP_NEQ_UQ>(a, b))
        }
        fn lt(&mut self, a: __m256, b: __m256) -> __m256i {
            _mm256_castps_si256(_mm256_cmp_ps::<_CMP_LT_OQ>(a, b))
        }
        fn le(&mut self, a: __m256, b: __m256) -> __m256i {
            _mm256_castps_si256(_mm256_cmp_ps::<_CMP_LE_OQ>(a, b))
        }
        fn select(&mut self, c: __m256i, a: __m256, b: __m256) -> __m256 {
            _mm256_blendv_ps(b, a, _mm256_castsi256_ps(c))
        }
        fn bits(&mut self, x: u64) -> __m256i {
            _mm256_set1_epi32(x as i32)
        }
        fn uadd(&mut self, a: __m256i, b: __m256i) -> __m256i {
            _mm256_add_epi32(a, b)
        }
        fn usub(&mut self, a: __m256i, b: __m256i) -> __m256i {
            _mm256_sub_epi32(a, b)
        }
        fn umul(&mut self, a: __m256i, b: __m256i) -> __m256i {
            _mm256_mullo_epi32(a, b)
        }
        fn uand(&mut self, a: __m256i, b: __m256i) -> __m256i {
            _mm256_and_si256(a, b)
        }
        fn uor(&mut self, a: __m256i, b: __m256i) -> __m256i {
            _mm256_or_si256(a, b)
        }
        fn uxor(&mut self, a: __m256i, b: __m256i) -> __m256i {
            _mm256_xor_si256(a, b)
        }
        fn shl(&mut self, a: __m256i, n: __m256i) -> __m256i {
            _mm256_sllv_epi32(a, _mm256_and_si256(n, _mm256_set1_epi32(31)))
        }
        fn shr(&mut self, a: __m256i, n: __m256i) -> __m256i {
            _mm256_srlv_epi32(a, _mm256_and_si256(n, _mm256_set1_epi32(31)))
        }
        fn umulhi(&mut self, a: __m256i, b: __m256i) -> __m256i {
            let even = _mm256_srli_epi64::<32>(_mm256_mul_epu32(a, b));
            let odd = _mm256_mul_epu32(_mm256_srli_epi64::<32>(a), _mm256_srli_epi64::<32>(b));
            _mm256_blend_epi32::<0b1010_1010>(even, odd)
        }
        fn ueq(&mut self, a: __m256i, b: __m256i) -> __m256i {
            _mm256_cmpeq_epi32(a, b)
        }
        fn uselect(&mut self, c: __m256i, a: __m256i, b: __m256i) -> __m256i {
            _mm256_blendv_epi8(b, a, c)
        }
        fn and(&mut self, a: __m256i, b: __m256i) -> __m256i {
            _mm256_and_si256(a, b)
        }
        fn or(&mut self, a: __m256i, b: __m256i) -> __m256i {
            _mm256_or_si256(a, b)
        }
        fn any(&mut self, c: __m256i) -> bool {
            _mm256_movemask_epi8(c) != 0
        }
        fn to_bits(&mut self, a: __m256) -> __m256i {
            _mm256_castps_si256(a)
        }
        fn of_bits(&mut self, a: __m256i) -> __m256 {
            _mm256_castsi256_ps(a)
        }
        fn to_int(&mut self, a: __m256) -> __m256i {
            _mm256_cvttps_epi32(a)
        }
        fn of_int(&mut self, a: __m256i) -> __m256 {
            _mm256_cvtepi32_ps(a)
        }
    }
}

impl Lanes for Avx2 {
    const COUNT: usize = 8;

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, v: __m256, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { _mm256_storeu_ps(to, v) }
    }

    #[inline(always)]
    unsafe fn store_by_lane(self, v: [__m256; 4], to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe {
            let [a, b, c, d] = v;
            let pairs = [
                (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d)),
                (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d)),
            ];
            for (i, (ab, cd)) in pairs.into_iter().enumerate() {
                let (ab, cd) = (_mm256_castps_pd(ab), _mm256_castps_pd(cd));
                // Lanes 0 and 4, then 1 and 5; or 2 and 6, then 3 and 7.
                let even = _mm256_castpd_ps(_mm256_unpacklo_pd(ab, cd));
                let odd = _mm256_castpd_ps(_mm256_unpackhi_pd(ab, cd));
                self.store(_mm256_permute2f128_ps::<0x20>(even, odd), to.add(8 * i));
                self.store(_mm256_permute2f128_ps::<0x31>(even, odd), to.add(16 + 8 * i));
            }
        }
    }

    #[inline(always)]
    unsafe fn load_half(self, from: *const u16) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast())) }
    }

    #[inline(always)]
    unsafe fn store_half(self, v: __m256i, to: *mut u16) {
        // SAFETY: the caller's promise.
        unsafe {
            // Each 128 bits are packed on their own.
            let packed = _mm256_permute4x64_epi64::<0b00_00_10_00>(_mm256_packus_epi32(v, v));
            _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(packed));
        }
    }
}

impl Fold for Avx2 {
    #[inline(always)]
    unsafe fn upper(self, v: __m256, by: usize) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe {
            match by {
                4 => _mm256_permute2f128_ps::<0b0001>(v, v),
                2 => _mm256_permute_ps::<0b01_00_11_10>(v),
                _ => _mm256_permute_ps::<0b10_11_00_01>(v),
            }
        }
    }

    #[inline(always)]
    unsafe fn first(self, v: __m256) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_cvtss_f32(v) }
    }
}
