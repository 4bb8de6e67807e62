/* Which instruction sets are compiled in, which the CPU has, which is in use. */
#include "dispatch.h"

#include "cnn.h"

/* Best first. The build defines CNN_WITH_<ISA> for each isa/<isa>.c that it compiles; baseline always is. */
#ifdef CNN_WITH_AVX512
#define ISA_AVX512(X) X(avx512)
#else
#define ISA_AVX512(X)
#endif
#ifdef CNN_WITH_AVX2
#define ISA_AVX2(X) X(avx2)
#else
#define ISA_AVX2(X)
#endif
#ifdef CNN_WITH_NEON
#define ISA_NEON(X) X(neon)
#else
#define ISA_NEON(X)
#endif
#define ISAS(X) ISA_AVX512(X) ISA_AVX2(X) ISA_NEON(X) X(baseline)

#if defined(__x86_64__) || defined(__i386__)
__attribute__((unused)) static int has_avx512(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}
__attribute__((unused)) static int has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#else
#define has_avx512() 0
#define has_avx2() 0
#endif
#define has_neon() 1 /* part of every arm64 */
#define has_baseline() 1

#define DECLARE(isa)                                 \
    extern const cnn_table_f32 cnn_table_f32__##isa; \
    extern const cnn_table_f64 cnn_table_f64__##isa;
ISAS(DECLARE)

enum {
#define COUNT(isa) COUNT_##isa,
    ISAS(COUNT) ISA_COUNT
};

typedef struct {
    const char *name;
    const cnn_table_f32 *f32;
    const cnn_table_f64 *f64;
} isa_entry;

static const char *built[ISA_COUNT + 1], *supported[ISA_COUNT + 1];
static isa_entry usable[ISA_COUNT];
static const isa_entry *active;

static const isa_entry *in_use(void) { return __atomic_load_n(&active, __ATOMIC_RELAXED); }

/* Runs when the library is loaded, before any thread of ours; afterwards only `active` changes. */
__attribute__((constructor)) static void detect(void) {
    int n_built = 0, n_usable = 0;
#if defined(__x86_64__) || defined(__i386__)
    __builtin_cpu_init();
#endif
#define ENTER(isa)                                                                             \
    built[n_built++] = #isa;                                                                   \
    if (has_##isa()) {                                                                         \
        supported[n_usable] = #isa;                                                            \
        usable[n_usable++] = (isa_entry){#isa, &cnn_table_f32__##isa, &cnn_table_f64__##isa};  \
    }
    ISAS(ENTER)
    active = &usable[0];
}

const char *const *cnn_isa_built(void) { return built; }
const char *const *cnn_isa_supported(void) { return supported; }
const char *cnn_isa_active(void) { return in_use()->name; }
int cnn_lanes(void) { return in_use()->f32->lanes; }

int cnn_set_isa(const char *name) {
    for (int i = 0; supported[i]; i++)
        if (!strcmp(supported[i], name)) {
            __atomic_store_n(&active, &usable[i], __ATOMIC_RELAXED);
            return 0;
        }
    return -1;
}

static const char *const algorithms[] = {"accurate", "direct", "fast"};
static const char *algorithm = "accurate";

const char *cnn_get_algorithm(void) { return __atomic_load_n(&algorithm, __ATOMIC_RELAXED); }

int cnn_set_algorithm(const char *name) {
    for (int i = 0; i < 3; i++)
        if (!strcmp(algorithms[i], name)) {
            __atomic_store_n(&algorithm, algorithms[i], __ATOMIC_RELAXED);
            return 0;
        }
    return -1;
}

const cnn_table_f32 *cnn_kernels_f32(void) { return in_use()->f32; }
const cnn_table_f64 *cnn_kernels_f64(void) { return in_use()->f64; }
