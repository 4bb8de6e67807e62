/* Random numbers and dropout. Equations: kernels.h.
 *
 * Threefry-2x32 with 20 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) makes two words of a
 * counter and a key by adding, rotating and xor alone. Numbers follow from the place and the seed: they are the same on
 * every instruction set and in any order. Of counters 16 b ... 16 b + 15 the first words are numbers 32 b ... 32 b + 15,
 * the second ones the 16 after. */
typedef uint32_t FN(words) __attribute__((vector_size(SIMD_BYTES)));

static INLINE void FN(threefry)(FN(words) * a, FN(words) * b, uint32_t k0, uint32_t k1) {
    static const int turns[8] = {13, 15, 26, 6, 17, 29, 16, 24};
    const uint32_t keys[3] = {k0, k1, 0x1BD11BDA ^ k0 ^ k1};
    FN(words) x = *a + k0, y = *b + k1;
    UNROLL for (int r = 0; r < 20; r++) {
        x += y;
        y = (y << turns[r % 8] | y >> (32 - turns[r % 8])) ^ x;
        if (r % 4 == 3) {
            const int part = r / 4 + 1;
            x += keys[part % 3];
            y += keys[(part + 1) % 3] + (uint32_t)part;
        }
    }
    *a = x;
    *b = y;
}

/* LANES integers of 32 bits, to become a mask of lanes. */
typedef int32_t FN(flags) __attribute__((vector_size(4 * SIMD_BYTES / REAL_BYTES), aligned(4), may_alias));

void KERNEL(dropout)(REAL *y, const REAL *x, ptrdiff_t n, uint64_t first, uint64_t seed, uint32_t below, REAL scale) {
    static const uint32_t steps[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const vec factor = vec_set1(scale);
    int32_t kept[32]; /* all ones where the number is not below */
    for (ptrdiff_t i = 0; i < n; i += 32) {
        const uint64_t counter = (first + (uint64_t)i) / 2;
        for (int j = 0; j < 16; j += SIMD_BYTES / 4) {
            FN(words) a, b = (FN(words)){0} + (uint32_t)(counter >> 32);
            memcpy(&a, steps + j, sizeof a);
            a += (uint32_t)counter;
            FN(threefry)(&a, &b, (uint32_t)seed, (uint32_t)(seed >> 32));
            a = (FN(words))(a >= below);
            b = (FN(words))(b >= below);
            memcpy(kept + j, &a, sizeof a);
            memcpy(kept + 16 + j, &b, sizeof b);
        }
        for (ptrdiff_t j = i; j < cnn_min(i + 32, n); j += LANES) {
            const ivec keep = __builtin_convertvector(*(const FN(flags) *)(kept + (j - i)), ivec);
            FN(put)(y, j, n, (vec)((ivec)(factor * FN(at)(x, j, n)) & keep));
        }
    }
}
