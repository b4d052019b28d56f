#pragma once

#include <modelpool/pool/health.hpp>
#include <modelpool/pool/stats.hpp>
#include <modelpool/runtime/stats.hpp>
#include <modelpool/sched/utf8_holder.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace modelpool {

/// The figures in Prometheus' text format 0.0.4, whose content type is "text/plain; version=0.0.4".
/// Models that share pool and key are added up, since a series may appear only once. Numbers are
/// the same in every locale. Touches nothing but its arguments.
std::string prometheus_text(const runtime_stats& shared, std::span<const model_stats> models);

namespace detail {

/// Writes metric families one after the other; one without a sample leaves no trace.
class exposition {
public:
    using labels = std::initializer_list<std::pair<std::string_view, std::string_view>>;

    void family(std::string_view name, std::string_view type, std::string_view help)
    {
        name_ = name;
        type_ = type;
        help_ = help;
        announced_ = false;
    }
    void counter(std::string_view name, std::string_view help) { family(name, "counter", help); }
    void gauge(std::string_view name, std::string_view help) { family(name, "gauge", help); }

    void sample(labels with, std::string_view value) { line("", with, value); }
    void sample(labels with, std::uint64_t value) { sample(with, decimal(value)); }
    void sample(labels with, double value) { sample(with, decimal(value)); }
    void sample(labels with, std::chrono::nanoseconds value) { sample(with, seconds(value)); }

    /// One series of a histogram family.
    void sample(std::string_view pool, std::string_view model, const histogram& times)
    {
        // Powers of two of a microsecond, from 128 us to 18 minutes, are limits of buckets: the
        // counts are exact.
        for (unsigned power = 7; power <= 30; ++power) {
            const std::chrono::microseconds le{std::int64_t{1} << power};
            line(
                "_bucket",
                {{"pool", pool}, {"model", model}, {"le", seconds(le)}},
                decimal(times.cumulative(le)));
        }
        const std::string n = decimal(times.count());
        line("_bucket", {{"pool", pool}, {"model", model}, {"le", "+Inf"}}, n);
        line("_sum", {{"pool", pool}, {"model", model}}, seconds(times.sum()));
        line("_count", {{"pool", pool}, {"model", model}}, n);
    }

    std::string text() && { return std::move(text_); }

private:
    template <class T>
    static std::string decimal(T value)
    {
        std::array<char, 32> digits{};
        const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
        return {digits.data(), end};
    }

    /// Exact, with no more digits than are needed.
    static std::string seconds(std::chrono::nanoseconds value)
    {
        constexpr std::uint64_t per_second = 1'000'000'000;
        const auto ns = static_cast<std::uint64_t>(std::max<std::int64_t>(0, value.count()));
        std::string digits = decimal(ns % per_second + per_second);  // a 1, and the nine places
        digits.erase(digits.find_last_not_of('0') + 1);
        std::string number = decimal(ns / per_second);
        if (digits.size() > 1) number.append(".").append(digits, 1);
        return number;
    }

    void line(std::string_view suffix, labels with, std::string_view value)
    {
        if (!announced_) {
            text_.append("# HELP ").append(name_).append(" ").append(help_).append("\n");
            text_.append("# TYPE ").append(name_).append(" ").append(type_).append("\n");
            announced_ = true;
        }
        text_.append(name_).append(suffix);
        char before = '{';
        for (const auto& [name, text] : with) {
            text_ += before;
            text_.append(name).append("=\"");
            append_escaped(text);
            text_ += '"';
            before = ',';
        }
        if (before == ',') text_ += '}';
        text_.append(" ").append(value).append("\n");
    }

    // A key may be a path in any encoding, but one value that is not UTF-8 makes Prometheus refuse
    // the whole.
    void append_escaped(std::string_view value)
    {
        sched::utf8_holder holder;
        std::string whole;
        holder.push(value, whole);
        holder.finish(whole);
        for (const char one : whole) {
            if (one == '\\' || one == '"') text_ += '\\';
            if (one == '\n')
                text_ += "\\n";
            else
                text_ += one;
        }
    }

    std::string text_;
    std::string_view name_;
    std::string_view type_;
    std::string_view help_;
    bool announced_{true};
};

/// By pool and key, in that order.
using models_by_name = std::map<std::pair<std::string_view, std::string_view>, model_stats>;

struct model_counter {
    const char* name;
    const char* help;
    std::uint64_t model_stats::*value;
};

inline constexpr std::array pool_counters{
    model_counter{"pool_requests_total", "Requests accepted.", &model_stats::n_requests},
    model_counter{
        "pool_errors_total", "Requests accepted that ended with an error.", &model_stats::n_failed},
    model_counter{
        "pool_timeouts_total",
        "Requests that no worker began before their deadline.",
        &model_stats::n_timeouts},
    model_counter{"pool_workers_spawned_total", "Workers started.", &model_stats::n_spawned},
    model_counter{
        "pool_workers_evicted_total",
        "Workers unloaded because they were idle or their memory was needed.",
        &model_stats::n_evicted},
    model_counter{
        "pool_circuit_rejections_total",
        "Requests refused because their model kept failing.",
        &model_stats::n_circuit_rejections},
};

inline constexpr std::array model_counters{
    model_counter{"pool_model_requests_total", "Requests accepted.", &model_stats::n_requests},
    model_counter{
        "pool_model_cancelled_total",
        "Requests accepted whose callers left.",
        &model_stats::n_cancelled},
    model_counter{
        "pool_model_rejected_total",
        "Requests refused, for whatever reason.",
        &model_stats::n_rejected},
    model_counter{
        "pool_model_loads_total", "Runs of the loader that gave a model.", &model_stats::n_loads},
    model_counter{
        "pool_model_load_failures_total",
        "Runs of the loader that failed.",
        &model_stats::n_load_failures},
    model_counter{
        "pool_model_stalled_total", "Workers found to make no progress.", &model_stats::n_stalled},
    model_counter{
        "pool_model_retired_total",
        "Workers whose model failed for good.",
        &model_stats::n_retired},
};

struct model_times {
    const char* name;
    const char* help;
    histogram model_stats::*value;
};

inline constexpr std::array time_families{
    model_times{
        "pool_queue_seconds",
        "From the acceptance of a request until a worker began it.",
        &model_stats::queue_time},
    model_times{
        "pool_run_seconds",
        "From when a worker began a request until it ended.",
        &model_stats::run_time},
    model_times{
        "pool_request_seconds",
        "From the acceptance of a request until it ended.",
        &model_stats::total_time},
};

/// 0 closed, 1 half-open, 2 open: the more, the worse.
inline std::uint64_t breaker_level(breaker_state state) noexcept
{
    if (state == breaker_state::closed) return 0;
    return state == breaker_state::half_open ? 1 : 2;
}

/// 0 below a half, 1 below 70 %, 2 below 85 %, else 3.
inline std::uint64_t memory_pressure(const device_memory_stats& memory) noexcept
{
    if (memory.limit_bytes == 0) return 3;
    const double share =
        static_cast<double>(memory.reserved_bytes) / static_cast<double>(memory.limit_bytes);
    if (share < 0.5) return 0;
    if (share < 0.7) return 1;
    return share < 0.85 ? 2 : 3;
}

inline void add_up(model_stats& sum, const model_stats& one)
{
    for (const auto member :
         {&model_stats::n_requests,
          &model_stats::n_succeeded,
          &model_stats::n_failed,
          &model_stats::n_cancelled,
          &model_stats::n_rejected,
          &model_stats::n_circuit_rejections,
          &model_stats::n_timeouts,
          &model_stats::n_spawned,
          &model_stats::n_loads,
          &model_stats::n_load_failures,
          &model_stats::n_replicated,
          &model_stats::n_evicted,
          &model_stats::n_stalled,
          &model_stats::n_retired,
          &model_stats::shared_bytes})
        sum.*member += one.*member;
    for (const auto& [code, n] : one.errors)
        sum.errors[code] += n;
    sum.queue_time += one.queue_time;
    sum.run_time += one.run_time;
    sum.total_time += one.total_time;
    sum.n_waiting += one.n_waiting;
    sum.load_time += one.load_time;
    if (breaker_level(one.breaker) > breaker_level(sum.breaker)) sum.breaker = one.breaker;
    sum.workers.insert(sum.workers.end(), one.workers.begin(), one.workers.end());
}

/// The names refer to `models`.
inline models_by_name by_name(std::span<const model_stats> models)
{
    models_by_name all;
    for (const model_stats& one : models) {
        const auto [place, is_new] = all.try_emplace({one.pool, one.key}, one);
        if (!is_new) add_up(place->second, one);
    }
    return all;
}

inline void write_pools(exposition& out, const models_by_name& models)
{
    for (const model_counter& family : pool_counters) {
        out.counter(family.name, family.help);
        std::map<std::string_view, std::uint64_t> sums;
        for (const auto& [name, one] : models)
            sums[name.first] += one.*family.value;
        for (const auto& [pool, sum] : sums)
            out.sample({{"pool", pool}}, sum);
    }
}

inline void write_model_counters(exposition& out, const models_by_name& models)
{
    for (const model_counter& family : model_counters) {
        out.counter(family.name, family.help);
        for (const auto& [name, one] : models)
            out.sample({{"pool", name.first}, {"model", name.second}}, one.*family.value);
    }
    out.counter(
        "pool_model_load_seconds_total", "Time that loads took, those that failed included.");
    for (const auto& [name, one] : models)
        out.sample({{"pool", name.first}, {"model", name.second}}, one.load_time);
    out.counter(
        "pool_model_errors_total", "Requests that ended with, or were refused for, each error.");
    for (const auto& [name, one] : models)
        for (const auto& [code, n] : one.errors)
            out.sample({{"pool", name.first}, {"model", name.second}, {"code", code}}, n);
}

inline void write_model_gauges(exposition& out, const models_by_name& models)
{
    out.gauge("pool_model_workers", "Workers that have a thread.");
    for (const auto& [name, one] : models)
        out.sample(
            {{"pool", name.first}, {"model", name.second}},
            std::uint64_t{one.workers.size() - one.n_workers(worker_state::dead)});
    out.gauge("pool_model_workers_by_state", "Workers in each state.");
    for (const auto& [name, one] : models)
        for (std::size_t i = 0; i < n_worker_states; ++i) {
            const auto state = static_cast<worker_state>(i);
            out.sample(
                {{"pool", name.first}, {"model", name.second}, {"state", to_string(state)}},
                std::uint64_t{one.n_workers(state)});
        }
    out.gauge("pool_model_queue_depth", "Requests that wait for a worker.");
    for (const auto& [name, one] : models)
        out.sample({{"pool", name.first}, {"model", name.second}}, std::uint64_t{one.n_waiting});
    out.gauge(
        "pool_model_breaker_state", "0 takes requests, 1 tries whether it works again, 2 refuses.");
    for (const auto& [name, one] : models)
        out.sample({{"pool", name.first}, {"model", name.second}}, breaker_level(one.breaker));
    out.gauge("pool_model_health", "0 serves, 1 serves late or not all, 2 does not serve.");
    for (const auto& [name, one] : models)
        out.sample(
            {{"pool", name.first}, {"model", name.second}},
            static_cast<std::uint64_t>(health_of(one)) - 1);
}

inline void write_model_times(exposition& out, const models_by_name& models)
{
    using milliseconds = std::chrono::duration<double, std::milli>;
    out.gauge("pool_model_latency_avg_ms", "Mean time of the requests that ended.");
    for (const auto& [name, one] : models)
        if (!one.total_time.empty())
            out.sample(
                {{"pool", name.first}, {"model", name.second}},
                milliseconds{one.total_time.mean()}.count());
    out.gauge("pool_model_latency_max_ms", "Longest time of the requests that ended.");
    for (const auto& [name, one] : models)
        if (!one.total_time.empty())
            out.sample(
                {{"pool", name.first}, {"model", name.second}},
                milliseconds{one.total_time.max()}.count());
    for (const model_times& family : time_families) {
        out.family(family.name, "histogram", family.help);
        for (const auto& [name, one] : models)
            out.sample(name.first, name.second, one.*family.value);
    }
}

inline void write_shared(exposition& out, const runtime_stats& shared)
{
    constexpr double mebibyte = 1 << 20;
    out.gauge("pool_memory_used_mb", "Memory reserved, in MiB.");
    for (const device_memory_stats& one : shared.memory)
        out.sample({{"device", one.device}}, static_cast<double>(one.reserved_bytes) / mebibyte);
    out.gauge("pool_memory_limit_mb", "Memory that may be reserved, in MiB.");
    for (const device_memory_stats& one : shared.memory)
        out.sample({{"device", one.device}}, static_cast<double>(one.limit_bytes) / mebibyte);
    out.gauge(
        "pool_memory_pressure",
        "0 while less than half of the memory is reserved, 1 below 70 %, 2 below 85 %, else 3.");
    for (const device_memory_stats& one : shared.memory)
        out.sample({{"device", one.device}}, memory_pressure(one));
    out.gauge("pool_memory_reserved_bytes", "Memory reserved by each holder.");
    for (const device_memory_stats& one : shared.memory)
        for (const memory_use& use : one.holders)
            out.sample({{"device", one.device}, {"holder", use.holder}}, use.bytes);
    out.gauge("pool_device_lost", "1 where the device stopped working.");
    for (const device_memory_stats& one : shared.memory)
        out.sample({{"device", one.device}}, std::uint64_t{one.lost ? 1U : 0U});
    out.gauge("pool_cores", "Cores that the workers share.");
    out.sample({}, static_cast<std::uint64_t>(std::max(0, shared.n_cores)));
    out.gauge("pool_busy_threads", "Threads that compute.");
    out.sample({}, static_cast<std::uint64_t>(std::max(0, shared.n_busy_threads)));
}

}  // namespace detail

inline std::string prometheus_text(const runtime_stats& shared, std::span<const model_stats> models)
{
    const detail::models_by_name named = detail::by_name(models);
    detail::exposition out;
    detail::write_pools(out, named);
    detail::write_model_counters(out, named);
    detail::write_model_gauges(out, named);
    detail::write_model_times(out, named);
    detail::write_shared(out, shared);
    return std::move(out).text();
}

}  // namespace modelpool
