#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace modelpool::models {

/// Parts of a pipeline, as the folders of the diffusers layout are called: FLUX has no
/// `text_encoder_3`, and `text_encoder_2` is T5 there and CLIP-G in Stable Diffusion 3.
enum class diffusion_part { transformer, vae, clip_l, clip_g, t5 };

std::string_view to_string(diffusion_part part) noexcept;

/// Which rows of a stored tensor are meant, as shares of its first dimension: [first, last) of
/// `of` equal shares.
struct row_share {
    std::size_t first{0};
    std::size_t last{1};
    std::size_t of{1};

    bool operator==(const row_share&) const = default;
};

/// Where the rows of a tensor lie in a file that has other names: the shares in order, one after
/// the other.
struct stored_rows {
    std::string name;
    std::vector<row_share> shares;
    bool is_1x1{false};  ///< stored as a convolution [n_out, n_in, 1, 1], meant as [n_out, n_in]

    bool operator==(const stored_rows&) const = default;
};

/// Tables of names: what diffusers (or, for encoders, transformers) calls a tensor, against what
/// the original files of the models' makers call it.
enum class name_table {
    same,     ///< the names are those of diffusers or transformers already
    flux,     ///< black-forest-labs' flux1-schnell.safetensors, and GGUF files made of it
    sd3,      ///< Stability's sd3.5_large_turbo.safetensors, and GGUF files made of it
    vae,      ///< ae.safetensors, and `first_stage_model.` of sd3.5_large_turbo.safetensors
    t5_gguf,  ///< llama.cpp's names of a T5 encoder
};

/// What the tables need to know of a checkpoint.
struct name_counts {
    std::size_t n_blocks{0};     ///< of `sd3`: joint blocks, whose last one is stored differently
    std::size_t n_up_blocks{4};  ///< of `vae`: they are numbered backwards
};

/// The place of the tensor that diffusers calls `name`; empty where the table has no such name.
/// Source: scripts/convert_flux_to_diffusers.py, scripts/convert_sd3_to_diffusers.py and
/// src/diffusers/loaders/single_file_utils.py of https://github.com/huggingface/diffusers
std::optional<stored_rows>
to_stored(name_table table, const name_counts& counts, std::string_view name);

/// The other way: what diffusers calls the tensors that lie in the one stored as `name`, in the
/// order of the table; none where the table does not know it.
std::vector<std::string>
to_diffusers(name_table table, const name_counts& counts, std::string_view name);

/// The number of an index in names that begin so: of "double_blocks.7.img_mod.lin.bias" and
/// "double_blocks." it is 7. Empty for other names, and for numbers above 9999.
std::optional<std::size_t> index_after(std::string_view name, std::string_view beginning);

}  // namespace modelpool::models
