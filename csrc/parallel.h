/* Threads and scratch memory, as the drivers use them. */
#ifndef CNN_PARALLEL_H
#define CNN_PARALLEL_H

#include "common.h"

/* One task of a parallel loop. `thread` < the number that cnn_threads_for gave: it selects per-thread scratch. */
typedef void (*cnn_task)(const void *context, ptrdiff_t task, int thread);

/* Threads worth using for about `work` multiply-adds (or as many bytes moved). */
int cnn_threads_for(double work);

/* Tasks to aim for: enough that a thread which is late leaves little for the others to wait for. */
#define TASKS_PER_THREAD 4

/* Runs body for every task in [0, tasks), in no particular order, on up to `threads` threads. Which thread runs a task
 * is not fixed: a task's result must not depend on it. */
void cnn_parallel_for(int threads, ptrdiff_t tasks, cnn_task body, const void *context);

/* The calling thread's arena: at least `bytes`, aligned to a cache line, valid until the next call of this function
 * from the same thread. NULL if there is no memory. */
void *cnn_workspace(size_t bytes);

/* Carves arrays out of one workspace, each on a cache line of its own. First pass with base NULL adds up `used`. */
typedef struct {
    char *base;
    size_t used;
    int overflow; /* a size did not fit size_t: ask for nothing */
} cnn_carver;
void *cnn_carve(cnn_carver *c, ptrdiff_t count, size_t element);

#endif
