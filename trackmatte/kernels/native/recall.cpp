// SAM 2's attention to what is remembered, with fewer products: 64 for a query and a key instead of 256.
//
// A key is a projection of a remembered token, 64 channels to 256, turned by where the token is (axial rotary
// encoding): half of its channels by the column, half by the row. Its product with a query is therefore one of 64
// channels,
//
//     query . turn(x, y) (weight token) = (across(query, x) + down(query, y)) . token,
//
// across: the half of the query that the column turns, turned back and projected by the transposed weight; down: the
// other. Both are made once for 64 queries, all columns and all rows. Maps of several frames have their tokens at the
// same places, so that a sum of both serves all of them.
#include "scores.h"

namespace {

constexpr long MOST = 8;  // maps

struct Axis {                    // how columns, or rows, turn
    const float *cosine, *sine;  // [side][channels / 4]
    const pair* weight;          // [channels / 2][padded(width + 1)]: of the channels that it turns, with the bias
};

struct Shape {
    long channels, width, side;  // of queries; of remembered tokens; of a map
};

// For all places along an axis, what remembered tokens are multiplied by: [side][width + 1][LANES]
void place(const half* queries, const Axis& axis, const Shape& shape, half* back, half* placed) {
    const long quarter = shape.channels / 4, wide = padded(shape.width + 1), kept = shape.width + 1;
    for (long at = 0; at < shape.side; at++, placed += kept * LANES) {
        for (long c = 0; c < quarter; c++) {
            const __m512h cosine = _mm512_set1_ph((half)axis.cosine[at * quarter + c]);
            const __m512h sine = _mm512_set1_ph((half)axis.sine[at * quarter + c]);
            for (int i = 0; i < 2; i++) {
                const __m512h first = _mm512_load_ph(queries + c * LANES + 32 * i);
                const __m512h second = _mm512_load_ph(queries + (quarter + c) * LANES + 32 * i);
                _mm512_store_ph(back + c * LANES + 32 * i, _mm512_fmadd_ph(first, cosine, _mm512_mul_ph(second, sine)));
                _mm512_store_ph(back + (quarter + c) * LANES + 32 * i,
                                _mm512_fmsub_ph(second, cosine, _mm512_mul_ph(first, sine)));
            }
        }
        for (long d = 0; d < kept; d += ROWS) {
            __m512h made[ROWS][2];
            clear(made);
            multiply(axis.weight + d, 1, wide, Panel{back}, 2 * quarter, made);
            for (long r = 0; r < std::min((long)ROWS, kept - d); r++)
                for (int i = 0; i < 2; i++) _mm512_store_ph(placed + (d + r) * LANES + 32 * i, made[r][i]);
        }
    }
}

// Scores of the tokens of R maps at one place, [R][width] pairs
template <int R>
void compare_at(const pair* tokens, long width, const half* across, const half* down, half* scores) {
    const PanelSum panel{across, down};
    __m512h sums[R][2];
    for (int r = 0; r < R; r++)
        for (int i = 0; i < 2; i++) sums[r][i] = panel.load(width, i);
    multiply(tokens, width, 1, panel, width, sums);
    for (int r = 0; r < R; r++)
        for (int i = 0; i < 2; i++) _mm512_store_ph(scores + r * LANES + 32 * i, sums[r][i]);
}

using Compare = void (*)(const pair*, long, const half*, const half*, half*);
constexpr Compare COMPARE[MOST] = {compare_at<1>, compare_at<2>, compare_at<3>, compare_at<4>,
                                   compare_at<5>, compare_at<6>, compare_at<7>, compare_at<8>};

}  // namespace

// Attention of queries to maps and to further tokens with keys of their own (pointers).
//
// queries: [number][channels], turned and scaled, channels in halves. axes: columns, then rows. tokens, values:
// [maps][side * side][width]; a token counts `count` times. more_keys: [more][channels], more_values: [more][width].
// out: [number][width]. width: a multiple of 8.
extern "C" void recall(const float* queries, long number, long channels, const float* cosine_across,
                       const float* sine_across, const pair* weight_across, const float* cosine_down,
                       const float* sine_down, const pair* weight_down, const float* tokens, const float* values,
                       long maps, long side, long width, float count, const float* more_keys, const float* more_values,
                       long more, float* out, int threads) {
    const Axis across{cosine_across, sine_across, weight_across}, down{cosine_down, sine_down, weight_down};
    const Shape shape{channels, width, side};
    const long places = side * side, kept = (width + 1) * LANES, quarter = channels / 4;
    const half often = (half)__builtin_log2f(count);
    // by group of maps, place, and map
    auto all_tokens = room<pair>(maps * places * width), all_values = room<pair>(maps * places * width);
    auto more_tokens = room<pair>(more * channels), more_of_value = room<pair>(more * width);
    twice(more_keys, more * channels, more_tokens.get());
    for (long i = 0; i < more; i++)
        put(more_values + i * width, width, i % KEYS, std::min(KEYS, more - i / KEYS * KEYS),
            more_of_value.get() + i / KEYS * KEYS * width);
#pragma omp parallel num_threads(threads)
    {
        auto panel = room<half>(channels * LANES), back = room<half>(2 * quarter * LANES);
        auto placed_across = room<half>(side * kept), placed_down = room<half>(side * kept);
        Weighing weighing(width);
#pragma omp for
        for (long at = 0; at < places; at++)
            for (long map = 0; map < maps; map++) {
                const long first = map / MOST * MOST, together = std::min(MOST, maps - first);
                const long from = (map * places + at) * width, base = first * places * width;
                const long start = at / (KEYS / together) * (KEYS / together),
                           end = std::min(start + KEYS / together, places);
                twice(tokens + from, width, all_tokens.get() + base + (at * together + map - first) * width);
                put(values + from, width, (at - start) * together + map - first, (end - start) * together,
                    all_values.get() + base + start * together * width);
            }
#pragma omp for schedule(dynamic)
        for (long query = 0; query < number; query += LANES) {
            const long here = std::min((long)LANES, number - query);
            const float* from = queries + query * channels;
            const auto take = [&](long channel, long its, half* to) {
                turn(from + channel, channels, here, its, LOG2_E, to);
            };
            weighing.start();
            take(0, channels, panel.get());
            attend_to(more_tokens.get(), more_of_value.get(), more, channels, width, panel.get(), weighing);
            for (long axis = 0; axis < 2; axis++) {
                take(axis * quarter, quarter, panel.get());
                take((axis + 2) * quarter, quarter, panel.get() + quarter * LANES);
                place(panel.get(), axis ? down : across, shape, back.get(), (axis ? placed_down : placed_across).get());
            }
            for (long row = 0; row < side; row++)
                for (int i = 0; i < 2; i++) {
                    half* bias = placed_down.get() + row * kept + width * LANES + 32 * i;
                    _mm512_store_ph(bias, _mm512_add_ph(_mm512_load_ph(bias), _mm512_set1_ph(often)));
                }
            for (long first = 0; first < maps; first += MOST) {
                const long together = std::min(MOST, maps - first), group = KEYS / together;
                const pair* its_tokens = all_tokens.get() + first * places * width;
                const pair* its_values = all_values.get() + first * places * width;
                for (long start = 0; start < places; start += group) {
                    const long end = std::min(start + group, places);
                    for (long at = start; at < end; at++)
                        COMPARE[together - 1](
                            its_tokens + at * together * width, width, placed_across.get() + at % side * kept,
                            placed_down.get() + at / side * kept, weighing.score((at - start) * together));
                    weighing.add((end - start) * together, its_values + start * together * width);
                }
            }
            weighing.result(out + query * width, width, here, width);
        }
    }
}
