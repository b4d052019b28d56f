#include <modelpool/models/clip.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "models/checkpoint_facts.hpp"
#include "models/embedder_loaders.hpp"
#include "models/embedding_fixture.hpp"
#include "support/stop.hpp"

namespace modelpool {
namespace {

using models::load_clip;
using models::load_options;
using testing::checkpoint_dir;
using testing::spoiled_copy;

using rows = std::vector<item_result<std::vector<float>>>;

constexpr auto all_cases = {"plain_f32", "gelu_bf16", "sharded_f16"};

std::filesystem::path clip_dir(std::string_view name)
{
    return checkpoint_dir("clip", name);
}

// What transformers computes: see tests/data/make_clip_cases.py.
struct clip_case {
    std::vector<std::string> images;
    std::vector<std::string> texts;
    std::size_t max_tokens{0};
    std::vector<std::vector<std::int32_t>> ids;
    std::vector<std::vector<float>> image_rows;
    std::vector<std::vector<float>> text_rows;
    std::vector<std::vector<double>> pixels;
    double logit_scale{0};

    explicit clip_case(std::string_view name)
    {
        const nlohmann::json json = testing::read_json(clip_dir(name) / "case.json");
        json.at("images").get_to(images);
        json.at("texts").get_to(texts);
        json.at("max_tokens").get_to(max_tokens);
        json.at("ids").get_to(ids);
        json.at("image_rows").get_to(image_rows);
        json.at("text_rows").get_to(text_rows);
        json.at("pixels").get_to(pixels);
        json.at("logit_scale").get_to(logit_scale);
    }

    std::vector<prepared_image> prepare_images(const image_embedder& model) const
    {
        std::vector<prepared_image> batch;
        for (const std::string& name : images)
            batch.push_back(model.prepare(image_file{clip_dir("images") / name}));
        return batch;
    }

    std::vector<prepared_text> prepare_texts(const image_embedder& model) const
    {
        std::vector<prepared_text> batch;
        for (const std::string& text : texts) {
            embed_input input;
            input.text = text;
            input.dimension = model.info().dim;
            input.max_tokens = model.info().max_text_tokens;
            batch.push_back(model.prepare_text(input));
        }
        return batch;
    }
};

float largest_difference(std::span<const float> a, std::span<const float> b)
{
    if (a.size() != b.size()) return std::numeric_limits<float>::infinity();
    float largest = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
        // Written so that a NaN is a difference.
        if (!(std::abs(a[i] - b[i]) <= largest)) largest = std::abs(a[i] - b[i]);
    return largest;
}

void check_rows(const rows& found, const std::vector<std::vector<float>>& expected, float tolerance)
{
    REQUIRE(found.size() == expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
        CAPTURE(i);
        REQUIRE(found[i].ok());
        CHECK(largest_difference(found[i].value(), expected[i]) < tolerance);
    }
}

void check_model(image_embedder& model, const clip_case& expected, float tolerance)
{
    run_context context;
    check_rows(model.run(expected.prepare_images(model), context), expected.image_rows, tolerance);
    check_rows(
        model.run_text(expected.prepare_texts(model), context), expected.text_rows, tolerance);
}

class counting_monitor final : public run_monitor {
public:
    int n_threads() const noexcept override { return 2; }
    void step_done() noexcept override
    {
        if (++n_steps == stop_after) source.request_stop();
    }

    int n_steps{0};
    int stop_after{-1};
    stop_source source;
};

boost::system::error_code code_of(const item_result<std::vector<float>>& item)
{
    try {
        std::rethrow_exception(item.failure());
    } catch (const error& problem) {
        return problem.code();
    }
}

boost::system::error_code load_failure(const std::filesystem::path& dir, std::string_view sentence)
{
    try {
        load_clip(dir);
    } catch (const error& problem) {
        CHECK_THAT(problem.what(), Catch::Contains(std::string{sentence}));
        return problem.code();
    }
    return {};
}

}  // namespace

TEST_CASE("clip: pixels, tokens and rows equal those of transformers", "[models]")
{
    const std::string name = GENERATE(values(all_cases));
    CAPTURE(name);
    const clip_case expected{name};
    const auto model = load_clip(clip_dir(name));
    CHECK(model->info().dim == expected.image_rows[0].size());
    CHECK(model->info().max_text_tokens == expected.max_tokens);
    CHECK(*model->info().logit_scale == Approx(expected.logit_scale));
    const std::vector<prepared_image> images = expected.prepare_images(*model);
    for (std::size_t i = 0; i < images.size(); ++i) {
        CAPTURE(expected.images[i]);
        double sum = 0;
        double squares = 0;
        for (const double value : images[i].pixels) {
            sum += value;
            squares += value * value;
        }
        const auto n = static_cast<double>(images[i].pixels.size());
        CHECK(sum / n == Approx(expected.pixels[i][0]).margin(1e-6));
        CHECK(squares / n == Approx(expected.pixels[i][1]).margin(1e-6));
    }
    const std::vector<prepared_text> texts = expected.prepare_texts(*model);
    for (std::size_t i = 0; i < texts.size(); ++i)
        CHECK(texts[i].tokens == expected.ids[i]);
    check_model(*model, expected, 1e-4F);
}

TEST_CASE("clip: a row is the same alone and among many", "[models]")
{
    const clip_case expected{"plain_f32"};
    const auto model = load_clip(clip_dir("plain_f32"));
    const std::vector<prepared_image> images = expected.prepare_images(*model);
    const std::vector<prepared_text> texts = expected.prepare_texts(*model);
    std::vector<prepared_image> many_images;
    std::vector<prepared_text> many_texts;
    for (std::size_t i = 0; i < 150; ++i) {
        many_images.push_back(images[i * 5 % images.size()]);
        many_texts.push_back(texts[i * 5 % texts.size()]);
    }
    run_context context;
    const rows image_rows = model->run(many_images, context);
    const rows text_rows = model->run_text(many_texts, context);
    for (std::size_t i = 0; i < 150; ++i) {
        const rows image = model->run({&many_images[i], 1}, context);
        const rows text = model->run_text({&many_texts[i], 1}, context);
        CHECK(largest_difference(image[0].value(), image_rows[i].value()) < 1e-5F);
        CHECK(largest_difference(text[0].value(), text_rows[i].value()) < 1e-5F);
    }
}

TEST_CASE("clip: a replica shares the weights and outlives its model", "[models]")
{
    const clip_case expected{"sharded_f16"};
    auto model = load_clip(clip_dir("sharded_f16"));
    const auto replica = model->replicate();
    REQUIRE(replica);
    CHECK(&replica->info() == &model->info());
    CHECK(replica->bytes().shared_bytes == model->bytes().shared_bytes);
    model.reset();
    check_model(*replica, expected, 1e-4F);
}

TEST_CASE("clip: bf16 stays close to f32", "[models]")
{
    const clip_case expected{"plain_f32"};
    const auto model = load_clip(clip_dir("plain_f32"), load_options{}.dtype(dtype::bf16));
    run_context context;
    const rows images = model->run(expected.prepare_images(*model), context);
    const rows texts = model->run_text(expected.prepare_texts(*model), context);
    for (std::size_t i = 0; i < images.size(); ++i)
        CHECK(cosine(images[i].value(), expected.image_rows[i]) > 0.999);
    for (std::size_t i = 0; i < texts.size(); ++i)
        CHECK(cosine(texts[i].value(), expected.text_rows[i]) > 0.999);
}

TEST_CASE("clip: every layer is a step, and a stop ends the batch at the next one", "[models]")
{
    const clip_case expected{"plain_f32"};
    const auto model = load_clip(clip_dir("plain_f32"));
    const std::vector<prepared_image> images = expected.prepare_images(*model);
    counting_monitor whole;
    run_context undisturbed{whole, stop_flag{}};
    check_rows(model->run(images, undisturbed), expected.image_rows, 1e-4F);
    CHECK(whole.n_steps == 3);
    counting_monitor stopping;
    stopping.stop_after = 1;
    run_context stopped{stopping, stopping.source.flag()};
    for (const auto& item : model->run(images, stopped)) {
        REQUIRE(!item.ok());
        CHECK(code_of(item) == support::operation_aborted());
    }
    CHECK(stopping.n_steps == 1);
    stop_source at_once;
    at_once.request_stop();
    CHECK_THROWS_AS(load_clip(clip_dir("plain_f32"), load_options{}.stop(at_once.flag())), error);
}

TEST_CASE("clip: a bad item fails alone", "[models]")
{
    const clip_case expected{"plain_f32"};
    const auto model = load_clip(clip_dir("plain_f32"));
    std::vector<prepared_image> images = expected.prepare_images(*model);
    images[1].pixels.pop_back();
    std::vector<prepared_text> texts = expected.prepare_texts(*model);
    texts[0].tokens.clear();
    texts[2].tokens[0] = 1 << 20;
    texts[3].tokens.resize(21, 1);
    run_context context;
    const rows image_rows = model->run(images, context);
    for (std::size_t i = 0; i < images.size(); ++i)
        CHECK(image_rows[i].ok() == (i != 1));
    CHECK(code_of(image_rows[1]) == errc::invalid_argument);
    const rows text_rows = model->run_text(texts, context);
    for (std::size_t i = 0; i < texts.size(); ++i)
        CHECK(text_rows[i].ok() == (i != 0 && i != 2 && i != 3));
    CHECK(code_of(text_rows[2]) == text_errc::bad_id);
    CHECK(code_of(text_rows[3]) == model_errc::context_overflow);
}

TEST_CASE("clip: texts over the limit are cut or refused", "[models]")
{
    const auto model = load_clip(clip_dir("plain_f32"));
    embed_input input;
    input.text = "a dog and a cat and a dog and a cat and a dog and a cat and a dog and a cat";
    input.dimension = model->info().dim;
    input.max_tokens = model->info().max_text_tokens;
    const prepared_text cut = model->prepare_text(input);
    CHECK(cut.truncated);
    CHECK(cut.n_tokens() == model->info().max_text_tokens);
    input.too_long = on_too_long::error;
    CHECK_THROWS_WITH(model->prepare_text(input), Catch::Contains("the limit is 20"));
}

TEST_CASE("clip: inspection tells what the loaded model has", "[models]")
{
    const std::string name = GENERATE(values(all_cases));
    CAPTURE(name);
    const auto model = load_clip(clip_dir(name));
    const auto facts = models::blocking_read_checkpoint_facts(clip_dir(name));
    CHECK(facts.unsupported.empty());
    CHECK(facts.family == "clip");
    CHECK(facts.capability == "image_embedding");
    CHECK(facts.dim == model->info().dim);
    CHECK(facts.max_tokens == model->info().max_text_tokens);
    CHECK(facts.resident_bytes == model->bytes().shared_bytes);
    CHECK(facts.mapped_bytes == model->bytes().mapped_bytes);
    CHECK(facts.replica_bytes == model->bytes().replica_bytes);
    CHECK(models::find_image_embedder_loader("clip") == load_clip);
    CHECK(models::find_image_embedder_loader("bert") == nullptr);
}

TEST_CASE("clip: a missing tensor is named", "[models]")
{
    const std::string name = GENERATE(
        "logit_scale",
        "visual_projection.weight",
        "vision_model.pre_layrnorm.bias",
        "text_model.encoder.layers.1.mlp.fc2.weight");
    spoiled_copy copy{clip_dir("plain_f32")};
    copy.edit_weights([&](auto& tensors) { tensors.erase(name); });
    CHECK(load_failure(copy.path(), name) == model_errc::missing_tensor);
}

TEST_CASE("clip: a tensor of another shape is named", "[models]")
{
    spoiled_copy copy{clip_dir("plain_f32")};
    copy.edit("config.json", [](nlohmann::json& json) { json["projection_dim"] = 13; });
    CHECK(load_failure(copy.path(), "visual_projection.weight") == model_errc::shape_mismatch);
}

TEST_CASE("clip: configurations out of range are refused", "[models]")
{
    const auto with = [](const char* part, const char* key, const nlohmann::json& value) {
        spoiled_copy copy{clip_dir("plain_f32")};
        copy.edit("config.json", [&](nlohmann::json& json) { json[part][key] = value; });
        return load_failure(copy.path(), key);
    };
    CHECK(with("vision_config", "patch_size", 33) == model_errc::bad_config);
    CHECK(with("vision_config", "patch_size", 0) == model_errc::bad_config);
    CHECK(with("vision_config", "image_size", "32") == model_errc::bad_config);
    CHECK(with("vision_config", "num_attention_heads", 5) == model_errc::bad_config);
    CHECK(with("vision_config", "num_channels", 4) == model_errc::unsupported);
    CHECK(with("text_config", "hidden_act", "mish") == model_errc::unsupported);
    CHECK(with("text_config", "max_position_embeddings", -1) == model_errc::bad_config);
    CHECK(with("text_config", "layer_norm_eps", 2) == model_errc::bad_config);
}

TEST_CASE("clip: what towers were made of goes before their own configuration", "[models]")
{
    const clip_case expected{"plain_f32"};
    spoiled_copy copy{clip_dir("plain_f32")};
    copy.edit("config.json", [](nlohmann::json& json) {
        json["text_config_dict"] = {{"hidden_act", json["text_config"]["hidden_act"]}};
        json["text_config"]["hidden_act"] = "relu";
        json["vision_config_dict"] = nullptr;
    });
    check_model(*load_clip(copy.path()), expected, 1e-4F);
}

TEST_CASE("clip: preprocessing that does not fit the tower is refused", "[models]")
{
    spoiled_copy copy{clip_dir("plain_f32")};
    copy.set("preprocessor_config.json", "crop_size", 31);
    CHECK(load_failure(copy.path(), "31 x 31") == model_errc::bad_config);
    CHECK_THROWS_WITH(
        models::blocking_read_checkpoint_facts(copy.path()), Catch::Contains("31 x 31"));
    copy.set("preprocessor_config.json", "do_center_crop", false);
    CHECK(load_failure(copy.path(), "any number of") == model_errc::bad_config);
    copy.remove("preprocessor_config.json");
    CHECK(load_failure(copy.path(), "preprocessor_config.json") == model_errc::bad_file);
}

TEST_CASE("clip: devices and dtypes that it lacks are refused by name", "[models]")
{
    const auto dir = clip_dir("plain_f32");
    CHECK_THROWS_WITH(
        load_clip(dir, load_options{device::cuda(0)}), Catch::Contains("supported: cpu"));
    CHECK_THROWS_WITH(
        load_clip(dir, load_options{}.dtype(dtype::q4_k)), Catch::Contains("auto, f32, bf16"));
}

}  // namespace modelpool
