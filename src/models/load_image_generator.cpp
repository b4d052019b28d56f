#include <modelpool/error.hpp>
#include <modelpool/models/image_generator.hpp>

#include <cstdint>
#include <utility>

#include "models/diffusion_files.hpp"
#include "models/image_pipeline.hpp"
#include "models/weight_layout.hpp"
#include "support/stop.hpp"

namespace modelpool::models {
namespace {

// Blocks take fewer bytes than what they are made from, by so much: Q8_0 has 8.5 bits a number and
// Q4_K 4.5, and the files have 16.
std::uint64_t bytes_in_memory(const found_pipeline& found, dtype precision)
{
    std::uint64_t stored = 0;
    for (const auto& [part, one] : found.parts)
        stored += one.tensors->weight_bytes();
    if (precision == dtype::q8_0) return stored / 16 * 9;
    if (precision == dtype::q4_k) return stored / 16 * 5;
    return stored;
}

}  // namespace

std::unique_ptr<image_generator>
load_image_generator(const std::filesystem::path& path, const load_options& options)
{
    if (!options.device().is_cpu())
        throw error{
            model_errc::unsupported,
            path.string() + ": images are made on the CPU, not on " + options.device().str()};
    const found_pipeline found = blocking_find_pipeline(path);
    support::end_if_stopped(options.stop(), "loading " + found.name);
    image_load_options how;
    how.base = options;
    const std::uint64_t bytes = bytes_in_memory(found, options.dtype());
    if (layout_for(bytes) == decoder::weight_layout::stored) how.memory = component_memory::in_turn;
    image_pipeline_files files = blocking_to_files(found);
    if (found.kind == pipeline_kind::flux) return make_flux(std::move(files), how);
    return make_sd3(std::move(files), how);
}

}  // namespace modelpool::models
