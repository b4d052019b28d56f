#pragma once

#include <modelpool/capability/text_embedding.hpp>
#include <modelpool/pool/detail/batch_lane.hpp>
#include <modelpool/pool/detail/engine.hpp>
#include <modelpool/pool/detail/info_job.hpp>
#include <modelpool/pool/detail/text_rows.hpp>

#include <algorithm>
#include <cstddef>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace modelpool::detail {

/// An embedder as a lane drives it.
class embedder_tower {
public:
    /// Both outlive it.
    embedder_tower(embedder& model, const engine_options& card)
        : model_{model}
        , card_{card}
    {}

    embed_plan plan(const embed_options& wanted) const
    {
        return plan_embedding(wanted, model_.info(), card_);
    }
    prepared_text
    prepare(const embed_plan& plan, const embed_options& options, const std::string& text) const
    {
        return model_.prepare(planned_input(plan, options, text));
    }
    std::vector<item_result<std::vector<float>>>
    run(std::span<const prepared_text> batch, run_context& context)
    {
        return model_.run(batch, context);
    }

private:
    embedder& model_;
    const engine_options& card_;
};

/// Computes rows of texts, in batches of so many tokens. Small requests have a lane of their own,
/// which goes first, so that they never share a forward with a large one; and in the midst of a
/// large one's batch they are guests.
class embed_engine final : public engine {
public:
    embed_engine(std::unique_ptr<embedder> model, engine_options options)
        : model_{std::move(model)}
        , options_{std::move(options)}
        , small_{options_.batch_tokens}
        , large_{options_.batch_tokens}
        , guests_{guest_tokens()}
    {}

    intake take(const std::shared_ptr<job>& one) override
    {
        if (questions_.take(one)) return intake::all;
        const auto request = std::static_pointer_cast<embed_job>(one);
        return is_small(*request) ? small_.take(request) : large_.take(request);
    }

    bool busy() const noexcept override
    {
        return small_.busy() || large_.busy() || guests_.busy() || questions_.busy();
    }

    step_report step(run_context& context) override
    {
        step_report report;
        questions_.answer(model_->info(), report);
        const embedder_tower tower{*model_, options_};
        guests_.step(tower, context, report);  // left by a step whose model had no copy to give
        // What is answered now is not kept until a large batch has ended.
        if (!report.done.empty()) return report;
        small_had_turn_ = small_.busy() && !(small_had_turn_ && large_.busy());
        (small_had_turn_ ? small_ : large_).step(tower, context, report);
        return report;
    }

    bool hosts() const noexcept override
    {
        return !guestless_ && large_.cost() >= std::max<std::size_t>(2, guest_tokens());
    }

    /// Guests have a copy of the model, since its scratch is in use.
    std::uint64_t guest_bytes() const noexcept override
    {
        return guest_model_ || guestless_ ? 0 : model_->bytes().replica_bytes;
    }

    bool suits_guest(const job& one) const noexcept override
    {
        return !one.is_question() && is_small(static_cast<const embed_job&>(one));
    }

    bool take_guest(const std::shared_ptr<job>& one) override
    {
        return guests_.take(std::static_pointer_cast<embed_job>(one)) == intake::all;
    }

    step_report serve_guests(run_context& context) override
    {
        step_report report;
        try {
            if (!guest_model_) guest_model_ = model_->replicate();
        } catch (...) {
            guest_model_ = nullptr;  // the model itself serves them, once it is free
        }
        guestless_ = guest_model_ == nullptr;
        if (!guestless_) guests_.step(embedder_tower{*guest_model_, options_}, context, report);
        return report;
    }

    void drop(const std::exception_ptr& why) noexcept override
    {
        questions_.drop(why);
        small_.drop(why);
        large_.drop(why);
        guests_.drop(why);
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
    /// The most that guests come to at once.
    std::size_t guest_tokens() const noexcept
    {
        return std::max<std::size_t>(1, options_.batch_tokens / 4);
    }

    /// Whether a request that nobody has begun is expected to end within a small share of a batch.
    bool is_small(const embed_job& request) const noexcept
    {
        if (request.next != 0) return false;
        std::size_t n_tokens = 0;
        for (std::size_t i = 0; i != request.n_inputs() && n_tokens <= guests_.turn(); ++i)
            n_tokens += text_rows::expected_cost(request.input(i));
        return n_tokens <= guests_.turn();
    }

    std::unique_ptr<embedder> model_;
    engine_options options_;
    info_lane<embedder_info> questions_;
    batch_lane<text_rows> small_;
    batch_lane<text_rows> large_;
    batch_lane<text_rows> guests_;
    std::unique_ptr<embedder> guest_model_;  // of its own scratch; made when the first one comes
    bool small_had_turn_{false};
    bool guestless_{false};  // the model has no copy to give
};

}  // namespace modelpool::detail
