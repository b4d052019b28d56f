#pragma once

#include <modelpool/capability/model.hpp>
#include <modelpool/capability/text_embedding.hpp>
#include <modelpool/config.hpp>
#include <modelpool/image/image.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace modelpool {

/// What a request for image embeddings may ask for.
class image_embed_options {
public:
    /// Whether rows are scaled to unit length (the default), or come as the model projects them.
    image_embed_options& normalize(bool value)
    {
        normalize_ = value;
        return *this;
    }
    bool normalize() const noexcept { return normalize_; }

    image_embed_options& encoding(embedding_dtype value)
    {
        encoding_ = value;
        return *this;
    }
    embedding_dtype encoding() const noexcept { return encoding_; }

private:
    bool normalize_{true};
    embedding_dtype encoding_{embedding_dtype::f32};
};

/// How alike images and texts are, each image with each text. A value.
struct image_text_similarity {
    std::size_t n_images{0};
    std::size_t n_texts{0};
    std::vector<double> cosines;        ///< [n_images, n_texts]
    std::optional<double> logit_scale;  ///< the model's factor from cosines to logits
    embedding_usage usage;              ///< of the texts

    /// Preconditions of these and those below: image < n_images, text < n_texts.
    double cosine(std::size_t image, std::size_t text) const;
    /// The cosine times the model's scale. Errors: errc::unsupported where the model has none.
    double logit(std::size_t image, std::size_t text) const;
    /// How well each text describes an image compared with the other texts: the softmax of its
    /// logits.
    /// Result: n_texts numbers that add up to 1. Errors: as `logit`.
    std::vector<double> text_probabilities(std::size_t image) const;
    /// How well each image suits a text compared with the other images: the softmax of its logits.
    /// Result: n_images numbers that add up to 1. Errors: as `logit`.
    std::vector<double> image_probabilities(std::size_t text) const;
};

/// Compares rows of images with rows of texts, of any encoding and any length.
/// Errors: errc::invalid_argument where their dimensions differ: they come from models of different
/// spaces.
image_text_similarity compare(
    const embeddings& images,
    const embeddings& texts,
    std::optional<double> logit_scale = std::nullopt);

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

#if defined(MODELPOOL_HEADER_ONLY)
#include <modelpool/capability/impl/image_embedding.hpp>
#endif
