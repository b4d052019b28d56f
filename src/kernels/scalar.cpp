#include "kernels/table_of.hpp"
#include "kernels/vec_scalar.hpp"

namespace modelpool::kernels {

const kernel_table& scalar_table() noexcept
{
    static constexpr kernel_table table = table_of<scalar_vec>();
    return table;
}

}  // namespace modelpool::kernels
