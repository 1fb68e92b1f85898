// Products in float16 on CPUs that multiply it natively (AVX512-FP16), at twice the rate of float32.
//
// Everything here is one product: rows times a panel of 64 lanes, 8 rows or fewer at a time. Rows are read number by
// number and spread over the lanes; a register is filled with 32-bit numbers in one step, with 16-bit ones in two, so
// that each number of a row is stored twice ("pairs"). Sums are float16 for DEPTH products at most, then float32.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>

using half = _Float16;
using pair = uint32_t;

constexpr int LANES = 64;    // of a panel: two registers of 32
constexpr int ROWS = 8;      // at a time: 16 registers of sums
constexpr long DEPTH = 128;  // products that are summed up in float16

constexpr float LOG2_E = 1.44269504f;  // scores of an attention are in powers of two
constexpr float SLACK = 2;             // that a score may have over the one that counts as 0: a weight is 4 at most

struct Panel {  // [depth][LANES]
    const half* at;
    __m512h load(long k, int i) const { return _mm512_load_ph(at + k * LANES + i * 32); }
};

struct PanelSum {  // of two
    const half *first, *second;
    __m512h load(long k, int i) const {
        return _mm512_add_ph(_mm512_load_ph(first + k * LANES + i * 32), _mm512_load_ph(second + k * LANES + i * 32));
    }
};

inline __m512h spread(pair number) { return (__m512h)_mm512_set1_epi32((int)number); }

inline pair twice(float number) {
    half rounded = (half)number;
    uint16_t bits;
    __builtin_memcpy(&bits, &rounded, 2);
    return bits * 0x10001u;
}

inline __m512i twice(__m512 numbers) {
    __m512i bits = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtxps_ph(numbers));
    return _mm512_or_si512(bits, _mm512_slli_epi32(bits, 16));
}

// Of 16 lanes those that exist, where `number` are left
inline __mmask16 first(long number) { return (__mmask16)((1u << std::max(0L, std::min(16L, number))) - 1); }

inline void twice(const float* from, long number, pair* to) {
    for (long i = 0; i < number; i += 16) {
        __mmask16 those = first(number - i);
        _mm512_mask_storeu_epi32(to + i, those, twice(_mm512_maskz_loadu_ps(those, from + i)));
    }
}

// 16 numbers, `stride` from one to the next, of which the first `number` exist; the others are 0
inline __m512 gather(const float* from, long stride, long number) {
    const __m512i at = _mm512_mullo_epi32(_mm512_set1_epi32((int)stride),
                                          _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    return _mm512_mask_i32gather_ps(_mm512_setzero_ps(), first(number), at, from, 4);
}

template <typename T>
using Room = std::unique_ptr<T, decltype(&std::free)>;

template <typename T>
Room<T> room(long number) {  // on a cache line
    return {static_cast<T*>(std::aligned_alloc(64, (number * sizeof(T) + 63) / 64 * 64)), &std::free};
}

// sums[r][i] += rows(r, k) * panel(k), k < depth. rows(r, k) is at r * across + k * along.
template <int R, typename P>
inline void multiply(const pair* rows, long across, long along, P panel, long depth, __m512h (&sums)[R][2]) {
#pragma GCC unroll 4
    for (long k = 0; k < depth; k++) {
        __m512h left = panel.load(k, 0), right = panel.load(k, 1);
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) {
            __m512h number = spread(rows[r * across + k * along]);
            sums[r][0] = _mm512_fmadd_ph(number, left, sums[r][0]);
            sums[r][1] = _mm512_fmadd_ph(number, right, sums[r][1]);
        }
    }
}

template <int R>
inline void clear(__m512h (&sums)[R][2]) {
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) sums[r][0] = sums[r][1] = _mm512_setzero_ph();
}

// 32 lanes of float16 as two of 16 of float32
inline __m512 lower(__m512h x) { return _mm512_cvtxph_ps((__m256h)_mm512_castsi512_si256((__m512i)x)); }
inline __m512 upper(__m512h x) { return _mm512_cvtxph_ps((__m256h)_mm512_extracti64x4_epi64((__m512i)x, 1)); }

// A row of float32 sums (LANES of them) += a row of float16 ones
inline void add_to(float* sums, const __m512h (&row)[2]) {
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        _mm512_store_ps(sums + 32 * i, _mm512_add_ps(_mm512_load_ps(sums + 32 * i), lower(row[i])));
        _mm512_store_ps(sums + 32 * i + 16, _mm512_add_ps(_mm512_load_ps(sums + 32 * i + 16), upper(row[i])));
    }
}

// 2^x, 0 for minus infinity; the polynomial is fitted on [-0.5, 0.5], to 8e-5
inline __m512h exp2(__m512h x) {
    const __m512h part = _mm512_reduce_ph(x, 0);
    __m512h y = _mm512_set1_ph((half)0.05517098f);
    y = _mm512_fmadd_ph(y, part, _mm512_set1_ph((half)0.24260972f));
    y = _mm512_fmadd_ph(y, part, _mm512_set1_ph((half)0.69326097f));
    y = _mm512_fmadd_ph(y, part, _mm512_set1_ph((half)1.0f));
    return _mm512_scalef_ph(y, _mm512_sub_ph(x, part));
}
