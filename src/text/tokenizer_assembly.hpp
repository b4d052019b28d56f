#pragma once

#include <string>
#include <vector>

#include "text/tokenizer_config.hpp"
#include "text/tokenizer_parts.hpp"

namespace modelpool::text {

// What the readers of the formats without a tokenizer.json share.

/// Throws text_errc::bad_file: "<name>: <sentence>".
[[noreturn]] void fail_file(const std::string& name, const std::string& sentence);

/// Gives `parts`, which has its model and its normalizer, the tokens to look for in text.
void set_added(tokenizer_parts& parts, std::vector<added_token> tokens, const std::string& name);
void set_added(tokenizer_parts& parts, const tokenizer_config& config, const std::string& name);

/// All tokens of a text.
post_processor::part text_part();
/// A named token ("bos_token"), once the added tokens are set. Errors: text_errc::bad_file where
/// there is none.
post_processor::part token_part(
    const tokenizer_parts& parts,
    const tokenizer_config& config,
    const std::string& key,
    const std::string& name);
/// A token by its id. Errors: text_errc::bad_file where there is none.
post_processor::part
token_part(const tokenizer_parts& parts, std::int64_t id, const std::string& name);

/// The way back of models whose pieces write a space as U+2581; `n_spaces` that were put in front
/// go.
std::unique_ptr<const decoder> make_piece_decoder(std::size_t n_spaces);

}  // namespace modelpool::text
