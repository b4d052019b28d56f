#pragma once

#include <modelpool/sched/generation_core.hpp>

#include <catch2/catch.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/fake_generator.hpp"

namespace modelpool::testing {

/// Prompts of one kind begin alike.
inline std::vector<std::int32_t> random_prompt(unsigned kind, std::size_t n_tokens)
{
    std::mt19937 random{kind};
    std::vector<std::int32_t> tokens(n_tokens);
    for (std::int32_t& one : tokens)
        one = static_cast<std::int32_t>(random() % 61);
    return tokens;
}

inline sched::core_request request(std::vector<std::int32_t> tokens, std::size_t max_tokens)
{
    auto prompt = std::make_shared<prepared_prompt>();
    prompt->tokens = std::move(tokens);
    sched::core_request made;
    made.prompt = std::move(prompt);
    made.params.max_tokens = max_tokens;
    return made;
}

/// All that came of one sequence.
struct generated {
    std::vector<std::int32_t> ids;
    std::vector<std::vector<float>> logits;
    std::vector<sched::scored_token> scored;
    std::vector<sched::scored_token> prompt;
    std::string text;
    std::vector<std::string> pieces;
    std::optional<finish_reason> finish;
    std::optional<std::size_t> stop_string;
    std::exception_ptr failure;
    generation_usage usage;
    std::size_t n_started{0};
    std::size_t n_ended{0};
};

/// A core with the readers of its sequences.
class generations {
public:
    generations(generator& model, const sched::generation_options& options)
        : core_{model, options}
    {}

    sched::generation_core& core() noexcept { return core_; }
    const generated& at(sched::sequence_id id) { return results_[id]; }

    sched::sequence_id add(sched::core_request made) { return core_.add(std::move(made)); }
    sched::sequence_id fork(sched::sequence_id from, sched::core_request made)
    {
        return core_.fork(from, std::move(made));
    }

    void step()
    {
        run_context context;
        take(core_.step(context));
    }

    void run()
    {
        for (int i = 0; core_.has_work(); ++i) {
            REQUIRE(i < 100000);
            step();
        }
    }

    void take(std::span<sched::generation_update> updates)
    {
        for (sched::generation_update& update : updates) {
            generated& result = results_[update.id];
            CHECK(result.n_ended == 0);
            result.n_started += update.started ? 1 : 0;
            result.text += update.text;
            result.pieces.push_back(update.text);
            for (sched::scored_token& one : update.tokens) {
                result.ids.push_back(one.id);
                result.logits.emplace_back(one.logits.begin(), one.logits.end());
                result.scored.push_back(std::move(one));
            }
            for (sched::scored_token& one : update.prompt_tokens)
                result.prompt.push_back(std::move(one));
            result.usage = update.usage;
            CHECK(result.usage.n_generated_tokens == result.ids.size());
            if (update.ended()) {
                ++result.n_ended;
                result.finish = update.finish;
                result.stop_string = update.stop_string;
                result.failure = update.failure;
            }
        }
    }

private:
    sched::generation_core core_;
    std::map<sched::sequence_id, generated> results_;
};

}  // namespace modelpool::testing
