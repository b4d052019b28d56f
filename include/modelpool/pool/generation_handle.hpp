#pragma once

#include <modelpool/async/awaitable.hpp>
#include <modelpool/capability/generation.hpp>
#include <modelpool/capability/text_to_text.hpp>
#include <modelpool/capability/vision.hpp>
#include <modelpool/config.hpp>
#include <modelpool/image/image.hpp>
#include <modelpool/pool/any_handle.hpp>
#include <modelpool/pool/options.hpp>
#include <modelpool/pool/token_stream.hpp>
#include <modelpool/runtime/clock.hpp>
#include <modelpool/text/chat.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace modelpool {
namespace detail {

/// Waits for the stream of a generation, after the images of its conversation were got.
awaitable<token_stream>
start_generation(std::weak_ptr<group> home, generation_request input, request_options request);

/// The same of a prompt about images: see `handle<vision>::describe`.
awaitable<token_stream> start_description(
    std::weak_ptr<group> home,
    std::vector<image_source> images,
    std::string prompt,
    generation_params params,
    request_options request);

}  // namespace detail

/// What handles of generating models have in common.
class generation_handle : public any_handle {
public:
    using any_handle::any_handle;

    /// Answers a conversation, written by the model's own template: loads the model first where no
    /// worker has it.
    /// Result: the stream of the answer, once a worker has admitted the request: its prompt is
    /// prepared, and fits.
    /// Runs: prepared and computed on a worker's own thread, in one batch with whatever else it
    /// generates; completes on the caller's executor. Images that lie on the web are got before the
    /// request queues.
    /// Errors: errc::invalid_argument for a parameter out of its range and for an image that cannot
    /// be read or decoded (of several, with its place); errc::unsupported for what the model lacks
    /// (a template, images, a schema); text_errc::not_utf8, text_errc::bad_id;
    /// model_errc::context_overflow; of images on the web hub_errc and errc::timed_out; pool_errc::queue_full, shut_down,
    /// memory_exhausted, deadline_missed, worker_lost, circuit_open; where the model had to be
    /// loaded, whatever its loader threw. What happens after that, the stream says.
    /// Cancellation: terminal and partial at any time; total until a worker has begun. The caller
    /// leaves at once, and the worker stays healthy. `params.deadline` bounds admission and
    /// generation together.
    /// Lifetime: owns its arguments; the handle may be destroyed while it runs.
    awaitable<token_stream> chat(
        modelpool::chat conversation,
        generation_params params = {},
        request_options request = {}) const
    {
        generation_request input;
        input.input = std::move(conversation);
        return start(std::move(input), std::move(params), std::move(request));
    }

    /// Continues a prompt as it stands; nothing is added to it but the tokenizer's own special
    /// tokens.
    /// Result, runs, errors, cancellation, lifetime: as `chat`.
    awaitable<token_stream>
    complete(std::string prompt, generation_params params = {}, request_options request = {}) const
    {
        generation_request input;
        input.input = std::move(prompt);
        return start(std::move(input), std::move(params), std::move(request));
    }

    /// Continues a prompt of tokens; nothing is added to it.
    /// Result, runs, errors, cancellation, lifetime: as `chat`.
    awaitable<token_stream> complete(
        std::vector<std::int32_t> prompt,
        generation_params params = {},
        request_options request = {}) const
    {
        generation_request input;
        input.input = std::move(prompt);
        return start(std::move(input), std::move(params), std::move(request));
    }

    /// How likely the model finds each of several continuations of a prompt. The prompt and each
    /// continuation are turned into tokens on their own.
    /// Result: one score for each continuation, in order.
    /// Runs: on a worker's own thread, beside whatever else it generates, with the prompt computed
    /// once; completes on the caller's executor.
    /// Errors: errc::invalid_argument where there are no continuations; text_errc::not_utf8 and
    /// model_errc::context_overflow, naming the continuation by its index; model_errc::failed,
    /// out_of_memory, device_lost; pool_errc and the loader's own as `chat`.
    /// Cancellation: terminal and partial at any time; total until a worker has begun. The caller
    /// leaves at once, and the worker stops at its next step.
    /// Lifetime: owns its arguments; the handle may be destroyed while it runs.
    awaitable<std::vector<continuation_score>> score(
        std::string prompt,
        std::vector<std::string> continuations,
        request_options request = {}) const;

    /// What the model says of itself; loads it first where no worker has it.
    /// Runs: on a worker's own thread; completes on the caller's executor.
    /// Errors: pool_errc and the loader's own as `chat`.
    /// Cancellation, lifetime: as `chat`.
    awaitable<generator_info> info(request_options request = {}) const;

private:
    awaitable<token_stream>
    start(generation_request input, generation_params params, request_options request) const
    {
        input.params = std::move(params);
        return detail::start_generation(model(), std::move(input), std::move(request));
    }
};

/// Continues texts and answers conversations.
template <>
class handle<text_to_text> : public generation_handle {
public:
    using generation_handle::generation_handle;
};

/// Answers questions about images; conversations may hold images among their text.
template <>
class handle<vision> : public generation_handle {
public:
    using generation_handle::generation_handle;

    /// Answers a prompt about images, through the model's own template. Each "<image>" of the
    /// prompt stands for one of them, in order; without such marks they go before the text.
    /// Result, runs, errors, cancellation, lifetime: as `chat`; errc::invalid_argument also where
    /// there are more or fewer marks than images.
    awaitable<token_stream> describe(
        std::vector<image_source> images,
        std::string prompt,
        generation_params params = {},
        request_options request = {}) const
    {
        return detail::start_description(
            model(), std::move(images), std::move(prompt), std::move(params), std::move(request));
    }

    /// Answers a prompt about one image, which goes where the prompt has "<image>", or before it.
    /// Result: the stream of the answer, once a worker has admitted the request: its prompt is
    /// prepared, and fits.
    /// Runs: prepared and computed on a worker's own thread, in one batch with whatever else it
    /// generates; completes on the caller's executor. An image that lies on the web is got before
    /// the request queues.
    /// Errors: errc::invalid_argument for a parameter out of its range and for an image that cannot
    /// be read or decoded; errc::unsupported for what the model lacks; text_errc::not_utf8,
    /// text_errc::bad_id; model_errc::context_overflow; of one on the web hub_errc and
    /// errc::timed_out; model_errc::failed, out_of_memory, device_lost; pool_errc::queue_full, shut_down,
    /// memory_exhausted, deadline_missed, worker_lost, circuit_open; where the model had to be
    /// loaded, whatever its loader threw. What happens after that, the stream says.
    /// Cancellation: terminal and partial at any time; total until a worker has begun. The caller
    /// leaves at once, and the worker stays healthy. `params.deadline` bounds admission and
    /// generation together.
    /// Lifetime: owns its arguments; the handle may be destroyed while it runs.
    awaitable<token_stream> describe(
        image_source image,
        std::string prompt,
        generation_params params = {},
        request_options request = {}) const
    {
        std::vector<image_source> images;
        images.push_back(std::move(image));
        return describe(
            std::move(images), std::move(prompt), std::move(params), std::move(request));
    }
};

}  // namespace modelpool

#if defined(MODELPOOL_HEADER_ONLY)
#include <modelpool/pool/impl/handles.hpp>
#endif
