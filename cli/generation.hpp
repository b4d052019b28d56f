#pragma once

#include <modelpool/capability/generation.hpp>
#include <modelpool/pool/token_stream.hpp>
#include <modelpool/sched/generation_options.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common.hpp"

namespace modelpool::cli {

/// The options that generating commands share, as they were typed.
struct generation_arguments {
    common_options common;
    std::size_t max_tokens{0};
    std::optional<float> temperature;
    std::optional<std::size_t> top_k;
    std::optional<float> top_p;
    std::optional<float> min_p;
    std::optional<float> repetition_penalty;
    std::optional<float> frequency_penalty;
    std::optional<float> presence_penalty;
    std::optional<std::uint64_t> seed;
    std::optional<std::size_t> n_logprobs;
    std::vector<std::string> stop;
    std::vector<std::string> logit_bias;  ///< "ID=VALUE"
    std::string json_schema;              ///< a file
    std::string kv_dtype{"f32"};
    std::string prefill{"exact"};
    std::string force_ids;    ///< a file
    std::string save_logits;  ///< a file
    bool ignore_eos{false};
};

void add_generation_options(CLI::App& command, generation_arguments& into);

/// Reads the files that options name. Errors: usage_error.
generation_params blocking_params(const generation_arguments& given);
/// How the command's worker generates: one request at a time. Errors: usage_error.
sched::generation_options worker_options_of(const generation_arguments& given);

/// Errors: usage_error.
kv_dtype parse_kv_dtype(const std::string& text);
prefill_mode parse_prefill(const std::string& text);

/// A file's bytes; "-" is standard input. Errors: usage_error.
std::string blocking_read_text(const std::string& path);
/// A JSON array of token ids. Errors: usage_error.
std::vector<std::int32_t> blocking_read_ids(const std::string& path);

/// Writes an answer while it comes: as text, as one JSON object an event, or nothing before the
/// document at its end.
class answer_writer {
public:
    /// `as_message`: the document has the whole message too.
    answer_writer(
        program& self, const settings& wanted, const generation_arguments& given, bool as_message);

    void write(generation_event event);
    /// The answer is complete. Errors: std::system_error for a file that cannot be written.
    void finish();

    const generation_result& result() const noexcept { return result_; }
    /// Forgets the answer, before the next one.
    void clear()
    {
        result_ = {};
        after_thoughts_ = false;
    }

private:
    void write_text(const generation_event& event);
    void write_line(const generation_event& event);
    void write_document();
    void write_calls();

    program& self_;
    const settings& wanted_;
    const generation_arguments& given_;
    bool as_message_;
    bool error_is_terminal_;
    bool after_thoughts_{false};
    generation_result result_;
};

}  // namespace modelpool::cli
