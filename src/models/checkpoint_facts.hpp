#pragma once

#include <modelpool/device.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace modelpool::models {

/// How much of a checkpoint is stored in one number format.
struct dtype_share {
    std::string dtype;  ///< as safetensors names it: "F32"
    std::uint64_t n_parameters{0};
};

/// What the files of a checkpoint say of it, without loading it. A number that the files do not give is 0, a
/// text that they do not give is empty.
struct checkpoint_facts {
    std::string family;  ///< `model_type`, with variants told apart: "bert", "jina-bert", "qwen2"
    std::string architecture;  ///< the first of `architectures`: "BertModel"
    /// "text_embedding", "text_to_text", "image_embedding", "vision" or "text_to_image"
    std::string capability;

    std::size_t dim{0};         ///< numbers of a row, for embeddings
    std::size_t max_tokens{0};  ///< the limit of a text, or the context length
    std::size_t n_layers{0};
    std::size_t hidden_size{0};
    std::size_t n_heads{0};
    std::size_t vocab_size{0};

    std::uint64_t n_parameters{0};    ///< elements of all tensors
    std::uint64_t weight_bytes{0};    ///< bytes of all tensors
    std::vector<dtype_share> dtypes;  ///< the largest share first

    // On a CPU, in the dtype asked for; 0 where this build cannot run the checkpoint.
    std::uint64_t resident_bytes{0};  ///< weights held in memory, once for all replicas
    std::uint64_t replica_bytes{0};   ///< temporaries of each replica
    std::uint64_t mapped_bytes{0};  ///< used in place in the mapped files; the system may drop them

    std::string unsupported;  ///< why this build cannot run the checkpoint; empty where it can

    bool runnable() const noexcept { return unsupported.empty(); }
};

/// Looks at a checkpoint folder or a .gguf file, as it would be computed with in `precision`: only decoders
/// differ by it. Reads configurations and the headers of the weights only.
/// Errors: model_errc::bad_file (no such folder, neither config.json nor model_index.json, malformed files),
/// model_errc::bad_config, model_errc::unsupported (a path that is neither a folder nor a .gguf file). What the
/// files describe but this build cannot run is no error: see `checkpoint_facts::unsupported`.
checkpoint_facts blocking_read_checkpoint_facts(
    const std::filesystem::path& path, dtype precision = dtype::automatic);

}  // namespace modelpool::models
