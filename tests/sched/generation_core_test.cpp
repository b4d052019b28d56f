#include <modelpool/sched/generation_core.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "sched/generations.hpp"
#include "support/failure.hpp"
#include "support/fake_generator.hpp"

namespace mp = modelpool;
using namespace mp::sched;
using mp::finish_reason;
using mp::generation_params;
using mp::testing::failure;
using mp::testing::fake_generator;
using mp::testing::generations;
using mp::testing::random_prompt;
using mp::testing::request;
using ids = std::vector<std::int32_t>;

TEST_CASE("generation_core: a greedy answer is the model's own")
{
    fake_generator model;
    generations all{model, generation_options{}};
    const ids prompt = random_prompt(1, 40);
    const auto id = all.add(request(prompt, 20));
    all.run();
    const auto& result = all.at(id);
    CHECK(result.ids == model.greedy(prompt, 20));
    CHECK(result.finish == finish_reason::length);
    std::string text;
    for (const std::int32_t one : result.ids)
        text += model.piece(std::span{&one, 1});
    CHECK(result.text == text);
    CHECK(result.usage.n_prompt_tokens == 40);
    CHECK(result.usage.n_cached_tokens == 0);
    CHECK(result.usage.n_generated_tokens == 20);
    CHECK(result.n_started == 1);
}

TEST_CASE("generation_core: greedy answers are the same alone and in any batch, chunk and block")
{
    const std::size_t chunk = GENERATE(1U, 7U, 16U, 64U, 500U);
    const std::size_t block = GENERATE(1U, 4U, 16U);
    CAPTURE(chunk, block);
    fake_generator model;
    const auto options = generation_options{}.limits(
        scheduler_options{}.prefill_chunk(chunk).block_tokens(block).max_sequences(9));
    generations all{model, options};
    std::map<sequence_id, ids> expected;
    for (unsigned i = 0; i < 16; ++i) {
        const ids prompt = random_prompt(i / 2, 1 + (i * i * 7) % 150);  // pairs share a beginning
        const std::size_t n = 1 + (i * 5) % 30;
        expected[all.add(request(prompt, n))] = model.greedy(prompt, n);
        all.step();
    }
    all.run();
    for (const auto& [id, answer] : expected)
        CHECK(all.at(id).ids == answer);
    CHECK(all.core().stats().n_used_blocks == 0);
}

TEST_CASE("generation_core: a cached prefix changes nothing but the work")
{
    fake_generator model;
    generations all{model, generation_options{}};
    const ids prompt = random_prompt(3, 100);
    const auto first = all.add(request(prompt, 10));
    all.run();
    const std::size_t n_rows = model.n_rows;
    const auto second = all.add(request(prompt, 10));
    all.run();
    CHECK(model.n_rows - n_rows == 4 + 9);
    CHECK(all.at(second).ids == all.at(first).ids);
    CHECK(all.at(second).usage.n_cached_tokens == 96);

    ids longer = prompt;  // the next turn of a conversation
    for (const std::int32_t id : all.at(first).ids)
        longer.push_back(id);
    longer.insert(longer.end(), 5, 1);
    const auto third = all.add(request(longer, 10));
    all.run();
    CHECK(all.at(third).ids == model.greedy(longer, 10));
    CHECK(all.at(third).usage.n_cached_tokens == 96);
}

TEST_CASE("generation_core: paused sequences go on with the same answer")
{
    fake_generator model;
    // Room for about three of the eight at their ends.
    const auto options = generation_options{}.kv_budget_bytes(240).limits(
        scheduler_options{}.block_tokens(4).prefill_chunk(32));
    generations all{model, options};
    std::map<sequence_id, ids> expected;
    for (unsigned i = 0; i < 8; ++i) {
        const ids prompt = random_prompt(i, 20 + i);
        expected[all.add(request(prompt, 50))] = model.greedy(prompt, 50);
    }
    all.run();
    CHECK(all.core().stats().n_pauses > 0);
    for (const auto& [id, answer] : expected)
        CHECK(all.at(id).ids == answer);
}

TEST_CASE("generation_core: the end of fifty neighbours changes nothing")
{
    fake_generator model;
    generations all{model, generation_options{}};
    const ids prompt = random_prompt(1, 70);
    const auto id = all.add(request(prompt, 60));
    std::vector<sequence_id> others;
    for (unsigned i = 0; i < 50; ++i)
        others.push_back(all.add(request(random_prompt(i % 10, 30 + i), 100)));
    for (const sequence_id other : others) {
        all.step();
        const auto usage = all.core().end(other);
        REQUIRE(usage);
        CHECK(usage->n_prompt_tokens >= 30);
        CHECK_FALSE(all.core().end(other));
    }
    all.run();
    CHECK(all.at(id).ids == model.greedy(prompt, 60));
    for (const sequence_id other : others)
        CHECK(all.at(other).n_ended == 0);
    CHECK(all.core().stats().n_used_blocks == 0);
}

TEST_CASE("generation_core: forks share the prompt, and answer as if they had computed it")
{
    const std::size_t n_prompt = GENERATE(1U, 15U, 16U, 17U, 40U);
    const std::size_t n_steps = GENERATE(0U, 1U, 2U, 20U);
    CAPTURE(n_prompt, n_steps);
    fake_generator model;
    generations all{model, generation_options{}};
    const ids prompt = random_prompt(5, n_prompt);
    auto sampled = [&](std::uint64_t seed) {
        core_request made = request(prompt, 30);
        made.params.sampling.temperature = 1.0F;
        made.params.sampling.seed = seed;
        return made;
    };
    const auto parent = all.add(sampled(0));
    for (std::size_t i = 0; i < n_steps; ++i)
        all.step();
    std::vector<sequence_id> forks;
    for (std::uint64_t seed = 1; seed < 5; ++seed)
        forks.push_back(all.fork(parent, sampled(seed)));
    const std::size_t n_rows = model.n_rows;
    all.step();
    if (n_steps > 0) CHECK(model.n_rows - n_rows <= 5);
    all.core().end(parent);
    all.run();
    for (std::uint64_t seed = 1; seed < 5; ++seed) {
        fake_generator fresh;
        generations alone{fresh, generation_options{}};
        const auto id = alone.add(sampled(seed));
        alone.run();
        CHECK(all.at(forks[seed - 1]).ids == alone.at(id).ids);
    }
    CHECK(all.core().stats().n_used_blocks == 0);
    failure(mp::errc::invalid_argument, [&] { all.fork(parent, sampled(9)); });
}

TEST_CASE("generation_core: a fork that outlives its parent writes to no block that others find")
{
    fake_generator model;
    generations all{model, generation_options{}};
    const ids prompt = random_prompt(5, 10);
    const auto parent = all.add(request(prompt, 20));
    for (int i = 0; i < 12; ++i)
        all.step();  // beyond the first block
    core_request other = request(prompt, 20);
    other.params.sampling.temperature = 2.0F;
    other.params.sampling.seed = 3;
    const auto fork = all.fork(parent, std::move(other));
    all.run();
    CHECK(all.at(fork).ids != all.at(parent).ids);
    ids longer = prompt;
    longer.insert(longer.end(), all.at(parent).ids.begin(), all.at(parent).ids.end());
    const auto next = all.add(request(longer, 20));
    all.run();
    CHECK(all.at(next).ids == model.greedy(longer, 20));
}

TEST_CASE("generation_core: a seed gives the same answer in any company")
{
    fake_generator model;
    core_request made = request(random_prompt(1, 30), 40);
    made.params.sampling.temperature = 1.5F;
    made.params.sampling.top_p = 0.9F;
    made.params.sampling.frequency_penalty = 0.5F;
    made.params.sampling.seed = 11;
    const auto again = [&] {
        core_request copy;
        copy.prompt = made.prompt;
        copy.params = made.params;
        return copy;
    };
    generations alone{model, generation_options{}};
    const auto first = alone.add(again());
    alone.run();
    // The second cache is small: this one is paused, and draws no number twice.
    const auto small =
        generation_options{}.kv_budget_bytes(160).limits(scheduler_options{}.block_tokens(4));
    fake_generator other;
    generations crowd{other, small};
    for (unsigned i = 0; i < 4; ++i)
        crowd.add(request(random_prompt(i + 2, 25), 60));
    const auto second = crowd.add(again());
    crowd.run();
    CHECK(crowd.core().stats().n_pauses > 0);
    CHECK(crowd.at(second).ids == alone.at(first).ids);

    made.params.sampling.seed.reset();
    const auto third = alone.add(again());
    const auto fourth = alone.add(again());
    alone.run();
    CHECK(alone.at(third).ids != alone.at(fourth).ids);
}

TEST_CASE("generation_core: the model's end of text ends the answer and gives no text")
{
    fake_generator model;
    model.info().end_tokens = {3, 4};
    generations all{model, generation_options{}};
    std::vector<sequence_id> started;
    for (unsigned i = 0; i < 10; ++i)
        started.push_back(all.add(request(random_prompt(i, 20), 400)));
    core_request on = request(random_prompt(0, 20), 400);
    on.params.ignore_end = true;
    const auto endless = all.add(std::move(on));
    all.run();
    for (unsigned i = 0; i < 10; ++i) {
        const auto& result = all.at(started[i]);
        CHECK(result.ids == model.greedy(random_prompt(i, 20), 400));
        CHECK(result.finish == finish_reason::stop);
        CHECK_FALSE(result.stop_string);
        CHECK(result.ids.back() - 3 <= 1);
        CHECK(result.text.find("<3>") == std::string::npos);
    }
    CHECK(all.at(endless).ids.size() == 400);
    CHECK(all.at(endless).finish == finish_reason::length);
}

TEST_CASE("generation_core: text is whole UTF-8 whatever the tokens are, and ends at a stop string")
{
    fake_generator model;
    // Three tokens make a euro sign: any order of them comes along.
    model.piece_of = [](std::int32_t id) {
        const std::string parts[] = {"\xE2", "\x82", "\xAC", "\xE2\x82\xAC", "x", "yz"};
        return parts[static_cast<std::size_t>(id) % 6];
    };
    generations all{model, generation_options{}};
    core_request free = request(random_prompt(1, 20), 300);
    const auto whole = all.add(std::move(free));
    core_request stopped = request(random_prompt(1, 20), 300);
    stopped.params.stop = {"never", "zx", "xyz"};
    const auto cut = all.add(std::move(stopped));
    all.run();
    std::string bytes;
    for (const std::int32_t id : all.at(whole).ids)
        bytes += model.piece_of(id);
    utf8_holder holder;
    std::string text;
    holder.push(bytes, text);
    holder.finish(text);
    CHECK(all.at(whole).text == text);
    const std::size_t place = std::min(text.find("zx"), text.find("xyz"));
    REQUIRE(place != std::string::npos);
    CHECK(all.at(cut).text == text.substr(0, place));
    CHECK(all.at(cut).finish == finish_reason::stop);
    CHECK(all.at(cut).stop_string.value_or(0) > 0);
    for (const auto& piece : all.at(whole).pieces) {
        utf8_holder check;
        std::string same;
        check.push(piece, same);
        CHECK(same == piece);
    }
}

TEST_CASE("generation_core: forced ids are followed, and logits come for each")
{
    fake_generator model;
    generations all{model, generation_options{}};
    const ids prompt = random_prompt(2, 30);
    core_request made = request(prompt, 12);
    made.params.forced = {5, 6, 7, 8, 9, 10, 11};
    made.params.n_logprobs = 3;
    const auto id = all.add(std::move(made));
    all.run();
    ids expected{5, 6, 7, 8, 9, 10, 11};
    ids context = prompt;
    context.insert(context.end(), expected.begin(), expected.end());
    for (const std::int32_t one : model.greedy(context, 5))
        expected.push_back(one);
    const auto& result = all.at(id);
    REQUIRE(result.ids == expected);
    context = prompt;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        const auto logits = model.logits_after(context);
        CHECK(result.logits[i] == logits);
        double sum = 0;
        for (const float one : logits)
            sum += std::exp(static_cast<double>(one));
        const float own = logits[static_cast<std::size_t>(expected[i])];
        CHECK(result.scored[i].logprob == Approx(static_cast<double>(own) - std::log(sum)));
        REQUIRE(result.scored[i].top.size() == 3);
        const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
        CHECK(result.scored[i].top[0].id == best);
        CHECK(result.scored[i].top[0].logprob >= result.scored[i].top[1].logprob);
        CHECK(result.scored[i].top[1].logprob >= result.scored[i].top[2].logprob);
        context.push_back(expected[i]);
    }
}

TEST_CASE("generation_core: continuations are scored in few steps, over one prompt")
{
    fake_generator model;
    generations all{model, generation_options{}};
    const ids prompt = random_prompt(2, 64);
    std::vector<sequence_id> scored;
    for (std::int32_t i = 0; i < 4; ++i) {
        core_request made = request(prompt, 3);
        made.params.forced = {i, i + 1, i + 2};
        made.params.n_logprobs = 0;
        made.params.ignore_end = true;
        scored.push_back(all.add(std::move(made)));
    }
    all.run();
    CHECK(model.n_steps == 2);
    // The first computes the prompt and two tokens; the others its last block again, and two
    // tokens.
    CHECK(model.n_rows == 66 + 3 * 18);
    CHECK(model.n_logits == 12);
    for (const sequence_id id : scored) {
        CHECK(all.at(id).ids.size() == 3);
        CHECK(all.at(id).scored[0].logprob < 0);
        CHECK(all.at(id).finish == finish_reason::length);
    }
}

TEST_CASE("generation_core: log-probabilities of the prompt begin at its second token")
{
    fake_generator model;
    generations all{model, generation_options{}};
    const ids prompt = random_prompt(2, 100);
    all.add(request(prompt, 5));
    all.run();
    core_request made = request(prompt, 5);
    made.params.prompt_logprobs = true;
    const auto id = all.add(std::move(made));
    all.run();
    const auto& scored = all.at(id).prompt;
    REQUIRE(scored.size() == 99);
    for (std::size_t i = 0; i < scored.size(); ++i) {
        CHECK(scored[i].id == prompt[i + 1]);
        const auto logits = model.logits_after(std::span{prompt}.first(i + 1));
        const float top = *std::max_element(logits.begin(), logits.end());
        const double norm = log_sum_exp(logits, top);
        const float own = logits[static_cast<std::size_t>(prompt[i + 1])];
        CHECK(scored[i].logprob == Approx(static_cast<double>(own) - norm));
    }
    CHECK(all.at(id).ids == model.greedy(prompt, 5));
}

TEST_CASE("generation_core: images are told apart in the cache, and marked in the rows")
{
    fake_generator model;
    generations all{model, generation_options{}};
    const auto seen = [&](std::uint64_t image_id, std::size_t begin) {
        core_request made = request(random_prompt(2, 60), 10);
        auto prompt = std::make_shared<mp::prepared_prompt>(*made.prompt);
        prompt->images = {{begin, 20, image_id}};
        for (std::size_t i = begin; i < begin + 20; ++i)
            prompt->tokens[i] = -200;  // no token of the vocabulary
        made.prompt = prompt;
        return made;
    };
    const auto cat = all.add(seen(1, 10));
    all.run();
    const auto dog = all.add(seen(2, 10));
    const auto same = all.add(seen(1, 10));
    all.run();
    CHECK(all.at(cat).ids == all.at(same).ids);
    CHECK(all.at(cat).ids != all.at(dog).ids);
    CHECK(all.at(same).usage.n_cached_tokens == 48);
    CHECK(all.at(dog).usage.n_cached_tokens == 0);  // the image begins in the first block
}

TEST_CASE("generation_core: a constraint decides what may come")
{
    class even final : public mp::token_constraint {
    public:
        std::span<const std::uint64_t> allowed() override { return mask_; }
        void accept(std::int32_t token) override { CHECK(token % 2 == 0); }

    private:
        std::vector<std::uint64_t> mask_{0x5555555555555555U};
    };
    fake_generator model;
    generations all{model, generation_options{}};
    core_request made = request(random_prompt(2, 60), 30);
    made.constraint = std::make_unique<even>();
    made.params.json_schema = "{}";
    const auto id = all.add(std::move(made));
    all.run();
    CHECK(all.at(id).ids.size() == 30);
    core_request without = request(random_prompt(2, 60), 30);
    without.params.json_schema = "{}";
    failure(mp::errc::unsupported, [&] { all.add(std::move(without)); });
}

TEST_CASE("generation_core: unsound logits end their own sequence alone")
{
    fake_generator model;
    generations all{model, generation_options{}};
    const ids prompt = random_prompt(1, 20);
    const auto good = all.add(request(prompt, 30));
    const auto bad = all.add(request(random_prompt(2, 25), 30));
    for (int i = 0; i < 5; ++i)
        all.step();
    std::size_t n_rows = 0;
    model.adjust = [&](std::uint64_t, std::span<float> logits) {
        if (n_rows++ == 1) logits[7] = std::numeric_limits<float>::quiet_NaN();
    };
    all.step();
    model.adjust = nullptr;
    all.run();
    CHECK(all.at(good).ids == model.greedy(prompt, 30));
    REQUIRE(all.at(bad).failure);
    CHECK_THAT(
        failure(mp::model_errc::failed, [&] { std::rethrow_exception(all.at(bad).failure); }),
        Catch::Contains("token 7"));
    CHECK(all.at(bad).ids.size() == 5);
    CHECK(all.at(bad).n_ended == 1);
    CHECK(all.core().stats().n_used_blocks == 0);
}

TEST_CASE("generation_core: a step that fails or is stopped may be tried again")
{
    fake_generator model;
    generations all{model, generation_options{}};
    const ids prompt = random_prompt(1, 40);
    const auto id = all.add(request(prompt, 30));
    for (int i = 0; i < 20; ++i) {
        if (i == 10) all.fork(id, request(prompt, 30));
        model.fail_next = true;
        failure(mp::model_errc::failed, [&] { all.step(); });
        mp::stop_source stop;
        class quiet final : public mp::run_monitor {
        public:
            int n_threads() const noexcept override { return 1; }
            void step_done() noexcept override {}
        } monitor;
        stop.request_stop();
        mp::run_context stopped{monitor, stop.flag()};
        CHECK(all.core().step(stopped).empty());
        all.step();
    }
    all.run();
    CHECK(all.at(id).ids == model.greedy(prompt, 30));
    CHECK(all.core().stats().n_used_blocks == 0);
}

TEST_CASE(
    "generation_core: another budget of the cache goes unnoticed, except where it is too small")
{
    fake_generator model;
    generations all{model, generation_options{}.kv_budget_bytes(4096)};
    const ids prompt = random_prompt(1, 40);
    const auto kept = all.add(request(prompt, 30));
    const auto large = all.add(request(random_prompt(2, 200), 30));
    const auto held = all.add(request(prompt, 30));
    for (int i = 0; i < 5; ++i)
        all.step();
    all.core().hold(held);
    all.take(all.core().set_kv_budget(128));
    CHECK(all.at(large).n_ended == 1);
    failure(
        mp::pool_errc::memory_exhausted, [&] { std::rethrow_exception(all.at(large).failure); });
    all.core().resume(held);
    all.run();
    CHECK(all.at(kept).ids == model.greedy(prompt, 30));
    CHECK(all.at(held).ids == model.greedy(prompt, 30));
    failure(mp::pool_errc::memory_exhausted, [&] { all.core().set_kv_budget(15); });
}

TEST_CASE("generation_core: a block that could not be copied is not taken for copied")
{
    fake_generator model;
    generations all{model, generation_options{}};
    const ids prompt = random_prompt(1, 40);
    const auto id = all.add(request(prompt, 30));
    all.step();
    const auto fork = all.fork(id, request(prompt, 30));
    model.fail_next_copy = true;
    failure(mp::model_errc::failed, [&] { all.step(); });
    all.run();
    CHECK(all.at(id).ids == model.greedy(prompt, 30));
    CHECK(all.at(fork).ids == model.greedy(prompt, 30));
}

TEST_CASE("generation_core: penalties know the tokens of the answer")
{
    fake_generator model;
    generations all{model, generation_options{}};
    core_request made = request(random_prompt(1, 40), 40);
    made.params.sampling.presence_penalty = 100.0F;
    made.params.forced = {1, 2, 3};
    const auto id = all.add(std::move(made));
    all.run();
    const std::set<std::int32_t> different(all.at(id).ids.begin(), all.at(id).ids.end());
    CHECK(different.size() == 40);
}

TEST_CASE("generation_core: a paused sequence takes from the cache what is left of it")
{
    fake_generator model;
    const auto options =
        generation_options{}.kv_budget_bytes(128).limits(scheduler_options{}.block_tokens(4));
    generations all{model, options};
    all.add(request(random_prompt(1, 50), 20));
    const auto young = all.add(request(random_prompt(2, 50), 20));
    all.run();
    const scheduler_stats now = all.core().stats();
    CHECK(now.n_pauses > 0);
    CHECK(now.n_cached_positions > 0);
    CHECK(all.at(young).usage.n_cached_tokens == 0);
    CHECK(all.at(young).ids == model.greedy(random_prompt(2, 50), 20));
}

TEST_CASE("generation_core: answers end where the context or the cache does")
{
    fake_generator model{64};
    generations all{model, generation_options{}};
    const auto id = all.add(request(random_prompt(1, 40), 0));
    const auto asked = all.add(request(random_prompt(2, 40), 1000));
    all.run();
    CHECK(all.at(id).ids.size() == 24);
    CHECK(all.at(asked).ids.size() == 24);
    CHECK(all.at(id).finish == finish_reason::length);
    failure(mp::model_errc::context_overflow, [&] { all.add(request(random_prompt(1, 64), 1)); });

    generations small{model, generation_options{}.kv_budget_bytes(32)};
    failure(mp::pool_errc::memory_exhausted, [&] { small.add(request(random_prompt(1, 32), 1)); });
    const auto last = small.add(request(random_prompt(1, 31), 5));
    small.run();
    CHECK(small.at(last).ids.size() == 1);
}

TEST_CASE("generation_core: refuses what makes no sense")
{
    fake_generator model;
    generations all{model, generation_options{}};
    failure(mp::errc::invalid_argument, [&] { all.add(request({}, 1)); });
    failure(mp::text_errc::bad_id, [&] { all.add(request({1, 61}, 1)); });
    failure(mp::text_errc::bad_id, [&] { all.add(request({1, -1}, 1)); });
    const auto refused = [&](boost::system::error_code code, auto change) {
        core_request made = request({1, 2}, 3);
        change(made.params);
        failure(code, [&] { all.add(std::move(made)); });
    };
    refused(mp::text_errc::bad_id, [](auto& p) { p.forced = {61}; });
    refused(mp::errc::invalid_argument, [](auto& p) { p.stop = {""}; });
    refused(mp::text_errc::not_utf8, [](auto& p) { p.stop = {"a\x80"}; });
    refused(mp::errc::invalid_argument, [](auto& p) { p.sampling.top_p = 0.0F; });
    CHECK(all.core().size() == 0);
    CHECK_FALSE(all.core().has_work());
    CHECK(all.core().stats().n_used_blocks == 0);
}
