#include <catch2/catch.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "sched/generations.hpp"
#include "support/fake_generator.hpp"

namespace mp = modelpool;
using namespace mp::sched;
using mp::finish_reason;
using mp::testing::fake_generator;
using mp::testing::generated;
using mp::testing::generations;
using mp::testing::random_prompt;
using ids = std::vector<std::int32_t>;

namespace {

/// What was asked for, so that it can be asked for again alone.
struct wanted {
    std::shared_ptr<const mp::prepared_prompt> prompt;
    mp::generation_params params;
};

/// Random requests, and everything that may happen to them, in any order.
class schedule {
public:
    explicit schedule(unsigned seed)
        : random_{seed}
        , model_{160}
        , options_{some_options()}
        , all_{model_, options_}
    {
        model_.info().end_tokens = {3};
    }

    void operate()
    {
        const std::size_t what = random_() % 100;
        if (what < 12 && live_.size() < 60)
            add();
        else if (what < 16 && !live_.empty())
            fork();
        else if (what < 20 && !live_.empty())
            end(some());
        else if (what < 24 && !live_.empty())
            hold(some());
        else if (what < 30 && !held_.empty())
            resume(*held_.begin());
        else if (what < 31)
            all_.take(all_.core().set_kv_budget(150 + random_() % 600));
        else if (what < 33)
            fail();
        else
            all_.step();
        look();
    }

    void finish()
    {
        while (!held_.empty())
            resume(*held_.begin());
        all_.run();
        look();
        CHECK(live_.empty());
        CHECK(all_.core().size() == 0);
        const scheduler_stats now = all_.core().stats();
        CHECK(now.n_used_blocks == 0);
        CHECK(now.n_waiting + now.n_live + now.n_held == 0);
        std::size_t n_complete = 0;
        for (const auto& [id, one] : wanted_) {
            const generated& result = all_.at(id);
            if (ended_.count(id) > 0)
                CHECK(result.n_ended == 0);
            else
                CHECK(result.n_ended == 1);
            n_complete += compare(id, one, result) ? 1 : 0;
        }
        CHECK(n_complete > wanted_.size() / 3);
    }

private:
    generation_options some_options()
    {
        return generation_options{}
            .entropy(1)
            .kv_budget_bytes(300 + random_() % 500)
            .limits(scheduler_options{}
                        .block_tokens(1 + random_() % 9)
                        .prefill_chunk(1 + random_() % 70)
                        .max_sequences(1 + random_() % 12));
    }

    wanted some_request()
    {
        auto prompt = std::make_shared<mp::prepared_prompt>();
        prompt->tokens = random_prompt(random_() % 4, 1 + random_() % 60);
        if (random_() % 4 == 0) prompt->tokens.back() = static_cast<std::int32_t>(random_() % 60);
        if (random_() % 5 == 0 && prompt->tokens.size() > 10)
            prompt->images = {{2, 1 + random_() % 7, random_() % 2}};
        wanted made;
        made.prompt = std::move(prompt);
        made.params.max_tokens = 1 + random_() % 40;
        made.params.ignore_end = random_() % 2 == 0;
        if (random_() % 3 == 0) {
            made.params.sampling.temperature = 1.0F;
            made.params.sampling.seed = random_();
            made.params.sampling.presence_penalty = 0.5F;
        }
        if (random_() % 6 == 0) made.params.forced = random_prompt(3, random_() % 30);
        if (random_() % 6 == 0) made.params.stop = {"<5><", "6>"};
        made.params.prompt_logprobs = random_() % 8 == 0;
        return made;
    }

    core_request request_of(const wanted& one)
    {
        core_request made;
        made.prompt = one.prompt;
        made.params = one.params;
        made.priority = static_cast<int>(random_() % 3);
        return made;
    }

    void add()
    {
        const wanted made = some_request();
        keep(made, [&] { return all_.add(request_of(made)); });
    }

    void fork()
    {
        const sequence_id from = some();
        wanted made = some_request();
        made.prompt = wanted_.at(from).prompt;
        keep(made, [&] { return all_.fork(from, request_of(made)); });
    }

    /// A cache made smaller refuses long prompts: that is right, and all that may fail.
    template <class F>
    void keep(const wanted& made, F start)
    {
        try {
            const sequence_id id = start();
            REQUIRE(wanted_.emplace(id, made).second);
            live_.insert(id);
        } catch (const mp::error& refused) {
            REQUIRE(
                (refused.code() == mp::pool_errc::memory_exhausted ||
                 refused.code() == mp::model_errc::context_overflow));
        }
    }

    sequence_id some()
    {
        auto place = live_.begin();
        std::advance(place, static_cast<std::ptrdiff_t>(random_() % live_.size()));
        return *place;
    }

    void end(sequence_id id)
    {
        const auto usage = all_.core().end(id);
        REQUIRE(usage);
        CHECK(usage->n_generated_tokens == all_.at(id).ids.size());
        ended_.insert(id);
        live_.erase(id);
        held_.erase(id);
    }

    void hold(sequence_id id)
    {
        all_.core().hold(id);
        held_[id] = all_.at(id).ids.size();
    }

    void resume(std::pair<const sequence_id, std::size_t> one)
    {
        CHECK(all_.at(one.first).ids.size() == one.second);
        all_.core().resume(one.first);
        held_.erase(one.first);
    }

    void fail()
    {
        if (!all_.core().has_work()) return;
        model_.fail_next = true;
        CHECK_THROWS_AS(all_.step(), mp::error);
        model_.fail_next = false;
    }

    /// What holds after every operation.
    void look()
    {
        for (auto place = live_.begin(); place != live_.end();) {
            const sequence_id id = *place++;
            if (all_.at(id).n_ended == 0) continue;
            REQUIRE(all_.at(id).n_ended == 1);
            live_.erase(id);
            held_.erase(id);
        }
        const scheduler_stats now = all_.core().stats();
        REQUIRE(all_.core().size() == live_.size());
        REQUIRE(now.n_waiting + now.n_live + now.n_held == live_.size());
        REQUIRE(now.n_held == held_.size());
        REQUIRE(now.n_live <= options_.limits().max_sequences());
        REQUIRE(model_.last_rows.size() <= options_.limits().max_rows());
        REQUIRE(all_.core().has_work() == (live_.size() > held_.size()));
    }

    /// The same request alone, with room for all. False for what ended before its time.
    bool compare(sequence_id id, const wanted& one, const generated& result)
    {
        fake_generator model{160};
        model.info().end_tokens = {3};
        generations alone{model, generation_options{}};
        core_request made;
        made.prompt = one.prompt;
        made.params = one.params;
        const sequence_id again = alone.add(std::move(made));
        alone.run();
        const generated& expected = alone.at(again);
        const std::size_t n = result.ids.size();
        CAPTURE(static_cast<std::uint64_t>(id));
        REQUIRE(n <= expected.ids.size());
        CHECK(
            result.ids ==
            ids(expected.ids.begin(), expected.ids.begin() + static_cast<std::ptrdiff_t>(n)));
        CHECK(expected.text.substr(0, result.text.size()) == result.text);
        for (std::size_t i = 0; i < n; ++i)
            CHECK(result.logits[i] == expected.logits[i]);
        for (std::size_t i = 0; i < result.prompt.size(); ++i)
            CHECK(result.prompt[i].logprob == expected.prompt.at(i).logprob);
        // A small cache may end an answer early, as a small context does.
        const bool complete = result.finish && n == expected.ids.size();
        if (complete) {
            CHECK(result.finish == expected.finish);
            CHECK(result.text == expected.text);
            CHECK(result.stop_string == expected.stop_string);
            CHECK(result.prompt.size() == expected.prompt.size());
        }
        return complete;
    }

    std::mt19937 random_;
    fake_generator model_;
    generation_options options_;
    generations all_;
    std::map<sequence_id, wanted> wanted_;
    std::set<sequence_id> live_;
    std::set<sequence_id> ended_;
    std::map<sequence_id, std::size_t> held_;  ///< with the tokens it had
};

}  // namespace

TEST_CASE("generation_core: no order of events changes an answer, loses a block or ends twice")
{
    const auto seed = GENERATE(range(1U, 21U));
    CAPTURE(seed);
    schedule random{seed};
    for (int i = 0; i < 1000; ++i)
        random.operate();
    random.finish();
}

TEST_CASE("generation_core: ten thousand events in one life")
{
    const unsigned seed = 77;
    CAPTURE(seed);
    schedule random{seed};
    for (int i = 0; i < 10000; ++i)
        random.operate();
    random.finish();
}
