#include "bench.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "commands.hpp"
#include "text_format.hpp"

namespace modelpool::cli {
namespace {

// {"figures":{name:{"value","unit"}}}
std::string to_json(const std::vector<figure>& figures)
{
    std::string out = R"({"figures":{)";
    for (const figure& one : figures) {
        if (&one != &figures.front()) out += ',';
        append_json(out, one.name);
        out += R"(:{"value":)";
        append_number(out, one.value);
        out += R"(,"unit":)";
        append_json(out, one.unit);
        out += '}';
    }
    return out + "}}\n";
}

// Three digits that matter; counts in full.
std::string rounded(double value)
{
    char text[32];
    const int n_decimals =
        value == std::floor(value) ? 0 : std::clamp(2 - static_cast<int>(std::log10(value)), 0, 3);
    std::snprintf(text, sizeof text, "%.*f", n_decimals, value);
    return text;
}

std::string to_table(const std::vector<figure>& figures)
{
    std::size_t name_width = 0;
    std::size_t value_width = 0;
    for (const figure& one : figures) {
        name_width = std::max(name_width, one.name.size());
        value_width = std::max(value_width, rounded(one.value).size());
    }
    std::string out;
    for (const figure& one : figures) {
        const std::string value = rounded(one.value);
        out += one.name +
               std::string(name_width + value_width + 2 - one.name.size() - value.size(), ' ');
        out += value + ' ' + one.unit + '\n';
    }
    return out;
}

void run_bench(program& self, bool json, const std::function<std::vector<figure>()>& measure)
{
    const std::vector<figure> figures = measure();
    if (json)
        output::document{self.out}.write(to_json(figures));
    else
        self.out.write(to_table(figures));
}

constexpr const char* pool_footer =
    R"(Needs no model: requests go to one that does nothing. Takes about ten seconds. Figures of a machine
that does other things meanwhile say little.
  hop_*             a coroutine's trip to another thread and back, without the library: where both
                    threads share a core, and where they have two
  embed_*           a request to an idle worker and back; embed_to_hop is how much longer that takes
  request_of_N      time per request on one core, with N callers that ask again at once; of 1000 most
                    wait in the queue
  look_up           a registry's answer, among 1000 models
  counting          the counters and histograms of a request; part of embed
  *_of_1000_models  memory of models that nobody has loaded yet
  heartbeat_*       how late a timer of 1 kHz comes on the loop of a pool that loads, computes, evicts
                    and cancels; burner_*: beside threads that only compute
  idle_wake_ups     how often threads woke in a second, with 20 models loaded and nothing to do
With --json one document: {"figures":{name:{"value","unit"}}}

Examples:
  modelpool bench pool
  modelpool bench pool --json)";

void add_pool(CLI::App& bench, program& self)
{
    CLI::App* command =
        bench.add_subcommand("pool", "What requests, look-ups and idle models cost");
    auto json = std::make_shared<bool>(false);
    command->add_flag("--json", *json, "Print one JSON document");
    command->footer(pool_footer);
    command->callback([&self, json] {
        self.run = [&self, json] { run_bench(self, *json, blocking_measure_pool); };
    });
}

}  // namespace

void add_bench(CLI::App& app, program& self)
{
    CLI::App* command = app.add_subcommand("bench", "Measure this machine");
    command->footer("Every group has its own --help.\n\nExamples:\n  modelpool bench pool");
    add_pool(*command, self);
    command->callback([command] {
        if (command->get_subcommands().empty()) throw usage_error{"a group is required: pool"};
    });
}

}  // namespace modelpool::cli
