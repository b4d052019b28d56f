#pragma once

#include <modelpool/capability/model.hpp>
#include <modelpool/error.hpp>
#include <modelpool/pool/detail/engine.hpp>
#include <modelpool/pool/detail/rows_job.hpp>

#include <algorithm>
#include <cstddef>
#include <deque>
#include <exception>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace modelpool::detail {

/// Computes the rows of any number of requests of one kind (see `rows_job`): takes a few inputs of
/// each in turn, prepares them, and runs them in batches of a limited cost. What is prepared ahead
/// stays below two batches, as far as `Kind::expected_cost` is right. Used by its engine's thread
/// alone.
///
/// What computes is handed to each step, a `Tower` with
/// - `plan(options)`, which throws where a request does not suit the model,
/// - `prepare(plan, options, input)`, which throws for this input alone,
/// - `run(span of prepared, run_context&)`, as the capability's model interface says.
template <class Kind>
class batch_lane {
public:
    using job_type = rows_job<Kind>;

    /// `limit`: the most cost of one batch; an input above it goes alone.
    explicit batch_lane(std::size_t limit)
        : limit_{std::max<std::size_t>(1, limit)}
    {}

    /// Notes some inputs of a request, as many as it has in one turn. Called under the group's
    /// lock.
    intake take(const std::shared_ptr<job_type>& request)
    {
        if (n_expected_ >= limit_) return intake::full;
        slice taken{request, request->next, request->next};
        std::size_t n_taken = 0;
        while (taken.end < request->n_inputs() && n_taken < turn()) {
            n_taken += Kind::expected_cost(request->input(taken.end));
            ++taken.end;
        }
        request->next = taken.end;
        n_expected_ += n_taken;
        slices_.push_back(std::move(taken));
        return request->next == request->n_inputs() ? intake::all : intake::part;
    }

    /// What is taken costs: what was not prepared yet by its expected cost, and what is computed
    /// now.
    std::size_t cost() const noexcept { return n_expected_ + running_cost_; }
    /// The most that one request adds in a turn.
    std::size_t turn() const noexcept { return std::max<std::size_t>(1, limit_ / 4); }

    bool busy() const noexcept { return !slices_.empty() || !ready_.empty() || !batch_.empty(); }

    /// Prepares what was taken, and runs one batch: fails what cannot be computed, and reports the
    /// requests whose last row came. Once asked to stop, it leaves everything for `drop`.
    template <class Tower>
    void step(Tower tower, run_context& context, step_report& report)
    {
        prepare(tower, context);
        if (context.stop_requested()) return;
        if (batch_.empty()) fill_batch();
        if (!batch_.empty()) run(tower, context, report);
    }

    void drop(const std::exception_ptr& why) noexcept
    {
        for (const slice& one : std::exchange(slices_, {}))
            one.request->fail(why);
        for (const item& one : std::exchange(ready_, {}))
            one.to.request->fail(why);
        for (const target& one : std::exchange(batch_, {}))
            one.request->fail(why);
        inputs_.clear();
        n_expected_ = 0;
    }

private:
    using prepared_type = typename Kind::prepared;
    using row_type = item_result<std::vector<float>>;

    /// Inputs [begin, end) of a request, not prepared yet.
    struct slice {
        std::shared_ptr<job_type> request;
        std::size_t begin{0};
        std::size_t end{0};
    };
    /// Where a row goes.
    struct target {
        std::shared_ptr<job_type> request;
        std::size_t index{0};
    };
    struct item {
        target to;
        prepared_type input;
    };

    template <class Tower>
    void prepare(Tower& tower, run_context& context);
    template <class Tower>
    void prepare_one(Tower& tower, const target& to);
    void fill_batch();
    template <class Tower>
    void run(Tower& tower, run_context& context, step_report& report);
    void route(std::vector<row_type> rows, step_report& report);

    const std::size_t limit_;
    std::size_t running_cost_{0};
    std::size_t n_expected_{0};  // cost expected of slices_ and counted of ready_
    std::deque<slice> slices_;
    std::deque<item> ready_;
    std::vector<prepared_type> inputs_;  // what is computed now,
    std::vector<target> batch_;          // and where each row of it goes
};

template <class Kind>
template <class Tower>
void batch_lane<Kind>::prepare(Tower& tower, run_context& context)
{
    while (!slices_.empty()) {
        slice& part = slices_.front();
        if (part.begin == part.end || part.request->ended()) {
            slices_.pop_front();
            continue;
        }
        if (context.stop_requested()) return;
        prepare_one(tower, target{part.request, part.begin++});
        context.step_done();
    }
    n_expected_ = 0;
    for (const item& one : ready_)
        n_expected_ += Kind::cost(one.input);
}

template <class Kind>
template <class Tower>
void batch_lane<Kind>::prepare_one(Tower& tower, const target& to)
{
    job_type& request = *to.request;
    const typename Kind::plan* plan = nullptr;
    try {
        plan = &request.plan([&](const auto& options) { return tower.plan(options); });
    } catch (...) {
        request.fail(std::current_exception());
        return;
    }
    try {
        const typename Kind::input input = request.take_input(to.index);
        ready_.push_back(item{to, tower.prepare(*plan, request.options(), input)});
    } catch (...) {
        request.fail_item(to.index, std::current_exception());
    }
}

template <class Kind>
void batch_lane<Kind>::fill_batch()
{
    std::size_t n_cost = 0;
    while (!ready_.empty()) {
        item& one = ready_.front();
        const std::size_t more = Kind::cost(one.input);
        if (!batch_.empty() && n_cost + more > limit_) break;
        if (!one.to.request->ended()) {
            n_cost += more;
            inputs_.push_back(std::move(one.input));
            batch_.push_back(std::move(one.to));
        }
        n_expected_ -= more;
        ready_.pop_front();
    }
}

template <class Kind>
template <class Tower>
void batch_lane<Kind>::run(Tower& tower, run_context& context, step_report& report)
{
    std::vector<row_type> rows;
    running_cost_ = 0;
    for (const prepared_type& one : inputs_)
        running_cost_ += Kind::cost(one);
    try {
        rows = tower.run(std::span<const prepared_type>{inputs_}, context);
        if (rows.size() != batch_.size() && !context.stop_requested())
            throw error{
                model_errc::failed,
                "the model gave " + std::to_string(rows.size()) + " rows for " +
                    std::to_string(batch_.size()) + " " + Kind::item + "s"};
    } catch (const std::bad_alloc&) {
        report.failure = std::make_exception_ptr(error{model_errc::out_of_memory});
    } catch (...) {
        report.failure = std::current_exception();
    }
    running_cost_ = 0;
    // A model that was asked to stop may give any rows, or throw: neither is its requests' answer.
    if (context.stop_requested()) {
        report.failure = nullptr;
        return;
    }
    report.n_items = batch_.size();
    for (const prepared_type& one : inputs_)
        report.n_tokens += Kind::usage(one).n_tokens;
    if (report.failure)
        for (const target& one : batch_)
            report.fail(one.request, report.failure);
    else
        route(std::move(rows), report);
    batch_.clear();
    inputs_.clear();
}

template <class Kind>
void batch_lane<Kind>::route(std::vector<row_type> rows, step_report& report)
{
    for (std::size_t i = 0; i < batch_.size(); ++i) {
        const target& to = batch_[i];
        const std::exception_ptr fault =
            rows[i].ok() ? to.request->fault_of(rows[i].value()) : rows[i].failure();
        if (fault) {
            report.item_failed(fault);
            report.fail(to.request, to.request->failure_of_item(to.index, fault));
            continue;
        }
        ++report.n_succeeded;
        if (to.request->finish_item(to.index, std::move(rows[i].value()), Kind::usage(inputs_[i])))
            report.done.push_back(to.request);
    }
}

}  // namespace modelpool::detail
