// Attention of up to QUERIES queries of one head, by tiles.
//
// As FlashAttention (arXiv 2205.14135) does: weights count from the greatest score of the first block of keys, and sums
// are scaled where a later one has a score that is clearly greater.
#pragma once

#include "tiles.h"

constexpr long KEYS_AT_ONCE = 256, QUERIES = 256;

// Keys and values of one head, as right sides of products
template <typename F>
class Memory {
 public:
    Memory(long number, long width, long value_width)
        : number(number),
          key_steps(up_to(width, ALONG) / ALONG),
          key_columns(up_to(number, SQUARE) / SIDE),
          value_steps(key_columns / 2),
          value_columns(up_to(value_width, SQUARE) / SIDE),
          keys_(room<uint16_t>(key_columns * key_steps * TILE)),
          values_(room<uint16_t>(value_columns * value_steps * TILE)) {}

    const uint16_t* keys(long key) const { return keys_.get() + key / SIDE * key_steps * TILE; }
    const uint16_t* values(long column, long key) const {
        return values_.get() + (column * value_steps + key / ALONG) * TILE;
    }

    // SQUARE keys from `key` on in the half format, `stride` numbers from one to the next
    void put_keys(long key, const uint16_t* rows, long stride) {
        const __m512i at = _mm512_mullo_epi32(_mm512_set1_epi32((int)stride * 2), COUNT);
        for (long column = key / SIDE; column < key / SIDE + 2; column++, rows += SIDE * stride)
            for (long pair = 0; pair < key_steps * ALONG / 2; pair++)
                _mm512_store_si512(keys_.get() + column * key_steps * TILE + pair * SQUARE,
                                   _mm512_i32gather_epi32(at, rows + 2 * pair, 1));
    }

    // SQUARE values from `key` on, if they exist, in the half format, `stride` numbers from one to the next
    void put_values(long key, const uint16_t* rows, long stride) {
        for (long column = 0; column < value_columns; column++) {
            uint16_t* to = values_.get() + (column * value_steps + key / ALONG) * TILE;
            const auto value = [&](long k) {
                return key + k < number ? _mm512_cvtepu16_epi32(
                                              _mm256_loadu_si256((const __m256i*)(rows + k * stride + column * SIDE)))
                                        : _mm512_setzero_si512();
            };
            for (long k = 0; k < ALONG; k += 2)
                _mm512_store_si512(to + k * SIDE, _mm512_or_si512(value(k), _mm512_slli_epi32(value(k + 1), 16)));
        }
    }

    const long number, key_steps, key_columns, value_steps, value_columns;

 private:
    inline static const __m512i COUNT = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    Room<uint16_t> keys_;    // [key / SIDE][key_steps] tiles
    Room<uint16_t> values_;  // [value_columns][value_steps] tiles
};

// The attention of up to QUERIES queries
template <typename F>
class Answer {
 public:
    explicit Answer(long value_width)
        : value_stride_(up_to(value_width, SQUARE) + SIDE),
          scores_(room<float>(SQUARE * SCORE_STRIDE)),
          weights_(room<uint16_t>(SQUARE * WEIGHT_STRIDE)),
          sums_(room<float>(QUERIES * value_stride_)) {}

    // queries: in the half format, for scores in powers of two, `stride` numbers from one to the next; they stay
    void start(const uint16_t* queries, long stride, long number) {
        queries_ = queries;
        stride_ = stride;
        number_ = number;
        std::fill_n(sums_.get(), up_to(number, SQUARE) * value_stride_, 0.0f);
        std::fill_n(total_, up_to(number, SQUARE), 0.0f);
        fresh_ = true;
    }

    // bias: of scores, in powers of two
    void add(const Memory<F>& memory, float bias) {
        for (long key = 0; key < memory.number; key += KEYS_AT_ONCE) {
            const long here = std::min(KEYS_AT_ONCE, memory.number - key);
            for (long query = 0; query < number_; query += SQUARE) {
                if (fresh_ || !weigh_at_once(memory, query, key, here, bias)) {
                    compare(memory, query, key, here);
                    weigh(query, here, bias);
                }
                sum(memory, query, key, here);
            }
            fresh_ = false;
        }
    }

    // take(query, at, SIDE numbers)
    template <typename Take>
    void result(long value_width, Take take) const {
        for (long q = 0; q < number_; q++) {
            const __m512 share = _mm512_set1_ps(1 / total_[q]);
            for (long v = 0; v < value_width; v += SIDE)
                take(q, v, _mm512_mul_ps(_mm512_load_ps(sums_.get() + q * value_stride_ + v), share));
        }
    }

 private:
    void compare(const Memory<F>& memory, long query, long key, long here) {
        const uint16_t* rows = queries_ + query * stride_;
        for (long k = 0; k < here; k += SQUARE) {
            clear_square();
            multiply_square<F>(rows, stride_, memory.keys(key + k), memory.keys(key + k + SIDE), memory.key_steps);
            store_square(scores_.get() + k, SCORE_STRIDE);
        }
    }

    // Scores to weights
    void weigh(long query, long here, float bias) {
        clear_totals();
        for (long q = 0; q < SQUARE; q++) {
            float* scores = scores_.get() + q * SCORE_STRIDE;
            __m512 most = _mm512_set1_ps(-__builtin_inff());
            for (long k = 0; k < here; k += SIDE)
                most = _mm512_mask_max_ps(most, first(here - k), most, _mm512_load_ps(scores + k));
            set_top(query + q, _mm512_reduce_max_ps(most) + bias);
            const __m512 top = _mm512_set1_ps(top_[query + q] - bias);
            for (long k = 0; k < here; k += SQUARE)
                put_weights(q, k, here, _mm512_sub_ps(_mm512_load_ps(scores + k), top),
                            _mm512_sub_ps(_mm512_load_ps(scores + k + SIDE), top));
        }
        keep_totals(query);
    }

    // Queries compared with keys, and scores turned to weights while others are compared, as long as none is much
    // greater than those that count as 0; if one is, nothing has happened.
    bool weigh_at_once(const Memory<F>& memory, long query, long key, long here, float bias) {
        clear_totals();
        alignas(64) float start[SQUARE][SIDE];
        for (long q = 0; q < SQUARE; q++) _mm512_store_ps(start[q], _mm512_set1_ps(bias - top_[query + q]));
        const auto weigh_rows = [&](long k, long from, long to) {
            const float* scores = scores_.get() + k % (2 * SQUARE) + from * SCORE_STRIDE;
            for (long q = from; q < to; q++, scores += SCORE_STRIDE)
                put_weights(q, k, here, _mm512_load_ps(scores), _mm512_load_ps(scores + SIDE));
        };
        const long rows = (SQUARE + memory.key_steps - 1) / memory.key_steps;
        for (long k = 0; k < here; k += SQUARE) {
            load<0>(start[0], 64);
            load<1>(start[0], 64);
            load<2>(start[SIDE], 64);
            load<3>(start[SIDE], 64);
            multiply_square<F>(queries_ + query * stride_, stride_, memory.keys(key + k), memory.keys(key + k + SIDE),
                               memory.key_steps, [&](long step) {
                                   if (k)
                                       weigh_rows(k - SQUARE, step * rows, std::min((long)SQUARE, (step + 1) * rows));
                               });
            store_square(scores_.get() + k % (2 * SQUARE), SCORE_STRIDE);
        }
        weigh_rows((here - 1) / SQUARE * SQUARE, 0, SQUARE);
        __mmask32 more = 0;
        for (long q = 0; q < SQUARE; q++)
            more |= _mm512_cmp_ph_mask(_mm512_load_ph(totals_[q]), _mm512_set1_ph((half)MUCH), _CMP_NLT_UQ);
        if (more) return false;
        keep_totals(query);
        return true;
    }

    // Of SQUARE keys from k on, those that exist
    void put_weights(long q, long k, long here, __m512 low, __m512 high) {
        __m512h made = exp2(halves(low, high));
        if (here - k < SQUARE)
            made = (__m512h)_mm512_maskz_mov_epi16((__mmask32)((1u << (here - k)) - 1), (__m512i)made);
        _mm512_store_ph(totals_[q], _mm512_add_ph(_mm512_load_ph(totals_[q]), made));
        _mm512_store_si512(weights_.get() + q * WEIGHT_STRIDE + k, F::from_half(made));
    }

    void clear_totals() {
        for (auto& total : totals_) _mm512_store_ph(total, _mm512_setzero_ph());
    }
    void keep_totals(long query) {
        for (long q = 0; q < SQUARE; q++) {
            const __m512h total = _mm512_load_ph(totals_[q]);
            total_[query + q] += _mm512_reduce_add_ps(_mm512_add_ps(lower(total), upper(total)));
        }
    }

    void set_top(long query, float most) {
        if (!fresh_ && most <= top_[query] + SLACK) return;
        if (!fresh_) {
            const float by = __builtin_exp2f(top_[query] - most);
            total_[query] *= by;
            for (long v = 0; v < value_stride_; v++) sums_.get()[query * value_stride_ + v] *= by;
        }
        top_[query] = most;
    }

    void sum(const Memory<F>& memory, long query, long key, long here) {
        for (long column = 0; column < memory.value_columns; column += 2) {
            float* sums = sums_.get() + query * value_stride_ + column * SIDE;
            load_square(sums, value_stride_);
            multiply_square<F>(weights_.get(), WEIGHT_STRIDE, memory.values(column, key),
                               memory.values(column + 1, key), up_to(here, ALONG) / ALONG);
            store_square(sums, value_stride_);
        }
    }

    static constexpr float MUCH = 1024;  // for the weights of a block in a lane
    static constexpr long SCORE_STRIDE = KEYS_AT_ONCE + SIDE, WEIGHT_STRIDE = KEYS_AT_ONCE + ALONG;
    Tiles tiles_;
    const long value_stride_;
    const uint16_t* queries_ = nullptr;
    Room<float> scores_;      // [SQUARE][SCORE_STRIDE]
    Room<uint16_t> weights_;  // [SQUARE][WEIGHT_STRIDE]
    Room<float> sums_;        // [query][value_stride_]
    float top_[QUERIES], total_[QUERIES];
    alignas(64) half totals_[SQUARE][SQUARE];  // of weights of a block of keys
    long stride_ = 0, number_ = 0;
    bool fresh_ = true;
};

// Queries that a thread answers at once: all keys are read again for the next
inline long queries_of(long number, int threads) {
    return std::min(QUERIES, up_to((number + threads - 1) / threads, SQUARE));
}
