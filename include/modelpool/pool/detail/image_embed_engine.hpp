#pragma once

#include <modelpool/capability/image_embedding.hpp>
#include <modelpool/error.hpp>
#include <modelpool/pool/detail/batch_lane.hpp>
#include <modelpool/pool/detail/engine.hpp>
#include <modelpool/pool/detail/image_rows.hpp>
#include <modelpool/pool/detail/info_job.hpp>
#include <modelpool/pool/detail/text_rows.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace modelpool::detail {

/// The images' side of an image embedder as a lane drives it.
class image_tower {
public:
    /// It outlives this.
    explicit image_tower(image_embedder& model)
        : model_{model}
    {}

    image_plan plan(const image_embed_options&) const { return image_plan{model_.info().dim}; }
    prepared_image
    prepare(const image_plan&, const image_embed_options&, const image_source& source) const
    {
        return model_.prepare(source);
    }
    std::vector<item_result<std::vector<float>>>
    run(std::span<const prepared_image> batch, run_context& context)
    {
        return model_.run(batch, context);
    }

private:
    image_embedder& model_;
};

/// The texts' side of an image embedder as a lane drives it.
class image_text_tower {
public:
    /// Both outlive it.
    image_text_tower(image_embedder& model, const engine_options& card)
        : model_{model}
        , card_{card}
    {}

    embed_plan plan(const embed_options& wanted) const
    {
        const image_embedder_info& info = model_.info();
        if (info.max_text_tokens == 0)
            throw error{
                errc::unsupported, "the model has no text tower: it embeds images, not texts"};
        embedder_info texts;
        texts.dim = info.dim;
        texts.dimensions = {info.dim};
        texts.max_tokens = info.max_text_tokens;
        return plan_embedding(wanted, texts, card_);
    }
    prepared_text
    prepare(const embed_plan& plan, const embed_options& options, const std::string& text) const
    {
        return model_.prepare_text(planned_input(plan, options, text));
    }
    std::vector<item_result<std::vector<float>>>
    run(std::span<const prepared_text> batch, run_context& context)
    {
        return model_.run_text(batch, context);
    }

private:
    image_embedder& model_;
    const engine_options& card_;
};

/// Computes rows of images, and rows of texts, each in batches of its own; where both wait, one of
/// each in turn.
class image_embed_engine final : public engine {
public:
    image_embed_engine(std::unique_ptr<image_embedder> model, engine_options options)
        : model_{std::move(model)}
        , options_{std::move(options)}
        , images_{options_.batch_images}
        , texts_{options_.batch_tokens}
    {}

    intake take(const std::shared_ptr<job>& one) override
    {
        if (questions_.take(one)) return intake::all;
        if (const auto request = std::dynamic_pointer_cast<image_embed_job>(one))
            return images_.take(request);
        return texts_.take(std::static_pointer_cast<embed_job>(one));
    }

    bool busy() const noexcept override
    {
        return images_.busy() || texts_.busy() || questions_.busy();
    }

    step_report step(run_context& context) override
    {
        step_report report;
        questions_.answer(model_->info(), report);
        const bool texts_go = texts_.busy() && (!images_.busy() || images_went_last_);
        if (texts_go)
            texts_.step(image_text_tower{*model_, options_}, context, report);
        else if (images_.busy())
            images_.step(image_tower{*model_}, context, report);
        images_went_last_ = !texts_go;
        return report;
    }

    void drop(const std::exception_ptr& why) noexcept override
    {
        questions_.drop(why);
        images_.drop(why);
        texts_.drop(why);
    }

    std::unique_ptr<engine> replicate() const override
    {
        std::unique_ptr<image_embedder> copy = model_->replicate();
        if (!copy) return nullptr;
        return std::make_unique<image_embed_engine>(std::move(copy), options_);
    }

    footprint bytes() const override { return model_->bytes(); }
    void warm_up(run_context& context) override { model_->warm_up(context); }

private:
    std::unique_ptr<image_embedder> model_;
    engine_options options_;
    info_lane<image_embedder_info> questions_;
    batch_lane<image_rows> images_;
    batch_lane<text_rows> texts_;
    bool images_went_last_{false};
};

}  // namespace modelpool::detail
