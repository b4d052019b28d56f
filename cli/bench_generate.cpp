#include <modelpool/models/generator.hpp>
#include <modelpool/sched/generation_core.hpp>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "bench.hpp"
#include "bench_process.hpp"
#include "failure.hpp"

namespace modelpool::cli {
namespace {

struct run_times {
    double prefill_s{0};
    double decode_s{0};
};

// So many prompts at once, each followed by so many tokens. Prompts differ, so that none finds
// another's blocks.
run_times measure(generator& model, const generate_bench& wanted, std::size_t n_streams)
{
    sched::generation_options options;
    options.kv_format(wanted.kv_format).kv_budget_bytes(std::size_t{8} << 30U);
    options.prefill(wanted.prefill);
    options.limits(
        sched::scheduler_options{}.max_sequences(n_streams).prefill_chunk(wanted.n_chunk));
    sched::generation_core core{model, options};
    fixed_threads threads{wanted.n_threads};
    run_context context{threads, {}};
    const auto vocab = static_cast<std::uint64_t>(model.info().vocab_size);
    for (std::size_t i = 0; i < n_streams; ++i) {
        auto prompt = std::make_shared<prepared_prompt>();
        for (std::size_t k = 0; k < wanted.n_prompt; ++k)
            prompt->tokens.push_back(static_cast<std::int32_t>((i * 7919 + k * 104729) % vocab));
        sched::core_request request;
        request.prompt = std::move(prompt);
        request.params.max_tokens = wanted.n_generated;
        request.params.ignore_end = true;
        core.add(std::move(request));
    }
    run_times times;
    const auto begin = bench_clock::now();
    std::size_t n_begun = 0;
    while (core.has_work()) {
        for (const sched::generation_update& update : core.step(context))
            n_begun += update.usage.n_generated_tokens == 1 ? 1 : 0;
        if (n_begun == n_streams && times.prefill_s == 0) times.prefill_s = seconds_since(begin);
    }
    times.decode_s = seconds_since(begin) - times.prefill_s;
    return times;
}

}  // namespace

void add_memory(const footprint& bytes, std::vector<figure>& found)
{
    constexpr double mib = 1024.0 * 1024.0;
    found.push_back({"weights_in_memory", "MiB", static_cast<double>(bytes.shared_bytes) / mib});
    found.push_back({"weights_in_file", "MiB", static_cast<double>(bytes.mapped_bytes) / mib});
    found.push_back({"replica", "MiB", static_cast<double>(bytes.replica_bytes) / mib});
    found.push_back({"resident", "MiB", resident_mib()});
    found.push_back({"resident_in_files", "MiB", resident_in_files_mib()});
    found.push_back({"peak", "MiB", peak_mib()});
}

std::vector<figure> blocking_measure_generation(const generate_bench& wanted)
{
    generate_bench run = wanted;
    if (run.n_threads == 0)
        run.n_threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    std::vector<figure> found;
    const auto begin = bench_clock::now();
    models::load_options how;
    how.dtype(run.precision).n_threads(run.n_threads);
    const auto model = models::load_generator(run.path, how);
    found.push_back({"load", "s", seconds_since(begin)});
    if (run.n_prompt + run.n_generated > model->context_length())
        throw usage_error{
            "the model's context of " + std::to_string(model->context_length()) +
            " tokens does not hold " + std::to_string(run.n_prompt + run.n_generated)};
    generate_bench first = run;
    first.n_prompt = 1;
    first.n_generated = 1;
    found.push_back({"first_token", "s", measure(*model, first, 1).prefill_s});
    for (const std::size_t n_streams : run.streams) {
        const run_times times = measure(*model, run, n_streams);
        const std::string of = "_of_" + std::to_string(n_streams);
        const auto n_prompt = static_cast<double>(n_streams * run.n_prompt);
        const auto n_more = static_cast<double>(n_streams * (run.n_generated - 1));
        if (n_streams == 1) found.push_back({"prefill", "tokens/s", n_prompt / times.prefill_s});
        found.push_back({"decode" + of, "tokens/s", n_more / times.decode_s});
    }
    // Other workers only have to be there, and to have computed once.
    std::vector<std::unique_ptr<generator>> others;
    for (std::size_t i = 1; i < run.n_workers; ++i) {
        others.push_back(model->replicate());
        measure(*others.back(), first, 1);
    }
    const std::size_t most_streams = std::ranges::max(run.streams);  // of one at least
    const std::size_t n_kept = most_streams * (run.n_prompt + run.n_generated);
    const auto kv_bytes = static_cast<double>(model->kv_bytes(n_kept, run.kv_format));
    found.push_back({"keys_and_values", "MiB", kv_bytes / (1024.0 * 1024.0)});
    add_memory(model->bytes(), found);
    return found;
}

}  // namespace modelpool::cli
