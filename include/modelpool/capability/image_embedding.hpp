#pragma once

#include <modelpool/capability/model.hpp>
#include <modelpool/capability/text_embedding.hpp>
#include <modelpool/image/image.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace modelpool {

/// What an image embedding model says of itself once loaded.
struct image_embedder_info {
    std::size_t dim{0};
    std::size_t image_size{0};          ///< pixels of each side the model looks at
    std::size_t max_text_tokens{0};     ///< of its text tower; 0: it has none
    std::optional<double> logit_scale;  ///< factor from cosines to logits
};

/// One image ready to be computed.
struct prepared_image {
    std::vector<float> pixels;  ///< [3, image_size, image_size], scaled as the checkpoint says
};

/// The blocking interface of an image embedding model with, often, a text tower beside it.
class image_embedder : public model {
public:
    virtual const image_embedder_info& info() const noexcept = 0;

    /// Decodes where needed, resizes and scales. Throws for this image alone: model_errc, errc.
    virtual prepared_image prepare(const image_source& source) const = 0;
    /// Throws for this text alone: text_errc; errc::unsupported where there is no text tower.
    virtual prepared_text prepare_text(const embed_input& input) const = 0;

    /// One row for each image, projected, not scaled to unit length. As `embedder::run`.
    virtual std::vector<item_result<std::vector<float>>>
    run(std::span<const prepared_image> batch, run_context& context) = 0;
    /// One row for each text, in the same space as the images.
    virtual std::vector<item_result<std::vector<float>>>
    run_text(std::span<const prepared_text> batch, run_context& context) = 0;

    virtual std::unique_ptr<image_embedder> replicate() const { return nullptr; }
};

/// Images, and texts beside them, to rows of numbers.
struct image_embedding {
    using model = image_embedder;
    static constexpr const char* name = "image_embedding";
};

}  // namespace modelpool
