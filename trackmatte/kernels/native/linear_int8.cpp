// Linear layers in 8-bit integers: signed weights with a scale for each output, unsigned rows with a scale and a least
// number for each row, found when the row is read. Sums are exact.
#include "layer.h"

namespace {

constexpr int OUTPUTS = 32;  // at a time: two registers of 32-bit sums
constexpr int FOUR = 4;      // products that one lane sums up in a step

long whole(long width) { return (width + FOUR - 1) / FOUR; }

struct ByteRows {
    static constexpr long MOST = 64, SUMS = 0;

    explicit ByteRows(long width)
        : width(width),
          stride(whole(width) * FOUR + 64),
          numbers(room<uint8_t>(MOST * stride)),
          values(room<float>(MOST * width)) {}

    void set(long row, long at, __m512 these, __mmask16 those) {
        _mm512_mask_storeu_ps(values.get() + row * width + at, those, these);
    }
    void done(long number) {
        for (long r = 0; r < number; r++) read(r, values.get() + r * width);
    }

    // To least + number * scale, number 0 to 255
    void read(long row, const float* x) {
        __m512 low = _mm512_setzero_ps(), high = low;
        for (long k = 0; k < width; k += 16) {
            const __m512 some = _mm512_maskz_loadu_ps(first(width - k), x + k);
            low = _mm512_min_ps(low, some);
            high = _mm512_max_ps(high, some);
        }
        least[row] = _mm512_reduce_min_ps(low);
        const float span = _mm512_reduce_max_ps(high) - least[row];
        scale[row] = span / 255;
        const __m512 factor = _mm512_set1_ps(span > 0 ? 255 / span : 0), zero = _mm512_set1_ps(least[row]);
        for (long k = 0; k < width; k += 16) {
            const __m512 some = _mm512_sub_ps(_mm512_maskz_loadu_ps(first(width - k), x + k), zero);
            _mm_storeu_si128((__m128i*)(numbers.get() + row * stride + k),
                             _mm512_cvtusepi32_epi8(_mm512_cvtps_epu32(_mm512_mul_ps(some, factor))));
        }
    }

    long width, stride;
    Room<uint8_t> numbers;
    Room<float> values;
    float scale[MOST], least[MOST];
};

struct ByteLayer {
    const int8_t* weight;  // [outputs / OUTPUTS][inputs / FOUR][OUTPUTS][FOUR], zero beyond inputs and outputs
    const float *scale, *sum, *bias;  // [outputs, up to a multiple of OUTPUTS]; sum: of an output's scaled weights
    long inputs, outputs;
    int activation;

    template <typename Take>
    void apply(const ByteRows& rows, long number, float*, Take take) const {
        const long steps = whole(inputs);
        for (long output = 0; output < outputs; output += OUTPUTS)
            for (long r = 0; r < number; r += ROWS) {
                __m512i sums[ROWS][2];
                multiply(rows.numbers.get() + r * rows.stride, rows.stride, weight + output * steps * FOUR, steps,
                         sums);
                for (long i = 0; i < std::min((long)ROWS, number - r); i++)
                    for (int part = 0; part < 2 && output + 16 * part < outputs; part++) {
                        const long at = output + 16 * part;
                        const __m512 by = _mm512_mul_ps(_mm512_loadu_ps(scale + at), _mm512_set1_ps(rows.scale[r + i]));
                        const __m512 base = _mm512_fmadd_ps(
                            _mm512_loadu_ps(sum + at), _mm512_set1_ps(rows.least[r + i]), _mm512_loadu_ps(bias + at));
                        take(r + i, at,
                             activated(_mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[i][part]), by, base), activation),
                             first(outputs - at));
                    }
            }
    }

    static void multiply(const uint8_t* rows, long stride, const int8_t* weight, long steps, __m512i (&sums)[ROWS][2]) {
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) sums[r][0] = sums[r][1] = _mm512_setzero_si512();
#pragma GCC unroll 4
        for (long k = 0; k < steps; k++) {
            const __m512i left = _mm512_load_si512(weight + k * OUTPUTS * FOUR);
            const __m512i right = _mm512_load_si512(weight + k * OUTPUTS * FOUR + 64);
#pragma GCC unroll 8
            for (int r = 0; r < ROWS; r++) {
                int four;
                __builtin_memcpy(&four, rows + r * stride + k * FOUR, FOUR);
                sums[r][0] = _mm512_dpbusd_epi32(sums[r][0], _mm512_set1_epi32(four), left);
                sums[r][1] = _mm512_dpbusd_epi32(sums[r][1], _mm512_set1_epi32(four), right);
            }
        }
    }
};

}  // namespace

extern "C" void linear_int8(const float* x, long number, const float* norm_weight, const float* norm_bias, float eps,
                            const int8_t* weight, const float* scale, const float* sum, const float* bias, long inputs,
                            long outputs, int activation, float* y, int threads) {
    apply_linear<ByteRows>(x, number, Norm{norm_weight, norm_bias, eps},
                           ByteLayer{weight, scale, sum, bias, inputs, outputs, activation}, y, threads);
}

extern "C" void feedforward_int8(const float* x, long number, const float* norm_weight, const float* norm_bias,
                                 float eps, const int8_t* weight, const float* scale, const float* sum,
                                 const float* bias, long inputs, long outputs, int activation,
                                 const int8_t* then_weight, const float* then_scale, const float* then_sum,
                                 const float* then_bias, long then_inputs, long then_outputs, float* onto,
                                 int threads) {
    apply_feedforward<ByteRows>(
        x, number, Norm{norm_weight, norm_bias, eps}, ByteLayer{weight, scale, sum, bias, inputs, outputs, activation},
        ByteLayer{then_weight, then_scale, then_sum, then_bias, then_inputs, then_outputs, NONE}, onto, threads);
}
