#pragma once

#include <span>
#include <string_view>

namespace modelpool::text {

/// Characters that Unicode 15 and 16 added, or moved, in one general category.
struct new_characters {
    char32_t first;
    char32_t last;
    std::string_view category;
};

/// All of them, in order. The reference's patterns know these; the PCRE2 of 2022 knows Unicode 14.
std::span<const new_characters> all_new_characters() noexcept;

}  // namespace modelpool::text
