// A limiter under coroutines: an event loop of one thread that polls tickets when they are due, and when they are called.
// To be copied and changed; in a program that has a loop, its timers and its way of posting take the place of this one.
#ifndef LOOP_HPP
#define LOOP_HPP

#include <llmrl.hpp>

#include <condition_variable>
#include <coroutine>
#include <exception>
#include <map>
#include <mutex>
#include <unordered_map>

namespace example {

using llmrl::nanoseconds;

// A coroutine that runs by itself, from where it is called to its end.
struct task {
    struct promise_type {
        task get_return_object() noexcept { return {}; }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_void() noexcept {}
        void unhandled_exception() noexcept { std::terminate(); }
    };
};

class loop {
public:
    // With a manual clock the loop never sleeps: it moves the clock to the next time that somebody waits for.
    explicit loop(const llmrl::manual_clock *clock = nullptr) : clock_(clock) {}

    // For the options of every limiter that the loop's coroutines ask. Called from any thread.
    llmrl::wake wake() noexcept { return llmrl::wake::to(*this); }
    void operator()(llmrl_permit ticket)
    {
        const std::lock_guard<std::mutex> held(lock_);
        called_.push_back(ticket);
        bell_.notify_one();
    }

    // auto permit = co_await loop.acquire(limiter, {1200, 400}, 30s); a result, as of limiter::acquire().
    class acquisition {
    public:
        acquisition(loop &in, llmrl::ticket ticket) noexcept : in_(in), ticket_(std::move(ticket)) {}
        acquisition(const acquisition &) = delete;
        ~acquisition() = default;
        bool await_ready() const noexcept { return ticket_.code() != llmrl::status::pending; }
        void await_suspend(std::coroutine_handle<> caller)
        {
            caller_ = caller;
            in_.wait(*this);
        }
        llmrl::result<llmrl::permit> await_resume() noexcept { return ticket_.take(); }

    private:
        friend class loop;
        loop &in_;
        llmrl::ticket ticket_;
        std::coroutine_handle<> caller_;
    };
    acquisition acquire(const llmrl::limiter &from, const llmrl::cost &cost, nanoseconds timeout = llmrl::forever)
    {
        return {*this, from.enqueue(cost, timeout)};
    }

    // Until no coroutine waits any more.
    void run()
    {
        while (!waiting_.empty()) {
            std::unique_lock<std::mutex> held(lock_);
            if (called_.empty()) sleep(held);
            const std::vector<llmrl_permit> called = std::exchange(called_, {});
            held.unlock();
            for (const llmrl_permit ticket : called) look(ticket);
            while (!due_.empty() && due_.begin()->first <= now()) look(due_.begin()->second);
        }
    }

private:
    using timers = std::multimap<nanoseconds, llmrl_permit>;
    struct waiter {
        acquisition *who;
        timers::iterator due;
    };

    nanoseconds now() const
    {
        return clock_ != nullptr ? clock_->now() : nanoseconds(std::chrono::steady_clock::now().time_since_epoch());
    }

    void wait(acquisition &who)
    {
        const nanoseconds wait = who.ticket_.wait(), start = now();
        const nanoseconds at = wait < llmrl::forever - start ? start + wait : llmrl::forever;
        const llmrl_permit ticket = who.ticket_.number();
        waiting_.insert({ticket, {&who, due_.insert({at, ticket})}});
    }

    // Tickets of different limiters may have the same number: then each of them is polled, which does no harm.
    void look(llmrl_permit ticket)
    {
        std::vector<acquisition *> all;
        for (auto [it, end] = waiting_.equal_range(ticket); it != end; ++it) {
            all.push_back(it->second.who);
            due_.erase(it->second.due);
        }
        waiting_.erase(ticket);
        for (acquisition *who : all) {
            if (who->ticket_.poll() == llmrl::status::pending)
                wait(*who);
            else
                who->caller_.resume();
        }
    }

    void sleep(std::unique_lock<std::mutex> &held)
    {
        const nanoseconds until = due_.begin()->first, start = now();
        if (until == llmrl::forever) {
            bell_.wait(held, [&] { return !called_.empty(); });
        } else if (clock_ != nullptr) {
            // Not under the lock: moving the clock calls back.
            held.unlock();
            if (until > start) clock_->advance(until - start);
            held.lock();
        } else if (until > start) {
            bell_.wait_for(held, until - start, [&] { return !called_.empty(); });
        }
    }

    const llmrl::manual_clock *clock_;
    std::unordered_multimap<llmrl_permit, waiter> waiting_;
    timers due_;
    std::mutex lock_;
    std::condition_variable bell_;
    std::vector<llmrl_permit> called_;
};

} // namespace example

#endif
