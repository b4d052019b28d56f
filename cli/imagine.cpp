#include <modelpool/error.hpp>
#include <modelpool/image/codec.hpp>
#include <modelpool/models/latents.hpp>

#include <array>
#include <charconv>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "commands.hpp"
#include "image_writer.hpp"
#include "models_found.hpp"
#include "session.hpp"
#include "text_format.hpp"

namespace modelpool::cli {
namespace {

constexpr std::size_t latent_side = 8;

struct imagine_arguments {
    common_options common;
    std::string prompt;
    std::optional<std::string> negative;
    std::size_t n_steps{0};
    std::optional<float> guidance;
    std::string size;
    std::optional<std::uint64_t> seed;
    std::size_t max_prompt_tokens{0};
    std::size_t n_images{1};
    std::string init_image;
    std::optional<float> strength;
    std::string latents;
    std::string save_latents;
    std::string output;
    int quality{90};
};

// "WxH"
std::pair<std::size_t, std::size_t> parse_size(const std::string& text)
{
    const auto fail = [&]() {
        throw usage_error{"--size: '" + text + "' is no size: expected WIDTHxHEIGHT in pixels"};
    };
    std::array<std::size_t, 2> sides{};
    const char* at = text.data();
    const char* const end = at + text.size();
    for (std::size_t& side : sides) {
        if (&side != &sides.front()) {
            if (at == end || *at != 'x') fail();
            ++at;
        }
        const auto [rest, problem] = std::from_chars(at, end, side);
        if (problem != std::errc{} || side == 0) fail();
        at = rest;
    }
    if (at != end) fail();
    return {sides[0], sides[1]};
}

image_source to_source(const std::string& argument)
{
    constexpr std::array<std::string_view, 3> schemes{"data:", "http://", "https://"};
    for (const std::string_view scheme : schemes)
        if (argument.starts_with(scheme)) return image_url{argument};
    // Decoded here: a file that is no image should be told of before a model is loaded.
    return blocking_load_image(image_file{argument});
}

void blocking_add_latents(const imagine_arguments& given, image_params& params)
{
    models::image_latents latents = models::blocking_read_latents(given.latents);
    const std::size_t width = latents.width * latent_side;
    const std::size_t height = latents.height * latent_side;
    if (given.size.empty()) {
        params.width = width;
        params.height = height;
    } else if (params.width != width || params.height != height) {
        throw usage_error{
            "--latents: " + given.latents + " is of an image of " + std::to_string(width) + "x" +
            std::to_string(height) + ", but --size asks for " + given.size};
    }
    params.latents = std::move(latents.values);
}

image_params blocking_params(const imagine_arguments& given)
{
    image_params params;
    params.prompt = given.prompt;
    params.negative_prompt = given.negative;
    params.n_steps = given.n_steps;
    params.guidance = given.guidance;
    params.seed = given.seed;
    params.max_prompt_tokens = given.max_prompt_tokens;
    params.n_images = given.n_images;
    if (!given.size.empty()) {
        const auto sides = parse_size(given.size);
        params.width = sides.first;
        params.height = sides.second;
    }
    if (given.strength && given.init_image.empty())
        throw usage_error{"--strength says how far to leave --init-image, which is missing"};
    if (!given.latents.empty() && given.n_images > 1)
        throw usage_error{"--count: images of the same --latents would all be the same"};
    if (!given.latents.empty()) blocking_add_latents(given, params);
    if (!given.init_image.empty()) params.init_image = to_source(given.init_image);
    if (given.strength) params.strength = *given.strength;
    return params;
}

awaitable<void>
imagine(session& where, card about, const image_params& params, image_writer& writer)
{
    auto opening = where.open_image_generator(std::move(about));
    const handle<text_to_image> model = co_await std::move(opening);
    auto asking = model.info();
    co_await std::move(asking);
    writer.loaded();
    auto starting = model.imagine(params);
    image_stream stream = co_await std::move(starting);
    writer.begun();
    for (;;) {
        auto waiting = stream.next();
        std::optional<image_event> event = co_await std::move(waiting);
        if (!event) break;
        writer.write(std::move(*event));
    }
    writer.finish();
}

void run_imagine(program& self, const imagine_arguments& given)
{
    const settings wanted{given.common};
    image_targets targets;
    targets.output = given.output;
    targets.save_latents = given.save_latents;
    targets.quality = given.quality;
    targets.blocking_check(given.n_images);
    const image_params params = blocking_params(given);
    card about = blocking_find_card(wanted);
    session where{self, wanted};
    image_writer writer{self, wanted, params, targets};
    where.run([&] { return imagine(where, std::move(about), params, writer); });
}

constexpr const char* footer =
    R"(Output: the path of each image. With --json one document: {"model","output","width","height","steps","seed",
"images":[{"output","seed","latents"}],"timings":{"load_s","encode_s","step_s","decode_s","total_s"}}. With
--json-lines one object an event: {"event":"step","image","step","steps","elapsed_s"} after each step,
{"event":"image","image","output","width","height","seed"}, and {"event":"end","timings"}.

PNG files carry the parameters as text. With --count the files are F-1.png, F-2.png and so on, and their seeds
follow one another.

Examples:
  modelpool imagine --model flux-schnell --prompt "a red fox in the snow" --size 512x512 --output fox.png
  modelpool imagine --model ./stable-diffusion-3.5-large-turbo --prompt "a house by the sea" --seed 1 \
      --init-image sketch.png --strength 0.8 --output house.webp --json)";

void add_image_options(CLI::App& command, imagine_arguments& into)
{
    command.add_option("--init-image", into.init_image, "Start from this image instead of noise")
        ->type_name("F");
    command
        .add_option(
            "--strength", into.strength, "How much of the init image is replaced, above 0 to 1")
        ->check(CLI::Range(0.0, 1.0))
        ->type_name("S");
    command
        .add_option(
            "--latents",
            into.latents,
            "Start from safetensors \"latents\" [1, channels, height/8, width/8]")
        ->type_name("F");
    command
        .add_option("--save-latents", into.save_latents, "Write the final latents, before decoding")
        ->type_name("F");
    command.add_option("-o,--output", into.output, "The image's file: .png, .jpg, .jpeg or .webp")
        ->required()
        ->type_name("F");
    command.add_option("--quality", into.quality, "Of JPEG and WebP files")
        ->check(CLI::Range(1, 100))
        ->capture_default_str()
        ->type_name("N");
}

}  // namespace

void add_imagine(CLI::App& app, program& self)
{
    CLI::App* command = app.add_subcommand("imagine", "Make an image of a text");
    auto given = std::make_shared<imagine_arguments>();
    add_model_options(*command, given->common);
    command->add_option("--prompt", given->prompt, "What the image is to show")
        ->required()
        ->type_name("P");
    command->add_option("--negative", given->negative, "What it is not to show, with guidance")
        ->type_name("N");
    command->add_option("--steps", given->n_steps, "Denoising steps (default: the model's)")
        ->check(CLI::Range(1, 1000))
        ->type_name("N");
    command
        ->add_option(
            "--guidance",
            given->guidance,
            "How closely to follow the prompt (default: the model's)")
        ->check(CLI::Range(0.0, 100.0))
        ->type_name("G");
    command->add_option("--size", given->size, "In pixels (default: the model's)")
        ->type_name("WxH");
    command->add_option("--seed", given->seed, "The same seed gives the same image")
        ->type_name("S");
    command
        ->add_option(
            "--max-prompt-tokens", given->max_prompt_tokens, "The most of the prompt that T5 reads")
        ->check(CLI::Range(1, 4096))
        ->type_name("N");
    command->add_option("--count", given->n_images, "How many images")
        ->check(CLI::Range(std::size_t{1}, max_images_per_request))
        ->type_name("N");
    add_image_options(*command, *given);
    add_compute_options(*command, given->common);
    add_cache_options(*command, given->common);
    add_output_options(*command, given->common, true);
    command->footer(footer);
    command->callback([&self, given] { self.run = [&self, given] { run_imagine(self, *given); }; });
}

}  // namespace modelpool::cli
