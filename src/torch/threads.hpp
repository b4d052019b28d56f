#pragma once

namespace modelpool::nn {

/// Sets how many compute threads libtorch uses for operations started by the calling thread, itself
/// included. Only thread-local settings are touched, so workers with different shares do not disturb one
/// another, nor an application that uses libtorch itself. Costs nanoseconds.
void use_threads(int n_threads);

}  // namespace modelpool::nn
