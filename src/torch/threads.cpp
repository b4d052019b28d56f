#include "torch/threads.hpp"

#include <ATen/Parallel.h>

#include <algorithm>

// Both live inside libtorch or the OpenMP runtime it brings, where they exist at all: a libtorch with its own
// thread pool has no OpenMP, one for ARM no MKL. A weak reference is null there. at::set_num_threads is no
// substitute: it also writes MKL's and its own process-wide settings. MKL's lower-case name is Fortran's, which
// takes a pointer.
extern "C" {
[[gnu::weak]] void omp_set_num_threads(int n_threads);
// NOLINTNEXTLINE(readability-identifier-naming): the name is MKL's
[[gnu::weak]] int MKL_Set_Num_Threads_Local(int n_threads);
}

namespace modelpool::nn {

void use_threads(int n_threads)
{
    const int wanted = std::max(1, n_threads);
    // The first call of at::get_num_threads on a thread applies the process-wide default to it; whatever was
    // set before that would be lost.
    static_cast<void>(at::get_num_threads());
    if (omp_set_num_threads != nullptr) omp_set_num_threads(wanted);
    if (MKL_Set_Num_Threads_Local != nullptr) MKL_Set_Num_Threads_Local(wanted);
}

}  // namespace modelpool::nn
