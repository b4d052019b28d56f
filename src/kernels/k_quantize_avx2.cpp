#include "kernels/k_fit.hpp"
#include "kernels/k_quantize.hpp"

namespace modelpool::kernels {

const k_quantizer& avx2_k_quantizer() noexcept
{
    static constexpr k_quantizer quantizer{store_q4_k, store_q6_k};
    return quantizer;
}

}  // namespace modelpool::kernels
