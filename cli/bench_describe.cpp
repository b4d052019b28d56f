#include <modelpool/models/llava.hpp>
#include <modelpool/sched/generation_core.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>

#include "bench.hpp"
#include "bench_process.hpp"
#include "failure.hpp"

namespace modelpool::cli {
namespace {

struct answer_times {
    std::size_t n_prompt{0};
    double first_token_s{0};
    double decode_s{0};
};

// Patches of one colour: neither flat, nor more to decode than a photograph.
image made_image(std::uint32_t seed)
{
    constexpr std::size_t patch = 16;
    image made{640, 480, {}};
    made.rgb.resize(made.width * made.height * 3);
    std::minstd_rand random{seed};
    for (std::size_t y = 0; y < made.height; y += patch) {
        for (std::size_t x = 0; x < made.width; x += patch) {
            for (std::size_t channel = 0; channel < 3; ++channel) {
                const auto value = static_cast<std::uint8_t>(random() >> 8U);
                for (std::size_t i = 0; i < patch * patch; ++i)
                    made.rgb[((y + i / patch) * made.width + x + i % patch) * 3 + channel] = value;
            }
        }
    }
    return made;
}

prepared_prompt prepare(const generator& model, const image& shown, std::string question)
{
    message one;
    one.role = "user";
    one.content.emplace_back(image_source{shown});
    one.content.emplace_back(std::move(question));
    generation_request request;
    request.input = chat{}.add(std::move(one));
    return model.prepare(request);
}

// One of the image's positions as a step of its own, which encodes the image once.
double step_into_image(generator& model, const prepared_prompt& prompt, run_context& context)
{
    const std::array<std::uint32_t, 1> blocks{0};
    step_row row;
    row.prompt = &prompt;
    row.blocks = blocks;
    const auto begin = bench_clock::now();
    model.step({&row, 1}, {}, context);
    return seconds_since(begin);
}

double measure_encoding(generator& model, run_context& context)
{
    constexpr std::size_t block_tokens = 16;
    model.allocate_kv(1, block_tokens, kv_dtype::f32);
    prepared_prompt prompt = prepare(model, made_image(1), "What is this?");
    prompt.images.front().begin = 0;
    const double with_image = step_into_image(model, prompt, context);
    const double without = step_into_image(model, prompt, context);
    model.allocate_kv(0, block_tokens, kv_dtype::f32);
    return with_image - without;
}

answer_times
ask(sched::generation_core& core,
    const generator& model,
    const image& shown,
    std::string question,
    std::size_t n_tokens,
    run_context& context)
{
    answer_times times;
    const auto begin = bench_clock::now();
    sched::core_request request;
    auto prompt = std::make_shared<prepared_prompt>(prepare(model, shown, std::move(question)));
    times.n_prompt = prompt->tokens.size();
    request.prompt = std::move(prompt);
    request.params.max_tokens = n_tokens;
    request.params.ignore_end = true;
    core.add(std::move(request));
    while (core.has_work()) {
        for (const sched::generation_update& update : core.step(context))
            if (update.usage.n_generated_tokens == 1 && times.first_token_s == 0)
                times.first_token_s = seconds_since(begin);
    }
    times.decode_s = seconds_since(begin) - times.first_token_s;
    return times;
}

}  // namespace

std::vector<figure> blocking_measure_description(const generate_bench& wanted)
{
    const int n_cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    fixed_threads threads{wanted.n_threads > 0 ? wanted.n_threads : n_cores};
    std::vector<figure> found;
    const auto begin = bench_clock::now();
    models::load_options how;
    how.dtype(wanted.precision).n_threads(threads.n_threads());
    const auto model = models::load_llava(wanted.path, how);
    found.push_back({"load", "s", seconds_since(begin)});
    run_context context{threads, {}};
    found.push_back({"image_encode", "s", measure_encoding(*model, context)});

    sched::generation_options options;
    options.kv_format(wanted.kv_format).kv_budget_bytes(std::size_t{8} << 30U);
    options.limits(sched::scheduler_options{}.max_sequences(1));
    sched::generation_core core{*model, options};
    const image shown = made_image(2);
    const std::size_t n_tokens = wanted.n_generated;
    const answer_times first =
        ask(core, *model, shown, "What is in this image?", n_tokens, context);
    const answer_times second =
        ask(core, *model, shown, "Which colours does it have?", n_tokens, context);
    found.push_back({"prompt", "tokens", static_cast<double>(first.n_prompt)});
    found.push_back({"first_token", "s", first.first_token_s});
    found.push_back({"first_token_again", "s", second.first_token_s});
    found.push_back({"sooner_again", "x", first.first_token_s / second.first_token_s});
    const double decode_s = std::min(first.decode_s, second.decode_s);
    found.push_back({"decode", "tokens/s", static_cast<double>(n_tokens - 1) / decode_s});
    add_memory(model->bytes(), found);
    return found;
}

}  // namespace modelpool::cli
