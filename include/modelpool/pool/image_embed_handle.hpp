#pragma once

#include <modelpool/async/awaitable.hpp>
#include <modelpool/capability/image_embedding.hpp>
#include <modelpool/config.hpp>
#include <modelpool/pool/any_handle.hpp>
#include <modelpool/pool/options.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace modelpool {
namespace detail {

/// Embeds images of which some come from web addresses: part by part, so that only a few of them
/// are held.
awaitable<embeddings> embed_remote_images(
    std::weak_ptr<group> home,
    std::vector<image_source> images,
    image_embed_options options,
    request_options request);

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
        request_options request = {}) const;

    /// Embeds one image: loads the model first where no worker has it.
    /// Result: [1, dim], of unit length unless the options say otherwise.
    /// Runs: decoded, scaled and computed on a worker's own thread, in a batch with whatever else
    /// waits; what lies on the web is got before, through the runtime's fetcher. Completes on the
    /// caller's executor.
    /// Errors: errc::invalid_argument (a malformed data URI); what the model says of a file that it
    /// cannot decode; hub_errc, errc::timed_out or errc::unsupported of an address;
    /// model_errc::failed, out_of_memory, device_lost; pool_errc::queue_full, shut_down,
    /// memory_exhausted, deadline_missed, worker_lost, circuit_open; where the model had to be
    /// loaded, whatever its loader threw.
    /// Cancellation: terminal and partial at any time; total until a worker has begun. The caller
    /// leaves at once, and the worker stays healthy.
    /// Lifetime: owns its arguments; the handle may be destroyed while it runs.
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
        request_options request = {}) const;

    /// Embeds one text into the space of the images, with the model's text tower.
    /// Result: [1, dim], of unit length unless the options say otherwise.
    /// Runs: tokenised and computed on a worker's own thread, in a batch with whatever else waits;
    /// completes on the caller's executor.
    /// Errors: errc::unsupported where the model has no text tower; errc::invalid_argument (unknown
    /// prompt or dimension, with the choices); text_errc::not_utf8, text_errc::too_long;
    /// model_errc::failed, out_of_memory, device_lost; pool_errc::queue_full, shut_down,
    /// memory_exhausted, deadline_missed, worker_lost, circuit_open; where the model had to be
    /// loaded, whatever its loader threw.
    /// Cancellation: terminal and partial at any time; total until a worker has begun. The caller
    /// leaves at once, and the worker stays healthy.
    /// Lifetime: owns its arguments; the handle may be destroyed while it runs.
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
    awaitable<image_embedder_info> info(request_options request = {}) const;

private:
    static awaitable<image_text_similarity> compare_all(
        handle self,
        std::vector<image_source> images,
        std::vector<std::string> texts,
        request_options request);
};

}  // namespace modelpool

#if defined(MODELPOOL_HEADER_ONLY)
#include <modelpool/pool/impl/handles.hpp>
#endif
