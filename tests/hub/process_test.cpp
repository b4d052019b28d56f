#include <modelpool/hub/hub.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "child.hpp"
#include "fake_hub.hpp"
#include "support/async_test.hpp"
#include "support/cancel_sweep.hpp"
#include "support/failure.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

namespace modelpool {
namespace {

using Catch::Matchers::Contains;
using std::chrono::milliseconds;
using testing::blobs_in;
using testing::child;
using testing::connection;
using testing::failure;
using testing::fake_hub;
using testing::noise;
using testing::quick_options;
using testing::read_all;
using testing::run_hub;
using testing::seen_request;
using testing::temp_dir;
namespace fs = std::filesystem;

// A server whose large file takes about a second.
struct slow_file {
    explicit slow_file(std::size_t n_bytes = 24'000'000, milliseconds pause = milliseconds{10})
    {
        body = noise(n_bytes);
        server.add("model.bin", body, true);
        server.on_cdn([this, pause](const seen_request& asked, connection& peer) {
            const auto [begin, end] = asked.range(body.size());
            peer.head(
                206,
                "Content-Range: bytes " + std::to_string(begin) + "-" + std::to_string(end - 1) +
                    "/" + std::to_string(body.size()) +
                    "\r\nContent-Length: " + std::to_string(end - begin) + "\r\n");
            for (std::size_t at = begin; at < end; at += 200'000) {
                if (!peer.send(std::string_view{body}.substr(
                        at, std::min<std::size_t>(200'000, end - at)))) {
                    peer.close();
                    return true;
                }
                std::this_thread::sleep_for(pause);
            }
            return true;
        });
    }
    void check() const
    {
        const std::string name = server.name_of("model.bin");
        CHECK(read_all(dir / ("cache/models--org--model/blobs/" + name)) == body);
        CHECK(blobs_in(dir) == std::vector<std::string>{name});
    }

    std::string body;
    fake_hub server;
    temp_dir dir;
};

}  // namespace

TEST_CASE("hub child: fetches what the environment names", "[.child]")
{
    if (const char* const user = std::getenv("MODELPOOL_TEST_USER")) {
        // Where this is not root it is another user already.
        const auto id = static_cast<uid_t>(std::atoi(user));
        if (::geteuid() == 0) REQUIRE(::setresuid(id, id, id) == 0);
    }
    if (const char* const place = std::getenv("MODELPOOL_TEST_LOOK")) {
        REQUIRE(::access(place, R_OK | X_OK) == 0);
        return;
    }
    hub files{hub_options::from_environment().retry_delay(milliseconds{1}, milliseconds{20})};
    CHECK_FALSE(run_hub(files.fetch("org/model")).files().empty());
}

TEST_CASE("hub: after a kill only what is missing is asked for")
{
    slow_file test;
    {
        child one{test.server, test.dir};
        while (test.server.cdn.n_sent() < 15'000'000)
            std::this_thread::sleep_for(milliseconds{5});
        one.kill();
        one.wait();
    }
    test.server.cdn.forget();
    child last{test.server, test.dir};
    CHECK(last.wait());
    test.check();
    CHECK(test.server.cdn.n_sent() < 16'000'000);
}

TEST_CASE("hub: eight processes that want one file download it once")
{
    slow_file test{12'000'000, milliseconds{1}};
    {
        std::vector<std::unique_ptr<child>> all;
        for (int i = 0; i < 8; ++i)
            all.push_back(std::make_unique<child>(test.server, test.dir));
        for (auto& one : all)
            CHECK(one->wait());
    }
    test.check();
    CHECK(test.server.cdn.n_sent() < test.body.size() + test.body.size() / 10);
}

TEST_CASE("hub: the callers of one process share one download")
{
    slow_file test;
    hub files{quick_options(test.server, test.dir)};
    std::vector<std::thread> threads;
    std::atomic<int> n_good{0};
    for (int i = 0; i < 8; ++i)
        threads.emplace_back([&] {
            if (run_hub(files.fetch("org/model")).files().size() == 1) ++n_good;
        });
    for (std::thread& one : threads)
        one.join();
    CHECK(n_good == 8);
    test.check();
    CHECK(test.server.cdn.n_sent() < test.body.size() + test.body.size() / 10);
}

TEST_CASE("hub: a cancelled fetch leaves at once, and the next goes on where it stopped")
{
    slow_file test;
    hub files{quick_options(test.server, test.dir)};
    boost::asio::io_context io;
    boost::asio::cancellation_signal signal;
    boost::system::error_code code;
    std::chrono::steady_clock::time_point cancelled;
    std::chrono::steady_clock::time_point left;
    boost::asio::co_spawn(
        io,
        files.fetch("org/model"),
        boost::asio::bind_cancellation_slot(
            signal.slot(), [&](std::exception_ptr problem, const snapshot&) {
                left = std::chrono::steady_clock::now();
                try {
                    if (problem) std::rethrow_exception(problem);
                } catch (const error& seen) {
                    code = seen.code();
                }
            }));
    boost::asio::steady_timer alarm{io};
    const std::function<void(boost::system::error_code)> look = [&](boost::system::error_code) {
        if (test.server.cdn.n_sent() < 2'000'000) {
            alarm.expires_after(milliseconds{5});
            alarm.async_wait(look);
            return;
        }
        cancelled = std::chrono::steady_clock::now();
        signal.emit(boost::asio::cancellation_type::terminal);
    };
    look({});
    io.run();
    CHECK(code == boost::asio::error::operation_aborted);
    CHECK(left - cancelled < milliseconds{500});
    const std::uint64_t before = test.server.cdn.n_sent();
    CHECK(before > 0);
    CHECK(run_hub(files.fetch("org/model")).files().size() == 1);
    test.check();
    CHECK(test.server.cdn.n_sent() < test.body.size() + 12'000'000);
}

TEST_CASE("hub: a fetch that waits for another process is cancelled at once")
{
    fake_hub server;
    server.add("model.bin", noise(2'000'000), true);
    const temp_dir dir;
    const fs::path lock =
        dir.write("cache/.locks/models--org--model/" + server.name_of("model.bin") + ".lock", "");
    const int fd = ::open(lock.c_str(), O_RDWR | O_CLOEXEC);
    REQUIRE(::flock(fd, LOCK_EX) == 0);
    std::atomic<bool> waits{false};
    hub files{quick_options(server, dir).log([&](log_level, std::string_view line) {
        if (line.find("waiting for another process") != std::string_view::npos) waits = true;
    })};
    boost::asio::io_context io;
    boost::asio::cancellation_signal signal;
    boost::system::error_code code;
    boost::asio::co_spawn(
        io,
        files.fetch("org/model"),
        boost::asio::bind_cancellation_slot(
            signal.slot(), [&](std::exception_ptr problem, const snapshot&) {
                try {
                    if (problem) std::rethrow_exception(problem);
                } catch (const error& seen) {
                    code = seen.code();
                }
            }));
    boost::asio::steady_timer alarm{io};
    const std::function<void(boost::system::error_code)> look = [&](boost::system::error_code) {
        if (waits) return signal.emit(boost::asio::cancellation_type::terminal);
        alarm.expires_after(milliseconds{5});
        alarm.async_wait(look);
    };
    look({});
    io.run();
    CHECK(code == boost::asio::error::operation_aborted);
    CHECK(server.cdn.n_seen() == 0);
    ::close(fd);
    CHECK(run_hub(files.fetch("org/model")).files().size() == 1);
}

TEST_CASE("hub: the download goes on for the others when the first caller leaves")
{
    slow_file test;
    hub files{quick_options(test.server, test.dir)};
    boost::asio::io_context io;
    boost::asio::cancellation_signal signal;
    bool aborted = false;
    boost::asio::co_spawn(
        io,
        files.fetch("org/model"),
        boost::asio::bind_cancellation_slot(
            signal.slot(),
            [&](std::exception_ptr problem, const snapshot&) { aborted = problem != nullptr; }));
    std::thread other{[&] {
        std::this_thread::sleep_for(milliseconds{200});
        CHECK(run_hub(files.fetch("org/model")).files().size() == 1);
    }};
    boost::asio::steady_timer alarm{io, milliseconds{400}};
    alarm.async_wait(
        [&](boost::system::error_code) { signal.emit(boost::asio::cancellation_type::terminal); });
    io.run();
    other.join();
    CHECK(aborted);
    test.check();
    CHECK(test.server.cdn.n_sent() < test.body.size() + test.body.size() / 10);
}

TEST_CASE("hub: what is under way when the hub is destroyed ends with closed")
{
    slow_file test;
    auto files = std::make_unique<hub>(quick_options(test.server, test.dir));
    boost::asio::io_context io;
    boost::system::error_code code;
    boost::asio::co_spawn(
        io, files->fetch("org/model"), [&](std::exception_ptr problem, const snapshot&) {
            try {
                std::rethrow_exception(problem);
            } catch (const error& seen) {
                code = seen.code();
            }
        });
    boost::asio::steady_timer alarm{io, milliseconds{300}};
    alarm.async_wait([&](boost::system::error_code) { files.reset(); });
    io.run();
    CHECK(code == errc::closed);
}

TEST_CASE("hub: progress grows to a total that never changes, on the caller's thread")
{
    slow_file test;
    test.server.add("config.json", "{}");
    hub files{quick_options(test.server, test.dir)};
    const auto caller = std::this_thread::get_id();
    std::vector<fetch_progress> seen;
    const auto begin = std::chrono::steady_clock::now();
    run_hub(files.fetch("org/model", {}, [&](const fetch_progress& now) {
        CHECK(std::this_thread::get_id() == caller);
        seen.push_back(now);
    }));
    const auto tenths = (std::chrono::steady_clock::now() - begin) / milliseconds{100};
    REQUIRE(seen.size() >= 3);
    // One at the start, one for the first byte, ten a second, and the last.
    CHECK(static_cast<long>(seen.size()) <= tenths + 4);
    std::uint64_t before = 0;
    for (const fetch_progress& one : seen) {
        CHECK(one.total_bytes == 24'000'002);
        CHECK(one.done_bytes >= before);
        CHECK(one.done_bytes <= one.total_bytes);
        CHECK(one.n_files == 2);
        before = one.done_bytes;
    }
    CHECK(seen.back().done_bytes == 24'000'002);
    CHECK(seen.back().n_files_done == 2);
}

TEST_CASE("hub: a partial file that another program removes costs nothing")
{
    slow_file test;
    hub files{quick_options(test.server, test.dir)};
    std::thread cleaner{[&] {
        std::this_thread::sleep_for(milliseconds{400});
        for (const std::string& name : blobs_in(test.dir))
            fs::remove(test.dir / ("cache/models--org--model/blobs/" + name));
    }};
    CHECK(run_hub(files.fetch("org/model")).files().size() == 1);
    cleaner.join();
    test.check();
    CHECK(test.server.cdn.n_sent() < test.body.size() + test.body.size() / 10);
}

TEST_CASE("hub: a child of fork is told that the hub is not its own")
{
    fake_hub server;
    server.add("config.json", "{}");
    const temp_dir dir;
    hub files{quick_options(server, dir)};
    const pid_t pid = ::fork();
    if (pid == 0) {
        int status = 1;
        try {
            boost::asio::io_context io;
            boost::asio::co_spawn(
                io, files.fetch("org/model"), [&](std::exception_ptr problem, const snapshot&) {
                    try {
                        std::rethrow_exception(problem);
                    } catch (const error& seen) {
                        status = seen.code() == errc::unsupported ? 0 : 2;
                    }
                });
            io.run();
        } catch (...) {
            status = 3;
        }
        ::_exit(status);
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    CHECK(WEXITSTATUS(status) == 0);
    CHECK(run_hub(files.fetch("org/model")).files().size() == 1);
}

namespace {

awaitable<void> fetch_cancelled(testing::sweep_step step)
{
    const temp_dir dir;
    fake_hub server;
    server.add("config.json", "{}");
    server.add("model.bin", noise(1'500'000), true);
    hub files{quick_options(server, dir)};
    const on_fetch_progress ignore = [](const fetch_progress&) {};
    auto operation = files.fetch("org/model", file_selection{}, ignore);
    auto run = step.cancellable(std::move(operation));
    co_await std::move(run);
    auto again = files.fetch("org/model");
    const snapshot got = co_await std::move(again);
    CHECK(got.files().size() == 2);
}

}  // namespace

TEST_CASE("hub: a fetch may be cancelled after any handler")
{
    testing::sweep_cancellation(&fetch_cancelled);
}

}  // namespace modelpool
