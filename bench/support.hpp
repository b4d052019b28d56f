#pragma once

// What the benchmark programs and `modelpool bench` measure with. A figure is never a test's pass
// mark.

#include <modelpool/async/awaitable.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <latch>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <malloc.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

namespace modelpool::bench {

using std::chrono::nanoseconds;
using stopwatch = std::chrono::steady_clock;

inline double to_ns(nanoseconds value)
{
    return static_cast<double>(value.count());
}

inline double to_us(nanoseconds value)
{
    return to_ns(value) / 1e3;
}

/// `value` over `base`; 0 where that has no answer.
inline double ratio(double value, double base)
{
    return base > 0 ? value / base : 0;
}

inline nanoseconds since(stopwatch::time_point begun)
{
    return stopwatch::now() - begun;
}

/// How long many things took.
class samples {
public:
    void reserve(std::size_t n) { values_.reserve(n); }
    void add(nanoseconds one) { values_.push_back(one); }
    void add(const samples& others)
    {
        values_.insert(values_.end(), others.values_.begin(), others.values_.end());
    }
    std::size_t size() const noexcept { return values_.size(); }

    /// The smallest that the share `q` of all do not exceed; 0 where there are none.
    nanoseconds quantile(double q) const
    {
        if (values_.empty()) return nanoseconds{0};
        const double wanted = std::ceil(q * static_cast<double>(values_.size()));
        const auto rank = static_cast<std::size_t>(std::max(wanted, 1.0)) - 1;
        std::vector<nanoseconds> sorted{values_};
        const auto place =
            sorted.begin() + static_cast<std::ptrdiff_t>(std::min(rank, sorted.size() - 1));
        std::nth_element(sorted.begin(), place, sorted.end());
        return *place;
    }

private:
    std::vector<nanoseconds> values_;
};

/// Runs `body` on `loop`, on the calling thread, until the loop has nothing left to do. Gives what
/// it gives.
template <class T>
T blocking_run(boost::asio::io_context& loop, awaitable<T> body)
{
    std::exception_ptr problem;
    loop.restart();
    if constexpr (std::is_void_v<T>) {
        auto finish = [&](std::exception_ptr failure) { problem = std::move(failure); };
        boost::asio::co_spawn(loop, std::move(body), std::move(finish));
        loop.run();
        if (problem) std::rethrow_exception(problem);
    } else {
        std::optional<T> result;
        auto finish = [&](std::exception_ptr failure, T value) {
            problem = std::move(failure);
            result = std::move(value);
        };
        boost::asio::co_spawn(loop, std::move(body), std::move(finish));
        loop.run();
        if (problem) std::rethrow_exception(problem);
        return std::move(*result);
    }
}

/// Runs `work()` on so many threads, which begin together. Gives how long each took on average.
template <class Work>
nanoseconds blocking_on_threads(std::size_t n_threads, Work work)
{
    std::latch ready{static_cast<std::ptrdiff_t>(n_threads)};
    std::vector<nanoseconds> took(n_threads);
    std::vector<std::thread> threads;
    threads.reserve(n_threads);
    for (nanoseconds& mine : took)
        threads.emplace_back([&] {
            ready.arrive_and_wait();
            const auto begun = stopwatch::now();
            work();
            mine = since(begun);
        });
    for (std::thread& one : threads)
        one.join();
    nanoseconds sum{0};
    for (const nanoseconds one : took)
        sum += one;
    return sum / static_cast<nanoseconds::rep>(n_threads);
}

/// Keeps the calling thread on one core, for its own life; threads that it starts meanwhile stay
/// where it then was. Where a scheduler puts two threads that talk to each other decides more than
/// anything else how long they take, so that trips are compared between the same cores.
class bound_thread {
public:
    /// Moves to the core of that number, among those that the process may use; the last one where
    /// there are fewer.
    explicit bound_thread(std::size_t core)
        : before_{affinity()}
    {
        move_to(core);
    }
    bound_thread(const bound_thread&) = delete;
    bound_thread& operator=(const bound_thread&) = delete;
    bound_thread(bound_thread&&) = delete;
    bound_thread& operator=(bound_thread&&) = delete;
    ~bound_thread() { ::sched_setaffinity(0, sizeof before_, &before_); }

    void move_to(std::size_t core)
    {
        std::size_t found = 0;
        for (std::size_t cpu = 0, n_seen = 0; cpu < CPU_SETSIZE && n_seen <= core; ++cpu) {
            if (!CPU_ISSET(cpu, &before_)) continue;
            found = cpu;
            ++n_seen;
        }
        cpu_set_t only;
        CPU_ZERO(&only);
        CPU_SET(found, &only);
        if (::sched_setaffinity(0, sizeof only, &only) != 0)
            throw std::system_error{errno, std::generic_category(), "sched_setaffinity"};
    }

private:
    static cpu_set_t affinity()
    {
        cpu_set_t found;
        if (::sched_getaffinity(0, sizeof found, &found) != 0)
            throw std::system_error{errno, std::generic_category(), "sched_getaffinity"};
        return found;
    }

    cpu_set_t before_;
};

/// Keeps one core busy for so long.
inline void blocking_compute(nanoseconds duration)
{
    const auto until = stopwatch::now() + duration;
    while (stopwatch::now() < until) {
    }
}

/// Time of all cores that this process has used.
inline nanoseconds process_cpu_time()
{
    timespec used{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return std::chrono::seconds{used.tv_sec} + nanoseconds{used.tv_nsec};
}

/// Bytes that this process has allocated and not freed.
inline std::size_t heap_bytes()
{
    const auto heap = ::mallinfo2();
    return heap.uordblks + heap.hblkhd;
}

/// How often each thread of this process, but the calling one, has gone to sleep by itself so far:
/// by thread id, from /proc/self/task/*/status.
inline std::map<std::string, std::uint64_t> count_sleeps()
{
    constexpr std::string_view field = "voluntary_ctxt_switches:";
    const std::string self = std::to_string(::gettid());
    std::map<std::string, std::uint64_t> counts;
    for (const auto& task : std::filesystem::directory_iterator{"/proc/self/task"}) {
        const std::string id = task.path().filename().string();
        if (id == self) continue;
        std::ifstream status{task.path() / "status"};
        for (std::string line; std::getline(status, line);) {
            if (!line.starts_with(field)) continue;
            const std::size_t digits = line.find_first_of("0123456789");
            if (digits == std::string::npos) continue;
            std::from_chars(line.data() + digits, line.data() + line.size(), counts[id]);
        }
    }
    return counts;
}

}  // namespace modelpool::bench
