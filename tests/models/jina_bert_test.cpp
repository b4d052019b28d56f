#include <modelpool/models/jina_bert.hpp>

#include <catch2/catch.hpp>

#include <tuple>

#include "models/embedding_checks.hpp"
#include "models/embedding_fixture.hpp"
#include "support/failure.hpp"
#include "support/stop.hpp"

namespace modelpool {
namespace {

using models::load_jina_bert;
using models::load_options;
using nlohmann::json;
using testing::embedding_case;
using testing::failure;
using testing::spoiled_copy;

constexpr float tolerance = 2e-5F;

std::filesystem::path jina_dir(std::string_view name)
{
    return testing::checkpoint_dir("jina_bert", name);
}

}  // namespace

TEST_CASE("jina-bert: ids and rows are those of the reference", "[models]")
{
    const std::string name = GENERATE("mean_f16", "long_bf16", "reglu_f32");
    CAPTURE(name);
    const auto model = load_jina_bert(jina_dir(name));
    check_case(*model, embedding_case{jina_dir(name)}, tolerance);
}

TEST_CASE("jina-bert: a row does not depend on its neighbours", "[models]")
{
    const std::string name = GENERATE("mean_f16", "reglu_f32");
    const auto model = load_jina_bert(jina_dir(name));
    check_neighbours(*model, embedding_case{jina_dir(name)}, tolerance);
}

TEST_CASE("jina-bert: a replica shares the weights and outlives the first one", "[models]")
{
    check_replica(
        load_jina_bert(jina_dir("mean_f16")), embedding_case{jina_dir("mean_f16")}, tolerance);
}

TEST_CASE("jina-bert: every layer is a step, and a stop ends the batch at the next one", "[models]")
{
    const auto model = load_jina_bert(jina_dir("mean_f16"));
    check_steps(*model, embedding_case{jina_dir("mean_f16")}, 2, tolerance);
}

TEST_CASE("jina-bert: bf16 layers stay close to f32", "[models]")
{
    const std::string name = GENERATE("mean_f16", "long_bf16", "reglu_f32");
    const auto model = load_jina_bert(jina_dir(name), load_options{}.dtype(dtype::bf16));
    check_direction(*model, embedding_case{jina_dir(name)}, 0.999);
}

TEST_CASE("jina-bert: matrices stay in the file as they are stored", "[models]")
{
    const auto model = load_jina_bert(jina_dir("mean_f16"));
    const footprint bytes = model->bytes();
    // Biases and norms are widened once, the token types with them.
    constexpr std::size_t hidden = 24;
    constexpr std::size_t layer_vectors = 4 + 1 + 2 + 2;
    CHECK(bytes.shared_bytes == sizeof(float) * hidden * (2 * layer_vectors + 2 + 2));
    CHECK(bytes.mapped_bytes > 4 * bytes.shared_bytes);
}

TEST_CASE("jina-bert: its facts are told without loading it", "[models]")
{
    const std::string name = GENERATE("mean_f16", "long_bf16", "reglu_f32");
    CAPTURE(name);
    testing::check_facts(jina_dir(name), "jina-bert", *load_jina_bert(jina_dir(name)));
}

TEST_CASE("jina-bert: what a configuration must not say is named", "[models]")
{
    const auto [key, value, part, code] =
        GENERATE(table<std::string, json, std::string, model_errc>({
            {"hidden_size", nullptr, "hidden_size", model_errc::bad_config},
            {"hidden_size", 25, "must be a multiple of", model_errc::bad_config},
            {"vocab_size", "many", "vocab_size", model_errc::bad_config},
            {"layer_norm_eps", -1, "layer_norm_eps", model_errc::bad_config},
            {"intermediate_size", 0, "intermediate_size", model_errc::bad_config},
            {"position_embedding_type", "absolute", "'absolute'", model_errc::unsupported},
            {"feed_forward_type", "original", "'original'", model_errc::unsupported},
            {"is_decoder", true, "is_decoder", model_errc::unsupported},
            {"model_type", "qwen2", "'qwen2'", model_errc::unsupported},
        }));
    CAPTURE(key);
    spoiled_copy spoiled{jina_dir("mean_f16")};
    spoiled.set("config.json", key, value);
    const std::string text = failure(code, [&] { load_jina_bert(spoiled.path()); });
    CHECK(text.find(part) != std::string::npos);
}

TEST_CASE("jina-bert: a missing or misshapen tensor is named", "[models]")
{
    const std::string name = "encoder.layer.1.mlp.gated_layers.weight";
    spoiled_copy missing{jina_dir("mean_f16")};
    missing.edit_weights([&](auto& tensors) { tensors.erase(name); });
    std::string text = failure(model_errc::missing_tensor, [&] { load_jina_bert(missing.path()); });
    CHECK(text.find(name) != std::string::npos);

    spoiled_copy misshapen{jina_dir("mean_f16")};
    misshapen.edit_weights([&](auto& tensors) { tensors.at(name).shape = {24, 40}; });
    text = failure(model_errc::shape_mismatch, [&] { load_jina_bert(misshapen.path()); });
    CHECK(text.find("[24, 40]") != std::string::npos);
    CHECK(text.find("[40, 24]") != std::string::npos);
}

TEST_CASE("jina-bert: devices, dtypes and stops", "[models]")
{
    failure(model_errc::unsupported, [] {
        load_jina_bert(jina_dir("mean_f16"), load_options{}.dtype(dtype::q4_k));
    });
    stop_source source;
    source.request_stop();
    failure(support::operation_aborted(), [&] {
        load_jina_bert(jina_dir("mean_f16"), load_options{}.stop(source.flag()));
    });
}

}  // namespace modelpool
