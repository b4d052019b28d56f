#pragma once

#include <modelpool/async/awaitable.hpp>
#include <modelpool/async/detail/wait_list.hpp>
#include <modelpool/error.hpp>

#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace modelpool {
namespace detail {

/// State of a `queue`. A reader's tag is empty, a writer's holds its value.
template <class T>
class queue_core {
public:
    using waiter_type = waiter<queue_core, std::optional<T>, std::optional<T>>;

    explicit queue_core(std::size_t limit)
        : limit_{limit}
    {}

    bool try_push(T& value)
    {
        std::unique_lock lock{mutex_};
        if (closed_ || (values_.size() >= limit_)) return false;
        if (const std::shared_ptr<waiter_type> reader = readers_.claim_front()) {
            lock.unlock();
            reader->answer.send(nullptr, std::optional<T>{std::move(value)});
        } else {
            values_.push_back(std::move(value));
        }
        return true;
    }

    std::optional<T> try_pop()
    {
        std::unique_lock lock{mutex_};
        return pop(lock);
    }

    void enter(std::shared_ptr<waiter_type> one)
    {
        if (one->tag)
            push_or_wait(std::move(one));
        else
            pop_or_wait(std::move(one));
    }

    void leave(waiter_type& gone)
    {
        const std::lock_guard lock{mutex_};
        (gone.tag ? writers_ : readers_).erase(gone);
    }

    void close()
    {
        wait_list<waiter_type> readers;
        wait_list<waiter_type> writers;
        {
            const std::lock_guard lock{mutex_};
            closed_ = true;
            std::swap(readers, readers_);
            std::swap(writers, writers_);
        }
        while (const std::shared_ptr<waiter_type> one = readers.claim_front())
            one->answer.send(nullptr, std::nullopt);
        while (const std::shared_ptr<waiter_type> one = writers.claim_front())
            one->answer.send(refusal(), std::nullopt);
    }

    std::size_t size() const
    {
        const std::lock_guard lock{mutex_};
        return values_.size();
    }

private:
    static std::exception_ptr refusal() { return std::make_exception_ptr(error{errc::closed}); }

    void push_or_wait(std::shared_ptr<waiter_type> writer)
    {
        std::unique_lock lock{mutex_};
        if (closed_) {
            lock.unlock();
            writer->answer.answer(refusal(), std::nullopt);
        } else if (values_.size() >= limit_) {
            writers_.push(std::move(writer));
        } else if (writer->answer.claim()) {
            const std::shared_ptr<waiter_type> reader = readers_.claim_front();
            if (!reader) values_.push_back(std::move(*writer->tag));
            lock.unlock();
            if (reader) reader->answer.send(nullptr, std::move(writer->tag));
            writer->answer.send(nullptr, std::nullopt);
        }
    }

    void pop_or_wait(std::shared_ptr<waiter_type> reader)
    {
        std::unique_lock lock{mutex_};
        if (values_.empty() && !closed_) {
            readers_.push(std::move(reader));
            return;
        }
        if (!reader->answer.claim()) return;
        std::optional<T> value = pop(lock);
        if (lock.owns_lock()) lock.unlock();
        reader->answer.send(nullptr, std::move(value));
    }

    /// Takes the oldest value and lets the oldest writer in its place.
    std::optional<T> pop(std::unique_lock<std::mutex>& lock)
    {
        if (values_.empty()) return std::nullopt;
        std::optional<T> value{std::move(values_.front())};
        values_.pop_front();
        if (const std::shared_ptr<waiter_type> writer = writers_.claim_front()) {
            values_.push_back(std::move(*writer->tag));
            lock.unlock();
            writer->answer.send(nullptr, std::nullopt);
        }
        return value;
    }

    mutable std::mutex mutex_;
    const std::size_t limit_;
    std::deque<T> values_;
    wait_list<waiter_type> readers_;
    wait_list<waiter_type> writers_;
    bool closed_{false};
};

}  // namespace detail

/// A bounded first-in first-out queue between coroutines. Any number of writers and readers, on any
/// threads. `T` is movable. Destroying it closes it.
template <class T>
class queue {
public:
    /// At most `limit` values wait in the queue; at least 1.
    explicit queue(std::size_t limit)
        : core_{std::make_shared<detail::queue_core<T>>(limit == 0 ? 1 : limit)}
    {}
    queue(const queue&) = delete;
    queue& operator=(const queue&) = delete;
    queue(queue&&) = delete;
    queue& operator=(queue&&) = delete;
    ~queue() { core_->close(); }

    /// Appends `value` where there is room; otherwise false, and `value` is left as it was.
    bool try_push(T& value) { return core_->try_push(value); }

    /// Appends `value`, waiting for room.
    /// Runs: completes on the caller's executor. Errors: errc::closed.
    /// Cancellation: terminal, partial and total while it waits; the value is then not in the
    /// queue.
    awaitable<void> push(T value) { return push_value(core_, std::move(value)); }

    /// Takes the oldest value, waiting for one; empty once the queue is closed and drained.
    /// Runs: completes on the caller's executor. Errors: none of its own.
    /// Cancellation: terminal, partial and total while it waits; no value is lost.
    awaitable<std::optional<T>> pop()
    {
        using waiter_type = typename detail::queue_core<T>::waiter_type;
        auto operation = std::make_shared<waiter_type>(core_, std::nullopt);
        return detail::await_reply<std::optional<T>>(std::move(operation));
    }
    /// The oldest value; empty where there is none.
    std::optional<T> try_pop() { return core_->try_pop(); }

    /// Refuses further values. Writers that wait fail with errc::closed; readers get what is left,
    /// then the end. Idempotent.
    void close() { core_->close(); }
    std::size_t size() const { return core_->size(); }

private:
    static awaitable<void> push_value(std::shared_ptr<detail::queue_core<T>> core, T value)
    {
        using waiter_type = typename detail::queue_core<T>::waiter_type;
        auto operation =
            std::make_shared<waiter_type>(std::move(core), std::optional<T>{std::move(value)});
        auto answer = detail::await_reply<std::optional<T>>(std::move(operation));
        co_await std::move(answer);
    }

    std::shared_ptr<detail::queue_core<T>> core_;
};

}  // namespace modelpool
