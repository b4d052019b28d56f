#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "text/added_tokens.hpp"
#include "text/decoder.hpp"
#include "text/model.hpp"
#include "text/normalizer.hpp"
#include "text/post_processor.hpp"
#include "text/pre_tokenizer.hpp"

namespace modelpool::text {

/// The steps of a tokenizer. A pointer is null where the tokenizer has no such step; the model is
/// always there.
struct tokenizer_parts {
    added_tokens added;
    std::unique_ptr<const normalizer> normal_form;
    std::unique_ptr<const pre_tokenizer> cutter;
    std::unique_ptr<const model> vocab;
    post_processor completion;
    std::unique_ptr<const decoder> back;
    /// What the file says about lengths; applied where a caller asks for it.
    std::optional<truncation_options> truncation;
    std::optional<padding_options> padding;
};

/// Makes a tokenizer of its steps.
class tokenizer_maker {
public:
    static tokenizer make(tokenizer_parts parts);
};

class tokenizer_config;

/// Reads a tokenizer.json, with what the files beside it say about its special tokens, if any;
/// `name` goes into messages. Errors: text_errc::bad_file, text_errc::unsupported.
tokenizer_parts parse_tokenizer_json(
    std::string_view json, const tokenizer_config* beside, const std::string& name);

}  // namespace modelpool::text
