#include "models/checkpoint_facts.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <array>
#include <functional>
#include <initializer_list>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "models/bert_config.hpp"
#include "models/clip_config.hpp"
#include "models/decoder_families.hpp"
#include "models/diffusion_facts.hpp"
#include "models/diffusion_files.hpp"
#include "models/generator_facts.hpp"
#include "models/gguf_folder.hpp"
#include "models/image_rows.hpp"
#include "models/jina_bert_config.hpp"
#include "models/llava_config.hpp"
#include "models/mmproj.hpp"
#include "models/new_config.hpp"
#include "models/nv_embed_config.hpp"
#include "models/qwen2_config.hpp"
#include "models/sentence_transformers.hpp"
#include "support/json.hpp"
#include "support/printable.hpp"
#include "torch/packing.hpp"
#include "weights/safetensors.hpp"

namespace modelpool::models {
namespace {

namespace fs = std::filesystem;
using support::in_quotes;
using support::json_file;

bool present(const fs::path& path)
{
    std::error_code ignored;
    return fs::exists(path, ignored);
}

// ---- what a config.json says, whatever the family --------------------------------------------------------

// The first of `keys` that holds a count. Vision-language models keep those of their decoder in
// `text_config`. What is no count is left to the family's own reader to complain about.
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

bool has_sized_heads(const fs::path& dir)
{
    std::error_code problem;
    for (fs::directory_iterator place{dir, problem}; !problem && place != fs::directory_iterator{};
         place.increment(problem))
        if (place->path().filename().string().starts_with("2_Dense")) return true;
    return false;
}

std::string family_of(const json_file& config, const fs::path& dir)
{
    std::string family = config.find_string("model_type").value_or("");
    // The first BERT checkpoints were made before there were others.
    if (family.empty() && first_architecture(config).starts_with("Bert")) family = "bert";
    // Jina's models call themselves "bert"; only their positions tell them apart.
    if (family == "bert" && config.find_string("position_embedding_type") == "alibi")
        return "jina-bert";
    // Stella is known by its heads of several sizes, whatever is below them.
    if ((family == "new" || family == "qwen2") && has_sized_heads(dir)) return "stella";
    if (family == "nvembed") return "nv-embed";
    if (family == "qwen2" && is_qwen2_encoder(config)) return "gte-qwen2";
    return family;
}

std::string
capability_of(const json_file& config, const checkpoint_facts& facts, const fs::path& dir)
{
    const std::string_view architecture = facts.architecture;
    if (present(dir / "modules.json")) return "text_embedding";
    // Encoders that are saved as the decoders they once were.
    for (const std::string_view family : {"gte-qwen2", "stella", "nv-embed"})
        if (facts.family == family) return "text_embedding";
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
    facts.family = family_of(config, dir);
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

// Whether the loader reads a tensor, and how it keeps it: `stored` in the file whatever the format,
// `in_place` there where it is f32 and widened once otherwise, `widened` as matrices in the file
// and all else as `in_place`, `repacked` always as a copy in f32, `tiled` as a copy in one or two
// bf16.
enum class tensor_use { none, stored, in_place, widened, repacked, tiled };

// What of a family decides what its encoder takes.
struct encoder_facts {
    std::size_t hidden_size{0};
    std::size_t max_tokens{0};  ///< where the checkpoint does not set a lower limit
    std::function<tensor_use(std::string_view)> use_of;
    std::uint64_t more_resident_bytes{0};  ///< besides tensors
    std::function<std::size_t(std::int64_t)> scratch_bytes;
};

bool is_float(weights::element type)
{
    return type == weights::element::f32 || type == weights::element::f16 ||
           type == weights::element::bf16;
}

bool stays_in_file(tensor_use use, const weights::tensor_view& tensor)
{
    switch (use) {
    case tensor_use::stored:
        return true;
    case tensor_use::in_place:
        return tensor.type == weights::element::f32;
    case tensor_use::widened:
        return tensor.shape.size() > 1 ? is_float(tensor.type)
                                       : tensor.type == weights::element::f32;
    case tensor_use::repacked:
    case tensor_use::tiled:
    case tensor_use::none:
        return false;
    }
    return false;
}

// A number's, in the loader's copy.
std::size_t copied_bytes(tensor_use use, const weights::tensor_view& tensor)
{
    const bool narrow = use == tensor_use::tiled && tensor.shape.size() > 1 &&
                        tensor.type == weights::element::bf16;
    return narrow ? 2 : sizeof(float);
}

void add_tensor_memory(
    const std::function<tensor_use(std::string_view)>& use_of,
    const weights::checkpoint& files,
    checkpoint_facts& facts)
{
    for (const std::string& name : files.names()) {
        const weights::tensor_view& tensor = *files.find(name);
        const tensor_use use = use_of(name);
        if (stays_in_file(use, tensor))
            facts.mapped_bytes += tensor.data.size();
        else if (use != tensor_use::none)
            facts.resident_bytes +=
                static_cast<std::uint64_t>(tensor.n_elements()) * copied_bytes(use, tensor);
    }
}

void add_encoder_memory(
    const encoder_facts& encoder, const weights::checkpoint& files, checkpoint_facts& facts)
{
    add_tensor_memory(encoder.use_of, files, facts);
    facts.resident_bytes += encoder.more_resident_bytes;
    facts.replica_bytes = encoder.scratch_bytes(
        std::max(nn::default_block_rows, static_cast<std::int64_t>(facts.max_tokens)));
}

void add_dense_memory(const dense_config& dense, checkpoint_facts& facts)
{
    const auto files = weights::checkpoint::blocking_open(dense.dir);
    for (const std::string& name : files->names()) {
        const weights::tensor_view& tensor = *files->find(name);
        facts.n_parameters += static_cast<std::uint64_t>(tensor.n_elements());
        facts.weight_bytes += tensor.data.size();
        (tensor.type == weights::element::f32 ? facts.mapped_bytes : facts.resident_bytes) +=
            static_cast<std::uint64_t>(tensor.n_elements()) * sizeof(float);
    }
}

void add_head_memory(const sentence_modules& modules, checkpoint_facts& facts)
{
    if (!modules.dense_choices.empty()) {
        for (const auto& [dim, dense] : modules.dense_choices)
            add_dense_memory(dense, facts);
        return;
    }
    for (const head_step& step : modules.head)
        if (const auto* dense = std::get_if<dense_config>(&step)) add_dense_memory(*dense, facts);
}

// The checks of the loader itself, so that what passes here loads.
void read_embedder_facts(const encoder_facts& encoder, const fs::path& dir, checkpoint_facts& facts)
{
    const sentence_modules modules = blocking_read_sentence_modules(dir);
    check_dimensions(modules, encoder.hidden_size, dir);
    facts.dim = modules.output_dim(encoder.hidden_size);
    facts.max_tokens =
        std::min(modules.max_tokens.value_or(encoder.max_tokens), encoder.max_tokens);
    const auto files = weights::checkpoint::blocking_open(modules.transformer_dir);
    read_weight_facts(*files, facts);
    add_encoder_memory(encoder, *files, facts);
    add_head_memory(modules, facts);
}

tensor_use bert_use_of(std::string_view name)
{
    if (name.starts_with("bert.")) name.remove_prefix(5);
    if (name == "embeddings.word_embeddings.weight") return tensor_use::stored;
    if (name == "embeddings.position_ids") return tensor_use::none;
    if (name.find(".attention.self.") != std::string_view::npos) return tensor_use::repacked;
    const bool needed = name.starts_with("embeddings.") || name.starts_with("encoder.layer.");
    return needed ? tensor_use::in_place : tensor_use::none;
}

tensor_use bert_tiles_use_of(std::string_view name)
{
    const tensor_use use = bert_use_of(name);
    const bool layer = name.find("encoder.layer.") != std::string_view::npos;
    return layer && use != tensor_use::none ? tensor_use::tiled : use;
}

void read_bert_facts(
    const json_file& config_file, const fs::path& dir, checkpoint_facts& facts, dtype /*precision*/)
{
    const bert_config config = bert_config::read(config_file);
    encoder_facts encoder;
    encoder.hidden_size = static_cast<std::size_t>(config.hidden_size);
    encoder.max_tokens = static_cast<std::size_t>(config.max_position_embeddings);
    const bool in_tiles = config.tiles(kernels::bf16_parts::two).runs_here();
    encoder.use_of = in_tiles ? bert_tiles_use_of : bert_use_of;
    // The position table is summed with a token type's row.
    encoder.more_resident_bytes = encoder.max_tokens * encoder.hidden_size * sizeof(float);
    // So is the norm of the embeddings copied.
    if (in_tiles) encoder.more_resident_bytes += 2 * encoder.hidden_size * sizeof(float);
    encoder.scratch_bytes = [&config](std::int64_t n_rows) {
        return config.replica_bytes(n_rows, sizeof(float));
    };
    read_embedder_facts(encoder, dir, facts);
}

tensor_use jina_bert_use_of(std::string_view name)
{
    if (name.starts_with("bert.")) name.remove_prefix(5);
    if (name == "embeddings.token_type_embeddings.weight") return tensor_use::in_place;
    const bool needed = name.starts_with("embeddings.") || name.starts_with("encoder.layer.");
    return needed ? tensor_use::widened : tensor_use::none;
}

void read_jina_bert_facts(
    const json_file& config_file, const fs::path& dir, checkpoint_facts& facts, dtype /*precision*/)
{
    const jina_bert_config config = jina_bert_config::read(config_file);
    encoder_facts encoder;
    encoder.hidden_size = static_cast<std::size_t>(config.hidden_size);
    encoder.max_tokens = static_cast<std::size_t>(config.max_position_embeddings);
    encoder.use_of = jina_bert_use_of;
    encoder.scratch_bytes = [&config](std::int64_t n_rows) {
        return config.scratch_bytes(n_rows, sizeof(float));
    };
    read_embedder_facts(encoder, dir, facts);
}

tensor_use new_use_of(std::string_view name)
{
    if (name.starts_with("new.")) name.remove_prefix(4);
    return jina_bert_use_of(name);
}

void read_new_facts(
    const json_file& config_file, const fs::path& dir, checkpoint_facts& facts, dtype /*precision*/)
{
    const new_config config = new_config::read(config_file);
    encoder_facts encoder;
    encoder.hidden_size = static_cast<std::size_t>(config.hidden_size);
    encoder.max_tokens = static_cast<std::size_t>(config.max_position_embeddings);
    encoder.use_of = new_use_of;
    encoder.scratch_bytes = [&config](std::int64_t n_rows) {
        return config.scratch_bytes(n_rows, sizeof(float));
    };
    read_embedder_facts(encoder, dir, facts);
}

tensor_use qwen2_use_of(std::string_view name)
{
    if (name.starts_with("model.")) name.remove_prefix(6);
    const bool needed =
        name.starts_with("embed_tokens.") || name.starts_with("layers.") || name == "norm.weight";
    return needed ? tensor_use::widened : tensor_use::none;
}

void read_qwen2_facts(
    const json_file& config_file, const fs::path& dir, checkpoint_facts& facts, dtype /*precision*/)
{
    const nn::llama_encoder_config config = read_qwen2_encoder_config(config_file);
    encoder_facts encoder;
    encoder.hidden_size = static_cast<std::size_t>(config.hidden_size);
    encoder.max_tokens = static_cast<std::size_t>(config.max_position_embeddings);
    encoder.use_of = qwen2_use_of;
    encoder.scratch_bytes = [&config](std::int64_t n_rows) {
        return config.scratch_bytes(n_rows, sizeof(float));
    };
    read_embedder_facts(encoder, dir, facts);
}

void read_stella_facts(
    const json_file& config_file, const fs::path& dir, checkpoint_facts& facts, dtype precision)
{
    if (config_file.find_string("model_type") == "qwen2")
        read_qwen2_facts(config_file, dir, facts, precision);
    else
        read_new_facts(config_file, dir, facts, precision);
}

tensor_use nv_embed_use_of(std::string_view name)
{
    constexpr std::string_view text = "embedding_model.";
    constexpr std::string_view blocks = "latent_attention_model.cross_attend_blocks.";
    if (name.starts_with(text)) return qwen2_use_of(name.substr(text.size()));
    if (!name.starts_with(blocks)) return tensor_use::none;
    name.remove_prefix(blocks.size());
    // The rest is multiplied out with the latents.
    const bool kept = name.starts_with("0.norm.") || name.starts_with("1.");
    return kept ? tensor_use::widened : tensor_use::none;
}

void read_nv_embed_facts(
    const json_file& config_file, const fs::path& dir, checkpoint_facts& facts, dtype /*precision*/)
{
    const nv_embed_config config = nv_embed_config::read(config_file);
    encoder_facts encoder;
    encoder.hidden_size = static_cast<std::size_t>(config.text.hidden_size);
    encoder.max_tokens = static_cast<std::size_t>(config.text.max_position_embeddings);
    encoder.use_of = nv_embed_use_of;
    encoder.more_resident_bytes = config.folded_bytes();
    encoder.scratch_bytes = [&config](std::int64_t n_rows) {
        return config.scratch_bytes(n_rows, sizeof(float));
    };
    read_embedder_facts(encoder, dir, facts);
}

tensor_use clip_use_of(std::string_view name)
{
    if (name == "text_model.embeddings.token_embedding.weight") return tensor_use::stored;
    if (name.ends_with(".position_ids")) return tensor_use::none;
    if (name == "logit_scale" || name.find(".embeddings.") != std::string_view::npos)
        return tensor_use::in_place;
    for (const std::string_view part :
         {"text_model.", "vision_model.", "text_projection.", "visual_projection."})
        if (name.starts_with(part)) return tensor_use::widened;
    return tensor_use::none;
}

void read_clip_facts(
    const json_file& config_file, const fs::path& dir, checkpoint_facts& facts, dtype /*precision*/)
{
    const clip_config config = clip_config::read(config_file);
    static_cast<void>(blocking_read_clip_preprocessor(dir, config.vision));
    facts.dim = static_cast<std::size_t>(config.projection_dim);
    facts.max_tokens = static_cast<std::size_t>(config.text.max_position_embeddings);
    const auto files = weights::checkpoint::blocking_open(dir);
    read_weight_facts(*files, facts);
    add_tensor_memory(clip_use_of, *files, facts);
    facts.replica_bytes = config.scratch_bytes(sizeof(float));
}

// What a replica holds for images: temporaries, and those that it keeps.
std::uint64_t image_bytes(const llava_config& config)
{
    const auto one =
        static_cast<std::uint64_t>(config.n_positions() * config.text_hidden) * sizeof(float);
    return config.scratch_bytes() + n_kept_images * one;
}

void read_llava_facts(
    const json_file& config_file, const fs::path& dir, checkpoint_facts& facts, dtype precision)
{
    const llava_config config = llava_config::read(config_file);
    static_cast<void>(blocking_read_clip_preprocessor(dir, config.vision));
    blocking_add_decoder_facts(dir, llava_text_config(config_file), facts, precision);
    facts.capability = "vision";
    facts.replica_bytes += image_bytes(config);
}

using facts_reader = void (*)(const json_file&, const fs::path&, checkpoint_facts&, dtype);

constexpr std::array<std::pair<std::string_view, facts_reader>, 8> families{{
    {"bert", read_bert_facts},
    {"jina-bert", read_jina_bert_facts},
    {"gte-qwen2", read_qwen2_facts},
    {"stella", read_stella_facts},
    {"new", read_new_facts},
    {"nv-embed", read_nv_embed_facts},
    {"clip", read_clip_facts},
    {"llava", read_llava_facts},
}};

std::string supported_families()
{
    std::string text;
    for (const auto& [name, reader] : families)
        text += (text.empty() ? "" : ", ") + std::string{name};
    return text + "; of decoders: " + std::string{decoder_model_types()};
}

// ---- folders -----------------------------------------------------------------------------------------------

std::string not_supported(const checkpoint_facts& facts)
{
    return "family " + in_quotes(facts.family) +
           " is not supported; supported: " + supported_families();
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

void try_add_decoder(
    const fs::path& dir, const json_file& config, checkpoint_facts& facts, dtype precision)
{
    try {
        blocking_add_decoder_facts(dir, config, facts, precision);
    } catch (const error& problem) {
        if (problem.code() != model_errc::unsupported) throw;
        facts.unsupported = problem.what();
    }
}

// Beside a model may lie what makes it take images. One of another model does not count.
void try_add_image_encoder(const fs::path& model, checkpoint_facts& facts)
{
    const std::optional<fs::path> path = blocking_find_mmproj(model);
    if (!path || !facts.runnable()) return;
    const auto file = weights::gguf_file::blocking_open(*path);
    try {
        const llava_config config = read_mmproj_config(file->header());
        if (config.text_hidden != static_cast<std::int64_t>(facts.hidden_size)) return;
        facts.capability = "vision";
        facts.replica_bytes += image_bytes(config);
        facts.weight_bytes += file->file_bytes();
        facts.mapped_bytes += file->file_bytes();
    } catch (const error& problem) {
        if (problem.code() != model_errc::unsupported) throw;
    }
}

checkpoint_facts read_gguf_facts(const fs::path& path, const fs::path& model, dtype precision)
{
    checkpoint_facts facts = blocking_read_gguf_facts(model, precision);
    try {
        try_add_image_encoder(path, facts);
    } catch (const error&) {
        // A model that is named itself runs, whatever lies beside it.
        if (path != model) throw;
    }
    return facts;
}

checkpoint_facts read_folder_facts(const fs::path& dir, dtype precision)
{
    // The encoder of older sentence-transformers checkpoints lies in a folder of its own.
    const fs::path nested = dir / "0_Transformer";
    const fs::path model_dir =
        !present(dir / "config.json") && present(nested / "config.json") ? nested : dir;
    const json_file config =
        json_file::blocking_read(model_dir / "config.json", model_errc::bad_config);
    checkpoint_facts facts;
    read_config_facts(config, dir, facts);
    const auto* family = std::ranges::find(
        families, facts.family, &std::pair<std::string_view, facts_reader>::first);
    if (family == families.end() && facts.capability == "text_to_text" &&
        !decoder_architecture(facts.family).empty()) {
        try_add_decoder(model_dir, config, facts, precision);
        return facts;
    }
    if (family == families.end()) {
        facts.unsupported = not_supported(facts);
        try_read_weights(model_dir, facts);
        return facts;
    }
    try {
        family->second(config, dir, facts, precision);
    } catch (const error& problem) {
        if (problem.code() != model_errc::unsupported) throw;
        facts.unsupported = problem.what();
    }
    return facts;
}

}  // namespace

checkpoint_facts blocking_read_checkpoint_facts(const fs::path& path, dtype precision)
{
    std::error_code problem;
    const fs::file_status status = fs::status(path, problem);
    if (!fs::exists(status))
        throw error{model_errc::bad_file, path.string() + ": no such file or folder"};
    if (!fs::is_directory(status)) {
        if (blocking_is_pipeline(path)) return blocking_read_pipeline_facts(path);
        if (path.extension() == ".gguf") return read_gguf_facts(path, path, precision);
        throw error{
            model_errc::unsupported,
            path.string() + ": is neither a checkpoint folder nor a .gguf file"};
    }
    const bool has_config =
        present(path / "config.json") || present(path / "0_Transformer" / "config.json");
    if (!has_config && blocking_is_pipeline(path)) return blocking_read_pipeline_facts(path);
    if (!has_config)
        if (const std::optional<fs::path> file = blocking_find_gguf(path))
            return read_gguf_facts(path, *file, precision);
    if (!has_config)
        throw error{
            model_errc::bad_file,
            path.string() + ": not a checkpoint: it holds neither config.json nor model_index.json "
                            "nor a GGUF file"};
    return read_folder_facts(path, precision);
}

}  // namespace modelpool::models
