#pragma once

#include <modelpool/capability/generation.hpp>

#include <memory>

namespace modelpool {

/// Messages or a prompt to text.
struct text_to_text {
    using model = generator;
    static constexpr const char* name = "text_to_text";
};

}  // namespace modelpool
