#include <modelpool/runtime/device_info.hpp>

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/failure.hpp"

namespace modelpool {
namespace {

using testing::failure;

constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();

/// Knows the CUDA devices it is given.
class fake_devices final : public device_info {
public:
    explicit fake_devices(std::map<int, std::uint64_t> free)
        : free_{std::move(free)}
    {}

    std::uint64_t free_bytes(const device& where) const override
    {
        n_asked.fetch_add(1);
        const auto found = free_.find(where.index());
        if (found == free_.end())
            throw error{errc::unsupported, "there is no device " + where.str()};
        return found->second;
    }

    mutable std::atomic<int> n_asked{0};

private:
    std::map<int, std::uint64_t> free_;
};

TEST_CASE("device_table: the cpu has the host's budget", "[runtime]")
{
    device_table table{1000, nullptr};
    memory_governor& memory = table.memory(device{});
    CHECK(memory.limit_bytes() == 1000);
    CHECK(&memory == &table.memory(device::parse("cpu")));
}

TEST_CASE("device_table: a CUDA device's budget is nine tenths of what is free", "[runtime]")
{
    const fake_devices devices{{{0, 1000}, {1, 19}, {2, most}, {3, 0}}};
    device_table table{5, &devices};
    CHECK(table.memory(device::cuda(0)).limit_bytes() == 900);
    CHECK(table.memory(device::cuda(1)).limit_bytes() == 17);
    CHECK(table.memory(device::cuda(2)).limit_bytes() == most / 10 * 9 + 4);
    CHECK(table.memory(device::cuda(3)).limit_bytes() == 0);
    CHECK(table.memory(device{}).limit_bytes() == 5);
}

TEST_CASE("device_table: asks once, at first use, and budgets stay where they are", "[runtime]")
{
    const fake_devices devices{{{0, 1000}, {1, 2000}, {7, 3000}}};
    device_table table{5, &devices};
    CHECK(devices.n_asked == 0);
    memory_governor& first = table.memory(device::cuda(7));
    CHECK(devices.n_asked == 1);
    const reservation some = first.reserve(100, "a");
    table.memory(device::cuda(0));
    table.memory(device::cuda(1));
    CHECK(&table.memory(device::cuda(7)) == &first);
    CHECK(devices.n_asked == 3);
    CHECK(table.memory(device::cuda(7)).reserved_bytes() == 100);
    CHECK(table.memory(device::cuda(0)).reserved_bytes() == 0);
}

TEST_CASE("device_table: without a provider there is only the cpu", "[runtime]")
{
    device_table table{1000, nullptr};
    const std::string said = failure(errc::unsupported, [&] { table.memory(device::cuda(1)); });
    CHECK(said.find("cuda:1") != std::string::npos);
    CHECK(said.find("device_info") != std::string::npos);
    CHECK(table.stats().size() == 1);
}

TEST_CASE("device_table: a device that is not there leaves nothing behind", "[runtime]")
{
    const fake_devices devices{{{0, 1000}}};
    device_table table{1000, &devices};
    CHECK(failure(errc::unsupported, [&] {
              table.memory(device::cuda(4));
          }) == "there is no device cuda:4");
    CHECK(table.stats().size() == 1);
    CHECK_FALSE(table.lost(device::cuda(4)));
}

TEST_CASE("device_table: a lost device is lost until it is revived", "[runtime]")
{
    const fake_devices devices{{{0, 1000}, {1, 1000}}};
    device_table table{1000, &devices};
    memory_governor& memory = table.memory(device::cuda(0));
    const reservation held = memory.reserve(10, "a");
    CHECK_FALSE(table.lost(device::cuda(0)));
    table.mark_lost(device::cuda(0));
    table.mark_lost(device::cuda(0));
    CHECK(table.lost(device::cuda(0)));
    CHECK_FALSE(table.lost(device::cuda(1)));
    CHECK(&table.memory(device::cuda(0)) == &memory);
    table.revive(device::cuda(0));
    CHECK_FALSE(table.lost(device::cuda(0)));
    CHECK(table.memory(device::cuda(0)).reserved_bytes() == 10);
    table.revive(device::cuda(1));
    CHECK_FALSE(table.lost(device::cuda(1)));
}

TEST_CASE("device_table: the cpu cannot be lost", "[runtime]")
{
    device_table table{1000, nullptr};
    table.mark_lost(device{});
    CHECK_FALSE(table.lost(device{}));
    CHECK_FALSE(table.stats().front().lost);
    table.revive(device{});
    CHECK(table.stats().size() == 1);
}

TEST_CASE("device_table: its figures name every device, its holders, and what is lost", "[runtime]")
{
    const fake_devices devices{{{0, 1000}, {2, 2000}}};
    device_table table{5000, &devices};
    const reservation a = table.memory(device{}).reserve(3, "small");
    const reservation b = table.memory(device{}).reserve(70, "large");
    const reservation c = table.memory(device::cuda(2)).reserve(400, "card");
    table.mark_lost(device::cuda(2));
    table.mark_lost(device::cuda(1));  // never asked for
    table.memory(device::cuda(0));
    const std::vector<device_memory_stats> all = table.stats();
    REQUIRE(all.size() == 4);
    CHECK(all[0].device == "cpu");
    CHECK(all[0].limit_bytes == 5000);
    CHECK(all[0].reserved_bytes == 73);
    REQUIRE(all[0].holders.size() == 2);
    CHECK(all[0].holders[0].holder == "large");
    CHECK(all[0].holders[1].bytes == 3);
    CHECK(all[1].device == "cuda:0");
    CHECK(all[1].limit_bytes == 900);
    CHECK(all[1].reserved_bytes == 0);
    CHECK_FALSE(all[1].lost);
    CHECK(all[2].device == "cuda:1");
    CHECK(all[2].limit_bytes == 0);
    CHECK(all[2].lost);
    CHECK(all[3].device == "cuda:2");
    CHECK(all[3].reserved_bytes == 400);
    CHECK(all[3].lost);
    table.revive(device::cuda(1));
    CHECK(table.stats().size() == 3);
}

/// Has ever more memory, and answers none of the first two before the other has asked too.
class slow_devices final : public device_info {
public:
    std::uint64_t free_bytes(const device&) const override
    {
        using namespace std::chrono_literals;
        const int nth = n_asked_.fetch_add(1) + 1;
        for (int i = 0; i < 5000 && n_asked_.load() < 2; ++i)
            std::this_thread::sleep_for(1ms);
        return static_cast<std::uint64_t>(nth) * 1000;
    }
    int n_asked() const { return n_asked_.load(); }

private:
    mutable std::atomic<int> n_asked_{0};
};

TEST_CASE("device_table: threads that ask at once get one budget", "[runtime]")
{
    const slow_devices devices;
    device_table table{1000, &devices};
    std::vector<memory_governor*> got(2);
    std::vector<std::thread> threads;
    for (memory_governor*& mine : got)
        threads.emplace_back([&table, &mine] { mine = &table.memory(device::cuda(0)); });
    for (std::thread& one : threads)
        one.join();
    CHECK(devices.n_asked() == 2);
    CHECK(got[0] == got[1]);
    CHECK(&table.memory(device::cuda(0)) == got[0]);
    CHECK(devices.n_asked() == 2);
}

TEST_CASE("device_table: threads may use it at once", "[runtime]")
{
    const fake_devices devices{{{0, 1000}, {1, 1000}}};
    device_table table{1000, &devices};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
        threads.emplace_back([&table, t] {
            for (int i = 0; i < 200; ++i) {
                const device mine = device::cuda(t % 2);
                const auto held = table.memory(mine).try_reserve(10, "t");
                table.mark_lost(mine);
                static_cast<void>(table.lost(mine));
                static_cast<void>(table.stats());
                table.revive(mine);
            }
        });
    for (std::thread& one : threads)
        one.join();
    for (const device_memory_stats& one : table.stats()) {
        CHECK(one.reserved_bytes == 0);
        CHECK_FALSE(one.lost);
    }
}

}  // namespace
}  // namespace modelpool
