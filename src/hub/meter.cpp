#include "hub/meter.hpp"

#include <algorithm>
#include <cmath>

namespace modelpool::fetching {
namespace {

constexpr std::chrono::milliseconds pause{100};
constexpr std::chrono::duration<double> shortest_sample{0.25};
constexpr std::chrono::duration<double> memory{5};

}  // namespace

void rate_meter::add(time_point now, std::uint64_t n_bytes)
{
    if (since_ == time_point{}) since_ = now;
    n_bytes_ += n_bytes;
    const std::chrono::duration<double> time = now - since_;
    if (time < shortest_sample) return;
    const double sample = static_cast<double>(n_bytes_) / time.count();
    const double kept = rate_ == 0 ? 0 : std::exp(-time / memory);
    rate_ = rate_ * kept + sample * (1 - kept);
    since_ = now;
    n_bytes_ = 0;
}

void meter::begin(std::size_t n_files, std::uint64_t total_bytes)
{
    const std::lock_guard lock{mutex_};
    now_.n_files = n_files;
    now_.total_bytes = total_bytes;
    pass_on({}, true);
}

void meter::add_total(std::uint64_t bytes)
{
    const std::lock_guard lock{mutex_};
    now_.total_bytes += bytes;
}

// Gives what the file has more than before.
std::uint64_t meter::raise(file& one, std::uint64_t bytes)
{
    if (bytes <= one.done_bytes) return 0;
    const std::uint64_t n_more = bytes - one.done_bytes;
    one.done_bytes = bytes;
    now_.done_bytes += n_more;
    if (now_.total_bytes != 0) now_.done_bytes = std::min(now_.done_bytes, now_.total_bytes);
    return n_more;
}

void meter::file_begin(const std::string& path, std::uint64_t total_bytes)
{
    const std::lock_guard lock{mutex_};
    file& one = files_[path];
    one.in_flight = true;
    one.total_bytes = total_bytes;
}

void meter::file_bytes(const std::string& path, std::uint64_t bytes)
{
    const std::lock_guard lock{mutex_};
    const bool first = now_.done_bytes == 0 && bytes != 0;
    file& one = files_[path];
    const std::uint64_t n_more = raise(one, bytes);
    rate_.add(std::chrono::steady_clock::now(), std::exchange(one.measured, true) ? n_more : 0);
    pass_on(path, first);
}

void meter::file_done(const std::string& path, std::uint64_t bytes)
{
    const std::lock_guard lock{mutex_};
    raise(files_[path], bytes);
    files_.erase(path);
    ++now_.n_files_done;
    pass_on(path, false);
}

fetch_progress meter::describe() const
{
    fetch_progress all = now_;
    all.bytes_per_second = rate_.bytes_per_second();
    if (all.total_bytes != 0 && all.bytes_per_second >= 1)
        all.time_left = std::chrono::seconds{std::llround(
            static_cast<double>(all.total_bytes - all.done_bytes) / all.bytes_per_second)};
    for (const auto& [path, one] : files_)
        if (one.in_flight) all.in_flight.push_back({path, one.done_bytes, one.total_bytes});
    return all;
}

fetch_progress meter::last() const
{
    const std::lock_guard lock{mutex_};
    fetch_progress all = describe();
    all.path.clear();
    return all;
}

void meter::pass_on(const std::string& path, bool at_once)
{
    const auto now = std::chrono::steady_clock::now();
    now_.path = path;
    if (!to_ || (!at_once && now - passed_on_ < pause)) return;
    passed_on_ = now;
    to_(describe());
}

}  // namespace modelpool::fetching
