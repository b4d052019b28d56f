#include "models/sentence_transformers.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "support/json.hpp"
#include "support/printable.hpp"

namespace modelpool::models {
namespace {

namespace fs = std::filesystem;
using support::in_quotes;
using support::json_file;

constexpr std::int64_t max_dim = std::int64_t{1} << 24;
constexpr std::size_t max_modules = 64;

bool present(const fs::path& path)
{
    std::error_code ignored;
    return fs::exists(path, ignored);
}

json_file read_config(const fs::path& path)
{
    return json_file::blocking_read(path, model_errc::bad_config);
}

[[noreturn]] void refuse(const json_file& file, const std::string& sentence)
{
    throw error{model_errc::unsupported, file.name() + ": " + sentence};
}

struct module_entry {
    std::string type;  ///< the class's own name: "Pooling"
    fs::path dir;
};

// A module's folder is named by the file, so it must not lead out of the checkpoint.
bool stays_inside(const fs::path& path)
{
    return !path.is_absolute() &&
           std::ranges::none_of(path, [](const fs::path& part) { return part == ".."; });
}

std::string
string_member(const json_file& file, const nlohmann::json& object, const std::string& key)
{
    const auto place = object.find(key);
    if (place == object.end() || !place->is_string())
        file.fail("every module needs a string '" + key + "'");
    return place->get<std::string>();
}

std::vector<module_entry> read_modules(const json_file& file, const fs::path& dir)
{
    if (!file.root().is_array())
        file.fail(std::string{"expected an array of modules, found "} + file.root().type_name());
    if (file.root().empty() || file.root().size() > max_modules)
        file.fail(
            "expected 1 to " + std::to_string(max_modules) + " modules, found " +
            std::to_string(file.root().size()));
    std::vector<module_entry> entries;
    for (const nlohmann::json& item : file.root()) {
        if (!item.is_object())
            file.fail(std::string{"expected a module to be an object, found "} + item.type_name());
        const std::string type = string_member(file, item, "type");
        const std::string path = string_member(file, item, "path");
        // Classes elsewhere are code that comes with the checkpoint: nothing can be known of what
        // they compute.
        if (!type.starts_with("sentence_transformers."))
            refuse(
                file, "module type " + in_quotes(type) + " is code of its own, which is not run");
        if (!stays_inside(path))
            file.fail("module path " + in_quotes(path) + " leads out of the checkpoint");
        entries.push_back(
            {type.substr(type.rfind('.') + 1), path.empty() ? dir : dir / fs::path{path}});
    }
    return entries;
}

pooling_mode parse_pooling_mode(const json_file& file, const nlohmann::json& value)
{
    constexpr std::array modes{
        pooling_mode::cls,
        pooling_mode::max,
        pooling_mode::mean,
        pooling_mode::mean_sqrt_len_tokens,
        pooling_mode::weightedmean,
        pooling_mode::lasttoken};
    std::string known;
    if (value.is_string())
        for (const pooling_mode mode : modes) {
            if (value.get_ref<const std::string&>() == to_string(mode)) return mode;
            known += (known.empty() ? "" : ", ") + std::string{to_string(mode)};
        }
    if (!value.is_string())
        file.fail(
            std::string{"'pooling_mode' must be a name or an array of names, found "} +
            value.type_name());
    refuse(
        file,
        "'pooling_mode' " + in_quotes(value.get_ref<const std::string&>()) +
            " is not supported; supported: " + known);
}

// The switches of older files stand in the order in which their results are joined.
std::vector<pooling_mode> read_pooling_switches(const json_file& file)
{
    constexpr std::array<std::pair<const char*, pooling_mode>, 6> switches{{
        {"pooling_mode_cls_token", pooling_mode::cls},
        {"pooling_mode_max_tokens", pooling_mode::max},
        {"pooling_mode_mean_tokens", pooling_mode::mean},
        {"pooling_mode_mean_sqrt_len_tokens", pooling_mode::mean_sqrt_len_tokens},
        {"pooling_mode_weightedmean_tokens", pooling_mode::weightedmean},
        {"pooling_mode_lasttoken", pooling_mode::lasttoken},
    }};
    std::vector<pooling_mode> modes;
    for (const auto& [key, mode] : switches)
        if (file.find_bool(key).value_or(false)) modes.push_back(mode);
    if (modes.empty()) modes.push_back(pooling_mode::mean);
    return modes;
}

void read_pooling(const fs::path& dir, sentence_modules& modules)
{
    const json_file file = read_config(dir / "config.json");
    modules.pooling.include_prompt = file.find_bool("include_prompt").value_or(true);
    auto dim = file.find_int("embedding_dimension", 1, max_dim);
    if (!dim) dim = file.find_int("word_embedding_dimension", 1, max_dim);
    if (dim) modules.pooling_dim = static_cast<std::size_t>(*dim);
    const auto place = file.root().find("pooling_mode");
    if (place == file.root().end() || place->is_null()) {
        modules.pooling.modes = read_pooling_switches(file);
        return;
    }
    modules.pooling.modes.clear();
    if (!place->is_array())
        modules.pooling.modes.push_back(parse_pooling_mode(file, *place));
    else
        for (const nlohmann::json& name : *place) {
            if (modules.pooling.modes.size() == max_modules)
                file.fail("'pooling_mode' has more than " + std::to_string(max_modules) + " names");
            modules.pooling.modes.push_back(parse_pooling_mode(file, name));
        }
    if (modules.pooling.modes.empty()) file.fail("'pooling_mode' must not be empty");
}

dense_activation parse_activation(const json_file& file)
{
    const std::optional<std::string> name = file.find_string("activation_function");
    if (!name) return dense_activation::tanh;
    constexpr std::array<std::pair<std::string_view, dense_activation>, 6> known{{
        {"Identity", dense_activation::identity},
        {"Tanh", dense_activation::tanh},
        {"ReLU", dense_activation::relu},
        {"GELU", dense_activation::gelu},
        {"Sigmoid", dense_activation::sigmoid},
        {"SiLU", dense_activation::silu},
    }};
    const std::string_view type = std::string_view{*name}.substr(name->rfind('.') + 1);
    if (name->starts_with("torch."))
        for (const auto& [known_name, value] : known)
            if (type == known_name) return value;
    refuse(
        file,
        "'activation_function' " + in_quotes(*name) +
            " is not supported; supported: Identity, Tanh, ReLU, GELU, Sigmoid and SiLU of "
            "torch.nn");
}

dense_config read_dense(const fs::path& dir)
{
    const json_file file = read_config(dir / "config.json");
    for (const char* key : {"module_input_name", "module_output_name"}) {
        const std::optional<std::string> name = file.find_string(key);
        if (name && *name != "sentence_embedding")
            refuse(
                file,
                "'" + std::string{key} + "' " + in_quotes(*name) +
                    " is not supported; supported: sentence_embedding");
    }
    dense_config dense;
    dense.dir = dir;
    dense.in_features = static_cast<std::size_t>(file.need_int("in_features", 1, max_dim));
    dense.out_features = static_cast<std::size_t>(file.need_int("out_features", 1, max_dim));
    dense.bias = file.find_bool("bias").value_or(true);
    dense.residual = file.find_bool("use_residual").value_or(false);
    dense.activation = parse_activation(file);
    return dense;
}

void read_pipeline(const fs::path& dir, sentence_modules& modules)
{
    const json_file file = read_config(dir / "modules.json");
    const std::vector<module_entry> entries = read_modules(file, dir);
    if (entries.front().type != "Transformer")
        refuse(
            file,
            "the first module is " + in_quotes(entries.front().type) + "; supported: Transformer");
    modules.transformer_dir = entries.front().dir;
    bool pooled = false;
    for (auto entry = entries.begin() + 1; entry != entries.end(); ++entry) {
        if (entry->type == "Pooling" && !pooled) {
            read_pooling(entry->dir, modules);
            pooled = true;
        } else if (entry->type == "Dense" && pooled) {
            modules.head.emplace_back(read_dense(entry->dir));
        } else if (entry->type == "Normalize" && pooled) {
            modules.head.emplace_back(normalize_config{});
        } else if (entry->type != "Dropout") {  // which does nothing outside training
            refuse(
                file,
                "module " + in_quotes(entry->type) + " is not supported " +
                    (pooled ? "after" : "before") +
                    " the pooling; supported: Transformer, Pooling, then Dense and Normalize");
        }
    }
    modules.pooling_given = pooled;
    if (!pooled) refuse(file, "there is no Pooling module, so a text has no single row");
    while (!modules.head.empty() && std::holds_alternative<normalize_config>(modules.head.back()))
        modules.head.pop_back();
}

// "2_Dense_1024" -> "2_Dense"; a name without a number at its end stays as it is.
std::string without_size(const std::string& name)
{
    const std::size_t last = name.find_last_not_of("0123456789");
    const bool numbered = last != std::string::npos && last + 1 < name.size() && name[last] == '_';
    return numbered ? name.substr(0, last) : name;
}

// The folders beside each other that are "<stem>_<number>" and hold a module, in the order of their
// names.
std::vector<fs::path> sized_folders(const fs::path& dir, const std::string& stem)
{
    std::vector<fs::path> found;
    std::error_code problem;
    for (fs::directory_iterator place{dir, problem}; !problem && place != fs::directory_iterator{};
         place.increment(problem)) {
        const std::string name = place->path().filename().string();
        if (name != stem && without_size(name) == stem && present(place->path() / "config.json"))
            found.push_back(place->path());
    }
    std::ranges::sort(found);
    if (found.size() > max_modules) found.resize(max_modules);
    return found;
}

// The other heads of a checkpoint that was trained for several sizes. Only where the head is the
// whole of what follows the pooling is it known what they take the place of.
void read_dense_choices(sentence_modules& modules)
{
    if (modules.head.size() != 1) return;
    const auto* usual = std::get_if<dense_config>(&modules.head.front());
    if (usual == nullptr) return;
    std::map<std::size_t, dense_config> choices{{usual->out_features, *usual}};
    const std::string stem = without_size(usual->dir.filename().string());
    for (const fs::path& dir : sized_folders(usual->dir.parent_path(), stem)) {
        dense_config other = read_dense(dir);
        choices.try_emplace(other.out_features, std::move(other));
    }
    if (choices.size() > 1) modules.dense_choices = std::move(choices);
}

// A checkpoint fetched without modules.json tells by its folders that a head belongs to it.
void add_usual_head(const fs::path& dir, sentence_modules& modules)
{
    constexpr std::size_t usual_size = 1024;
    std::map<std::size_t, dense_config> found;
    for (const fs::path& folder : sized_folders(dir, "2_Dense")) {
        dense_config one = read_dense(folder);
        found.try_emplace(one.out_features, std::move(one));
    }
    if (found.empty()) return;
    const auto usual = found.find(usual_size);
    modules.head.emplace_back((usual == found.end() ? found.begin() : usual)->second);
}

// Transformer modules of older releases named their file after the architecture.
std::optional<fs::path> transformer_config(const fs::path& dir)
{
    for (const char* name :
         {"sentence_bert_config.json",
          "sentence_roberta_config.json",
          "sentence_distilbert_config.json",
          "sentence_camembert_config.json",
          "sentence_albert_config.json",
          "sentence_xlm-roberta_config.json",
          "sentence_xlnet_config.json"})
        if (present(dir / name)) return dir / name;
    return std::nullopt;
}

void read_limits(sentence_modules& modules)
{
    constexpr std::int64_t most = std::int64_t{1} << 40;
    const fs::path& dir = modules.transformer_dir;
    if (const std::optional<fs::path> path = transformer_config(dir)) {
        const json_file file = read_config(*path);
        if (const auto limit = file.find_int("max_seq_length", 1, most))
            modules.max_tokens = static_cast<std::size_t>(*limit);
        modules.lower_case = file.find_bool("do_lower_case").value_or(false);
    }
    if (modules.max_tokens || !present(dir / "tokenizer_config.json")) return;
    // Tokenizers without a limit of their own write 1e30 here, so it is read as a number, not as an
    // integer.
    const json_file file = read_config(dir / "tokenizer_config.json");
    const std::optional<double> limit = file.find_number("model_max_length");
    if (limit && *limit >= 1 && *limit <= static_cast<double>(most))
        modules.max_tokens = static_cast<std::size_t>(*limit);
}

void read_prompts(const fs::path& dir, sentence_modules& modules)
{
    const fs::path path = dir / "config_sentence_transformers.json";
    if (!present(path)) return;
    const json_file file = read_config(path);
    modules.default_prompt = file.find_string("default_prompt_name");
    const auto prompts = file.root().find("prompts");
    if (prompts != file.root().end() && !prompts->is_null()) {
        if (!prompts->is_object())
            file.fail(std::string{"'prompts' must be an object, found "} + prompts->type_name());
        for (const auto& [name, text] : prompts->items()) {
            if (!text.is_string() && !text.is_null())
                file.fail(
                    "prompt " + in_quotes(name) + " must be a string, found " + text.type_name());
            modules.prompts[name] = text.is_null() ? "" : text.get<std::string>();
        }
    }
    if (modules.default_prompt && !modules.prompts.contains(*modules.default_prompt))
        file.fail(
            "'default_prompt_name' is " + in_quotes(*modules.default_prompt) +
            ", which is not one of the prompts");
}

}  // namespace

std::size_t sentence_modules::output_dim(std::size_t hidden_size) const noexcept
{
    std::size_t dim = pooling.output_dim(hidden_size);
    for (const head_step& step : head)
        if (const auto* dense = std::get_if<dense_config>(&step)) dim = dense->out_features;
    return dim;
}

std::vector<std::size_t> sentence_modules::output_dims(std::size_t hidden_size) const
{
    if (dense_choices.empty()) return {output_dim(hidden_size)};
    std::vector<std::size_t> dims;
    for (const auto& [dim, dense] : dense_choices)
        dims.push_back(dim);
    return dims;
}

sentence_modules blocking_read_sentence_modules(const fs::path& dir)
{
    sentence_modules modules;
    modules.transformer_dir = dir;
    if (present(dir / "modules.json"))
        read_pipeline(dir, modules);
    else
        add_usual_head(dir, modules);
    read_dense_choices(modules);
    read_limits(modules);
    read_prompts(dir, modules);
    return modules;
}

namespace {

void check_input(const dense_config& dense, std::size_t dim)
{
    if (dense.in_features != dim)
        throw error{
            model_errc::bad_config,
            (dense.dir / "config.json").string() + ": 'in_features' is " +
                std::to_string(dense.in_features) + ", the rows it gets have " +
                std::to_string(dim) + " numbers"};
}

}  // namespace

void check_dimensions(const sentence_modules& modules, std::size_t hidden_size, const fs::path& dir)
{
    if (modules.pooling_dim && *modules.pooling_dim != hidden_size)
        throw error{
            model_errc::bad_config,
            dir.string() + ": the Pooling module expects rows of " +
                std::to_string(*modules.pooling_dim) + " numbers, the encoder's have " +
                std::to_string(hidden_size)};
    std::size_t dim = modules.pooling.output_dim(hidden_size);
    for (const auto& [size, dense] : modules.dense_choices)
        check_input(dense, dim);
    for (const head_step& step : modules.head) {
        const auto* dense = std::get_if<dense_config>(&step);
        if (dense == nullptr) continue;
        check_input(*dense, dim);
        dim = dense->out_features;
    }
}

}  // namespace modelpool::models
