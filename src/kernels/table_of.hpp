#pragma once

#include "kernels/attention_kernel.hpp"
#include "kernels/dense_kernel.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/panel_kernel.hpp"
#include "kernels/row_kernels.hpp"

namespace modelpool::kernels {
namespace {

template <class V>
constexpr kernel_table table_of()
{
    return {
        panel_function_of<V>,
        dense_function_of<V>,
        quantize_row_groups<V>,
        group_attend<V>,
        row_rms_norm<V>,
        row_layer_norm<V>,
        row_silu_mul<V>,
        row_gelu_mul<V>,
        row_add<V>,
        row_add_scaled<V>,
        row_softmax<V>,
        row_sigmoid<V>,
        rotate_halves<V>,
        rotate_neighbours};
}

}  // namespace
}  // namespace modelpool::kernels
