#pragma once

#include <modelpool/async/awaitable.hpp>
#include <modelpool/async/detail/launch.hpp>
#include <modelpool/async/detail/wait_list.hpp>

#include <cstddef>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace modelpool {
namespace detail {

template <class Key, class T>
class flights;

/// One run of shared work and those who wait for it.
template <class Key, class T>
struct flight {
    using maker = std::function<awaitable<T>()>;
    /// What a waiter brings along: its key, and how to make the work if it is the first.
    struct request {
        Key key;
        maker make;
        executor run_on;
    };
    using waiter_type = waiter<flights<Key, T>, std::optional<T>, request>;

    wait_list<waiter_type> waiting;
    std::shared_ptr<launched> work;
    bool finished{false};
};

template <class Key, class T>
class flights : public std::enable_shared_from_this<flights<Key, T>> {
public:
    using flight_type = flight<Key, T>;
    using waiter_type = typename flight_type::waiter_type;

    void enter(std::shared_ptr<waiter_type> one)
    {
        const typename flight_type::request request = one->tag;
        std::shared_ptr<flight_type> fresh;
        {
            const std::lock_guard lock{mutex_};
            std::shared_ptr<flight_type>& place = in_flight_[request.key];
            if (!place) {
                place = std::make_shared<flight_type>();
                fresh = place;
            }
            place->waiting.push(std::move(one));
        }
        if (fresh) begin(request, fresh);
    }

    void leave(waiter_type& gone)
    {
        std::shared_ptr<launched> unwanted;
        {
            const std::lock_guard lock{mutex_};
            const auto place = in_flight_.find(gone.tag.key);
            if (place == in_flight_.end()) return;
            place->second->waiting.erase(gone);
            if (!place->second->waiting.empty()) return;
            // Newcomers begin afresh rather than join work that is being stopped.
            unwanted = place->second->work;
            in_flight_.erase(place);
        }
        if (unwanted) launched::cancel(unwanted);
    }

    std::size_t size() const
    {
        const std::lock_guard lock{mutex_};
        return in_flight_.size();
    }

private:
    void begin(const typename flight_type::request& request, std::shared_ptr<flight_type> fresh)
    {
        auto on_done = [self = this->shared_from_this(), key = request.key, fresh](
                           std::exception_ptr failure, std::optional<T> value) {
            self->finish(key, fresh, failure, value);
        };
        std::shared_ptr<launched> work = launched::start<std::optional<T>>(
            request.run_on, make(request.make), std::move(on_done));
        bool deserted = false;
        {
            const std::lock_guard lock{mutex_};
            fresh->work = work;
            const auto place = in_flight_.find(request.key);
            deserted = (place == in_flight_.end() || place->second != fresh) && !fresh->finished;
        }
        if (deserted) launched::cancel(work);
    }

    static awaitable<std::optional<T>> make(typename flight_type::maker maker)
    {
        co_return std::optional<T>{co_await maker()};
    }

    void finish(
        const Key& key,
        const std::shared_ptr<flight_type>& done,
        const std::exception_ptr& failure,
        const std::optional<T>& value)
    {
        wait_list<waiter_type> waiting;
        {
            const std::lock_guard lock{mutex_};
            const auto place = in_flight_.find(key);
            if (place != in_flight_.end() && place->second == done) in_flight_.erase(place);
            done->finished = true;
            std::swap(waiting, done->waiting);
        }
        while (const std::shared_ptr<waiter_type> one = waiting.claim_front())
            one->answer.send(failure, value);
    }

    mutable std::mutex mutex_;
    std::map<Key, std::shared_ptr<flight_type>> in_flight_;
};

}  // namespace detail

/// Lets many callers share one run of the same work. The first caller of a key starts it; the
/// others join; all get its result, or its exception. The work is cancelled when its last caller
/// has left. Nothing is remembered once it has ended: the next caller starts it again. Thread-safe.
/// `T` is copyable.
template <class Key, class T>
class single_flight {
public:
    single_flight()
        : core_{std::make_shared<detail::flights<Key, T>>()}
    {}
    single_flight(const single_flight&) = delete;
    single_flight& operator=(const single_flight&) = delete;
    single_flight(single_flight&&) = delete;
    single_flight& operator=(single_flight&&) = delete;
    ~single_flight() = default;

    /// Result: what `make()` gives; `make` is called by the first caller only, and must own what it
    /// uses.
    /// Runs: the work on a strand of its own over the first caller's executor; completes on the
    /// caller's.
    /// Errors: what the work throws, to every caller.
    /// Cancellation: terminal, partial and total at any time; the caller leaves at once.
    awaitable<T> run(Key key, std::function<awaitable<T>()> make)
    {
        return join(core_, std::move(key), std::move(make));
    }

    /// Keys whose work is under way.
    std::size_t size() const { return core_->size(); }

private:
    using core = detail::flights<Key, T>;

    static awaitable<T>
    join(std::shared_ptr<core> state, Key key, std::function<awaitable<T>()> make)
    {
        typename core::flight_type::request request;
        request.key = std::move(key);
        request.make = std::move(make);
        request.run_on = co_await boost::asio::this_coro::executor;
        auto operation =
            std::make_shared<typename core::waiter_type>(std::move(state), std::move(request));
        auto answer = detail::await_reply<std::optional<T>>(std::move(operation));
        std::optional<T> value = co_await std::move(answer);
        co_return std::move(*value);
    }

    std::shared_ptr<core> core_;
};

}  // namespace modelpool
