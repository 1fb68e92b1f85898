// Attention by tiles, of tokens to others, of any number of heads.
#include "answer_tiles.h"

namespace {

template <typename F>
void attend(const float* queries, const long* query_strides, const float* keys, const long* key_strides,
            const float* values, const long* value_strides, float* out, const long* out_strides, long batch, long heads,
            long query_number, long key_number, long width, long value_width, float scale, int threads) {
    const long items = batch * heads;
    const long stride = up_to(width, ALONG) + ALONG, value_stride = up_to(value_width, ALONG) + ALONG;
    const bool apart = items >= 4 * threads;  // one thread for an item
    const long block = queries_of(query_number, apart ? 1 : threads);
    const auto at = [heads](long item, const long* strides) {
        return item / heads * strides[0] + item % heads * strides[2];
    };
    // `rows` of SQUARE tokens from `token` on, of which the last stands in for those that do not exist
    const auto narrow = [](const float* from, long from_stride, long token, long number, long its_width, uint16_t* rows,
                           long its_stride) {
        for (long r = 0; r < SQUARE; r++)
            narrow_row<F>(from + std::min(token + r, number - 1) * from_stride, its_width, 1, rows + r * its_stride);
    };
    const auto read = [&](long item, long key, uint16_t* rows, Memory<F>& memory) {
        narrow(keys + at(item, key_strides), key_strides[1], key, key_number, width, rows, stride);
        memory.put_keys(key, rows, stride);
        narrow(values + at(item, value_strides), value_strides[1], key, key_number, value_width, rows, value_stride);
        memory.put_values(key, rows, value_stride);
    };
    const auto answer_queries = [&](long item, long query, const Memory<F>& memory, uint16_t* rows, Answer<F>& answer) {
        const long here = std::min(block, query_number - query);
        const float* from = queries + at(item, query_strides) + query * query_strides[1];
        for (long q = 0; q < here; q++)
            narrow_row<F>(from + q * query_strides[1], width, scale * LOG2_E, rows + q * stride);
        answer.start(rows, stride, here);
        answer.add(memory, 0);
        float* to = out + at(item, out_strides) + query * out_strides[1];
        answer.result(value_width, [&](long q, long v, __m512 numbers) {
            _mm512_mask_storeu_ps(to + q * out_strides[1] + v, first(value_width - v), numbers);
        });
    };
    Memory<F> shared(apart ? 0 : key_number, width, value_width);
#pragma omp parallel num_threads(threads)
    {
        Answer<F> answer(value_width);
        auto rows = room<uint16_t>(QUERIES * std::max(stride, value_stride));
        if (apart) {
            Memory<F> own(key_number, width, value_width);
#pragma omp for schedule(dynamic)
            for (long item = 0; item < items; item++) {
                for (long key = 0; key < key_number; key += SQUARE) read(item, key, rows.get(), own);
                for (long query = 0; query < query_number; query += block)
                    answer_queries(item, query, own, rows.get(), answer);
            }
        } else {
            for (long item = 0; item < items; item++) {
#pragma omp for
                for (long key = 0; key < key_number; key += SQUARE) read(item, key, rows.get(), shared);
#pragma omp for schedule(dynamic)
                for (long query = 0; query < query_number; query += block)
                    answer_queries(item, query, shared, rows.get(), answer);
            }
        }
    }
}

}  // namespace

// See `attend`.
extern "C" void attend_tiles(int format, const float* queries, const long* query_strides, const float* keys,
                             const long* key_strides, const float* values, const long* value_strides, float* out,
                             const long* out_strides, long batch, long heads, long query_number, long key_number,
                             long width, long value_width, float scale, int threads) {
    with_format(format, [=](auto f) {
        attend<decltype(f)>(queries, query_strides, keys, key_strides, values, value_strides, out, out_strides, batch,
                            heads, query_number, key_number, width, value_width, scale, threads);
    });
}
