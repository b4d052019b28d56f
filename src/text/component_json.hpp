#pragma once

#include <memory>

#include "text/decoder.hpp"
#include "text/json_fields.hpp"
#include "text/model.hpp"
#include "text/normalizer.hpp"
#include "text/post_processor.hpp"
#include "text/pre_tokenizer.hpp"
#include "text/vocabulary.hpp"

namespace modelpool::text {

// Each makes the component that a part of a tokenizer.json describes. Errors: text_errc::bad_file,
// text_errc::unsupported.
std::unique_ptr<const normalizer> make_normalizer(const json_value& from);
std::unique_ptr<const pre_tokenizer> make_pre_tokenizer(const json_value& from);
// `{"token": id, …}`
vocabulary read_vocabulary(const json_value& from);
std::unique_ptr<const model> make_model(const json_value& from);
post_processor make_post_processor(const json_value& from);
std::unique_ptr<const decoder> make_decoder(const json_value& from);

}  // namespace modelpool::text
