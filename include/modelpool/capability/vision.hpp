#pragma once

#include <modelpool/capability/generation.hpp>

namespace modelpool {

/// Images and messages to text. The model is a generator whose messages may hold images.
struct vision {
    using model = generator;
    static constexpr const char* name = "vision";
};

}  // namespace modelpool
