#include <modelpool/error.hpp>
#include <modelpool/models/generator.hpp>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "models/decoder_families.hpp"
#include "models/decoder_generator.hpp"
#include "models/gguf_folder.hpp"
#include "models/gguf_tokenizer.hpp"
#include "models/load_decoder.hpp"
#include "models/weight_layout.hpp"
#include "support/json.hpp"
#include "support/printable.hpp"

namespace modelpool::models {
namespace {

namespace fs = std::filesystem;

// Tokens that end a text or a turn in the vocabularies of public models, whatever their files say.
constexpr std::array<std::string_view, 8> usual_ends{
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|end_of_sentence|>",
    "[EOS]"};

void check_device(const std::string& name, const load_options& options)
{
    if (options.device().is_cpu()) return;
    throw error{
        model_errc::unsupported,
        name + ": text generation runs on the CPU, not on " + options.device().str()};
}

void check_image_width(const std::string& name, const image_input& images, std::int64_t hidden)
{
    if (!images.encoder || images.encoder->width() == static_cast<std::size_t>(hidden)) return;
    throw error{
        model_errc::bad_file,
        name + ": the images are told in rows of " + std::to_string(images.encoder->width()) +
            " numbers, but the model takes " + std::to_string(hidden)};
}

decoder_family need_family(const std::string& name, const std::string& architecture)
{
    const decoder_family family = find_decoder_family(architecture);
    if (family == nullptr)
        throw error{
            model_errc::unsupported,
            name + ": the architecture " + support::in_quotes(architecture) +
                " is not supported; supported: " + std::string{decoder_architectures()}};
    return family;
}

void add_end(std::vector<std::int32_t>& ends, std::optional<std::int64_t> id, std::int64_t n_rows)
{
    if (!id || *id < 0 || *id >= n_rows) return;
    const auto value = static_cast<std::int32_t>(*id);
    if (std::ranges::find(ends, value) == ends.end()) ends.push_back(value);
}

void add_usual_ends(
    std::vector<std::int32_t>& ends, const text::tokenizer& tokenizer, std::int64_t n_rows)
{
    for (const std::string_view token : usual_ends)
        add_end(ends, tokenizer.id_of(token), n_rows);
}

// ---- GGUF ----------------------------------------------------------------------------------------

std::map<std::string, std::string> special_tokens(const weights::gguf_header& header)
{
    std::map<std::string, std::string> made;
    const auto words = header.find_strings("tokenizer.ggml.tokens");
    if (!words) return made;
    constexpr std::array<std::pair<const char*, const char*>, 4> names{
        {{"bos_token", "tokenizer.ggml.bos_token_id"},
         {"eos_token", "tokenizer.ggml.eos_token_id"},
         {"unk_token", "tokenizer.ggml.unknown_token_id"},
         {"pad_token", "tokenizer.ggml.padding_token_id"}}};
    for (const auto& [name, key] : names) {
        const auto last = static_cast<std::int64_t>(words->size()) - 1;
        if (const auto id = header.find_int(key, 0, last))
            made[name] = std::string{(*words)[static_cast<std::size_t>(*id)]};
    }
    return made;
}

std::optional<text::chat_template>
gguf_template(const weights::gguf_header& header, bool takes_images)
{
    const auto source = header.find_string("tokenizer.chat_template");
    if (source)
        return text::chat_template::from_source(*source, special_tokens(header), header.name());
    // The first vision models came as decoders of the architecture "llama", which says nothing of
    // how they were taught to talk.
    return text::chat_template::of_family(
        takes_images ? "llava" : header.need_string("general.architecture"),
        special_tokens(header));
}

}  // namespace

std::unique_ptr<generator>
load_gguf_decoder(const fs::path& path, const load_options& options, image_input images)
{
    auto file = weights::gguf_checkpoint::blocking_open(path);
    const weights::gguf_header& header = file->header();
    const std::string name = file->name();
    check_device(name, options);
    check_stored_dtype(name, options.dtype());
    const decoder_family family =
        need_family(name, std::string{header.need_string("general.architecture")});
    decoder::decoder_config config = family(decoder::read_hyperparameters(*file));
    const std::int64_t n_rows = config.sizes.vocab_size;
    const auto words = header.find_strings("tokenizer.ggml.tokens");
    if (words && static_cast<std::int64_t>(words->size()) != n_rows)
        throw error{
            model_errc::bad_file,
            name + ": the tokenizer has " + std::to_string(words->size()) +
                " tokens, but the model has " + std::to_string(n_rows)};
    text::tokenizer tokenizer = gguf_tokenizer(header);
    check_vocabulary(name, tokenizer, n_rows);
    check_image_width(name, images, config.sizes.hidden);
    std::vector<std::int32_t> ends;
    for (const char* key : {"eos_token_id", "eot_token_id", "eom_token_id"})
        add_end(ends, header.find_int("tokenizer.ggml." + std::string{key}, 0, n_rows - 1), n_rows);
    add_usual_ends(ends, tokenizer, n_rows);
    std::optional<text::chat_template> layout = gguf_template(header, images.encoder != nullptr);
    const decoder::weight_layout how = layout_for(file->weight_bytes());
    auto source = decoder::make_weight_source(std::move(file));
    return make_decoder_generator(std::make_shared<const decoder_parts>(
        name,
        std::move(config),
        std::move(source),
        how,
        watch_of(options),
        std::move(tokenizer),
        std::move(layout),
        std::move(ends),
        std::move(images)));
}

namespace {

// ---- folders -------------------------------------------------------------------------------------

// "eos_token_id" is a number or an array of them.
void add_config_ends(
    std::vector<std::int32_t>& ends, const support::json_file& config, std::int64_t n_rows)
{
    const auto found = config.root().find("eos_token_id");
    if (found == config.root().end()) return;
    const auto add = [&](const nlohmann::json& id) {
        if (id.is_number_integer()) add_end(ends, id.get<std::int64_t>(), n_rows);
    };
    if (found->is_array())
        for (const nlohmann::json& id : *found)
            add(id);
    else
        add(*found);
}

std::optional<text::chat_template> folder_template(const fs::path& dir)
{
    try {
        return text::chat_template::blocking_load(dir);
    } catch (const error& problem) {
        std::error_code ignored;
        // A model without a template completes prompts; one whose template is broken is reported.
        if (problem.code() != text_errc::bad_file ||
            fs::exists(dir / "chat_template.jinja", ignored) ||
            fs::exists(dir / "chat_template.json", ignored))
            throw;
        return std::nullopt;
    }
}

}  // namespace

std::unique_ptr<generator> load_folder_decoder(
    const fs::path& dir,
    const support::json_file& config_file,
    const load_options& options,
    image_input images)
{
    check_device(config_file.name(), options);
    const decoder::weight_layout how = dense_layout_for(config_file.name(), options.dtype());
    const std::string type = config_file.need_string("model_type");
    const std::string architecture{decoder_architecture(type)};
    const decoder_family family =
        need_family(config_file.name(), architecture.empty() ? type : architecture);
    decoder::decoder_config config =
        family(decoder::read_hyperparameters(config_file, architecture));
    const std::int64_t n_rows = config.sizes.vocab_size;
    text::tokenizer tokenizer = text::tokenizer::blocking_load(dir);
    check_vocabulary(dir.string(), tokenizer, n_rows);
    check_image_width(dir.string(), images, config.sizes.hidden);
    std::vector<std::int32_t> ends;
    add_config_ends(ends, config_file, n_rows);
    std::error_code ignored;
    if (fs::exists(dir / "generation_config.json", ignored))
        add_config_ends(
            ends,
            support::json_file::blocking_read(
                dir / "generation_config.json", model_errc::bad_config),
            n_rows);
    add_usual_ends(ends, tokenizer, n_rows);
    std::optional<text::chat_template> layout = folder_template(dir);
    auto files = weights::checkpoint::blocking_open(dir);
    auto source = decoder::make_weight_source(std::move(files), config.sizes);
    return make_decoder_generator(std::make_shared<const decoder_parts>(
        dir.string(),
        std::move(config),
        std::move(source),
        how,
        watch_of(options),
        std::move(tokenizer),
        std::move(layout),
        std::move(ends),
        std::move(images)));
}

std::unique_ptr<generator> load_generator(const fs::path& path, const load_options& options)
{
    std::error_code ignored;
    if (!fs::is_directory(path, ignored)) return load_gguf_decoder(path, options, {});
    if (!fs::exists(path / "config.json", ignored))
        if (const std::optional<fs::path> file = blocking_find_gguf(path))
            return load_gguf_decoder(*file, options, {});
    const auto config =
        support::json_file::blocking_read(path / "config.json", model_errc::bad_config);
    return load_folder_decoder(path, config, options, {});
}

}  // namespace modelpool::models
