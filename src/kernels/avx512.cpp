#include "kernels/table_of.hpp"
#include "kernels/vec_avx512.hpp"

namespace modelpool::kernels {

const kernel_table& avx512_table() noexcept
{
    static constexpr kernel_table table = table_of<avx512_vec>();
    return table;
}

}  // namespace modelpool::kernels
