#pragma once

#include <modelpool/async/detail/reply.hpp>
#include <modelpool/pool/detail/generation_job.hpp>
#include <modelpool/pool/detail/image_inputs.hpp>
#include <modelpool/pool/detail/image_job.hpp>
#include <modelpool/pool/detail/image_rows.hpp>
#include <modelpool/pool/detail/info_job.hpp>
#include <modelpool/pool/detail/text_rows.hpp>
#include <modelpool/pool/embed_handle.hpp>
#include <modelpool/pool/generation_handle.hpp>
#include <modelpool/pool/image_embed_handle.hpp>
#include <modelpool/pool/text_to_image_handle.hpp>

#include <boost/asio/error.hpp>

#include <algorithm>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <variant>

namespace modelpool {
namespace detail {

// --- texts ----------------------------------------------------------------------------------------

MODELPOOL_DECL awaitable<token_stream>
start_generation(std::weak_ptr<group> home, generation_request input, request_options request)
{
    const std::optional<clock::time_point> deadline = input.params.deadline;
    if (deadline && (!request.deadline() || *deadline < *request.deadline()))
        request.deadline(*deadline);
    if (const auto* conversation = std::get_if<chat>(&input.input);
        conversation != nullptr && has_remote_images(*conversation)) {
        auto resolving = resolve_images(home, *conversation, request.deadline());
        chat resolved = co_await std::move(resolving);
        input.input = std::move(resolved);
    }
    auto operation =
        std::make_shared<generation_job>(std::move(home), std::move(input), std::move(request));
    auto answer = await_reply<token_stream>(std::move(operation));
    co_return co_await std::move(answer);
}

/// A user's message of text with images in it: each "<image>" of the text is one of them, in order;
/// without such marks they go before the text. Errors: errc::invalid_argument where the numbers
/// differ.
MODELPOOL_DECL message image_message(std::vector<image_source> images, const std::string& text)
{
    constexpr std::string_view mark{"<image>"};
    message made;
    made.role = "user";
    std::size_t n_marks = 0;
    std::size_t begin = 0;
    for (std::size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, begin)) {
        if (at > begin) made.content.emplace_back(text.substr(begin, at - begin));
        if (n_marks < images.size()) made.content.emplace_back(std::move(images[n_marks]));
        ++n_marks;
        begin = at + mark.size();
    }
    if (n_marks == 0)
        for (image_source& one : images)
            made.content.emplace_back(std::move(one));
    else if (n_marks != images.size())
        throw error{
            errc::invalid_argument,
            "the prompt has " + std::to_string(n_marks) + " <image> marks, expected " +
                std::to_string(images.size()) + ", one for each image"};
    made.images_in_place = n_marks > 0;
    if (begin < text.size()) made.content.emplace_back(text.substr(begin));
    return made;
}

MODELPOOL_DECL awaitable<token_stream> start_description(
    std::weak_ptr<group> home,
    std::vector<image_source> images,
    std::string prompt,
    generation_params params,
    request_options request)
{
    chat conversation;
    conversation.add(image_message(std::move(images), prompt));
    generation_request input;
    input.input = std::move(conversation);
    input.params = std::move(params);
    auto starting = start_generation(std::move(home), std::move(input), std::move(request));
    co_return co_await std::move(starting);
}

// --- images ---------------------------------------------------------------------------------------

MODELPOOL_DECL awaitable<image_stream>
start_image(std::weak_ptr<group> home, image_params params, request_options request)
{
    if (params.n_images == 0 || params.n_images > max_images_per_request)
        throw error{
            errc::invalid_argument,
            std::to_string(params.n_images) + " images were asked for, expected 1 to " +
                std::to_string(max_images_per_request)};
    if (params.n_images > 1 && !params.latents.empty())
        throw error{
            errc::invalid_argument,
            std::to_string(params.n_images) +
                " images were asked for from the same latents, which gives one"};
    if (params.init_image && is_remote(*params.init_image)) {
        auto resolving = resolve_image(home, *params.init_image, request.deadline());
        image_source got = co_await std::move(resolving);
        params.init_image = std::move(got);
    }
    auto operation =
        std::make_shared<image_job>(std::move(home), std::move(params), std::move(request));
    auto answer = await_reply<image_stream>(std::move(operation));
    co_return co_await std::move(answer);
}

/// The most images from web addresses that one request holds at a time.
constexpr std::size_t n_remote_images_at_once = 8;

/// Where the part of a request that begins at `begin` ends: it has no more than
/// `n_remote_images_at_once` images from web addresses.
MODELPOOL_DECL std::size_t end_of_part(const std::vector<image_source>& images, std::size_t begin)
{
    std::size_t n_remote = 0;
    std::size_t end = begin;
    while (end < images.size()) {
        n_remote += is_remote(images[end]) ? 1 : 0;
        if (n_remote > n_remote_images_at_once) break;
        ++end;
    }
    return end;
}

/// Takes images [begin, end) out of `images`, those from web addresses got. Errors name the image.
MODELPOOL_DECL awaitable<std::vector<image_source>> take_images(
    std::weak_ptr<group> home,
    std::shared_ptr<std::vector<image_source>> images,
    std::pair<std::size_t, std::size_t> range,
    std::optional<clock::time_point> deadline)
{
    std::vector<image_source> taken;
    taken.reserve(range.second - range.first);
    for (std::size_t i = range.first; i < range.second; ++i) {
        try {
            auto resolving = resolve_image(home, std::move((*images)[i]), deadline);
            image_source got = co_await std::move(resolving);
            taken.push_back(std::move(got));
        } catch (const error& problem) {
            if (images->size() == 1 || problem.code() == boost::asio::error::operation_aborted)
                throw;
            throw problem.in("image " + std::to_string(i));
        }
    }
    co_return taken;
}

MODELPOOL_DECL awaitable<embeddings> embed_remote_images(
    std::weak_ptr<group> home,
    std::vector<image_source> images,
    image_embed_options options,
    request_options request)
{
    const auto sources = std::make_shared<std::vector<image_source>>(std::move(images));
    // Rows are stored as asked for when they are put together: one that is packed cannot be packed
    // again.
    const embedding_dtype encoding = options.encoding();
    options.encoding(embedding_dtype::f32);
    embeddings all;
    for (std::size_t begin = 0; begin < sources->size();) {
        const std::size_t end = end_of_part(*sources, begin);
        auto taking = take_images(home, sources, std::pair{begin, end}, request.deadline());
        std::vector<image_source> part = co_await std::move(taking);
        auto operation = std::make_shared<image_embed_job>(home, std::move(part), options, request);
        operation->set_part(begin, sources->size());
        auto answer = await_reply<embeddings>(std::move(operation));
        const embeddings rows = co_await std::move(answer);
        if (begin == 0) all = embeddings{sources->size(), rows.dim(), encoding, rows.normalized()};
        for (std::size_t i = 0; i < rows.size(); ++i)
            all.set_row(begin + i, rows[i]);
        begin = end;
    }
    co_return all;
}

}  // namespace detail

MODELPOOL_DECL awaitable<image_text_similarity> handle<image_embedding>::compare_all(
    handle self,
    std::vector<image_source> images,
    std::vector<std::string> texts,
    request_options request)
{
    if (images.empty()) throw error{errc::invalid_argument, "no images were given"};
    if (texts.empty()) throw error{errc::invalid_argument, "no texts were given"};
    auto asking = self.info(request);
    const image_embedder_info about = co_await std::move(asking);
    auto texts_call = self.embed_text(std::move(texts), {}, request);
    const embeddings text_rows = co_await std::move(texts_call);
    auto images_call = self.embed(std::move(images), {}, request);
    const embeddings image_rows = co_await std::move(images_call);
    co_return compare(image_rows, text_rows, about.logit_scale);
}

MODELPOOL_DECL awaitable<embeddings> handle<text_embedding>::embed(
    std::vector<std::string> texts, embed_options options, request_options request) const
{
    auto operation = std::make_shared<detail::embed_job>(
        model(), std::move(texts), std::move(options), std::move(request));
    return detail::await_reply<embeddings>(std::move(operation));
}

MODELPOOL_DECL awaitable<embedder_info> handle<text_embedding>::info(request_options request) const
{
    auto operation = std::make_shared<detail::embedder_info_job>(model(), std::move(request));
    return detail::await_reply<embedder_info>(std::move(operation));
}

MODELPOOL_DECL awaitable<std::vector<continuation_score>> generation_handle::score(
    std::string prompt, std::vector<std::string> continuations, request_options request) const
{
    auto operation = std::make_shared<detail::score_job>(
        model(), std::move(prompt), std::move(continuations), std::move(request));
    return detail::await_reply<std::vector<continuation_score>>(std::move(operation));
}

MODELPOOL_DECL awaitable<generator_info> generation_handle::info(request_options request) const
{
    auto operation =
        std::make_shared<detail::info_job<generator_info>>(model(), std::move(request));
    return detail::await_reply<generator_info>(std::move(operation));
}

MODELPOOL_DECL awaitable<embeddings> handle<image_embedding>::embed(
    std::vector<image_source> images, image_embed_options options, request_options request) const
{
    if (std::any_of(images.begin(), images.end(), detail::is_remote))
        return detail::embed_remote_images(model(), std::move(images), options, std::move(request));
    auto operation = std::make_shared<detail::image_embed_job>(
        model(), std::move(images), options, std::move(request));
    return detail::await_reply<embeddings>(std::move(operation));
}

MODELPOOL_DECL awaitable<embeddings> handle<image_embedding>::embed_text(
    std::vector<std::string> texts, embed_options options, request_options request) const
{
    auto operation = std::make_shared<detail::embed_job>(
        model(), std::move(texts), std::move(options), std::move(request));
    return detail::await_reply<embeddings>(std::move(operation));
}

MODELPOOL_DECL awaitable<image_embedder_info>
handle<image_embedding>::info(request_options request) const
{
    auto operation = std::make_shared<detail::image_embedder_info_job>(model(), std::move(request));
    return detail::await_reply<image_embedder_info>(std::move(operation));
}

MODELPOOL_DECL awaitable<image_generator_info>
handle<text_to_image>::info(request_options request) const
{
    auto operation =
        std::make_shared<detail::info_job<image_generator_info>>(model(), std::move(request));
    return detail::await_reply<image_generator_info>(std::move(operation));
}

}  // namespace modelpool
