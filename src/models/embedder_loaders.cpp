#include "models/embedder_loaders.hpp"

#include <modelpool/models/bert.hpp>
#include <modelpool/models/clip.hpp>
#include <modelpool/models/gte_qwen2.hpp>
#include <modelpool/models/jina_bert.hpp>
#include <modelpool/models/nv_embed.hpp>
#include <modelpool/models/stella.hpp>

#include <array>
#include <utility>

namespace modelpool::models {

embedder_loader find_embedder_loader(std::string_view family) noexcept
{
    constexpr std::array<std::pair<std::string_view, embedder_loader>, 6> loaders{{
        {"bert", load_bert},
        {"jina-bert", load_jina_bert},
        {"gte-qwen2", load_gte_qwen2},
        {"stella", load_stella},
        {"new", load_stella},
        {"nv-embed", load_nv_embed},
    }};
    for (const auto& [name, load] : loaders)
        if (name == family) return load;
    return nullptr;
}

image_embedder_loader find_image_embedder_loader(std::string_view family) noexcept
{
    return family == "clip" ? load_clip : nullptr;
}

}  // namespace modelpool::models
