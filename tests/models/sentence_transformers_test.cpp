#include <catch2/catch.hpp>

#include "models/sentence_transformers.hpp"
#include "support/failure.hpp"
#include "support/temp_dir.hpp"

namespace modelpool {
namespace {

using models::blocking_read_sentence_modules;
using models::dense_activation;
using models::dense_config;
using models::normalize_config;
using models::pooling_mode;
using models::sentence_modules;
using testing::failure;
using testing::temp_dir;

constexpr std::string_view transformer =
    R"({"idx":0,"name":"0","path":"","type":"sentence_transformers.models.Transformer"})";

std::string module(std::string_view type, std::string_view path)
{
    return R"({"idx":1,"name":"1","path":")" + std::string{path} + R"(","type":")" +
           std::string{type} + "\"}";
}

// A folder whose modules.json is a Transformer and then `modules`.
void write_modules(const temp_dir& dir, const std::vector<std::string>& modules)
{
    std::string text = "[" + std::string{transformer};
    for (const std::string& entry : modules)
        text += "," + entry;
    dir.write("modules.json", text + "]");
}

std::vector<pooling_mode> modes_of(std::string_view config)
{
    const temp_dir dir;
    write_modules(dir, {module("sentence_transformers.models.Pooling", "1_Pooling")});
    dir.write("1_Pooling/config.json", config);
    return blocking_read_sentence_modules(dir.path()).pooling.modes;
}

std::string text_of_bad(boost::system::error_code code, const temp_dir& dir)
{
    return failure(code, [&] { blocking_read_sentence_modules(dir.path()); });
}

}  // namespace

TEST_CASE("sentence-transformers: a folder without its files is mean-pooled", "[models]")
{
    const temp_dir dir;
    const sentence_modules modules = blocking_read_sentence_modules(dir.path());
    CHECK(modules.pooling.modes == std::vector{pooling_mode::mean});
    CHECK(modules.pooling.include_prompt);
    CHECK(modules.transformer_dir == dir.path());
    CHECK(modules.head.empty());
    CHECK(!modules.max_tokens);
    CHECK(!modules.lower_case);
    CHECK(modules.prompts.empty());
    CHECK(modules.output_dim(384) == 384);
}

TEST_CASE("sentence-transformers: pooling switches join in their fixed order", "[models]")
{
    CHECK(modes_of(R"({"word_embedding_dimension":8})") == std::vector{pooling_mode::mean});
    CHECK(
        modes_of(R"({"pooling_mode_lasttoken":true,"pooling_mode_cls_token":true,
                     "pooling_mode_mean_tokens":false})") ==
        std::vector{pooling_mode::cls, pooling_mode::lasttoken});
    CHECK(
        modes_of(R"({"pooling_mode_weightedmean_tokens":true,"pooling_mode_max_tokens":true,
                     "pooling_mode_mean_sqrt_len_tokens":true})") ==
        std::vector{
            pooling_mode::max, pooling_mode::mean_sqrt_len_tokens, pooling_mode::weightedmean});
}

TEST_CASE("sentence-transformers: pooling names go before switches", "[models]")
{
    CHECK(
        modes_of(R"({"pooling_mode":"lasttoken","pooling_mode_cls_token":true})") ==
        std::vector{pooling_mode::lasttoken});
    CHECK(
        modes_of(R"({"pooling_mode":["weightedmean","cls"]})") ==
        std::vector{pooling_mode::weightedmean, pooling_mode::cls});
}

TEST_CASE("sentence-transformers: a pooling that is not known is refused by name", "[models]")
{
    const temp_dir dir;
    write_modules(dir, {module("sentence_transformers.models.Pooling", "1_Pooling")});
    dir.write("1_Pooling/config.json", R"({"pooling_mode":"median"})");
    CHECK(text_of_bad(model_errc::unsupported, dir).find("'median'") != std::string::npos);
    for (const char* bad :
         {R"({"pooling_mode":[]})",
          R"({"pooling_mode":3})",
          R"({"pooling_mode":[3]})",
          R"({"pooling_mode_cls_token":1})",
          R"({"include_prompt":"yes"})",
          R"({"embedding_dimension":0})",
          R"({"word_embedding_dimension":-1})",
          R"([])"}) {
        CAPTURE(bad);
        dir.write("1_Pooling/config.json", bad);
        text_of_bad(model_errc::bad_config, dir);
    }
}

TEST_CASE(
    "sentence-transformers: module names of older and newer releases mean the same", "[models]")
{
    const temp_dir dir;
    dir.write(
        "modules.json",
        "[" +
            module("sentence_transformers.base.modules.transformer.Transformer", "0_Transformer") +
            "," +
            module(
                "sentence_transformers.sentence_transformer.modules.pooling.Pooling", "1_Pooling") +
            "," + module("sentence_transformers.base.modules.normalize.Normalize", "2_Normalize") +
            "]");
    dir.write("1_Pooling/config.json", R"({"pooling_mode":"cls","include_prompt":false})");
    dir.write("0_Transformer/sentence_bert_config.json", R"({"max_seq_length":99})");
    const sentence_modules modules = blocking_read_sentence_modules(dir.path());
    CHECK(modules.transformer_dir == dir / "0_Transformer");
    CHECK(modules.max_tokens == 99);
    CHECK(!modules.pooling.include_prompt);
    CHECK(modules.head.empty());  // the Normalize at the end is the caller's
}

TEST_CASE("sentence-transformers: what follows the pooling is kept in order", "[models]")
{
    const temp_dir dir;
    write_modules(
        dir,
        {module("sentence_transformers.models.Pooling", "1_Pooling"),
         module("sentence_transformers.models.Normalize", "2_Normalize"),
         module("sentence_transformers.models.Dropout", "3_Dropout"),
         module("sentence_transformers.models.Dense", "4_Dense"),
         module("sentence_transformers.models.Normalize", "5_Normalize")});
    dir.write("1_Pooling/config.json", R"({"pooling_mode":["cls","max"]})");
    dir.write(
        "4_Dense/config.json",
        R"({"in_features":8,"out_features":5,"bias":false,
            "activation_function":"torch.nn.modules.activation.ReLU"})");
    const sentence_modules modules = blocking_read_sentence_modules(dir.path());
    REQUIRE(modules.head.size() == 2);
    CHECK(std::holds_alternative<normalize_config>(modules.head[0]));
    const auto& dense = std::get<dense_config>(modules.head[1]);
    CHECK(dense.in_features == 8);
    CHECK(dense.out_features == 5);
    CHECK(!dense.bias);
    CHECK(!dense.residual);
    CHECK(dense.activation == dense_activation::relu);
    CHECK(modules.output_dim(4) == 5);
    models::check_dimensions(modules, 4, dir.path());
    failure(model_errc::bad_config, [&] { models::check_dimensions(modules, 5, dir.path()); });
}

TEST_CASE(
    "sentence-transformers: a Dense without an activation has the reference's default", "[models]")
{
    const temp_dir dir;
    write_modules(
        dir,
        {module("sentence_transformers.models.Pooling", "1_Pooling"),
         module("sentence_transformers.models.Dense", "2_Dense")});
    dir.write("1_Pooling/config.json", "{}");
    dir.write("2_Dense/config.json", R"({"in_features":8,"out_features":5})");
    const sentence_modules modules = blocking_read_sentence_modules(dir.path());
    CHECK(std::get<dense_config>(modules.head.at(0)).activation == dense_activation::tanh);
    for (const char* name : {"torch.nn.modules.activation.Softmax", "builtins.eval"}) {
        dir.write(
            "2_Dense/config.json",
            R"({"in_features":8,"out_features":5,"activation_function":")" + std::string{name} +
                "\"}");
        CHECK(text_of_bad(model_errc::unsupported, dir).find(name) != std::string::npos);
    }
    dir.write(
        "2_Dense/config.json",
        R"({"in_features":8,"out_features":5,"module_input_name":"token_embeddings"})");
    CHECK(
        text_of_bad(model_errc::unsupported, dir).find("'token_embeddings'") != std::string::npos);
    dir.write("2_Dense/config.json", R"({"in_features":8,"out_features":0})");
    CHECK(text_of_bad(model_errc::bad_config, dir).find("'out_features'") != std::string::npos);
}

TEST_CASE("sentence-transformers: modules that cannot be run are refused by name", "[models]")
{
    const temp_dir dir;
    dir.write("1_Pooling/config.json", "{}");
    const std::string pooling = module("sentence_transformers.models.Pooling", "1_Pooling");
    write_modules(dir, {module("sentence_transformers.models.LSTM", "1_LSTM"), pooling});
    CHECK(text_of_bad(model_errc::unsupported, dir).find("'LSTM'") != std::string::npos);
    write_modules(dir, {pooling, module("sentence_transformers.models.LayerNorm", "2_LayerNorm")});
    CHECK(text_of_bad(model_errc::unsupported, dir).find("'LayerNorm'") != std::string::npos);
    write_modules(dir, {pooling, module("custom_code.Pooling", "2_Pooling")});
    CHECK(
        text_of_bad(model_errc::unsupported, dir).find("'custom_code.Pooling'") !=
        std::string::npos);
    write_modules(dir, {pooling, pooling});
    text_of_bad(model_errc::unsupported, dir);
    write_modules(dir, {});
    CHECK(text_of_bad(model_errc::unsupported, dir).find("no Pooling") != std::string::npos);
    dir.write("modules.json", "[" + module("sentence_transformers.models.BoW", "") + "]");
    CHECK(text_of_bad(model_errc::unsupported, dir).find("'BoW'") != std::string::npos);
}

TEST_CASE("sentence-transformers: a malformed modules.json is refused", "[models]")
{
    const temp_dir dir;
    for (const char* bad :
         {"",
          "[",
          "{}",
          "[]",
          "[1]",
          R"([{"type":"sentence_transformers.models.Transformer"}])",
          R"([{"path":"","type":7}])"}) {
        CAPTURE(bad);
        dir.write("modules.json", bad);
        CHECK(text_of_bad(model_errc::bad_config, dir).find("modules.json") != std::string::npos);
    }
}

TEST_CASE("sentence-transformers: a module's path stays inside the checkpoint", "[models]")
{
    const temp_dir dir;
    for (const char* bad : {"../1_Pooling", "a/../../b", "/etc", ".."}) {
        CAPTURE(bad);
        write_modules(dir, {module("sentence_transformers.models.Pooling", bad)});
        CHECK(text_of_bad(model_errc::bad_config, dir).find(bad) != std::string::npos);
    }
}

TEST_CASE("sentence-transformers: the limit of tokens is the first that is given", "[models]")
{
    const temp_dir dir;
    dir.write("tokenizer_config.json", R"({"model_max_length":1000000000000000019884624838656})");
    CHECK(!blocking_read_sentence_modules(dir.path()).max_tokens);
    dir.write("tokenizer_config.json", R"({"model_max_length":77})");
    CHECK(blocking_read_sentence_modules(dir.path()).max_tokens == 77);
    dir.write("sentence_bert_config.json", R"({"max_seq_length":null,"do_lower_case":true})");
    CHECK(blocking_read_sentence_modules(dir.path()).max_tokens == 77);
    CHECK(blocking_read_sentence_modules(dir.path()).lower_case);
    dir.write("sentence_bert_config.json", R"({"max_seq_length":33})");
    CHECK(blocking_read_sentence_modules(dir.path()).max_tokens == 33);
    dir.write("sentence_bert_config.json", R"({"max_seq_length":0})");
    CHECK(text_of_bad(model_errc::bad_config, dir).find("'max_seq_length'") != std::string::npos);
}

TEST_CASE("sentence-transformers: prompts are read by name", "[models]")
{
    const temp_dir dir;
    dir.write(
        "config_sentence_transformers.json",
        R"({"prompts":{"query":"q: ","passage":null},"default_prompt_name":"query"})");
    const sentence_modules modules = blocking_read_sentence_modules(dir.path());
    CHECK(modules.prompts.at("query") == "q: ");
    CHECK(modules.prompts.at("passage").empty());
    CHECK(modules.default_prompt == "query");
    for (const char* bad :
         {R"({"prompts":[]})",
          R"({"prompts":{"query":1}})",
          R"({"prompts":{},"default_prompt_name":"query"})",
          R"({"default_prompt_name":1})"}) {
        CAPTURE(bad);
        dir.write("config_sentence_transformers.json", bad);
        text_of_bad(model_errc::bad_config, dir);
    }
}

}  // namespace modelpool
