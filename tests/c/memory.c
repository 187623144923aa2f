/* Without memory an object is not made, and the program lives. And a limiter takes no more than it uses. Linux. */
#define _DEFAULT_SOURCE
#include "check.h"
#include <sys/resource.h>
#include <unistd.h>

/* Pages of address space, and of memory that is resident and not mapped from a file, as the library's code is. */
static void pages(unsigned long *space, unsigned long *resident)
{
    unsigned long shared;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL);
    CHECK(fscanf(file, "%lu %lu %lu", space, resident, &shared) == 3);
    *resident -= shared;
    fclose(file);
}

static void reserved_is_not_resident(void)
{
    const unsigned long page = (unsigned long)sysconf(_SC_PAGESIZE);
    unsigned long space, before, after;
    llmrl_options options = no_options();
    llmrl_limit limit = bucket(LLMRL_REQUESTS, 1000);
    llmrl_cost cost = cost_of(0, 0);
    llmrl_permit permits[1000];
    llmrl_limiter *l;
    int i;

    options.max_waiters = 64;
    options.max_permits = 1048576;
    pages(&space, &before);
    l = limiter_of(&limit, 1, &options);
    for (i = 0; i < 1000; i++)
        OK(llmrl_try_acquire(l, &cost, &permits[i], NULL));
    for (i = 0; i < 1000; i++)
        OK(llmrl_cancel(l, permits[i]));
    for (i = 0; i < 100000; i++) {
        OK(llmrl_try_acquire(l, &cost, &permits[0], NULL));
        OK(llmrl_cancel(l, permits[0]));
    }
    pages(&space, &after);
    /* A thousand entries of at most 128 bytes, and some slack; the table has a million. */
    CHECK((after - before) * page < 1000000);
    llmrl_limiter_free(l);
}

static void no_memory(void)
{
    unsigned long space, resident;
    llmrl_options options = no_options();
    llmrl_limit limit = bucket(LLMRL_REQUESTS, 1000);
    llmrl_limiter *l = NULL;
    struct rlimit most;

    pages(&space, &resident);
    most.rlim_cur = most.rlim_max = (rlim_t)space * (rlim_t)sysconf(_SC_PAGESIZE) + (16 << 20);
    EQUAL(setrlimit(RLIMIT_AS, &most), 0);
    options.max_waiters = 64;
    options.max_permits = 1048576;
    EQUAL(llmrl_limiter_new(&limit, 1, &options, sizeof options, &l, NULL, 0), LLMRL_ERR_MEMORY);
    CHECK(l == NULL);
    options.max_permits = 64;
    OK(llmrl_limiter_new(&limit, 1, &options, sizeof options, &l, NULL, 0));
    llmrl_limiter_free(l);
}

int main(void)
{
    reserved_is_not_resident();
    no_memory();
    return 0;
}
