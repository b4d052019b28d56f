#include <modelpool/models/bert.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <tuple>

#include "bert_fixture.hpp"
#include "support/failure.hpp"

namespace modelpool {
namespace {

using models::load_bert;
using models::load_options;
using testing::bert_case;
using testing::bert_dir;
using testing::failure;
using testing::spoiled_checkpoint;
using testing::stored_tensor;
using tensors = std::map<std::string, stored_tensor>;
using nlohmann::json;

bool holds(const std::string& text, std::string_view part)
{
    return text.find(part) != std::string::npos;
}

// Whether the checkpoint in `dir` gives the rows of the case `name`.
bool computes(const std::filesystem::path& dir, std::string_view name)
{
    const bert_case expected{name};
    const auto model = load_bert(dir);
    const std::vector<prepared_text> batch = expected.prepare(*model);
    run_context context;
    const auto found = model->run(batch, context);
    for (std::size_t i = 0; i < batch.size(); ++i)
        for (std::size_t k = 0; k < expected.rows[i].size(); ++k)
            if (!(std::abs(found[i].value()[k] - expected.rows[i][k]) < 1e-5F)) return false;
    return true;
}

}  // namespace

TEST_CASE("bert: a configuration field out of its range is named", "[models]")
{
    const auto [key, value, part] = GENERATE(table<std::string, json, std::string>({
        {"hidden_size", nullptr, "is missing"},
        {"vocab_size", nullptr, "is missing"},
        {"num_hidden_layers", nullptr, "is missing"},
        {"num_attention_heads", nullptr, "is missing"},
        {"intermediate_size", nullptr, "is missing"},
        {"hidden_size", 0, "found 0"},
        {"hidden_size", -16, "found -16"},
        {"hidden_size", "16", "must be an integer"},
        {"hidden_size", 16.5, "must be an integer"},
        {"vocab_size", 18446744073709551615ULL, "must lie in"},
        {"num_hidden_layers", 1000000, "must lie in"},
        {"num_attention_heads", 3, "must be a multiple of"},
        {"intermediate_size", json::array(), "must be an integer"},
        {"max_position_embeddings", 0, "must lie in"},
        {"type_vocab_size", 0, "must lie in"},
        {"layer_norm_eps", -1.0, "must lie in [0, 1)"},
        {"layer_norm_eps", "tiny", "must be a number"},
        {"hidden_act", 1, "must be a string"},
        {"is_decoder", "no", "must be true or false"},
    }));
    CAPTURE(key, value);
    spoiled_checkpoint checkpoint{"plain_f32"};
    checkpoint.set("config.json", key, value);
    const std::string text = failure(model_errc::bad_config, [&] { load_bert(checkpoint.path()); });
    CHECK(holds(text, "config.json"));
    CHECK(holds(text, "'" + key + "'"));
    CHECK(holds(text, part));
}

TEST_CASE("bert: another architecture is refused by name", "[models]")
{
    const auto [key, value] = GENERATE(table<std::string, json>({
        {"model_type", "roberta"},
        {"position_embedding_type", "alibi"},
        {"position_embedding_type", "relative_key_query"},
        {"hidden_act", "quick_gelu"},
        {"is_decoder", true},
        {"add_cross_attention", true},
    }));
    CAPTURE(key, value);
    spoiled_checkpoint checkpoint{"plain_f32"};
    checkpoint.set("config.json", key, value);
    const std::string text =
        failure(model_errc::unsupported, [&] { load_bert(checkpoint.path()); });
    CHECK(holds(text, "'" + key + "'"));
    if (value.is_string()) CHECK(holds(text, "'" + value.get<std::string>() + "'"));
}

TEST_CASE("bert: a configuration that is missing or no JSON is refused", "[models]")
{
    spoiled_checkpoint none{"plain_f32"};
    none.remove("config.json");
    CHECK(holds(
        failure(model_errc::bad_config, [&] { load_bert(none.path()); }),
        "config.json: no such file"));
    spoiled_checkpoint broken{"plain_f32"};
    broken.write("config.json", "{\"vocab_size\": 79,");
    CHECK(holds(
        failure(model_errc::bad_config, [&] { load_bert(broken.path()); }), "not valid JSON"));
    spoiled_checkpoint list{"plain_f32"};
    list.write("config.json", "[]");
    CHECK(holds(
        failure(model_errc::bad_config, [&] { load_bert(list.path()); }), "expected an object"));
}

TEST_CASE("bert: a missing tensor is named", "[models]")
{
    const std::string name = GENERATE(
        "embeddings.word_embeddings.weight",
        "embeddings.LayerNorm.bias",
        "encoder.layer.0.attention.self.key.bias",
        "encoder.layer.1.intermediate.dense.weight",
        "encoder.layer.1.output.LayerNorm.weight");
    spoiled_checkpoint checkpoint{"plain_f32"};
    checkpoint.edit_weights([&](tensors& all) { REQUIRE(all.erase(name) == 1); });
    const std::string text =
        failure(model_errc::missing_tensor, [&] { load_bert(checkpoint.path()); });
    CHECK(holds(text, "tensor '" + name + "' is missing"));
    CHECK(holds(text, checkpoint.path().string()));
}

TEST_CASE("bert: a tensor of another shape is named with both shapes", "[models]")
{
    const std::string name = "encoder.layer.1.intermediate.dense.weight";
    spoiled_checkpoint checkpoint{"plain_f32"};
    checkpoint.edit_weights([&](tensors& all) { all.at(name).shape = {16, 24}; });
    const std::string text =
        failure(model_errc::shape_mismatch, [&] { load_bert(checkpoint.path()); });
    CHECK(holds(text, name));
    CHECK(holds(text, "[16, 24]"));
    CHECK(holds(text, "[24, 16]"));
}

TEST_CASE("bert: weights that are not floating-point are named", "[models]")
{
    const std::string name = "encoder.layer.0.output.dense.bias";
    spoiled_checkpoint checkpoint{"plain_f32"};
    checkpoint.edit_weights([&](tensors& all) { all.at(name).dtype = "I32"; });
    const std::string text =
        failure(model_errc::dtype_mismatch, [&] { load_bert(checkpoint.path()); });
    CHECK(holds(text, name));
    CHECK(holds(text, "I32"));
}

TEST_CASE("bert: tensors that the encoder does not need are ignored", "[models]")
{
    spoiled_checkpoint checkpoint{"plain_f32"};
    checkpoint.edit_weights([](tensors& all) {
        all["embeddings.position_ids"] = {"I64", {1, 2}, std::string(16, '\0')};
        all.erase("pooler.dense.weight");
    });
    CHECK(computes(checkpoint.path(), "plain_f32"));
}

TEST_CASE("bert: norms named gamma and beta are read", "[models]")
{
    spoiled_checkpoint checkpoint{"plain_f32"};
    checkpoint.edit_weights([](tensors& all) {
        tensors renamed;
        for (auto& [name, tensor] : all) {
            std::string other = name;
            for (const auto& [now, once] :
                 {std::pair{"LayerNorm.weight", "LayerNorm.gamma"},
                  std::pair{"LayerNorm.bias", "LayerNorm.beta"}})
                if (other.ends_with(now))
                    other.replace(
                        other.size() - std::string_view{now}.size(), std::string::npos, once);
            renamed[other] = std::move(tensor);
        }
        all = std::move(renamed);
    });
    CHECK(computes(checkpoint.path(), "plain_f32"));
}

TEST_CASE("bert: weights that lie unaligned in their file are read", "[models]")
{
    const std::string name = GENERATE("plain_f32", "mean_f16");
    spoiled_checkpoint checkpoint{name};
    checkpoint.edit_weights([](tensors&) {}, 1);
    CHECK(computes(checkpoint.path(), name));
    // Nothing can be used in place.
    CHECK(load_bert(checkpoint.path())->bytes().mapped_bytes == 0);
}

TEST_CASE("bert: a checkpoint under 0_Transformer is found", "[models]")
{
    spoiled_checkpoint checkpoint{"mean_f16"};
    for (const char* file :
         {"config.json",
          "model.safetensors",
          "tokenizer.json",
          "tokenizer_config.json",
          "sentence_bert_config.json"}) {
        std::filesystem::create_directories(checkpoint.path() / "0_Transformer");
        std::filesystem::rename(
            checkpoint.path() / file, checkpoint.path() / "0_Transformer" / file);
    }
    checkpoint.edit("modules.json", [](json& modules) { modules[0]["path"] = "0_Transformer"; });
    CHECK(computes(checkpoint.path(), "mean_f16"));
}

TEST_CASE("bert: pooling and Dense must fit the rows they get", "[models]")
{
    spoiled_checkpoint pooling{"mean_f16"};
    pooling.set("1_Pooling/config.json", "word_embedding_dimension", 8);
    const std::string text = failure(model_errc::bad_config, [&] { load_bert(pooling.path()); });
    CHECK(holds(text, "8 numbers"));
    CHECK(holds(text, "16"));
    spoiled_checkpoint dense{"joined_dense"};
    dense.set("2_Dense/config.json", "in_features", 16);
    CHECK(holds(
        failure(model_errc::bad_config, [&] { load_bert(dense.path()); }), "'in_features' is 16"));
}

TEST_CASE("bert: a Dense module's own weights are checked", "[models]")
{
    spoiled_checkpoint checkpoint{"joined_dense"};
    checkpoint.set("4_Dense/config.json", "out_features", 7);
    CHECK(holds(
        failure(model_errc::shape_mismatch, [&] { load_bert(checkpoint.path()); }),
        "linear.weight"));
    spoiled_checkpoint without{"joined_dense"};
    without.remove("2_Dense/model.safetensors");
    CHECK(holds(
        failure(model_errc::bad_file, [&] { load_bert(without.path()); }), "model.safetensors"));
}

TEST_CASE("bert: dtypes and devices that it lacks are refused by name", "[models]")
{
    for (const dtype value : {dtype::f16, dtype::int8, dtype::q8_0, dtype::q4_k}) {
        const std::string text = failure(model_errc::unsupported, [&] {
            load_bert(bert_dir("plain_f32"), load_options{}.dtype(value));
        });
        CHECK(holds(text, "'" + std::string{to_string(value)} + "'"));
    }
    CHECK(holds(
        failure(model_errc::unsupported, [] { load_bert(bert_dir("plain_f32"), device::cuda(1)); }),
        "'cuda:1'"));
}

TEST_CASE("bert: a checkpoint without a tokenizer or weights names the file", "[models]")
{
    spoiled_checkpoint tokenizer{"plain_f32"};
    tokenizer.remove("tokenizer.json");
    CHECK(holds(
        failure(text_errc::bad_file, [&] { load_bert(tokenizer.path()); }), "tokenizer.json"));
    spoiled_checkpoint weights{"plain_f32"};
    weights.remove("model.safetensors");
    CHECK(holds(
        failure(model_errc::bad_file, [&] { load_bert(weights.path()); }), "model.safetensors"));
}

TEST_CASE(
    "bert: rows may be cut where the configuration says that the model is trained so", "[models]")
{
    spoiled_checkpoint checkpoint{"plain_f32"};
    CHECK(!load_bert(checkpoint.path())->info().cuttable);
    checkpoint.set("config.json", "matryoshka_dimensions", {8, 4});
    CHECK(load_bert(checkpoint.path())->info().cuttable);
    checkpoint.set("config.json", "is_matryoshka", false);
    CHECK(!load_bert(checkpoint.path())->info().cuttable);
    checkpoint.set("config.json", "is_matryoshka", true);
    checkpoint.set("config.json", "matryoshka_dimensions", nullptr);
    CHECK(load_bert(checkpoint.path())->info().cuttable);
    checkpoint.set("config.json", "matryoshka_dimensions", "all");
    CHECK(failure(model_errc::bad_config, [&] {
              load_bert(checkpoint.path());
          }).find("'matryoshka_dimensions' must be an array") != std::string::npos);
}

TEST_CASE("bert: a tokenizer that gives tokens unknown to the model fails the text", "[models]")
{
    spoiled_checkpoint checkpoint{"plain_f32"};
    checkpoint.set("config.json", "vocab_size", 50);
    checkpoint.edit_weights([](tensors& all) {
        stored_tensor& table = all.at("embeddings.word_embeddings.weight");
        table.shape = {50, 16};
        table.bytes.resize(std::size_t{50} * 16 * sizeof(float));
    });
    const auto model = load_bert(checkpoint.path());
    embed_input input;
    input.text = "zebra";
    input.dimension = model->info().dim;
    input.max_tokens = model->info().max_tokens;
    CHECK(holds(failure(text_errc::bad_id, [&] { model->prepare(input); }), "50"));
}

}  // namespace modelpool
