#pragma once

#include <modelpool/async/awaitable.hpp>

#include <boost/asio/post.hpp>

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace modelpool::detail {

/// Hands values to a callback on an executor. One call is under way at a time, also where several
/// threads run the executor, and they come in the order of the values; where the executor is behind,
/// only the newest value reaches it. Values come from any thread.
template <class T>
class latest : public std::enable_shared_from_this<latest<T>> {
public:
    latest(executor ex, std::function<void(const T&)> call)
        : executor_{std::move(ex)}
        , call_{std::move(call)}
    {}

    void offer(T value)
    {
        {
            const std::lock_guard lock{mutex_};
            if (closed_) return;
            value_ = std::move(value);
            if (passing_) return;
            passing_ = true;
        }
        post();
    }

    /// No call begins after this.
    void close()
    {
        const std::lock_guard lock{mutex_};
        closed_ = true;
        value_.reset();
    }

private:
    void post()
    {
        auto pass = [self = this->shared_from_this()] { self->pass(); };
        boost::asio::post(executor_, std::move(pass));
    }

    void pass()
    {
        std::optional<T> value;
        {
            const std::lock_guard lock{mutex_};
            value = std::exchange(value_, std::nullopt);
        }
        try {
            if (value) call_(*value);
        } catch (...) {
            go_on();  // what a callback throws is for whoever runs the executor
            throw;
        }
        go_on();
    }

    /// The next value, if one came meanwhile, gets a turn of its own.
    void go_on()
    {
        {
            const std::lock_guard lock{mutex_};
            passing_ = value_.has_value();
            if (!passing_) return;
        }
        post();
    }

    const executor executor_;
    const std::function<void(const T&)> call_;
    std::mutex mutex_;
    std::optional<T> value_;
    bool passing_{false};  // a call is posted, or under way
    bool closed_{false};
};

}  // namespace modelpool::detail
