#include <modelpool/hub/hub.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <chrono>
#include <exception>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "child.hpp"
#include "fake_hub.hpp"
#include "support/temp_dir.hpp"

namespace modelpool {
namespace {

using std::chrono::milliseconds;
using testing::blobs_in;
using testing::child;
using testing::connection;
using testing::fake_hub;
using testing::noise;
using testing::read_all;
using testing::seen_request;
using testing::temp_dir;
namespace fs = std::filesystem;

// A sharded model whose every connection is slow, so that a kill comes in the middle.
class slow_model {
public:
    slow_model(
        std::size_t n_shards, std::size_t shard_bytes, std::size_t n_small, milliseconds pause)
        : pause_{pause}
    {
        for (std::size_t i = 0; i < n_shards; ++i) {
            shards_.push_back(noise(shard_bytes, static_cast<unsigned>(i + 1)));
            const std::string path = "model-" + std::to_string(i) + ".safetensors";
            server.add(path, shards_.back(), true);
            place_of_[server.name_of(path)] = i;
        }
        for (std::size_t i = 0; i < n_small; ++i)
            server.add("small/" + std::to_string(i) + ".json", "{\"n\":" + std::to_string(i) + "}");
        server.on_cdn([this](const seen_request& asked, connection& peer) {
            serve(asked, peer);
            return true;
        });
        n_files_ = n_shards + n_small;
        n_bytes_ = n_shards * shard_bytes;
    }

    std::uint64_t n_bytes() const noexcept { return n_bytes_; }
    fs::path blobs() const { return dir / "cache/models--org--model/blobs"; }

    bool complete() const
    {
        const std::vector<std::string> names = blobs_in(dir);
        const auto is_partial = [](const std::string& name) {
            return name.ends_with(".incomplete") || name.ends_with(".tmp");
        };
        return names.size() == n_files_ && std::none_of(names.begin(), names.end(), is_partial);
    }
    // Whatever has a blob's name has a blob's bytes, at any moment.
    void check_blobs() const
    {
        for (const std::string& name : blobs_in(dir)) {
            if (name.find('.') != std::string::npos) continue;
            INFO(name);
            const auto place = place_of_.find(name);
            CHECK(
                read_all(blobs() / name) ==
                (place == place_of_.end() ? server.content(name) : shards_[place->second]));
        }
    }

    fake_hub server;
    temp_dir dir;

private:
    void serve(const seen_request& asked, connection& peer) const
    {
        constexpr std::size_t block_bytes = 64 << 10U;
        const std::string_view body = shards_[place_of_.at(asked.path().substr(5))];
        const auto [begin, end] = asked.range(body.size());
        peer.keep_little_unsent(block_bytes);
        peer.head(
            206,
            "Content-Range: bytes " + std::to_string(begin) + "-" + std::to_string(end - 1) + "/" +
                std::to_string(body.size()) + "\r\nContent-Length: " + std::to_string(end - begin) +
                "\r\n");
        for (std::size_t at = begin; at < end; at += block_bytes) {
            if (!peer.send(body.substr(at, std::min(block_bytes, end - at)))) return peer.close();
            std::this_thread::sleep_for(pause_);
        }
    }

    milliseconds pause_;  // after each block
    std::vector<std::string> shards_;
    std::map<std::string, std::size_t> place_of_;
    std::size_t n_files_{0};
    std::uint64_t n_bytes_{0};
};

// Kills a fetching process at `n_kills` moments; after each the next goes on, and begins anew once
// all is there. What was fetched stays fetched: little more than the model's bytes is sent.
void kill_and_resume(slow_model& test, int n_kills)
{
    // What a kill may cost: what came since the journal was written, and what is between the two
    // programs.
    constexpr std::uint64_t lost_by_a_kill = std::uint64_t{8} << 20U;
    std::mt19937 dice{7};
    std::uint64_t n_models = 1;
    for (int i = 0; i < n_kills; ++i) {
        child one{test.server, test.dir};
        std::this_thread::sleep_for(milliseconds{30 + dice() % 700});
        one.kill();
        one.wait();
        if (!test.complete()) continue;
        test.check_blobs();
        fs::remove_all(test.dir / "cache");
        ++n_models;
    }
    child last{test.server, test.dir};
    CHECK(last.wait());
    test.check_blobs();
    CHECK(test.complete());
    const auto n_killed = static_cast<std::uint64_t>(n_kills);
    CHECK(test.server.cdn.n_sent() < n_models * test.n_bytes() + n_killed * lost_by_a_kill);
}

// Fetches, and cancels after `time`; gives how long the caller then had to wait.
std::chrono::duration<double, std::milli> fetch_and_cancel(hub& files, milliseconds time)
{
    using clock = std::chrono::steady_clock;
    boost::asio::io_context io;
    boost::asio::cancellation_signal signal;
    clock::time_point left;
    clock::time_point cancelled = clock::time_point::max();
    boost::asio::steady_timer alarm{io, time};
    boost::asio::co_spawn(
        io,
        files.fetch("org/model"),
        boost::asio::bind_cancellation_slot(
            signal.slot(), [&](const std::exception_ptr&, const snapshot&) {
                left = clock::now();
                alarm.cancel();
            }));
    alarm.async_wait([&](boost::system::error_code ended) {
        if (ended) return;
        cancelled = clock::now();
        signal.emit(boost::asio::cancellation_type::terminal);
    });
    io.run();
    return std::max(left - cancelled, clock::duration{0});
}

}  // namespace

TEST_CASE(
    "hub: a fetch that is cancelled at any moment leaves at once and loses nothing", "[.slow]")
{
    slow_model test{4, 20'000'000, 10, milliseconds{15}};
    hub_options options;
    options.cache_dir(test.dir / "cache").endpoint(test.server.hub.url());
    hub files{options};
    std::mt19937 dice{7};
    std::vector<double> waits_ms;
    for (int i = 0; i < 60; ++i)
        waits_ms.push_back(fetch_and_cancel(files, milliseconds{5 + dice() % 400}).count());
    std::sort(waits_ms.begin(), waits_ms.end());
    INFO("longest " << waits_ms.back() << " ms");
    CHECK(waits_ms[waits_ms.size() / 2] < 50);
    CHECK(testing::run_hub(files.fetch("org/model")).files().size() == 14);
    test.check_blobs();
    CHECK(test.complete());
    CHECK(test.server.cdn.n_sent() < test.n_bytes() + 61 * (std::uint64_t{16} << 20U));
}

TEST_CASE("hub: a fetch that is killed at any moment is gone on with")
{
    slow_model test{3, 36'000'000, 10, milliseconds{15}};
    kill_and_resume(test, 20);
}

TEST_CASE(
    "hub: a fetch of a gibibyte that is killed at two hundred moments is gone on with", "[.slow]")
{
    slow_model test{16, std::size_t{64} << 20U, 40, milliseconds{60}};
    kill_and_resume(test, 200);
}

}  // namespace modelpool
