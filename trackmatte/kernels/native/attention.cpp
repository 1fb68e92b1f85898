// Attention of tokens to others, of any number of heads.
#include "scores.h"

// softmax(queries keys^T scale) values for each item of a batch and each head.
//
// Strides in numbers, of batch, token and head, in that order; channels lie side by side. float32.
extern "C" void attend(const float* queries, const long* query_strides, const float* keys, const long* key_strides,
                       const float* values, const long* value_strides, float* out, const long* out_strides, long batch,
                       long heads, long query_number, long key_number, long width, long value_width, float scale,
                       int threads) {
    const long wide = padded(value_width), items = batch * heads, blocks = (query_number + LANES - 1) / LANES;
    const bool apart = items >= 4 * threads;  // one thread for an item
    const auto at = [heads](long item, const long* strides) {
        return item / heads * strides[0] + item % heads * strides[2];
    };
    const auto read = [&](long item, long key, pair* its_keys, pair* its_values) {
        twice(keys + at(item, key_strides) + key * key_strides[1], width, its_keys + key * width);
        put(values + at(item, value_strides) + key * value_strides[1], value_width, key % KEYS,
            std::min(KEYS, key_number - key / KEYS * KEYS), its_values + key / KEYS * KEYS * wide);
    };
    const auto answer = [&](long item, long block, const pair* its_keys, const pair* its_values, half* panel,
                            Weighing& weighing) {
        const long query = block * LANES, here = std::min((long)LANES, query_number - query);
        weighing.start();
        turn(queries + at(item, query_strides) + query * query_strides[1], query_strides[1], here, width,
             scale * LOG2_E, panel);
        attend_to(its_keys, its_values, key_number, width, wide, panel, weighing);
        weighing.result(out + at(item, out_strides) + query * out_strides[1], out_strides[1], here, value_width);
    };
    auto shared_keys = room<pair>(apart ? 0 : key_number * width),
         shared_values = room<pair>(apart ? 0 : key_number * wide);
#pragma omp parallel num_threads(threads)
    {
        auto panel = room<half>(width * LANES);
        Weighing weighing(wide);
        if (apart) {
            auto own_keys = room<pair>(key_number * width), own_values = room<pair>(key_number * wide);
#pragma omp for schedule(dynamic)
            for (long item = 0; item < items; item++) {
                for (long key = 0; key < key_number; key++) read(item, key, own_keys.get(), own_values.get());
                for (long block = 0; block < blocks; block++)
                    answer(item, block, own_keys.get(), own_values.get(), panel.get(), weighing);
            }
        } else {
            for (long item = 0; item < items; item++) {
#pragma omp for
                for (long key = 0; key < key_number; key++) read(item, key, shared_keys.get(), shared_values.get());
#pragma omp for schedule(dynamic)
                for (long block = 0; block < blocks; block++)
                    answer(item, block, shared_keys.get(), shared_values.get(), panel.get(), weighing);
            }
        }
    }
}
