// Products of tiles on CPUs with AMX: 16 rows of 32 numbers in a half format times 32 by 16, summed up in float32.
//
// The right side of a product lies in pairs: tile [k / 2][column][k % 2]. Instructions are written out because
// compilers' own tell them nothing of the memory they read, and some assemblers do not know those of float16.
#pragma once

#include "half.h"

constexpr int SIDE = 16;             // rows of a tile, and columns of a right side or of sums
constexpr int ALONG = 32;            // numbers that one step sums up
constexpr long TILE = SIDE * ALONG;  // numbers in a half format of a tile
constexpr int SQUARE = 2 * SIDE;     // rows and columns of the four tiles of sums that are computed together

inline long up_to(long number, long step) { return (number + step - 1) / step * step; }

// The tiles of this thread: all eight whole, while it lives; then as they were, for others compute with them too.
class Tiles {
 public:
    Tiles() {
        struct alignas(64) {
            uint8_t palette = 1, start = 0, unused[14] = {};
            uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
            uint8_t rows[16] = {SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE};
        } whole;
        __asm__ volatile("sttilecfg %0" : "=m"(before_));
        __asm__ volatile("ldtilecfg %0" ::"m"(whole));
    }
    ~Tiles() { __asm__ volatile("ldtilecfg %0" ::"m"(before_)); }
    Tiles(const Tiles&) = delete;
    Tiles& operator=(const Tiles&) = delete;

 private:
    struct alignas(64) {
        uint8_t bytes[64];
    } before_;
};

template <int T>
inline void load(const void* from, long stride_in_bytes) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride_in_bytes), "i"(T) : "memory");
}
template <int T>
inline void store(void* to, long stride_in_bytes) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride_in_bytes), "i"(T) : "memory");
}
template <int T>
inline void clear_tile() {
    __asm__ volatile("tilezero %%tmm%c0" ::"i"(T));
}

// A half format: how numbers are brought into it, and tile SUM += tile ROWS times tile RIGHT.
struct Float16 {
    template <int SUM, int ROWS, int RIGHT>
    static void multiply() {  // tdpfp16ps
        __asm__ volatile(".byte 0xc4, 0xe2, %c0, 0x5c, %c1" ::"i"((15 - RIGHT) << 3 | 3), "i"(0xc0 | SUM << 3 | ROWS));
    }
    static __m256i narrow(__m512 x) { return (__m256i)_mm512_cvtxps_ph(x); }
    static __m512 widen(__m256i x) { return _mm512_cvtxph_ps((__m256h)x); }
    static __m512i from_half(__m512h x) { return (__m512i)x; }
};

struct BFloat16 {
    template <int SUM, int ROWS, int RIGHT>
    static void multiply() {  // tdpbf16ps
        __asm__ volatile(".byte 0xc4, 0xe2, %c0, 0x5c, %c1" ::"i"((15 - RIGHT) << 3 | 2), "i"(0xc0 | SUM << 3 | ROWS));
    }
    static __m256i narrow(__m512 x) { return (__m256i)_mm512_cvtneps_pbh(x); }
    static __m512 widen(__m256i x) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16)); }
    static __m512i from_half(__m512h x) { return (__m512i)_mm512_cvtne2ps_pbh(upper(x), lower(x)); }
};

inline __m512h halves(__m512 low, __m512 high) {
    return (__m512h)_mm512_inserti64x4(_mm512_castsi256_si512((__m256i)_mm512_cvtxps_ph(low)),
                                       (__m256i)_mm512_cvtxps_ph(high), 1);
}

// Calls what with the format of a code: 0 float16, 1 bfloat16
template <typename What>
void with_format(int code, What what) {
    code == 0 ? what(Float16{}) : what(BFloat16{});
}

// sums (SQUARE by SQUARE, tiles 0 to 3) += rows, `stride` numbers from one to the next, times two columns of tiles,
// each of which has `steps` below one another
template <typename F, typename Meanwhile>
inline void multiply_square(const uint16_t* rows, long stride, const uint16_t* left, const uint16_t* right, long steps,
                            Meanwhile meanwhile) {
    for (long k = 0; k < steps; k++) {
        load<4>(rows + k * ALONG, stride * 2);
        load<6>(left + k * TILE, 64);
        load<5>(rows + SIDE * stride + k * ALONG, stride * 2);
        load<7>(right + k * TILE, 64);
        F::template multiply<0, 4, 6>();
        F::template multiply<2, 5, 6>();
        F::template multiply<1, 4, 7>();
        F::template multiply<3, 5, 7>();
        meanwhile(k);
    }
}
template <typename F>
inline void multiply_square(const uint16_t* rows, long stride, const uint16_t* left, const uint16_t* right,
                            long steps) {
    multiply_square<F>(rows, stride, left, right, steps, [](long) {});
}

inline void clear_square() {
    clear_tile<0>();
    clear_tile<1>();
    clear_tile<2>();
    clear_tile<3>();
}
inline void load_square(const float* from, long stride) {
    load<0>(from, stride * 4);
    load<1>(from + SIDE, stride * 4);
    load<2>(from + SIDE * stride, stride * 4);
    load<3>(from + SIDE * stride + SIDE, stride * 4);
}
inline void store_square(float* to, long stride) {
    store<0>(to, stride * 4);
    store<1>(to + SIDE, stride * 4);
    store<2>(to + SIDE * stride, stride * 4);
    store<3>(to + SIDE * stride + SIDE, stride * 4);
}

// `number` numbers times `by`, and zeros up to a multiple of ALONG
template <typename F>
inline void narrow_row(const float* from, long number, float by, uint16_t* to) {
    const __m512 factor = _mm512_set1_ps(by);
    for (long i = 0; i < number; i += ALONG)
        for (long half = 0; half < ALONG; half += SIDE)
            _mm256_storeu_si256(
                (__m256i*)(to + i + half),
                F::narrow(_mm512_mul_ps(_mm512_maskz_loadu_ps(first(number - i - half), from + i + half), factor)));
}
