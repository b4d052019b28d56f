#pragma once

#include <modelpool/async/awaitable.hpp>
#include <modelpool/async/detail/reply.hpp>
#include <modelpool/error.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace modelpool::detail {

/// Tells the worker that writes a stream that its reader made room or wants no more.
class stream_bell {
public:
    stream_bell() = default;
    stream_bell(const stream_bell&) = delete;
    stream_bell& operator=(const stream_bell&) = delete;
    stream_bell(stream_bell&&) = delete;
    stream_bell& operator=(stream_bell&&) = delete;

    /// Any thread, under no lock.
    virtual void ring() noexcept = 0;

protected:
    ~stream_bell() = default;
};

/// What lies between a worker's thread, which writes events, and the one coroutine that reads them:
/// a bounded buffer. The writer never waits: it is told that the buffer is full, and later, by the
/// bell, that it has room again.
///
/// The reader gets all events in order, then the last one, then the failure or the end, as often as
/// it asks.
template <class Event>
class stream_state {
public:
    /// `limit`: the weight of events from which on the buffer is full.
    explicit stream_state(std::size_t limit)
        : limit_{limit}
    {}
    stream_state(const stream_state&) = delete;
    stream_state& operator=(const stream_state&) = delete;
    stream_state(stream_state&&) = delete;
    stream_state& operator=(stream_state&&) = delete;
    ~stream_state() = default;

    // --- the worker's side, one thread at a time

    /// Called before there is a reader.
    void connect(std::shared_ptr<stream_bell> bell) { bell_ = std::move(bell); }

    /// Appends an event: to the one before it, where the reader is behind and `Event::absorb` takes
    /// it.
    /// Result: whether there is room for more; where not, the bell says when.
    bool push(Event one, std::size_t weight)
    {
        std::unique_lock lock{mutex_};
        if (const std::shared_ptr<wait> reader = claim_reader()) {
            lock.unlock();
            reader->answer.send(nullptr, std::optional<Event>{std::move(one)});
            return true;
        }
        if (!entries_.empty() && entries_.back().what.absorb(one))
            entries_.back().weight += weight;
        else
            entries_.push_back(entry{std::move(one), weight});
        weight_ += weight;
        writer_waits_ = weight_ >= limit_;
        return !writer_waits_;
    }

    /// Appends an event of weight 1; where the buffer is full, the oldest one goes that
    /// `Event::is_kept` lets go.
    void push_newest(Event one)
    {
        std::unique_lock lock{mutex_};
        if (const std::shared_ptr<wait> reader = claim_reader()) {
            lock.unlock();
            reader->answer.send(nullptr, std::optional<Event>{std::move(one)});
            return;
        }
        if (entries_.size() >= limit_) {
            const auto may_go = [](const entry& held) { return !held.what.is_kept(); };
            const auto oldest = std::find_if(entries_.begin(), entries_.end(), may_go);
            if (oldest != entries_.end()) entries_.erase(oldest);
        }
        entries_.push_back(entry{std::move(one), 1});
        weight_ = entries_.size();
    }

    /// Ends the stream, with a last event or with a failure, or without both. Called once.
    void close(std::optional<Event> last, std::exception_ptr failure) noexcept
    {
        std::shared_ptr<wait> reader;
        {
            const std::lock_guard lock{mutex_};
            closed_ = true;
            failure_ = failure;
            reader = claim_reader();
            if (!reader) {
                last_ = std::move(last);
                return;
            }
        }
        if (last) failure = nullptr;
        reader->answer.send(std::move(failure), std::move(last));
    }

    bool has_room() const
    {
        const std::lock_guard lock{mutex_};
        return !writer_waits_;
    }

    /// Whether the reader wants no more.
    bool stopped() const noexcept { return stopped_.load(std::memory_order_acquire); }

    // --- the reader's side

    /// The next event, waiting for one; empty after the end.
    /// Errors: those the stream was closed with; errc::invalid_argument where another `next` waits
    /// already.
    /// Cancellation: terminal and partial stop the stream, too; total ends the wait alone.
    static awaitable<std::optional<Event>> next(std::shared_ptr<stream_state> self)
    {
        std::optional<Event> ready;
        if (self->take(ready)) co_return ready;
        auto operation = std::make_shared<wait>(std::move(self));
        auto coming = await_reply<std::optional<Event>>(std::move(operation));
        co_return co_await std::move(coming);
    }

    /// The writer is to end the stream. What is in the buffer stays. Any thread.
    void stop() noexcept
    {
        {
            const std::lock_guard lock{mutex_};
            if (closed_ || stopped_.exchange(true, std::memory_order_acq_rel)) return;
        }
        if (bell_) bell_->ring();
    }

private:
    struct entry {
        Event what;
        std::size_t weight{0};
    };

    /// The reader, suspended.
    class wait {
    public:
        explicit wait(std::shared_ptr<stream_state> host)
            : host_{std::move(host)}
        {}

        void start(std::shared_ptr<wait> self)
        {
            const std::shared_ptr<stream_state> host = host_;
            host->enter(std::move(self));
        }

        void cancel(cancellation_type type)
        {
            if (!answer.claim()) return;
            host_->leave(*this);
            const auto stops = cancellation_type::terminal | cancellation_type::partial;
            if ((type & stops) != cancellation_type::none) host_->stop();
            answer.send(aborted(), std::nullopt);
        }

        reply<std::optional<Event>> answer;

    private:
        std::shared_ptr<stream_state> host_;
    };

    /// True where the reader need not wait: `ready` is then the next event, or empty after the end.
    bool take(std::optional<Event>& ready)
    {
        bool made_room = false;
        {
            const std::lock_guard lock{mutex_};
            if (!entries_.empty()) {
                ready = pop(made_room);
            } else if (last_) {
                ready = std::exchange(last_, std::nullopt);
            } else if (!closed_) {
                return false;
            } else if (failure_) {
                std::rethrow_exception(failure_);
            }
        }
        if (made_room && bell_) bell_->ring();
        return true;
    }

    void enter(std::shared_ptr<wait> reader)
    {
        std::exception_ptr failure;
        std::optional<Event> ready;
        try {
            // Something may have come since `next` looked.
            if (!take_or_stay(reader, ready)) return;
        } catch (...) {
            failure = std::current_exception();
        }
        reader->answer.answer(std::move(failure), std::move(ready));
    }

    /// As `take`, but lets the reader wait where it must.
    bool take_or_stay(const std::shared_ptr<wait>& reader, std::optional<Event>& ready)
    {
        {
            const std::lock_guard lock{mutex_};
            if (reader_)
                throw error{
                    errc::invalid_argument, "a stream has one reader, and it waits already"};
            if (entries_.empty() && !last_ && !closed_) {
                reader_ = reader;
                return false;
            }
        }
        return take(ready);
    }

    void leave(const wait& gone)
    {
        const std::lock_guard lock{mutex_};
        if (reader_.get() == &gone) reader_ = nullptr;
    }

    /// The reader, where it waits and nobody else answers it. Under the lock.
    std::shared_ptr<wait> claim_reader() noexcept
    {
        std::shared_ptr<wait> reader = std::exchange(reader_, nullptr);
        return reader && reader->answer.claim() ? reader : nullptr;
    }

    /// Under the lock. Precondition: there is an entry.
    Event pop(bool& made_room)
    {
        Event one = std::move(entries_.front().what);
        weight_ -= entries_.front().weight;
        entries_.pop_front();
        // Not at the first gap: a worker and a reader that wake each other for every event get
        // nothing done.
        made_room = writer_waits_ && weight_ <= limit_ / 2;
        if (made_room) writer_waits_ = false;
        return one;
    }

    const std::size_t limit_;
    std::shared_ptr<stream_bell> bell_;
    std::atomic<bool> stopped_{false};
    mutable std::mutex mutex_;
    std::deque<entry> entries_;
    std::size_t weight_{0};
    std::shared_ptr<wait> reader_;
    std::optional<Event> last_;
    std::exception_ptr failure_;
    bool writer_waits_{false};
    bool closed_{false};
};

}  // namespace modelpool::detail
