#pragma once

#include <modelpool/capability/generation.hpp>
#include <modelpool/device.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace modelpool::cli {

/// One thing that was measured.
struct figure {
    std::string name;  ///< stable, for scripts: "embed_p50"
    std::string unit;  ///< "us"; of a plain ratio "x"
    double value{0};
};

/// What a pool costs on this machine, with a model that does nothing: takes some seconds.
std::vector<figure> blocking_measure_pool();

/// What fetching costs on this machine, from a hub on loopback: takes some seconds, and up to
/// 1.5 GiB of memory.
/// Errors: what a hub throws; std::system_error where there is no room.
std::vector<figure> blocking_measure_hub();

/// What is to be generated, and with what.
struct generate_bench {
    std::filesystem::path path;  ///< a GGUF file, or a folder
    int n_threads{0};            ///< 0: as many as there are cores
    std::size_t n_workers{1};    ///< that share the weights; the first is measured
    dtype precision{dtype::automatic};
    std::size_t n_prompt{128};
    std::size_t n_generated{32};
    kv_dtype kv_format{kv_dtype::f32};
    prefill_mode prefill{prefill_mode::exact};
    std::size_t n_chunk{512};                    ///< rows of prompts a step
    std::vector<std::size_t> streams{1, 4, 16};  ///< how many together, one after the other
};

/// How fast a model loads, reads prompts and generates, alone and for several at once.
/// Errors: usage_error; those of models::load_generator.
std::vector<figure> blocking_measure_generation(const generate_bench& wanted);

/// How fast a vision model loads, encodes an image and answers questions about it, the second
/// one about the same image among them. Of `wanted`, workers and prompt tokens are not looked at.
/// Errors: those of models::load_llava.
std::vector<figure> blocking_measure_description(const generate_bench& wanted);

/// Adds what a model holds, and what the process does.
void add_memory(const footprint& bytes, std::vector<figure>& found);

/// What image is to be made, and with what.
struct imagine_bench {
    std::filesystem::path path;  ///< as for models::load_image_generator
    modelpool::dtype dtype{modelpool::dtype::automatic};
    int n_threads{0};                     ///< 0: as many as there are cores
    std::uint64_t memory_limit_bytes{0};  ///< as for models::load_image_generator
    std::size_t side{256};                ///< pixels, of a square
    std::size_t n_steps{0};               ///< 0: the model's
    float guidance{0};
};

/// How fast a pipeline loads, encodes a prompt, denoises and decodes, and the most memory that the
/// process took. Errors: those of models::load_image_generator.
std::vector<figure> blocking_measure_imagination(const imagine_bench& wanted);
/// What embeds texts, and in which dtypes one after the other.
struct embed_bench {
    std::filesystem::path folder;
    /// Each with what its figures' names end in; the cosines are to the first one's rows.
    std::vector<std::pair<dtype, std::string>> dtypes;
    int n_threads{0};          ///< 0: as many as there are cores
    std::size_t n_workers{1};  ///< 0: the library's default
    std::size_t n_crowd{0};    ///< texts of a request beside which single ones are measured
};

/// How fast a model embeds texts of some lengths, alone and for several callers.
/// Errors: those of models::blocking_card, and of a load.
std::vector<figure> blocking_measure_embedding(const embed_bench& wanted);

}  // namespace modelpool::cli
