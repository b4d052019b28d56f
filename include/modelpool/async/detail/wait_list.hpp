#pragma once

#include <modelpool/async/detail/reply.hpp>

#include <cstddef>
#include <exception>
#include <functional>
#include <list>
#include <memory>
#include <utility>

namespace modelpool::detail {

/// One coroutine that waits for its turn in an object that has a lock. `Host` has
/// - `void enter(std::shared_ptr<waiter>)`: takes the turn at once or queues the waiter, under its
///   lock,
/// - `void leave(waiter&)`: forgets a queued waiter, under its lock.
/// `tag` is the host's own: what the waiter waits for.
template <class Host, class T, class Tag>
class waiter {
public:
    waiter(std::shared_ptr<Host> host, Tag wanted)
        : tag{std::move(wanted)}
        , host_{std::move(host)}
    {}

    void start(std::shared_ptr<waiter> self)
    {
        const std::shared_ptr<Host> host =
            host_;  // the waiter may be answered and gone inside enter
        host->enter(std::move(self));
    }

    void cancel(cancellation_type)
    {
        if (!answer.claim()) return;
        host_->leave(*this);
        answer.send(aborted(), T{});
    }

    reply<T> answer;
    Tag tag;

private:
    std::shared_ptr<Host> host_;
};

/// Waiters in the order they came. Guarded by its owner's lock.
template <class Waiter>
class wait_list {
public:
    void push(std::shared_ptr<Waiter> one) { waiters_.push_back(std::move(one)); }
    bool empty() const noexcept { return waiters_.empty(); }
    std::size_t size() const noexcept { return waiters_.size(); }
    Waiter& front() noexcept { return *waiters_.front(); }

    /// Takes the oldest waiter out; it may have been answered by somebody else meanwhile.
    /// Precondition: not empty.
    std::shared_ptr<Waiter> pop()
    {
        std::shared_ptr<Waiter> one = std::move(waiters_.front());
        waiters_.pop_front();
        return one;
    }

    /// Takes the oldest waiter that nobody has answered yet, claimed for the caller to answer; null
    /// if none.
    std::shared_ptr<Waiter> claim_front()
    {
        while (!waiters_.empty()) {
            std::shared_ptr<Waiter> one = pop();
            if (one->answer.claim()) return one;
        }
        return nullptr;
    }

    void erase(const Waiter& gone)
    {
        for (auto place = waiters_.begin(); place != waiters_.end(); ++place) {
            if (place->get() == &gone) {
                waiters_.erase(place);
                return;
            }
        }
    }

private:
    std::list<std::shared_ptr<Waiter>> waiters_;
};

}  // namespace modelpool::detail
