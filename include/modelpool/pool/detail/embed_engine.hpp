#pragma once

#include <modelpool/capability/text_embedding.hpp>
#include <modelpool/pool/detail/engine.hpp>
#include <modelpool/pool/detail/job.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <deque>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace modelpool::detail {

/// What a request's options come to with a certain model.
struct embed_plan {
    std::string prompt;
    std::size_t head{0};  ///< the dimension the model computes
    std::size_t dim{0};   ///< the dimension of the rows, which may be cut from it
    std::size_t max_tokens{0};
};

inline std::string list_text(const std::vector<std::string>& items)
{
    std::string text;
    for (const std::string& item : items)
        text += (text.empty() ? "" : ", ") + item;
    return text.empty() ? "none" : text;
}

inline std::string
plan_prompt(const embed_options& wanted, const embedder_info& info, const engine_options& card)
{
    if (wanted.prompt()) return *wanted.prompt();
    std::optional<std::string> name = wanted.prompt_name();
    if (!name) name = card.default_prompt ? card.default_prompt : info.default_prompt;
    if (!name) return {};
    std::vector<std::string> names;
    for (const auto* prompts : {&card.prompts, &info.prompts}) {
        const auto place = prompts->find(*name);
        if (place != prompts->end()) return place->second;
        for (const auto& [known, text] : *prompts)
            names.push_back(known);
    }
    throw error{
        errc::invalid_argument,
        "the model has no prompt '" + *name + "'; its prompts: " + list_text(names)};
}

inline void
plan_dimension(embed_plan& plan, std::size_t wanted, const embedder_info& info, bool cuttable)
{
    plan.head = info.dim;
    plan.dim = wanted == 0 ? info.dim : wanted;
    if (std::find(info.dimensions.begin(), info.dimensions.end(), plan.dim) !=
        info.dimensions.end())
        plan.head = plan.dim;
    if (plan.head == plan.dim || (cuttable && plan.dim < plan.head)) return;
    std::vector<std::string> choices;
    choices.reserve(info.dimensions.size());
    for (const std::size_t dim : info.dimensions)
        choices.push_back(std::to_string(dim));
    std::string sentence = "the model has no dimension " + std::to_string(wanted) +
                           "; its dimensions: " + list_text(choices);
    if (cuttable) sentence += ", or anything below " + std::to_string(info.dim);
    throw error{errc::invalid_argument, std::move(sentence)};
}

/// Errors: errc::invalid_argument, with the choices there are.
inline embed_plan
plan_embedding(const embed_options& wanted, const embedder_info& info, const engine_options& card)
{
    embed_plan plan;
    plan.prompt = plan_prompt(wanted, info, card);
    plan_dimension(plan, wanted.dimension(), info, card.cuttable.value_or(info.cuttable));
    plan.max_tokens =
        wanted.max_tokens() == 0 ? info.max_tokens : std::min(wanted.max_tokens(), info.max_tokens);
    return plan;
}

/// A request for rows. Several workers may compute parts of it at the same time.
class embed_job final : public reply_job<embeddings> {
public:
    embed_job(
        std::weak_ptr<group> home,
        std::vector<std::string> texts,
        embed_options options,
        request_options request)
        : reply_job{std::move(home), request}
        , texts_{std::move(texts)}
        , options_{std::move(options)}
        , n_left_{texts_.size()}
    {}

    void start(std::shared_ptr<embed_job> self)
    {
        if (texts_.empty())
            fail(std::make_exception_ptr(error{errc::invalid_argument, "no texts were given"}));
        else
            submit(std::move(self));
    }

    const std::vector<std::string>& texts() const noexcept { return texts_; }
    const embed_options& options() const noexcept { return options_; }

    /// The plan, made by the first worker that begins the job. Throws where the request does not suit the
    /// model.
    const embed_plan& plan(const embedder_info& info, const engine_options& card)
    {
        const std::lock_guard lock{mutex_};
        if (!planned_) {
            plan_ = plan_embedding(options_, info, card);
            rows_ = embeddings{texts_.size(), plan_.dim, options_.encoding(), options_.normalize()};
            planned_ = true;
        }
        return plan_;
    }

    void fail_item(std::size_t index, const std::exception_ptr& why) noexcept;
    /// Stores the row of a text, cut and scaled as asked. True where it was the last one.
    bool finish_item(std::size_t index, std::vector<float> row, const prepared_text& text);
    void deliver() noexcept override
    {
        rows_.set_usage(usage_);
        succeed(std::move(rows_));
    }

    /// The first text that no worker has taken yet. Guarded by the group's lock.
    std::size_t next{0};

private:
    const std::vector<std::string> texts_;
    const embed_options options_;
    std::mutex mutex_;
    bool planned_{false};
    embed_plan plan_;
    embeddings rows_;
    embedding_usage usage_;
    std::size_t n_left_;
};

/// A question for what the model says of itself.
class embedder_info_job final : public reply_job<embedder_info> {
public:
    using reply_job::reply_job;

    void set(embedder_info info) { info_ = std::move(info); }
    void deliver() noexcept override { succeed(std::move(info_)); }

private:
    embedder_info info_;
};

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

inline void embed_job::fail_item(std::size_t index, const std::exception_ptr& why) noexcept
{
    try {
        std::rethrow_exception(why);
    } catch (const error& problem) {
        fail(std::make_exception_ptr(
            texts_.size() == 1 ? problem : problem.in("text " + std::to_string(index))));
    } catch (...) {
        fail(why);
    }
}

inline bool
embed_job::finish_item(std::size_t index, std::vector<float> row, const prepared_text& text)
{
    const auto finite = [](float value) { return std::isfinite(value); };
    if (row.size() < plan_.dim || !std::all_of(row.begin(), row.end(), finite)) {
        fail_item(
            index,
            std::make_exception_ptr(error{
                model_errc::failed,
                row.size() < plan_.dim ? "the model gave " + std::to_string(row.size()) +
                                             " numbers, expected " + std::to_string(plan_.dim)
                                       : "the model gave numbers that are not finite"}));
        return false;
    }
    row.resize(plan_.dim);
    if (options_.normalize()) normalize(row);
    const std::lock_guard lock{mutex_};
    rows_.set_row(index, row);
    usage_.n_tokens += text.n_tokens();
    usage_.n_truncated += text.truncated ? 1 : 0;
    return --n_left_ == 0;
}

/// Computes rows: takes texts of any number of requests, turns them into tokens, and runs them in batches of
/// so many tokens.
class embed_engine final : public engine {
public:
    embed_engine(std::unique_ptr<embedder> model, engine_options options)
        : model_{std::move(model)}
        , options_{std::move(options)}
    {}

    intake take(const std::shared_ptr<job>& one) override
    {
        if (const auto question = std::dynamic_pointer_cast<embedder_info_job>(one)) {
            questions_.push_back(question);
            return intake::all;
        }
        if (n_expected_ >= options_.batch_tokens) return intake::full;
        auto request = std::static_pointer_cast<embed_job>(one);
        const std::vector<std::string>& texts = request->texts();
        slice taken{request, request->next, request->next};
        std::size_t n_taken = 0;
        while (taken.end < texts.size() && n_taken < turn()) {
            n_taken += expected_tokens(texts[taken.end]);
            ++taken.end;
        }
        request->next = taken.end;
        n_expected_ += n_taken;
        slices_.push_back(std::move(taken));
        return request->next == texts.size() ? intake::all : intake::part;
    }

    bool busy() const noexcept override
    {
        return !slices_.empty() || !ready_.empty() || !questions_.empty();
    }

    step_report step(run_context& context) override
    {
        step_report report;
        for (const auto& question : std::exchange(questions_, {})) {
            question->set(model_->info());
            report.done.push_back(question);
        }
        prepare();
        std::vector<item> batch = next_batch();
        if (!batch.empty()) run(batch, context, report);
        return report;
    }

    void drop(const std::exception_ptr& why) noexcept override
    {
        for (const auto& question : std::exchange(questions_, {}))
            question->fail(why);
        for (const slice& one : std::exchange(slices_, {}))
            one.request->fail(why);
        for (const item& one : std::exchange(ready_, {}))
            one.request->fail(why);
        n_expected_ = 0;
    }

    std::unique_ptr<engine> replicate() const override
    {
        std::unique_ptr<embedder> copy = model_->replicate();
        if (!copy) return nullptr;
        return std::make_unique<embed_engine>(std::move(copy), options_);
    }

    footprint bytes() const override { return model_->bytes(); }
    void warm_up(run_context& context) override { model_->warm_up(context); }

private:
    /// Texts [begin, end) of a request, not yet turned into tokens.
    struct slice {
        std::shared_ptr<embed_job> request;
        std::size_t begin{0};
        std::size_t end{0};
    };
    struct item {
        std::shared_ptr<embed_job> request;
        std::size_t index{0};
        prepared_text text;
    };

    /// What one request may add before the next one has its turn.
    std::size_t turn() const noexcept
    {
        return std::max<std::size_t>(1, options_.batch_tokens / 4);
    }
    /// A guess good enough to end a batch by: a token of prose has about four bytes.
    static std::size_t expected_tokens(const std::string& text) noexcept
    {
        return text.size() / 4 + 2;
    }

    void prepare();
    void prepare_one(
        const std::shared_ptr<embed_job>& request, const embed_plan& plan, std::size_t index);
    std::vector<item> next_batch();
    void run(std::vector<item>& batch, run_context& context, step_report& report);

    std::unique_ptr<embedder> model_;
    engine_options options_;
    std::vector<std::shared_ptr<embedder_info_job>> questions_;
    std::vector<slice> slices_;
    std::deque<item> ready_;
    std::size_t n_expected_{0};  // tokens expected of slices_ and counted of ready_
};

inline void embed_engine::prepare()
{
    for (const slice& part : std::exchange(slices_, {})) {
        if (part.request->ended()) continue;
        try {
            const embed_plan& plan = part.request->plan(model_->info(), options_);
            for (std::size_t i = part.begin; i < part.end && !part.request->ended(); ++i)
                prepare_one(part.request, plan, i);
        } catch (...) {
            part.request->fail(std::current_exception());
        }
    }
    n_expected_ = 0;
    for (const item& one : ready_)
        n_expected_ += one.text.n_tokens();
}

inline void embed_engine::prepare_one(
    const std::shared_ptr<embed_job>& request, const embed_plan& plan, std::size_t index)
{
    embed_input input;
    input.text = request->texts()[index];
    input.prompt = plan.prompt;
    input.dimension = plan.head;
    input.max_tokens = plan.max_tokens;
    input.too_long = request->options().too_long();
    try {
        ready_.push_back(item{request, index, model_->prepare(input)});
    } catch (...) {
        request->fail_item(index, std::current_exception());
    }
}

inline std::vector<embed_engine::item> embed_engine::next_batch()
{
    std::vector<item> batch;
    std::size_t n_tokens = 0;
    while (!ready_.empty()) {
        item& one = ready_.front();
        const std::size_t more = one.text.n_tokens();
        if (!batch.empty() && n_tokens + more > options_.batch_tokens) break;
        if (!one.request->ended()) {
            n_tokens += more;
            batch.push_back(std::move(one));
        }
        n_expected_ -= more;
        ready_.pop_front();
    }
    return batch;
}

inline void embed_engine::run(std::vector<item>& batch, run_context& context, step_report& report)
{
    report.n_items = batch.size();
    try {
        std::vector<prepared_text> texts;
        texts.reserve(batch.size());
        for (item& one : batch) {
            report.n_tokens += one.text.n_tokens();
            texts.push_back(std::move(one.text));
        }
        auto rows = model_->run(texts, context);
        if (rows.size() != batch.size())
            throw error{
                model_errc::failed,
                "the model gave " + std::to_string(rows.size()) + " rows for " +
                    std::to_string(batch.size()) + " texts"};
        for (std::size_t i = 0; i < batch.size(); ++i) {
            embed_job& request = *batch[i].request;
            if (!rows[i].ok())
                request.fail_item(batch[i].index, rows[i].failure());
            else if (request.finish_item(batch[i].index, std::move(rows[i].value()), texts[i]))
                report.done.push_back(batch[i].request);
        }
    } catch (const std::bad_alloc&) {
        report.failure = std::make_exception_ptr(error{model_errc::out_of_memory});
    } catch (...) {
        report.failure = std::current_exception();
    }
    if (report.failure)
        for (const item& one : batch)
            one.request->fail(report.failure);
}

template <>
struct engine_of<text_embedding> {
    static std::unique_ptr<engine> make(std::unique_ptr<embedder> model, engine_options options)
    {
        return std::make_unique<embed_engine>(std::move(model), std::move(options));
    }
};

}  // namespace modelpool::detail
