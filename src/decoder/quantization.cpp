#include "decoder/quantization.hpp"

#include "kernels/quantized_linear.hpp"

namespace modelpool::decoder {
namespace {

using kernels::block_type;

// As the public Q4_K_M files mix types, where they all agree.
block_type wanted_type(weight_layout layout, matrix_use use) noexcept
{
    if (layout == weight_layout::q8_0 || use == matrix_use::latent) return block_type::q8_0;
    return use == matrix_use::output ? block_type::q6_k : block_type::q4_k;
}

}  // namespace

matrix_use use_of(std::string_view name) noexcept
{
    if (name == "output.weight") return matrix_use::output;
    if (name.ends_with(".ffn_gate_inp.weight")) return matrix_use::router;
    for (const std::string_view ending :
         {".attn_kv_b.weight", ".attn_k_b.weight", ".attn_v_b.weight"})
        if (name.ends_with(ending)) return matrix_use::latent;
    return matrix_use::layer;
}

std::optional<block_type> quantized_type(
    weight_layout layout, matrix_use use, block_type stored, std::int64_t n_columns) noexcept
{
    if (!is_quantizing(layout) || use == matrix_use::router || !kernels::is_dense(stored))
        return std::nullopt;
    const block_type fitting = kernels::fitting_type(wanted_type(layout, use), n_columns);
    if (kernels::is_dense(fitting)) return std::nullopt;
    return fitting;
}

}  // namespace modelpool::decoder
