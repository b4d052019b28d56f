#include <modelpool/models/image_generator.hpp>

#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "bench.hpp"
#include "bench_process.hpp"

namespace modelpool::cli {
namespace {

struct image_times {
    double begin_s{0};
    double best_step_s{std::numeric_limits<double>::max()};
    double steps_s{0};
    double finish_s{0};
    std::size_t n_steps{0};
};

image_times measure(image_generator& model, const image_params& params, run_context& context)
{
    image_times times;
    auto begin = bench_clock::now();
    times.n_steps = model.begin(params, context);
    times.begin_s = seconds_since(begin);
    for (bool more = times.n_steps > 0; more;) {
        begin = bench_clock::now();
        more = model.step(context);
        const double step_s = seconds_since(begin);
        times.best_step_s = std::min(times.best_step_s, step_s);
        times.steps_s += step_s;
    }
    begin = bench_clock::now();
    static_cast<void>(model.finish(context));
    times.finish_s = seconds_since(begin);
    return times;
}

}  // namespace

std::vector<figure> blocking_measure_imagination(const imagine_bench& wanted)
{
    models::load_options options;
    options.dtype(wanted.dtype);
    const auto begin = bench_clock::now();
    const auto model =
        models::load_image_generator(wanted.path, options, wanted.memory_limit_bytes);
    std::vector<figure> found{{"load", "s", seconds_since(begin)}};
    fixed_threads threads{
        wanted.n_threads > 0 ? wanted.n_threads
                             : std::max(1, static_cast<int>(std::thread::hardware_concurrency()))};
    run_context context{threads, {}};
    image_params params;
    params.prompt = "a photo of a red fox in the snow, highly detailed";
    params.width = wanted.side;
    params.height = wanted.side;
    params.n_steps = wanted.n_steps;
    if (wanted.guidance > 0) params.guidance = wanted.guidance;
    params.seed = 1;
    const image_times first = measure(*model, params, context);
    const image_times second = measure(*model, params, context);
    const auto n_steps = static_cast<double>(first.n_steps + second.n_steps);
    found.push_back({"encode", "s", first.begin_s});
    found.push_back({"encode_again", "s", second.begin_s});
    found.push_back({"step", "s", std::min(first.best_step_s, second.best_step_s)});
    found.push_back({"step_mean", "s", (first.steps_s + second.steps_s) / n_steps});
    found.push_back({"decode", "s", std::min(first.finish_s, second.finish_s)});
    const footprint bytes = model->bytes();
    constexpr double mib = 1024.0 * 1024.0;
    found.push_back({"weights_in_memory", "MiB", static_cast<double>(bytes.shared_bytes) / mib});
    found.push_back({"weights_in_file", "MiB", static_cast<double>(bytes.mapped_bytes) / mib});
    found.push_back({"peak", "MiB", peak_mib()});
    return found;
}

}  // namespace modelpool::cli
