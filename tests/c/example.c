#include <inttypes.h>
#include <llmrl.h>
#include <stdio.h>

int main(void)
{
    llmrl_limit limits[3] = {
        {.kind = LLMRL_TOKEN_BUCKET, .meter = LLMRL_REQUESTS, .amount = 500},
        {.kind = LLMRL_TOKEN_BUCKET, .meter = LLMRL_TOKENS, .amount = 200000},
        {.kind = LLMRL_IN_FLIGHT, .amount = 50},
    };
    llmrl_limiter *limiter;
    char message[128];
    if (llmrl_limiter_new(limits, 3, NULL, 0, &limiter, message, sizeof message) < 0) {
        fprintf(stderr, "limits: %s\n", message);
        return 1;
    }

    // Asks with an estimate, and blocks until it is this request's turn.
    llmrl_cost estimate = {.requests = 1, .input_tokens = 1200, .output_tokens = 400};
    llmrl_permit permit;
    llmrl_status status = llmrl_acquire(limiter, &estimate, LLMRL_FOREVER, &permit);
    if (status < 0) {
        fprintf(stderr, "acquire: %s\n", llmrl_strerror(status));
        return 1;
    }

    // ... send the request, read the usage from its answer ...

    llmrl_cost used = {.requests = 1, .input_tokens = 1180, .output_tokens = 212};
    llmrl_settle(limiter, permit, &used);

    llmrl_stats stats;
    llmrl_limiter_stats(limiter, &stats, sizeof stats);
    printf("%" PRIu64 " admitted\n", stats.granted);
    llmrl_limiter_free(limiter);
    return 0;
}
