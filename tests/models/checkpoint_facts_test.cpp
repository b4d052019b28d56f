#include <modelpool/models/bert.hpp>

#include <catch2/catch.hpp>

#include "bert_fixture.hpp"
#include "models/checkpoint_facts.hpp"
#include "support/failure.hpp"

namespace modelpool {
namespace {

using models::blocking_read_checkpoint_facts;
using models::checkpoint_facts;
using testing::bert_dir;
using testing::failure;
using testing::spoiled_checkpoint;
using testing::temp_dir;

}  // namespace

TEST_CASE("checkpoint facts: a BERT checkpoint is described", "[models]")
{
    const checkpoint_facts facts = blocking_read_checkpoint_facts(bert_dir("mean_f16"));
    CHECK(facts.runnable());
    CHECK(facts.family == "bert");
    CHECK(facts.architecture == "BertModel");
    CHECK(facts.capability == "text_embedding");
    CHECK(facts.dim == 16);
    CHECK(facts.max_tokens == 12);
    CHECK(facts.n_layers == 2);
    CHECK(facts.hidden_size == 16);
    CHECK(facts.n_heads == 2);
    CHECK(facts.vocab_size == 79);
    CHECK(facts.n_parameters == 6032);
    CHECK(facts.weight_bytes == 2 * 6032);
    REQUIRE(facts.dtypes.size() == 1);
    CHECK(facts.dtypes[0].dtype == "F16");
    CHECK(facts.dtypes[0].n_parameters == 6032);
}

TEST_CASE("checkpoint facts: the memory told is what the loaded model holds", "[models]")
{
    const std::string name =
        GENERATE("plain_f32", "mean_f16", "cls_bf16", "max_sharded", "joined_dense", "wide_f32");
    CAPTURE(name);
    const checkpoint_facts facts = blocking_read_checkpoint_facts(bert_dir(name));
    const auto model = models::load_bert(bert_dir(name));
    CHECK(facts.resident_bytes == model->bytes().shared_bytes);
    CHECK(facts.replica_bytes == model->bytes().replica_bytes);
    CHECK(facts.mapped_bytes == model->bytes().mapped_bytes);
    CHECK(facts.dim == model->info().dim);
    CHECK(facts.max_tokens == model->info().max_tokens);
}

TEST_CASE("checkpoint facts: what this build cannot run is described all the same", "[models]")
{
    spoiled_checkpoint other{"plain_f32"};
    other.set("config.json", "model_type", "roberta");
    const checkpoint_facts facts = blocking_read_checkpoint_facts(other.path());
    CHECK(!facts.runnable());
    CHECK(facts.family == "roberta");
    CHECK(facts.unsupported.starts_with("family 'roberta' is not supported; supported: bert, "));
    CHECK(facts.n_parameters == 6032);
    CHECK(facts.resident_bytes == 0);

    spoiled_checkpoint act{"plain_f32"};
    act.set("config.json", "hidden_act", "mish");
    CHECK(
        blocking_read_checkpoint_facts(act.path()).unsupported.find("'mish'") != std::string::npos);
}

TEST_CASE("checkpoint facts: other families are told by their configuration", "[models]")
{
    const temp_dir dir;
    dir.write(
        "config.json",
        R"({"model_type":"llava_next","architectures":["LlavaNextForConditionalGeneration"],"vision_config":{},
            "text_config":{"hidden_size":64,"num_hidden_layers":3,"num_attention_heads":4,
                           "vocab_size":1024,"max_position_embeddings":4096}})");
    checkpoint_facts facts = blocking_read_checkpoint_facts(dir.path());
    CHECK(facts.capability == "vision");
    CHECK(facts.hidden_size == 64);
    CHECK(facts.n_layers == 3);
    CHECK(facts.max_tokens == 4096);
    CHECK(facts.unsupported.starts_with("family 'llava_next' is not supported"));

    dir.write("config.json", R"({"model_type":"gpt_neox","architectures":["GPTNeoXForCausalLM"]})");
    CHECK(blocking_read_checkpoint_facts(dir.path()).capability == "text_to_text");
    dir.write("modules.json", "[]");
    CHECK(blocking_read_checkpoint_facts(dir.path()).capability == "text_embedding");

    const temp_dir decoder;
    decoder.write("config.json", R"({"model_type":"qwen3","architectures":["Qwen3ForCausalLM"]})");
    CHECK(failure(model_errc::bad_config, [&] {
              blocking_read_checkpoint_facts(decoder.path());
          }).find("num_hidden_layers") != std::string::npos);

    const temp_dir pipeline;
    pipeline.write("model_index.json", R"({"_class_name":"FluxPipeline"})");
    facts = blocking_read_checkpoint_facts(pipeline.path());
    CHECK(facts.capability == "text_to_image");
    CHECK(!facts.runnable());
}

TEST_CASE("checkpoint facts: hostile fields do no harm", "[models]")
{
    const temp_dir dir;
    dir.write(
        "config.json",
        R"({"model_type":"x","hidden_size":-5,"num_hidden_layers":"many","vocab_size":1e300,
            "architectures":[7],"text_config":[1]})");
    const checkpoint_facts facts = blocking_read_checkpoint_facts(dir.path());
    CHECK(facts.hidden_size == 0);
    CHECK(facts.n_layers == 0);
    CHECK(facts.vocab_size == 0);
    CHECK(facts.architecture.empty());
    dir.write("config.json", "[]");
    failure(model_errc::bad_config, [&] { blocking_read_checkpoint_facts(dir.path()); });
    dir.write("config.json", R"({"model_type":7})");
    failure(model_errc::bad_config, [&] { blocking_read_checkpoint_facts(dir.path()); });
}

TEST_CASE("checkpoint facts: what is no checkpoint says what was looked for", "[models]")
{
    const temp_dir dir;
    CHECK(failure(model_errc::bad_file, [&] {
              blocking_read_checkpoint_facts(dir.path());
          }).find("config.json") != std::string::npos);
    failure(model_errc::bad_file, [&] { blocking_read_checkpoint_facts(dir / "none"); });
    dir.write("model.gguf", "GGUF");
    CHECK(failure(model_errc::bad_file, [&] {
              blocking_read_checkpoint_facts(dir / "model.gguf");
          }).find("model.gguf") != std::string::npos);
    dir.write("notes.txt", "GGUF");
    CHECK(failure(model_errc::unsupported, [&] {
              blocking_read_checkpoint_facts(dir / "notes.txt");
          }).find("notes.txt") != std::string::npos);
}

}  // namespace modelpool
