#pragma once

#include <modelpool/capability/image_embedding.hpp>
#include <modelpool/capability/text_embedding.hpp>
#include <modelpool/models/load_options.hpp>

#include <filesystem>
#include <memory>
#include <string_view>

namespace modelpool::models {

using embedder_loader =
    std::unique_ptr<embedder> (*)(const std::filesystem::path& dir, const load_options& options);

/// What loads a checkpoint folder of a family, as `checkpoint_facts` names it; null where this
/// build has nothing that does.
embedder_loader find_embedder_loader(std::string_view family) noexcept;

using image_embedder_loader = std::unique_ptr<image_embedder> (*)(
    const std::filesystem::path& dir, const load_options& options);

/// The same for families that embed images.
image_embedder_loader find_image_embedder_loader(std::string_view family) noexcept;

}  // namespace modelpool::models
