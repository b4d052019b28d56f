#include "hub/retry_plan.hpp"

#include <algorithm>

namespace modelpool::fetching {

void retry_plan::progress()
{
    n_failures_ = 0;
    last_ = limits_.shortest;
    seen_.clear();
}

retry_plan::milliseconds retry_plan::after(const hub_fault& problem)
{
    if (!is_transient(problem.kind())) throw problem;
    if (problem.wait) {
        const auto wait = std::chrono::duration_cast<milliseconds>(*problem.wait);
        if (wait > limits_.longest_server_wait) {
            hub_fault final_one{
                problem.kind(),
                std::string{problem.what()} + "; it asks to wait " +
                    std::to_string(problem.wait->count()) + " seconds, more than the " +
                    std::to_string(std::chrono::duration_cast<std::chrono::seconds>(
                                       limits_.longest_server_wait)
                                       .count()) +
                    " that are allowed"};
            final_one.wait = problem.wait;
            throw final_one;
        }
        return wait;
    }
    ++n_failures_;
    const std::string text = problem.what();
    if (seen_.empty() || seen_.back() != text) seen_.push_back(text);
    if (n_failures_ >= limits_.n_tries) give_up(problem);
    const auto low = static_cast<double>(limits_.shortest.count());
    const auto high = std::max(low, 3.0 * static_cast<double>(last_.count()));
    const double drawn = low + dice_() * (high - low);
    last_ = std::min(milliseconds{static_cast<std::int64_t>(drawn)}, limits_.longest);
    return last_;
}

void retry_plan::give_up(const hub_fault& problem) const
{
    std::string sentence;
    for (const std::string& one : seen_)
        sentence += (sentence.empty() ? "" : " | ") + one;
    if (n_failures_ > 1)
        sentence = "gave up after " + std::to_string(n_failures_) + " tries: " + sentence;
    throw hub_fault{problem.kind(), sentence};
}

}  // namespace modelpool::fetching
