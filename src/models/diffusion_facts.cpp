#include "models/diffusion_facts.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "models/diffusion_files.hpp"

namespace modelpool::models {
namespace {

// Of an image of 1024 pixels a side: the rows of a transformer, and the numbers that live at once
// in the last blocks of the decoder, which has 128 channels there in every published model.
constexpr std::uint64_t n_rows = 4096 + 512;
constexpr std::uint64_t decoder_bytes = std::uint64_t{3} * 1024 * 1024 * 128 * sizeof(float);

std::uint64_t count(const support::json_file& config, const char* key)
{
    constexpr std::int64_t most = 1 << 20;
    return static_cast<std::uint64_t>(config.find_int(key, 0, most).value_or(0));
}

// Rows of states, of queries, keys, values and of an inner layer four times as wide.
std::uint64_t scratch_bytes(const support::json_file& transformer)
{
    const std::uint64_t width =
        count(transformer, "attention_head_dim") * count(transformer, "num_attention_heads");
    return std::max(n_rows * width * 10 * sizeof(float), decoder_bytes);
}

void add_found(const found_pipeline& found, checkpoint_facts& facts)
{
    facts.family = found.kind == pipeline_kind::flux ? "flux" : "sd3";
    facts.architecture = std::string{to_string(found.kind)};
    const support::json_file& transformer = found.parts.at(diffusion_part::transformer).config;
    facts.n_layers = static_cast<std::size_t>(
        count(transformer, "num_layers") + count(transformer, "num_single_layers"));
    facts.n_heads = static_cast<std::size_t>(count(transformer, "num_attention_heads"));
    facts.hidden_size =
        facts.n_heads * static_cast<std::size_t>(count(transformer, "attention_head_dim"));
    std::map<std::string, std::uint64_t> shares;
    for (const auto& [part, one] : found.parts) {
        facts.weight_bytes += one.tensors->weight_bytes();
        for (const auto& [type, n] : one.tensors->n_parameters()) {
            shares[type] += n;
            facts.n_parameters += n;
        }
    }
    for (const auto& [type, n] : shares)
        facts.dtypes.push_back({type, n});
    std::ranges::stable_sort(facts.dtypes, std::greater{}, &dtype_share::n_parameters);
    facts.mapped_bytes = facts.weight_bytes;
    facts.replica_bytes = scratch_bytes(transformer);
}

// What an index alone tells.
void add_index(const std::filesystem::path& path, checkpoint_facts& facts)
{
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) return;
    const auto index = support::json_file::blocking_read(path, model_errc::bad_config);
    facts.architecture = index.find_string("_class_name").value_or("");
    facts.family = facts.architecture;
}

}  // namespace

checkpoint_facts blocking_read_pipeline_facts(const std::filesystem::path& path)
{
    checkpoint_facts facts;
    facts.capability = "text_to_image";
    try {
        add_found(blocking_find_pipeline(path), facts);
    } catch (const error& problem) {
        if (problem.code() == model_errc::bad_config) throw;
        add_index(path / "model_index.json", facts);
        facts.unsupported = problem.what();
    }
    return facts;
}

}  // namespace modelpool::models
