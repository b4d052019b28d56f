#include "models/checkpoint_facts.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "models/bert_config.hpp"
#include "models/sentence_transformers.hpp"
#include "support/json.hpp"
#include "support/printable.hpp"
#include "weights/safetensors.hpp"

namespace modelpool::models {
namespace {

namespace fs = std::filesystem;
using support::in_quotes;
using support::json_file;

constexpr std::string_view supported_families = "bert";

bool present(const fs::path& path)
{
    std::error_code ignored;
    return fs::exists(path, ignored);
}

// ---- what a config.json says, whatever the family --------------------------------------------------------

// The first of `keys` that holds a count. Vision-language models keep those of their decoder in `text_config`.
// What is no count is left to the family's own reader to complain about.
std::size_t count(const json_file& config, std::initializer_list<const char*> keys)
{
    const nlohmann::json& root = config.root();
    const auto inner = root.find("text_config");
    for (const nlohmann::json* object : {&root, inner == root.end() ? nullptr : &*inner}) {
        if (object == nullptr || !object->is_object()) continue;
        for (const char* key : keys) {
            const auto place = object->find(key);
            if (place != object->end() && place->is_number_unsigned())
                return place->get<std::size_t>();
        }
    }
    return 0;
}

std::string first_architecture(const json_file& config)
{
    const auto names = config.root().find("architectures");
    if (names == config.root().end() || !names->is_array() || names->empty()) return {};
    return names->front().is_string() ? names->front().get<std::string>() : std::string{};
}

std::string family_of(const json_file& config)
{
    std::string family = config.find_string("model_type").value_or("");
    // The first BERT checkpoints were made before there were others.
    if (family.empty() && first_architecture(config).starts_with("Bert")) family = "bert";
    // Jina's models call themselves "bert"; only their positions tell them apart.
    if (family == "bert" && config.find_string("position_embedding_type") == "alibi")
        return "jina-bert";
    return family;
}

std::string
capability_of(const json_file& config, const checkpoint_facts& facts, const fs::path& dir)
{
    const std::string_view architecture = facts.architecture;
    if (present(dir / "modules.json")) return "text_embedding";
    if (facts.family == "clip" || facts.family == "siglip") return "image_embedding";
    if (config.root().contains("vision_config")) return "vision";
    for (const std::string_view ending : {"ForCausalLM", "LMHeadModel", "ForConditionalGeneration"})
        if (architecture.ends_with(ending)) return "text_to_text";
    for (const std::string_view ending : {"ForMaskedLM", "ForPreTraining", "Model"})
        if (architecture.ends_with(ending)) return "text_embedding";
    return facts.family == "bert" ? "text_embedding" : "";
}

void read_config_facts(const json_file& config, const fs::path& dir, checkpoint_facts& facts)
{
    if (!config.root().is_object())
        config.fail(std::string{"expected an object, found "} + config.root().type_name());
    facts.family = family_of(config);
    facts.architecture = first_architecture(config);
    facts.capability = capability_of(config, facts, dir);
    facts.n_layers = count(config, {"num_hidden_layers", "n_layer", "num_layers"});
    facts.hidden_size = count(config, {"hidden_size", "n_embd", "d_model"});
    facts.n_heads = count(config, {"num_attention_heads", "n_head", "num_heads"});
    facts.vocab_size = count(config, {"vocab_size"});
    facts.max_tokens = count(config, {"max_position_embeddings", "n_positions"});
}

// ---- weights ---------------------------------------------------------------------------------------------

void read_weight_facts(const weights::checkpoint& files, checkpoint_facts& facts)
{
    std::map<std::string, std::uint64_t, std::less<>> shares;
    for (const std::string& name : files.names()) {
        const weights::tensor_view& tensor = *files.find(name);
        const auto n_elements = static_cast<std::uint64_t>(tensor.n_elements());
        shares[std::string{weights::to_string(tensor.type)}] += n_elements;
        facts.n_parameters += n_elements;
    }
    facts.weight_bytes = files.weight_bytes();
    for (const auto& [name, n_elements] : shares)
        facts.dtypes.push_back({name, n_elements});
    std::ranges::stable_sort(facts.dtypes, std::greater{}, &dtype_share::n_parameters);
}

// ---- families that this build runs -------------------------------------------------------------------------

// Whether the loader reads the tensor, and whether it makes a copy of it whatever its format.
enum class tensor_use { none, in_place, repacked, gathered };

tensor_use bert_use_of(std::string_view name)
{
    if (name.starts_with("bert.")) name.remove_prefix(5);
    if (name == "embeddings.word_embeddings.weight") return tensor_use::gathered;
    if (name == "embeddings.position_ids") return tensor_use::none;
    if (name.find(".attention.self.") != std::string_view::npos) return tensor_use::repacked;
    const bool needed = name.starts_with("embeddings.") || name.starts_with("encoder.layer.");
    return needed ? tensor_use::in_place : tensor_use::none;
}

void add_bert_memory(
    const bert_config& config, const weights::checkpoint& files, checkpoint_facts& facts)
{
    for (const std::string& name : files.names()) {
        const weights::tensor_view& tensor = *files.find(name);
        const tensor_use use = bert_use_of(name);
        const bool kept = use == tensor_use::gathered ||
                          (use == tensor_use::in_place && tensor.type == weights::element::f32);
        if (kept)
            facts.mapped_bytes += tensor.data.size();
        else if (use != tensor_use::none)
            facts.resident_bytes += static_cast<std::uint64_t>(tensor.n_elements()) * sizeof(float);
    }
    // The position table is summed with a token type's row.
    facts.resident_bytes += static_cast<std::uint64_t>(config.max_position_embeddings) *
                            static_cast<std::uint64_t>(config.hidden_size) * sizeof(float);
    facts.replica_bytes = config.scratch_bytes(
        std::max(bert_config::block_rows, static_cast<std::int64_t>(facts.max_tokens)),
        sizeof(float));
}

void add_head_memory(const sentence_modules& modules, checkpoint_facts& facts)
{
    for (const head_step& step : modules.head) {
        const auto* dense = std::get_if<dense_config>(&step);
        if (dense == nullptr) continue;
        const auto files = weights::checkpoint::blocking_open(dense->dir);
        for (const std::string& name : files->names()) {
            const weights::tensor_view& tensor = *files->find(name);
            facts.n_parameters += static_cast<std::uint64_t>(tensor.n_elements());
            facts.weight_bytes += tensor.data.size();
            (tensor.type == weights::element::f32 ? facts.mapped_bytes : facts.resident_bytes) +=
                static_cast<std::uint64_t>(tensor.n_elements()) * sizeof(float);
        }
    }
}

// The checks of the loader itself, so that what passes here loads.
void read_bert_facts(const json_file& config_file, const fs::path& dir, checkpoint_facts& facts)
{
    const bert_config config = bert_config::read(config_file);
    const sentence_modules modules = blocking_read_sentence_modules(dir);
    const auto hidden_size = static_cast<std::size_t>(config.hidden_size);
    check_dimensions(modules, hidden_size, dir);
    facts.dim = modules.output_dim(hidden_size);
    const auto positions = static_cast<std::size_t>(config.max_position_embeddings);
    facts.max_tokens = std::min(modules.max_tokens.value_or(positions), positions);
    const auto files = weights::checkpoint::blocking_open(modules.transformer_dir);
    read_weight_facts(*files, facts);
    add_bert_memory(config, *files, facts);
    add_head_memory(modules, facts);
}

// ---- folders -----------------------------------------------------------------------------------------------

checkpoint_facts read_pipeline_facts(const fs::path& path)
{
    const json_file index = json_file::blocking_read(path, model_errc::bad_config);
    checkpoint_facts facts;
    facts.capability = "text_to_image";
    facts.architecture = index.find_string("_class_name").value_or("");
    facts.family = facts.architecture;
    return facts;
}

std::string not_supported(const checkpoint_facts& facts)
{
    return "family " + in_quotes(facts.family) +
           " is not supported; supported: " + std::string{supported_families};
}

// Weights are no condition for knowing what a checkpoint is.
void try_read_weights(const fs::path& dir, checkpoint_facts& facts)
{
    try {
        read_weight_facts(*weights::checkpoint::blocking_open(dir), facts);
    } catch (const error& problem) {
        facts.unsupported += "; ";
        facts.unsupported += problem.what();
    }
}

checkpoint_facts read_folder_facts(const fs::path& dir)
{
    // The encoder of older sentence-transformers checkpoints lies in a folder of its own.
    const fs::path nested = dir / "0_Transformer";
    const fs::path model_dir =
        !present(dir / "config.json") && present(nested / "config.json") ? nested : dir;
    const json_file config =
        json_file::blocking_read(model_dir / "config.json", model_errc::bad_config);
    checkpoint_facts facts;
    read_config_facts(config, dir, facts);
    if (facts.family != "bert") {
        facts.unsupported = not_supported(facts);
        try_read_weights(model_dir, facts);
        return facts;
    }
    try {
        read_bert_facts(config, dir, facts);
    } catch (const error& problem) {
        if (problem.code() != model_errc::unsupported) throw;
        facts.unsupported = problem.what();
    }
    return facts;
}

}  // namespace

checkpoint_facts blocking_read_checkpoint_facts(const fs::path& path)
{
    std::error_code problem;
    const fs::file_status status = fs::status(path, problem);
    if (!fs::exists(status))
        throw error{model_errc::bad_file, path.string() + ": no such file or folder"};
    if (!fs::is_directory(status))
        throw error{
            model_errc::unsupported,
            path.string() + (path.extension() == ".gguf"
                                 ? ": GGUF files are not supported by this build"
                                 : ": is not a checkpoint folder")};
    const bool has_config =
        present(path / "config.json") || present(path / "0_Transformer" / "config.json");
    if (!has_config && present(path / "model_index.json")) {
        checkpoint_facts facts = read_pipeline_facts(path / "model_index.json");
        facts.unsupported = not_supported(facts);
        return facts;
    }
    if (!has_config)
        throw error{
            model_errc::bad_file,
            path.string() +
                ": not a checkpoint: it holds neither config.json nor model_index.json"};
    return read_folder_facts(path);
}

}  // namespace modelpool::models
