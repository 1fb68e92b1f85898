// Softmax over blocks of keys, for 64 queries, one in each lane.
//
// As FlashAttention (arXiv 2205.14135) does: weights count from the greatest score of the first block, and sums are
// scaled where a later one has a score that is clearly greater.
#pragma once

#include "half.h"

constexpr long KEYS = 128;  // of a block: their weights are summed up in float16

// Puts the value of a block's key where `Weighing::add` reads it: [width / ROWS][number][ROWS], 0 beyond its width.
inline void put(const float* value, long width, long key, long number, pair* block) {
    for (long v = 0; v < width; v += ROWS) {
        const __m512 numbers = _mm512_maskz_loadu_ps(first(std::min((long)ROWS, width - v)), value + v);
        _mm256_storeu_si256((__m256i*)(block + v * number + key * ROWS), _mm512_castsi512_si256(twice(numbers)));
    }
}

class Weighing {
 public:
    // width: of values, a multiple of ROWS
    explicit Weighing(long width)
        : width_(width), sums_(room<float>(width * LANES)), scores_(room<half>(KEYS * LANES)) {}

    void start() {
        std::fill_n(sums_.get(), width_ * LANES, 0.0f);
        std::fill_n(total_, LANES, 0.0f);
        first_ = true;
    }

    half* score(long key) { return scores_.get() + key * LANES; }  // where that of a block's key is expected

    // Turns the scores of `number` keys, in powers of two, into weights and adds their values, see `put`.
    void add(long number, const pair* values) {
        weigh(number);
        for (long v = 0; v < width_; v += ROWS) {
            __m512h made[ROWS][2];
            clear(made);
            multiply(values + v * number, 1, ROWS, Panel{scores_.get()}, number, made);
            for (int i = 0; i < ROWS; i++) add_to(sums_.get() + (v + i) * LANES, made[i]);
        }
    }

    // The weighted means of the first `queries` lanes: out[query * across + v], v < width
    void result(float* out, long across, long queries, long width) const {
        for (long q = 0; q < queries; q++) {
            const __m512 share = _mm512_set1_ps(1 / total_[q]);
            for (long v = 0; v < width; v += 16) {
                const __m512 numbers = gather(sums_.get() + v * LANES + q, LANES, width - v);
                _mm512_mask_storeu_ps(out + q * across + v, first(width - v), _mm512_mul_ps(numbers, share));
            }
        }
    }

 private:
    void weigh(long number) {
        for (int i = 0; i < 2; i++) {
            half* column = scores_.get() + 32 * i;
            __m512h top = _mm512_load_ph(top_ + 32 * i), most = greatest(column, number);
            if (first_) {
                top = most;
            } else if (_mm512_cmp_ph_mask(most, _mm512_add_ph(top, _mm512_set1_ph((half)SLACK)), _CMP_GT_OQ)) {
                most = _mm512_max_ph(top, most);
                scale(i, exp2(_mm512_sub_ph(top, most)));
                top = most;
            }
            _mm512_store_ph(top_ + 32 * i, top);
            __m512h total = _mm512_setzero_ph();
            for (long k = 0; k < number; k++) {
                __m512h weight = exp2(_mm512_sub_ph(_mm512_load_ph(column + k * LANES), top));
                _mm512_store_ph(column + k * LANES, weight);
                total = _mm512_add_ph(total, weight);
            }
            _mm512_store_ps(total_ + 32 * i, _mm512_add_ps(_mm512_load_ps(total_ + 32 * i), lower(total)));
            _mm512_store_ps(total_ + 32 * i + 16, _mm512_add_ps(_mm512_load_ps(total_ + 32 * i + 16), upper(total)));
        }
        first_ = false;
    }

    static __m512h greatest(const half* column, long number) {
        __m512h most[4];
        for (long k = 0; k < 4; k++) most[k] = _mm512_load_ph(column + std::min(k, number - 1) * LANES);
        for (long k = 4; k < number; k++) most[k % 4] = _mm512_max_ph(most[k % 4], _mm512_load_ph(column + k * LANES));
        return _mm512_max_ph(_mm512_max_ph(most[0], most[1]), _mm512_max_ph(most[2], most[3]));
    }

    void scale(int i, __m512h by) {
        for (long v = -1; v < width_; v++) {
            float* row = (v < 0 ? total_ : sums_.get() + v * LANES) + 32 * i;
            _mm512_store_ps(row, _mm512_mul_ps(_mm512_load_ps(row), lower(by)));
            _mm512_store_ps(row + 16, _mm512_mul_ps(_mm512_load_ps(row + 16), upper(by)));
        }
    }

    long width_;
    Room<float> sums_;   // [width][LANES]
    Room<half> scores_;  // [KEYS][LANES]
    alignas(64) half top_[LANES];
    alignas(64) float total_[LANES];
    bool first_ = true;
};
