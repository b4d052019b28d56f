#pragma once

#include <modelpool/capability/text_embedding.hpp>
#include <modelpool/error.hpp>
#include <modelpool/pool/detail/job.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace modelpool::detail {

/// Scales to unit length; a row of zeroes stays so.
inline void normalize(std::span<float> row)
{
    double sum = 0;
    for (const float value : row)
        sum += static_cast<double>(value) * static_cast<double>(value);
    if (sum <= 0) return;
    // In f64 to the end: the factor of a tiny row has no place in a float.
    const double factor = 1.0 / std::sqrt(sum);
    for (float& value : row)
        value = static_cast<float>(static_cast<double>(value) * factor);
}

/// A request for rows, one for each of its inputs. Several workers may compute parts of it at the
/// same time.
///
/// `Kind` says what the inputs are:
/// - `input`, what the caller gives; `prepared`, what the model computes on;
/// - `options`, with `normalize()` and `encoding()`; `plan`, what they come to with a certain
///   model, with `dim`, the numbers a row;
/// - `item`, the word for one input in errors;
/// - `expected_cost(input)` and `cost(prepared)`, in the unit that batches are measured by;
/// - `usage(prepared)`, what the input adds to the request's usage.
template <class Kind>
class rows_job : public reply_job<embeddings> {
public:
    using input_type = typename Kind::input;
    using options_type = typename Kind::options;
    using plan_type = typename Kind::plan;

    rows_job(
        std::weak_ptr<group> home,
        std::vector<input_type> inputs,
        options_type options,
        request_options request)
        : reply_job<embeddings>{std::move(home), std::move(request)}
        , inputs_{std::move(inputs)}
        , options_{std::move(options)}
        , n_all_{inputs_.size()}
        , n_left_{inputs_.size()}
    {}

    /// The inputs are those from `first` on of the `n_all` that the caller gave: errors name them
    /// so. Called before it is started.
    void set_part(std::size_t first, std::size_t n_all) noexcept
    {
        first_ = first;
        n_all_ = n_all;
    }

    void start(std::shared_ptr<job> self)
    {
        if (inputs_.empty())
            fail(std::make_exception_ptr(
                error{errc::invalid_argument, std::string{"no "} + Kind::item + "s were given"}));
        else
            reply_job<embeddings>::start(std::move(self));
    }

    std::size_t n_inputs() const noexcept { return inputs_.size(); }
    /// Precondition: nobody has taken it.
    const input_type& input(std::size_t index) const { return inputs_[index]; }
    /// Gives an input away, so that it need not stay until the request ends. Each goes to one
    /// worker, once.
    input_type take_input(std::size_t index) { return std::move(inputs_[index]); }
    const options_type& options() const noexcept { return options_; }

    /// The plan, made by the first worker that begins the job: `make(options)`. Throws where the
    /// request does not suit the model.
    template <class Make>
    const plan_type& plan(const Make& make)
    {
        const std::lock_guard lock{mutex_};
        if (!planned_) {
            plan_ = make(options_);
            rows_ =
                embeddings{inputs_.size(), plan_.dim, options_.encoding(), options_.normalize()};
            planned_ = true;
        }
        return plan_;
    }

    /// What the request fails with where one input cannot be computed: its error says which it was.
    std::exception_ptr
    failure_of_item(std::size_t index, const std::exception_ptr& why) const noexcept;
    /// One input cannot be computed: the request fails.
    void fail_item(std::size_t index, const std::exception_ptr& why) noexcept
    {
        fail(failure_of_item(index, why));
    }
    /// Why a row that the model gave is none: too short, or not all numbers; null where it is one.
    /// Precondition: this thread called `plan`.
    std::exception_ptr fault_of(const std::vector<float>& row) const;
    /// Stores the row of an input, which has no fault, cut and scaled as asked. True where it was
    /// the last one. Precondition: this thread called `plan`.
    bool finish_item(std::size_t index, std::vector<float> row, const embedding_usage& used);
    void deliver() noexcept override
    {
        rows_.set_usage(usage_);
        succeed(std::move(rows_));
    }

    /// The first input that no worker has taken yet. Guarded by the group's lock.
    std::size_t next{0};

private:
    error named(const error& problem, std::size_t index) const
    {
        if (n_all_ == 1) return problem;
        return problem.in(std::string{Kind::item} + " " + std::to_string(first_ + index));
    }

    std::vector<input_type> inputs_;
    const options_type options_;
    std::size_t first_{0};
    std::size_t n_all_;
    std::mutex mutex_;
    bool planned_{false};
    plan_type plan_;
    embeddings rows_;
    embedding_usage usage_;
    std::size_t n_left_;
};

template <class Kind>
std::exception_ptr
rows_job<Kind>::failure_of_item(std::size_t index, const std::exception_ptr& why) const noexcept
{
    try {
        try {
            std::rethrow_exception(why);
        } catch (const error& problem) {
            return std::make_exception_ptr(named(problem, index));
        } catch (const std::bad_alloc&) {
            return std::make_exception_ptr(named(error{model_errc::out_of_memory}, index));
        } catch (...) {
            return why;  // not the library's: it goes to the caller as it is
        }
    } catch (const std::bad_alloc&) {
        return why;  // there is no memory for the name: the error goes without
    }
}

template <class Kind>
std::exception_ptr rows_job<Kind>::fault_of(const std::vector<float>& row) const
{
    const auto finite = [](float value) { return std::isfinite(value); };
    if (row.size() < plan_.dim)
        return std::make_exception_ptr(error{
            model_errc::failed,
            "the model gave " + std::to_string(row.size()) + " numbers, expected " +
                std::to_string(plan_.dim)});
    if (!std::all_of(row.begin(), row.end(), finite))
        return std::make_exception_ptr(
            error{model_errc::failed, "the model gave numbers that are not finite"});
    return nullptr;
}

template <class Kind>
bool rows_job<Kind>::finish_item(
    std::size_t index, std::vector<float> row, const embedding_usage& used)
{
    row.resize(plan_.dim);
    if (options_.normalize()) detail::normalize(row);
    const std::lock_guard lock{mutex_};
    rows_.set_row(index, row);
    usage_.n_tokens += used.n_tokens;
    usage_.n_truncated += used.n_truncated;
    return --n_left_ == 0;
}

}  // namespace modelpool::detail
