#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "models/diffusion_names.hpp"
#include "weights/tensor_source.hpp"

namespace modelpool::weights {
class checkpoint;
class gguf_checkpoint;
}  // namespace modelpool::weights

namespace modelpool::models {

/// The tensors of one file, or of the shards that an index names, by the names they have there:
/// safetensors and GGUF alike. Immutable; keeps its files mapped.
class weight_listing {
public:
    using tensor_map = std::map<std::string, weights::stored_tensor, std::less<>>;

    /// Opens a .safetensors file, a .json index of shards, or a .gguf file; reads headers only.
    /// Errors: those of weights::checkpoint and weights::gguf_checkpoint.
    static std::shared_ptr<const weight_listing> blocking_open(const std::filesystem::path& path);

    const tensor_map& tensors() const noexcept { return tensors_; }
    const std::string& name() const noexcept { return name_; }
    /// Null where there is no tensor of that name.
    const weights::stored_tensor* find(std::string_view name) const;
    /// One more than the largest number that follows `beginning` in a name: 0 where none does.
    std::size_t n_numbered(std::string_view beginning) const;
    void drop_pages() const noexcept;

private:
    weight_listing() = default;
    void add(std::shared_ptr<const weights::checkpoint> files);
    void add(std::shared_ptr<const weights::gguf_checkpoint> files);

    std::string name_;
    tensor_map tensors_;
    std::set<std::string> type_names_;  // of types that have no name of their own
    std::shared_ptr<const weights::checkpoint> checkpoint_;
    std::shared_ptr<const weights::gguf_checkpoint> gguf_;
};

/// What lies where for one part of a pipeline.
struct part_names {
    std::string prefix;  ///< of the part's names in the listing: "model.diffusion_model."
    name_table table{name_table::same};
};

/// One part of a pipeline out of a listing, by the names of diffusers.
class part_source final : public weights::tensor_source {
public:
    part_source(std::shared_ptr<const weight_listing> files, part_names names);

    std::optional<weights::stored_tensor> find(std::string_view name) const override;
    std::string where() const override { return files_->name(); }
    void drop_pages() const noexcept override { files_->drop_pages(); }
    std::size_t weight_bytes() const noexcept override { return weight_bytes_; }

    /// Numbers of the part's tensors, by the name of the format they are stored in.
    const std::map<std::string, std::uint64_t>& n_parameters() const noexcept
    {
        return n_parameters_;
    }

private:
    const weights::stored_tensor* find_stored(const std::string& name) const;

    std::shared_ptr<const weight_listing> files_;
    part_names names_;
    name_counts counts_;
    std::size_t weight_bytes_{0};
    std::map<std::string, std::uint64_t> n_parameters_;
};

}  // namespace modelpool::models
