#include <modelpool/error.hpp>
#include <modelpool/models/image_generator.hpp>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "models/diffusion_files.hpp"
#include "models/flow_match_schedule.hpp"
#include "models/image_pipeline.hpp"
#include "weights/safetensors.hpp"

#include <malloc.h>

namespace modelpool {
namespace {

namespace fs = std::filesystem;
using models::component_memory;
using models::flow_match_schedule;
using models::image_load_options;
using support::json_file;
using weights::safetensors_file;

constexpr auto all_pipelines = {"flux_bf16", "flux_guided", "sd3_f16", "sd3_dual"};

fs::path pipeline_dir(std::string_view name)
{
    return fs::path{MODELPOOL_TEST_DATA} / "pipelines" / name;
}

// What diffusers was asked for, and computes: see tests/data/make_pipeline_cases.py.
struct pipeline_case {
    nlohmann::json images;
    std::shared_ptr<const safetensors_file> expected;
    fs::path dir;

    explicit pipeline_case(std::string_view name)
        : dir{pipeline_dir(name)}
    {
        std::ifstream in{dir / "case.json"};
        images = nlohmann::json::parse(in).at("images");
        expected = safetensors_file::blocking_open(dir / "expected.safetensors");
    }

    image_params params(std::size_t index) const
    {
        const nlohmann::json& wanted = images.at(index);
        image_params result;
        wanted.at("prompt").get_to(result.prompt);
        wanted.at("width").get_to(result.width);
        wanted.at("height").get_to(result.height);
        wanted.at("steps").get_to(result.n_steps);
        result.guidance = wanted.at("guidance").get<float>();
        result.seed = wanted.at("seed").get<std::uint64_t>();
        wanted.at("tokens").get_to(result.max_prompt_tokens);
        if (wanted.contains("negative"))
            result.negative_prompt = wanted.at("negative").get<std::string>();
        if (wanted.contains("strength")) {
            wanted.at("strength").get_to(result.strength);
            result.init_image = image_file{dir.parent_path() / "picture.png"};
        }
        return result;
    }

    template <class Number>
    std::vector<Number> numbers(const std::string& name) const
    {
        const std::span<const std::byte> bytes = expected->tensors().at(name).data;
        std::vector<Number> result(bytes.size() / sizeof(Number));
        std::memcpy(result.data(), bytes.data(), bytes.size());
        return result;
    }
};

std::unique_ptr<image_generator> load(std::string_view name, const image_load_options& options = {})
{
    const models::found_pipeline found = models::blocking_find_pipeline(pipeline_dir(name));
    return found.kind == models::pipeline_kind::flux
               ? make_flux(models::blocking_to_files(found), options)
               : make_sd3(models::blocking_to_files(found), options);
}

generated_image make_image(image_generator& model, const image_params& params)
{
    run_context context;
    std::size_t n_left = model.begin(params, context);
    while (model.step(context))
        --n_left;
    CHECK(n_left == 1);
    return model.finish(context);
}

template <class Number>
double largest_difference(const std::vector<Number>& a, const std::vector<Number>& b)
{
    if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
    double largest = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
        // Written so that a NaN is a difference.
        if (!(difference <= largest)) largest = difference;
    }
    return largest;
}

double cosine(const std::vector<float>& a, const std::vector<float>& b)
{
    double both = 0;
    double of_a = 0;
    double of_b = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        both += static_cast<double>(a[i]) * static_cast<double>(b[i]);
        of_a += static_cast<double>(a[i]) * static_cast<double>(a[i]);
        of_b += static_cast<double>(b[i]) * static_cast<double>(b[i]);
    }
    return both / std::sqrt(of_a * of_b);
}

void check_images(image_generator& model, const pipeline_case& expected)
{
    for (std::size_t i = 0; i < expected.images.size(); ++i) {
        CAPTURE(i);
        const std::string suffix = std::to_string(i);
        const generated_image made = make_image(model, expected.params(i));
        const auto latents = expected.numbers<float>("latents_" + suffix);
        CHECK(largest_difference(made.latents, latents) < 2e-3);
        const auto pixels = expected.numbers<std::uint8_t>("pixels_" + suffix);
        CHECK(largest_difference(made.pixels.rgb, pixels) <= 1);
        CHECK(made.pixels.width == expected.params(i).width);
        CHECK(made.seed == expected.params(i).seed);
    }
}

template <class F>
boost::system::error_code failure_of(F action)
{
    try {
        action();
    } catch (const error& problem) {
        return problem.code();
    }
    return {};
}

class stopping_monitor final : public run_monitor {
public:
    int n_threads() const noexcept override { return 1; }
    void step_done() noexcept override
    {
        if (++n_done == stop_after) source.request_stop();
    }

    int n_done{0};
    int stop_after{-1};
    stop_source source;
};

}  // namespace

TEST_CASE("image pipelines: make what the reference makes")
{
    for (const char* name : all_pipelines) {
        CAPTURE(name);
        const std::unique_ptr<image_generator> model = load(name);
        check_images(*model, pipeline_case{name});
    }
}

TEST_CASE("image pipelines: make the same when loaded in turn, and as a replica")
{
    for (const char* name : {"flux_bf16", "sd3_f16"}) {
        CAPTURE(name);
        image_load_options options;
        options.memory = component_memory::in_turn;
        const std::unique_ptr<image_generator> model = load(name, options);
        check_images(*model, pipeline_case{name});
        const std::unique_ptr<image_generator> copy = model->replicate();
        REQUIRE(copy);
        check_images(*copy, pipeline_case{name});
    }
}

TEST_CASE("image pipelines: come near in bf16, and with weights as blocks")
{
    for (const char* name : {"flux_bf16", "sd3_f16"})
        for (const dtype format : {dtype::bf16, dtype::q8_0, dtype::q4_k}) {
            CAPTURE(name, to_string(format));
            image_load_options options;
            options.base.dtype(format);
            const std::unique_ptr<image_generator> model = load(name, options);
            const pipeline_case expected{name};
            const generated_image made = make_image(*model, expected.params(0));
            const auto latents = expected.numbers<float>("latents_0");
            REQUIRE(made.latents.size() == latents.size());
            CHECK(cosine(made.latents, latents) > 0.99);
        }
}

TEST_CASE("image pipelines: space their steps as the reference does, to the last bit")
{
    for (const char* name : all_pipelines) {
        const pipeline_case expected{name};
        const models::found_pipeline found = models::blocking_find_pipeline(expected.dir);
        const bool flux = found.kind == models::pipeline_kind::flux;
        const auto schedule = flow_match_schedule::read(found.scheduler);
        const std::size_t factor = std::string_view{name} == "sd3_f16" ? 8 : 4;
        for (const auto& wanted : expected.images) {
            CAPTURE(name, wanted.dump());
            const auto sigmas = wanted.at("sigmas").get<std::vector<float>>();
            std::vector<float> found_sigmas = schedule.sigmas(
                wanted.at("steps").get<std::size_t>(),
                flux ? flow_match_schedule::spacing::whole : flow_match_schedule::spacing::training,
                wanted.at("width").get<std::size_t>() / factor *
                    (wanted.at("height").get<std::size_t>() / factor));
            // Of an image that begins from another one the last steps remain.
            REQUIRE(found_sigmas.size() >= sigmas.size());
            found_sigmas.erase(
                found_sigmas.begin(),
                found_sigmas.end() - static_cast<std::ptrdiff_t>(sigmas.size()));
            CHECK(found_sigmas == sigmas);
        }
    }
}

TEST_CASE("image pipelines: refuse schedules that are not computed")
{
    const auto code_of = [](const char* text) {
        return failure_of([&] {
            flow_match_schedule::read(json_file{text, "scheduler", model_errc::bad_config});
        });
    };
    CHECK(code_of(R"({"_class_name": "EulerDiscreteScheduler"})") == model_errc::unsupported);
    CHECK(code_of(R"({"use_karras_sigmas": true})") == model_errc::unsupported);
    CHECK(code_of(R"({"shift_terminal": 0.1})") == model_errc::unsupported);
    CHECK(code_of(R"({"time_shift_type": "cubic"})") == model_errc::unsupported);
    CHECK(code_of(R"({"shift": 0})") == model_errc::bad_config);
    CHECK(
        code_of(R"({"base_image_seq_len": 7, "max_image_seq_len": 7})") == model_errc::bad_config);
    CHECK(code_of("[]") == model_errc::bad_config);
}

TEST_CASE("image pipelines: refuse a bad request before they compute")
{
    const std::unique_ptr<image_generator> model = load("flux_bf16");
    const pipeline_case about{"flux_bf16"};
    const auto code_of = [&](const std::function<void(image_params&)>& spoil) {
        stopping_monitor monitor;
        run_context context{monitor, monitor.source.flag()};
        image_params params = about.params(0);
        spoil(params);
        const auto code = failure_of([&] { model->begin(params, context); });
        CHECK(monitor.n_done == 0);
        return code;
    };
    static constexpr float nan = std::numeric_limits<float>::quiet_NaN();
    CHECK(code_of([](image_params& p) { p.width = 33; }) == errc::invalid_argument);
    CHECK(code_of([](image_params& p) { p.height = 1 << 20; }) == errc::invalid_argument);
    CHECK(code_of([](image_params& p) { p.n_steps = 1001; }) == errc::invalid_argument);
    CHECK(code_of([](image_params& p) { p.guidance = nan; }) == errc::invalid_argument);
    CHECK(code_of([](image_params& p) { p.guidance = -1; }) == errc::invalid_argument);
    CHECK(code_of([](image_params& p) { p.strength = nan; }) == errc::invalid_argument);
    CHECK(code_of([](image_params& p) { p.max_prompt_tokens = 513; }) == errc::invalid_argument);
    CHECK(code_of([](image_params& p) { p.latents = {1, 2, 3}; }) == errc::invalid_argument);
    CHECK(code_of([](image_params& p) {
              p.latents.assign(4 * 16 * 12, nan);
          }) == errc::invalid_argument);
    CHECK(code_of([](image_params& p) { p.negative_prompt = "a cat"; }) == errc::unsupported);
    CHECK(code_of([](image_params& p) { p.prompt = "\xff"; }) == text_errc::not_utf8);
    CHECK(code_of([](image_params& p) {
              p.prompt.assign((1U << 20U) + 1, 'a');
          }) == text_errc::too_long);
    CHECK(code_of([&](image_params& p) {
              p.init_image = image_file{about.dir.parent_path() / "picture.png"};
              p.strength = 0;
          }) == errc::invalid_argument);
    CHECK(code_of([](image_params& p) {
              p.init_image = image_file{"/no/such/file"};
          }) == errc::invalid_argument);
    const generated_image made = make_image(*model, about.params(0));
    CHECK(largest_difference(made.latents, about.numbers<float>("latents_0")) < 2e-3);
}

TEST_CASE("image pipelines: begin from latents that are given")
{
    const std::unique_ptr<image_generator> model = load("sd3_f16");
    image_params params = pipeline_case{"sd3_f16"}.params(0);
    params.latents.assign(4 * 8 * 6, 0.0F);
    for (std::size_t i = 0; i < params.latents.size(); ++i)
        params.latents[i] = std::sin(static_cast<float>(i));
    const generated_image one = make_image(*model, params);
    params.seed = 8;
    CHECK(make_image(*model, params).latents == one.latents);
    params.latents[0] += 1;
    CHECK(make_image(*model, params).latents != one.latents);
}

TEST_CASE("image pipelines: choose a seed where none is given, and say which")
{
    const std::unique_ptr<image_generator> model = load("flux_bf16");
    image_params params = pipeline_case{"flux_bf16"}.params(1);
    params.seed.reset();
    const generated_image first = make_image(*model, params);
    params.seed = first.seed;
    CHECK(make_image(*model, params).latents == first.latents);
}

TEST_CASE("image pipelines: stop inside a step, and go on with the next image")
{
    const std::unique_ptr<image_generator> model = load("sd3_f16");
    const pipeline_case about{"sd3_f16"};
    stopping_monitor whole;
    run_context counting{whole, whole.source.flag()};
    model->begin(about.params(0), counting);
    while (model->step(counting)) {
    }
    static_cast<void>(model->finish(counting));
    REQUIRE(whole.n_done > 10);
    for (int n = 1; n < whole.n_done; n += 3) {
        CAPTURE(n);
        const std::unique_ptr<image_generator> fresh = model->replicate();
        stopping_monitor monitor;
        monitor.stop_after = n;
        run_context context{monitor, monitor.source.flag()};
        fresh->begin(about.params(0), context);
        while (!context.stop_requested() && fresh->step(context)) {
        }
        if (!context.stop_requested()) static_cast<void>(fresh->finish(context));
        CHECK(context.stop_requested());
        CHECK(monitor.n_done == n);
        fresh->cancel();
    }
    check_images(*model, about);
}

TEST_CASE("image pipelines: free what an image held once it is cancelled")
{
    const auto in_use = [] {
        const struct mallinfo2 all = ::mallinfo2();
        return static_cast<double>(all.uordblks) + static_cast<double>(all.hblkhd);
    };
    const std::unique_ptr<image_generator> model = load("sd3_f16");
    image_params params = pipeline_case{"sd3_f16"}.params(0);
    params.width = 80;
    params.height = 80;
    static_cast<void>(make_image(*model, params));
    const double before = in_use();
    run_context context;
    params.n_steps = 8;
    model->begin(params, context);
    model->step(context);
    const double held = in_use() - before;
    REQUIRE(held > 10'000);
    model->cancel();
    CHECK(in_use() - before < held / 10);
}

TEST_CASE("image pipelines: are loaded in turn where the memory limit asks for it")
{
    const fs::path dir = pipeline_dir("flux_bf16");
    const auto whole = models::load_image_generator(dir);
    const auto limited = models::load_image_generator(dir, {}, 1000);
    const auto roomy = models::load_image_generator(dir, {}, std::uint64_t{1} << 40U);
    const auto held = [](const auto& model) {
        return model->bytes().shared_bytes + model->bytes().mapped_bytes;
    };
    CHECK(held(limited) < held(whole) / 2);
    CHECK(held(roomy) == held(whole));
    check_images(*limited, pipeline_case{"flux_bf16"});
    CHECK(held(limited) < held(whole) / 2);
    // What is made of a part counts, whenever it is there.
    const auto blocks = models::load_options{}.dtype(dtype::q8_0);
    const auto in_turn = models::load_image_generator(dir, blocks, 1000);
    const auto at_once = models::load_image_generator(dir, blocks);
    CHECK(in_turn->bytes().replica_bytes > at_once->bytes().replica_bytes);
}

TEST_CASE("image pipelines: show where the steps lead to")
{
    const std::unique_ptr<image_generator> model = load("flux_bf16");
    run_context context;
    model->begin(pipeline_case{"flux_bf16"}.params(0), context);
    model->step(context);
    const image small = model->preview(context);
    CHECK(small.width == 32);
    CHECK(small.height == 24);
    CHECK(small.rgb.size() == small.width * small.height * 3);
    CHECK(std::ranges::adjacent_find(small.rgb, std::not_equal_to{}) != small.rgb.end());
}

TEST_CASE("image pipelines: ask for begin and steps in order")
{
    const std::unique_ptr<image_generator> model = load("flux_bf16");
    run_context context;
    CHECK(failure_of([&] { model->step(context); }) == errc::invalid_argument);
    CHECK(failure_of([&] { model->finish(context); }) == errc::invalid_argument);
    model->begin(pipeline_case{"flux_bf16"}.params(0), context);
    CHECK(failure_of([&] { model->finish(context); }) == errc::invalid_argument);
    model->cancel();
    CHECK(failure_of([&] { model->step(context); }) == errc::invalid_argument);
}

TEST_CASE("image pipelines: say what they hold and what they take")
{
    const std::unique_ptr<image_generator> flux = load("flux_bf16");
    CHECK(flux->info().size_multiple == 4);
    CHECK_FALSE(flux->info().takes_negative_prompt);
    CHECK(flux->info().default_steps == 4);
    CHECK(flux->bytes().mapped_bytes > 0);
    const std::unique_ptr<image_generator> guided = load("flux_guided");
    CHECK(guided->info().default_guidance == 3.5F);
    image_load_options options;
    options.default_steps = 30;
    options.default_guidance = 5.0F;
    const std::unique_ptr<image_generator> sd3 = load("sd3_f16", options);
    CHECK(sd3->info().size_multiple == 8);
    CHECK(sd3->info().max_side == 80);
    CHECK(sd3->info().default_width == 32);
    CHECK(sd3->info().default_steps == 30);
    CHECK(sd3->info().default_guidance == 5.0F);
    CHECK(sd3->info().takes_negative_prompt);
}

TEST_CASE("image pipelines: refuse devices and number formats that they lack")
{
    for (const char* name : {"flux_bf16", "sd3_f16"}) {
        image_load_options options;
        options.base.device(device::cuda(0));
        CHECK(failure_of([&] { load(name, options); }) == model_errc::unsupported);
        options.base = models::load_options{}.dtype(dtype::int8);
        CHECK(failure_of([&] { load(name, options); }) == model_errc::unsupported);
    }
}

}  // namespace modelpool
