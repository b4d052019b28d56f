// LLaVA 1.5: a decoder that takes what a projector makes of the patches of CLIP's vision tower in
// the place of tokens.
//
// Papers:     https://arxiv.org/abs/2304.08485, https://arxiv.org/abs/2310.03744
// Upstream:   https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/llava/modeling_llava.py
// Checkpoint: https://huggingface.co/llava-hf/llava-1.5-7b-hf

#include <modelpool/assert.hpp>
#include <modelpool/image/codec.hpp>
#include <modelpool/models/llava.hpp>

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "models/clip_config.hpp"
#include "models/gguf_folder.hpp"
#include "models/image_encoder.hpp"
#include "models/llava_config.hpp"
#include "models/load_decoder.hpp"
#include "models/mmproj.hpp"
#include "torch/clip_towers.hpp"
#include "torch/errors.hpp"
#include "torch/layers.hpp"
#include "torch/stored_linear.hpp"
#include "torch/threads.hpp"
#include "torch/weight_reader.hpp"
#include "weights/safetensors.hpp"

namespace modelpool::models {
namespace {

namespace fs = std::filesystem;
using support::json_file;
constexpr auto f32 = c10::ScalarType::Float;

// What replicas share.
struct llava_shared {
    llava_config config;
    images::image_preprocessor preprocessor;
    nn::clip_vision_tower vision_tower;
    nn::stored_linear linear_1;  // of the projector
    nn::stored_linear linear_2;
    nn::weight_footprint weights;
};

// ---- forward ------------------------------------------------------------------------------------

class llava_encoder final : public image_encoder {
public:
    explicit llava_encoder(std::shared_ptr<const llava_shared> shared)
        : shared_{std::move(shared)}
        , room_{shared_->config.vision, f32}
    {}

    std::size_t n_positions() const noexcept override
    {
        return static_cast<std::size_t>(shared_->config.n_positions());
    }
    std::size_t width() const noexcept override
    {
        return static_cast<std::size_t>(shared_->config.text_hidden);
    }

    std::vector<float> prepare(const image_source& source) const override
    {
        return shared_->preprocessor.prepare(blocking_load_image(source));
    }

    void encode(std::span<const float> pixels, std::span<float> rows, run_context& context) override
    {
        nn::translated("llava", [&] { run(pixels, rows, context); });
    }

    footprint bytes() const override
    {
        footprint all;
        all.shared_bytes = shared_->weights.copied_bytes;
        all.mapped_bytes = shared_->weights.mapped_bytes;
        all.replica_bytes = shared_->config.scratch_bytes();
        return all;
    }

    std::unique_ptr<image_encoder> replicate() const override
    {
        return std::make_unique<llava_encoder>(shared_);
    }

private:
    void run(std::span<const float> pixels, std::span<float> rows, run_context& context);
    at::Tensor features(const at::Tensor& image, run_context& context);

    std::shared_ptr<const llava_shared> shared_;
    nn::clip_encoder::scratch room_;
};

void llava_encoder::run(std::span<const float> pixels, std::span<float> rows, run_context& context)
{
    const c10::InferenceMode no_autograd;
    nn::use_threads(context.n_threads());
    const llava_config& config = shared_->config;
    const std::int64_t side = config.vision.image_size;
    const at::Tensor image = at::empty({1, 3, side, side}, at::TensorOptions{}.dtype(f32));
    MODELPOOL_ASSERT(pixels.size() == static_cast<std::size_t>(image.numel()));
    std::ranges::copy(pixels, image.mutable_data_ptr<float>());
    const at::Tensor chosen = features(image, context);
    if (context.stop_requested()) return;
    // [n_positions, feature_width] -> [n_positions, text_hidden] -> the same
    const auto options = at::TensorOptions{}.dtype(f32);
    at::Tensor inner = at::empty({chosen.size(0), config.text_hidden}, options);
    shared_->linear_1.run(chosen, inner, room_.room());
    nn::apply(config.projector_act, inner);
    const at::Tensor out =
        at::from_blob(rows.data(), {chosen.size(0), config.text_hidden}, options);
    shared_->linear_2.run(inner, out, room_.room());
}

// The states of the chosen layers side by side: [n_positions, feature_width].
at::Tensor llava_encoder::features(const at::Tensor& image, run_context& context)
{
    const llava_config& config = shared_->config;
    const std::int64_t width = config.vision.hidden_size;
    const std::int64_t first = config.with_class ? 0 : 1;
    at::Tensor chosen =
        at::empty({config.n_positions(), config.feature_width()}, at::TensorOptions{}.dtype(f32));
    const nn::clip_vision_tower& tower = shared_->vision_tower;
    const at::Tensor hidden = tower.embed(image, room_);
    for (std::int64_t done = 0; done <= config.vision.n_layers; ++done) {
        if (done > 0) tower.advance(hidden, {done - 1, done}, room_, context);
        if (context.stop_requested()) return chosen;
        for (std::size_t i = 0; i < config.feature_layers.size(); ++i)
            if (config.feature_layers[i] == done)
                chosen.narrow(1, static_cast<std::int64_t>(i) * width, width)
                    .copy_(hidden.narrow(0, first, config.n_positions()));
    }
    return chosen;
}

// ---- loading ------------------------------------------------------------------------------------

// Checkpoints of the years differ in what their names begin with.
std::string scope_of(
    const nn::weight_reader& files, std::initializer_list<const char*> scopes, const char* probe)
{
    for (const char* scope : scopes)
        if (files.in(scope).has(probe)) return scope;
    return *scopes.begin();
}

void read_weights(
    llava_shared& shared, std::shared_ptr<const weights::checkpoint> source, const stop_flag& stop)
{
    using bias = nn::stored_linear::bias;
    const nn::weight_reader files{std::move(source), stop};
    const llava_config& config = shared.config;
    const std::string tower = scope_of(
        files,
        {"vision_tower.vision_model",
         "model.vision_tower.vision_model",
         "vision_tower",
         "model.vision_tower"},
        "embeddings.class_embedding");
    const std::string projector = scope_of(
        files, {"multi_modal_projector", "model.multi_modal_projector"}, "linear_1.weight");
    const auto linear = [&](const char* name, std::int64_t n_in) {
        return nn::stored_linear::read(
            files.in(projector),
            name,
            {n_in, config.text_hidden},
            {f32, config.projector_bias ? bias::stored : bias::none});
    };
    shared.vision_tower = nn::clip_vision_tower::read(files.in(tower), config.vision, f32);
    shared.linear_1 = linear("linear_1", config.feature_width());
    shared.linear_2 = linear("linear_2", config.text_hidden);
    shared.weights = files.footprint();
    files.drop_pages();
}

std::unique_ptr<generator> load_folder(const fs::path& dir, const load_options& options)
{
    const auto config_file = json_file::blocking_read(dir / "config.json", model_errc::bad_config);
    const llava_config config = llava_config::read(config_file);
    auto shared = std::make_shared<llava_shared>(
        llava_shared{config, blocking_read_clip_preprocessor(dir, config.vision), {}, {}, {}, {}});
    read_weights(*shared, weights::checkpoint::blocking_open(dir), options.stop());
    shared->weights.mapped_bytes = 0;  // the decoder's account has all of the folder's files
    image_input images;
    images.token = config.image_token;
    images.encoder = std::make_shared<const llava_encoder>(std::move(shared));
    return load_folder_decoder(dir, llava_text_config(config_file), options, std::move(images));
}

std::unique_ptr<generator>
load_gguf(const fs::path& model, const fs::path& encoder, const load_options& options)
{
    const auto file = weights::gguf_file::blocking_open(encoder);
    const llava_config config = read_mmproj_config(file->header());
    auto shared = std::make_shared<llava_shared>(
        llava_shared{config, read_mmproj_preprocessor(file->header(), config), {}, {}, {}, {}});
    read_weights(*shared, read_mmproj_weights(file, config), options.stop());
    image_input images;
    images.encoder = std::make_shared<const llava_encoder>(std::move(shared));
    return load_gguf_decoder(model, options, std::move(images));
}

}  // namespace

std::unique_ptr<generator> load_llava(const fs::path& path, const load_options& options)
{
    return nn::translated("loading " + path.string(), [&]() -> std::unique_ptr<generator> {
        const c10::InferenceMode no_autograd;
        std::error_code ignored;
        if (fs::exists(path / "config.json", ignored)) return load_folder(path, options);
        const bool is_folder = fs::is_directory(path, ignored);
        const auto model = is_folder ? blocking_find_gguf(path) : std::optional{path};
        const auto encoder = blocking_find_mmproj(path);
        if (!model || !encoder)
            throw error{
                model_errc::bad_file,
                path.string() + ": expected config.json, or a GGUF file and one with \"mmproj\" "
                                "in its name beside it"};
        return load_gguf(*model, *encoder, options);
    });
}

}  // namespace modelpool::models
