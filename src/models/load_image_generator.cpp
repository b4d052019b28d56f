#include <modelpool/error.hpp>
#include <modelpool/models/image_generator.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>

#include "models/diffusion_files.hpp"
#include "models/image_pipeline.hpp"
#include "models/weight_layout.hpp"
#include "support/stop.hpp"

namespace modelpool::models {
namespace {

// What the parts of a pipeline take, its files' pages among them.
struct pipeline_bytes {
    std::uint64_t together{0};
    std::uint64_t largest_copy{0};  // of a part that is not used where it lies in its file
};

pipeline_bytes bytes_of(const found_pipeline& found, dtype precision)
{
    const std::uint64_t bits = precision == dtype::q8_0 ? 9 : precision == dtype::q4_k ? 5 : 0;
    pipeline_bytes sum;
    for (const auto& [part, one] : found.parts) {
        std::uint64_t n_parameters = 0;
        std::uint64_t n_dense = 0;
        for (const auto& [type, n] : one.tensors->n_parameters()) {
            n_parameters += n;
            if (type == "F32" || type == "F16" || type == "BF16") n_dense += n;
        }
        const bool is_large = part == diffusion_part::transformer || part == diffusion_part::t5;
        const bool is_made_blocks = is_large && bits != 0;
        std::uint64_t bytes = one.tensors->weight_bytes();
        if (is_made_blocks) bytes = std::min(bytes, n_parameters / 8 * bits);
        sum.together += bytes;
        if (is_made_blocks || n_dense != n_parameters)
            sum.largest_copy = std::max(sum.largest_copy, bytes);
    }
    return sum;
}

// No file of a Stable Diffusion 3 says whether it was made to do with few steps: what its makers
// call it does.
bool is_turbo(const found_pipeline& found)
{
    std::error_code ignored;
    std::string names = std::filesystem::absolute(found.name, ignored).string() +
                        found.parts.at(diffusion_part::transformer).tensors->where();
    std::ranges::transform(names, names.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    return names.find("turbo") != std::string::npos;
}

// What Stability asks of those that were not: https://huggingface.co/stabilityai
void set_defaults(const found_pipeline& found, image_load_options& how)
{
    if (found.kind != pipeline_kind::sd3 || is_turbo(found)) return;
    const auto& config = found.parts.at(diffusion_part::transformer).config.root();
    const auto dual = config.find("dual_attention_layers");
    const bool is_medium = dual != config.end() && dual->is_array() && !dual->empty();
    how.default_steps = is_medium ? 40 : 28;
    how.default_guidance = is_medium ? 4.5F : 3.5F;
}

bool fit_together(const pipeline_bytes& bytes, std::uint64_t limit_bytes)
{
    if (limit_bytes != 0) return bytes.together <= limit_bytes;
    return layout_for(bytes.together) == decoder::weight_layout::packed;
}

}  // namespace

std::unique_ptr<image_generator> load_image_generator(
    const std::filesystem::path& path,
    const load_options& options,
    std::uint64_t memory_limit_bytes)
{
    if (!options.device().is_cpu())
        throw error{
            model_errc::unsupported,
            path.string() + ": images are made on the CPU, not on " + options.device().str()};
    const found_pipeline found = blocking_find_pipeline(path);
    support::end_if_stopped(options.stop(), "loading " + found.name);
    image_load_options how;
    how.base = options;
    const pipeline_bytes bytes = bytes_of(found, options.dtype());
    if (!fit_together(bytes, memory_limit_bytes)) {
        how.memory = component_memory::in_turn;
        how.turn_bytes = static_cast<std::size_t>(bytes.largest_copy);
    }
    set_defaults(found, how);
    image_pipeline_files files = blocking_to_files(found);
    if (found.kind == pipeline_kind::flux) return make_flux(std::move(files), how);
    return make_sd3(std::move(files), how);
}

}  // namespace modelpool::models
