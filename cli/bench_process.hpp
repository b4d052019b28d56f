#pragma once

#include <modelpool/capability/model.hpp>

#include <chrono>

namespace modelpool::cli {

using bench_clock = std::chrono::steady_clock;

double seconds_since(bench_clock::time_point begin);

/// Lets a model that is run without a pool use so many threads.
class fixed_threads final : public run_monitor {
public:
    explicit fixed_threads(int n)
        : n_{n}
    {}
    int n_threads() const noexcept override { return n_; }
    void step_done() noexcept override {}

private:
    int n_;
};

/// Memory of this process, mapped files in use among it, as the system counts it; 0 where it does
/// not say.
double resident_mib();
/// What of that are pages of mapped files, which the system may drop.
double resident_in_files_mib();
/// The most that it ever was.
double peak_mib();

}  // namespace modelpool::cli
