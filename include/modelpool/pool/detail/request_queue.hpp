#pragma once

#include <modelpool/pool/options.hpp>
#include <modelpool/runtime/clock.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <list>
#include <memory>
#include <optional>
#include <utility>

namespace modelpool::detail {

/// The requests that wait for one model: bounded, by priority with ageing, first come first served
/// within a priority. Decides only; it is guarded by its owner's lock and gets the time from
/// outside.
template <class Job>
class request_queue {
public:
    /// A request rises by one priority for each such time it has waited.
    static constexpr clock::duration ageing = std::chrono::seconds{2};

    explicit request_queue(std::size_t limit)
        : limit_{std::max<std::size_t>(1, limit)}
    {}

    /// Jobs that have a place.
    std::size_t size() const noexcept { return size_; }
    /// Jobs that wait for a place.
    std::size_t n_outside() const noexcept { return outside_.size(); }
    bool empty() const noexcept { return size_ == 0; }
    bool full() const noexcept { return size_ >= limit_; }
    std::size_t limit() const noexcept { return limit_; }

    /// Appends a job. Precondition: not full.
    void push(std::shared_ptr<Job> job, priority rank, clock::time_point now)
    {
        lane(rank).push_back(entry{std::move(job), now});
        ++size_;
    }

    /// Appends a job that waits for a place; it gets the next one that becomes free.
    void push_outside(std::shared_ptr<Job> job, priority rank, clock::time_point now)
    {
        outside_.push_back(applicant{entry{std::move(job), now}, rank});
        admit();
    }

    /// The job whose turn it is; null where none waits.
    std::shared_ptr<Job> front(clock::time_point now) const
    {
        const std::optional<std::size_t> best = best_lane(now);
        return best ? lanes_[*best].front().job : nullptr;
    }

    /// Takes the job whose turn it is. Precondition: not empty.
    std::shared_ptr<Job> pop(clock::time_point now)
    {
        std::list<entry>& from = lanes_[*best_lane(now)];
        std::shared_ptr<Job> job = std::move(from.front().job);
        from.pop_front();
        --size_;
        admit();
        return job;
    }

    /// Puts the job whose turn it is behind the others of its priority, as if it had come just now:
    /// a large request, of which a part was taken, lets others in. Precondition: not empty.
    void rotate(clock::time_point now)
    {
        std::list<entry>& from = lanes_[*best_lane(now)];
        from.front().since = now;
        from.splice(from.end(), from, from.begin());
    }

    /// Takes those of the first jobs of each priority, higher ones first, to which `wanted(job)`
    /// says yes; looks at `n_most` of each.
    template <class F>
    void take_if(std::size_t n_most, F wanted)
    {
        for (std::size_t i = lanes_.size(); i-- > 0;) {
            auto place = lanes_[i].begin();
            for (std::size_t n = 0; n != n_most && place != lanes_[i].end(); ++n) {
                if (!wanted(place->job)) {
                    ++place;
                    continue;
                }
                place = lanes_[i].erase(place);
                --size_;
            }
        }
        admit();
    }

    /// Calls `look(job)` for every job, those outside included.
    template <class F>
    void for_each(F look) const
    {
        for (const std::list<entry>& one : lanes_)
            for (const entry& e : one)
                look(e.job);
        for (const applicant& a : outside_)
            look(a.what.job);
    }

    /// Forgets a job; false where it is not here.
    bool erase(const Job& gone)
    {
        for (std::list<entry>& one : lanes_) {
            const auto same = [&](const entry& e) { return e.job.get() == &gone; };
            const auto place = std::find_if(one.begin(), one.end(), same);
            if (place == one.end()) continue;
            one.erase(place);
            --size_;
            admit();
            return true;
        }
        const auto same = [&](const applicant& a) { return a.what.job.get() == &gone; };
        return std::erase_if(outside_, same) != 0;
    }

private:
    struct entry {
        std::shared_ptr<Job> job;
        clock::time_point since;
    };

    struct applicant {
        entry what;
        priority rank{priority::normal};
    };

    void admit()
    {
        while (!full() && !outside_.empty()) {
            applicant next = std::move(outside_.front());
            outside_.pop_front();
            lane(next.rank).push_back(std::move(next.what));
            ++size_;
        }
    }

    std::list<entry>& lane(priority rank) { return lanes_[static_cast<std::size_t>(rank)]; }

    std::optional<std::size_t> best_lane(clock::time_point now) const
    {
        std::optional<std::size_t> best;
        double best_rank = 0;
        for (std::size_t i = lanes_.size(); i-- > 0;) {
            if (lanes_[i].empty()) continue;
            const auto waited =
                std::chrono::duration<double>(now - lanes_[i].front().since) / ageing;
            const double rank = static_cast<double>(i) + waited;
            if (!best || rank > best_rank) {
                best = i;
                best_rank = rank;
            }
        }
        return best;
    }

    std::size_t limit_;
    std::size_t size_{0};
    std::array<std::list<entry>, 3> lanes_;
    std::list<applicant> outside_;
};

}  // namespace modelpool::detail
