// Queries in panels, compared with keys.
#pragma once

#include "weighing.h"

constexpr long SCORE_DEPTH = DEPTH / 2;  // what rounding adds to a score is a share of a weight

inline long padded(long width) { return (width + ROWS - 1) / ROWS * ROWS; }

// Up to LANES queries, `stride` numbers from one to the next, by channel: [width][LANES]
inline void turn(const float* queries, long stride, long number, long width, float scale, half* panel) {
    for (long q = 0; q < LANES; q += 16)
        for (long c = 0; c < width; c++) {
            const __m512 numbers =
                _mm512_mul_ps(gather(queries + q * stride + c, stride, number - q), _mm512_set1_ps(scale));
            _mm256_store_si256((__m256i*)(panel + c * LANES + q), (__m256i)_mm512_cvtxps_ph(numbers));
        }
}

// Scores of R keys, [R][width] pairs
template <int R>
void compare(const pair* keys, long width, const half* panel, half* scores) {
    __m512h sums[R][2];
    clear(sums);
    for (long k = 0; k < width; k += SCORE_DEPTH) {
        __m512h made[R][2];
        clear(made);
        multiply(keys + k, width, 1, Panel{panel + k * LANES}, std::min(SCORE_DEPTH, width - k), made);
        for (int r = 0; r < R; r++)
            for (int i = 0; i < 2; i++) sums[r][i] = _mm512_add_ph(sums[r][i], made[r][i]);
    }
    for (int r = 0; r < R; r++)
        for (int i = 0; i < 2; i++) _mm512_store_ph(scores + r * LANES + 32 * i, sums[r][i]);
}

// Adds keys, [number][width] pairs, with their values, in blocks of KEYS, see `put`
inline void attend_to(const pair* keys, const pair* values, long number, long width, long value_width,
                      const half* panel, Weighing& weighing) {
    for (long start = 0; start < number; start += KEYS) {
        const long here = std::min(KEYS, number - start);
        const pair* block = keys + start * width;
        long k = 0;
        for (; k + ROWS <= here; k += ROWS) compare<ROWS>(block + k * width, width, panel, weighing.score(k));
        for (; k < here; k++) compare<1>(block + k * width, width, panel, weighing.score(k));
        weighing.add(here, values + start * value_width);
    }
}
