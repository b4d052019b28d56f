#include <modelpool/sched/scheduler.hpp>

#include <catch2/catch.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <numeric>
#include <vector>

#include "support/failure.hpp"

namespace mp = modelpool;
using namespace mp::sched;
using mp::testing::failure;

namespace {

/// A prompt whose tokens differ from those of any other `kind`.
sequence_input prompt(std::size_t n_tokens, std::int32_t kind, std::size_t max_tokens = 4)
{
    auto made = std::make_shared<mp::prepared_prompt>();
    made->tokens.resize(n_tokens);
    std::iota(made->tokens.begin(), made->tokens.end(), kind * 100000);
    sequence_input input;
    input.prompt = std::move(made);
    input.max_tokens = max_tokens;
    return input;
}

scheduler_options limits(std::size_t n_blocks = 1000)
{
    return scheduler_options{}.context_length(8192).n_blocks(n_blocks).block_tokens(16);
}

/// Runs one step, appending a token wherever logits came; gives the rows of each sequence.
std::map<sequence_id, std::size_t> step(scheduler& all)
{
    std::map<sequence_id, std::size_t> rows;
    const step_plan& plan = all.plan();
    const auto parts = plan.sequences;
    CHECK(plan.rows.size() <= all.options().max_rows());
    CHECK(plan.n_logits <= all.options().max_logits_rows());
    all.commit();
    for (const planned_sequence& part : parts) {
        rows[part.id] = part.n_rows;
        const sequence* one = all.get(part.id);
        if (!one || one->n_computed < one->n_needed()) continue;
        if (one->n_generated() + 1 >= one->max_tokens)
            all.remove(part.id);
        else
            all.append(part.id, 7);
    }
    return rows;
}

}  // namespace

TEST_CASE("scheduler: a prompt is computed in chunks, then token by token")
{
    scheduler all{limits().prefill_chunk(64)};
    const auto id = all.add(prompt(100, 1, 3));
    CHECK(step(all)[id] == 64);
    CHECK(step(all)[id] == 36);
    CHECK(step(all)[id] == 1);
    CHECK(step(all)[id] == 1);
    CHECK_FALSE(all.has_work());
    CHECK(all.size() == 0);
}

TEST_CASE("scheduler: a short prompt does not wait for a long one before it")
{
    scheduler all{limits()};
    const auto slow = all.add(prompt(4096, 1));
    std::size_t n_rows = step(all)[slow];  // it arrives just after this step began
    const auto quick = all.add(prompt(256, 2));
    while (all.get(quick)->n_computed < 256)
        for (const auto& [id, n] : step(all))
            n_rows += n;
    CHECK(n_rows <= 2 * 256);
    CHECK(all.get(slow)->n_computed > 0);
}

TEST_CASE("scheduler: a stream of short prompts does not starve a long one")
{
    const std::size_t n_at_once = GENERATE(1U, 2U);
    scheduler all{limits().max_sequences(8)};
    const auto slow = all.add(prompt(2048, 1));
    std::int32_t kind = 2;
    std::size_t n_steps = 0;
    while (all.get(slow)->n_computed < 2048) {
        for (std::size_t i = 0; i < n_at_once; ++i)
            all.add(prompt(128, kind++, 1));
        step(all);
        REQUIRE(++n_steps <= 8 * 2048 / 128 + 8);
    }
}

TEST_CASE("scheduler: several short prompts share a chunk")
{
    scheduler all{limits().prefill_chunk(64)};
    const auto a = all.add(prompt(20, 1));
    const auto b = all.add(prompt(20, 2));
    const auto c = all.add(prompt(40, 3));
    auto rows = step(all);
    CHECK(rows[a] == 20);
    CHECK(rows[b] == 20);
    CHECK(rows[c] == 16);  // to a block's end
    rows = step(all);
    CHECK(rows[a] == 1);
    CHECK(rows[c] == 24);
}

TEST_CASE("scheduler: admission is by priority, then arrival, and nobody overtakes")
{
    scheduler all{limits().max_sequences(1)};
    sequence_input first = prompt(10, 1, 1);
    const auto a = all.add(std::move(first));
    const auto b = all.add(prompt(10, 2, 1));
    sequence_input urgent = prompt(10, 3, 1);
    urgent.priority = 1;
    const auto c = all.add(std::move(urgent));
    CHECK(step(all).count(c) == 1);
    CHECK(step(all).count(a) == 1);
    CHECK(step(all).count(b) == 1);
}

TEST_CASE("scheduler: who waits long enough goes before a newer one of the next priority")
{
    const int n_steps_between = GENERATE(10, 70);
    scheduler all{limits().max_sequences(1)};
    const auto running = all.add(prompt(10, 1, 200));
    step(all);
    const auto patient = all.add(prompt(10, 2, 1));
    for (int i = 0; i < n_steps_between; ++i)
        CHECK(step(all).count(running) == 1);
    sequence_input urgent = prompt(10, 3, 1);
    urgent.priority = 1;
    const auto newer = all.add(std::move(urgent));
    all.remove(running);
    const bool aged = n_steps_between > mp::sched::steps_a_priority;
    CHECK(step(all).count(aged ? patient : newer) == 1);
    CHECK(step(all).count(aged ? newer : patient) == 1);
}

TEST_CASE("scheduler: a paused sequence of low priority comes back, whatever keeps coming")
{
    scheduler all{limits(4).context_length(64)};
    const auto low = all.add(prompt(15, 1, 40));
    std::int32_t kind = 2;
    int n_steps = 0;
    while (all.get(low) != nullptr) {
        sequence_input urgent = prompt(30, kind++, 20);
        urgent.priority = 2;
        all.add(std::move(urgent));  // more than can ever be done
        step(all);
        REQUIRE(++n_steps < 10'000);
    }
    CHECK(all.stats().n_pauses > 0);
}

TEST_CASE("scheduler: a held sequence makes no steps, and takes nobody's place")
{
    scheduler all{limits().max_sequences(1)};
    const auto a = all.add(prompt(10, 1, 9));
    const auto b = all.add(prompt(10, 2, 9));
    CHECK(step(all).count(a) == 1);
    all.hold(a);
    all.hold(a);
    CHECK(step(all).count(b) == 1);
    CHECK(all.stats().n_held == 1);
    all.resume(a);
    all.resume(a);
    CHECK(step(all).count(b) == 1);  // the place is taken now
    all.remove(b);
    const auto rows = step(all);
    CHECK(rows.at(a) == 1);  // its blocks were not lost
    all.hold(a);
    CHECK_FALSE(all.has_work());
}

TEST_CASE("scheduler: blocks of held sequences go first, then the youngest is paused")
{
    scheduler all{limits(4).context_length(64)};
    const auto old = all.add(prompt(15, 1, 40));
    const auto idle = all.add(prompt(15, 2, 40));
    const auto young = all.add(prompt(15, 3, 40));
    step(all);
    all.hold(idle);
    for (int i = 0; i < 2; ++i)
        step(all);
    CHECK(all.get(idle)->n_computed == 0);
    CHECK(all.get(old)->n_computed > 15);
    CHECK(all.get(young)->n_computed > 15);
    while (all.get(young)->n_computed > 0)
        step(all);
    CHECK(all.get(old)->n_computed > 30);
    CHECK(all.stats().n_waiting == 1);
    while (all.get(old))
        step(all);
    step(all);
    CHECK(all.get(young)->n_computed > 30);  // all its tokens again
}

TEST_CASE("scheduler: what can never fit is refused by name")
{
    scheduler all{limits(4).context_length(100)};
    CHECK_THAT(
        failure(mp::model_errc::context_overflow, [&] { all.add(prompt(100, 1)); }),
        Catch::Contains("100"));
    CHECK_THAT(
        failure(mp::pool_errc::memory_exhausted, [&] { all.add(prompt(64, 1)); }),
        Catch::Contains("64"));
    failure(mp::errc::invalid_argument, [&] { all.add(prompt(0, 1)); });
    sequence_input forced = prompt(60, 1, 50);
    forced.forced.resize(50);
    failure(mp::model_errc::context_overflow, [&] { all.add(std::move(forced)); });
    sequence_input image = prompt(10, 1);
    auto changed = std::make_shared<mp::prepared_prompt>(*image.prompt);
    changed->images = {{8, 4, 1}};
    image.prompt = changed;
    failure(mp::errc::invalid_argument, [&] { all.add(std::move(image)); });
    CHECK(all.size() == 0);
    const auto id = all.add(prompt(63, 1, 99));
    CHECK(all.get(id)->max_tokens == 1);
}

TEST_CASE("scheduler: a prompt of equal tokens is computed once while both are live")
{
    scheduler all{limits().prefill_chunk(64)};
    const auto a = all.add(prompt(200, 1));
    const auto b = all.add(prompt(200, 1));
    std::size_t n_rows = 0;
    while (all.get(a)->n_computed < 200 || all.get(b)->n_computed < 200)
        for (const auto& [id, n] : step(all))
            n_rows += n;
    CHECK(n_rows < 200 + 8 + 4);  // and the last 8 of the other, beside tokens of the first
    CHECK(all.get(b)->n_cached == 192);
    CHECK(all.stats().n_used_blocks < 16);
}

TEST_CASE("scheduler: a finished prompt is found again, up to the last token")
{
    scheduler all{limits()};
    all.add(prompt(96, 1, 1));
    step(all);
    REQUIRE_FALSE(all.has_work());
    const auto again = all.add(prompt(96, 1, 1));
    CHECK(step(all)[again] == 16);  // the last block, for the last token
    const auto longer = all.add(prompt(97, 1, 1));
    CHECK(step(all)[longer] == 1);
    const auto scored = [&] {
        sequence_input input = prompt(97, 1, 1);
        input.prompt_logits = true;
        return all.add(std::move(input));
    }();
    CHECK(
        step(all)[scored] ==
        64);  // logits of every position: nothing from the cache, and so many rows
}

TEST_CASE("scheduler: an abandoned step did not happen")
{
    scheduler all{limits()};
    const auto id = all.add(prompt(100, 1));
    const auto used = all.stats().n_used_blocks;
    CHECK(all.plan().rows.size() == 100);
    all.abandon();
    CHECK(all.get(id)->n_computed == 0);
    CHECK(all.stats().n_used_blocks == used);
    const auto other = all.add(prompt(100, 1));
    CHECK(step(all)[id] == 100);
    CHECK(step(all)[other] == 4);
}

TEST_CASE("scheduler: a sequence removed during a step gives its blocks back at its end")
{
    scheduler all{limits()};
    const auto id = all.add(prompt(100, 1));
    all.plan();
    CHECK(all.remove(id));
    CHECK_FALSE(all.remove(id));
    CHECK(all.get(id) == nullptr);
    all.commit();
    CHECK(all.stats().n_used_blocks == 0);
    CHECK(all.stats().n_cached_blocks == 6);
    CHECK(all.size() == 0);
}

TEST_CASE("scheduler: rows of scored tokens are bounded by the logits a step may have")
{
    scheduler all{limits().max_sequences(2).max_logits_rows(10)};
    sequence_input input = prompt(8, 1, 50);
    input.forced.assign(50, 3);
    const auto id = all.add(std::move(input));
    std::size_t n_logits = 0;
    while (all.get(id)) {
        const step_plan& plan = all.plan();
        CHECK(plan.n_logits <= 10);
        n_logits += plan.n_logits;
        all.commit();
        if (all.get(id)->n_computed == all.get(id)->n_needed()) all.remove(id);
    }
    CHECK(n_logits == 50);
}

TEST_CASE("scheduler: refuses limits that cannot be")
{
    failure(mp::errc::invalid_argument, [] { scheduler{limits(0)}; });
    failure(mp::errc::invalid_argument, [] { scheduler{limits().block_tokens(0)}; });
    failure(mp::errc::invalid_argument, [] { scheduler{limits().prefill_chunk(0)}; });
    failure(mp::errc::invalid_argument, [] { scheduler{limits().max_sequences(0)}; });
    failure(mp::errc::invalid_argument, [] { scheduler{limits().context_length(1)}; });
    failure(mp::errc::invalid_argument, [] { scheduler{limits().max_sequences(9).max_rows(8)}; });
    failure(mp::errc::invalid_argument, [] {
        scheduler{limits().max_sequences(9).max_logits_rows(8)};
    });
}
