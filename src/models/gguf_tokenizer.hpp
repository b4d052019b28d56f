#pragma once

#include <modelpool/text/tokenizer.hpp>

#include "weights/gguf.hpp"

namespace modelpool::models {

/// The tokenizer in a GGUF file's metadata. It refers to nothing of the file.
/// Errors: model_errc::bad_file for a key of another kind; text_errc::bad_file and
/// text_errc::unsupported for what the vocabulary says, each with the file and the key.
text::tokenizer gguf_tokenizer(const weights::gguf_header& file);

}  // namespace modelpool::models
