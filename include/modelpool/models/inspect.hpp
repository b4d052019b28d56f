#pragma once

#include <modelpool/registry/card.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace modelpool::models {

/// What the files of a checkpoint say of it, without loading it. A number that the files do not
/// give is 0, a text that they do not give is empty.
struct inspection {
    /// How many of the numbers are stored in one format.
    struct stored_dtype {
        std::string name;  ///< as the files name it: "F32"
        std::uint64_t n_parameters{0};
    };

    std::string family;                ///< "bert", "qwen2"
    std::string architecture;          ///< "BertModel"
    std::optional<capability> kind;    ///< empty where the files do not tell
    std::size_t dim{0};                ///< numbers a row, of an embedding model
    std::size_t max_tokens{0};         ///< the limit of a text, or the context length
    std::vector<stored_dtype> dtypes;  ///< the most frequent first
    std::uint64_t n_parameters{0};
    std::uint64_t weight_bytes{0};  ///< of all tensors, as stored
    memory_estimate memory;         ///< on a CPU in the dtype asked for; zeroes where not runnable
    std::string reason;             ///< why this build cannot run it; empty where it can

    bool runnable() const noexcept { return reason.empty(); }
};

/// Looks at a checkpoint folder or a GGUF file; reads configurations and the headers of the weights only.
/// `precision` is what it would compute in: only text generation models differ by it.
/// Runs: blocking, on the calling thread.
/// Errors: model_errc::bad_file (no such folder, no checkpoint in it, malformed files),
/// model_errc::bad_config, model_errc::unsupported (the path is neither a folder nor a .gguf file). A checkpoint that is
/// well formed but that this build cannot run is no error: see `inspection::runnable`.
inspection blocking_inspect(const std::filesystem::path& path, dtype precision = dtype::automatic);

/// The card of a checkpoint folder or GGUF file on this machine, made by inspection, so that any checkpoint of a
/// known architecture runs, in `precision`. Its key is `path` as given; its loader reads the files itself
/// and needs no fetcher. A generator's workers start one by one, since one serves many callers.
/// Runs, errors: as `blocking_inspect`; model_errc::unsupported where this build cannot run it.
card blocking_card(const std::filesystem::path& path, dtype precision = dtype::automatic);

}  // namespace modelpool::models
