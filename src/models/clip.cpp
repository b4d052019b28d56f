// CLIP: images and texts as rows of one space, by two towers that were trained together.
//
// Paper:      https://arxiv.org/abs/2103.00020
// Upstream:   https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/clip/modeling_clip.py
// Checkpoint: https://huggingface.co/openai/clip-vit-base-patch32

#include <modelpool/image/codec.hpp>
#include <modelpool/models/clip.hpp>

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/index_select.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <string>
#include <utility>

#include "models/clip_config.hpp"
#include "models/packed_embedder.hpp"
#include "models/text_preparer.hpp"
#include "support/stop.hpp"
#include "torch/clip_towers.hpp"
#include "torch/errors.hpp"
#include "torch/packing.hpp"
#include "torch/stored_linear.hpp"
#include "torch/threads.hpp"
#include "torch/weight_reader.hpp"
#include "weights/safetensors.hpp"

namespace modelpool::models {
namespace {

namespace fs = std::filesystem;
using support::json_file;
using row_results = std::vector<item_result<std::vector<float>>>;

// What replicas share.
struct clip_shared {
    clip_config config;
    c10::ScalarType dtype;
    images::image_preprocessor preprocessor;
    text_preparer preparer;
    embedder_info texts;  // what the preparer checks texts by
    image_embedder_info info;
    nn::clip_vision_tower vision_model;
    nn::clip_text_tower text_model;
    nn::stored_linear visual_projection;
    nn::stored_linear text_projection;
    nn::weight_footprint weights;
};

// ---- forward ------------------------------------------------------------------------------------

class clip_embedder final : public image_embedder {
public:
    explicit clip_embedder(std::shared_ptr<const clip_shared> shared)
        : shared_{std::move(shared)}
        , vision_{shared_->config.vision, shared_->dtype}
        , text_{shared_->config.text, shared_->dtype}
    {}

    const image_embedder_info& info() const noexcept override { return shared_->info; }

    prepared_image prepare(const image_source& source) const override
    {
        return {shared_->preprocessor.prepare(blocking_load_image(source))};
    }

    prepared_text prepare_text(const embed_input& input) const override
    {
        return shared_->preparer.prepare(input);
    }

    row_results run(std::span<const prepared_image> batch, run_context& context) override
    {
        return nn::translated("clip", [&] { return run_images(batch, context); });
    }

    row_results run_text(std::span<const prepared_text> batch, run_context& context) override
    {
        return nn::translated("clip", [&] { return run_texts(batch, context); });
    }

    std::unique_ptr<image_embedder> replicate() const override
    {
        return std::make_unique<clip_embedder>(shared_);
    }

    footprint bytes() const override
    {
        footprint result;
        result.shared_bytes = shared_->weights.copied_bytes;
        result.mapped_bytes = shared_->weights.mapped_bytes;
        result.replica_bytes = shared_->config.scratch_bytes(c10::elementSize(shared_->dtype));
        return result;
    }

    void warm_up(run_context& context) override;

private:
    row_results run_images(std::span<const prepared_image> batch, run_context& context);
    row_results run_texts(std::span<const prepared_text> batch, run_context& context);
    void run_image_block(
        std::span<const prepared_image> batch,
        std::span<const std::size_t> wanted,
        run_context& context,
        row_results& results);
    void run_text_block(
        std::span<const prepared_text> batch,
        const nn::packed_block& block,
        run_context& context,
        row_results& results);
    void project(
        const at::Tensor& pooled,
        const nn::stored_linear& projection,
        std::span<const std::size_t> items,
        row_results& results);
    std::size_t pixels_per_image() const noexcept
    {
        return 3 * shared_->info.image_size * shared_->info.image_size;
    }

    std::shared_ptr<const clip_shared> shared_;
    nn::clip_encoder::scratch vision_;
    nn::clip_encoder::scratch text_;
};

void end_if_stopped(const run_context& context, row_results& results)
{
    if (!context.stop_requested()) return;
    const auto stopped = std::make_exception_ptr(
        error{support::operation_aborted(), "embedding: stopped on request"});
    std::ranges::fill(results, stopped);
}

row_results clip_embedder::run_images(std::span<const prepared_image> batch, run_context& context)
{
    const c10::InferenceMode no_autograd;
    nn::use_threads(context.n_threads());
    row_results results(batch.size(), item_result<std::vector<float>>{std::vector<float>{}});
    std::vector<std::size_t> wanted;
    for (std::size_t i = 0; i < batch.size(); ++i) {
        if (batch[i].pixels.size() == pixels_per_image())
            wanted.push_back(i);
        else
            results[i] = std::make_exception_ptr(error{
                errc::invalid_argument,
                "the prepared image has " + std::to_string(batch[i].pixels.size()) +
                    " numbers, the model takes " + std::to_string(pixels_per_image())});
    }
    const auto most = static_cast<std::size_t>(shared_->config.n_block_images());
    for (std::size_t first = 0; first < wanted.size(); first += most) {
        if (context.stop_requested()) break;
        const std::size_t n = std::min(most, wanted.size() - first);
        run_image_block(batch, std::span{wanted}.subspan(first, n), context, results);
    }
    end_if_stopped(context, results);
    return results;
}

void clip_embedder::run_image_block(
    std::span<const prepared_image> batch,
    std::span<const std::size_t> wanted,
    run_context& context,
    row_results& results)
{
    const auto side = static_cast<std::int64_t>(shared_->info.image_size);
    const at::Tensor pixels = at::empty(
        {static_cast<std::int64_t>(wanted.size()), 3, side, side},
        at::TensorOptions{}.dtype(c10::ScalarType::Float));
    auto* to = pixels.mutable_data_ptr<float>();
    for (const std::size_t i : wanted)
        to = std::ranges::copy(batch[i].pixels, to).out;
    const nn::clip_vision_tower& tower = shared_->vision_model;
    const at::Tensor hidden = tower.run(pixels, tower.config().n_layers, vision_, context);
    if (context.stop_requested()) return;
    project(tower.pooled(hidden), shared_->visual_projection, wanted, results);
}

row_results clip_embedder::run_texts(std::span<const prepared_text> batch, run_context& context)
{
    const c10::InferenceMode no_autograd;
    nn::use_threads(context.n_threads());
    row_results results(batch.size(), item_result<std::vector<float>>{std::vector<float>{}});
    std::vector<std::size_t> wanted;
    std::vector<std::size_t> lengths;
    for (std::size_t i = 0; i < batch.size(); ++i) {
        lengths.push_back(batch[i].n_tokens());
        if (std::exception_ptr problem = shared_->preparer.problem(batch[i], shared_->texts))
            results[i] = std::move(problem);
        else
            wanted.push_back(i);
    }
    for (const nn::packed_block& block : nn::pack(wanted, lengths, nn::default_block_rows))
        if (!context.stop_requested()) run_text_block(batch, block, context, results);
    end_if_stopped(context, results);
    return results;
}

void clip_embedder::run_text_block(
    std::span<const prepared_text> batch,
    const nn::packed_block& block,
    run_context& context,
    row_results& results)
{
    const nn::clip_text_tower& tower = shared_->text_model;
    std::vector<std::int32_t> ids;
    std::vector<std::int64_t> ends;  // the rows that stand for the texts
    for (const std::size_t i : block.texts) {
        ends.push_back(static_cast<std::int64_t>(ids.size()) + tower.end_of(batch[i].tokens));
        ids.insert(ids.end(), batch[i].tokens.begin(), batch[i].tokens.end());
    }
    const at::Tensor index =
        at::from_blob(ids.data(), {block.n_rows}, at::TensorOptions{}.dtype(c10::ScalarType::Int));
    const at::Tensor hidden = tower.run(index, block, tower.config().n_layers, text_, context);
    if (context.stop_requested()) return;
    const at::Tensor rows = at::from_blob(
        ends.data(),
        {static_cast<std::int64_t>(ends.size())},
        at::TensorOptions{}.dtype(c10::ScalarType::Long));
    const at::Tensor pooled = tower.normed(at::index_select(hidden, 0, rows));
    project(pooled, shared_->text_projection, block.texts, results);
}

// pooled: [items.size(), hidden_size] f32
void clip_embedder::project(
    const at::Tensor& pooled,
    const nn::stored_linear& projection,
    std::span<const std::size_t> items,
    row_results& results)
{
    const at::Tensor out =
        at::empty({pooled.size(0), projection.n_out()}, at::TensorOptions{}.dtype(shared_->dtype));
    projection.run(pooled.to(shared_->dtype), out, vision_.room());
    const at::Tensor rows = out.to(c10::ScalarType::Float);
    const float* values = rows.const_data_ptr<float>();
    for (const std::size_t i : items) {
        results[i] = std::vector<float>(values, values + rows.size(1));
        values += rows.size(1);
    }
}

void clip_embedder::warm_up(run_context& context)
{
    embed_input input;
    input.text = "warm up";
    input.dimension = info().dim;
    input.max_tokens = info().max_text_tokens;
    const prepared_text text = prepare_text(input);
    const prepared_image black{std::vector<float>(pixels_per_image())};
    for (const auto& row : run_text({&text, 1}, context))
        if (!row.ok()) std::rethrow_exception(row.failure());
    for (const auto& row : run({&black, 1}, context))
        if (!row.ok()) std::rethrow_exception(row.failure());
}

// ---- loading ------------------------------------------------------------------------------------

text_preparer blocking_load_tokenizer(const fs::path& dir, const clip_config& config)
{
    sentence_modules modules;
    modules.transformer_dir = dir;
    return text_preparer::blocking_load(
        modules, static_cast<std::size_t>(config.text.vocab_size), text_rules{});
}

image_embedder_info to_info(const clip_config& config)
{
    image_embedder_info info;
    info.dim = static_cast<std::size_t>(config.projection_dim);
    info.image_size = static_cast<std::size_t>(config.vision.image_size);
    info.max_text_tokens = static_cast<std::size_t>(config.text.max_position_embeddings);
    return info;
}

embedder_info to_text_info(const image_embedder_info& info)
{
    embedder_info texts;
    texts.dim = info.dim;
    texts.dimensions = {info.dim};
    texts.max_tokens = info.max_text_tokens;
    return texts;
}

void read_weights(clip_shared& shared, const fs::path& dir, const stop_flag& stop)
{
    using bias = nn::stored_linear::bias;
    const nn::weight_reader files{weights::checkpoint::blocking_open(dir), stop};
    const clip_config& config = shared.config;
    const auto projection = [&](const char* name, std::int64_t n_in) {
        return nn::stored_linear::read(
            files, name, {n_in, config.projection_dim}, {shared.dtype, bias::none});
    };
    shared.vision_model =
        nn::clip_vision_tower::read(files.in("vision_model"), config.vision, shared.dtype);
    shared.text_model =
        nn::clip_text_tower::read(files.in("text_model"), config.text, shared.dtype);
    shared.visual_projection = projection("visual_projection", config.vision.hidden_size);
    shared.text_projection = projection("text_projection", config.text.hidden_size);
    const at::Tensor scale = files.read("logit_scale", {}, c10::ScalarType::Float);
    shared.info.logit_scale = std::exp(static_cast<double>(*scale.const_data_ptr<float>()));
    shared.weights = files.footprint();
    files.drop_pages();
}

}  // namespace

std::unique_ptr<image_embedder> load_clip(const fs::path& dir, const load_options& options)
{
    return nn::translated("loading " + dir.string(), [&]() -> std::unique_ptr<image_embedder> {
        const c10::InferenceMode no_autograd;
        const clip_config config = clip_config::read(
            json_file::blocking_read(dir / "config.json", model_errc::bad_config));
        const image_embedder_info info = to_info(config);
        auto shared = std::make_shared<clip_shared>(clip_shared{
            config,
            embedder_parts::compute_dtype("clip", options),
            blocking_read_clip_preprocessor(dir, config.vision),
            blocking_load_tokenizer(dir, config),
            to_text_info(info),
            info,
            {},
            {},
            {},
            {},
            {}});
        read_weights(*shared, dir, options.stop());
        return std::make_unique<clip_embedder>(std::move(shared));
    });
}

}  // namespace modelpool::models
