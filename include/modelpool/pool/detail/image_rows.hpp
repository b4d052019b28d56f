#pragma once

#include <modelpool/capability/image_embedding.hpp>
#include <modelpool/pool/detail/info_job.hpp>
#include <modelpool/pool/detail/rows_job.hpp>

#include <cstddef>

namespace modelpool::detail {

/// What a request for rows of images comes to with a certain model.
struct image_plan {
    std::size_t dim{0};
};

/// Requests for rows of images, in batches of so many images (see `rows_job`).
struct image_rows {
    using input = image_source;
    using options = image_embed_options;
    using plan = image_plan;
    using prepared = prepared_image;
    static constexpr const char* item = "image";

    static std::size_t expected_cost(const image_source&) noexcept { return 1; }
    static std::size_t cost(const prepared_image&) noexcept { return 1; }
    static embedding_usage usage(const prepared_image&) noexcept { return {}; }
};

using image_embed_job = rows_job<image_rows>;
using image_embedder_info_job = info_job<image_embedder_info>;

}  // namespace modelpool::detail
