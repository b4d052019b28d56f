#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "models/diffusion_names.hpp"

// A tensor's name of any bytes is in a table, and then the same both ways, or it is not.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    using namespace modelpool::models;
    if (size < 2) return 0;
    const name_counts counts{data[0], data[1]};
    const std::string_view name{reinterpret_cast<const char*>(data) + 2, size - 2};
    for (const name_table table :
         {name_table::flux, name_table::sd3, name_table::vae, name_table::t5_gguf}) {
        if (const auto stored = to_stored(table, counts, name)) {
            const auto back = to_diffusers(table, counts, stored->name);
            if (std::ranges::find(back, name) == back.end()) __builtin_trap();
        }
        for (const auto& theirs : to_diffusers(table, counts, name))
            if (to_stored(table, counts, theirs)->name != name) __builtin_trap();
    }
    return 0;
}
