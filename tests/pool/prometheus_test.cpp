#include <modelpool/pool/prometheus.hpp>

#include <catch2/catch.hpp>

#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <locale>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace modelpool {
namespace {

using namespace std::chrono_literals;

using labels = std::map<std::string, std::string>;

struct sample {
    std::string name;
    labels with;
    std::string value;
};

struct family {
    std::string name;
    std::string type;
    std::vector<sample> samples;
};

/// Reads one line's labels, up to and with the closing brace; undoes the escapes.
labels read_labels(std::string_view& rest)
{
    labels found;
    while (!rest.starts_with('}')) {
        if (rest.starts_with(',')) rest.remove_prefix(1);
        const std::size_t equals = rest.find("=\"");
        REQUIRE(equals != std::string_view::npos);
        const std::string name{rest.substr(0, equals)};
        rest.remove_prefix(equals + 2);
        std::string value;
        while (!rest.starts_with('"')) {
            REQUIRE_FALSE(rest.empty());
            char one = rest.front();
            rest.remove_prefix(1);
            if (one == '\\') {
                REQUIRE_FALSE(rest.empty());
                REQUIRE(std::string_view{"\\\"n"}.find(rest.front()) != std::string_view::npos);
                one = rest.front() == 'n' ? '\n' : rest.front();
                rest.remove_prefix(1);
            }
            value += one;
        }
        rest.remove_prefix(1);
        CHECK(found.emplace(name, value).second);
    }
    rest.remove_prefix(1);
    return found;
}

sample read_sample(std::string_view rest)
{
    sample one;
    const std::size_t end = rest.find_first_of("{ ");
    REQUIRE(end != std::string_view::npos);
    one.name = rest.substr(0, end);
    rest.remove_prefix(end);
    if (rest.starts_with('{')) {
        rest.remove_prefix(1);
        one.with = read_labels(rest);
    }
    REQUIRE(rest.starts_with(' '));
    one.value = rest.substr(1);
    CHECK_FALSE(one.value.empty());
    CHECK(one.value.find_first_not_of("0123456789.e+-") == std::string::npos);
    return one;
}

bool belongs(const std::string& sample_name, const family& one)
{
    if (one.type != "histogram") return sample_name == one.name;
    for (const char* suffix : {"_bucket", "_sum", "_count"})
        if (sample_name == one.name + suffix) return true;
    return false;
}

/// Parses the text, and requires what holds for any text of the format: each family once, with its
/// help and its type before its samples, none of another among them, and no series twice.
std::vector<family> parse(const std::string& text)
{
    REQUIRE(text.ends_with('\n'));
    CHECK(text.find("\n\n") == std::string::npos);
    std::vector<family> families;
    std::set<std::string> names;
    std::set<std::pair<std::string, labels>> series;
    std::istringstream lines{text};
    std::string helped;
    for (std::string line; std::getline(lines, line);) {
        INFO(line);
        std::istringstream words{line};
        std::string hash;
        std::string kind;
        std::string name;
        words >> hash >> kind >> name;
        if (line.starts_with("# HELP ")) {
            helped = name;
            CHECK(line.size() > std::string{"# HELP  "}.size() + name.size());
            continue;
        }
        if (line.starts_with("# TYPE ")) {
            CHECK(helped == name);
            CHECK(names.insert(name).second);
            family next{name, "", {}};
            words >> next.type;
            CHECK(std::set<std::string>{"counter", "gauge", "histogram"}.contains(next.type));
            if (!families.empty()) CHECK_FALSE(families.back().samples.empty());
            families.push_back(std::move(next));
            continue;
        }
        REQUIRE_FALSE(families.empty());
        sample one = read_sample(line);
        CHECK(belongs(one.name, families.back()));
        CHECK(series.emplace(one.name, one.with).second);
        families.back().samples.push_back(std::move(one));
    }
    CHECK_FALSE(families.back().samples.empty());
    return families;
}

/// The text's value of one series; nothing where there is none.
std::optional<std::string>
value_of(const std::vector<family>& families, const std::string& name, const labels& with)
{
    for (const family& one : families)
        for (const sample& each : one.samples)
            if (each.name == name && each.with == with) return each.value;
    return std::nullopt;
}

std::string type_of(const std::vector<family>& families, const std::string& name)
{
    for (const family& one : families)
        if (one.name == name) return one.type;
    return "absent";
}

double number(const std::string& text)
{
    double value = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
    CHECK(read.ptr == text.data() + text.size());
    return value;
}

histogram times(std::initializer_list<std::chrono::nanoseconds> values)
{
    detail::atomic_histogram all;
    for (const std::chrono::nanoseconds one : values)
        all.add(one);
    return all.snapshot();
}

model_stats busy_model()
{
    model_stats one;
    one.pool = "text_embedding";
    one.key = "minilm";
    one.n_requests = 101;
    one.n_succeeded = 90;
    one.n_failed = 7;
    one.n_cancelled = 4;
    one.n_rejected = 12;
    one.n_circuit_rejections = 5;
    one.n_timeouts = 3;
    one.errors = {{"pool.queue_full", 6}, {"model.failed", 2}, {"other", 1}};
    one.queue_time = times({100us, 1ms, 2s});
    one.run_time = times({128us, 128us + 1ns, 20min});
    one.total_time = times({1ms, 2ms, 6ms});
    one.n_waiting = 8;
    one.n_spawned = 13;
    one.n_loads = 9;
    one.n_load_failures = 2;
    one.n_replicated = 4;
    one.n_evicted = 10;
    one.n_stalled = 1;
    one.n_retired = 11;
    one.load_time = 1500ms;
    one.breaker = breaker_state::open;
    for (const worker_state state :
         {worker_state::idle, worker_state::processing, worker_state::idle, worker_state::dead}) {
        worker_stats worker;
        worker.state = state;
        one.workers.push_back(worker);
    }
    return one;
}

runtime_stats two_devices()
{
    runtime_stats shared;
    device_memory_stats host;
    host.device = "cpu";
    host.limit_bytes = std::uint64_t{3} << 30U;
    host.reserved_bytes = std::uint64_t{3} << 29U;
    host.holders = {
        {"model 'a' worker 1", std::uint64_t{1} << 30U},
        {"model 'b' worker 2", std::uint64_t{1} << 29U}};
    device_memory_stats card;
    card.device = "cuda:0";
    card.limit_bytes = 1000;
    card.reserved_bytes = 850;
    card.holders = {{"model 'a' worker 1", 850}};
    card.lost = true;
    shared.memory = {host, card};
    shared.n_cores = 16;
    shared.n_busy_threads = 12;
    return shared;
}

TEST_CASE("prometheus: every family of one model and its pool has its value", "[pool]")
{
    const auto families = parse(prometheus_text(two_devices(), std::vector{busy_model()}));
    const labels pool{{"pool", "text_embedding"}};
    labels model = pool;
    model["model"] = "minilm";
    const std::map<std::string, std::string> of_pool{
        {"pool_requests_total", "101"},
        {"pool_errors_total", "7"},
        {"pool_timeouts_total", "3"},
        {"pool_workers_spawned_total", "13"},
        {"pool_workers_evicted_total", "10"},
        {"pool_circuit_rejections_total", "5"}};
    for (const auto& [name, value] : of_pool) {
        INFO(name);
        CHECK(value_of(families, name, pool) == value);
        CHECK(type_of(families, name) == "counter");
    }
    const std::map<std::string, std::string> of_model{
        {"pool_model_requests_total", "101"},
        {"pool_model_cancelled_total", "4"},
        {"pool_model_rejected_total", "12"},
        {"pool_model_loads_total", "9"},
        {"pool_model_load_failures_total", "2"},
        {"pool_model_load_seconds_total", "1.5"},
        {"pool_model_stalled_total", "1"},
        {"pool_model_retired_total", "11"},
        {"pool_model_latency_avg_ms", "3"},
        {"pool_model_latency_max_ms", "6"},
        {"pool_model_workers", "3"},
        {"pool_model_queue_depth", "8"},
        {"pool_model_breaker_state", "2"},
        {"pool_model_health", "2"}};
    for (const auto& [name, value] : of_model) {
        INFO(name);
        CHECK(value_of(families, name, model) == value);
        CHECK(type_of(families, name) == (name.ends_with("_total") ? "counter" : "gauge"));
    }
    labels code = model;
    code["code"] = "pool.queue_full";
    CHECK(value_of(families, "pool_model_errors_total", code) == "6");
    code["code"] = "other";
    CHECK(value_of(families, "pool_model_errors_total", code) == "1");
    const std::map<std::string, std::string> by_state{
        {"spawning", "0"}, {"idle", "2"}, {"processing", "1"}, {"dead", "1"}, {"failed", "0"}};
    for (const auto& [state, value] : by_state) {
        labels with = model;
        with["state"] = state;
        CHECK(value_of(families, "pool_model_workers_by_state", with) == value);
    }
}

TEST_CASE("prometheus: memory by device and holder, cores and lost devices", "[pool]")
{
    const auto families = parse(prometheus_text(two_devices(), {}));
    const labels host{{"device", "cpu"}};
    const labels card{{"device", "cuda:0"}};
    CHECK(value_of(families, "pool_memory_used_mb", host) == "1536");
    CHECK(value_of(families, "pool_memory_limit_mb", host) == "3072");
    CHECK(value_of(families, "pool_memory_pressure", host) == "1");
    CHECK(value_of(families, "pool_memory_pressure", card) == "3");
    CHECK(value_of(families, "pool_device_lost", host) == "0");
    CHECK(value_of(families, "pool_device_lost", card) == "1");
    labels holder = host;
    holder["holder"] = "model 'b' worker 2";
    CHECK(value_of(families, "pool_memory_reserved_bytes", holder) == "536870912");
    holder = card;
    holder["holder"] = "model 'a' worker 1";
    CHECK(value_of(families, "pool_memory_reserved_bytes", holder) == "850");
    CHECK(value_of(families, "pool_cores", {}) == "16");
    CHECK(value_of(families, "pool_busy_threads", {}) == "12");
    CHECK(type_of(families, "pool_requests_total") == "absent");
}

TEST_CASE("prometheus: the memory pressure rises at 50, 70 and 85 %", "[pool]")
{
    const std::map<std::uint64_t, std::string> levels{
        {0, "0"},
        {499, "0"},
        {500, "1"},
        {699, "1"},
        {700, "2"},
        {849, "2"},
        {850, "3"},
        {1000, "3"}};
    for (const auto& [reserved, level] : levels) {
        runtime_stats shared = two_devices();
        shared.memory[1].reserved_bytes = reserved;
        const auto families = parse(prometheus_text(shared, {}));
        INFO(reserved);
        CHECK(value_of(families, "pool_memory_pressure", {{"device", "cuda:0"}}) == level);
    }
    runtime_stats none = two_devices();
    none.memory[1].limit_bytes = 0;
    none.memory[1].reserved_bytes = 0;
    const auto families = parse(prometheus_text(none, {}));
    CHECK(value_of(families, "pool_memory_pressure", {{"device", "cuda:0"}}) == "3");
}

/// The cumulative counts of one series by their limits; requires that they only grow, and end at
/// infinity.
std::vector<std::pair<double, std::uint64_t>>
cumulative(const std::vector<family>& families, const std::string& name, const std::string& model)
{
    std::vector<std::pair<double, std::uint64_t>> found;
    for (const family& one : families)
        for (const sample& each : one.samples) {
            if (each.name != name + "_bucket" || each.with.at("model") != model) continue;
            const std::string& le = each.with.at("le");
            const double limit =
                le == "+Inf" ? std::numeric_limits<double>::infinity() : number(le);
            found.emplace_back(limit, std::stoull(each.value));
        }
    REQUIRE(found.size() > 5);
    for (std::size_t i = 1; i < found.size(); ++i) {
        CHECK(found[i - 1].first < found[i].first);
        CHECK(found[i - 1].second <= found[i].second);
    }
    CHECK(found.back().first == std::numeric_limits<double>::infinity());
    return found;
}

TEST_CASE("prometheus: the buckets of a histogram are cumulative and end in its count", "[pool]")
{
    model_stats quiet;
    quiet.pool = "text_embedding";
    quiet.key = "quiet";
    const auto families = parse(prometheus_text({}, std::vector{busy_model(), quiet}));
    for (const char* name : {"pool_queue_seconds", "pool_run_seconds", "pool_request_seconds"}) {
        INFO(name);
        CHECK(type_of(families, name) == "histogram");
        const labels with{{"pool", "text_embedding"}, {"model", "minilm"}};
        const auto buckets = cumulative(families, name, "minilm");
        CHECK(buckets.back().second == 3);
        CHECK(value_of(families, std::string{name} + "_count", with) == "3");
        CHECK(cumulative(families, name, "quiet").back().second == 0);
    }
    // 128 us lies within the first limit, one nanosecond more does not, 20 minutes exceed the last.
    const auto run = cumulative(families, "pool_run_seconds", "minilm");
    CHECK(run.front() == std::pair{128e-6, std::uint64_t{1}});
    CHECK(run[1] == std::pair{256e-6, std::uint64_t{2}});
    CHECK(run[run.size() - 2].second == 2);
}

TEST_CASE("prometheus: sums of seconds are exact", "[pool]")
{
    const auto sum_of = [](std::initializer_list<std::chrono::nanoseconds> values) {
        model_stats one = busy_model();
        one.run_time = times(values);
        const auto families = parse(prometheus_text({}, std::vector{one}));
        return value_of(
            families, "pool_run_seconds_sum", {{"pool", "text_embedding"}, {"model", "minilm"}});
    };
    CHECK(sum_of({}) == "0");
    CHECK(sum_of({1ns}) == "0.000000001");
    CHECK(sum_of({100ms}) == "0.1");
    CHECK(sum_of({10s}) == "10");
    CHECK(sum_of({20min, 128us, 128us + 1ns}) == "1200.000256001");
}

TEST_CASE("prometheus: label values are escaped, and always UTF-8", "[pool]")
{
    model_stats one = busy_model();
    one.key = "C:\\models\\\"new\"\nline \xC3\xA9";
    runtime_stats shared = two_devices();
    shared.memory[0].holders[0].holder = "bad \xFF byte \xC3";
    const std::string text = prometheus_text(shared, std::vector{one});
    CHECK(text.find(R"(model="C:\\models\\\"new\"\nline )") != std::string::npos);
    const auto families = parse(text);
    CHECK(
        value_of(
            families, "pool_model_queue_depth", {{"pool", "text_embedding"}, {"model", one.key}}) ==
        "8");
    CHECK(value_of(
        families,
        "pool_memory_reserved_bytes",
        {{"device", "cpu"}, {"holder", "bad \xEF\xBF\xBD byte \xEF\xBF\xBD"}}));
}

TEST_CASE("prometheus: a pool's figures are the sums over its models only", "[pool]")
{
    model_stats second = busy_model();
    second.key = "bge";
    model_stats writer = busy_model();
    writer.pool = "text_to_text";
    const auto families = parse(prometheus_text({}, std::vector{busy_model(), writer, second}));
    CHECK(value_of(families, "pool_requests_total", {{"pool", "text_embedding"}}) == "202");
    CHECK(value_of(families, "pool_requests_total", {{"pool", "text_to_text"}}) == "101");
}

TEST_CASE("prometheus: two models of one name are one series", "[pool]")
{
    model_stats first = busy_model();
    first.breaker = breaker_state::closed;
    model_stats second = busy_model();
    second.breaker = breaker_state::half_open;
    second.errors = {{"other", 4}};
    const auto families = parse(prometheus_text({}, std::vector{first, second}));
    const labels model{{"pool", "text_embedding"}, {"model", "minilm"}};
    const std::map<std::string, std::string> sums{
        {"pool_model_requests_total", "202"},
        {"pool_model_cancelled_total", "8"},
        {"pool_model_rejected_total", "24"},
        {"pool_model_loads_total", "18"},
        {"pool_model_load_failures_total", "4"},
        {"pool_model_load_seconds_total", "3"},
        {"pool_model_stalled_total", "2"},
        {"pool_model_retired_total", "22"},
        {"pool_model_latency_avg_ms", "3"},
        {"pool_model_latency_max_ms", "6"},
        {"pool_model_workers", "6"},
        {"pool_model_queue_depth", "16"},
        {"pool_model_breaker_state", "1"},
        {"pool_model_health", "1"},
        {"pool_queue_seconds_count", "6"},
        {"pool_run_seconds_count", "6"},
        {"pool_request_seconds_sum", "0.018"}};
    for (const auto& [name, value] : sums) {
        INFO(name);
        CHECK(value_of(families, name, model) == value);
    }
    labels other = model;
    other["code"] = "other";
    CHECK(value_of(families, "pool_model_errors_total", other) == "5");
    const labels pool{{"pool", "text_embedding"}};
    CHECK(value_of(families, "pool_errors_total", pool) == "14");
    CHECK(value_of(families, "pool_timeouts_total", pool) == "6");
    CHECK(value_of(families, "pool_workers_spawned_total", pool) == "26");
    CHECK(value_of(families, "pool_workers_evicted_total", pool) == "20");
    CHECK(value_of(families, "pool_circuit_rejections_total", pool) == "10");
}

TEST_CASE("prometheus: a model whose requests have not ended has no latency yet", "[pool]")
{
    model_stats one = busy_model();
    one.total_time = histogram{};
    const auto families = parse(prometheus_text({}, std::vector{one}));
    CHECK(type_of(families, "pool_model_latency_avg_ms") == "absent");
    CHECK(type_of(families, "pool_model_latency_max_ms") == "absent");
}

/// A number format with a comma, as much of the world writes it.
class comma_numbers : public std::numpunct<char> {
protected:
    char do_decimal_point() const override { return ','; }
    char do_thousands_sep() const override { return '.'; }
    std::string do_grouping() const override { return "\3"; }
};

TEST_CASE("prometheus: the locale makes no difference", "[pool]")
{
    runtime_stats shared = two_devices();
    shared.memory[0].reserved_bytes = 1'234'567'890;
    const std::string plain = prometheus_text(shared, std::vector{busy_model()});
    const std::locale before = std::locale::global(std::locale{std::locale(), new comma_numbers});
    const std::string local = prometheus_text(shared, std::vector{busy_model()});
    std::locale::global(before);
    CHECK(local == plain);
    CHECK(plain.find("pool_memory_used_mb{device=\"cpu\"} 1177.37") != std::string::npos);
}

}  // namespace
}  // namespace modelpool
