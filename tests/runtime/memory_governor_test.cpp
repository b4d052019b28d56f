#include <modelpool/runtime/memory_governor.hpp>

#include <catch2/catch.hpp>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/failure.hpp"
#include "support/temp_dir.hpp"

namespace modelpool {
namespace {

using testing::failure;

constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t gib = std::uint64_t{1} << 30U;

TEST_CASE("memory_governor: gives no more than its limit", "[runtime]")
{
    memory_governor memory{100};
    CHECK(memory.limit_bytes() == 100);
    const reservation a = memory.reserve(60, "a");
    CHECK(a.bytes() == 60);
    CHECK(memory.available_bytes() == 40);
    CHECK_FALSE(memory.try_reserve(41, "b").has_value());
    const std::optional<reservation> b = memory.try_reserve(40, "b");
    REQUIRE(b);
    CHECK(memory.available_bytes() == 0);
    CHECK(memory.reserved_bytes() == 100);
    CHECK(memory.try_reserve(0, "c").has_value());
}

TEST_CASE("memory_governor: amounts near the largest number do not wrap", "[runtime]")
{
    memory_governor memory{100};
    reservation a = memory.reserve(60, "a");
    CHECK_FALSE(memory.try_reserve(most, "b").has_value());
    CHECK_FALSE(memory.try_reserve(most - 59, "b").has_value());
    CHECK_FALSE(a.try_resize(most));
    CHECK(a.bytes() == 60);
    memory_governor large{most};
    const reservation all = large.reserve(most, "all");
    CHECK(large.available_bytes() == 0);
    CHECK_FALSE(large.try_reserve(1, "more").has_value());
}

TEST_CASE("memory_governor: bytes come back exactly once", "[runtime]")
{
    memory_governor memory{100};
    {
        reservation a = memory.reserve(30, "a");
        reservation moved = std::move(a);
        CHECK(a.bytes() == 0);  // NOLINT(bugprone-use-after-move): a moved-from one is empty
        CHECK_FALSE(a);
        CHECK(moved.bytes() == 30);
        a.release();
        CHECK(memory.reserved_bytes() == 30);
        moved.release();
        moved.release();
        CHECK(memory.reserved_bytes() == 0);
    }
    CHECK(memory.reserved_bytes() == 0);
    reservation b = memory.reserve(10, "b");
    b = memory.reserve(20, "b");
    CHECK(memory.reserved_bytes() == 20);
}

TEST_CASE("memory_governor: a reservation may outlive its governor", "[runtime]")
{
    auto memory = std::make_unique<memory_governor>(100);
    reservation a = memory->reserve(30, "a");
    memory.reset();
    CHECK(a.try_resize(100));
    CHECK_FALSE(a.try_resize(101));
}

TEST_CASE("memory_governor: reservations are resized, split and put together", "[runtime]")
{
    memory_governor memory{100};
    reservation a = memory.reserve(50, "a");
    CHECK(a.try_resize(70));
    CHECK(memory.reserved_bytes() == 70);
    CHECK_FALSE(a.try_resize(101));
    CHECK(memory.reserved_bytes() == 70);
    CHECK(a.try_resize(40));
    reservation part = a.split(15);
    CHECK(part.bytes() == 15);
    CHECK(a.bytes() == 25);
    CHECK(memory.reserved_bytes() == 40);
    a.absorb(std::move(part));
    CHECK(a.bytes() == 40);
    CHECK_FALSE(part);  // NOLINT(bugprone-use-after-move)
    reservation none;
    CHECK(none.try_resize(0));
    CHECK_FALSE(none.try_resize(1));
    CHECK(none.split(0).bytes() == 0);
    none.absorb(std::move(a));
    CHECK(none.bytes() == 40);
    none.absorb(reservation{});
    CHECK(none.bytes() == 40);
    CHECK(memory.reserved_bytes() == 40);
}

TEST_CASE(
    "memory_governor: its refusal says how much, how little is left, and who has it", "[runtime]")
{
    memory_governor memory{3 * gib};
    const reservation a = memory.reserve(gib, "model 'a' worker 1");
    const reservation b = memory.reserve(gib / 2, "model 'b' worker 7");
    const reservation c = memory.reserve(gib, "model 'b' worker 7");
    const std::string said =
        failure(pool_errc::memory_exhausted, [&] { memory.reserve(2 * gib, "model 'c'"); });
    CHECK(
        said ==
        "the memory budget has no room for model 'c': 2.0 GiB requested, 512.0 MiB of 3.0 GiB "
        "available; held by model 'b' worker 7 (1.5 GiB), model 'a' worker 1 (1.0 GiB)");
    const std::vector<memory_use> holders = memory.holders();
    REQUIRE(holders.size() == 2);
    CHECK(holders[0].bytes == gib + gib / 2);
    CHECK(holders[1].holder == "model 'a' worker 1");
}

TEST_CASE("memory_governor: a long list of holders is cut", "[runtime]")
{
    memory_governor memory{100};
    std::vector<reservation> all;
    for (int i = 0; i < 12; ++i)
        all.push_back(memory.reserve(1, "holder " + std::to_string(i)));
    const std::string said = memory.exhausted(1000, "x").what();
    CHECK(said.find("and 4 more") != std::string::npos);
}

TEST_CASE("memory_governor: who waits hears of every change", "[runtime]")
{
    memory_governor memory{100};
    std::optional<reservation> a{memory.reserve(100, "a")};
    const std::uint64_t seen = memory.n_changes();
    std::thread giver{[&] { a.reset(); }};
    memory.blocking_wait_for_change(seen);
    giver.join();
    CHECK(memory.available_bytes() == 100);
    const std::uint64_t again = memory.n_changes();
    memory.interrupt();
    CHECK(memory.n_changes() != again);
    memory.blocking_wait_for_change(again);  // at once
}

TEST_CASE("memory_governor: bytes about to come back are known", "[runtime]")
{
    memory_governor memory{100};
    reservation a = memory.reserve(60, "a");
    CHECK(memory.releasing_bytes() == 0);
    a.announce_release();
    CHECK(memory.releasing_bytes() == 60);
    reservation part = a.split(20);
    CHECK(memory.releasing_bytes() == 60);
    part.release();
    CHECK(memory.releasing_bytes() == 40);
    a.release();
    CHECK(memory.releasing_bytes() == 0);
    reservation{}.announce_release();
}

TEST_CASE("memory_governor: threads that reserve and release never overdraw it", "[runtime]")
{
    memory_governor memory{10};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
        threads.emplace_back([&] {
            for (int i = 0; i < 500; ++i) {
                std::optional<reservation> mine = memory.try_reserve(4, "t");
                if (mine && mine->try_resize(6)) mine->split(3).release();
            }
        });
    for (std::thread& one : threads)
        one.join();
    CHECK(memory.reserved_bytes() == 0);
    CHECK(memory.holders().empty());
}

TEST_CASE("memory_governor: bytes are worded in the unit that suits them", "[runtime]")
{
    CHECK(bytes_text(0) == "0 bytes");
    CHECK(bytes_text(1023) == "1023 bytes");
    CHECK(bytes_text(1024) == "1.0 KiB");
    CHECK(bytes_text(gib + gib / 2) == "1.5 GiB");
    CHECK(bytes_text(384U << 20U) == "384.0 MiB");
    CHECK(bytes_text(most) == "16777216.0 TiB");
}

TEST_CASE(
    "memory_governor: the default budget leaves room, but never less than a quarter", "[runtime]")
{
    CHECK(default_memory_limit_bytes(100 * gib) == 78 * gib);
    CHECK(default_memory_limit_bytes(10 * gib) == 6 * gib);
    CHECK(default_memory_limit_bytes(3 * gib) == 3 * gib / 4);
    CHECK(default_memory_limit_bytes(2 * gib) == gib / 2);
    CHECK(default_memory_limit_bytes(gib) == gib / 4);
    CHECK(default_memory_limit_bytes(0) == 0);
    CHECK(default_memory_limit_bytes(most) > most / 2);
}

/// A machine as its files under /proc and /sys describe it.
class fake_machine {
public:
    void write(const std::string& path, const std::string& text) const
    {
        const std::filesystem::path file = dir_.path() / path;
        std::filesystem::create_directories(file.parent_path());
        std::ofstream{file} << text;
    }
    std::uint64_t memory() const { return blocking_machine_memory_bytes(dir_.path().string()); }

private:
    testing::temp_dir dir_;
};

const char* const eight_gib = "MemTotal:        8388608 kB\nMemFree:         1000 kB\n";

TEST_CASE("memory_governor: without control groups the machine's memory counts", "[runtime]")
{
    const fake_machine machine;
    CHECK(machine.memory() == most);  // nothing known
    machine.write("proc/meminfo", eight_gib);
    CHECK(machine.memory() == 8 * gib);
}

TEST_CASE("memory_governor: version 2 control groups, the parents' limits included", "[runtime]")
{
    const fake_machine machine;
    machine.write("proc/meminfo", eight_gib);
    machine.write("proc/self/cgroup", "0::/user.slice/app.scope\n");
    machine.write("sys/fs/cgroup/user.slice/app.scope/memory.max", "max\n");
    CHECK(machine.memory() == 8 * gib);
    machine.write("sys/fs/cgroup/user.slice/memory.max", std::to_string(3 * gib) + "\n");
    CHECK(machine.memory() == 3 * gib);
    machine.write("sys/fs/cgroup/user.slice/app.scope/memory.max", std::to_string(2 * gib) + "\n");
    CHECK(machine.memory() == 2 * gib);
    machine.write("sys/fs/cgroup/memory.max", std::to_string(gib) + "\n");
    CHECK(machine.memory() == gib);
}

TEST_CASE("memory_governor: a container that sees its group as the root", "[runtime]")
{
    const fake_machine machine;
    machine.write("proc/meminfo", eight_gib);
    machine.write("proc/self/cgroup", "0::/\n");
    machine.write("sys/fs/cgroup/memory.max", std::to_string(gib) + "\n");
    CHECK(machine.memory() == gib);
}

TEST_CASE("memory_governor: version 1 control groups", "[runtime]")
{
    const fake_machine machine;
    machine.write("proc/meminfo", eight_gib);
    machine.write(
        "proc/self/cgroup",
        "12:cpu,cpuacct:/docker/abc\n4:hugetlb,memory:/docker/abc\n1:name=systemd:/docker/abc\n");
    machine.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    CHECK(machine.memory() == 8 * gib);
    machine.write(
        "sys/fs/cgroup/memory/docker/memory.limit_in_bytes", std::to_string(5 * gib) + "\n");
    CHECK(machine.memory() == 5 * gib);
    machine.write(
        "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", std::to_string(4 * gib) + "\n");
    CHECK(machine.memory() == 4 * gib);
}

TEST_CASE("memory_governor: malformed system files are no limit", "[runtime]")
{
    const fake_machine machine;
    machine.write("proc/meminfo", "nonsense\nMemTotal: many kB\n");
    machine.write("proc/self/cgroup", "::\n:\n\n0:\nno colons\n0::relative\n");
    machine.write("sys/fs/cgroup/memory.max", "lots\n");
    CHECK(machine.memory() == most);
}

TEST_CASE("memory_governor: this very machine has some memory", "[runtime]")
{
    CHECK(blocking_machine_memory_bytes() > 0);
    CHECK(blocking_machine_memory_bytes() < most);
}

}  // namespace
}  // namespace modelpool
