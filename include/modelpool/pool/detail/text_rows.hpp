#pragma once

#include <modelpool/capability/text_embedding.hpp>
#include <modelpool/error.hpp>
#include <modelpool/pool/detail/engine.hpp>
#include <modelpool/pool/detail/info_job.hpp>
#include <modelpool/pool/detail/rows_job.hpp>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace modelpool::detail {

/// What a request's options come to with a certain model.
struct embed_plan {
    std::string prompt;
    std::size_t head{0};  ///< the dimension the model computes
    std::size_t dim{0};   ///< the dimension of the rows, which may be cut from it
    std::size_t max_tokens{0};
};

inline std::string list_text(const std::vector<std::string>& items)
{
    std::string text;
    for (const std::string& item : items)
        text += (text.empty() ? "" : ", ") + item;
    return text.empty() ? "none" : text;
}

inline std::string
plan_prompt(const embed_options& wanted, const embedder_info& info, const engine_options& card)
{
    if (wanted.prompt()) return *wanted.prompt();
    std::optional<std::string> name = wanted.prompt_name();
    if (!name) name = card.default_prompt ? card.default_prompt : info.default_prompt;
    if (!name) return {};
    std::vector<std::string> names;
    for (const auto* prompts : {&card.prompts, &info.prompts}) {
        const auto place = prompts->find(*name);
        if (place != prompts->end()) return place->second;
        for (const auto& [known, text] : *prompts)
            names.push_back(known);
    }
    throw error{
        errc::invalid_argument,
        "the model has no prompt '" + *name + "'; its prompts: " + list_text(names)};
}

inline void
plan_dimension(embed_plan& plan, std::size_t wanted, const embedder_info& info, bool cuttable)
{
    plan.head = info.dim;
    plan.dim = wanted == 0 ? info.dim : wanted;
    if (std::find(info.dimensions.begin(), info.dimensions.end(), plan.dim) !=
        info.dimensions.end())
        plan.head = plan.dim;
    if (plan.head == plan.dim || (cuttable && plan.dim < plan.head)) return;
    std::vector<std::string> choices;
    choices.reserve(info.dimensions.size());
    for (const std::size_t dim : info.dimensions)
        choices.push_back(std::to_string(dim));
    std::string sentence = "the model has no dimension " + std::to_string(wanted) +
                           "; its dimensions: " + list_text(choices);
    if (cuttable) sentence += ", or anything below " + std::to_string(info.dim);
    throw error{errc::invalid_argument, std::move(sentence)};
}

/// Errors: errc::invalid_argument, with the choices there are.
inline embed_plan
plan_embedding(const embed_options& wanted, const embedder_info& info, const engine_options& card)
{
    embed_plan plan;
    plan.prompt = plan_prompt(wanted, info, card);
    plan_dimension(plan, wanted.dimension(), info, card.cuttable.value_or(info.cuttable));
    plan.max_tokens =
        wanted.max_tokens() == 0 ? info.max_tokens : std::min(wanted.max_tokens(), info.max_tokens);
    return plan;
}

/// One text of a request as a model gets it. Valid while the plan and the text live.
inline embed_input
planned_input(const embed_plan& plan, const embed_options& options, const std::string& text)
{
    embed_input input;
    input.text = text;
    input.prompt = plan.prompt;
    input.dimension = plan.head;
    input.max_tokens = plan.max_tokens;
    input.too_long = options.too_long();
    return input;
}

/// Requests for rows of texts, in batches of so many tokens (see `rows_job`).
struct text_rows {
    using input = std::string;
    using options = embed_options;
    using plan = embed_plan;
    using prepared = prepared_text;
    static constexpr const char* item = "text";

    /// A guess good enough to end a batch by: a token of prose has about four bytes.
    static std::size_t expected_cost(const std::string& text) noexcept
    {
        return text.size() / 4 + 2;
    }
    static std::size_t cost(const prepared_text& text) noexcept { return text.n_tokens(); }
    static embedding_usage usage(const prepared_text& text) noexcept
    {
        return {text.n_tokens(), text.truncated ? std::size_t{1} : std::size_t{0}};
    }
};

using embed_job = rows_job<text_rows>;
using embedder_info_job = info_job<embedder_info>;

}  // namespace modelpool::detail
