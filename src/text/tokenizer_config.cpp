#include "text/tokenizer_config.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <new>
#include <system_error>
#include <unordered_map>
#include <unordered_set>

#include "support/json.hpp"
#include "support/printable.hpp"
#include "text/json_fields.hpp"

namespace modelpool::text {
namespace {

constexpr std::size_t max_file_bytes = std::size_t{64} << 20U;

// The reference counts new tokens on in this order.
constexpr std::array<std::string_view, 7> token_keys{
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};
constexpr std::array<std::string_view, 2> list_keys{
    "additional_special_tokens", "extra_special_tokens"};

// Parses a file and hands its value to `read`.
template <typename Read>
void with_json(std::string_view json, const std::string& name, const Read& read)
{
    simdjson::dom::parser parser;
    simdjson::dom::element document;
    const simdjson::error_code problem = parser.parse(simdjson::padded_string{json}).get(document);
    if (problem == simdjson::MEMALLOC) throw std::bad_alloc{};
    if (problem != simdjson::SUCCESS)
        throw error{
            text_errc::bad_file, name + ": not valid JSON: " + simdjson::error_message(problem)};
    read(json_value{document, name, ""});
}

bool boolean_or_false(const json_value& from, std::string_view key)
{
    const std::optional<json_value> found = from.find(key);
    return found && found->boolean();
}

// A token as a string, or as an object with its properties.
added_token read_token(const json_value& from, bool special)
{
    added_token token;
    token.special = special;
    if (from.is_string()) {
        token.content = from.string();
        return token;
    }
    token.content = from.need("content").string();
    token.special = special || boolean_or_false(from, "special");
    token.single_word = boolean_or_false(from, "single_word");
    token.lstrip = boolean_or_false(from, "lstrip");
    token.rstrip = boolean_or_false(from, "rstrip");
    token.normalized = boolean_or_false(from, "normalized");
    return token;
}

token_id read_id(std::string_view text, const json_value& from)
{
    token_id id = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), id);
    if (problem != std::errc{} || end != text.data() + text.size() || id < 0 ||
        id == std::numeric_limits<token_id>::max())
        from.fail("has the key " + support::in_quotes(text) + ", expected the id of a token");
    return id;
}

bool is_token_key(std::string_view key)
{
    return std::find(token_keys.begin(), token_keys.end(), key) != token_keys.end();
}

}  // namespace

void tokenizer_config::read_config(std::string_view json, const std::string& name)
{
    with_json(json, name, [this](const json_value& root) {
        if (const std::optional<json_value> found = root.find("tokenizer_class")) {
            class_ = found->string();
            if (class_.ends_with("Fast")) class_.resize(class_.size() - 4);
        }
        for (const simdjson::dom::key_value_pair field : root.object()) {
            bool flag = false;
            std::int64_t number = 0;
            if (field.value.get(flag) == simdjson::SUCCESS)
                flags_[std::string{field.key}] = flag;
            else if (field.value.get(number) == simdjson::SUCCESS)
                numbers_[std::string{field.key}] = number;
            else if (is_token_key(field.key) && field.value.is_null())
                named_[std::string{field.key}] = std::nullopt;
        }
        for (const std::string_view key : token_keys)
            if (const std::optional<json_value> found = root.find(key))
                named_[std::string{key}] = read_token(*found, true);
        for (const std::string_view key : list_keys) {
            const std::optional<json_value> list = root.find(key);
            if (!list || !list->get().is_array()) continue;
            std::size_t index = 0;
            for (const simdjson::dom::element each : list->array())
                unnamed_.push_back(read_token(list->item(each, index++), true));
        }
        if (const std::optional<json_value> list = root.find("added_tokens_decoder")) {
            for (const simdjson::dom::key_value_pair field : list->object()) {
                const token_id id = read_id(field.key, *list);
                added_token token = read_token(list->need(field.key), false);
                token.id = id;
                with_id_[id] = std::move(token);
            }
        }
    });
}

void tokenizer_config::read_special_tokens(std::string_view json, const std::string& name)
{
    with_json(json, name, [this](const json_value& root) {
        for (const std::string_view key : token_keys)
            if (const std::optional<json_value> found = root.find(key))
                named_[std::string{key}] = read_token(*found, true);
        for (const std::string_view key : list_keys) {
            const std::optional<json_value> list = root.find(key);
            if (!list) continue;
            unnamed_.clear();
            std::size_t index = 0;
            for (const simdjson::dom::element each : list->array())
                unnamed_.push_back(read_token(list->item(each, index++), true));
        }
    });
}

void tokenizer_config::read_added_tokens(std::string_view json, const std::string& name)
{
    with_json(json, name, [this](const json_value& root) {
        std::unordered_set<std::string_view> special;
        for (const auto& [key, token] : named_)
            if (token) special.insert(token->content);
        for (const added_token& token : unnamed_)
            special.insert(token.content);
        for (const simdjson::dom::key_value_pair field : root.object()) {
            added_token token;
            token.content = field.key;
            token.id = root.need(field.key).id();
            token.special = special.contains(field.key);
            with_id_[token.id] = std::move(token);
        }
    });
}

tokenizer_config tokenizer_config::blocking_read(const std::filesystem::path& folder)
{
    tokenizer_config made;
    const auto read = [&](const char* name,
                          void (tokenizer_config::*reader)(std::string_view, const std::string&)) {
        const std::filesystem::path file = folder / name;
        std::error_code ignored;
        if (!std::filesystem::exists(file, ignored)) return;
        const std::string json =
            support::blocking_read_file(file, text_errc::bad_file, max_file_bytes);
        (made.*reader)(json, support::printable(file.native(), 4096));
    };
    read("tokenizer_config.json", &tokenizer_config::read_config);
    // Newer checkpoints have everything in the one file.
    if (made.has_ids()) return made;
    read("special_tokens_map.json", &tokenizer_config::read_special_tokens);
    read("added_tokens.json", &tokenizer_config::read_added_tokens);
    return made;
}

std::optional<bool> tokenizer_config::flag(std::string_view key) const
{
    const auto found = flags_.find(key);
    return found == flags_.end() ? std::nullopt : std::optional{found->second};
}

bool tokenizer_config::flag(std::string_view key, bool otherwise) const
{
    return flag(key).value_or(otherwise);
}

std::int64_t tokenizer_config::number(std::string_view key, std::int64_t otherwise) const
{
    const auto found = numbers_.find(key);
    return found == numbers_.end() ? otherwise : found->second;
}

const added_token* tokenizer_config::named(std::string_view key) const
{
    const auto found = named_.find(key);
    return found == named_.end() || !found->second ? nullptr : &*found->second;
}

void tokenizer_config::set_default(std::string_view key, std::string_view content)
{
    if (named_.contains(key)) return;
    added_token token;
    token.content = content;
    token.special = true;
    named_[std::string{key}] = std::move(token);
}

std::vector<added_token> tokenizer_config::tokens_for(const model& vocab) const
{
    std::vector<added_token> tokens;
    std::unordered_set<std::string_view> seen;
    std::unordered_set<std::string_view> special;
    for (const auto& [key, token] : named_)
        if (token) special.insert(token->content);
    auto next_id = static_cast<std::int64_t>(vocab.end_id());
    for (const auto& [id, token] : with_id_) {
        if (token.content.empty() || !seen.insert(token.content).second) continue;
        added_token made = token;
        made.id = vocab.id_of(token.content).value_or(id);
        made.special = made.special || special.contains(token.content);
        tokens.push_back(std::move(made));
        next_id = std::max(next_id, std::int64_t{id} + 1);
    }
    // Of several that are the same text, as an end and a padding may be, the last one's properties
    // count.
    const std::size_t n_with_id = tokens.size();
    const auto add = [&](const added_token& token) {
        if (token.content.empty()) return;
        if (!seen.insert(token.content).second) {
            for (std::size_t i = n_with_id; i < tokens.size(); ++i) {
                if (tokens[i].content != token.content) continue;
                const token_id id = tokens[i].id;
                tokens[i] = token;
                tokens[i].id = id;
            }
            return;
        }
        added_token made = token;
        const std::optional<token_id> known = vocab.id_of(token.content);
        if (!known && next_id >= std::numeric_limits<token_id>::max())
            throw error{
                text_errc::bad_file,
                "the token " + support::in_quotes(token.content) + " would have an id above 2^31"};
        made.id = known ? *known : static_cast<token_id>(next_id++);
        tokens.push_back(std::move(made));
    };
    for (const std::string_view key : token_keys)
        if (const added_token* const token = named(key)) add(*token);
    for (const added_token& token : unnamed_)
        add(token);
    return tokens;
}

void tokenizer_config::complete(std::vector<added_token>& tokens, const model& vocab) const
{
    std::unordered_map<std::string, std::size_t> places;
    auto next_id = static_cast<std::int64_t>(vocab.size());
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        places.emplace(tokens[i].content, i);
        next_id = std::max(next_id, std::int64_t{tokens[i].id} + 1);
    }
    const auto add = [&](const added_token& token) {
        if (token.content.empty()) return;
        const auto [place, is_new] = places.emplace(token.content, tokens.size());
        if (!is_new) {
            tokens[place->second].special = tokens[place->second].special || token.special;
            return;
        }
        const std::optional<token_id> known = vocab.id_of(token.content);
        if (!known && next_id >= std::numeric_limits<token_id>::max())
            throw error{
                text_errc::bad_file,
                "the token " + support::in_quotes(token.content) + " would have an id above 2^31"};
        tokens.push_back(token);
        tokens.back().id = known ? *known : static_cast<token_id>(next_id++);
    };
    for (const auto& [id, token] : with_id_)
        add(token);
    for (const std::string_view key : token_keys)
        if (const added_token* const token = named(key)) add(*token);
    for (const added_token& token : unnamed_)
        add(token);
}

}  // namespace modelpool::text
