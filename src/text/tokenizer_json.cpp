#include <limits>
#include <stdexcept>
#include <unordered_map>
#include <utility>
#include <vector>

#include "support/printable.hpp"
#include "text/component_json.hpp"
#include "text/lengths.hpp"
#include "text/tokenizer_config.hpp"
#include "text/tokenizer_parts.hpp"

namespace modelpool::text {
namespace {

// The ids are not read from the file: as in the reference, a token that the model has keeps its id,
// and the others are counted on from the size of the model's vocabulary.
std::vector<added_token> read_added_tokens(const json_value& from, const model& vocab)
{
    std::vector<added_token> tokens;
    std::unordered_map<std::string_view, token_id> seen;
    auto next_id = static_cast<token_id>(vocab.size());
    std::size_t index = 0;
    for (const simdjson::dom::element element : from.array()) {
        const json_value each = from.item(element, index++);
        const std::string_view content = each.need("content").string();
        added_token token;
        token.content = content;
        token.special = each.need("special").boolean();
        token.single_word = each.need("single_word").boolean();
        token.lstrip = each.need("lstrip").boolean();
        token.rstrip = each.need("rstrip").boolean();
        token.normalized = each.need("normalized").boolean();
        static_cast<void>(each.need("id").id());
        if (content.empty()) continue;
        if (const auto known = seen.find(content); known != seen.end())
            token.id = known->second;
        else if (const std::optional<token_id> id = vocab.id_of(content))
            token.id = *id;
        else
            token.id = next_id++;
        seen[content] = token.id;
        tokens.push_back(std::move(token));
    }
    return tokens;
}

void check_version(const json_value& root)
{
    const std::optional<json_value> version = root.find("version");
    if (version && version->string() != "1.0")
        version->refuse(support::in_quotes(version->string()) + " is not supported, only '1.0' is");
}

}  // namespace

tokenizer_parts
parse_tokenizer_json(std::string_view json, const tokenizer_config* beside, const std::string& name)
{
    simdjson::dom::parser parser;
    simdjson::dom::element document;
    const simdjson::error_code problem = parser.parse(simdjson::padded_string{json}).get(document);
    if (problem == simdjson::MEMALLOC) throw std::bad_alloc{};
    if (problem != simdjson::SUCCESS)
        throw error{
            text_errc::bad_file, name + ": not valid JSON: " + simdjson::error_message(problem)};
    const json_value root{document, name, ""};
    check_version(root);

    tokenizer_parts parts;
    if (const std::optional<json_value> from = root.find("normalizer"))
        parts.normal_form = make_normalizer(*from);
    if (const std::optional<json_value> from = root.find("pre_tokenizer"))
        parts.cutter = make_pre_tokenizer(*from);
    parts.vocab = make_model(root.need("model"));
    if (const std::optional<json_value> from = root.find("post_processor"))
        parts.completion = make_post_processor(*from);
    if (const std::optional<json_value> from = root.find("decoder"))
        parts.back = make_decoder(*from);
    if (const std::optional<json_value> from = root.find("truncation"))
        parts.truncation = read_truncation(*from);
    if (const std::optional<json_value> from = root.find("padding"))
        parts.padding = read_padding(*from);
    std::vector<added_token> tokens;
    const std::optional<json_value> added = root.find("added_tokens");
    if (added) tokens = read_added_tokens(*added, *parts.vocab);
    if (beside != nullptr) beside->complete(tokens, *parts.vocab);
    try {
        parts.added = added_tokens{std::move(tokens), parts.normal_form.get()};
    } catch (const std::invalid_argument& reason) {
        added.value_or(root).refuse(
            std::string{"cannot be used: "} + reason.what() + ", which is not supported");
    }
    return parts;
}

}  // namespace modelpool::text
