#include "models/image_prompt.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <memory>
#include <variant>

#include "models/image_rows.hpp"

namespace modelpool::models {
namespace {

// Templates that know parts of messages ask for their type.
bool knows_parts(const std::string& source)
{
    return source.find("'type'") != std::string::npos ||
           source.find("\"type\"") != std::string::npos ||
           source.find(".type") != std::string::npos;
}

message without_content(const message& from)
{
    message made;
    made.role = from.role;
    made.reasoning = from.reasoning;
    made.tool_calls = from.tool_calls;
    made.tool_call_id = from.tool_call_id;
    made.name = from.name;
    return made;
}

// The same message without images, but with their marks in its text.
message with_marks(const message& from, const std::string& mark)
{
    message made = without_content(from);
    std::string text;
    for (const content_part& part : from.content)
        text += std::holds_alternative<image_source>(part) ? mark : std::get<std::string>(part);
    made.content.emplace_back(std::move(text));
    return made;
}

bool has_image(const message& from)
{
    return std::ranges::any_of(from.content, [](const content_part& part) {
        return std::holds_alternative<image_source>(part);
    });
}

// A message as the template gets it, which needs no pixels of its images.
message outline_of(const message& from)
{
    message made = without_content(from);
    for (const content_part& part : from.content)
        if (const auto* const text = std::get_if<std::string>(&part))
            made.content.emplace_back(*text);
        else
            made.content.emplace_back(image_source{});
    return made;
}

std::vector<std::int32_t> encode(const text::tokenizer& tokenizer, const std::string& text)
{
    std::vector<std::int32_t> plain =
        tokenizer.encode(text, text::encode_options{}.add_special_tokens(false)).ids;
    std::vector<std::int32_t> whole = tokenizer.encode(text).ids;
    const bool adds_first = whole.size() > plain.size();
    // Templates may write themselves what a text begins with.
    if (adds_first && !plain.empty() && plain.front() == whole.front()) return plain;
    return whole;
}

}  // namespace

std::vector<const image_source*> images_of(const chat& conversation)
{
    std::vector<const image_source*> found;
    for (const message& one : conversation.messages())
        for (const content_part& part : one.content)
            if (const auto* const source = std::get_if<image_source>(&part))
                found.push_back(source);
    return found;
}

std::string render_with_images(
    const text::chat_template& layout, const chat& conversation, const std::string& mark)
{
    const bool in_parts = knows_parts(layout.source());
    chat outline;
    outline.tools(conversation.tools());
    for (const auto& [name, json] : conversation.variables())
        outline.set(name, json);
    for (const message& one : conversation.messages()) {
        if (!has_image(one))
            outline.add(one);
        else if (one.images_in_place)
            outline.add(with_marks(one, mark));
        else
            outline.add(in_parts ? outline_of(one) : with_marks(one, mark + "\n"));
    }
    return in_parts ? layout.in_parts().render(outline) : layout.render(outline);
}

std::vector<std::int32_t> encode_with_marks(
    const text::tokenizer& tokenizer, const std::string& text, const std::string& mark)
{
    if (const std::optional<text::token_id> token = tokenizer.id_of(mark)) {
        std::vector<std::int32_t> ids = encode(tokenizer, text);
        std::ranges::replace(ids, *token, image_mark);
        return ids;
    }
    std::vector<std::int32_t> ids;
    std::size_t begin = 0;
    for (;;) {
        const std::size_t end = std::min(text.find(mark, begin), text.size());
        const std::string part = text.substr(begin, end - begin);
        const auto more =
            begin == 0
                ? encode(tokenizer, part)
                : tokenizer.encode(part, text::encode_options{}.add_special_tokens(false)).ids;
        ids.insert(ids.end(), more.begin(), more.end());
        if (end == text.size()) return ids;
        ids.push_back(image_mark);
        begin = end + mark.size();
    }
}

prepared_prompt prepare_with_images(
    const std::vector<std::int32_t>& ids,
    const std::vector<const image_source*>& images,
    const image_input& input,
    std::size_t context_length,
    std::pair<std::uint64_t, std::uint64_t> key)
{
    const auto n_marks = static_cast<std::size_t>(std::ranges::count(ids, image_mark));
    if (n_marks != images.size())
        throw error{
            errc::invalid_argument,
            "the prompt has " + std::to_string(n_marks) + " " + input.mark + " marks, expected " +
                std::to_string(images.size()) + ", one for each image"};
    const std::size_t n_positions = input.encoder->n_positions();
    const std::size_t n_tokens = ids.size() + images.size() * (n_positions - 1);
    if (n_tokens > context_length)
        throw error{
            model_errc::context_overflow,
            "the prompt has " + std::to_string(n_tokens) + " tokens, " +
                std::to_string(images.size() * n_positions) + " of them for images; the model's " +
                "context holds " + std::to_string(context_length)};
    prepared_prompt made;
    made.tokens.reserve(n_tokens);
    auto pixels = std::make_shared<prompt_pixels>();
    for (const std::int32_t id : ids) {
        if (id != image_mark) {
            made.tokens.push_back(id);
            continue;
        }
        const std::size_t i = pixels->size();
        try {
            pixels->push_back(input.encoder->prepare(*images[i]));
        } catch (const error& problem) {
            if (images.size() == 1) throw;
            throw problem.in("image " + std::to_string(i));
        }
        made.images.push_back({made.tokens.size(), n_positions, hash_of(pixels->back(), key)});
        made.tokens.insert(made.tokens.end(), n_positions, input.token);
    }
    made.state = std::move(pixels);
    return made;
}

}  // namespace modelpool::models
