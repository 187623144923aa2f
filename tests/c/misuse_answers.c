/* Mistakes with what providers say and charge: every one that can be told has its answer, and changes nothing. */
#include "check.h"

static void answers(void)
{
    llmrl_header headers[2];
    llmrl_answer answer;
    llmrl_reading reading, before;
    unsigned char longer[sizeof(llmrl_answer) + 8], odd[sizeof(llmrl_reading) + 2], odd_headers[sizeof headers + 1];
    uint32_t answer_class;

    memset(headers, 0, sizeof headers);
    memset(&answer, 0, sizeof answer);
    memset(&reading, 0x55, sizeof reading);
    memcpy(&before, &reading, sizeof before);
    headers[0].name = "Retry-After", headers[0].name_size = 11;
    headers[0].value = "5 and more", headers[0].value_size = 1;
    answer.status = 429;
    answer.headers = headers;
    answer.header_count = 2;

    EQUAL(llmrl_answer_read(NULL, sizeof answer, &reading, sizeof reading), LLMRL_ERR_NULL);
    EQUAL(llmrl_answer_read(&answer, sizeof answer, NULL, sizeof reading), LLMRL_ERR_NULL);
    EQUAL(llmrl_answer_read(&answer, 0, &reading, sizeof reading), LLMRL_ERR_SIZE);
    EQUAL(llmrl_answer_read(&answer, 5000, &reading, sizeof reading), LLMRL_ERR_SIZE);
    EQUAL(llmrl_answer_read(&answer, sizeof answer, &reading, 0), LLMRL_ERR_SIZE);
    EQUAL(llmrl_answer_read(&answer, sizeof answer, &reading, 5000), LLMRL_ERR_SIZE);
    answer.status = 99, EQUAL(llmrl_answer_read(&answer, sizeof answer, &reading, sizeof reading), LLMRL_ERR_RANGE);
    answer.status = 1000, EQUAL(llmrl_answer_read(&answer, sizeof answer, &reading, sizeof reading), LLMRL_ERR_RANGE);
    answer.status = 65536 + 429, EQUAL(llmrl_answer_read(&answer, sizeof answer, &reading, sizeof reading), LLMRL_ERR_RANGE);
    answer.status = 429;
    answer.reserved0 = 1, EQUAL(llmrl_answer_read(&answer, sizeof answer, &reading, sizeof reading), LLMRL_ERR_FLAGS);
    answer.reserved0 = 0;
    answer.headers = NULL, EQUAL(llmrl_answer_read(&answer, sizeof answer, &reading, sizeof reading), LLMRL_ERR_NULL);
    answer.headers = headers;
    answer.body_size = 1, EQUAL(llmrl_answer_read(&answer, sizeof answer, &reading, sizeof reading), LLMRL_ERR_NULL);
    answer.body_size = 0;
    headers[1].name_size = 1, EQUAL(llmrl_answer_read(&answer, sizeof answer, &reading, sizeof reading), LLMRL_ERR_NULL);
    headers[1].name_size = 0;
    headers[1].value_size = 1, EQUAL(llmrl_answer_read(&answer, sizeof answer, &reading, sizeof reading), LLMRL_ERR_NULL);
    headers[1].value_size = 0;
    EQUAL(memcmp(&reading, &before, sizeof reading), 0);

    /* Sizes of other versions. */
    memset(longer, 0, sizeof longer);
    memcpy(longer, &answer, sizeof answer);
    OK(llmrl_answer_read((const llmrl_answer *)(const void *)longer, sizeof longer, &reading, sizeof reading));
    EQUAL(reading.wait_ns, 5 * SECOND);
    longer[sizeof longer - 1] = 1;
    EQUAL(llmrl_answer_read((const llmrl_answer *)(const void *)longer, sizeof longer, &reading, sizeof reading),
          LLMRL_ERR_SIZE);
    memset(odd, 0xee, sizeof odd);
    OK(llmrl_answer_read(&answer, sizeof answer, (llmrl_reading *)(void *)(odd + 1), 4));
    memcpy(&answer_class, odd + 1, 4);
    EQUAL(answer_class, LLMRL_CLASS_RATE);
    EQUAL(odd[0], 0xee);
    EQUAL(odd[5], 0xee);
    /* A status alone is an answer, and nobody minds odd addresses. */
    OK(llmrl_answer_read(&answer, 4, &reading, sizeof reading));
    EQUAL(reading.wait_ns, LLMRL_UNKNOWN);
    memcpy(odd_headers + 1, headers, sizeof headers);
    answer.headers = (const llmrl_header *)(const void *)(odd_headers + 1);
    OK(llmrl_answer_read(&answer, sizeof answer, (llmrl_reading *)(void *)(odd + 1), sizeof reading));
    memcpy(&reading, odd + 1, sizeof reading);
    EQUAL(reading.wait_ns, 5 * SECOND);
    EQUAL(odd[sizeof odd - 1], 0xee);
}

static void feedback(void)
{
    llmrl_limiter *l = plain();
    llmrl_cost cost = cost_of(0, 0);
    llmrl_header header = {"retry-after", 11, "30", 2};
    llmrl_answer answer;
    llmrl_advice advice, before;
    llmrl_permit permit, ended;
    unsigned char odd[sizeof(llmrl_advice) + 2];

    memset(&answer, 0, sizeof answer);
    answer.status = 429;
    answer.headers = &header;
    answer.header_count = 1;
    memset(&advice, 0xee, sizeof advice);
    before = advice;
    OK(llmrl_try_acquire(l, &cost, &ended, NULL));
    OK(llmrl_release(l, ended));
    OK(llmrl_try_acquire(l, &cost, &permit, NULL));
    EQUAL(llmrl_feedback(NULL, permit, &answer, sizeof answer, &advice, sizeof advice), LLMRL_ERR_NULL);
    EQUAL(llmrl_feedback(l, permit, NULL, sizeof answer, &advice, sizeof advice), LLMRL_ERR_NULL);
    EQUAL(llmrl_feedback(l, permit, &answer, 0, &advice, sizeof advice), LLMRL_ERR_SIZE);
    EQUAL(llmrl_feedback(l, permit, &answer, sizeof answer, &advice, 0), LLMRL_ERR_SIZE);
    EQUAL(llmrl_feedback(l, ended, &answer, sizeof answer, &advice, sizeof advice), LLMRL_ERR_STALE);
    EQUAL(llmrl_feedback(l, BOGUS, &answer, sizeof answer, &advice, sizeof advice), LLMRL_ERR_STALE);
    answer.status = 99;
    EQUAL(llmrl_feedback(l, permit, &answer, sizeof answer, &advice, sizeof advice), LLMRL_ERR_RANGE);
    answer.status = 429;
    EQUAL(memcmp(&advice, &before, sizeof advice), 0);
    /* What was not taken was not learned from. */
    EQUAL(state_of(l, 0).mode, LLMRL_NORMAL);
    OK(llmrl_try_acquire(l, &cost, &ended, NULL));
    OK(llmrl_release(l, ended));

    /* Nobody needs the advice, and nobody minds odd addresses. */
    OK(llmrl_feedback(l, permit, &answer, sizeof answer, NULL, 0));
    OK(llmrl_feedback(l, permit, &answer, sizeof answer, (llmrl_advice *)(void *)(odd + 1), sizeof advice));
    memcpy(&advice, odd + 1, sizeof advice);
    EQUAL(advice.answer_class, LLMRL_CLASS_RATE);
    EQUAL(advice.flags, LLMRL_ADVICE_RETRY);
    EQUAL(advice.wait_ns, 0);
    OK(llmrl_release(l, permit));
    EQUAL(llmrl_try_acquire(l, &cost, &permit, NULL), LLMRL_REFUSED);
    llmrl_limiter_free(l);
}

static void charging(void)
{
    llmrl_charging rule, wrong;
    llmrl_request request = {1000, 400, 2000, 300};
    llmrl_cost used = cost_of(1100, 250), cost;

    EQUAL(llmrl_charging_of(NULL, &rule, sizeof rule), LLMRL_ERR_NULL);
    EQUAL(llmrl_charging_of("openai", NULL, sizeof rule), LLMRL_ERR_NULL);
    EQUAL(llmrl_charging_of("openai", &rule, 0), LLMRL_ERR_SIZE);
    EQUAL(llmrl_charging_of("\xff", &rule, sizeof rule), LLMRL_ERR_RANGE);
    OK(llmrl_charging_of("bedrock", &rule, sizeof rule));
    EQUAL(llmrl_charging_reserve(NULL, sizeof rule, &request, sizeof request, &cost), LLMRL_ERR_NULL);
    EQUAL(llmrl_charging_reserve(&rule, sizeof rule, NULL, sizeof request, &cost), LLMRL_ERR_NULL);
    EQUAL(llmrl_charging_reserve(&rule, sizeof rule, &request, sizeof request, NULL), LLMRL_ERR_NULL);
    EQUAL(llmrl_charging_reserve(&rule, 5000, &request, sizeof request, &cost), LLMRL_ERR_SIZE);
    EQUAL(llmrl_charging_reserve(&rule, sizeof rule, &request, 0, &cost), LLMRL_ERR_SIZE);
    wrong = rule, wrong.flags = 4;
    EQUAL(llmrl_charging_reserve(&wrong, sizeof wrong, &request, sizeof request, &cost), LLMRL_ERR_FLAGS);
    wrong = rule, wrong.output = 3;
    EQUAL(llmrl_charging_reserve(&wrong, sizeof wrong, &request, sizeof request, &cost), LLMRL_ERR_RANGE);
    wrong = rule, wrong.settlement = 3;
    EQUAL(llmrl_charging_reserve(&wrong, sizeof wrong, &request, sizeof request, &cost), LLMRL_ERR_RANGE);
    wrong = rule, wrong.burndown = 0;
    EQUAL(llmrl_charging_reserve(&wrong, sizeof wrong, &request, sizeof request, &cost), LLMRL_ERR_RANGE);
    EQUAL(llmrl_charging_settle(&rule, sizeof rule, &request, sizeof request, NULL, &cost), LLMRL_ERR_NULL);

    OK(llmrl_charging_reserve(&rule, sizeof rule, &request, sizeof request, &cost));
    EQUAL(cost.input_tokens, 600);
    EQUAL(cost.output_tokens, 2000);
    used.cached_tokens = 500;
    OK(llmrl_charging_settle(&rule, sizeof rule, &request, sizeof request, &used, &cost));
    EQUAL(cost.requests, 1);
    EQUAL(cost.input_tokens, 600);
    EQUAL(cost.output_tokens, 1250);
    request.prompt = request.max_tokens = LLMRL_UNKNOWN;
    OK(llmrl_charging_reserve(&rule, sizeof rule, &request, sizeof request, &cost));
    EQUAL(cost.input_tokens + cost.output_tokens, (UINT64_C(1) << 40) - 1);
}

static void lengths(void)
{
    llmrl_lengths *l = NULL;
    llmrl_limiter *limiter = plain();
    uint64_t out = BOGUS;

    EQUAL(llmrl_lengths_new(0, &l), LLMRL_ERR_RANGE);
    EQUAL(llmrl_lengths_new((1 << 20) + 1, &l), LLMRL_ERR_RANGE);
    EQUAL(llmrl_lengths_new(UINT64_MAX, &l), LLMRL_ERR_RANGE);
    EQUAL(llmrl_lengths_new(1, NULL), LLMRL_ERR_NULL);
    CHECK(l == NULL);
    OK(llmrl_lengths_new(1, &l));
    EQUAL(llmrl_lengths_record(NULL, "k", 1, "m", 1, 1), LLMRL_ERR_NULL);
    EQUAL(llmrl_lengths_record(l, NULL, 1, "m", 1, 1), LLMRL_ERR_NULL);
    EQUAL(llmrl_lengths_record(l, "k", 1, NULL, SIZE_MAX, 1), LLMRL_ERR_NULL);
    EQUAL(llmrl_lengths_record((const llmrl_lengths *)(const void *)limiter, "k", 1, "m", 1, 1), LLMRL_ERR_HANDLE);
    EQUAL(llmrl_lengths_estimate(NULL, "k", 1, "m", 1, 900, 10, &out), LLMRL_ERR_NULL);
    EQUAL(llmrl_lengths_estimate(l, NULL, 1, "m", 1, 900, 10, &out), LLMRL_ERR_NULL);
    EQUAL(llmrl_lengths_estimate(l, "k", 1, NULL, 1, 900, 10, &out), LLMRL_ERR_NULL);
    EQUAL(llmrl_lengths_estimate(l, "k", 1, "m", 1, 900, 10, NULL), LLMRL_ERR_NULL);
    EQUAL(llmrl_lengths_estimate(l, "k", 1, "m", 1, 0, 10, &out), LLMRL_ERR_RANGE);
    EQUAL(llmrl_lengths_estimate(l, "k", 1, "m", 1, 1001, 10, &out), LLMRL_ERR_RANGE);
    EQUAL(llmrl_lengths_estimate(l, "k", 1, "m", 1, UINT32_MAX, 10, &out), LLMRL_ERR_RANGE);
    EQUAL(llmrl_lengths_estimate((const llmrl_lengths *)(const void *)limiter, "k", 1, "m", 1, 900, 10, &out), LLMRL_ERR_HANDLE);
    EQUAL(out, BOGUS);
    llmrl_lengths_free((llmrl_lengths *)(void *)limiter);
    EQUAL(state_of(limiter, 0).available, 100);

    /* No names are names. */
    OK(llmrl_lengths_record(l, NULL, 0, NULL, 0, 1));
    OK(llmrl_lengths_estimate(l, NULL, 0, NULL, 0, 1000, 10, &out));
    EQUAL(out, 10);
    llmrl_lengths_free(l);
    llmrl_limiter_free(limiter);
}

int main(void)
{
    answers();
    feedback();
    charging();
    lengths();
    return 0;
}
