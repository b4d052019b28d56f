#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "torch/tile_encoder.hpp"
#include "torch/weight_reader.hpp"

namespace modelpool::nn {

/// Several modules of one shape {n_in, n_out} as one linear in tiles: their outputs stand side by
/// side. Reads "<module>.weight" and "<module>.bias". Errors: those of weight_reader.
kernels::bf16_linear read_tile_linear(
    const weight_reader& reader,
    const std::vector<std::string>& modules,
    std::pair<std::int64_t, std::int64_t> in_out,
    kernels::bf16_parts parts);

/// Reads "weight" and "bias", or "gamma" and "beta" as the first BERT checkpoints have them.
tile_norm read_tile_norm(const weight_reader& reader, std::int64_t size);

}  // namespace modelpool::nn
