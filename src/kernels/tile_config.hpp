#pragma once

#include <cstdint>

namespace modelpool::kernels {

/// What LDTILECFG reads (Intel SDM, palette 1).
struct alignas(64) tile_config {
    std::uint8_t palette;
    std::uint8_t start_row;
    std::uint8_t reserved[14];
    std::uint16_t row_bytes[16];
    std::uint8_t n_rows[16];
};

}  // namespace modelpool::kernels
