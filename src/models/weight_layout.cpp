#include "models/weight_layout.hpp"

#include <unistd.h>

namespace modelpool::models {

decoder::weight_layout layout_for(std::uint64_t weight_bytes) noexcept
{
    const long n_pages = ::sysconf(_SC_PHYS_PAGES);
    const long page_bytes = ::sysconf(_SC_PAGESIZE);
    if (n_pages <= 0 || page_bytes <= 0) return decoder::weight_layout::packed;
    const std::uint64_t memory =
        static_cast<std::uint64_t>(n_pages) * static_cast<std::uint64_t>(page_bytes);
    return weight_bytes <= memory / 2 ? decoder::weight_layout::packed
                                      : decoder::weight_layout::stored;
}

}  // namespace modelpool::models
