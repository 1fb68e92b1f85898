// Linear layers in float16.
#include "layer.h"

namespace {

constexpr long GAP = 16;  // pairs between rows, that a multiple of the cache's size does not lie between them

struct HalfRows {
    static constexpr long MOST = 64, SUMS = MOST * LANES;

    explicit HalfRows(long width) : width(width), stride(width + GAP), numbers(room<pair>(MOST * stride)) {}

    void read(long row, const float* x) { twice(x, width, numbers.get() + row * stride); }
    void set(long row, long at, __m512 values, __mmask16 those) {
        _mm512_mask_storeu_epi32(numbers.get() + row * stride + at, those, twice(values));
    }
    void done(long) {}

    long width, stride;
    Room<pair> numbers;
};

struct HalfLayer {
    const half* weight;  // [outputs / LANES][inputs][LANES], zero beyond the outputs
    const float* bias;   // [outputs, up to a multiple of LANES]
    long inputs, outputs;
    int activation;

    template <typename Take>
    void apply(const HalfRows& rows, long number, float* sums, Take take) const {
        const long parts = (inputs + DEPTH - 1) / DEPTH, depth = (inputs + parts - 1) / parts;
        for (long output = 0; output < outputs; output += LANES) {
            for (long r = 0; r < number; r++) std::copy_n(bias + output, LANES, sums + r * LANES);
            for (long k = 0; k < inputs; k += depth)
                for (long r = 0; r < number; r += ROWS) {
                    __m512h made[ROWS][2];
                    clear(made);
                    multiply(rows.numbers.get() + r * rows.stride + k, rows.stride, 1,
                             Panel{weight + output * inputs + k * LANES}, std::min(depth, inputs - k), made);
                    for (int i = 0; i < ROWS; i++) add_to(sums + (r + i) * LANES, made[i]);
                }
            for (long r = 0; r < number; r++)
                for (long i = 0; i < LANES && output + i < outputs; i += 16)
                    take(r, output + i, activated(_mm512_load_ps(sums + r * LANES + i), activation),
                         first(outputs - output - i));
        }
    }
};

}  // namespace

extern "C" void linear(const float* x, long number, const float* norm_weight, const float* norm_bias, float eps,
                       const half* weight, const float* bias, long inputs, long outputs, int activation, float* y,
                       int threads) {
    apply_linear<HalfRows>(x, number, Norm{norm_weight, norm_bias, eps},
                           HalfLayer{weight, bias, inputs, outputs, activation}, y, threads);
}

extern "C" void feedforward(const float* x, long number, const float* norm_weight, const float* norm_bias, float eps,
                            const half* weight, const float* bias, long inputs, long outputs, int activation,
                            const half* then_weight, const float* then_bias, long then_inputs, long then_outputs,
                            float* onto, int threads) {
    apply_feedforward<HalfRows>(x, number, Norm{norm_weight, norm_bias, eps},
                                HalfLayer{weight, bias, inputs, outputs, activation},
                                HalfLayer{then_weight, then_bias, then_inputs, then_outputs, NONE}, onto, threads);
}
