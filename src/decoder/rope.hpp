#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "decoder/hyperparameters.hpp"

namespace modelpool::decoder {

/// Which numbers of a head make a pair that a position rotates.
enum class rope_pairs {
    neighbours = 1,  ///< 2i and 2i + 1
    halves,          ///< i and i + n / 2
};

/// Rotary positions, arXiv:2104.09864, with the ways to stretch them that checkpoints use.
/// Immutable.
class rope {
public:
    rope() = default;
    /// `divisors`, one a pair or none, divide the frequencies: how GGUF files of Llama 3 stretch.
    /// Errors: model_errc::bad_config where the scaling's numbers make no sense.
    rope(const hyperparameters& about, rope_pairs pairs, const std::vector<float>& divisors);

    std::size_t n_rotary() const noexcept { return 2 * near_.size(); }
    /// Cosines, then sines, one a pair each, of a position.
    void angles(std::uint32_t position, float* cosines, float* sines) const;
    /// Rotates the first n_rotary() numbers of a head.
    void rotate(float* head, const float* cosines, const float* sines) const;

private:
    std::vector<double> near_;  // frequencies of positions in the original context
    std::vector<double> far_;   // of later ones; empty: the same
    std::uint32_t far_from_{0};
    double magnitude_{1};
    rope_pairs pairs_{rope_pairs::halves};
};

}  // namespace modelpool::decoder
