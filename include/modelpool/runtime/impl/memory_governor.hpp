#pragma once

#include <modelpool/runtime/memory_governor.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <limits>
#include <sstream>

namespace modelpool {

MODELPOOL_DECL std::string bytes_text(std::uint64_t bytes)
{
    constexpr std::array<const char*, 4> units{"KiB", "MiB", "GiB", "TiB"};
    if (bytes < 1024) return std::to_string(bytes) + " bytes";
    double value = static_cast<double>(bytes) / 1024.0;
    std::size_t unit = 0;
    while (value >= 1024.0 && unit + 1 < units.size()) {
        value /= 1024.0;
        ++unit;
    }
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.1f %s", value, units[unit]);
    return text.data();
}

MODELPOOL_DECL std::vector<memory_use> memory_governor::holders() const
{
    std::map<std::string, std::uint64_t> sums;
    {
        const std::lock_guard lock{ledger_->mutex};
        for (const auto& [id, entry] : ledger_->entries)
            sums[entry.holder] += entry.bytes;
    }
    std::vector<memory_use> uses;
    uses.reserve(sums.size());
    for (const auto& [holder, bytes] : sums)
        uses.push_back(memory_use{holder, bytes});
    const auto larger = [](const memory_use& a, const memory_use& b) { return a.bytes > b.bytes; };
    std::stable_sort(uses.begin(), uses.end(), larger);
    return uses;
}

MODELPOOL_DECL error
memory_governor::exhausted(std::uint64_t bytes, const std::string& holder) const
{
    constexpr std::size_t n_named = 8;
    std::string text = "the memory budget has no room for " + holder + ": " + bytes_text(bytes) +
                       " requested, " + bytes_text(available_bytes()) + " of " +
                       bytes_text(limit_bytes()) + " available";
    const std::vector<memory_use> uses = holders();
    for (std::size_t i = 0; i < std::min(uses.size(), n_named); ++i)
        text += (i == 0 ? "; held by " : ", ") + uses[i].holder + " (" + bytes_text(uses[i].bytes) +
                ")";
    if (uses.size() > n_named) text += " and " + std::to_string(uses.size() - n_named) + " more";
    return error{pool_errc::memory_exhausted, std::move(text)};
}

MODELPOOL_DECL std::uint64_t default_memory_limit_bytes(std::uint64_t smallest_bytes) noexcept
{
    constexpr std::uint64_t kept_free = std::uint64_t{2} << 30U;
    const std::uint64_t share = smallest_bytes / 5 * 4;
    const std::uint64_t quarter = smallest_bytes / 4;
    return share > kept_free ? std::max(share - kept_free, quarter) : quarter;
}

namespace detail {

MODELPOOL_DECL std::optional<std::uint64_t> read_number(const std::string& path)
{
    std::ifstream in{path};
    std::uint64_t value = 0;
    if (in >> value) return value;
    return std::nullopt;  // absent, or "max": no limit
}

/// The limits of a control group and of all groups above it.
MODELPOOL_DECL std::uint64_t
smallest_limit(const std::string& mount, std::string group, const char* file)
{
    std::uint64_t smallest = std::numeric_limits<std::uint64_t>::max();
    for (;;) {
        std::string path = mount;
        path.append(group == "/" ? "" : group).append("/").append(file);
        smallest = std::min(smallest, read_number(path).value_or(smallest));
        const std::size_t slash = group.rfind('/');
        if (group.empty() || group == "/" || slash == std::string::npos) return smallest;
        group.resize(slash);
    }
}

MODELPOOL_DECL std::uint64_t physical_memory_bytes(const std::string& root)
{
    std::ifstream in{root + "/proc/meminfo"};
    std::string name;
    std::uint64_t kibibytes = 0;
    std::string unit;
    while (in >> name >> kibibytes && std::getline(in, unit))
        if (name == "MemTotal:") return kibibytes * 1024;
    return std::numeric_limits<std::uint64_t>::max();
}

}  // namespace detail

MODELPOOL_DECL std::uint64_t blocking_machine_memory_bytes(const std::string& root)
{
    std::uint64_t smallest = detail::physical_memory_bytes(root);
    std::ifstream groups{root + "/proc/self/cgroup"};
    std::string line;
    // Lines read "hierarchy:controllers:path"; hierarchy 0 with no controllers is version 2.
    while (std::getline(groups, line)) {
        const std::size_t first = line.find(':');
        const std::size_t second = line.find(':', first == std::string::npos ? first : first + 1);
        if (second == std::string::npos) continue;
        const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
        const std::string group = line.substr(second + 1);
        if (controllers == ",,")
            smallest = std::min(
                smallest, detail::smallest_limit(root + "/sys/fs/cgroup", group, "memory.max"));
        else if (controllers.find(",memory,") != std::string::npos)
            smallest = std::min(
                smallest,
                detail::smallest_limit(
                    root + "/sys/fs/cgroup/memory", group, "memory.limit_in_bytes"));
    }
    return smallest;
}

}  // namespace modelpool
