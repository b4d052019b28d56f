#pragma once

#include <modelpool/async/awaitable.hpp>
#include <modelpool/capability/text_to_image.hpp>
#include <modelpool/config.hpp>
#include <modelpool/image/image.hpp>
#include <modelpool/pool/any_handle.hpp>
#include <modelpool/pool/image_stream.hpp>
#include <modelpool/pool/options.hpp>

#include <memory>
#include <string>
#include <utility>

namespace modelpool {
namespace detail {

/// Waits for the stream of an image, after the one it starts from was got.
awaitable<image_stream>
start_image(std::weak_ptr<group> home, image_params params, request_options request);

}  // namespace detail

/// Makes images.
template <>
class handle<text_to_image> : public any_handle {
public:
    using any_handle::any_handle;

    /// Makes images: loads the model first where no worker has it.
    /// Result: the stream of its steps, once a worker has begun: its prompt is encoded, and its
    /// size suits the model.
    /// Runs: on a worker's own thread, one image after the other; completes on the caller's
    /// executor. An image to start from that lies on the web is got before the request queues.
    /// Errors: errc::invalid_argument for a size, a number of steps or a strength that the model
    /// cannot do, and for a number of images that is none, above `max_images_per_request`, or above
    /// 1 with latents given; errc::unsupported for what the model lacks; text_errc::not_utf8,
    /// text_errc::too_long; model_errc::bad_file for an image that cannot be decoded;
    /// model_errc::failed, out_of_memory, device_lost; of an image on the web hub_errc and
    /// errc::timed_out; pool_errc::queue_full, shut_down, memory_exhausted, deadline_missed,
    /// worker_lost, circuit_open; where the model had to be loaded, whatever its loader threw. What
    /// happens after that, the stream says.
    /// Cancellation: terminal and partial at any time; total until a worker has begun. The caller
    /// leaves at once, and the worker stays healthy.
    /// Lifetime: owns its arguments; the handle may be destroyed while it runs.
    awaitable<image_stream> imagine(image_params params, request_options request = {}) const
    {
        return detail::start_image(model(), std::move(params), std::move(request));
    }

    /// Makes an image of a prompt, with the model's own size and steps.
    /// Result: the stream of its steps, once a worker has begun: its prompt is encoded.
    /// Runs: on a worker's own thread, one image after the other; completes on the caller's
    /// executor.
    /// Errors: text_errc::not_utf8, text_errc::too_long; model_errc::failed, out_of_memory,
    /// device_lost; pool_errc::queue_full, shut_down, memory_exhausted, deadline_missed,
    /// worker_lost, circuit_open; where the model had to be loaded, whatever its loader threw. What
    /// happens after that, the stream says.
    /// Cancellation: terminal and partial at any time; total until a worker has begun. The caller
    /// leaves at once, and the worker stays healthy.
    /// Lifetime: owns its arguments; the handle may be destroyed while it runs.
    awaitable<image_stream> imagine(std::string prompt, request_options request = {}) const
    {
        image_params params;
        params.prompt = std::move(prompt);
        return imagine(std::move(params), std::move(request));
    }

    /// What the model says of itself; loads it first where no worker has it.
    /// Runs: on a worker's own thread; completes on the caller's executor.
    /// Errors: pool_errc and the loader's own as `imagine`.
    /// Cancellation, lifetime: as `imagine`.
    awaitable<image_generator_info> info(request_options request = {}) const;
};

}  // namespace modelpool

#if defined(MODELPOOL_HEADER_ONLY)
#include <modelpool/pool/impl/handles.hpp>
#endif
