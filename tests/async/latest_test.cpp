#include <modelpool/async/detail/latest.hpp>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include <catch2/catch.hpp>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

namespace modelpool {
namespace {

using detail::latest;

TEST_CASE("latest: on several threads calls follow one another, in the order of values", "[async]")
{
    constexpr int n_values = 20'000;
    boost::asio::io_context io;
    std::atomic<int> n_inside{0};
    std::atomic<int> n_overlaps{0};
    std::atomic<int> n_out_of_order{0};
    std::atomic<int> last{-1};
    const auto hear = [&](const int& value) {
        if (n_inside.fetch_add(1) != 0) ++n_overlaps;
        if (last.exchange(value) >= value) ++n_out_of_order;
        std::this_thread::yield();
        n_inside.fetch_sub(1);
    };
    const auto one = std::make_shared<latest<int>>(io.get_executor(), hear);
    {
        auto busy = boost::asio::make_work_guard(io);
        std::vector<std::jthread> threads;
        for (int i = 0; i < 4; ++i)
            threads.emplace_back([&io] { io.run(); });
        for (int i = 0; i < n_values; ++i)
            one->offer(i);
        busy.reset();
    }
    CHECK(n_overlaps == 0);
    CHECK(n_out_of_order == 0);
    CHECK(last == n_values - 1);  // the newest always arrives
}

TEST_CASE("latest: what comes while it calls is told afterwards, the newest alone", "[async]")
{
    boost::asio::io_context io;
    std::vector<int> heard;
    std::shared_ptr<latest<int>> one;
    const auto hear = [&](const int& value) {
        heard.push_back(value);
        if (value != 1) return;
        one->offer(2);
        one->offer(3);
    };
    one = std::make_shared<latest<int>>(io.get_executor(), hear);
    one->offer(1);
    io.run();
    CHECK(heard == std::vector<int>{1, 3});
    one->close();
    one->offer(4);
    io.restart();
    io.run();
    CHECK(heard == std::vector<int>{1, 3});
    one.reset();
}

TEST_CASE("latest: a callback that throws hears of later values", "[async]")
{
    boost::asio::io_context io;
    int n_calls = 0;
    const auto hear = [&n_calls](const int&) {
        if (++n_calls == 1) throw std::logic_error{"the user's"};
    };
    const auto one = std::make_shared<latest<int>>(io.get_executor(), hear);
    one->offer(1);
    CHECK_THROWS_AS(io.run(), std::logic_error);
    one->offer(2);
    io.restart();
    io.run();
    CHECK(n_calls == 2);
}

}  // namespace
}  // namespace modelpool
