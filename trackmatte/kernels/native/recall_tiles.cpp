// SAM 2's rotary attention by tiles, with its norm and projections: of a frame to itself, and to what is remembered.
//
// Keys are projected and turned once, and compared one by one: their 256 products take less time than the tables by
// which `recall.cpp` saves three quarters of them.
#include "answer_tiles.h"
#include "layer_tiles.h"

namespace {

struct Turned {                  // a projection, and how its results turn
    const uint16_t* weight;      // [channels / SIDE][width / ALONG] tiles
    const float* bias;           // [channels]
    const float *cosine, *sine;  // [places][channels / 2], channels in halves; null: they do not
};

struct Tokens {
    const float *compared, *told;  // [number][width]: what keys are made of, and values
    long number, width, places;    // of places, token by token again and again
};

// Room of a thread in which SQUARE tokens at a time become queries or keys
template <typename F>
class Projecting {
 public:
    Projecting(long width, long channels)
        : channels_(channels),
          rows_stride_(up_to(width, ALONG) + ALONG),
          normed_(room<float>(width)),
          rows_(room<uint16_t>(SQUARE * rows_stride_)),
          made_(room<float>(SQUARE * channels)) {}

    // Tokens of width `width` from `token` on in the half format, the last for those that do not exist
    const uint16_t* read(const float* tokens, long token, long number, long width, const Norm& norm) {
        for (long r = 0; r < SQUARE; r++)
            narrow_row<F>(norm.of(tokens + std::min(token + r, number - 1) * width, width, normed_.get()), width, 1,
                          rows_.get() + r * rows_stride_);
        return rows_.get();
    }
    long stride() const { return rows_stride_; }

    // What was read, projected, and turned as at `token`: to [SQUARE][stride]
    void project(const Turned& turned, long width, long token, long places, uint16_t* to, long stride) {
        const long steps = up_to(width, ALONG) / ALONG, half = channels_ / 2;
        for (long c = 0; c < channels_; c += SQUARE) {
            const uint16_t* left = turned.weight + c / SIDE * steps * TILE;
            clear_square();
            multiply_square<F>(rows_.get(), rows_stride_, left, left + steps * TILE, steps);
            store_square(made_.get() + c, channels_);
        }
        for (long r = 0; r < SQUARE; r++) {
            const float* row = made_.get() + r * channels_;
            const auto number = [&](long c) {
                return _mm512_add_ps(_mm512_load_ps(row + c), _mm512_loadu_ps(turned.bias + c));
            };
            const auto put = [&](long c, __m512 x) {
                _mm256_storeu_si256((__m256i*)(to + r * stride + c), F::narrow(x));
            };
            if (!turned.cosine) {
                for (long c = 0; c < channels_; c += SIDE) put(c, number(c));
                continue;
            }
            const long place = (token + r) % places * half;
            for (long c = 0; c < half; c += SIDE) {
                const __m512 cosine = _mm512_loadu_ps(turned.cosine + place + c);
                const __m512 sine = _mm512_loadu_ps(turned.sine + place + c);
                const __m512 one = number(c), other = number(half + c);
                put(c, _mm512_fmsub_ps(one, cosine, _mm512_mul_ps(other, sine)));
                put(half + c, _mm512_fmadd_ps(one, sine, _mm512_mul_ps(other, cosine)));
            }
        }
    }

 private:
    const long channels_, rows_stride_;
    Room<float> normed_;
    Room<uint16_t> rows_;
    Room<float> made_;
};

template <typename F>
void recall(const float* x, long number, long channels, const Norm& norm, const Turned& query, const Turned& key,
            const Tokens& tokens, float count, const Tokens& more, const TileLayer<F>& out, float* y, int threads) {
    const bool itself = tokens.compared == x;
    const long width = tokens.width, stride = channels + ALONG, block = queries_of(number, threads);
    const Turned not_turned{key.weight, key.bias, nullptr, nullptr};
    Memory<F> memory(tokens.number, channels, width), others(more.number, channels, width);
#pragma omp parallel num_threads(threads)
    {
        Answer<F> answer(width);
        Projecting<F> keys(width, channels), queries(channels, channels);
        TileRows<F> found(width);
        auto rows = room<uint16_t>(QUERIES * stride);
        auto sums = room<float>(TileRows<F>::SUMS);
        const auto put = [&](Memory<F>& to, const Tokens& from, const Turned& turned, long token) {
            const Norm its_norm = itself ? norm : Norm{};
            const uint16_t* read = keys.read(from.compared, token, from.number, width, its_norm);
            keys.project(turned, width, token, from.places, rows.get(), stride);
            to.put_keys(token, rows.get(), stride);
            if (from.told != from.compared) read = keys.read(from.told, token, from.number, width, its_norm);
            to.put_values(token, read, keys.stride());
        };
#pragma omp for nowait
        for (long token = 0; token < tokens.number; token += SQUARE) put(memory, tokens, key, token);
#pragma omp for
        for (long token = 0; token < more.number; token += SQUARE) put(others, more, not_turned, token);
#pragma omp for schedule(dynamic)
        for (long start = 0; start < number; start += block) {
            const long here = std::min(block, number - start);
            for (long q = 0; q < here; q += SQUARE) {
                queries.read(x, start + q, number, channels, norm);
                queries.project(query, channels, start + q, number, rows.get() + q * stride, stride);
            }
            answer.start(rows.get(), stride, here);
            answer.add(others, 0);
            answer.add(memory, __builtin_log2f(count));
            answer.result(width,
                          [&](long q, long at, __m512 numbers) { found.set(q, at, numbers, first(width - at)); });
            out.apply(found, here, sums.get(), [&](long q, long at, __m512 numbers, __mmask16 those) {
                const long place = (start + q) * channels + at;
                _mm512_mask_storeu_ps(y + place, those,
                                      _mm512_add_ps(_mm512_maskz_loadu_ps(those, x + place), numbers));
            });
        }
    }
}

}  // namespace

// y = x + out(attention(query(norm(x)), key(tokens), values)), of tokens and of more that do not turn.
//
// x, y: [number][channels], channels a multiple of 32; y may be x. tokens, values: [token_number][width]; both may be
// x, which is then normed; a token counts `count` times. Queries turn by [number], keys by [places]; queries are for
// scores in powers of two. out takes [width].
extern "C" void recall_tiles(int format, const float* x, long number, long channels, const float* norm_weight,
                             const float* norm_bias, float eps, const uint16_t* query, const float* query_bias,
                             const float* query_cosine, const float* query_sine, const uint16_t* key,
                             const float* key_bias, const float* key_cosine, const float* key_sine, const uint16_t* out,
                             const float* out_bias, const float* tokens, const float* values, long token_number,
                             long width, long places, float count, const float* more_tokens, const float* more_values,
                             long more, float* y, int threads) {
    with_format(format, [=](auto f) {
        using F = decltype(f);
        recall<F>(x, number, channels, Norm{norm_weight, norm_bias, eps},
                  Turned{query, query_bias, query_cosine, query_sine}, Turned{key, key_bias, key_cosine, key_sine},
                  Tokens{tokens, values, token_number, width, places}, count,
                  Tokens{more_tokens, more_values, more, width, 1}, TileLayer<F>{out, out_bias, width, channels, NONE},
                  y, threads);
    });
}
