#include "models/weight_layout.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <thread>

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

decoder::weight_layout dense_layout_for(const std::string& name, dtype precision)
{
    switch (precision) {
    case dtype::automatic:
    case dtype::f32:
        return decoder::weight_layout::stored;
    case dtype::q8_0:
        return decoder::weight_layout::q8_0;
    case dtype::q4_k:
        return decoder::weight_layout::q4_k;
    case dtype::bf16:
    case dtype::f16:
    case dtype::int8:
        break;
    }
    throw error{
        model_errc::unsupported,
        name +
            ": text generation computes in f32 on weights as they are stored, or quantised to "
            "q8_0 or q4_k; dtype " +
            std::string{to_string(precision)} + " is not supported"};
}

void check_stored_dtype(const std::string& name, dtype precision)
{
    if (precision == dtype::automatic || precision == dtype::f32) return;
    throw error{
        model_errc::unsupported,
        name + ": a GGUF file is computed on in f32 with the blocks that it has; dtype " +
            std::string{to_string(precision)} +
            " is not supported: take the file of another quantisation, or the safetensors"};
}

decoder::load_watch watch_of(const load_options& options)
{
    const int n_cores = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
    const int n_threads = options.n_threads() > 0 ? options.n_threads() : n_cores;
    return {options.stop(), options.on_progress(), n_threads};
}

}  // namespace modelpool::models
