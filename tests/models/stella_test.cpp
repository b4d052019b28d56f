#include <modelpool/models/stella.hpp>

#include <catch2/catch.hpp>

#include <tuple>

#include "models/embedding_checks.hpp"
#include "models/embedding_fixture.hpp"
#include "support/failure.hpp"

namespace modelpool {
namespace {

using models::load_options;
using models::load_stella;
using nlohmann::json;
using testing::embedding_case;
using testing::failure;
using testing::spoiled_copy;

constexpr float tolerance = 2e-5F;

std::filesystem::path stella_dir(std::string_view name)
{
    return testing::checkpoint_dir("stella", name);
}

}  // namespace

TEST_CASE("stella: ids and rows are those of the reference", "[models]")
{
    const std::string name = GENERATE("new_f32", "new_plain_f16", "qwen2_f16");
    CAPTURE(name);
    const auto model = load_stella(stella_dir(name));
    check_case(*model, embedding_case{stella_dir(name)}, tolerance);
}

TEST_CASE("stella: each size of a row has its head, in one batch", "[models]")
{
    const std::string name = GENERATE("new_f32", "qwen2_f16");
    CAPTURE(name);
    const embedding_case expected{stella_dir(name)};
    const auto model = load_stella(stella_dir(name));
    std::vector<prepared_text> batch;
    std::vector<std::vector<float>> rows;
    for (std::size_t i = 0; i < expected.texts.size(); ++i)
        for (const auto& [dim, rows_of_dim] : expected.rows_by_dim) {
            embed_input input = expected.input(i, *model);
            input.dimension = std::stoul(dim);
            batch.push_back(model->prepare(input));
            rows.push_back(rows_of_dim[i]);
        }
    CHECK(model->info().dimensions.size() == expected.rows_by_dim.size());
    const testing::embedding_rows found = testing::run(*model, batch);
    for (std::size_t i = 0; i < batch.size(); ++i) {
        REQUIRE(found[i].ok());
        CHECK(testing::largest_difference(found[i].value(), rows[i]) < tolerance);
    }
}

TEST_CASE("stella: the sizes of a row are told, and another one is refused", "[models]")
{
    const auto model = load_stella(stella_dir("new_f32"));
    CHECK(model->info().dim == 20);
    CHECK(model->info().dimensions == std::vector<std::size_t>{8, 20, 32});
    CHECK(!model->info().cuttable);
    const embedding_case expected{stella_dir("new_f32")};
    embed_input input = expected.input(0, *model);
    input.dimension = 9;
    const prepared_text odd = model->prepare(input);
    CHECK(!testing::run(*model, {&odd, 1})[0].ok());
    CHECK(load_stella(stella_dir("qwen2_f16"))->info().dim == 12);
    CHECK(
        load_stella(stella_dir("new_plain_f16"))->info().dimensions ==
        std::vector<std::size_t>{24});
}

TEST_CASE("stella: 1024 is the usual size where no file names one", "[models]")
{
    spoiled_copy spoiled{stella_dir("new_f32")};
    spoiled.remove("modules.json");
    CHECK(load_stella(spoiled.path())->info().dim == 8);
    std::filesystem::rename(spoiled.path() / "2_Dense_20", spoiled.path() / "2_Dense_1024");
    const auto set_size = [](auto& tensors) {
        tensors.clear();
        tensors["linear.weight"] = {"F32", {1024, 24}, std::string(1024 * 24 * 4, '\0')};
        tensors["linear.bias"] = {"F32", {1024}, std::string(1024 * 4, '\0')};
    };
    spoiled.edit_weights(set_size, 8, "2_Dense_1024/model.safetensors");
    spoiled.set("2_Dense_1024/config.json", "out_features", 1024);
    CHECK(load_stella(spoiled.path())->info().dim == 1024);
}

TEST_CASE("stella: a row does not depend on its neighbours", "[models]")
{
    const std::string name = GENERATE("new_f32", "qwen2_f16");
    const auto model = load_stella(stella_dir(name));
    check_neighbours(*model, embedding_case{stella_dir(name)}, tolerance);
}

TEST_CASE("stella: a replica shares the weights and outlives the first one", "[models]")
{
    const std::string name = GENERATE("new_f32", "qwen2_f16");
    check_replica(load_stella(stella_dir(name)), embedding_case{stella_dir(name)}, tolerance);
}

TEST_CASE("stella: every layer is a step, and a stop ends the batch at the next one", "[models]")
{
    const auto model = load_stella(stella_dir("new_f32"));
    check_steps(*model, embedding_case{stella_dir("new_f32")}, 2, tolerance);
}

TEST_CASE("stella: bf16 layers stay close to f32", "[models]")
{
    const std::string name = GENERATE("new_f32", "new_plain_f16", "qwen2_f16");
    const auto model = load_stella(stella_dir(name), load_options{}.dtype(dtype::bf16));
    check_direction(*model, embedding_case{stella_dir(name)}, 0.99);
}

TEST_CASE("stella: its facts are told without loading it", "[models]")
{
    const auto [name, family] = GENERATE(table<std::string, std::string>({
        {"new_f32", "stella"},
        {"new_plain_f16", "new"},
        {"qwen2_f16", "stella"},
    }));
    CAPTURE(name);
    testing::check_facts(stella_dir(name), family, *load_stella(stella_dir(name)));
}

TEST_CASE("stella: what a configuration must not say is named", "[models]")
{
    const auto [key, value, part, code] =
        GENERATE(table<std::string, json, std::string, model_errc>({
            {"hidden_size", nullptr, "hidden_size", model_errc::bad_config},
            {"num_attention_heads", 8, "even size", model_errc::bad_config},
            {"rope_theta", -1, "rope_theta", model_errc::bad_config},
            {"rope_scaling", 7, "'rope_scaling' must be an object", model_errc::bad_config},
            {"rope_scaling", {{"type", "yarn"}}, "'yarn'", model_errc::unsupported},
            {"rope_scaling", {{"type", "ntk"}, {"factor", 0.5}}, "factor", model_errc::bad_config},
            {"rope_scaling", {{"type", "ntk"}, {"mixed_b", 1}}, "mixed_b", model_errc::unsupported},
            {"position_embedding_type", "absolute", "'absolute'", model_errc::unsupported},
            {"layer_norm_type", "rms_norm", "'rms_norm'", model_errc::unsupported},
            {"logn_attention_scale", true, "logn_attention_scale", model_errc::unsupported},
            {"model_type", "bert", "'bert'", model_errc::unsupported},
        }));
    CAPTURE(key, part);
    spoiled_copy spoiled{stella_dir("new_f32")};
    spoiled.set("config.json", key, value);
    const std::string text = failure(code, [&] { load_stella(spoiled.path()); });
    CHECK(text.find(part) != std::string::npos);
}

TEST_CASE("stella: a head that does not fit is named", "[models]")
{
    spoiled_copy config{stella_dir("new_f32")};
    config.set("2_Dense_8/config.json", "in_features", 23);
    std::string text = failure(model_errc::bad_config, [&] { load_stella(config.path()); });
    CHECK(text.find("2_Dense_8") != std::string::npos);
    CHECK(text.find("23") != std::string::npos);

    spoiled_copy weights{stella_dir("new_f32")};
    weights.set("2_Dense_8/config.json", "out_features", 9);
    text = failure(model_errc::shape_mismatch, [&] { load_stella(weights.path()); });
    CHECK(text.find("linear.weight") != std::string::npos);
}

TEST_CASE("stella: a missing tensor is named", "[models]")
{
    const std::string name = "new.encoder.layer.1.mlp.up_gate_proj.weight";
    spoiled_copy missing{stella_dir("new_f32")};
    missing.edit_weights([&](auto& tensors) { tensors.erase(name); });
    const std::string text =
        failure(model_errc::missing_tensor, [&] { load_stella(missing.path()); });
    CHECK(text.find("'" + name + "'") != std::string::npos);
}

}  // namespace modelpool
