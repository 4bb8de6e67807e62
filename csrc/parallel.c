/* The only file that knows of OpenMP, and the only one that allocates. */
#include "parallel.h"

#include <pthread.h>

#include "cnn.h"
#ifdef _OPENMP
#include <omp.h>
#endif

#define CACHE_LINE 64

/* Below this much work a second thread costs more than it saves: waking one takes some microseconds. */
#define WORK_PER_THREAD 100000.0

static int thread_limit = 1;
static int forked = 0;

static void after_fork_in_child(void) { forked = 1; }

static void once_per_process(void) { pthread_atfork(NULL, NULL, after_fork_in_child); }

void cnn_set_threads(int threads) { thread_limit = threads < 1 ? 1 : threads; }

/* OpenMP's threads do not survive a fork, and asking for them in the child hangs. */
int cnn_get_threads(void) {
#ifdef _OPENMP
    return forked ? 1 : thread_limit;
#else
    return 1;
#endif
}

int cnn_openmp(void) {
#ifdef _OPENMP
    return _OPENMP;
#else
    return 0;
#endif
}

int cnn_threads_for(double work) {
    const int most = cnn_get_threads();
    const double worth = work / WORK_PER_THREAD;
    return worth >= most ? most : worth < 1 ? 1 : (int)worth;
}

/* Tasks are dealt in ranges, one for each thread: neighbouring tasks write neighbouring memory, which two cores would take
 * from each other. Who is done with his own range helps with the others. */
#ifdef _OPENMP
#define MOST_RANGES 64

typedef struct {
    ptrdiff_t next, end;
    char apart[CACHE_LINE - 2 * sizeof(ptrdiff_t)];
} task_range;

static void run_ranges(task_range *ranges, int count, int thread, cnn_task body, const void *context) {
    for (int i = 0; i < count; i++) {
        task_range *range = &ranges[(thread + i) % count];
        for (ptrdiff_t task; (task = __atomic_fetch_add(&range->next, 1, __ATOMIC_RELAXED)) < range->end;)
            body(context, task, thread);
    }
}
#endif

void cnn_parallel_for(int threads, ptrdiff_t tasks, cnn_task body, const void *context) {
#ifdef _OPENMP
    if (threads > tasks) threads = (int)tasks;
    if (threads > 1) {
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        pthread_once(&once, once_per_process);
        task_range ranges[MOST_RANGES];
        const int count = threads < MOST_RANGES ? threads : MOST_RANGES;
        for (int i = 0; i < count; i++) {
            ranges[i].next = i ? ranges[i - 1].end : 0;
            ranges[i].end = ranges[i].next + tasks / count + (i < tasks % count);
        }
#pragma omp parallel num_threads(threads)
        run_ranges(ranges, count, omp_get_thread_num(), body, context);
        return;
    }
#else
    (void)threads;
    (void)once_per_process;
#endif
    for (ptrdiff_t task = 0; task < tasks; task++) body(context, task, 0);
}

/* ---- arena ------------------------------------------------------------------------------------------------- */

typedef struct {
    void *memory;
    size_t bytes;
} arena;

static pthread_key_t arena_key;
static pthread_once_t arena_once = PTHREAD_ONCE_INIT;

static void arena_free(void *p) {
    free(((arena *)p)->memory);
    free(p);
}

static void arena_init(void) { pthread_key_create(&arena_key, arena_free); }

void *cnn_workspace(size_t bytes) {
    pthread_once(&arena_once, arena_init);
    arena *a = pthread_getspecific(arena_key);
    if (!a) {
        a = calloc(1, sizeof *a);
        if (!a) return NULL;
        if (pthread_setspecific(arena_key, a)) {
            free(a);
            return NULL;
        }
    }
    if (a->bytes < bytes) {
        void *memory = NULL;
        free(a->memory);
        a->memory = NULL;
        a->bytes = 0;
        if (posix_memalign(&memory, CACHE_LINE, bytes)) return NULL;
        a->memory = memory;
        a->bytes = bytes;
    }
    return a->memory;
}

void cnn_release_workspace(void) {
    pthread_once(&arena_once, arena_init);
    arena *a = pthread_getspecific(arena_key);
    if (a) {
        pthread_setspecific(arena_key, NULL);
        arena_free(a);
    }
}

void *cnn_carve(cnn_carver *c, ptrdiff_t count, size_t element) {
    size_t bytes;
    if (count < 0 || __builtin_mul_overflow((size_t)count, element, &bytes) || bytes > (size_t)PTRDIFF_MAX / 2) {
        c->overflow = 1;
        return NULL;
    }
    void *p = c->base ? c->base + c->used : NULL;
    bytes = (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    if (__builtin_add_overflow(c->used, bytes, &c->used) || c->used > (size_t)PTRDIFF_MAX / 2) c->overflow = 1;
    return p;
}

#define CNN_TEXT_(x) #x
#define CNN_TEXT(x) CNN_TEXT_(x)

const char *cnn_compiler(void) {
#if defined(__clang__)
    return "clang " CNN_TEXT(__clang_major__) "." CNN_TEXT(__clang_minor__) "." CNN_TEXT(__clang_patchlevel__);
#else
    return "gcc " CNN_TEXT(__GNUC__) "." CNN_TEXT(__GNUC_MINOR__) "." CNN_TEXT(__GNUC_PATCHLEVEL__);
#endif
}
