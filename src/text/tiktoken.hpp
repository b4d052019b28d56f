#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/model.hpp"

namespace modelpool::text {

/// tiktoken's ranks, which are the tokens' ids too.
struct tiktoken_vocabulary {
    struct entry {
        std::string bytes;
        token_id id{0};
    };
    std::vector<entry> entries;

    /// Reads lines of a token in base64 and its rank. Errors: text_errc::bad_file, with the line.
    static tiktoken_vocabulary parse(std::string_view text, const std::string& name);
    /// Errors: text_errc::bad_file where a token or a rank is there twice.
    std::unique_ptr<const model> make_model(const std::string& name) const;
};

/// What Kimi cuts text with. Source: https://huggingface.co/moonshotai/Kimi-K2-Instruct,
/// tokenization_kimi.py
std::string_view kimi_pattern() noexcept;

}  // namespace modelpool::text
