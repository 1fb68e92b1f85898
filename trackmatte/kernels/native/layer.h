// What linear layers have in common, whatever multiplies.
#pragma once

#include "half.h"

constexpr long LEAST = 32;  // rows of a piece

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

// A norm over the numbers of a row, where there is one: weight is not null.
struct Norm {
    const float *weight, *bias;  // [width]
    float eps;

    // x, [width], normalized into `room` if it has to be
    const float* of(const float* x, long width, float* room) const {
        if (!weight) return x;
        __m512 total = _mm512_setzero_ps(), squares = total;
        for (long i = 0; i < width; i += 16)
            total = _mm512_add_ps(total, _mm512_maskz_loadu_ps(first(width - i), x + i));
        const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(total) / width);
        for (long i = 0; i < width; i += 16) {
            const __mmask16 those = first(width - i);
            const __m512 apart = _mm512_maskz_sub_ps(those, _mm512_maskz_loadu_ps(those, x + i), mean);
            squares = _mm512_fmadd_ps(apart, apart, squares);
        }
        const __m512 by = _mm512_set1_ps(1 / __builtin_sqrtf(_mm512_reduce_add_ps(squares) / width + eps));
        for (long i = 0; i < width; i += 16) {
            const __mmask16 those = first(width - i);
            const __m512 apart = _mm512_sub_ps(_mm512_maskz_loadu_ps(those, x + i), mean);
            _mm512_mask_storeu_ps(room + i, those,
                                  _mm512_fmadd_ps(_mm512_mul_ps(apart, by), _mm512_maskz_loadu_ps(those, weight + i),
                                                  _mm512_maskz_loadu_ps(those, bias + i)));
        }
        return room;
    }
};

// A layer applied to all rows in pieces. Rows holds those of a piece as the layer multiplies them:
//     Rows::MOST, how many; Rows(width), read(row, x), set(row, at, 16 numbers, those that exist), done(number), and
//     layer.apply(rows, number, sums, take), where take(row, at, 16 results, those that exist) gets what comes out;
//     sums has room for Rows::SUMS.

// Rows of a piece, so that each thread has one
template <typename Rows>
long piece_of(long number, int threads) {
    const long each = (number + threads - 1) / threads;
    return std::min(Rows::MOST, (each + LEAST - 1) / LEAST * LEAST);
}

// y = activation(norm(x) weight^T + bias). x: [number][inputs], y: [number][outputs], float32.
template <typename Rows, typename Layer>
void apply_linear(const float* x, long number, const Norm& norm, const Layer& layer, float* y, int threads) {
    const long piece = piece_of<Rows>(number, threads);
#pragma omp parallel num_threads(threads)
    {
        Rows rows(layer.inputs);
        auto normed = room<float>(layer.inputs), sums = room<float>(Rows::SUMS);
#pragma omp for schedule(dynamic)
        for (long start = 0; start < number; start += piece) {
            const long here = std::min(piece, number - start);
            for (long r = 0; r < here; r++)
                rows.read(r, norm.of(x + (start + r) * layer.inputs, layer.inputs, normed.get()));
            layer.apply(rows, here, sums.get(), [&](long r, long at, __m512 result, __mmask16 those) {
                _mm512_mask_storeu_ps(y + (start + r) * layer.outputs + at, those, result);
            });
        }
    }
}

// onto += to(activation(from(norm(x)))). x: [number][inputs of from], onto: [number][outputs of to], float32; they may
// be the same.
template <typename Rows, typename Layer>
void apply_feedforward(const float* x, long number, const Norm& norm, const Layer& from, const Layer& to, float* onto,
                       int threads) {
    const long piece = piece_of<Rows>(number, threads);
#pragma omp parallel num_threads(threads)
    {
        Rows rows(from.inputs), wide(to.inputs);
        auto normed = room<float>(from.inputs), sums = room<float>(Rows::SUMS);
#pragma omp for schedule(dynamic)
        for (long start = 0; start < number; start += piece) {
            const long here = std::min(piece, number - start);
            for (long r = 0; r < here; r++)
                rows.read(r, norm.of(x + (start + r) * from.inputs, from.inputs, normed.get()));
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
