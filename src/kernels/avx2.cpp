#include "kernels/table_of.hpp"
#include "kernels/vec_avx2.hpp"

namespace modelpool::kernels {

const kernel_table& avx2_table() noexcept
{
    static constexpr kernel_table table = table_of<avx2_vec>();
    return table;
}

}  // namespace modelpool::kernels
