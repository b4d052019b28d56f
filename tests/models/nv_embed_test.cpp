#include <modelpool/models/nv_embed.hpp>

#include <catch2/catch.hpp>

#include <tuple>

#include "models/embedding_checks.hpp"
#include "models/embedding_fixture.hpp"
#include "support/failure.hpp"
#include "support/stop.hpp"

namespace modelpool {
namespace {

using models::load_nv_embed;
using models::load_options;
using nlohmann::json;
using testing::embedding_case;
using testing::failure;
using testing::spoiled_copy;

constexpr float tolerance = 2e-5F;

std::filesystem::path nv_dir(std::string_view name)
{
    return testing::checkpoint_dir("nv_embed", name);
}

}  // namespace

TEST_CASE("nv-embed: ids and rows are those of the vendor's formula", "[models]")
{
    const std::string name = GENERATE("query_f16", "long_bf16", "unit_f32");
    CAPTURE(name);
    const auto model = load_nv_embed(nv_dir(name));
    check_case(*model, embedding_case{nv_dir(name)}, tolerance);
}

TEST_CASE("nv-embed: a row does not depend on its neighbours", "[models]")
{
    const std::string name = GENERATE("query_f16", "unit_f32");
    const auto model = load_nv_embed(nv_dir(name));
    check_neighbours(*model, embedding_case{nv_dir(name)}, tolerance);
}

TEST_CASE("nv-embed: a replica shares the weights and outlives the first one", "[models]")
{
    check_replica(
        load_nv_embed(nv_dir("query_f16")), embedding_case{nv_dir("query_f16")}, tolerance);
}

TEST_CASE("nv-embed: every layer is a step, and a stop ends the batch at the next one", "[models]")
{
    const auto model = load_nv_embed(nv_dir("query_f16"));
    check_steps(*model, embedding_case{nv_dir("query_f16")}, 2, tolerance);
}

TEST_CASE("nv-embed: bf16 layers stay close to f32", "[models]")
{
    const std::string name = GENERATE("query_f16", "long_bf16", "unit_f32");
    const auto model = load_nv_embed(nv_dir(name), load_options{}.dtype(dtype::bf16));
    check_direction(*model, embedding_case{nv_dir(name)}, 0.99);
}

TEST_CASE("nv-embed: its facts are told without loading it", "[models]")
{
    const std::string name = GENERATE("query_f16", "long_bf16", "unit_f32");
    CAPTURE(name);
    testing::check_facts(nv_dir(name), "nv-embed", *load_nv_embed(nv_dir(name)));
}

TEST_CASE("nv-embed: the end of a text is put there before it is cut", "[models]")
{
    const embedding_case expected{nv_dir("long_bf16")};
    const auto model = load_nv_embed(nv_dir("long_bf16"));
    embed_input input = expected.input(0, *model);
    CHECK(model->prepare(input).tokens.back() == 2);
    input.max_tokens = 4;
    const prepared_text cut = model->prepare(input);
    CHECK(cut.n_tokens() == 4);
    CHECK(cut.tokens.front() == 1);
    CHECK(cut.tokens.back() != 2);
}

TEST_CASE("nv-embed: the instruction is counted without the token that begins a text", "[models]")
{
    const std::filesystem::path dir = nv_dir("query_f16");
    const auto expected = testing::read_json(dir / "case.json").at("n_prompt_tokens");
    const auto model = load_nv_embed(dir);
    const embedding_case one{dir};
    CHECK(model->prepare(one.input(0, *model)).n_prompt_tokens == expected.get<std::size_t>());
    embed_input without = one.input(0, *model);
    without.prompt = "";
    CHECK(model->prepare(without).n_prompt_tokens == 0);

    spoiled_copy unmasked{dir};
    unmasked.set("config.json", "is_mask_instruction", false);
    const auto other = load_nv_embed(unmasked.path());
    CHECK(other->prepare(one.input(0, *other)).n_prompt_tokens == 0);
}

TEST_CASE("nv-embed: what a configuration must not say is named", "[models]")
{
    const auto [change, part, code] = GENERATE(table<std::string, std::string, model_errc>({
        {R"({"model_type":"mistral"})", "'mistral'", model_errc::unsupported},
        {R"({"padding_side":"left"})", "'left'", model_errc::unsupported},
        {R"({"hidden_size":17})", "'hidden_size' must be the hidden size", model_errc::bad_config},
        {R"({"text_config":null})", "'text_config' must be an object", model_errc::bad_config},
        {R"({"text_config":{"vocab_size":0}})", "text_config", model_errc::bad_config},
        {R"({"latent_attention_config":7})", "latent_attention_config", model_errc::bad_config},
        {R"({"latent_attention_config":{"num_cross_heads":0}})",
         "num_cross_heads",
         model_errc::bad_config},
        {R"({"latent_attention_config":{"latent_dim":4}})", "latent_dim", model_errc::bad_config},
    }));
    CAPTURE(change);
    spoiled_copy spoiled{nv_dir("unit_f32")};
    spoiled.edit("config.json", [&](json& config) { config.update(json::parse(change)); });
    const std::string text = failure(code, [&] { load_nv_embed(spoiled.path()); });
    CHECK(text.find(part) != std::string::npos);
}

TEST_CASE("nv-embed: a missing or misshapen tensor is named", "[models]")
{
    const std::string kept = GENERATE(
        "latent_attention_model.latents",
        "latent_attention_model.cross_attend_blocks.0.fn.to_kv.weight",
        "latent_attention_model.cross_attend_blocks.1.fn.net.2.bias",
        "embedding_model.layers.0.mlp.up_proj.weight");
    spoiled_copy missing{nv_dir("unit_f32")};
    missing.edit_weights([&](auto& tensors) { tensors.erase(kept); });
    const std::string text =
        failure(model_errc::missing_tensor, [&] { load_nv_embed(missing.path()); });
    CHECK(text.find("'" + kept + "'") != std::string::npos);

    spoiled_copy misshapen{nv_dir("unit_f32")};
    misshapen.edit("config.json", [](json& config) {
        config["latent_attention_config"]["num_latents_value"] = 6;
    });
    CHECK(failure(model_errc::shape_mismatch, [&] {
              load_nv_embed(misshapen.path());
          }).find("[6, 8]") != std::string::npos);
}

}  // namespace modelpool
