#pragma once

#include <string>
#include <vector>

namespace modelpool::cli {

/// One thing that was measured.
struct figure {
    std::string name;  ///< stable, for scripts: "embed_p50"
    std::string unit;  ///< "us"; of a plain ratio "x"
    double value{0};
};

/// What a pool costs on this machine, with a model that does nothing: takes some seconds.
std::vector<figure> blocking_measure_pool();

/// What fetching costs on this machine, from a hub on loopback: takes some seconds, and up to
/// 1.5 GiB of memory.
/// Errors: what a hub throws; std::system_error where there is no room.
std::vector<figure> blocking_measure_hub();

}  // namespace modelpool::cli
