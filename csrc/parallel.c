/* The pool of threads and the scratch arenas: the only file that starts threads or allocates. */
#define _GNU_SOURCE /* CPU_COUNT, pthread_setname_np */
#include "parallel.h"

#include <fenv.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "cnn.h"

#define CACHE_LINE 64

/* The least work that is worth a thread, so that there are two from twice as much. On Zen 4, two against one at 262,144,
 * which take one 20 to 50 us: 1.2 (convolution), 1.5 (linear) and 1.9 (ReLU) times as fast while the worker is awake; 0.8
 * to 0.9 if it sleeps, for waking it takes the caller 8 us; that is made up for at 500,000. With a fourth of this, loops
 * alone gain, but a training step of LeNet-5 loses: data goes to and fro between the cores. */
#define WORK_PER_THREAD 100000.0

/* How long a thread looks out for what it waits for before it sleeps. Inside a pass one parallel loop follows another
 * within 5 to 30 us, and to wake a sleeper takes as long again. Against this, sleeping at once takes 1.35 times as long
 * for LeNet-5 and one image, 20 us 1.06, 50 us 1.02; 200 us bring nothing more. */
#define SPIN_NANOSECONDS 100000

/* Tasks keep their arrays in the caller's arena. */
#define STACK_BYTES (1 << 20)

/* ---- pool ---------------------------------------------------------------------------------------------------
 * One for the process, and for one loop at a time: who finds it busy, another thread of the user's or a task, runs his
 * tasks himself. Member 0 is the caller; the others are started when they are first needed and never end.
 *
 * A worker is IDLE until the caller makes it CALLED, RUNNING when it has heard the call, and IDLE again when it finds no
 * task any more. A caller who is done before a call was heard takes it back, so that he waits only for workers that hold
 * a task: one that sleeps, or that the machine keeps waiting, costs nothing. Whoever has waited too long sleeps on
 * `changed`: the worker as ASLEEP instead of IDLE, the caller while the worker is AWAITED instead of RUNNING. */
enum { IDLE, ASLEEP, CALLED, RUNNING, AWAITED };

/* A member's tasks: a range, because neighbouring tasks write neighbouring memory, which two cores would take from each
 * other. Who is done with his own range helps with the others. */
typedef struct {
    ptrdiff_t next __attribute__((aligned(CACHE_LINE)));
    ptrdiff_t end;
    int state __attribute__((aligned(CACHE_LINE)));
    pthread_mutex_t lock;
    pthread_cond_t changed;
} member;

static struct {
    int busy;
    /* Changed only by who made it busy. */
    int workers, cores;
    /* The loop. */
    int threads;
    cnn_task body;
    const void *context;
    fenv_t arithmetic; /* the caller's rounding and what else a thread may have set: the bits depend on it */
    int spins; /* whether each of its threads has a core, so that waiting takes none away */
    member members[CNN_MOST_THREADS];
} pool;

static int thread_limit = 1;
static int startable = CNN_MOST_THREADS; /* fewer once the system has refused one */

void cnn_set_threads(int threads) {
    __atomic_store_n(&thread_limit, threads < 1 ? 1 : threads < CNN_MOST_THREADS ? threads : CNN_MOST_THREADS, __ATOMIC_RELAXED);
    __atomic_store_n(&startable, CNN_MOST_THREADS, __ATOMIC_RELAXED);
}

int cnn_get_threads(void) { return __atomic_load_n(&thread_limit, __ATOMIC_RELAXED); }

int cnn_threads_for(double work) {
    const int most = cnn_get_threads();
    const double worth = work / WORK_PER_THREAD;
    return worth >= most ? most : worth < 1 ? 1 : (int)worth;
}

/* The parent's workers do not exist here, whatever they were doing: start anew when some are needed. */
static void after_fork_in_child(void) {
    pool.busy = 0;
    pool.workers = 0;
    cnn_set_threads(thread_limit);
}

/* A pool that a child could not be kept out of is never used. */
__attribute__((constructor)) static void at_load(void) { pool.busy = pthread_atfork(NULL, NULL, after_fork_in_child) != 0; }

static int usable_cores(void) {
#ifdef __linux__
    cpu_set_t mask;
    if (!sched_getaffinity(0, sizeof mask, &mask)) return CPU_COUNT(&mask);
#endif
    return (int)sysconf(_SC_NPROCESSORS_ONLN);
}

static INLINE void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

static int64_t nanoseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int state_of(const member *m) { return __atomic_load_n(&m->state, __ATOMIC_ACQUIRE); }

static int move(member *m, int from, int to) {
    return __atomic_compare_exchange_n(&m->state, &from, to, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/* Returns when the state is another; it is `asleep` instead while the thread sleeps. */
static void wait_while(member *m, int state, int asleep) {
    if (__atomic_load_n(&pool.spins, __ATOMIC_RELAXED))
        for (const int64_t end = nanoseconds() + SPIN_NANOSECONDS; nanoseconds() < end;)
            for (int i = 0; i < 16; i++) {
                if (state_of(m) != state) return;
                pause_briefly();
            }
    pthread_mutex_lock(&m->lock);
    if (move(m, state, asleep))
        while (state_of(m) == asleep) pthread_cond_wait(&m->changed, &m->lock);
    pthread_mutex_unlock(&m->lock);
}

/* Sets the state and wakes who sleeps for it. */
static void announce(member *m, int state) {
    const int before = __atomic_exchange_n(&m->state, state, __ATOMIC_ACQ_REL);
    if (before == ASLEEP || before == AWAITED) {
        pthread_mutex_lock(&m->lock);
        pthread_cond_signal(&m->changed);
        pthread_mutex_unlock(&m->lock);
    }
}

static void run_tasks(int thread) {
    for (int i = 0; i < pool.threads; i++) {
        member *m = &pool.members[(thread + i) % pool.threads];
        for (ptrdiff_t task; (task = __atomic_fetch_add(&m->next, 1, __ATOMIC_RELAXED)) < m->end;)
            pool.body(pool.context, task, thread);
    }
}

static void *work(void *argument) {
    member *m = argument;
    const int thread = (int)(m - pool.members);
    for (;;) {
        wait_while(m, IDLE, ASLEEP);
        if (!move(m, CALLED, RUNNING)) continue; /* taken back */
        fesetenv(&pool.arithmetic);
        run_tasks(thread);
        announce(m, IDLE);
    }
    return NULL;
}

/* Returns 0 if the system refuses. Signals that are sent to the process are left to the user's threads. */
static int start_worker(member *m) {
    pthread_attr_t attributes;
    pthread_t id;
    sigset_t blocked, before;
    if (pthread_attr_init(&attributes)) return 0;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    m->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    m->changed = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    m->state = IDLE;
    sigfillset(&blocked);
    for (int i = 0; i < 4; i++) sigdelset(&blocked, (const int[]){SIGSEGV, SIGBUS, SIGFPE, SIGILL}[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    const int refused = pthread_create(&id, &attributes, work, m);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
#ifdef __linux__
    char name[16];
    snprintf(name, sizeof name, "cnnlib/%d", (int)(m - pool.members));
    if (!refused) pthread_setname_np(id, name);
#endif
    return !refused;
}

/* Sees to it that there are workers for `threads` threads; returns how many threads there are, if fewer. */
static int gather(int threads) {
    const int most = (int)cnn_min(threads, __atomic_load_n(&startable, __ATOMIC_RELAXED));
    if (pool.workers + 1 < most) pool.cores = usable_cores();
    while (pool.workers + 1 < most && start_worker(&pool.members[pool.workers + 1])) pool.workers++;
    if (pool.workers + 1 < most) __atomic_store_n(&startable, pool.workers + 1, __ATOMIC_RELAXED);
    return (int)cnn_min(threads, pool.workers + 1);
}

void cnn_parallel_for(int threads, ptrdiff_t tasks, cnn_task body, const void *context) {
    threads = (int)cnn_min(cnn_min(threads, tasks), CNN_MOST_THREADS);
    if (threads < 2 || __atomic_exchange_n(&pool.busy, 1, __ATOMIC_ACQUIRE)) {
        for (ptrdiff_t task = 0; task < tasks; task++) body(context, task, 0);
        return;
    }
    member *const members = pool.members;
    threads = gather(threads);
    pool.threads = threads;
    pool.body = body;
    pool.context = context;
    fegetenv(&pool.arithmetic);
    __atomic_store_n(&pool.spins, threads <= pool.cores, __ATOMIC_RELAXED);
    ptrdiff_t begin = 0;
    for (int i = 0; i < threads; i++) {
        members[i].next = begin;
        members[i].end = begin += tasks / threads + (i < tasks % threads);
    }
    for (int i = 1; i < threads; i++) announce(&members[i], CALLED);
    run_tasks(0);
    for (int i = 1; i < threads; i++)
        if (!move(&members[i], CALLED, IDLE)) wait_while(&members[i], RUNNING, AWAITED);
    __atomic_store_n(&pool.busy, 0, __ATOMIC_RELEASE);
}

/* ---- arena ------------------------------------------------------------------------------------------------- */

/* AddressSanitizer knows the arena as one block: a build for it is told what may be touched, and leaves a gap behind
 * each carved array. What is new then reads as NaN, so that nothing comes to depend on what was there before. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define GAP CACHE_LINE
static void forbid(const void *p, size_t bytes) { ASAN_POISON_MEMORY_REGION(p, bytes); }
static void allow(void *p, size_t bytes) {
    ASAN_UNPOISON_MEMORY_REGION(p, bytes);
    memset(p, 0xff, bytes);
}
#else
#define GAP 0
static void forbid(const void *p, size_t bytes) { (void)p, (void)bytes; }
static void allow(void *p, size_t bytes) { (void)p, (void)bytes; }
#endif

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
    allow(a->memory, bytes);
    forbid((char *)a->memory + bytes, a->bytes - bytes);
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
    char *p = c->base ? c->base + c->used : NULL;
    const size_t room = (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE + GAP;
    if (__builtin_add_overflow(c->used, room, &c->used) || c->used > (size_t)PTRDIFF_MAX / 2) c->overflow = 1;
    if (p) forbid(p + bytes, room - bytes);
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
