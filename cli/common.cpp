#include "common.hpp"

#include <modelpool/error.hpp>

#include <array>
#include <charconv>
#include <limits>
#include <utility>

#include "text_format.hpp"

namespace modelpool::cli {
namespace {

constexpr std::array<std::pair<std::string_view, log_level>, 4> log_levels{
    {{"debug", log_level::debug},
     {"info", log_level::info},
     {"warning", log_level::warning},
     {"error", log_level::error}}};

std::optional<log_level> parse_log_level(std::string_view text)
{
    for (const auto& [name, level] : log_levels)
        if (text == name) return level;
    if (text == "off") return std::nullopt;
    throw usage_error{
        "--log-level: unknown level '" + std::string{text} +
        "': expected debug, info, warning, error or off"};
}

// The factor that a suffix stands for; 0 for anything else.
std::uint64_t factor_of(std::string_view suffix)
{
    constexpr std::string_view prefixes = "KMGT";
    if (suffix.empty() || suffix == "B") return 1;
    const std::size_t place = prefixes.find(suffix.front());
    const std::string_view rest = suffix.substr(1);
    if (place == std::string_view::npos || (!rest.empty() && rest != "iB" && rest != "B")) return 0;
    std::uint64_t factor = 1;
    for (std::size_t i = 0; i <= place; ++i)
        factor *= rest == "B" ? 1000 : 1024;
    return factor;
}

// Few tries: a hub that cannot be reached should not keep the user waiting for half a minute.
constexpr int n_tries = 5;

hub_options to_hub_options(const common_options& typed)
{
    hub_options options = hub_options::from_environment();
    options.user_agent("modelpool-cli").n_tries(n_tries);
    if (!typed.cache_dir.empty()) options.cache_dir(typed.cache_dir);
    if (typed.offline) options.offline(true);
    return options;
}

}  // namespace

std::uint64_t parse_bytes(std::string_view text)
{
    std::uint64_t value = 0;
    const char* end = text.data() + text.size();
    const auto [last, problem] = std::from_chars(text.data(), end, value);
    const std::uint64_t factor =
        factor_of(std::string_view{last, static_cast<std::size_t>(end - last)});
    const bool fits = factor != 0 && value <= std::numeric_limits<std::uint64_t>::max() / factor;
    if (problem != std::errc{} || !fits || value == 0)
        throw usage_error{
            "--memory-limit: '" + std::string{text} +
            "' is no size: expected a number above zero with K, M, G, KiB, MiB or GiB after it"};
    return value * factor;
}

settings::settings(const common_options& typed)
    : model{typed.model}
    , device{modelpool::device::parse(typed.device)}
    , dtype{parse_dtype(typed.dtype)}
    , n_threads{typed.n_threads}
    , n_workers{typed.n_workers}
    , memory_limit_bytes{typed.memory_limit.empty() ? 0 : parse_bytes(typed.memory_limit)}
    , hub{to_hub_options(typed)}
    , lowest_level{parse_log_level(typed.log_level)}
    , json{typed.json}
    , json_lines{typed.json_lines}
{
    hub.log(stderr_log(*this));
}

program::program(bool wants_json_)
    : wants_json{wants_json_}
    , signals{[this] {
        const failure problem = describe(std::make_exception_ptr(interrupted{}));
        report(command, problem, wants_json, out.begun());
    }}
    , out{signals}
{}

void add_model_options(CLI::App& command, common_options& into)
{
    command
        .add_option(
            "-m,--model",
            into.model,
            "A checkpoint's folder, a key or alias of the catalogue, or org/name[@revision] of the "
            "hub")
        ->type_name("MODEL");
}

void add_cache_options(CLI::App& command, common_options& into)
{
    command
        .add_option(
            "--cache-dir",
            into.cache_dir,
            "The hub's cache; folders DIR/org/name and DIR/name are models too (default: as for "
            "Python's client, HF_HUB_CACHE or ~/.cache/huggingface/hub)")
        ->type_name("DIR");
    command.add_flag("--offline", into.offline, "Use no network");
}

void add_compute_options(CLI::App& command, common_options& into)
{
    command.add_option("--device", into.device, "cpu, cuda or cuda:N")->capture_default_str();
    command.add_option("--dtype", into.dtype, "auto, f32, bf16, f16, int8, q8_0 or q4_k")
        ->capture_default_str();
    command
        .add_option(
            "--threads",
            into.n_threads,
            "Compute threads of all workers together (default: as many as there are cores)")
        ->check(CLI::Range(1, 4096))
        ->type_name("N");
    command.add_option("--workers", into.n_workers, "Workers that share the model's weights")
        ->check(CLI::Range(1, 256))
        ->type_name("N");
    command
        .add_option(
            "--memory-limit",
            into.memory_limit,
            "Memory that models may take, for example 4GiB (default: most of the machine's)")
        ->type_name("SIZE");
}

void add_output_options(CLI::App& command, common_options& into, bool streams)
{
    CLI::Option* json = command.add_flag("--json", into.json, "Print one JSON document");
    if (streams)
        command
            .add_flag(
                "--json-lines", into.json_lines, "Print one JSON object a text, as each is ready")
            ->excludes(json);
    command.add_option("--log-level", into.log_level, "debug, info, warning, error or off")
        ->capture_default_str();
}

log_sink stderr_log(const settings& wanted)
{
    if (!wanted.lowest_level) return {};
    return [lowest = *wanted.lowest_level](log_level level, std::string_view line) {
        if (level < lowest) return;
        for (const auto& [name, known] : log_levels)
            if (level == known) write_error_line("[" + std::string{name} + "] " + visible(line));
    };
}

}  // namespace modelpool::cli
