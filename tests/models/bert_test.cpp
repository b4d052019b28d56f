#include <modelpool/models/bert.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>
#include <thread>

#include "bert_fixture.hpp"
#include "support/failure.hpp"
#include "support/stop.hpp"

namespace modelpool {
namespace {

using models::load_bert;
using models::load_options;
using testing::bert_case;
using testing::bert_dir;
using testing::failure;

using rows = std::vector<item_result<std::vector<float>>>;

constexpr auto all_cases = {
    "plain_f32", "mean_f16", "cls_bf16", "max_sharded", "joined_dense", "wide_f32"};

float largest_difference(std::span<const float> a, std::span<const float> b)
{
    if (a.size() != b.size()) return std::numeric_limits<float>::infinity();
    float largest = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
        largest = std::max(largest, std::abs(a[i] - b[i]));
    return largest;
}

class counting_monitor final : public run_monitor {
public:
    explicit counting_monitor(int n_threads = 1)
        : n_threads_{n_threads}
    {}

    int n_threads() const noexcept override { return n_threads_; }
    void step_done() noexcept override
    {
        if (++n_steps == stop_after) source.request_stop();
    }

    int n_steps{0};
    int stop_after{-1};
    stop_source source;

private:
    int n_threads_;
};

rows run(embedder& model, std::span<const prepared_text> batch)
{
    run_context context;
    return model.run(batch, context);
}

std::vector<float> run_alone(embedder& model, const prepared_text& text)
{
    rows result = run(model, {&text, 1});
    REQUIRE(result.size() == 1);
    REQUIRE(result[0].ok());
    return result[0].value();
}

boost::system::error_code code_of(const item_result<std::vector<float>>& item)
{
    try {
        std::rethrow_exception(item.failure());
    } catch (const error& problem) {
        return problem.code();
    }
}

}  // namespace

TEST_CASE("bert: token ids and rows equal those of sentence-transformers", "[models]")
{
    const std::string name = GENERATE(values(all_cases));
    CAPTURE(name);
    const bert_case expected{name};
    const auto model = load_bert(bert_dir(name));
    CHECK(model->info().max_tokens == expected.max_tokens);
    CHECK(model->info().dim == expected.rows[0].size());
    const std::vector<prepared_text> batch = expected.prepare(*model);
    const rows found = run(*model, batch);
    REQUIRE(found.size() == batch.size());
    for (std::size_t i = 0; i < batch.size(); ++i) {
        CAPTURE(expected.texts[i]);
        CHECK(batch[i].tokens == expected.ids[i]);
        REQUIRE(found[i].ok());
        // Where the processor has tiles, they add up products of 16 bits of a number.
        const float tolerance = name == "wide_f32" ? 1e-4F : 1e-5F;
        CHECK(largest_difference(found[i].value(), expected.rows[i]) < tolerance);
    }
}

TEST_CASE("bert: a row does not depend on its neighbours", "[models]")
{
    const std::string name = GENERATE(values(all_cases));
    CAPTURE(name);
    const bert_case expected{name};
    const auto model = load_bert(bert_dir(name));
    const std::vector<prepared_text> texts = expected.prepare(*model);
    // Enough tokens for several blocks of the forward pass, in an order that is not that of their lengths.
    std::vector<prepared_text> batch;
    for (std::size_t i = 0; i < 400; ++i)
        batch.push_back(texts[(i * 7) % texts.size()]);
    const rows together = run(*model, batch);
    for (std::size_t i = 0; i < texts.size(); ++i) {
        const std::vector<float> alone = run_alone(*model, texts[i]);
        for (std::size_t k = 0; k < batch.size(); ++k)
            if (k * 7 % texts.size() == i) {
                REQUIRE(together[k].ok());
                CHECK(largest_difference(alone, together[k].value()) < 1e-5F);
            }
    }
}

TEST_CASE("bert: the number of threads does not change the rows", "[models]")
{
    const std::string name = GENERATE("plain_f32", "wide_f32");
    const bert_case expected{name};
    const auto model = load_bert(bert_dir(name));
    const std::vector<prepared_text> batch = expected.prepare(*model);
    counting_monitor monitor{2};
    run_context two_threads{monitor, stop_flag{}};
    const rows found = model->run(batch, two_threads);
    const rows with_one = run(*model, batch);
    for (std::size_t i = 0; i < batch.size(); ++i)
        CHECK(largest_difference(found[i].value(), with_one[i].value()) < 1e-5F);
}

TEST_CASE("bert: a replica shares the weights and outlives the first one", "[models]")
{
    const bert_case expected{"plain_f32"};
    auto model = load_bert(bert_dir("plain_f32"));
    const std::vector<prepared_text> batch = expected.prepare(*model);
    auto replica = model->replicate();
    REQUIRE(replica);
    // What is shared is one object, which both describe themselves by.
    CHECK(&replica->info() == &model->info());
    CHECK(replica->bytes().shared_bytes == model->bytes().shared_bytes);
    CHECK(replica->bytes().replica_bytes == model->bytes().replica_bytes);
    model.reset();
    const rows found = run(*replica, batch);
    for (std::size_t i = 0; i < batch.size(); ++i)
        CHECK(largest_difference(found[i].value(), expected.rows[i]) < 1e-5F);
}

TEST_CASE("bert: replicas compute at the same time", "[models]")
{
    const bert_case expected{"plain_f32"};
    const auto first = load_bert(bert_dir("plain_f32"));
    const std::vector<prepared_text> batch = expected.prepare(*first);
    std::vector<float> largest(3);
    std::vector<std::thread> workers;
    for (float& difference : largest)
        workers.emplace_back([&] {
            const auto replica = first->replicate();
            for (int repeat = 0; repeat < 20; ++repeat) {
                const rows found = run(*replica, batch);
                for (std::size_t i = 0; i < batch.size(); ++i)
                    difference = std::max(
                        difference, largest_difference(found[i].value(), expected.rows[i]));
            }
        });
    for (std::thread& worker : workers)
        worker.join();
    for (const float difference : largest)
        CHECK(difference < 1e-5F);
}

TEST_CASE("bert: f32 weights are used in place but for what is repacked", "[models]")
{
    const auto model = load_bert(bert_dir("plain_f32"));
    constexpr std::size_t hidden = 16;
    constexpr std::size_t qkv = 2 * 3 * (hidden * hidden + hidden);
    constexpr std::size_t positions = 32 * hidden;
    const footprint bytes = model->bytes();
    CHECK(bytes.shared_bytes == sizeof(float) * (qkv + positions));
    CHECK(bytes.mapped_bytes > 0);
    CHECK(bytes.replica_bytes > 0);
}

TEST_CASE("bert: a text that cannot be computed fails alone", "[models]")
{
    const bert_case expected{"plain_f32"};
    const auto model = load_bert(bert_dir("plain_f32"));
    const std::vector<prepared_text> good = expected.prepare(*model);
    std::vector<prepared_text> batch(6, good[0]);
    batch[1].tokens = {2, 79, 3};
    batch[2].tokens = {2, -1, 3};
    batch[3].tokens.clear();
    batch[4].tokens.resize(25, 5);
    batch[5].dimension = 15;
    const rows found = run(*model, batch);
    REQUIRE(found[0].ok());
    CHECK(largest_difference(found[0].value(), expected.rows[0]) < 1e-5F);
    CHECK(code_of(found[1]) == text_errc::bad_id);
    CHECK(code_of(found[2]) == text_errc::bad_id);
    CHECK(code_of(found[3]) == errc::invalid_argument);
    CHECK(code_of(found[4]) == model_errc::context_overflow);
    CHECK(code_of(found[5]) == errc::invalid_argument);
}

TEST_CASE("bert: an empty batch gives no rows", "[models]")
{
    const auto model = load_bert(bert_dir("plain_f32"));
    CHECK(run(*model, {}).empty());
}

TEST_CASE("bert: every layer is a step, and a stop ends the batch at the next one", "[models]")
{
    const bert_case expected{"plain_f32"};
    const auto model = load_bert(bert_dir("plain_f32"));
    const std::vector<prepared_text> batch = expected.prepare(*model);
    counting_monitor whole;
    run_context undisturbed{whole, stop_flag{}};
    CHECK(model->run(batch, undisturbed)[0].ok());
    CHECK(whole.n_steps == 2);

    counting_monitor stopping;
    stopping.stop_after = 1;
    run_context stopped{stopping, stopping.source.flag()};
    const rows found = model->run(batch, stopped);
    CHECK(stopping.n_steps == 1);
    REQUIRE(found.size() == batch.size());
    for (const auto& item : found) {
        REQUIRE(!item.ok());
        CHECK(code_of(item) == support::operation_aborted());
    }
    CHECK(largest_difference(run_alone(*model, batch[0]), expected.rows[0]) < 1e-5F);
}

TEST_CASE("bert: a load that is no longer wanted ends with operation_aborted", "[models]")
{
    stop_source source;
    source.request_stop();
    failure(support::operation_aborted(), [&] {
        load_bert(bert_dir("plain_f32"), load_options{}.stop(source.flag()));
    });
}

TEST_CASE("bert: a text over the limit is cut, or refused with both numbers", "[models]")
{
    const bert_case expected{"plain_f32"};
    const auto model = load_bert(bert_dir("plain_f32"));
    embed_input input = expected.input(0, *model);
    input.max_tokens = 5;
    const prepared_text cut = model->prepare(input);
    CHECK(cut.truncated);
    CHECK(cut.n_tokens() == 5);
    CHECK(cut.tokens.back() == 3);
    input.too_long = on_too_long::error;
    const std::string text = failure(text_errc::too_long, [&] { model->prepare(input); });
    CHECK(text.find("has 9 tokens, the limit is 5") != std::string::npos);
    input.max_tokens = 9;
    CHECK(!model->prepare(input).truncated);
}

TEST_CASE("bert: text that is not UTF-8 is refused", "[models]")
{
    const bert_case expected{"plain_f32"};
    const auto model = load_bert(bert_dir("plain_f32"));
    embed_input input = expected.input(0, *model);
    input.text = "a\xFFz";
    failure(text_errc::not_utf8, [&] { model->prepare(input); });
}

TEST_CASE("bert: only a model that pools without the prompt counts its tokens", "[models]")
{
    const bert_case without{"joined_dense"};
    const auto model = load_bert(bert_dir("joined_dense"));
    embed_input input = without.input(0, *model);
    CHECK(model->prepare(input).n_prompt_tokens == 3);  // [CLS] query :
    input.prompt = "";
    CHECK(model->prepare(input).n_prompt_tokens == 0);

    const bert_case with{"mean_f16"};
    const auto other = load_bert(bert_dir("mean_f16"));
    CHECK(other->prepare(with.input(0, *other)).n_prompt_tokens == 0);
}

TEST_CASE("bert: the checkpoint's prompts and limits are told", "[models]")
{
    const auto model = load_bert(bert_dir("mean_f16"));
    CHECK(model->info().prompts.at("query") == "query: ");
    CHECK(model->info().prompts.at("none").empty());
    CHECK(model->info().default_prompt == "query");
    CHECK(model->info().max_tokens == 12);
    // Its own limit of 64 tokens is above the 32 positions that the model has.
    CHECK(load_bert(bert_dir("cls_bf16"))->info().max_tokens == 32);
    CHECK(load_bert(bert_dir("joined_dense"))->info().dimensions == std::vector<std::size_t>{10});
}

TEST_CASE("bert: bf16 layers stay close to f32", "[models]")
{
    const std::string name = GENERATE("plain_f32", "cls_bf16");
    const bert_case expected{name};
    const auto model = load_bert(bert_dir(name), load_options{}.dtype(dtype::bf16));
    const std::vector<prepared_text> batch = expected.prepare(*model);
    const rows found = run(*model, batch);
    for (std::size_t i = 0; i < batch.size(); ++i)
        CHECK(cosine(found[i].value(), expected.rows[i]) > 0.999);
}

TEST_CASE("bert: warming up runs every layer", "[models]")
{
    const auto model = load_bert(bert_dir("plain_f32"));
    counting_monitor monitor;
    run_context context{monitor, stop_flag{}};
    model->warm_up(context);
    CHECK(monitor.n_steps == 2);
}

}  // namespace modelpool
