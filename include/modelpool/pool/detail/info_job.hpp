#pragma once

#include <modelpool/pool/detail/engine.hpp>
#include <modelpool/pool/detail/job.hpp>

#include <exception>
#include <memory>
#include <utility>
#include <vector>

namespace modelpool::detail {

/// A question for what a model says of itself.
template <class Info>
class info_job final : public reply_job<Info> {
public:
    using reply_job<Info>::reply_job;

    bool is_question() const noexcept override { return true; }
    void set(Info info) { info_ = std::move(info); }
    void deliver() noexcept override { this->succeed(std::move(info_)); }

private:
    Info info_;
};

/// The questions an engine took and has not answered yet. Decides only: its engine's thread uses
/// it.
template <class Info>
class info_lane {
public:
    /// False where the job is no question.
    bool take(const std::shared_ptr<job>& one)
    {
        if (!one->is_question()) return false;
        waiting_.push_back(std::static_pointer_cast<info_job<Info>>(one));
        return true;
    }

    bool busy() const noexcept { return !waiting_.empty(); }

    void answer(const Info& info, step_report& report)
    {
        for (const auto& question : waiting_) {
            question->set(info);
            report.done.push_back(question);
        }
        waiting_.clear();
    }

    void drop(const std::exception_ptr& why) noexcept
    {
        for (const auto& question : std::exchange(waiting_, {}))
            question->fail(why);
    }

private:
    std::vector<std::shared_ptr<info_job<Info>>> waiting_;
};

}  // namespace modelpool::detail
