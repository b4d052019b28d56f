#include "models/generator_facts.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "decoder/hyperparameters.hpp"
#include "models/decoder_families.hpp"
#include "models/weight_layout.hpp"
#include "support/json.hpp"
#include "support/printable.hpp"
#include "weights/gguf_checkpoint.hpp"
#include "weights/safetensors.hpp"

namespace modelpool::models {
namespace {

// The activations of a step of 128 prompt tokens: rows of hidden and inner numbers, and logits.
std::uint64_t scratch_bytes(const decoder::hyperparameters& sizes)
{
    constexpr std::uint64_t n_rows = 128;
    const auto count = [](std::int64_t n) { return static_cast<std::uint64_t>(n); };
    const std::uint64_t heads = count(sizes.n_heads) * count(sizes.key_size + sizes.value_size) +
                                count(sizes.n_heads) * count(sizes.kv_rank) * 2;
    const std::uint64_t inner =
        sizes.n_experts > 0
            ? count(sizes.n_experts_used) * count(2 * sizes.n_expert_feed_forward + sizes.hidden)
            : 3 * count(sizes.n_feed_forward);
    return n_rows * (4 * count(sizes.hidden) + heads + inner) * sizeof(float) +
           count(sizes.vocab_size) * sizeof(float);
}

void add_sizes(const decoder::hyperparameters& sizes, checkpoint_facts& facts)
{
    const auto count = [](std::int64_t n) { return static_cast<std::size_t>(n); };
    facts.capability = "text_to_text";
    facts.max_tokens = count(sizes.context_length);
    facts.n_layers = count(sizes.n_layers);
    facts.hidden_size = count(sizes.hidden);
    facts.n_heads = count(sizes.n_heads);
    facts.vocab_size = count(sizes.vocab_size);
    facts.replica_bytes = scratch_bytes(sizes);
}

void add_shares(const std::map<std::string, std::uint64_t>& shares, checkpoint_facts& facts)
{
    for (const auto& [name, n_elements] : shares) {
        facts.dtypes.push_back({name, n_elements});
        facts.n_parameters += n_elements;
    }
    std::ranges::stable_sort(facts.dtypes, std::greater{}, &dtype_share::n_parameters);
}

std::optional<kernels::block_type> dense_type(weights::element type)
{
    switch (type) {
    case weights::element::f32:
        return kernels::block_type::f32;
    case weights::element::f16:
        return kernels::block_type::f16;
    case weights::element::bf16:
        return kernels::block_type::bf16;
    default:
        return std::nullopt;
    }
}

// By the names of transformers; empty for what is no matrix that a row is multiplied with.
std::optional<decoder::matrix_use> use_of_stored(std::string_view name)
{
    if (!name.ends_with(".weight") || name.ends_with("embed_tokens.weight")) return std::nullopt;
    for (const std::string_view part : {"vision_tower.", "vision_model.", "multi_modal_projector."})
        if (name.find(part) != std::string_view::npos) return std::nullopt;
    if (name.ends_with("lm_head.weight")) return decoder::matrix_use::output;
    if (name.ends_with(".kv_b_proj.weight")) return decoder::matrix_use::latent;
    const bool routes =
        name.ends_with(".mlp.gate.weight") || name.ends_with(".block_sparse_moe.gate.weight");
    return routes ? decoder::matrix_use::router : decoder::matrix_use::layer;
}

// Of a matrix that is packed as blocks: whole panels of rows.
std::uint64_t packed_bytes_of(kernels::block_type type, std::int64_t n_rows, std::int64_t n_columns)
{
    constexpr std::int64_t panel = 16;
    const std::int64_t n_panels = (n_rows + panel - 1) / panel;
    return static_cast<std::uint64_t>(n_panels * panel * kernels::row_bytes(type, n_columns));
}

// Whole panels of each expert's rows.
std::uint64_t bytes_as_packed(const weights::gguf_tensor& tensor)
{
    const auto type = static_cast<kernels::block_type>(tensor.type);
    if (tensor.dims.size() < 2 || !kernels::is_known(type)) return tensor.data.size();
    const std::int64_t n_numbers = tensor.dims[0] * tensor.dims[1];
    const std::int64_t n_matrices = n_numbers == 0 ? 0 : tensor.n_elements() / n_numbers;
    return static_cast<std::uint64_t>(n_matrices) *
           packed_bytes_of(type, tensor.dims[1], tensor.dims[0]);
}

bool is_quantized(weights::gguf_type type)
{
    const auto block = weights::block_of(type);
    return block && block->n_elements > 1;
}

}  // namespace

checkpoint_facts blocking_read_gguf_facts(const std::filesystem::path& path, dtype precision)
{
    const auto file = weights::gguf_checkpoint::blocking_open(path);
    checkpoint_facts facts;
    facts.family = file->header().need_string("general.architecture");
    facts.architecture = facts.family;
    facts.weight_bytes = file->weight_bytes();
    std::map<std::string, std::uint64_t> shares;
    std::uint64_t packed_bytes = 0;
    std::uint64_t released_bytes = 0;
    for (const auto& [name, tensor] : file->tensors()) {
        shares[weights::to_string(tensor->type)] +=
            static_cast<std::uint64_t>(tensor->n_elements());
        if (!weights::block_of(tensor->type))
            facts.unsupported = "the tensor " + support::in_quotes(name) + " is stored as " +
                                weights::to_string(tensor->type) + ", which is not supported";
        // Words are looked up in the file, unless the output is a copy of them.
        const bool is_lookup =
            name == "token_embd.weight" && file->find("output.weight") != nullptr;
        if (!is_quantized(tensor->type) || is_lookup) continue;
        packed_bytes += bytes_as_packed(*tensor);
        if (name != "token_embd.weight") released_bytes += tensor->data.size();
    }
    add_shares(shares, facts);
    const decoder_family family = find_decoder_family(facts.family);
    if (family == nullptr) {
        facts.unsupported = "the architecture " + support::in_quotes(facts.family) +
                            " is not supported; supported: " + std::string{decoder_architectures()};
        return facts;
    }
    try {
        add_sizes(family(decoder::read_hyperparameters(*file)).sizes, facts);
        check_stored_dtype(file->name(), precision);
    } catch (const error& problem) {
        if (problem.code() != model_errc::unsupported) throw;
        facts.unsupported = problem.what();
    }
    const bool packs = layout_for(facts.weight_bytes) == decoder::weight_layout::packed;
    facts.resident_bytes = packs ? packed_bytes : 0;
    facts.mapped_bytes = facts.weight_bytes - (packs ? released_bytes : 0);
    return facts;
}

void blocking_add_decoder_facts(
    const std::filesystem::path& dir,
    const support::json_file& config,
    checkpoint_facts& facts,
    dtype precision)
{
    const std::string type = config.need_string("model_type");
    const std::string architecture{decoder_architecture(type)};
    const decoder_family family = find_decoder_family(architecture);
    if (family == nullptr)
        throw error{
            model_errc::unsupported,
            config.name() + ": the model type " + support::in_quotes(type) +
                " is no decoder that is supported"};
    add_sizes(family(decoder::read_hyperparameters(config, architecture)).sizes, facts);
    const auto files = weights::checkpoint::blocking_open(dir);
    std::map<std::string, std::uint64_t> shares;
    for (const std::string& name : files->names()) {
        const weights::tensor_view& tensor = *files->find(name);
        shares[std::string{weights::to_string(tensor.type)}] +=
            static_cast<std::uint64_t>(tensor.n_elements());
    }
    add_shares(shares, facts);
    facts.weight_bytes = files->weight_bytes();
    add_decoder_memory(*files, dense_layout_for(config.name(), precision), facts);
}

void add_decoder_memory(
    const weights::checkpoint& files, decoder::weight_layout layout, checkpoint_facts& facts)
{
    using decoder::matrix_use;
    bool has_head = false;
    const weights::tensor_view* words = nullptr;
    const auto blocks_of = [layout](const weights::tensor_view& tensor, matrix_use use) {
        const auto stored = dense_type(tensor.type);
        if (!stored || tensor.shape.size() != 2) return std::uint64_t{0};
        const auto to = decoder::quantized_type(layout, use, *stored, tensor.shape[1]);
        return to ? packed_bytes_of(*to, tensor.shape[0], tensor.shape[1]) : std::uint64_t{0};
    };
    for (const std::string& name : files.names()) {
        const weights::tensor_view& tensor = *files.find(name);
        if (name.ends_with("embed_tokens.weight")) words = &tensor;
        const auto use = use_of_stored(name);
        has_head = has_head || use == matrix_use::output;
        std::uint64_t n_bytes = use ? blocks_of(tensor, *use) : 0;
        // Of keys and values that lie in one matrix, copies are made in any case.
        if (n_bytes == 0 && use == matrix_use::latent)
            n_bytes = static_cast<std::uint64_t>(tensor.n_elements()) * sizeof(float);
        facts.resident_bytes += n_bytes;
        if (n_bytes == 0) facts.mapped_bytes += tensor.data.size();
    }
    // Without a matrix of its own, the output is a copy of that of the words.
    if (!has_head && words != nullptr)
        facts.resident_bytes += blocks_of(*words, matrix_use::output);
}

}  // namespace modelpool::models
