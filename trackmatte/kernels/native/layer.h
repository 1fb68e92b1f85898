// What linear layers in float16 and in 8-bit integers have in common.
#pragma once

#include "half.h"

constexpr long PIECE = 64;  // rows at a time

enum Activation { NONE, RELU, GELU };

inline __m512 activated(__m512 x, int activation) {
    if (activation == RELU) return _mm512_max_ps(x, _mm512_setzero_ps());
    if (activation != GELU) return x;
    // x Phi(x), Phi(x) - 1/2 an odd polynomial, fitted within 4.4 of 0 and constant beyond: to 4e-5
    const __m512 edge = _mm512_set1_ps(4.4f);
    const __m512 near = _mm512_max_ps(_mm512_min_ps(x, edge), _mm512_sub_ps(_mm512_setzero_ps(), edge));
    const __m512 square = _mm512_mul_ps(near, near);
    __m512 y = _mm512_set1_ps(3.5724871e-11f);
    for (float c : {-3.7565111e-9f, 1.74166729e-7f, -4.72632746e-6f, 8.43079761e-5f, -1.05508114e-3f, 9.64331534e-3f,
                    -6.60768747e-2f, 0.398761839f})
        y = _mm512_fmadd_ps(y, square, _mm512_set1_ps(c));
    return _mm512_mul_ps(x, _mm512_fmadd_ps(near, y, _mm512_set1_ps(0.5f)));
}

inline __mmask16 first(long number) { return (__mmask16)((1u << std::min(16L, number)) - 1); }

// A layer applied to all rows in pieces. Rows holds those of a piece as the layer multiplies them:
//     Rows(width), read(x, number), set(row, at, 16 numbers, those that exist), done(number), and
//     layer.apply(rows, number, sums, take), where take(row, at, 16 results, those that exist) gets what comes out.
// y = activation(x weight^T + bias). x: [number][inputs], y: [number][outputs], float32.
template <typename Rows, typename Layer>
void apply_linear(const float* x, long number, const Layer& layer, float* y, int threads) {
#pragma omp parallel num_threads(threads)
    {
        Rows rows(layer.inputs);
        auto sums = room<float>(PIECE * LANES);
#pragma omp for schedule(dynamic)
        for (long start = 0; start < number; start += PIECE) {
            const long here = std::min(PIECE, number - start);
            rows.read(x + start * layer.inputs, here);
            layer.apply(rows, here, sums.get(), [&](long r, long at, __m512 result, __mmask16 those) {
                _mm512_mask_storeu_ps(y + (start + r) * layer.outputs + at, those, result);
            });
        }
    }
}

// onto += to(activation(from(x))). x: [number][inputs of from], onto: [number][outputs of to], float32.
template <typename Rows, typename Layer>
void apply_feedforward(const float* x, long number, const Layer& from, const Layer& to, float* onto, int threads) {
#pragma omp parallel num_threads(threads)
    {
        Rows rows(from.inputs), wide(to.inputs);
        auto sums = room<float>(PIECE * LANES);
#pragma omp for schedule(dynamic)
        for (long start = 0; start < number; start += PIECE) {
            const long here = std::min(PIECE, number - start);
            rows.read(x + start * from.inputs, here);
            from.apply(rows, here, sums.get(),
                       [&](long r, long at, __m512 result, __mmask16 those) { wide.set(r, at, result, those); });
            wide.done(here);
            to.apply(wide, here, sums.get(), [&](long r, long at, __m512 result, __mmask16 those) {
                float* place = onto + (start + r) * to.outputs + at;
                _mm512_mask_storeu_ps(place, those, _mm512_add_ps(result, _mm512_maskz_loadu_ps(those, place)));
            });
        }
    }
}
