// A Hiera's attention within windows, from the map to the map: what a window's tokens become stays in the cache.
#include "answer_tiles.h"
#include "layer_tiles.h"

namespace {

struct Map {  // [height][width][channels]
    float* at;
    long height, width, channels;
    float* token(long row, long column) const { return at + (row * width + column) * channels; }
    bool has(long row, long column) const { return row < height && column < width; }
};

struct Windows {
    long side, across, number;  // tokens along a side; windows along a row of them; in the map

    long row(long window, long token) const { return window / across * side + token / side; }
    long column(long window, long token) const { return window % across * side + token % side; }
};

// The greatest of 2x2 tokens of a window of `side` x `side`, `stride` numbers from one to the next: at(offset) has 16
// numbers of the window's first token, further on
template <typename At>
__m512 greatest(long token, long side, long stride, At at) {
    const long half = side / 2, from = (token / half * side + token % half) * 2 * stride;
    return _mm512_max_ps(_mm512_max_ps(at(from), at(from + stride)),
                         _mm512_max_ps(at(from + side * stride), at(from + (side + 1) * stride)));
}

template <typename F>
void attend_windows(const Map& x, const Norm& norm, const TileLayer<F>& qkv, const TileLayer<F>& out,
                    const TileLayer<F>* shortcut, long heads, long width, const Windows& windows, const Map& y,
                    int threads) {
    const bool pooled = shortcut != nullptr;
    const long tokens = windows.side * windows.side, queries = pooled ? tokens / 4 : tokens;
    const Windows results{pooled ? windows.side / 2 : windows.side, windows.across, windows.number};
    const long group = std::max(1L, std::min(TileRows<F>::MOST / tokens, windows.number / (4 * threads)));
    const long all = heads * width, stride = 3 * all + ALONG;
#pragma omp parallel num_threads(threads)
    {
        TileRows<F> rows(x.channels), found(all);
        Memory<F> memory(tokens, width, width);
        Answer<F> answer(width);
        auto normed = room<float>(x.channels), sums = room<float>(TileRows<F>::SUMS);
        auto made = room<uint16_t>((TileRows<F>::MOST + SQUARE) * stride);
        auto beside = room<float>(pooled ? TileRows<F>::MOST * y.channels : 0);
        float* places[TileRows<F>::MOST];
        auto pool = room<uint16_t>(pooled ? (queries + SQUARE) * (width + ALONG) : 0);
        const auto read = [&](long start, long here) {
            for (long r = 0; r < here * tokens; r++) {
                const long row = windows.row(start + r / tokens, r % tokens);
                const long column = windows.column(start + r / tokens, r % tokens);
                if (x.has(row, column))
                    rows.read(r, norm.of(x.token(row, column), x.channels, normed.get()));
                else
                    rows.clear(r);
            }
        };
        const auto pool_queries = [&](const uint16_t* its_queries) {
            for (long q = 0; q < queries; q++)
                for (long i = 0; i < width; i += SIDE)
                    _mm256_storeu_si256(
                        (__m256i*)(pool.get() + q * (width + ALONG) + i),
                        F::narrow(greatest(q, windows.side, stride, [&](long offset) {
                            return F::widen(_mm256_loadu_si256((const __m256i*)(its_queries + offset + i)));
                        })));
        };
        const auto look = [&](long window, long head) {
            const uint16_t* its_queries = made.get() + window * tokens * stride + head * width;
            const uint16_t *its_keys = its_queries + all, *its_values = its_keys + all;
            for (long key = 0; key < tokens; key += SQUARE) {
                memory.put_keys(key, its_keys + key * stride, stride);
                memory.put_values(key, its_values + key * stride, stride);
            }
            if (pooled) pool_queries(its_queries);
            answer.start(pooled ? pool.get() : its_queries, pooled ? width + ALONG : stride, queries);
            answer.add(memory, 0);
            answer.result(width, [&](long q, long at, __m512 numbers) {
                found.set(window * queries + q, head * width + at, numbers, 0xffff);
            });
        };
        // Where results go: to what is there, or to the shortcut's
        const auto place = [&](long start, long r) {
            const long window = r / queries, q = r % queries;
            const long row = results.row(start + window, q), column = results.column(start + window, q);
            places[r] = y.has(row, column) ? y.token(row, column) : nullptr;
            if (!pooled || !places[r]) return;
            const float* its = beside.get() + window * tokens * y.channels;
            for (long at = 0; at < y.channels; at += SIDE) {
                const __mmask16 those = first(y.channels - at);
                _mm512_mask_storeu_ps(places[r] + at, those, greatest(q, windows.side, y.channels, [&](long offset) {
                                          return _mm512_maskz_loadu_ps(those, its + offset + at);
                                      }));
            }
        };
#pragma omp for schedule(dynamic)
        for (long start = 0; start < windows.number; start += group) {
            const long here = std::min(group, windows.number - start);
            read(start, here);
            qkv.apply(rows, here * tokens, sums.get(), [&](long r, long at, __m512 numbers, __mmask16) {
                _mm256_storeu_si256((__m256i*)(made.get() + r * stride + at), F::narrow(numbers));
            });
            for (long window = 0; window < here; window++)
                for (long head = 0; head < heads; head++) look(window, head);
            if (pooled)
                shortcut->apply(rows, here * tokens, sums.get(), [&](long r, long at, __m512 numbers, __mmask16 those) {
                    _mm512_mask_storeu_ps(beside.get() + r * y.channels + at, those, numbers);
                });
            for (long r = 0; r < here * queries; r++) place(start, r);
            out.apply(found, here * queries, sums.get(), [&](long r, long at, __m512 numbers, __mmask16 those) {
                if (!places[r]) return;
                float* to = places[r] + at;
                _mm512_mask_storeu_ps(to, those, _mm512_add_ps(_mm512_maskz_loadu_ps(those, to), numbers));
            });
        }
    }
}

}  // namespace

// y = shortcut + out(attention(qkv(norm(x)))) within windows of `side` x `side` tokens, at most 256.
//
// x: [height][width][channels], y: [height][width][outputs], and the same array, if there is no shortcut; else y is
// half as high and wide: of queries and of the shortcut's results the greatest of 2x2 are taken. Beyond the map tokens
// are 0 after the norm. qkv gives [3][heads][head_width], head_width a multiple of 32, queries for scores in powers of
// two; out takes [heads][head_width].
extern "C" void window_tiles(int format, float* x, long height, long width, long channels, const float* norm_weight,
                             const float* norm_bias, float eps, const uint16_t* qkv, const float* qkv_bias,
                             const uint16_t* out, const float* out_bias, const uint16_t* shortcut,
                             const float* shortcut_bias, long heads, long head_width, long outputs, long side, float* y,
                             int threads) {
    with_format(format, [=](auto f) {
        using F = decltype(f);
        const long all = heads * head_width, down = (height + side - 1) / side, across = (width + side - 1) / side;
        const long scale = shortcut ? 2 : 1;
        const TileLayer<F> beside{shortcut, shortcut_bias, channels, outputs, NONE};
        attend_windows<F>(Map{x, height, width, channels}, Norm{norm_weight, norm_bias, eps},
                          TileLayer<F>{qkv, qkv_bias, channels, 3 * all, NONE},
                          TileLayer<F>{out, out_bias, all, outputs, NONE}, shortcut ? &beside : nullptr, heads,
                          head_width, Windows{side, across, down * across},
                          Map{y, height / scale, width / scale, outputs}, threads);
    });
}
