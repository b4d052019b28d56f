#include "generation.hpp"

#include <modelpool/error.hpp>
#include <modelpool/text/json_constraint.hpp>

#include <nlohmann/json.hpp>

#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <limits>
#include <system_error>
#include <utility>

#include "failure.hpp"

namespace modelpool::cli {
namespace {

// "ID=VALUE"
std::pair<std::int32_t, float> parse_bias(const std::string& text)
{
    const std::size_t equals = text.find('=');
    std::int32_t id = 0;
    const char* const middle = text.data() + std::min(equals, text.size());
    const auto [end_of_id, problem] = std::from_chars(text.data(), middle, id);
    float value = 0;
    bool good = equals != std::string::npos && problem == std::errc{} && end_of_id == middle;
    if (good) {
        const std::string number = text.substr(equals + 1);
        if (number == "-inf") {
            value = -std::numeric_limits<float>::infinity();
        } else {
            const char* const end = number.data() + number.size();
            const auto [last, failed] = std::from_chars(number.data(), end, value);
            good = failed == std::errc{} && last == end && std::isfinite(value);
        }
    }
    if (!good) throw usage_error{"--logit-bias: '" + text + "': expected ID=NUMBER, or ID=-inf"};
    return {id, value};
}

// Looked at before a model is loaded.
std::string blocking_read_schema(const std::string& path)
{
    std::string schema = blocking_read_text(path);
    try {
        text::json_grammar::from_schema(schema);
    } catch (const error& problem) {
        throw usage_error{"--json-schema: " + path + ": " + problem.what()};
    }
    return schema;
}

void add_sampling_options(CLI::App& command, generation_arguments& into)
{
    command.add_option("--temperature", into.temperature, "0 is greedy; more is more random")
        ->type_name("T");
    command.add_option("--top-k", into.top_k, "Choose from the likeliest K; 0: all")
        ->type_name("K");
    command.add_option("--top-p", into.top_p, "Choose from the likeliest that make up P")
        ->type_name("P");
    command
        .add_option(
            "--min-p", into.min_p, "Choose from those at least P times as likely as the likeliest")
        ->type_name("P");
    command.add_option("--seed", into.seed, "The same seed gives the same answer")->type_name("S");
    command
        .add_option(
            "--repetition-penalty", into.repetition_penalty, "Divides logits of tokens seen before")
        ->type_name("R");
    command
        .add_option(
            "--frequency-penalty", into.frequency_penalty, "Subtracted for each time a token came")
        ->type_name("R");
    command
        .add_option(
            "--presence-penalty", into.presence_penalty, "Subtracted for each token that came")
        ->type_name("R");
    command
        .add_option("--logit-bias", into.logit_bias, "Added to a token's logit; may be given often")
        ->allow_extra_args(false)
        ->type_name("ID=V");
}

}  // namespace

kv_dtype parse_kv_dtype(const std::string& text)
{
    constexpr std::array<std::pair<std::string_view, kv_dtype>, 4> known{
        {{"f32", kv_dtype::f32},
         {"f16", kv_dtype::f16},
         {"bf16", kv_dtype::bf16},
         {"int8", kv_dtype::int8}}};
    for (const auto& [name, value] : known)
        if (text == name) return value;
    throw usage_error{"--kv-dtype: unknown format '" + text + "': expected f32, f16, bf16 or int8"};
}

prefill_mode parse_prefill(const std::string& text)
{
    if (text == "exact") return prefill_mode::exact;
    if (text == "fast") return prefill_mode::fast;
    throw usage_error{"--prefill: unknown way '" + text + "': expected exact or fast"};
}

std::string blocking_read_text(const std::string& path)
{
    if (path == "-")
        return {std::istreambuf_iterator<char>{std::cin}, std::istreambuf_iterator<char>{}};
    std::error_code ignored;
    std::ifstream in{path, std::ios::binary};
    if (!in || std::filesystem::is_directory(path, ignored))
        throw usage_error{path + ": cannot be read"};
    std::string text{std::istreambuf_iterator<char>{in}, std::istreambuf_iterator<char>{}};
    if (in.bad()) throw usage_error{path + ": reading failed"};
    return text;
}

std::vector<std::int32_t> blocking_read_ids(const std::string& path)
{
    const auto document = nlohmann::json::parse(blocking_read_text(path), nullptr, false);
    if (!document.is_array()) throw usage_error{path + ": expected a JSON array of token ids"};
    std::vector<std::int32_t> ids;
    for (const nlohmann::json& id : document) {
        const bool fits =
            id.is_number_integer() && id >= 0 && id <= std::numeric_limits<std::int32_t>::max();
        if (!fits)
            throw usage_error{
                path + ": element " + std::to_string(ids.size() + 1) + " is no token id"};
        ids.push_back(id.get<std::int32_t>());
    }
    return ids;
}

void add_generation_options(CLI::App& command, generation_arguments& into)
{
    command
        .add_option(
            "--max-tokens", into.max_tokens, "The most tokens generated (default: what fits)")
        ->check(CLI::Range(1, 1 << 30))
        ->type_name("N");
    add_sampling_options(command, into);
    command.add_option("--stop", into.stop, "Ends the text before S; may be given often")
        ->allow_extra_args(false)
        ->type_name("S");
    command
        .add_option(
            "--logprobs", into.n_logprobs, "Tell how likely each token was, and the likeliest K")
        ->type_name("K");
    command
        .add_option("--json-schema", into.json_schema, "Constrain the answer to JSON of a schema")
        ->type_name("FILE");
    command
        .add_option("--kv-dtype", into.kv_dtype, "Of keys and values kept: f32, f16, bf16 or int8")
        ->capture_default_str();
    command
        .add_option(
            "--prefill",
            into.prefill,
            "How prompts are computed: exact, or fast (in bf16, where the processor has AMX)")
        ->capture_default_str();
    command.add_flag("--ignore-eos", into.ignore_eos, "Go on past the model's end of text");
    command
        .add_option(
            "--force-ids", into.force_ids, "A JSON array of tokens that the answer begins with")
        ->type_name("FILE");
    command
        .add_option(
            "--save-logits",
            into.save_logits,
            "Write safetensors \"logits\" [generated, vocabulary], before penalties and sampling")
        ->type_name("FILE");
}

generation_params blocking_params(const generation_arguments& given)
{
    generation_params params;
    sampling_request& sampling = params.sampling;
    sampling.temperature = given.temperature;
    sampling.top_k = given.top_k;
    sampling.top_p = given.top_p;
    sampling.min_p = given.min_p;
    sampling.repetition_penalty = given.repetition_penalty;
    sampling.frequency_penalty = given.frequency_penalty;
    sampling.presence_penalty = given.presence_penalty;
    sampling.seed = given.seed;
    for (const std::string& bias : given.logit_bias)
        sampling.logit_bias.insert(parse_bias(bias));
    params.max_tokens = given.max_tokens;
    params.stop = given.stop;
    params.n_logprobs = given.n_logprobs;
    params.ignore_end = given.ignore_eos;
    params.keep_logits = !given.save_logits.empty();
    params.keep_prompt = given.common.json;
    if (!given.json_schema.empty()) params.json_schema = blocking_read_schema(given.json_schema);
    if (!given.force_ids.empty()) params.forced = blocking_read_ids(given.force_ids);
    return params;
}

sched::generation_options worker_options_of(const generation_arguments& given)
{
    sched::generation_options options;
    // Alone, a prompt is in nobody's way: large chunks are the fastest.
    options.kv_format(parse_kv_dtype(given.kv_dtype))
        .prefill(parse_prefill(given.prefill))
        .kv_budget_bytes(std::size_t{8} << 30U)
        .limits(sched::scheduler_options{}.max_sequences(1).prefill_chunk(512));
    return options;
}

}  // namespace modelpool::cli
