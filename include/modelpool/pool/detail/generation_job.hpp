#pragma once

#include <modelpool/async/detail/reply.hpp>
#include <modelpool/capability/generation.hpp>
#include <modelpool/pool/detail/group.hpp>
#include <modelpool/pool/detail/job.hpp>
#include <modelpool/pool/detail/stream_state.hpp>
#include <modelpool/pool/options.hpp>
#include <modelpool/pool/token_stream.hpp>

#include <atomic>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace modelpool::detail {

/// The bell of all streams of one engine.
class engine_bell final : public stream_bell {
public:
    explicit engine_bell(std::weak_ptr<group> home)
        : home_{std::move(home)}
    {}

    void ring() noexcept override
    {
        rung_.store(true, std::memory_order_release);
        if (const std::shared_ptr<group> home = home_.lock()) home->nudge();
    }

    bool rung() const noexcept { return rung_.load(std::memory_order_acquire); }
    /// Whether it rang since it was asked last.
    bool take() noexcept { return rung_.exchange(false, std::memory_order_acq_rel); }

private:
    std::weak_ptr<group> home_;
    std::atomic<bool> rung_{false};
};

/// A request whose answer is a stream: it is answered when a worker has begun, and ends with its
/// stream.
template <class Stream, class State>
class stream_job : public reply_job<Stream> {
public:
    stream_job(std::weak_ptr<group> owner, request_options request, std::size_t buffer_limit)
        : reply_job<Stream>{std::move(owner), std::move(request)}
        , stream_{std::make_shared<State>(buffer_limit)}
    {}

    using job::home;
    State& stream() const noexcept { return *stream_; }
    const std::shared_ptr<State>& shared_stream() const noexcept { return stream_; }

    // On the worker's thread.

    /// Hands its caller the stream; false where that one has left.
    bool admit()
    {
        if (!this->answer.claim()) return false;
        admitted_ = true;
        this->answer.send(nullptr, Stream{stream_});
        return true;
    }

    void fail(std::exception_ptr why) noexcept override
    {
        if (!admitted_) {
            reply_job<Stream>::fail(std::move(why));
        } else if (!std::exchange(over_, true)) {
            this->finish(job_end::failed, why);
            stream_->close(std::nullopt, std::move(why));
        }
    }

protected:
    /// Closes the stream. Precondition: admitted.
    template <class Event>
    void end(job_end how, std::optional<Event> last, std::exception_ptr why) noexcept
    {
        if (std::exchange(over_, true)) return;
        this->finish(how);
        stream_->close(std::move(last), std::move(why));
    }

private:
    std::shared_ptr<State> stream_;
    bool admitted_{false};
    bool over_{false};
};

/// A request for a text.
class generation_job final : public stream_job<token_stream, token_state> {
public:
    generation_job(std::weak_ptr<group> owner, generation_request wanted, request_options request)
        : stream_job{std::move(owner), std::move(request), token_buffer_limit}
        , input{std::move(wanted)}
    {}

    /// How it ended, for `deliver` to say.
    void set_end(const generation_end& last)
    {
        last_.emplace();
        last_->kind = generation_event_kind::end;
        last_->end = last;
    }

    void deliver() noexcept override
    {
        const bool cancelled = last_->end->reason == finish_reason::cancelled;
        end(cancelled ? job_end::cancelled : job_end::succeeded, std::move(last_), nullptr);
    }

    /// Used up by the worker that prepares it.
    generation_request input;

private:
    std::optional<generation_event> last_;
};

/// A request for how likely continuations of a prompt are.
class score_job final : public reply_job<std::vector<continuation_score>> {
public:
    score_job(
        std::weak_ptr<group> owner,
        std::string prompt,
        std::vector<std::string> continuations,
        request_options request)
        : reply_job{std::move(owner), std::move(request)}
        , prompt_{std::move(prompt)}
        , continuations_{std::move(continuations)}
    {}

    void start(std::shared_ptr<score_job> self)
    {
        if (continuations_.empty())
            fail(std::make_exception_ptr(
                error{errc::invalid_argument, "no continuations were given to be scored"}));
        else
            submit(std::move(self), answer.get_executor());
    }

    void deliver() noexcept override { succeed(std::move(scores)); }

    const std::string& prompt() const noexcept { return prompt_; }
    const std::vector<std::string>& continuations() const noexcept { return continuations_; }

    std::vector<continuation_score> scores;  // the worker's

private:
    const std::string prompt_;
    const std::vector<std::string> continuations_;
};

}  // namespace modelpool::detail
