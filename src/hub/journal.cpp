#include "hub/journal.hpp"

#include <nlohmann/json.hpp>

#include <array>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>

#include "hub/path_rules.hpp"
#include "support/json.hpp"

#include <unistd.h>

namespace modelpool::fetching {
namespace {

constexpr int version = 1;
constexpr std::size_t n_most_ranges = 100'000;
// A writer on another machine writes its journal every few seconds.
constexpr std::chrono::seconds silence{60};

std::string blocking_first_line(const std::string& path)
{
    std::ifstream in{path};
    std::string line;
    std::getline(in, line);
    return line;
}

// The 22nd field of /proc/<pid>/stat; the second, a name in parentheses, may hold anything.
std::uint64_t blocking_start_of(std::int64_t pid)
{
    const std::string line = blocking_first_line("/proc/" + std::to_string(pid) + "/stat");
    const std::size_t close = line.rfind(')');
    if (close == std::string::npos) return 0;
    std::istringstream rest{line.substr(close + 1)};
    std::string field;
    for (int i = 3; i <= 22; ++i)
        rest >> field;
    return std::strtoull(field.c_str(), nullptr, 10);
}

std::optional<byte_range> read_range(const nlohmann::json& value)
{
    if (!value.is_array() || value.size() != 2 || !value[0].is_number_unsigned() ||
        !value[1].is_number_unsigned())
        return std::nullopt;
    const byte_range range{value[0].get<std::uint64_t>(), value[1].get<std::uint64_t>()};
    return range.begin < range.end ? std::optional{range} : std::nullopt;
}

}  // namespace

writer_id writer_id::blocking_self()
{
    writer_id self;
    std::array<char, 256> host{};
    if (::gethostname(host.data(), host.size() - 1) == 0) self.host = host.data();
    self.boot = blocking_first_line("/proc/sys/kernel/random/boot_id");
    self.pid = ::getpid();
    self.started = blocking_start_of(self.pid);
    return self;
}

writer_state blocking_state_of(const writer_id& writer)
{
    const std::string boot = blocking_first_line("/proc/sys/kernel/random/boot_id");
    if (boot.empty() || writer.boot.empty()) return writer_state::unknown;
    std::array<char, 256> host{};
    if (::gethostname(host.data(), host.size() - 1) != 0) return writer_state::unknown;
    // Containers of one boot may have the same pids for other processes.
    if (writer.host != host.data()) return writer_state::unknown;
    if (writer.boot != boot) return writer_state::dead;
    const std::uint64_t started = blocking_start_of(writer.pid);
    return started != 0 && started == writer.started ? writer_state::alive : writer_state::dead;
}

std::string write_journal(const journal& one)
{
    nlohmann::json ranges = nlohmann::json::array();
    for (const byte_range& range : one.done)
        ranges.push_back({range.begin, range.end});
    const nlohmann::json text{
        {"version", version},
        {"etag", one.etag},
        {"size", one.size},
        {"done", std::move(ranges)},
        {"host", shown(one.writer.host)},
        {"boot", shown(one.writer.boot)},
        {"pid", one.writer.pid},
        {"started", one.writer.started},
        {"heartbeat",
         std::chrono::duration_cast<std::chrono::seconds>(one.heartbeat.time_since_epoch())
             .count()}};
    return text.dump();
}

std::optional<journal> read_journal(std::string_view text)
{
    try {
        const support::json_file file{text, "journal", hub_errc::corrupt};
        const std::int64_t most = std::int64_t{1} << 53U;
        if (!file.root().is_object() || file.need_int("version", 0, most) != version)
            return std::nullopt;
        journal one;
        one.etag = file.need_string("etag");
        one.size = static_cast<std::uint64_t>(file.need_int("size", 0, most));
        one.writer.host = file.need_string("host");
        one.writer.boot = file.need_string("boot");
        one.writer.pid = file.need_int("pid", 1, most);
        one.writer.started = static_cast<std::uint64_t>(file.need_int("started", 0, most));
        one.heartbeat = std::chrono::system_clock::time_point{
            std::chrono::seconds{file.need_int("heartbeat", 0, std::int64_t{1} << 32U)}};
        const auto ranges = file.root().find("done");
        if (ranges == file.root().end() || !ranges->is_array() || ranges->size() > n_most_ranges)
            return std::nullopt;
        for (const auto& value : *ranges) {
            const auto range = read_range(value);
            if (!range || range->end > one.size) return std::nullopt;
            one.done.push_back(*range);
        }
        return one;
    } catch (const error&) {
        return std::nullopt;
    }
}

adoption decide_adoption(
    const journal& found,
    std::string_view etag,
    std::uint64_t size,
    writer_state writer,
    std::chrono::system_clock::time_point now)
{
    if (found.etag != etag || found.size != size) return adoption::leave;
    switch (writer) {
    case writer_state::dead:
        return adoption::take_over;
    case writer_state::alive:
        return adoption::leave;
    case writer_state::unknown:
        break;
    }
    return now - found.heartbeat > silence ? adoption::copy : adoption::leave;
}

}  // namespace modelpool::fetching
