#pragma once

#include <cstdio>
#include <cstdlib>

namespace modelpool::detail {

[[noreturn]] inline void assertion_failed(const char* what, const char* file, int line)
{
    std::fprintf(
        stderr, "modelpool: internal error: %s does not hold at %s:%d\n", what, file, line);
    std::abort();
}

}  // namespace modelpool::detail

/// States what must hold whatever the input: a failure is a bug of this library. On in release
/// builds.
#define MODELPOOL_ASSERT(condition)                                                                \
    ((condition) ? static_cast<void>(0)                                                            \
                 : ::modelpool::detail::assertion_failed(#condition, __FILE__, __LINE__))
