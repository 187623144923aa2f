// The same twice: by the classes, and by the functions of C. run.sh compares what the compiler makes of them.
#include <llmrl.hpp>

#define PAIR extern "C" __attribute__((noinline))

PAIR bool class_take(const llmrl::token_bucket &bucket, std::uint64_t n) noexcept
{
    return bool(bucket.try_take(n));
}
PAIR bool c_take(llmrl_bucket *const &bucket, std::uint64_t n) noexcept
{
    std::uint64_t wait_ns = 0;
    return llmrl_bucket_try_take(bucket, n, &wait_ns) == LLMRL_OK;
}

PAIR std::uint64_t class_spend(const llmrl::limiter &limiter, const llmrl::cost &cost) noexcept
{
    const auto answer = limiter.try_spend(cost);
    return answer ? 0 : static_cast<std::uint64_t>(answer.wait().count());
}
PAIR std::uint64_t c_spend(llmrl_limiter *const &limiter, const llmrl_cost &cost) noexcept
{
    std::uint64_t wait_ns = 0;
    if (llmrl_try_acquire(limiter, &cost, nullptr, &wait_ns) == LLMRL_OK) return 0;
    return wait_ns < INT64_MAX ? wait_ns : INT64_MAX;
}

PAIR bool class_acquire(const llmrl::limiter &limiter, const llmrl::cost &cost) noexcept
{
    auto permit = limiter.try_acquire(cost);
    if (!permit) return false;
    return permit->settle(cost) == llmrl::status::ok;
}
PAIR bool c_acquire(llmrl_limiter *const &limiter, const llmrl_cost &cost) noexcept
{
    llmrl_permit permit = 0;
    std::uint64_t wait_ns = 0;
    bool settled = false;
    if (llmrl_try_acquire(limiter, &cost, &permit, &wait_ns) == LLMRL_OK && permit != 0) {
        const llmrl_status status = llmrl_settle(limiter, permit, &cost);
        settled = status == LLMRL_OK;
        if (settled || status == LLMRL_ERR_STALE) permit = 0;
    }
    if (permit != 0) llmrl_release(limiter, permit);
    return settled;
}

PAIR bool class_hold(const llmrl::limiter &limiter, const llmrl::cost &cost) noexcept
{
    return bool(limiter.try_acquire(cost));
}
PAIR bool c_hold(llmrl_limiter *const &limiter, const llmrl_cost &cost) noexcept
{
    llmrl_permit permit = 0;
    std::uint64_t wait_ns = 0;
    const llmrl_status status = llmrl_try_acquire(limiter, &cost, &permit, &wait_ns);
    if (permit != 0) llmrl_release(limiter, permit);
    return status == LLMRL_OK;
}
