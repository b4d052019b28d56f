#pragma once

#include <modelpool/capability/text_to_image.hpp>
#include <modelpool/pool/image_stream.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "common.hpp"

namespace modelpool::cli {

/// Where images go, and what was asked for.
struct image_targets {
    std::filesystem::path output;        ///< .png, .jpg, .jpeg or .webp
    std::filesystem::path save_latents;  ///< empty: they are not kept
    int quality{90};                     ///< of JPEG and WebP

    /// Errors: usage_error: a format that is not written, a place that takes no file.
    void blocking_check(std::size_t n_images) const;
    /// The k-th of n images' file: the path itself for one, else "name-1.png" and on.
    static std::filesystem::path
    numbered(const std::filesystem::path& path, std::size_t index, std::size_t n_images);
};

/// What a terminal shows of an image under way.
std::string
step_line(const image_event& event, std::size_t n_images, std::chrono::duration<double> per_step);

/// The text that PNG files carry, in the form that other programs write and read.
std::string parameter_text(
    const std::string& model,
    const image_params& params,
    std::size_t n_steps,
    const generated_image& made);

/// Tells how images go on, and writes them: as a bar on a terminal, as one JSON object an event,
/// and as a path, or a document of all, at the end.
class image_writer {
public:
    image_writer(
        program& self,
        const settings& wanted,
        const image_params& params,
        const image_targets& targets);
    /// Takes the bar from the terminal again.
    ~image_writer();
    image_writer(const image_writer&) = delete;
    image_writer& operator=(const image_writer&) = delete;
    image_writer(image_writer&&) = delete;
    image_writer& operator=(image_writer&&) = delete;

    /// The model is loaded: what follows is the image's own time.
    void loaded();
    /// The prompt is encoded.
    void begun();
    /// Errors: std::system_error for a file that cannot be written.
    void write(image_event event);
    void finish();

private:
    using bench_clock = std::chrono::steady_clock;

    struct made_image {
        std::filesystem::path output;
        std::filesystem::path latents;
        std::uint64_t seed{0};
    };

    void show(const image_event& event);
    void clear();
    void save(const image_event& event);
    void write_step(const image_event& event);
    void append_timings(std::string& out) const;
    std::chrono::duration<double> lap();

    program& self_;
    const settings& wanted_;
    const image_params& params_;
    const image_targets& targets_;
    const bool shows_;
    bool drawn_{false};
    std::vector<made_image> made_;
    std::size_t width_{0};
    std::size_t height_{0};
    std::size_t n_steps_{0};
    bench_clock::time_point begin_{bench_clock::now()};
    bench_clock::time_point lap_{begin_};
    std::chrono::duration<double> load_{0};
    std::chrono::duration<double> encode_{0};
    std::chrono::duration<double> denoise_{0};
    std::chrono::duration<double> decode_{0};
    std::size_t n_steps_done_{0};
};

}  // namespace modelpool::cli
