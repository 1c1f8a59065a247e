//! [`Arith`] on sixteen f32 in AVX-512 vectors. Truth values are mask registers.

use std::arch::x86_64::*;

use mlc_ir::loops::functions::Arith;

use super::Lanes;
use super::reduce::Fold;

/// Only used inside of functions that enable the instruction set, into which everything is inlined.
#[derive(Clone, Copy)]
struct Avx512;

super::tile_functions!(Avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma");

/// The methods of [`Arith`]: each body runs where the instruction set is enabled.
macro_rules! methods {
    ($(fn $name:ident(&mut self $(, $x:ident: $t:ty)*) -> $r:ty $body:block)*) => {$(
        #[inline(always)]
        fn $name(&mut self $(, $x: $t)*) -> $r {
            // SAFETY: see [`Avx512`].
            #[allow(unused_unsafe, reason = "bodies without intrinsics are safe")]
            unsafe { $body }
        }
    )*};
}

impl Arith for Avx512 {
    type F = __m512;
    type U = __m512i;
    type M = __mmask16;
    const WIDTH: u32 = 32;

    methods! {
        fn num(&mut self, x: f64) -> __m512 {
            _mm512_set1_ps(x as f32)
        }
        fn add(&mut self, a: __m512, b: __m512) -> __m512 {
            _mm512_add_ps(a, b)
        }
        fn sub(&mut self, a: __m512, b: __m512) -> __m512 {
            _mm512_sub_ps(a, b)
        }
        fn mul(&mut self, a: __m512, b: __m512) -> __m512 {
            _mm512_mul_ps(a, b)
        }
        fn div(&mut self, a: __m512, b: __m512) -> __m512 {
            _mm512_div_ps(a, b)
        }
        fn fma(&mut self, a: __m512, b: __m512, c: __m512) -> __m512 {
            _mm512_fmadd_ps(a, b, c)
        }
        fn neg(&mut self, a: __m512) -> __m512 {
            _mm512_xor_ps(a, _mm512_set1_ps(-0.0))
        }
        fn abs(&mut self, a: __m512) -> __m512 {
            _mm512_andnot_ps(_mm512_set1_ps(-0.0), a)
        }
        fn max(&mut self, a: __m512, b: __m512) -> __m512 {
            // The instruction takes the second operand unless the first is better.
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a);
            _mm512_mask_blend_ps(nan, _mm512_max_ps(a, b), a)
        }
        fn min(&mut self, a: __m512, b: __m512) -> __m512 {
            // The instruction takes the second operand unless the first is better.
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a);
            _mm512_mask_blend_ps(nan, _mm512_min_ps(a, b), a)
        }
        fn at_most(&mut self, a: __m512, c: __m512) -> __m512 {
            _mm512_min_ps(c, a)
        }
        fn at_least(&mut self, a: __m512, c: __m512) -> __m512 {
            _mm512_max_ps(c, a)
        }
        fn scale(&mut self, y: __m512, k: __m512) -> __m512 {
            _mm512_scalef_ps(y, k)
        }
        fn rint(&mut self, a: __m512) -> __m512 {
            _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a)
        }
        fn eq(&mut self, a: __m512, b: __m512) -> __mmask16 {
            _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b)
        }
        fn ne(&mut self, a: __m512, b: __m512) -> __mmask16 {
            _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(a, b)
        }
        fn lt(&mut self, a: __m512, b: __m512) -> __mmask16 {
            _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b)
        }
        fn le(&mut self, a: __m512, b: __m512) -> __mmask16 {
            _mm512_cmp_ps_mask::<_CMP_LE_OQ>(a, b)
        }
        fn select(&mut self, c: __mmask16, a: __m512, b: __m512) -> __m512 {
            _mm512_mask_blend_ps(c, b, a)
        }
        fn bits(&mut self, x: u64) -> __m512i {
            _mm512_set1_epi32(x as i32)
        }
        fn uadd(&mut self, a: __m512i, b: __m512i) -> __m512i {
            _mm512_add_epi32(a, b)
        }
        fn usub(&mut self, a: __m512i, b: __m512i) -> __m512i {
            _mm512_sub_epi32(a, b)
        }
        fn umul(&mut self, a: __m512i, b: __m512i) -> __m512i {
            _mm512_mullo_epi32(a, b)
        }
        fn uand(&mut self, a: __m512i, b: __m512i) -> __m512i {
            _mm512_and_si512(a, b)
        }
        fn uor(&mut self, a: __m512i, b: __m512i) -> __m512i {
            _mm512_or_si512(a, b)
        }
        fn uxor(&mut self, a: __m512i, b: __m512i) -> __m512i {
            _mm512_xor_si512(a, b)
        }
        fn shl(&mut self, a: __m512i, n: __m512i) -> __m512i {
            _mm512_sllv_epi32(a, _mm512_and_si512(n, _mm512_set1_epi32(31)))
        }
        fn shr(&mut self, a: __m512i, n: __m512i) -> __m512i {
            _mm512_srlv_epi32(a, _mm512_and_si512(n, _mm512_set1_epi32(31)))
        }
        fn umulhi(&mut self, a: __m512i, b: __m512i) -> __m512i {
            let even = _mm512_srli_epi64::<32>(_mm512_mul_epu32(a, b));
            let odd = _mm512_mul_epu32(_mm512_srli_epi64::<32>(a), _mm512_srli_epi64::<32>(b));
            _mm512_mask_blend_epi32(0b1010_1010_1010_1010, even, odd)
        }
        fn ueq(&mut self, a: __m512i, b: __m512i) -> __mmask16 {
            _mm512_cmpeq_epi32_mask(a, b)
        }
        fn uselect(&mut self, c: __mmask16, a: __m512i, b: __m512i) -> __m512i {
            _mm512_mask_blend_epi32(c, b, a)
        }
        fn and(&mut self, a: __mmask16, b: __mmask16) -> __mmask16 {
            a & b
        }
        fn or(&mut self, a: __mmask16, b: __mmask16) -> __mmask16 {
            a | b
        }
        fn any(&mut self, c: __mmask16) -> bool {
            c != 0
        }
        fn to_bits(&mut self, a: __m512) -> __m512i {
            _mm512_castps_si512(a)
        }
        fn of_bits(&mut self, a: __m512i) -> __m512 {
            _mm512_castsi512_ps(a)
        }
        fn to_int(&mut self, a: __m512) -> __m512i {
            _mm512_cvttps_epi32(a)
        }
        fn of_int(&mut self, a: __m512i) -> __m512 {
            _mm512_cvtepi32_ps(a)
        }
    }
}

impl Lanes for Avx512 {
    const COUNT: usize = 16;

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, v: __m512, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_ps(to, v) }
    }

    #[inline(always)]
    unsafe fn store_by_lane(self, v: [__m512; 4], to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe {
            let [a, b, c, d] = v;
            let pairs = [
                (_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d)),
                (_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d)),
            ];
            // Quarter k of `even[i]` is lane 4k + 2i, of `odd[i]` the one after it.
            let all = pairs.map(|(ab, cd)| (_mm512_castps_pd(ab), _mm512_castps_pd(cd)));
            let even = all.map(|(ab, cd)| _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd)));
            let odd = all.map(|(ab, cd)| _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)));
            let low = [0, 1].map(|i| _mm512_shuffle_f32x4::<0b01_00_01_00>(even[i], odd[i]));
            let high = [0, 1].map(|i| _mm512_shuffle_f32x4::<0b11_10_11_10>(even[i], odd[i]));
            self.store(_mm512_shuffle_f32x4::<0b10_00_10_00>(low[0], low[1]), to);
            self.store(_mm512_shuffle_f32x4::<0b11_01_11_01>(low[0], low[1]), to.add(16));
            self.store(_mm512_shuffle_f32x4::<0b10_00_10_00>(high[0], high[1]), to.add(32));
            self.store(_mm512_shuffle_f32x4::<0b11_01_11_01>(high[0], high[1]), to.add(48));
        }
    }

    #[inline(always)]
    unsafe fn load_half(self, from: *const u16) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    unsafe fn store_half(self, v: __m512i, to: *mut u16) {
        // SAFETY: the caller's promise.
        unsafe { _mm256_storeu_si256(to.cast(), _mm512_cvtepi32_epi16(v)) }
    }
}

impl Fold for Avx512 {
    #[inline(always)]
    unsafe fn upper(self, v: __m512, by: usize) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe {
            match by {
                8 => _mm512_shuffle_f32x4::<0b01_00_11_10>(v, v),
                4 => _mm512_shuffle_f32x4::<0b10_11_00_01>(v, v),
                2 => _mm512_permute_ps::<0b01_00_11_10>(v),
                _ => _mm512_permute_ps::<0b10_11_00_01>(v),
            }
        }
    }

    #[inline(always)]
    unsafe fn first(self, v: __m512) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_cvtss_f32(v) }
    }
}
