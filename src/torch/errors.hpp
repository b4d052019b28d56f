#pragma once

#include <string_view>
#include <utility>

namespace modelpool::nn {

/// Rethrows the exception being handled in the library's terms; `what` says what was being done. libtorch's
/// exceptions become model_errc::failed or out_of_memory with their first line; modelpool::error and
/// std::bad_alloc pass through.
[[noreturn]] void rethrow_translated(std::string_view what);

/// Runs `work` so that no exception of libtorch, or of a library below it, leaves this folder.
template <class Work>
decltype(auto) translated(std::string_view what, Work&& work)
{
    try {
        return std::forward<Work>(work)();
    } catch (...) {
        rethrow_translated(what);
    }
}

}  // namespace modelpool::nn
