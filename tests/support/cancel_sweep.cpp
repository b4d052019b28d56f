#include "cancel_sweep.hpp"

namespace modelpool::testing {

bool cancel_after(
    std::size_t k, boost::asio::cancellation_type type, awaitable<void> (*scenario)(sweep_step))
{
    const leak_check nothing_left;
    bool emitted = false;
    bool done = false;
    std::exception_ptr failure;
    {
        const sweep_step step;
        boost::asio::io_context io;
        boost::asio::co_spawn(io, scenario(step), [&](std::exception_ptr problem) {
            failure = std::move(problem);
            done = true;
        });
        const auto deadline = std::chrono::steady_clock::now() + patience;
        std::size_t n_handlers = 0;
        while (io.run_one_until(deadline) != 0) {
            if (!emitted && step.running() && n_handlers++ == k) {
                step.cancel(type);
                emitted = true;
            }
        }
        if (failure) std::rethrow_exception(failure);
        REQUIRE(done);
        REQUIRE(io.stopped());
    }
    nothing_left.require();
    return emitted;
}

void sweep_cancellation(awaitable<void> (*scenario)(sweep_step))
{
    using boost::asio::cancellation_type;
    constexpr std::size_t n_at_most = 40;
    std::size_t n_cancelled = 0;
    for (const auto type :
         {cancellation_type::terminal, cancellation_type::partial, cancellation_type::total}) {
        for (std::size_t k = 0; k < n_at_most; ++k) {
            INFO("cancellation type " << static_cast<unsigned>(type) << " after handler " << k);
            if (!cancel_after(k, type, scenario)) break;
            ++n_cancelled;
        }
    }
    CHECK(n_cancelled > 0);
}

}  // namespace modelpool::testing
