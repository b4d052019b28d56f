#pragma once

#include <modelpool/async/awaitable.hpp>
#include <modelpool/async/detail/reply.hpp>
#include <modelpool/capability/image_embedding.hpp>
#include <modelpool/error.hpp>
#include <modelpool/pool/any_handle.hpp>
#include <modelpool/pool/detail/image_embed_engine.hpp>
#include <modelpool/pool/detail/image_inputs.hpp>
#include <modelpool/pool/options.hpp>
#include <modelpool/runtime/clock.hpp>

#include <boost/asio/error.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace modelpool {
namespace detail {

/// The most images from web addresses that one request holds at a time.
constexpr std::size_t n_remote_images_at_once = 8;

/// Where the part of a request that begins at `begin` ends: it has no more than
/// `n_remote_images_at_once` images from web addresses.
inline std::size_t end_of_part(const std::vector<image_source>& images, std::size_t begin)
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
inline awaitable<std::vector<image_source>> take_images(
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

/// Embeds images of which some come from web addresses: part by part, so that only a few of them
/// are held.
inline awaitable<embeddings> embed_remote_images(
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

/// Embeds images, and texts into the same space.
template <>
class handle<image_embedding> : public any_handle {
public:
    using any_handle::any_handle;

    /// Embeds images: loads the model first where no worker has it.
    /// Result: [images.size(), dim] rows in the order of `images`, of unit length unless the
    /// options say otherwise.
    /// Runs: decoded, scaled and computed on the workers' own threads, in batches with whatever
    /// else waits; web addresses are got before, through the runtime's fetcher, one after the
    /// other: a request with more than 8 of them goes to the model in parts, each a request of its
    /// own to the queue and the counters. Completes on the caller's executor.
    /// Errors: errc::invalid_argument (no images, a malformed data URI); what the model says of a
    /// file that it cannot decode, and hub_errc, errc::timed_out or errc::unsupported of an
    /// address, naming the image by its index; model_errc::failed, model_errc::out_of_memory;
    /// pool_errc::queue_full, shut_down, memory_exhausted, deadline_missed, worker_lost,
    /// circuit_open; where the model had to be loaded, whatever its loader threw.
    /// Cancellation: terminal and partial at any time; total until a worker has begun, and again
    /// between parts. The caller leaves at once, and the worker stays healthy.
    /// Lifetime: owns its arguments; the handle may be destroyed while it runs.
    awaitable<embeddings> embed(
        std::vector<image_source> images,
        image_embed_options options = {},
        request_options request = {}) const
    {
        if (std::any_of(images.begin(), images.end(), detail::is_remote))
            return detail::embed_remote_images(
                model(), std::move(images), options, std::move(request));
        auto operation = std::make_shared<detail::image_embed_job>(
            model(), std::move(images), options, std::move(request));
        return detail::await_reply<embeddings>(std::move(operation));
    }

    /// Embeds one image: [1, dim]. Otherwise as above.
    awaitable<embeddings>
    embed(image_source image, image_embed_options options = {}, request_options request = {}) const
    {
        std::vector<image_source> images;
        images.push_back(std::move(image));
        return embed(std::move(images), options, std::move(request));
    }

    /// Embeds texts into the space of the images, with the model's text tower.
    /// Result: [texts.size(), dim] rows in the order of `texts`, of unit length unless the options
    /// say otherwise.
    /// Runs: tokenised and computed on the workers' own threads, in batches with whatever else
    /// waits; completes on the caller's executor.
    /// Errors: errc::unsupported where the model has no text tower; errc::invalid_argument (no
    /// texts, unknown prompt or dimension, with the choices); text_errc::not_utf8 and
    /// text_errc::too_long, naming the text by its index; those of models, pools and loaders as
    /// `embed`.
    /// Cancellation: terminal and partial at any time; total until a worker has begun. The caller
    /// leaves at once, and the worker stays healthy.
    /// Lifetime: owns its arguments; the handle may be destroyed while it runs.
    awaitable<embeddings> embed_text(
        std::vector<std::string> texts,
        embed_options options = {},
        request_options request = {}) const
    {
        auto operation = std::make_shared<detail::embed_job>(
            model(), std::move(texts), std::move(options), std::move(request));
        return detail::await_reply<embeddings>(std::move(operation));
    }

    /// Embeds one text: [1, dim]. Otherwise as above.
    awaitable<embeddings>
    embed_text(std::string text, embed_options options = {}, request_options request = {}) const
    {
        std::vector<std::string> texts;
        texts.push_back(std::move(text));
        return embed_text(std::move(texts), std::move(options), std::move(request));
    }

    /// Compares each image with each text.
    /// Result: images.size() times texts.size() cosines, with the model's logit scale where it has
    /// one.
    /// Runs: asks the model for its scale, embeds the texts, then the images, each as a request of
    /// its own to the queue and the counters; as `embed_text` and `embed`.
    /// Errors: those of `embed_text` and `embed`; nothing is computed where images or texts are
    /// missing, or the model has no text tower.
    /// Cancellation: terminal and partial at any time; total until a worker has begun one of its
    /// requests, and again between them. The caller leaves at once, and the worker stays healthy.
    /// Lifetime: owns its arguments; the handle may be destroyed while it runs.
    awaitable<image_text_similarity> similarity(
        std::vector<image_source> images,
        std::vector<std::string> texts,
        request_options request = {}) const
    {
        return compare_all(*this, std::move(images), std::move(texts), std::move(request));
    }

    /// What the model says of itself; loads it first where no worker has it.
    /// Runs, errors, cancellation, lifetime: as `embed_text`.
    awaitable<image_embedder_info> info(request_options request = {}) const
    {
        auto operation =
            std::make_shared<detail::image_embedder_info_job>(model(), std::move(request));
        return detail::await_reply<image_embedder_info>(std::move(operation));
    }

private:
    static awaitable<image_text_similarity> compare_all(
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
};

}  // namespace modelpool
