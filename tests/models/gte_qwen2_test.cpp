#include <modelpool/models/gte_qwen2.hpp>

#include <catch2/catch.hpp>

#include <tuple>

#include "models/embedding_checks.hpp"
#include "models/embedding_fixture.hpp"
#include "support/failure.hpp"
#include "support/stop.hpp"

namespace modelpool {
namespace {

using models::load_gte_qwen2;
using models::load_options;
using nlohmann::json;
using testing::embedding_case;
using testing::failure;
using testing::spoiled_copy;

constexpr float tolerance = 2e-5F;

std::filesystem::path gte_dir(std::string_view name)
{
    return testing::checkpoint_dir("gte_qwen2", name);
}

}  // namespace

TEST_CASE("gte-qwen2: ids and rows are those of transformers", "[models]")
{
    const std::string name = GENERATE("sharded_f16", "long_bf16", "plain_f32");
    CAPTURE(name);
    const auto model = load_gte_qwen2(gte_dir(name));
    check_case(*model, embedding_case{gte_dir(name)}, tolerance);
}

TEST_CASE("gte-qwen2: a row does not depend on its neighbours", "[models]")
{
    const std::string name = GENERATE("sharded_f16", "plain_f32");
    const auto model = load_gte_qwen2(gte_dir(name));
    check_neighbours(*model, embedding_case{gte_dir(name)}, tolerance);
}

TEST_CASE("gte-qwen2: a replica shares the weights and outlives the first one", "[models]")
{
    check_replica(
        load_gte_qwen2(gte_dir("sharded_f16")), embedding_case{gte_dir("sharded_f16")}, tolerance);
}

TEST_CASE("gte-qwen2: every layer is a step, and a stop ends the batch at the next one", "[models]")
{
    const auto model = load_gte_qwen2(gte_dir("sharded_f16"));
    check_steps(*model, embedding_case{gte_dir("sharded_f16")}, 2, tolerance);
}

TEST_CASE("gte-qwen2: bf16 layers stay close to f32", "[models]")
{
    const std::string name = GENERATE("sharded_f16", "long_bf16", "plain_f32");
    const auto model = load_gte_qwen2(gte_dir(name), load_options{}.dtype(dtype::bf16));
    check_direction(*model, embedding_case{gte_dir(name)}, 0.99);
}

TEST_CASE("gte-qwen2: its facts are told without loading it", "[models]")
{
    const std::string name = GENERATE("sharded_f16", "long_bf16", "plain_f32");
    CAPTURE(name);
    testing::check_facts(gte_dir(name), "gte-qwen2", *load_gte_qwen2(gte_dir(name)));
}

TEST_CASE("gte-qwen2: f32 weights are all used in place", "[models]")
{
    CHECK(load_gte_qwen2(gte_dir("plain_f32"))->bytes().shared_bytes == 0);
}

TEST_CASE("gte-qwen2: the token that ends a text stays when the text is cut", "[models]")
{
    const embedding_case expected{gte_dir("plain_f32")};
    const auto model = load_gte_qwen2(gte_dir("plain_f32"));
    const std::int32_t end = expected.ids[0].back();
    embed_input input = expected.input(0, *model);
    input.max_tokens = 5;
    const prepared_text cut = model->prepare(input);
    CHECK(cut.n_tokens() == 5);
    CHECK(cut.tokens.back() == end);
    input.text = "";
    CHECK(model->prepare(input).tokens == std::vector<std::int32_t>{end});
}

TEST_CASE("gte-qwen2: the prompt of modules' files is told and not used unasked", "[models]")
{
    const auto model = load_gte_qwen2(gte_dir("sharded_f16"));
    CHECK(model->info().prompts.at("query") == "Instruct: find it\nQuery: ");
    CHECK(!model->info().default_prompt);
}

TEST_CASE("gte-qwen2: a decoder that stayed one is refused", "[models]")
{
    spoiled_copy causal{gte_dir("sharded_f16")};
    causal.set("config.json", "is_causal", true);
    const std::string text =
        failure(model_errc::unsupported, [&] { load_gte_qwen2(causal.path()); });
    CHECK(text.find("causal") != std::string::npos);
    const models::checkpoint_facts facts = models::blocking_read_checkpoint_facts(causal.path());
    CHECK(facts.family == "qwen2");
    CHECK(!facts.runnable());
}

TEST_CASE("gte-qwen2: what a configuration must not say is named", "[models]")
{
    const auto [key, value, part, code] =
        GENERATE(table<std::string, json, std::string, model_errc>({
            {"hidden_size", nullptr, "hidden_size", model_errc::bad_config},
            {"hidden_size", 25, "must be a multiple of", model_errc::bad_config},
            {"num_key_value_heads", 4, "'num_key_value_heads'", model_errc::bad_config},
            {"head_dim", 3, "even size", model_errc::bad_config},
            {"max_position_embeddings", 0, "max_position_embeddings", model_errc::bad_config},
            {"rms_norm_eps", 2, "rms_norm_eps", model_errc::bad_config},
            {"rope_theta", 0, "rope_theta", model_errc::bad_config},
            {"rope_scaling", json::object(), "rope_scaling", model_errc::unsupported},
            {"hidden_act", "mish", "'mish'", model_errc::unsupported},
            {"model_type", "bert", "'bert'", model_errc::unsupported},
        }));
    CAPTURE(key);
    spoiled_copy spoiled{gte_dir("plain_f32")};
    spoiled.set("config.json", key, value);
    const std::string text = failure(code, [&] { load_gte_qwen2(spoiled.path()); });
    CHECK(text.find(part) != std::string::npos);
}

TEST_CASE("gte-qwen2: a missing or misshapen tensor is named", "[models]")
{
    const std::string name = "layers.0.self_attn.k_proj.bias";
    spoiled_copy missing{gte_dir("plain_f32")};
    missing.edit_weights([&](auto& tensors) { tensors.erase(name); });
    std::string text = failure(model_errc::missing_tensor, [&] { load_gte_qwen2(missing.path()); });
    CHECK(text.find("'" + name + "'") != std::string::npos);

    spoiled_copy fewer_heads{gte_dir("plain_f32")};
    fewer_heads.set("config.json", "num_key_value_heads", 3);
    text = failure(model_errc::shape_mismatch, [&] { load_gte_qwen2(fewer_heads.path()); });
    CHECK(text.find("k_proj.weight") != std::string::npos);
    CHECK(text.find("[12, 24]") != std::string::npos);
}

TEST_CASE("gte-qwen2: a shard that is not there is named", "[models]")
{
    spoiled_copy spoiled{gte_dir("sharded_f16")};
    spoiled.remove("model-00002-of-00002.safetensors");
    const std::string text = failure(model_errc::bad_file, [&] { load_gte_qwen2(spoiled.path()); });
    CHECK(text.find("model-00002-of-00002.safetensors") != std::string::npos);
}

}  // namespace modelpool
