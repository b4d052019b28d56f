#pragma once

#include <modelpool/capability/text_embedding.hpp>
#include <modelpool/pool/detail/batch_lane.hpp>
#include <modelpool/pool/detail/engine.hpp>
#include <modelpool/pool/detail/info_job.hpp>
#include <modelpool/pool/detail/text_rows.hpp>

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

/// Computes rows of texts, in batches of so many tokens.
class embed_engine final : public engine {
public:
    embed_engine(std::unique_ptr<embedder> model, engine_options options)
        : model_{std::move(model)}
        , options_{std::move(options)}
        , texts_{options_.batch_tokens}
    {}

    intake take(const std::shared_ptr<job>& one) override
    {
        if (questions_.take(one)) return intake::all;
        return texts_.take(std::static_pointer_cast<embed_job>(one));
    }

    bool busy() const noexcept override { return texts_.busy() || questions_.busy(); }

    step_report step(run_context& context) override
    {
        step_report report;
        questions_.answer(model_->info(), report);
        texts_.step(embedder_tower{*model_, options_}, context, report);
        return report;
    }

    void drop(const std::exception_ptr& why) noexcept override
    {
        questions_.drop(why);
        texts_.drop(why);
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
    std::unique_ptr<embedder> model_;
    engine_options options_;
    info_lane<embedder_info> questions_;
    batch_lane<text_rows> texts_;
};

}  // namespace modelpool::detail
