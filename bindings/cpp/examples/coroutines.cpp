// Twenty requests of one thread, fifty a second: c++ -std=c++20 coroutines.cpp $(pkg-config --cflags --libs llmrl)
#include "loop.hpp"

#include <cstdio>

using namespace std::chrono_literals;

namespace {

example::task request(example::loop &loop, const llmrl::limiter &limiter, int &answered)
{
    auto permit = co_await loop.acquire(limiter, {1200, 400}, 30s);
    if (!permit) {
        std::fprintf(stderr, "%s\n", permit.message());
        co_return;
    }
    // ... send the request, co_await its answer ...
    permit->settle({1180, 212});
    answered++;
}

} // namespace

int main()
{
    example::loop loop;
    llmrl::limiter_options options;
    options.wake = loop.wake();
    auto limiter = llmrl::limiter::make({llmrl::limit::requests(50).per(1s).burst(1), llmrl::limit::in_flight(10)}, options);
    if (!limiter) {
        std::fprintf(stderr, "%s\n", limiter.message());
        return 1;
    }
    int answered = 0;
    for (int i = 0; i < 20; i++) request(loop, *limiter, answered);
    loop.run();
    std::printf("%d answered\n", answered);
}
