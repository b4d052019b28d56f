// Decoders of each architecture against the reference implementation, and against themselves: a
// token's numbers do not depend on what else is computed.

#include <modelpool/error.hpp>
#include <modelpool/models/generator.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "models/decoder_runs.hpp"
#include "support/failure.hpp"
#include "weights/safetensors.hpp"

namespace modelpool {
namespace {

using Catch::Matchers::Contains;
using testing::alone;
using testing::decoded;
using testing::decoder_dir;
using testing::decoder_run;
using testing::failure;
using testing::plenty;
using testing::prompt_of;

constexpr const char* all_cases[] = {
    "llama",
    "llama_scaled",
    "qwen2",
    "qwen3",
    "qwen3_yarn",
    "qwen3moe",
    "phi3",
    "phi3_window",
    "phi3_long",
    "deepseek2",
    "deepseek2_direct"};
constexpr const char* kinds_of_attention[] = {"qwen3moe", "phi3_window", "deepseek2"};

template <class T>
std::vector<T> numbers_of(const weights::checkpoint& file, const char* name)
{
    const weights::tensor_view& tensor = *file.find(name);
    std::vector<T> values(tensor.data.size() / sizeof(T));
    std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
    return values;
}

// The logits of every position of a prompt.
std::vector<float> logits_of(generator& model, const std::vector<std::int32_t>& ids)
{
    constexpr std::size_t block_tokens = 16;
    model.allocate_kv(4, block_tokens, kv_dtype::f32);
    const std::vector<std::uint32_t> blocks{2, 0, 3, 1};
    std::vector<step_row> rows;
    for (std::size_t i = 0; i < ids.size(); ++i) {
        step_row row;
        row.token = ids[i];
        row.position = static_cast<std::uint32_t>(i);
        row.wants_logits = true;
        row.blocks = blocks;
        rows.push_back(row);
    }
    std::vector<float> logits(ids.size() * model.info().vocab_size);
    run_context context;
    model.step(rows, logits, context);
    return logits;
}

float largest_difference(const std::vector<float>& a, const std::vector<float>& b)
{
    float largest = a.size() == b.size() ? 0.0F : INFINITY;
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
        largest = std::max(largest, std::abs(a[i] - b[i]));
    return largest;
}

}  // namespace

TEST_CASE("decoder: logits are the reference's, from GGUF and from safetensors")
{
    const std::string name = GENERATE(from_range(std::begin(all_cases), std::end(all_cases)));
    CAPTURE(name);
    const auto expected =
        weights::checkpoint::blocking_open(decoder_dir(name) / "expected.safetensors");
    const auto ids = numbers_of<std::int32_t>(*expected, "ids");
    const auto logits = numbers_of<float>(*expected, "logits");
    const auto from_gguf = models::load_generator(decoder_dir(name) / "model.gguf");
    CHECK(largest_difference(logits_of(*from_gguf, ids), logits) < 1e-4F);
    const auto from_folder = models::load_generator(decoder_dir(name));
    CHECK(largest_difference(logits_of(*from_folder, ids), logits) < 1e-4F);
}

TEST_CASE("decoder: a generation is bit-identical alone, in a batch, in chunks and on two threads")
{
    const std::string name =
        GENERATE(from_range(std::begin(kinds_of_attention), std::end(kinds_of_attention)));
    const kv_dtype format = GENERATE(kv_dtype::f32, kv_dtype::f16, kv_dtype::bf16, kv_dtype::int8);
    CAPTURE(name, static_cast<int>(format));
    const auto model = models::load_generator(decoder_dir(name) / "model.gguf");
    constexpr std::size_t n_tokens = 6;
    std::vector<decoded> expected;
    for (std::uint32_t i = 0; i < 16; ++i)
        expected.push_back(alone(*model, prompt_of(1 + i * 3 % 41, i), n_tokens, plenty(format)));

    SECTION("in a batch of 16 of mixed lengths, on two threads")
    {
        decoder_run run{*model, plenty(format), 2};
        for (std::uint32_t i = 0; i < 16; ++i)
            run.add(prompt_of(1 + i * 3 % 41, i), n_tokens);
        CHECK(run.finish() == expected);
    }
    SECTION("in chunks of any size")
    {
        const std::size_t chunk = GENERATE(1U, 3U, 16U);
        auto options = plenty(format);
        options.limits(sched::scheduler_options{}.prefill_chunk(chunk));
        for (std::uint32_t i : {5U, 13U})
            CHECK(alone(*model, prompt_of(1 + i * 3 % 41, i), n_tokens, options) == expected[i]);
    }
    SECTION("with its prompt found in the cache")
    {
        decoder_run run{*model, plenty(format)};
        run.add(prompt_of(1 + 13 * 3 % 41, 13), n_tokens);
        run.finish();
        run.add(prompt_of(1 + 13 * 3 % 41, 13), n_tokens);
        const auto& made = run.finish();
        CHECK(made[1].n_cached > 0);
        CHECK(made[1] == expected[13]);
    }
    SECTION("beside neighbours that are cancelled, whose blocks come back")
    {
        decoder_run run{*model, plenty(format)};
        const std::size_t kept = run.add(prompt_of(1 + 13 * 3 % 41, 13), n_tokens);
        for (std::uint32_t i = 0; i < 10; ++i)
            run.add(prompt_of(20, 50 + i), 20);
        for (std::size_t i = 1; i <= 10 && run.has_work(); ++i) {
            run.step();
            run.cancel(i);
        }
        CHECK(run.finish()[kept] == expected[13]);
        CHECK(run.stats().n_used_blocks == 0);
    }
}

TEST_CASE("decoder: a generation that was paused for want of room goes on as if it had not been")
{
    const auto model = models::load_generator(decoder_dir("qwen3") / "model.gguf");
    std::vector<decoded> expected;
    for (std::uint32_t i = 0; i < 4; ++i)
        expected.push_back(alone(*model, prompt_of(14, i), 30));
    auto tight = plenty();
    tight.kv_budget_bytes(7 * model->kv_bytes(16, kv_dtype::f32));
    decoder_run run{*model, tight};
    for (std::uint32_t i = 0; i < 4; ++i)
        run.add(prompt_of(14, i), 30);
    CHECK(run.finish() == expected);
    CHECK(run.stats().n_pauses > 0);
}

TEST_CASE("decoder: a replica shares the weights and gives the same numbers")
{
    const auto model = models::load_generator(decoder_dir("deepseek2") / "model.gguf");
    const auto copy = model->replicate();
    REQUIRE(copy);
    CHECK(alone(*copy, prompt_of(20, 1), 5) == alone(*model, prompt_of(20, 1), 5));
}

TEST_CASE("decoder: coarser formats of the KV cache take less room and change logits but little")
{
    const auto model = models::load_generator(decoder_dir("qwen3") / "model.gguf");
    const auto exact = alone(*model, prompt_of(30, 1), 1);
    CHECK(model->kv_bytes(64, kv_dtype::int8) < model->kv_bytes(64, kv_dtype::f16));
    CHECK(model->kv_bytes(64, kv_dtype::f16) < model->kv_bytes(64, kv_dtype::f32));
    for (const kv_dtype format : {kv_dtype::f16, kv_dtype::bf16, kv_dtype::int8}) {
        const auto rounded = alone(*model, prompt_of(30, 1), 1, plenty(format));
        CHECK(rounded.logits != exact.logits);
        CHECK(largest_difference(rounded.logits[0], exact.logits[0]) < 0.5F);
    }
}

TEST_CASE("decoder: a step that is to stop returns at the next layer")
{
    const auto model = models::load_generator(decoder_dir("qwen3") / "model.gguf");
    model->allocate_kv(1, 16, kv_dtype::f32);
    stop_source stop;
    stop.request_stop();
    testing::thread_monitor monitor{1};
    run_context context{monitor, stop.flag()};
    step_row row;
    const std::vector<std::uint32_t> blocks{0};
    row.blocks = blocks;
    row.wants_logits = true;
    std::vector<float> logits(model->info().vocab_size, -7.0F);
    model->step({&row, 1}, logits, context);
    CHECK(monitor.n_steps() == 0);
    CHECK(std::all_of(logits.begin(), logits.end(), [](float x) { return x == -7.0F; }));
}

TEST_CASE("decoder: prompts, pieces and answers are those of its tokenizer and template")
{
    const bool whole_folder = GENERATE(false, true);
    const auto model = models::load_generator(
        whole_folder ? decoder_dir("qwen3") : decoder_dir("qwen3") / "model.gguf");
    CHECK(model->info().context_length == 64);
    CHECK(model->info().vocab_size == 260);
    CHECK(model->info().end_tokens == std::vector<std::int32_t>{258});
    REQUIRE(model->info().has_chat_template);
    generation_request request;
    request.input = std::string{"hello"};
    const auto tokens = model->prepare(request).tokens;
    CHECK(tokens.size() == 3);
    CHECK(model->piece(tokens) == "hello");
    const std::vector<std::int32_t> special{258};
    CHECK(model->piece(special).empty());
    request.input = chat{}.user("hi");
    const auto talk = model->prepare(request).tokens;
    CHECK(std::count(talk.begin(), talk.end(), 259) == 2);
    CHECK(std::count(talk.begin(), talk.end(), 258) == 1);
    CHECK(model->tokenize("he") == std::vector<std::int32_t>{256});
    const std::vector<std::int32_t> beyond{260};
    CHECK_THAT(failure(text_errc::bad_id, [&] { model->piece(beyond); }), Contains("260"));
}

TEST_CASE("decoder: what is not computed is refused by name")
{
    models::load_options on_gpu;
    on_gpu.device(device::parse("cuda:0"));
    const auto file = decoder_dir("qwen3") / "model.gguf";
    CHECK_THAT(
        failure(model_errc::unsupported, [&] { models::load_generator(file, on_gpu); }),
        Contains("cuda:0"));
    models::load_options narrow;
    narrow.dtype(dtype::bf16);
    CHECK_THAT(
        failure(model_errc::unsupported, [&] { models::load_generator(file, narrow); }),
        Contains("bf16"));
    stop_source stop;
    stop.request_stop();
    models::load_options stopped;
    stopped.stop(stop.flag());
    CHECK_THROWS_AS(models::load_generator(file, stopped), error);
}

}  // namespace modelpool
