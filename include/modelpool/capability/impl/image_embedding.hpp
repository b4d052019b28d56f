#pragma once

#include <modelpool/assert.hpp>
#include <modelpool/capability/image_embedding.hpp>
#include <modelpool/error.hpp>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

namespace modelpool {
namespace detail {

/// Replaces logits by their probabilities.
MODELPOOL_DECL void softmax(std::vector<double>& values)
{
    if (values.empty()) return;
    // The largest becomes 0, so that none overflows.
    const double largest = *std::max_element(values.begin(), values.end());
    double sum = 0;
    for (double& value : values) {
        value = std::exp(value - largest);
        sum += value;
    }
    for (double& value : values)
        value /= sum;
}

}  // namespace detail

MODELPOOL_DECL double image_text_similarity::cosine(std::size_t image, std::size_t text) const
{
    MODELPOOL_ASSERT(image < n_images && text < n_texts);
    return cosines[image * n_texts + text];
}

MODELPOOL_DECL double image_text_similarity::logit(std::size_t image, std::size_t text) const
{
    if (!logit_scale)
        throw error{
            errc::unsupported,
            "the model has no logit scale: its cosines cannot be turned into probabilities"};
    return cosine(image, text) * *logit_scale;
}

MODELPOOL_DECL std::vector<double>
image_text_similarity::text_probabilities(std::size_t image) const
{
    std::vector<double> values;
    values.reserve(n_texts);
    for (std::size_t text = 0; text < n_texts; ++text)
        values.push_back(logit(image, text));
    detail::softmax(values);
    return values;
}

MODELPOOL_DECL std::vector<double>
image_text_similarity::image_probabilities(std::size_t text) const
{
    std::vector<double> values;
    values.reserve(n_images);
    for (std::size_t image = 0; image < n_images; ++image)
        values.push_back(logit(image, text));
    detail::softmax(values);
    return values;
}

MODELPOOL_DECL image_text_similarity
compare(const embeddings& images, const embeddings& texts, std::optional<double> logit_scale)
{
    if (images.dim() != texts.dim())
        throw error{
            errc::invalid_argument,
            "rows of " + std::to_string(images.dim()) +
                " numbers for images cannot be compared with rows of " +
                std::to_string(texts.dim()) + " for texts: one model must make both"};
    image_text_similarity made;
    made.n_images = images.size();
    made.n_texts = texts.size();
    made.logit_scale = logit_scale;
    made.usage = texts.usage();
    made.cosines.reserve(images.size() * texts.size());
    std::vector<std::vector<float>> columns;
    columns.reserve(texts.size());
    for (std::size_t text = 0; text < texts.size(); ++text)
        columns.push_back(texts.to_f32(text));
    for (std::size_t image = 0; image < images.size(); ++image) {
        const std::vector<float> row = images.to_f32(image);
        for (const std::vector<float>& column : columns)
            made.cosines.push_back(cosine(row, column));
    }
    return made;
}

}  // namespace modelpool
