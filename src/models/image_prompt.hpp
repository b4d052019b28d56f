#pragma once

#include <modelpool/capability/generation.hpp>
#include <modelpool/text/chat.hpp>
#include <modelpool/text/chat_template.hpp>
#include <modelpool/text/tokenizer.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "models/image_encoder.hpp"

namespace modelpool::models {

/// The images of a conversation, in order. They point into it.
std::vector<const image_source*> images_of(const chat& conversation);

/// The text of a conversation with images: templates that know parts write the mark of an image
/// where they want it, except in messages whose images stand in their place; for others the mark
/// goes where the image is, on a line of its own.
/// Errors: those of chat_template::render.
std::string render_with_images(
    const text::chat_template& layout, const chat& conversation, const std::string& mark);

/// What stands for an image among ids.
constexpr std::int32_t image_mark = -1;

/// The ids of a text that holds marks of images, with `image_mark` for each. Where the tokenizer
/// does not know the mark, the parts between are encoded on their own. A text begins as the
/// tokenizer says, but for one that begins so already.
std::vector<std::int32_t> encode_with_marks(
    const text::tokenizer& tokenizer, const std::string& text, const std::string& mark);

/// A prompt of ids in which `image_mark` stands for each image, in order: an image takes its
/// positions in the place of it. `key` is that of `hash_of`.
/// Errors: errc::invalid_argument where there are more or fewer marks than images;
/// model_errc::context_overflow where the images alone do not fit into `context_length`; those of
/// image_encoder::prepare, with the image's place in the prompt where there are several.
prepared_prompt prepare_with_images(
    const std::vector<std::int32_t>& ids,
    const std::vector<const image_source*>& images,
    const image_input& input,
    std::size_t context_length,
    std::pair<std::uint64_t, std::uint64_t> key);

}  // namespace modelpool::models
