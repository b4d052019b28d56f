#include "models/text_preparer.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <array>
#include <string>
#include <system_error>
#include <utility>

#include "support/json.hpp"

namespace modelpool::models {
namespace {

using support::json_file;

bool is_type(const nlohmann::json& component, const char* type)
{
    const auto place = component.is_object() ? component.find("type") : component.end();
    return place != component.end() && *place == type;
}

// A normalizer that lower-cases and then does what `normalizer` does. sentence-transformers puts a
// Lowercase before it, unless there is one already. BERT's own has a switch, which comes to the
// same: case and accents do not meet.
nlohmann::json lower_casing(nlohmann::json normalizer)
{
    if (is_type(normalizer, "Lowercase")) return normalizer;
    if (is_type(normalizer, "BertNormalizer")) {
        const auto lowercase = normalizer.find("lowercase");
        const auto accents = normalizer.find("strip_accents");
        // Where nothing is said of accents, they follow the switch that is about to change.
        if (lowercase != normalizer.end() && *lowercase == false &&
            (accents == normalizer.end() || accents->is_null()))
            normalizer["strip_accents"] = false;
        normalizer["lowercase"] = true;
        return normalizer;
    }
    nlohmann::json parts = nlohmann::json::array();
    const auto inner = normalizer.find("normalizers");
    const bool sequence = is_type(normalizer, "Sequence") && inner != normalizer.end();
    if (sequence && inner->is_array())
        parts = *inner;
    else if (!normalizer.is_null())
        parts.push_back(std::move(normalizer));
    const auto lowers = [](const nlohmann::json& part) { return is_type(part, "Lowercase"); };
    if (std::ranges::none_of(parts, lowers)) parts.insert(parts.begin(), {{"type", "Lowercase"}});
    return {{"type", "Sequence"}, {"normalizers", std::move(parts)}};
}

// Done on the file's JSON, so that added tokens are found as they are there.
text::tokenizer load_lower_casing(const std::filesystem::path& path)
{
    const json_file file = json_file::blocking_read(path, text_errc::bad_file);
    if (!file.root().is_object())
        file.fail(std::string{"expected an object, found "} + file.root().type_name());
    nlohmann::json root = file.root();
    nlohmann::json& normalizer = root["normalizer"];
    normalizer = lower_casing(std::move(normalizer));
    return text::tokenizer::from_json(root.dump(), path.string());
}

}  // namespace

text_rules text_rules::of(const sentence_modules& modules)
{
    text_rules rules;
    if (!modules.pooling.include_prompt) rules.count = prompt_count::with_specials;
    return rules;
}

text_preparer::text_preparer(text::tokenizer tokenizer, text_rules rules, std::size_t vocab_size)
    : tokenizer_{std::move(tokenizer)}
    , rules_{std::move(rules)}
    , vocab_size_{vocab_size}
{}

text_preparer text_preparer::blocking_load(
    const sentence_modules& modules, std::size_t vocab_size, text_rules rules)
{
    std::filesystem::path path = modules.transformer_dir / "tokenizer.json";
    // Older checkpoints have their vocabulary in other files, which the folder's tokenizer finds.
    std::error_code ignored;
    if (!modules.lower_case && !std::filesystem::exists(path, ignored) &&
        std::filesystem::exists(modules.transformer_dir / "vocab.json", ignored))
        path = modules.transformer_dir;
    text::tokenizer tokenizer =
        modules.lower_case ? load_lower_casing(path) : text::tokenizer::blocking_load(path);
    return text_preparer{std::move(tokenizer), std::move(rules), vocab_size};
}

std::size_t text_preparer::prompt_length(const embed_input& input) const
{
    if (rules_.count == prompt_count::prompt_alone)
        return tokenizer_.encode(input.prompt, text::encode_options{}.add_special_tokens(false))
            .ids.size();
    // As sentence-transformers counts: the prompt alone, without the special token that ends it.
    const text::encoding alone =
        tokenizer_.encode(input.prompt, text::encode_options{}.max_tokens(input.max_tokens));
    if (alone.ids.empty()) return 0;
    const std::array last{alone.ids.back()};
    const bool special =
        tokenizer_.decode(last, true).empty() && !tokenizer_.decode(last, false).empty();
    return alone.ids.size() - (special ? 1 : 0);
}

std::optional<text::token_id>
text_preparer::foreign_id(std::span<const text::token_id> ids) const noexcept
{
    const auto place = std::ranges::find_if(ids, [this](text::token_id id) {
        return id < 0 || static_cast<std::size_t>(id) >= vocab_size_;
    });
    return place == ids.end() ? std::nullopt : std::optional{*place};
}

prepared_text text_preparer::prepare(const embed_input& input) const
{
    std::string joined;
    std::string_view whole = input.text;
    if (!input.prompt.empty() || !rules_.suffix.empty()) {
        joined.reserve(input.prompt.size() + input.text.size() + rules_.suffix.size());
        joined.append(input.prompt).append(input.text).append(rules_.suffix);
        whole = joined;
    }
    text::encoding encoded =
        tokenizer_.encode(whole, text::encode_options{}.max_tokens(input.max_tokens));
    if (encoded.truncated && input.too_long == on_too_long::error)
        throw error{
            text_errc::too_long,
            "the text has " + std::to_string(tokenizer_.encode(whole).ids.size()) +
                " tokens, the limit is " + std::to_string(input.max_tokens)};
    if (const auto id = foreign_id(encoded.ids))
        throw error{
            text_errc::bad_id,
            "the tokenizer gives token " + std::to_string(*id) + ", the model's vocabulary has " +
                std::to_string(vocab_size_)};
    prepared_text result;
    result.tokens = std::move(encoded.ids);
    result.dimension = input.dimension;
    result.truncated = encoded.truncated;
    if (rules_.count != prompt_count::none && !input.prompt.empty())
        result.n_prompt_tokens = std::min(prompt_length(input), result.tokens.size());
    return result;
}

std::exception_ptr
text_preparer::problem(const prepared_text& text, const embedder_info& info) const
{
    if (text.tokens.empty())
        return std::make_exception_ptr(error{errc::invalid_argument, "the text has no tokens"});
    if (text.n_tokens() > info.max_tokens)
        return std::make_exception_ptr(error{
            model_errc::context_overflow,
            "the text has " + std::to_string(text.n_tokens()) + " tokens, the model takes " +
                std::to_string(info.max_tokens)});
    if (const auto id = foreign_id(text.tokens))
        return std::make_exception_ptr(error{
            text_errc::bad_id,
            "token " + std::to_string(*id) + " lies outside the model's vocabulary of " +
                std::to_string(vocab_size_)});
    if (std::ranges::find(info.dimensions, text.dimension) == info.dimensions.end())
        return std::make_exception_ptr(error{
            errc::invalid_argument,
            "rows of " + std::to_string(text.dimension) +
                " numbers were asked for, the model has " + std::to_string(info.dim)});
    return nullptr;
}

}  // namespace modelpool::models
