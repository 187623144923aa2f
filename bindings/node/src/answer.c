// What providers say, what they charge, and how much they put out.
#include "addon.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_HEADERS = 512 };

// An answer as the library wants it, in one piece of memory that `text` owns.
typedef struct Answer {
    llmrl_answer answer;
    llmrl_header headers[MAX_HEADERS];
    char *text;
    Bytes body;
} Answer;

// headers: names and values by turns, which are in Latin-1; body: Uint8Array or string. status at AT_RESULT, milliseconds since 1970 at AT_TIMEOUT.
static bool answer_of(Env *e, napi_value *args, Answer *out) {
    uint32_t count = 0;
    size_t size = 0, used = 0, length;
    napi_value value;
    if (napi_get_array_length(e->env, args[0], &count) != napi_ok) return false;
    if (count > 2 * MAX_HEADERS) count = 2 * MAX_HEADERS;
    for (uint32_t i = 0; i < count; i++) {
        if (napi_get_element(e->env, args[0], i, &value) != napi_ok) return false;
        if (napi_get_value_string_latin1(e->env, value, NULL, 0, &length) != napi_ok) return false;
        size += length + 1;
    }
    if (!bytes_of(e->env, args[1], &out->body)) return false;
    out->text = malloc(size + 1);
    if (!out->text) {
        bytes_free(&out->body);
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        napi_get_element(e->env, args[0], i, &value);
        napi_get_value_string_latin1(e->env, value, out->text + used, size + 1 - used, &length);
        llmrl_header *header = &out->headers[i / 2];
        if (i % 2) *header = (llmrl_header){header->name, header->name_size, out->text + used, length};
        else *header = (llmrl_header){out->text + used, length, NULL, 0};
        used += length + 1;
    }
    out->answer = (llmrl_answer){
        .status = (uint32_t)whole(e->n[AT_RESULT]),
        .headers = out->headers,
        .header_count = count / 2,
        .body = out->body.data,
        .body_size = out->body.size,
        .wall_now_ns = (uint64_t)e->n[AT_TIMEOUT] * 1000000, // nanoseconds since 1970 are more than a double holds
    };
    return true;
}

static void answer_free(Answer *answer) {
    free(answer->text);
    bytes_free(&answer->body);
}

static double known(uint64_t number) {
    return number == LLMRL_UNKNOWN ? -1 : (double)number;
}

// readAnswer(headers, body)
static napi_value read_answer(napi_env env, napi_callback_info info) {
    napi_value args[2];
    Env *e = begin(env, info, 2, args);
    Answer given;
    if (!answer_of(e, args, &given)) return answer(e, LLMRL_ERR_NULL, NULL);
    llmrl_reading reading = {0};
    e->n[AT_STATUS] = llmrl_answer_read(&given.answer, sizeof given.answer, &reading, sizeof reading);
    answer_free(&given);
    double *n = e->n + AT_RESULT;
    *n++ = reading.answer_class;
    *n++ = reading.meter;
    *n++ = reading.flags;
    *n++ = reading.tripped == LLMRL_NO_QUOTA ? -1.0 : (double)reading.tripped;
    *n++ = known(reading.wait_ns);
    *n++ = known(reading.requested);
    e->n[AT_COUNT] = reading.quota_count;
    for (uint32_t i = 0; i < reading.quota_count && i < LLMRL_MAX_QUOTAS; i++) {
        const llmrl_quota *quota = &reading.quotas[i];
        *n++ = quota->meter;
        *n++ = quota->pool;
        *n++ = quota->flags;
        *n++ = known(quota->limit);
        *n++ = known(quota->remaining);
        *n++ = known(quota->reset_ns);
        *n++ = known(quota->utilization);
        *n++ = known(quota->window_ns);
        *n++ = known(quota->period_ns);
        *n++ = known(quota->solved_low_ns);
        *n++ = known(quota->solved_high_ns);
    }
    return NULL;
}

// feedback(headers, body): of a permit.
static napi_value feedback(napi_env env, napi_callback_info info) {
    napi_value args[2];
    Env *e = begin(env, info, 2, args);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << LIMITER | 1u << CHAIN | 1u << FAIR);
    uint64_t permit;
    memcpy(&permit, &e->n[AT_TICKET], sizeof permit);
    Answer given;
    if (!slot || !answer_of(e, args, &given)) return answer(e, LLMRL_ERR_HANDLE, NULL);
    llmrl_advice advice = {0};
    const size_t in = sizeof given.answer, out = sizeof advice;
    llmrl_status status = slot->kind == LIMITER ? llmrl_feedback(slot->object, permit, &given.answer, in, &advice, out)
                          : slot->kind == CHAIN ? llmrl_chain_feedback(slot->object, permit, &given.answer, in, &advice, out)
                                                : llmrl_fair_feedback(slot->object, permit, &given.answer, in, &advice, out);
    answer_free(&given);
    e->n[AT_STATUS] = status;
    e->n[AT_RESULT] = advice.answer_class;
    e->n[AT_RESULT + 1] = advice.flags;
    e->n[AT_WAIT] = told(advice.wait_ns);
    return NULL;
}

// chargingOf(provider)
static napi_value charging_of(napi_env env, napi_callback_info info) {
    napi_value args[1];
    Env *e = begin(env, info, 1, args);
    char name[64];
    size_t size;
    llmrl_charging rule = {0};
    if (napi_get_value_string_utf8(env, args[0], name, sizeof name, &size) != napi_ok) return answer(e, LLMRL_ERR_RANGE, NULL);
    e->n[AT_STATUS] = llmrl_charging_of(name, &rule, sizeof rule);
    const uint32_t numbers[] = {rule.flags, rule.output, rule.settlement, rule.burndown};
    for (size_t i = 0; i < 4; i++) e->n[AT_RESULT + i] = numbers[i];
    return NULL;
}

// The rule at AT_RESULT, the request behind it (-1: not known), and how it was used, in the place of a cost. The answer, too.
static napi_value charging(napi_env env, napi_callback_info info, bool settle) {
    Env *e = begin(env, info, 0, NULL);
    const double *n = e->n + AT_RESULT;
    llmrl_charging rule = {(uint32_t)whole(n[0]), (uint32_t)whole(n[1]), (uint32_t)whole(n[2]), (uint32_t)whole(n[3])};
    // whole() makes LLMRL_UNKNOWN of -1.
    llmrl_request request = {whole(n[4]), whole(n[5]), whole(n[6]), whole(n[7])};
    double *cost = e->n + AT_REQUESTS;
    llmrl_cost used = {whole(cost[0]), whole(cost[1]), whole(cost[2]), whole(cost[3]), whole(cost[4]), {0}}, out = {0};
    e->n[AT_STATUS] = settle ? llmrl_charging_settle(&rule, sizeof rule, &request, sizeof request, &used, &out)
                             : llmrl_charging_reserve(&rule, sizeof rule, &request, sizeof request, &out);
    cost[1] = (double)out.input_tokens;
    cost[2] = (double)out.output_tokens;
    return NULL;
}

static napi_value charging_reserve(napi_env env, napi_callback_info info) { return charging(env, info, false); }
static napi_value charging_settle(napi_env env, napi_callback_info info) { return charging(env, info, true); }

static napi_value new_lengths(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    llmrl_lengths *lengths;
    llmrl_status status = llmrl_lengths_new(whole(e->n[AT_RESULT]), &lengths);
    return status ? answer(e, status, NULL) : adopt(e, LENGTHS, lengths, shared_new_id(), false, false);
}

// lengthsRecord(key, model), lengthsEstimate(key, model): tokens and share at AT_RESULT, -1 for max_tokens that are not known.
static napi_value lengths(napi_env env, napi_callback_info info, bool record) {
    napi_value args[2];
    Env *e = begin(env, info, 2, args);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << LENGTHS);
    Bytes key, model;
    if (!slot || !bytes_of(env, args[0], &key)) return answer(e, LLMRL_ERR_HANDLE, NULL);
    if (!bytes_of(env, args[1], &model)) {
        bytes_free(&key);
        return answer(e, LLMRL_ERR_HANDLE, NULL);
    }
    uint64_t tokens = whole(e->n[AT_RESULT]), out = 0;
    if (record) {
        e->n[AT_STATUS] = llmrl_lengths_record(slot->object, key.data, key.size, model.data, model.size, tokens);
    } else {
        uint32_t permille = (uint32_t)whole(e->n[AT_RESULT + 1]);
        e->n[AT_STATUS] =
            llmrl_lengths_estimate(slot->object, key.data, key.size, model.data, model.size, permille, tokens, &out);
        e->n[AT_RESULT] = known(out);
    }
    bytes_free(&key);
    bytes_free(&model);
    return NULL;
}

static napi_value lengths_record(napi_env env, napi_callback_info info) { return lengths(env, info, true); }
static napi_value lengths_estimate(napi_env env, napi_callback_info info) { return lengths(env, info, false); }

const Function answer_functions[] = {
    {"readAnswer", read_answer}, {"feedback", feedback}, {"chargingOf", charging_of}, {"chargingReserve", charging_reserve},
    {"chargingSettle", charging_settle}, {"newLengths", new_lengths}, {"lengthsRecord", lengths_record},
    {"lengthsEstimate", lengths_estimate}, {NULL, NULL},
};
