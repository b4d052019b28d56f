#pragma once

#include <modelpool/device.hpp>
#include <modelpool/hub/hub_options.hpp>
#include <modelpool/log.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "interrupt.hpp"
#include "output.hpp"

#include <CLI/CLI.hpp>

namespace modelpool::cli {

/// The options that commands share, as they were typed. Texts are checked by `settings`.
struct common_options {
    std::string model;
    std::string device{"cpu"};
    std::string dtype{"auto"};
    int n_threads{0};
    std::size_t n_workers{0};
    std::string memory_limit;
    std::string cache_dir;
    std::string log_level{"error"};
    bool offline{false};
    bool json{false};
    bool json_lines{false};
};

/// The options that commands share, checked.
struct settings {
    /// Errors: usage_error, errc::invalid_argument.
    explicit settings(const common_options& typed);

    std::string model;
    modelpool::device device;
    modelpool::dtype dtype{modelpool::dtype::automatic};
    int n_threads{0};                       ///< 0: as many as there are cores
    std::size_t n_workers{0};               ///< 0: the library's default
    std::uint64_t memory_limit_bytes{0};    ///< 0: the library's default
    hub_options hub;                        ///< the environment's, changed by the options
    std::optional<log_level> lowest_level;  ///< empty: no logs
    bool json{false};
    bool json_lines{false};
};

/// Reads "512MiB", "8G", "1000000". K, M and G are powers of 1024, with or without "iB"; KB, MB and
/// GB are powers of 1000. Errors: usage_error.
std::uint64_t parse_bytes(std::string_view text);

/// What the commands share while the program runs.
struct program {
    explicit program(bool wants_json);

    std::string command{"usage"};  ///< the subcommand, for messages
    const bool wants_json;         ///< whether failures are documents too
    interrupt signals;
    output out;
    std::function<void()> run;  ///< set by the subcommand that was given
};

// The options are added in groups, since no command takes them all.

/// --model.
void add_model_options(CLI::App& command, common_options& into);
/// --cache-dir and --offline.
void add_cache_options(CLI::App& command, common_options& into);
/// --device, --dtype, --threads, --workers and --memory-limit.
void add_compute_options(CLI::App& command, common_options& into);
/// --json and --log-level; with `streams` also --json-lines.
void add_output_options(CLI::App& command, common_options& into, bool streams);

/// The sink of the library's log lines: standard error.
log_sink stderr_log(const settings& wanted);

}  // namespace modelpool::cli
