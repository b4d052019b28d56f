#include "async_test.hpp"

namespace modelpool::testing {

void run_async_test(awaitable<void> (*body)())
{
    const leak_check nothing_left;
    std::exception_ptr failure;
    bool done = false;
    {
        boost::asio::io_context io;
        boost::asio::co_spawn(io, body(), [&](std::exception_ptr problem) {
            failure = std::move(problem);
            done = true;
        });
        io.run_for(patience);
        const bool out_of_work = io.stopped();
        if (failure) std::rethrow_exception(failure);
        REQUIRE(done);
        REQUIRE(out_of_work);
    }
    nothing_left.require();
}

awaitable<void> until(std::function<bool()> condition)
{
    boost::asio::steady_timer timer{co_await boost::asio::this_coro::executor};
    while (!condition()) {
        timer.expires_after(std::chrono::microseconds{200});
        co_await timer.async_wait(boost::asio::use_awaitable);
    }
}

}  // namespace modelpool::testing
