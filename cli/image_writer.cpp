#include "image_writer.hpp"

#include <modelpool/image/codec.hpp>
#include <modelpool/models/latents.hpp>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <string_view>
#include <utility>

#include "text_format.hpp"
#include "whole_file.hpp"

#include <unistd.h>

namespace modelpool::cli {
namespace {

namespace fs = std::filesystem;

// Pixels a side that one number of latents stands for.
constexpr std::size_t latent_side = 8;

enum class file_format { png, jpeg, webp };

file_format format_of(const fs::path& path)
{
    constexpr std::array<std::pair<std::string_view, file_format>, 4> known{
        {{".png", file_format::png},
         {".jpg", file_format::jpeg},
         {".jpeg", file_format::jpeg},
         {".webp", file_format::webp}}};
    std::string extension = path.extension().string();
    std::ranges::transform(extension, extension.begin(), [](unsigned char c) {
        return static_cast<char>(std::tolower(c));
    });
    for (const auto& [name, format] : known)
        if (extension == name) return format;
    throw usage_error{"--output: '" + path.string() + "' must end in .png, .jpg, .jpeg or .webp"};
}

std::vector<std::byte>
encode(const fs::path& path, const image& pixels, int quality, std::string text)
{
    switch (format_of(path)) {
    case file_format::jpeg:
        return encode_jpeg(pixels, quality);
    case file_format::webp:
        return encode_webp(pixels, quality);
    case file_format::png:
        break;
    }
    image_texts texts;
    texts.emplace_back("parameters", std::move(text));
    texts.emplace_back("Software", "modelpool");
    return encode_png(pixels, texts);
}

std::string fixed(double value, int n_digits)
{
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "%.*f", n_digits, value);
    return text.data();
}

void append_field(std::string& out, std::string_view name, double value)
{
    append_json(out, name);
    out += ':';
    append_number(out, value);
}

}  // namespace

// ---- targets -------------------------------------------------------------------------------------

fs::path image_targets::numbered(const fs::path& path, std::size_t index, std::size_t n_images)
{
    if (n_images < 2) return path;
    const std::string name =
        path.stem().string() + "-" + std::to_string(index + 1) + path.extension().string();
    return path.parent_path() / name;
}

void image_targets::blocking_check(std::size_t n_images) const
{
    static_cast<void>(format_of(output));
    for (std::size_t i = 0; i < n_images; ++i) {
        blocking_check_writable(numbered(output, i, n_images), "--output");
        if (!save_latents.empty())
            blocking_check_writable(numbered(save_latents, i, n_images), "--save-latents");
    }
}

// ---- what is shown -------------------------------------------------------------------------------

std::string
step_line(const image_event& event, std::size_t n_images, std::chrono::duration<double> per_step)
{
    constexpr std::size_t bar_width = 24;
    const std::size_t n_full =
        event.n_steps == 0 ? bar_width : bar_width * event.step / event.n_steps;
    std::string line;
    if (n_images > 1)
        line +=
            "image " + std::to_string(event.index + 1) + " of " + std::to_string(n_images) + " ";
    line += "[" + std::string(n_full, '#') + std::string(bar_width - n_full, '.') + "] step " +
            std::to_string(event.step) + " of " + std::to_string(event.n_steps);
    if (event.step > 0) line += ", " + fixed(per_step.count(), 1) + " s a step";
    if (event.step == event.n_steps) line += ", decoding";
    return line;
}

std::string parameter_text(
    const std::string& model,
    const image_params& params,
    std::size_t n_steps,
    const generated_image& made)
{
    std::string text = params.prompt;
    if (params.negative_prompt) text += "\nNegative prompt: " + *params.negative_prompt;
    text += "\nSteps: " + std::to_string(n_steps) + ", Sampler: Euler";
    if (params.guidance) {
        text += ", CFG scale: ";
        append_number(text, *params.guidance);
    }
    text += ", Seed: " + std::to_string(made.seed);
    text +=
        ", Size: " + std::to_string(made.pixels.width) + "x" + std::to_string(made.pixels.height);
    if (params.init_image) {
        text += ", Denoising strength: ";
        append_number(text, params.strength);
    }
    return text + ", Model: " + model;
}

image_writer::image_writer(
    program& self, const settings& wanted, const image_params& params, const image_targets& targets)
    : self_{self}
    , wanted_{wanted}
    , params_{params}
    , targets_{targets}
    , shows_{wanted.lowest_level.has_value() && ::isatty(STDERR_FILENO) == 1}
{}

image_writer::~image_writer()
{
    clear();
}

void image_writer::clear()
{
    if (std::exchange(drawn_, false)) write_error_text("\r\x1b[K");
}

void image_writer::show(const image_event& event)
{
    if (!shows_) return;
    const auto n = static_cast<double>(std::max<std::size_t>(n_steps_done_, 1));
    write_error_text("\r\x1b[K" + step_line(event, params_.n_images, denoise_ / n));
    drawn_ = true;
}

std::chrono::duration<double> image_writer::lap()
{
    const bench_clock::time_point now = bench_clock::now();
    return now - std::exchange(lap_, now);
}

void image_writer::loaded()
{
    load_ = lap();
}

void image_writer::begun()
{
    encode_ += lap();
}

void image_writer::write_step(const image_event& event)
{
    if (!wanted_.json_lines) return;
    std::string line = R"({"event":"step","image":)";
    append_number(line, event.index);
    line += R"(,"step":)";
    append_number(line, event.step);
    line += R"(,"steps":)";
    append_number(line, event.n_steps);
    append_field(line += ',', "elapsed_s", std::chrono::duration<double>(lap_ - begin_).count());
    self_.out.write(line + "}\n");
}

void image_writer::write(image_event event)
{
    if (!event.image) {
        denoise_ += lap();
        ++n_steps_done_;
        n_steps_ = event.n_steps;
        show(event);
        write_step(event);
        return;
    }
    decode_ += lap();
    n_steps_ = event.n_steps;
    save(event);
}

void image_writer::save(const image_event& event)
{
    const generated_image& made = *event.image;
    const std::size_t n = params_.n_images;
    made_image one{image_targets::numbered(targets_.output, event.index, n), {}, made.seed};
    const std::string text = parameter_text(wanted_.model, params_, event.n_steps, made);
    blocking_write_whole(one.output, encode(one.output, made.pixels, targets_.quality, text));
    width_ = made.pixels.width;
    height_ = made.pixels.height;
    if (!targets_.save_latents.empty()) {
        one.latents = image_targets::numbered(targets_.save_latents, event.index, n);
        models::image_latents latents;
        latents.height = height_ / latent_side;
        latents.width = width_ / latent_side;
        latents.values = made.latents;
        const std::size_t n_places = latents.height * latents.width;
        latents.n_channels = n_places == 0 ? 0 : latents.values.size() / n_places;
        blocking_write_whole(one.latents, models::encode_latents(latents));
    }
    clear();
    if (wanted_.json_lines) {
        std::string line = R"({"event":"image","image":)";
        append_number(line, event.index);
        line += R"(,"output":)";
        append_json(line, one.output.string());
        line += R"(,"width":)";
        append_number(line, width_);
        line += R"(,"height":)";
        append_number(line, height_);
        line += R"(,"seed":)";
        append_number(line, one.seed);
        self_.out.write(line + "}\n");
    } else if (!wanted_.json) {
        self_.out.write(visible(one.output.string()) + '\n');
    }
    made_.push_back(std::move(one));
    lap();
}

void image_writer::append_timings(std::string& out) const
{
    const auto n_images = static_cast<double>(std::max<std::size_t>(made_.size(), 1));
    const auto n_steps = static_cast<double>(std::max<std::size_t>(n_steps_done_, 1));
    out += R"("timings":{)";
    append_field(out, "load_s", load_.count());
    append_field(out += ',', "encode_s", encode_.count());
    append_field(out += ',', "step_s", denoise_.count() / n_steps);
    append_field(out += ',', "decode_s", decode_.count() / n_images);
    append_field(
        out += ',', "total_s", std::chrono::duration<double>(bench_clock::now() - begin_).count());
    out += '}';
}

void image_writer::finish()
{
    clear();
    if (wanted_.json_lines) {
        std::string line = R"({"event":"end",)";
        append_timings(line);
        self_.out.write(line + "}\n");
    }
    if (!wanted_.json || made_.empty()) return;
    std::string text = R"({"model":)";
    append_json(text, wanted_.model);
    text += R"(,"output":)";
    append_json(text, made_.front().output.string());
    text += R"(,"width":)";
    append_number(text, width_);
    text += R"(,"height":)";
    append_number(text, height_);
    text += R"(,"steps":)";
    append_number(text, n_steps_);
    text += R"(,"seed":)";
    append_number(text, made_.front().seed);
    text += R"(,"images":[)";
    for (const made_image& one : made_) {
        text += &one == &made_.front() ? R"({"output":)" : R"(,{"output":)";
        append_json(text, one.output.string());
        text += R"(,"seed":)";
        append_number(text, one.seed);
        if (!one.latents.empty()) {
            text += R"(,"latents":)";
            append_json(text, one.latents.string());
        }
        text += '}';
    }
    text += "],";
    append_timings(text);
    output::document{self_.out}.write(text + "}\n");
}

}  // namespace modelpool::cli
