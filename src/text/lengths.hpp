#pragma once

#include <modelpool/text/tokenizer.hpp>

#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace modelpool::text {

class json_value;

// Reads "truncation" and "padding" of a tokenizer.json. Errors: text_errc::bad_file,
// text_errc::unsupported.
truncation_options read_truncation(const json_value& from);
padding_options read_padding(const json_value& from);

/// Cuts a text's own tokens into a part of at most `n_tokens`, which comes first, and those that
/// `how` asks for besides. Errors: errc::invalid_argument where parts would overlap by all of
/// their tokens.
std::vector<encoding>
cut_into_parts(encoding whole, std::size_t n_tokens, const truncation_options& how);

/// How many tokens two texts keep, of `n_tokens` in all. Errors: errc::invalid_argument where the
/// one text that may be cut has too few.
std::pair<std::size_t, std::size_t>
shares_of_pair(std::size_t n_first, std::size_t n_second, std::size_t n_tokens, cut_order order);

/// Pads the encodings of a batch, with their overflow, as `how` says. Errors:
/// errc::invalid_argument where that would take more than 2^28 tokens.
void pad(std::span<encoding> batch, const padding_options& how, const encode_options& options);

}  // namespace modelpool::text
