#pragma once

#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/error.hpp>

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>

#include "async_test.hpp"

namespace modelpool::testing {

/// What a scenario under a cancel sweep runs its cancellable part through.
class sweep_step {
public:
    /// Runs `operation`, which the sweep cancels at some moment.
    /// Result: true where it succeeded, false where it failed with operation_aborted; other
    /// failures are thrown.
    template <class T>
    awaitable<bool> cancellable(awaitable<T> operation) const
    {
        return run(state_, std::move(operation));
    }

    bool running() const { return state_->emit != nullptr; }
    void cancel(boost::asio::cancellation_type type) const { state_->emit(type); }

private:
    struct state {
        std::function<void(boost::asio::cancellation_type)> emit;
    };

    template <class T>
    static awaitable<bool> run(std::shared_ptr<state> self, awaitable<T> operation)
    {
        const executor ex = co_await boost::asio::this_coro::executor;
        const started<T> one{ex, std::move(operation)};
        self->emit = [one](boost::asio::cancellation_type type) { one.cancel(type); };
        auto ending = one.end();
        const outcome seen = co_await std::move(ending);
        self->emit = nullptr;
        INFO("ended with: " << seen.text);
        REQUIRE((seen.ok() || seen.code == boost::asio::error::operation_aborted));
        co_return seen.ok();
    }

    std::shared_ptr<state> state_{std::make_shared<state>()};
};

/// Runs a scenario with a cancellation after the k-th handler of its cancellable part; false where
/// that part ended before.
bool cancel_after(
    std::size_t k, boost::asio::cancellation_type type, awaitable<void> (*scenario)(sweep_step));

/// Cancels an operation at every point it can be cancelled at: runs a scenario again and again,
/// cancelled after handler 0, 1, 2 … of its cancellable part, until that part ends earlier; with
/// each kind of cancellation. With worker threads the number of handlers varies from run to run, so
/// a sweep is bounded as well.
void sweep_cancellation(awaitable<void> (*scenario)(sweep_step));

}  // namespace modelpool::testing
