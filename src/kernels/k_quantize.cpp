#include "kernels/k_quantize.hpp"

#include "kernels/k_fit.hpp"
#include "kernels/scratch.hpp"

namespace modelpool::kernels {

const k_quantizer& scalar_k_quantizer() noexcept
{
    static constexpr k_quantizer quantizer{store_q4_k, store_q6_k};
    return quantizer;
}

const k_quantizer& best_k_quantizer() noexcept
{
#if defined(__x86_64__)
    static const bool has_avx2 = best_isa() != isa::scalar;
    if (has_avx2) return avx2_k_quantizer();
#endif
    return scalar_k_quantizer();
}

}  // namespace modelpool::kernels
