#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hub/range_plan.hpp"

namespace modelpool::fetching {

/// Who writes a partial file: a process of one boot of one machine.
struct writer_id {
    std::string host;
    std::string boot;
    std::int64_t pid{0};
    std::uint64_t started{0};  ///< in the kernel's ticks since boot

    static writer_id blocking_self();
    friend bool operator==(const writer_id&, const writer_id&) = default;
};

enum class writer_state { dead = 1, alive, unknown };
/// Whether that process is gone, as far as this one can tell.
writer_state blocking_state_of(const writer_id& writer);

/// What lies beside a partial file, so that a later process can go on with it.
struct journal {
    std::string etag;
    std::uint64_t size{0};
    std::vector<byte_range> done;
    writer_id writer;
    std::chrono::system_clock::time_point heartbeat;
};

std::string write_journal(const journal& one);
/// Empty for text of any other form or version.
std::optional<journal> read_journal(std::string_view text);

/// What to do with a partial file of another process, whose lock on it this process could take.
enum class adoption { take_over = 1, copy, leave };
adoption decide_adoption(
    const journal& found,
    std::string_view etag,
    std::uint64_t size,
    writer_state writer,
    std::chrono::system_clock::time_point now);

}  // namespace modelpool::fetching
