// Linear layers by tiles.
#pragma once

#include "layer.h"
#include "tiles.h"

template <typename F>
struct TileRows {
    static constexpr long MOST = 256, SUMS = SQUARE * SQUARE;

    explicit TileRows(long width)
        : width(width), stride(up_to(width, ALONG) + ALONG), numbers(room<uint16_t>(MOST * stride)) {
        if (width % ALONG) std::fill_n(numbers.get(), MOST * stride, 0);
    }

    void read(long row, const float* x) { narrow_row<F>(x, width, 1, numbers.get() + row * stride); }
    void clear(long row) { std::fill_n(numbers.get() + row * stride, stride, 0); }
    void set(long row, long at, __m512 values, __mmask16 those) {
        _mm256_mask_storeu_epi16(numbers.get() + row * stride + at, those, F::narrow(values));
    }
    void done(long) {}

    Tiles tiles;
    long width, stride;
    Room<uint16_t> numbers;
};

template <typename F>
struct TileLayer {
    const uint16_t* weight;  // [outputs / SIDE][inputs / ALONG] tiles, zero beyond inputs and outputs, SQUARE outputs
    const float* bias;       // [outputs, up to a multiple of SQUARE]
    long inputs, outputs;
    int activation;

    template <typename Take>
    void apply(const TileRows<F>& rows, long number, float* sums, Take take) const {
        const long steps = up_to(inputs, ALONG) / ALONG, column = steps * TILE;
        for (long output = 0; output < outputs; output += SQUARE) {
            const uint16_t* left = weight + output / SIDE * column;
            for (long row = 0; row < number; row += SQUARE) {
                clear_square();
                multiply_square<F>(rows.numbers.get() + row * rows.stride, rows.stride, left, left + column, steps);
                store_square(sums, SQUARE);
                for (long r = 0; r < std::min((long)SQUARE, number - row); r++)
                    for (long i = 0; i < SQUARE && output + i < outputs; i += SIDE)
                        take(row + r, output + i,
                             activated(_mm512_add_ps(_mm512_load_ps(sums + r * SQUARE + i),
                                                     _mm512_loadu_ps(bias + output + i)),
                                       activation),
                             first(outputs - output - i));
            }
        }
    }
};
