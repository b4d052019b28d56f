// Malformed GGUF files of decoders: a typed error, whatever is wrong.

#include <modelpool/error.hpp>
#include <modelpool/models/generator.hpp>

#include <catch2/catch.hpp>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

#include "models/decoder_runs.hpp"
#include "models/generator_facts.hpp"
#include "models/gguf_folder.hpp"
#include "support/failure.hpp"
#include "support/temp_dir.hpp"

namespace modelpool {
namespace {

using Catch::Matchers::Contains;
using testing::decoder_dir;
using testing::failure;
using testing::temp_dir;

std::string bytes_of(const std::string& name)
{
    std::ifstream in{decoder_dir(name) / "model.gguf", std::ios::binary};
    return {std::istreambuf_iterator<char>{in}, std::istreambuf_iterator<char>{}};
}

// The file with the 4-byte value of a key replaced.
std::string with_value(std::string bytes, const std::string& key, std::uint32_t value)
{
    const std::size_t place = bytes.find(key);
    REQUIRE(place != std::string::npos);
    std::memcpy(bytes.data() + place + key.size() + 4, &value, sizeof value);
    return bytes;
}

// What loading these bytes fails with.
std::string load_failure(const std::string& bytes)
{
    const temp_dir dir;
    const auto path = dir.write("m.gguf", bytes);
    try {
        models::load_generator(path);
    } catch (const error& problem) {
        const auto& category = problem.code().category();
        CHECK((category == model_category() || category == text_category()));
        return problem.what();
    }
    return {};
}

}  // namespace

TEST_CASE("decoder files: one that is cut off at any 64th is refused")
{
    const std::string whole = bytes_of("deepseek2");
    for (std::size_t i = 0; i < 64; ++i) {
        CAPTURE(i);
        CHECK_FALSE(load_failure(whole.substr(0, whole.size() * i / 64)).empty());
    }
    CHECK(load_failure(whole).empty());
}

TEST_CASE("decoder files: sizes that do not fit the tensors, or one another, are refused")
{
    const std::string moe = bytes_of("qwen3moe");
    const std::string latent = bytes_of("deepseek2");
    const std::uint32_t extreme = GENERATE(0U, 1U, 7U, 0x7fffffffU, 0xffffffffU);
    CAPTURE(extreme);
    for (const char* key :
         {"qwen3moe.block_count",
          "qwen3moe.embedding_length",
          "qwen3moe.attention.head_count",
          "qwen3moe.attention.head_count_kv",
          "qwen3moe.attention.key_length",
          "qwen3moe.expert_used_count",
          "qwen3moe.expert_feed_forward_length"}) {
        CAPTURE(key);
        const std::string problem = load_failure(with_value(moe, key, extreme));
        // An expert fewer or more is another model, but a sound one.
        if (std::string{key} == "qwen3moe.expert_used_count" && extreme == 1)
            CHECK(problem.empty());
        else
            CHECK_FALSE(problem.empty());
    }
    for (const char* key :
         {"deepseek2.attention.kv_lora_rank",
          "deepseek2.attention.key_length_mla",
          "deepseek2.rope.dimension_count",
          "deepseek2.expert_count",
          "deepseek2.expert_group_count"}) {
        CAPTURE(key);
        const std::string problem = load_failure(with_value(latent, key, extreme));
        const bool one_group = std::string{key} == "deepseek2.expert_group_count" && extreme <= 1;
        if (!one_group) CHECK_FALSE(problem.empty());
    }
}

TEST_CASE("decoder files: an unknown architecture, and a vocabulary of another size, are refused")
{
    std::string other = bytes_of("qwen3");
    for (std::size_t at = other.find("qwen3"); at != std::string::npos;
         at = other.find("qwen3", at))
        other.replace(at, 5, "qwen9");
    CHECK_THAT(load_failure(other), Contains("'qwen9' is not supported; supported: llama"));

    const temp_dir dir;
    const auto facts = models::blocking_read_gguf_facts(dir.write("m.gguf", other));
    CHECK_FALSE(facts.runnable());
    CHECK_THAT(facts.unsupported, Contains("qwen9"));

    // The last token of the list becomes the first bytes of what follows it.
    std::string fewer = bytes_of("qwen3");
    const std::size_t list = fewer.find("tokenizer.ggml.tokens");
    const std::size_t count = list + std::strlen("tokenizer.ggml.tokens") + 8;
    std::uint64_t n = 0;
    std::memcpy(&n, fewer.data() + count, sizeof n);
    REQUIRE(n == 260);
    const std::string last = "<|start|>";
    const std::size_t place = fewer.find(std::string{"\x09\0\0\0\0\0\0\0", 8} + last);
    REQUIRE(place != std::string::npos);
    fewer.erase(place, 8 + last.size());
    --n;
    std::memcpy(fewer.data() + count, &n, sizeof n);
    CHECK_FALSE(load_failure(fewer).empty());
}

TEST_CASE("decoder files: a folder of GGUF files is its only model, or the usual quantisation")
{
    const temp_dir dir;
    const std::string bytes = bytes_of("qwen2");
    dir.write("m-Q8_0.gguf", bytes);
    dir.write("mmproj-f16.gguf", "no model");
    dir.write("m-Q8_0-00002-of-00002.gguf", "a later part");
    CHECK(models::load_generator(dir.path())->info().vocab_size == 260);
    dir.write("m-F16.gguf", bytes);
    CHECK_THAT(
        failure(model_errc::bad_file, [&] { models::load_generator(dir.path()); }),
        Contains("several GGUF files; give the path of one: m-F16.gguf, m-Q8_0.gguf"));
    dir.write("m-Q4_K_M.gguf", bytes);
    CHECK(models::blocking_find_gguf(dir.path()) == dir / "m-Q4_K_M.gguf");
}

TEST_CASE("decoder files: a tensor that the architecture has no use for is refused")
{
    std::string bytes = bytes_of("qwen2");
    const std::string name = "blk.0.attn_q.bias";
    bytes.replace(bytes.find(name), name.size(), "blk.0.attn_q.sink");
    CHECK_THAT(load_failure(bytes), Contains("'blk.0.attn_q.sink', which qwen2 is not computed"));
}

TEST_CASE("decoder files: the memory told is what the loaded model holds")
{
    const std::string name = GENERATE("qwen3", "deepseek2");
    const auto path = decoder_dir(name) / "model.gguf";
    const auto facts = models::blocking_read_gguf_facts(path);
    CHECK(facts.runnable());
    CHECK(facts.capability == "text_to_text");
    CHECK(facts.family == name);
    CHECK(facts.max_tokens == 64);
    CHECK(facts.n_layers == 2);
    const auto model = models::load_generator(path);
    CHECK(facts.resident_bytes == model->bytes().shared_bytes);
    CHECK(facts.mapped_bytes == model->bytes().mapped_bytes);
}

}  // namespace modelpool
