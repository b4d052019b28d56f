// Images of a real pipeline, if a tiny one, out of a pool.

#include <modelpool/models.hpp>
#include <modelpool/pool/text_to_image_handle.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "models/context_options.hpp"
#include "pool/steps.hpp"

namespace modelpool {
namespace {

using namespace testing;
using boost::asio::error::operation_aborted;
using image_pool = pool<text_to_image>;
using image_handle = handle<text_to_image>;

// One thread computes, so that libtorch starts none that would outlive the test.
runtime_options one_core()
{
    return runtime_options{}.n_cores(1);
}

std::filesystem::path tiny_pipeline()
{
    return std::filesystem::path{MODELPOOL_TEST_DATA} / "pipelines" / "sd3_f16";
}

// Loads the tiny pipeline as the library's own cards do, and keeps what it said of its bytes.
loader<text_to_image> tiny_loader(std::shared_ptr<footprint> seen = std::make_shared<footprint>())
{
    return [seen](load_context context) {
        models::load_options options = models::options_of(context);
        auto build = [seen, limit = context.memory_limit_bytes(), options = std::move(options)] {
            auto made = models::load_image_generator(tiny_pipeline(), options, limit);
            *seen = made->bytes();
            return made;
        };
        return context.offload(std::move(build));
    };
}

model_options on_one_worker()
{
    return model_options{}.scaling(scaling_options{}.cold_start_workers(1).max_workers(1));
}

image_params wanted(std::size_t index)
{
    image_params params;
    const std::array prompts{"a cat", "the dog ran to a cat", "3 discs"};
    params.prompt = prompts[index % prompts.size()];
    params.width = index % 2 == 0 ? 32 : 24;
    params.height = 32;
    params.n_steps = 2 + index % 4;
    params.guidance = index % 2 == 0 ? 1.0F : 4.0F;
    params.seed = 100 + index;
    return params;
}

awaitable<generated_image> make(image_handle model, image_params params)
{
    auto starting = model.imagine(std::move(params));
    image_stream stream = co_await std::move(starting);
    auto reading = stream.collect();
    co_return co_await std::move(reading);
}

MODELPOOL_ASYNC_TEST(
    "image pipelines: ten requests at once on one worker get what each gets alone", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex, one_core()};
    image_pool models{rt};
    const image_handle model = models.add("tiny", tiny_loader(), on_one_worker());
    std::vector<generated_image> alone;
    for (std::size_t i = 0; i < 10; ++i) {
        auto making = make(model, wanted(i));
        generated_image one = co_await std::move(making);
        alone.push_back(std::move(one));
    }
    std::vector<started<generated_image>> calls;
    for (std::size_t i = 0; i < 10; ++i)
        calls.emplace_back(ex, make(model, wanted(i)));
    // One more that leaves after its first step.
    image_params endless = wanted(0);
    endless.n_steps = 1000;
    auto starting = model.imagine(endless);
    image_stream left = co_await std::move(starting);
    const auto first = co_await left.next();
    REQUIRE(first.has_value());
    left.stop();
    for (std::size_t i = 0; i < calls.size(); ++i) {
        auto ending = calls[i].get();
        const generated_image seen = co_await std::move(ending);
        CHECK(seen.seed == 100 + i);
        CHECK(seen.latents == alone[i].latents);
        CHECK(seen.pixels.rgb == alone[i].pixels.rgb);
        CHECK(seen.pixels.width == alone[i].pixels.width);
        if (i > 0) CHECK(seen.latents != alone[i - 1].latents);
    }
    auto reading = outcome_of(left.collect());
    const outcome end = co_await std::move(reading);
    CHECK(end.code == operation_aborted);
    auto after = make(model, wanted(3));
    const generated_image again = co_await std::move(after);
    CHECK(again.latents == alone[3].latents);
    auto ending = shut(models);
    co_await std::move(ending);
    const model_stats all = stats_in(models);
    CHECK(all.n_spawned == 1);
    CHECK(all.n_succeeded == 21);
    CHECK(all.n_cancelled == 1);
}

}  // namespace
}  // namespace modelpool
