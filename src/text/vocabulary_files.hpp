#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "text/tokenizer_config.hpp"
#include "text/tokenizer_parts.hpp"

namespace modelpool::text {

/// Reads the tokenizer of a folder in whatever format it has: tokenizer.json, a SentencePiece
/// model, tiktoken's ranks, vocab.json with merges.txt, or vocab.txt, the first of these; or one
/// such file by its own name.
/// Errors: text_errc::bad_file, text_errc::unsupported.
tokenizer_parts blocking_read_tokenizer(const std::filesystem::path& path);

// One format each, from what its files hold. `name` goes into messages. Errors:
// text_errc::bad_file, text_errc::unsupported.

/// BERT's vocab.txt: a token a line.
tokenizer_parts
parse_vocab_txt(std::string_view text, tokenizer_config config, const std::string& name);

/// The files of byte-level BPE: a JSON object of tokens and ids, and merges, one a line.
struct bpe_files {
    std::string_view vocab;
    std::string_view merges;
    std::string vocab_name;
    std::string merges_name;
};
tokenizer_parts parse_bpe_files(const bpe_files& files, tokenizer_config config);

/// tiktoken's ranks: a token in base64 and its rank a line.
tokenizer_parts
parse_tiktoken(std::string_view text, tokenizer_config config, const std::string& name);

/// A SentencePiece model: a protobuf.
tokenizer_parts
parse_sentencepiece(std::string_view bytes, tokenizer_config config, const std::string& name);

}  // namespace modelpool::text
