#pragma once

#include <modelpool/text/tokenizer.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace modelpool::text {

/// The vocabulary in the metadata of a GGUF file, as it stands there. What the views point to must
/// live until the tokenizer is made.
/// Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, "tokenizer.ggml"
struct gguf_vocabulary {
    std::string file;        ///< for messages
    std::string model_name;  ///< general.name
    std::string_view model;  ///< "llama", "gpt2", "bert" or "t5"
    std::string_view pre;    ///< how text is cut before byte-level BPE; empty: not said
    std::vector<std::string_view> tokens;
    std::vector<float> scores;             ///< empty, or one a token
    std::vector<std::int32_t> types;       ///< the same; by the numbers of SentencePiece's pieces
    std::vector<std::string_view> merges;  ///< "a b"
    std::string_view charsmap;             ///< SentencePiece's character map
    std::optional<std::int64_t> bos_id;
    std::optional<std::int64_t> eos_id;
    std::optional<std::int64_t> unknown_id;
    std::optional<std::int64_t> separator_id;
    std::optional<bool> add_bos;
    std::optional<bool> add_eos;
    std::optional<bool> add_space_prefix;
    std::optional<bool> remove_extra_whitespaces;

    /// Errors: text_errc::bad_file, naming the file and the key; text_errc::unsupported for another
    /// model or pre-tokenizer, by its name.
    tokenizer make_tokenizer() const;
};

/// How byte-level BPE cuts and joins text, for a value of tokenizer.ggml.pre.
struct bpe_style {
    std::vector<std::string_view>
        patterns;                ///< one after another, each cutting what those before have left
    bool normalizes{false};      ///< to form C
    bool ignores_merges{false};  ///< for a piece that is a token
    bool adds_bos{false};        ///< where the file does not say
};

/// Null where the name is not known. An empty one, like "default", is what files from before 2024
/// mean.
const bpe_style* find_bpe_style(std::string_view pre);

}  // namespace modelpool::text
