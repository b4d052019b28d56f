#include <chrono>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "bench.hpp"
#include "pool_figures.hpp"
#include "quiet_figures.hpp"
#include "registry_figures.hpp"
#include "support.hpp"

namespace modelpool::cli {
namespace {

using figures = std::vector<figure>;

void add_round_trips(figures& found)
{
    for (const bench::placement where : {bench::placement::one_core, bench::placement::two_cores}) {
        bench::round_trip_stand here{where};
        bench::round_trips all;
        for (int turn = 0; turn < 50; ++turn)
            all.add(here.blocking_measure(100));
        here.blocking_close();
        const std::string suffix = where == bench::placement::one_core ? "_one_core" : "_two_cores";
        found.push_back({"hop_p50" + suffix, "us", bench::to_us(all.hop.quantile(0.5))});
        found.push_back({"hop_p99" + suffix, "us", bench::to_us(all.hop.quantile(0.99))});
        found.push_back({"embed_p50" + suffix, "us", bench::to_us(all.embed.quantile(0.5))});
        found.push_back({"embed_p99" + suffix, "us", bench::to_us(all.embed.quantile(0.99))});
        found.push_back({"embed_to_hop" + suffix, "x", all.ratio_at(0.5)});
    }
}

void add_queue(figures& found)
{
    constexpr std::size_t n_requests = 20'000;
    bench::queue_stand here;
    for (const std::size_t n_callers : {std::size_t{1}, std::size_t{1000}}) {
        const bench::request_cost cost = here.blocking_measure(n_callers, n_requests / n_callers);
        found.push_back({"request_of_" + std::to_string(n_callers), "us", bench::to_us(cost.wall)});
    }
    here.blocking_close();
}

void add_look_ups(figures& found)
{
    bench::registry_stand here{1000};
    here.blocking_add_cards();
    here.blocking_find_all();
    for (const std::size_t n_threads : {std::size_t{1}, std::size_t{4}}) {
        const bench::nanoseconds took = here.blocking_time_look_ups(n_threads, 100'000);
        const std::string suffix =
            n_threads == 1 ? "" : "_of_" + std::to_string(n_threads) + "_threads";
        found.push_back({"look_up" + suffix, "ns", bench::to_ns(took)});
    }
    here.blocking_close();
}

void add_memory(figures& found)
{
    constexpr std::size_t n_models = 1000;
    const bench::registry_bytes of_registry = bench::blocking_registry_bytes(n_models);
    const std::size_t of_pool = bench::blocking_pool_bytes(n_models);
    const auto to_kib = [](std::size_t bytes) { return static_cast<double>(bytes) / 1024; };
    found.push_back({"pool_of_1000_models", "KiB", to_kib(of_pool)});
    found.push_back({"registry_of_1000_models", "KiB", to_kib(of_registry.cards)});
}

void add_heartbeat(figures& found)
{
    bench::heartbeat_stand here;
    const bench::heartbeat_figures all = here.blocking_measure(std::chrono::seconds{1}, 3);
    here.blocking_close();
    found.push_back({"heartbeat_p50", "us", bench::to_us(all.with_pool.quantile(0.5))});
    found.push_back({"heartbeat_p999", "us", bench::to_us(all.with_pool.quantile(0.999))});
    found.push_back({"same_load_p50", "us", bench::to_us(all.without.quantile(0.5))});
    found.push_back({"same_load_p999", "us", bench::to_us(all.without.quantile(0.999))});
    found.push_back({"heartbeat_to_same_load_p999", "x", all.ratio_at(0.999)});
    found.push_back({"burner_p50", "us", bench::to_us(all.idle.quantile(0.5))});
    found.push_back({"burner_p999", "us", bench::to_us(all.idle.quantile(0.999))});
    found.push_back({"heartbeat_to_burner_p999", "x", all.ratio_to_idle_at(0.999)});
}

void add_wake_ups(figures& found)
{
    const bench::wake_ups idle = bench::blocking_count_wake_ups(20, std::chrono::seconds{1});
    found.push_back({"idle_wake_ups", "1/s", static_cast<double>(idle.n)});
}

}  // namespace

std::vector<figure> blocking_measure_pool()
{
    figures found;
    add_round_trips(found);
    add_queue(found);
    add_look_ups(found);
    found.push_back({"counting", "ns", bench::to_ns(bench::blocking_time_counting(1, 1'000'000))});
    add_memory(found);
    add_heartbeat(found);
    add_wake_ups(found);
    return found;
}

}  // namespace modelpool::cli
