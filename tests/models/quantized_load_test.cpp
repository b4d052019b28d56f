// Decoders whose dense matrices are rounded to blocks when they are loaded.

#include <modelpool/error.hpp>
#include <modelpool/models/generator.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "kernels/scratch.hpp"
#include "models/decoder_runs.hpp"
#include "models/generator_facts.hpp"
#include "support/failure.hpp"
#include "support/temp_dir.hpp"

namespace modelpool {
namespace {

using Catch::Matchers::Contains;
using models::load_options;
using testing::alone;
using testing::decoded;
using testing::decoder_dir;
using testing::decoder_run;
using testing::failure;
using testing::plenty;
using testing::prompt_of;
using testing::temp_dir;

std::string contents(const std::filesystem::path& path)
{
    std::ifstream in{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{in}, std::istreambuf_iterator<char>{}};
}

models::checkpoint_facts facts_of(const std::string& name, dtype precision)
{
    models::checkpoint_facts facts;
    const auto config = support::json_file::blocking_read(
        decoder_dir(name) / "config.json", model_errc::bad_config);
    models::blocking_add_decoder_facts(decoder_dir(name), config, facts, precision);
    return facts;
}

// The root of the squared difference of two rows of logits, against the size of one.
double distance(const std::vector<float>& a, const std::vector<float>& b)
{
    double squares = 0;
    double all = 0;
    REQUIRE(a.size() == b.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
        squares += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2.0);
        all += std::pow(static_cast<double>(a[i]), 2.0);
    }
    return std::sqrt(squares / all);
}

// A checkpoint with one number of a matrix of its last layer replaced.
void write_with_infinity(const temp_dir& to)
{
    for (const char* name : {"config.json", "tokenizer.json"})
        to.write(name, contents(decoder_dir("llama") / name));
    std::string bytes = contents(decoder_dir("llama") / "model.safetensors");
    std::uint64_t header_bytes = 0;
    std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
    const std::size_t place = bytes.find("model.layers.1.self_attn.q_proj.weight");
    REQUIRE(place != std::string::npos);
    const std::string key = "\"data_offsets\":[";
    const std::size_t offset = bytes.find(key, place) + key.size();
    const std::size_t begin = 8 + header_bytes + std::stoul(bytes.substr(offset, 12));
    const float infinity = INFINITY;
    std::memcpy(bytes.data() + begin + 64, &infinity, sizeof infinity);
    to.write("model.safetensors", bytes);
}

}  // namespace

TEST_CASE("quantized load: every family answers nearly as it does unquantised")
{
    const std::string name =
        GENERATE("llama", "qwen2", "qwen3", "qwen3moe", "phi3", "deepseek2", "deepseek2_direct");
    CAPTURE(name);
    const auto prompt = prompt_of(20, 7);
    const auto exact = models::load_generator(decoder_dir(name));
    const decoded expected = alone(*exact, prompt, 1);
    const auto q8 =
        models::load_generator(decoder_dir(name), load_options{}.dtype(dtype::q8_0).n_threads(2));
    const decoded in_q8 = alone(*q8, prompt, 1);
    CHECK(in_q8.logits != expected.logits);
    CHECK(distance(expected.logits[0], in_q8.logits[0]) < 0.06);
    const auto q4 = models::load_generator(decoder_dir(name), load_options{}.dtype(dtype::q4_k));
    const decoded in_q4 = alone(*q4, prompt, 1);
    CHECK(in_q4.logits != in_q8.logits);
    CHECK(distance(expected.logits[0], in_q4.logits[0]) < 0.25);
}

TEST_CASE("quantized load: the memory told beforehand is what the model holds, once for replicas")
{
    const std::string name =
        GENERATE("llama", "qwen2", "qwen3", "qwen3moe", "phi3", "deepseek2", "deepseek2_direct");
    const dtype precision = GENERATE(dtype::automatic, dtype::q8_0, dtype::q4_k);
    CAPTURE(name, to_string(precision));
    const auto facts = facts_of(name, precision);
    CHECK(facts.runnable());
    CHECK(
        (facts.resident_bytes > 0) ==
        (precision != dtype::automatic || name == "deepseek2" || name == "deepseek2_direct"));
    const auto model = models::load_generator(decoder_dir(name), load_options{}.dtype(precision));
    CHECK(facts.resident_bytes == model->bytes().shared_bytes);
    CHECK(facts.mapped_bytes == model->bytes().mapped_bytes);
    const auto second = model->replicate();
    REQUIRE(second);
    CHECK(second->bytes().shared_bytes == model->bytes().shared_bytes);
    const auto prompt = prompt_of(9, 1);
    CHECK(alone(*second, prompt, 3) == alone(*model, prompt, 3));
}

TEST_CASE("quantized load: what cannot be quantised is refused by name")
{
    const auto gguf = decoder_dir("llama") / "model.gguf";
    const auto message = [](const std::filesystem::path& path, dtype precision) {
        return failure(model_errc::unsupported, [&] {
            models::load_generator(path, load_options{}.dtype(precision));
        });
    };
    CHECK_THAT(message(gguf, dtype::q8_0), Contains("dtype q8_0 is not supported"));
    CHECK_THAT(
        models::blocking_read_gguf_facts(gguf, dtype::q4_k).unsupported,
        Contains("dtype q4_k is not supported"));
    CHECK_THAT(message(decoder_dir("llama"), dtype::bf16), Contains("dtype bf16"));
    failure(model_errc::unsupported, [] { facts_of("llama", dtype::int8); });
}

TEST_CASE("quantized load: a number that no block can hold names its tensor")
{
    const temp_dir dir;
    write_with_infinity(dir);
    const std::string message = failure(model_errc::bad_file, [&] {
        models::load_generator(dir.path(), load_options{}.dtype(dtype::q8_0).n_threads(2));
    });
    CHECK_THAT(message, Contains("'model.layers.1.self_attn.q_proj.weight' cannot be quantised"));
    CHECK_NOTHROW(models::load_generator(dir.path()));
}

TEST_CASE("quantized load: progress goes up to all bytes, and a stop ends it at a tensor")
{
    const auto facts = facts_of("qwen3moe", dtype::automatic);
    std::vector<std::uint64_t> steps;
    load_options options;
    options.dtype(dtype::q8_0).on_progress([&](std::uint64_t done, std::uint64_t total) {
        steps.push_back(done);
        CHECK(total == facts.weight_bytes);
    });
    models::load_generator(decoder_dir("qwen3moe"), options);
    CHECK(steps.size() > 3);
    CHECK(std::ranges::is_sorted(steps));
    CHECK(steps.back() <= facts.weight_bytes);
    CHECK(steps.back() > facts.weight_bytes / 2);

    stop_source source;
    const std::size_t n_all = steps.size();
    steps.clear();
    options.stop(source.flag());
    options.on_progress([&](std::uint64_t done, std::uint64_t) {
        steps.push_back(done);
        if (steps.size() == 2) source.request_stop();
    });
    CHECK_THROWS_AS(models::load_generator(decoder_dir("qwen3moe"), options), error);
    CHECK(steps.size() == 2);
    CHECK(n_all > 2);
}

TEST_CASE("prefill: a fast one changes logits but little, and rows that come alone not at all")
{
    const std::string name = GENERATE("qwen3", "qwen3moe", "deepseek2");
    CAPTURE(name);
    load_options how;
    how.dtype(dtype::q8_0);
    const auto model = models::load_generator(decoder_dir(name), how);
    auto fast = plenty();
    fast.prefill(prefill_mode::fast);
    const decoded exact = alone(*model, prompt_of(50, 1), 1);
    const decoded hasty = alone(*model, prompt_of(50, 1), 1, fast);
    CHECK(distance(hasty.logits[0], exact.logits[0]) < 0.05);
    CHECK((hasty.logits == exact.logits) != kernels::scratch{}.has_bf16());
    CHECK(alone(*model, prompt_of(50, 1), 1) == exact);

    const decoded expected = alone(*model, prompt_of(3, 2), 10);
    CHECK(alone(*model, prompt_of(3, 2), 10, fast) == expected);
    decoder_run run{*model, fast};
    const std::size_t first = run.add(prompt_of(3, 2), 10);
    run.step();
    run.add(prompt_of(50, 1), 1);
    CHECK(run.finish()[first] == expected);
}

}  // namespace modelpool
