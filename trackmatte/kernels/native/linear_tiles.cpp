// Linear layers by tiles, in float16 or bfloat16.
#include "layer_tiles.h"

// format: 0 float16, 1 bfloat16
extern "C" void linear_tiles(int format, const float* x, long number, const float* norm_weight, const float* norm_bias,
                             float eps, const uint16_t* weight, const float* bias, long inputs, long outputs,
                             int activation, float* y, int threads) {
    with_format(format, [=](auto f) {
        using F = decltype(f);
        apply_linear<TileRows<F>>(x, number, Norm{norm_weight, norm_bias, eps},
                                  TileLayer<F>{weight, bias, inputs, outputs, activation}, y, threads);
    });
}

extern "C" void feedforward_tiles(int format, const float* x, long number, const float* norm_weight,
                                  const float* norm_bias, float eps, const uint16_t* weight, const float* bias,
                                  long inputs, long outputs, int activation, const uint16_t* then_weight,
                                  const float* then_bias, long then_inputs, long then_outputs, float* onto,
                                  int threads) {
    with_format(format, [=](auto f) {
        using F = decltype(f);
        apply_feedforward<TileRows<F>>(
            x, number, Norm{norm_weight, norm_bias, eps}, TileLayer<F>{weight, bias, inputs, outputs, activation},
            TileLayer<F>{then_weight, then_bias, then_inputs, then_outputs, NONE}, onto, threads);
    });
}
