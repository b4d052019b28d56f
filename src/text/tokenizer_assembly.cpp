#include "text/tokenizer_assembly.hpp"

#include <modelpool/error.hpp>

#include <limits>
#include <optional>
#include <stdexcept>
#include <utility>

#include "support/printable.hpp"

namespace modelpool::text {

void fail_file(const std::string& name, const std::string& sentence)
{
    throw error{text_errc::bad_file, name + ": " + sentence};
}

void set_added(tokenizer_parts& parts, std::vector<added_token> tokens, const std::string& name)
{
    try {
        parts.added = added_tokens{std::move(tokens), parts.normal_form.get()};
    } catch (const std::invalid_argument& reason) {
        fail_file(name, std::string{"its added tokens cannot be used: "} + reason.what());
    }
}

void set_added(tokenizer_parts& parts, const tokenizer_config& config, const std::string& name)
{
    set_added(parts, config.tokens_for(*parts.vocab), name);
}

post_processor::part text_part()
{
    return {post_processor::part_kind::first_text, 0, {}, 0};
}

post_processor::part token_part(
    const tokenizer_parts& parts,
    const tokenizer_config& config,
    const std::string& key,
    const std::string& name)
{
    const added_token* const token = config.named(key);
    if (token == nullptr)
        fail_file(name, "the tokenizer adds its " + key + " to every text, but has none");
    std::optional<token_id> id = parts.added.id_of(token->content);
    if (!id) id = parts.vocab->id_of(token->content);
    if (!id)
        fail_file(name, "lacks the token " + support::in_quotes(token->content) + ", its " + key);
    return {post_processor::part_kind::special, *id, token->content, 0};
}

post_processor::part
token_part(const tokenizer_parts& parts, std::int64_t id, const std::string& name)
{
    std::optional<std::string_view> token;
    if (id >= 0 && id < std::numeric_limits<token_id>::max()) {
        token = parts.added.token_of(static_cast<token_id>(id));
        if (!token) token = parts.vocab->token_of(static_cast<token_id>(id));
    }
    if (!token)
        fail_file(
            name,
            "adds the token " + std::to_string(id) + " to every text, which it does not have");
    return {post_processor::part_kind::special, static_cast<token_id>(id), std::string{*token}, 0};
}

std::unique_ptr<const decoder> make_piece_decoder(std::size_t n_spaces)
{
    std::vector<std::unique_ptr<const decoder>> steps;
    steps.push_back(std::make_unique<replace_decoder>(regex::from_literal("\xE2\x96\x81"), " "));
    steps.push_back(std::make_unique<byte_fallback_decoder>());
    steps.push_back(std::make_unique<fuse_decoder>());
    if (n_spaces > 0) steps.push_back(std::make_unique<strip_decoder>(" ", n_spaces, 0));
    return std::make_unique<decoder_sequence>(std::move(steps));
}

}  // namespace modelpool::text
