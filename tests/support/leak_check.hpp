#pragma once

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <iterator>
#include <thread>

namespace modelpool::testing {

/// Base of whatever a test must not leave behind: counts the objects alive.
class counted {
public:
    counted() { n_alive().fetch_add(1); }
    counted(const counted&) { n_alive().fetch_add(1); }
    counted(counted&&) noexcept { n_alive().fetch_add(1); }
    counted& operator=(const counted&) = default;
    counted& operator=(counted&&) noexcept = default;
    ~counted() { n_alive().fetch_sub(1); }

    static std::atomic<long>& n_alive()
    {
        static std::atomic<long> n{0};
        return n;
    }
};

/// Remembers the threads and objects there are; requires later that no more are left.
class leak_check {
public:
    void require() const
    {
        CHECK(counted::n_alive().load() == n_alive_);
        // A joined thread may show for a moment more.
        for (int i = 0; i < 2000 && n_threads() > n_threads_; ++i)
            std::this_thread::sleep_for(std::chrono::milliseconds{1});
        CHECK(n_threads() <= n_threads_);
    }

private:
    static std::ptrdiff_t n_threads()
    {
        // A sanitizer starts a thread of its own beside the first one of the program.
        static const bool first_done = [] {
            std::thread{[] {}}.join();
            return true;
        }();
        static_cast<void>(first_done);
        const std::filesystem::directory_iterator tasks{"/proc/self/task"};
        return std::distance(begin(tasks), end(tasks));
    }

    const long n_alive_{counted::n_alive().load()};
    const std::ptrdiff_t n_threads_{n_threads()};
};

}  // namespace modelpool::testing
