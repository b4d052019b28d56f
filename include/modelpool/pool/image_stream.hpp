#pragma once

#include <modelpool/async/awaitable.hpp>
#include <modelpool/capability/text_to_image.hpp>
#include <modelpool/config.hpp>
#include <modelpool/error.hpp>
#include <modelpool/image/image.hpp>
#include <modelpool/pool/detail/stream_state.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <utility>

namespace modelpool {

/// A piece of a request's images: a step that was computed, or, after its last one, an image.
struct image_event {
    std::size_t index{0};  ///< which of the request's images, from 0
    std::size_t step{
        0};  ///< how many steps are done: 1 after the first one; all of them with the image
    std::size_t n_steps{0};
    std::optional<modelpool::image> preview;  ///< where the request wants previews
    std::optional<generated_image> image;     ///< after the image's last step

    /// Whether a reader that is behind gets it all the same.
    bool is_kept() const noexcept { return image.has_value(); }
};

namespace detail {

using image_state = stream_state<image_event>;

/// Step events that wait for a reader; further ones take the place of the oldest.
constexpr std::size_t image_buffer_limit = 8;

}  // namespace detail

/// A request's images while they are made. Movable; one reader. It outlives its pool safely. Destroying it stops
/// the generation.
class image_stream {
public:
    /// A stream that has ended.
    image_stream() = default;
    explicit image_stream(std::shared_ptr<detail::image_state> state)
        : state_{std::move(state)}
    {}
    image_stream(image_stream&&) noexcept = default;
    image_stream& operator=(image_stream&& other) noexcept
    {
        if (this == &other) return *this;
        stop();
        state_ = std::move(other.state_);
        return *this;
    }
    image_stream(const image_stream&) = delete;
    image_stream& operator=(const image_stream&) = delete;
    ~image_stream() { stop(); }

    /// The next event, waiting for one.
    /// Result: an event after each step that was computed, then the image, then the same for the
    /// request's other images, then empty. A reader that is behind misses the oldest steps, never
    /// an image.
    /// Runs: completes on the caller's executor; without a suspension where an event is there
    /// already.
    /// Errors: what the generation failed with, after everything before it: model_errc::failed,
    /// out_of_memory, device_lost; pool_errc::shut_down, worker_lost; operation_aborted once it was
    /// stopped; errc::invalid_argument where another `next` waits.
    /// Cancellation: terminal and partial at any time: the caller resumes at once, and the
    /// generation stops at the worker's next step. Total ends the wait alone.
    /// Lifetime: the stream may be moved or destroyed while it waits.
    awaitable<std::optional<image_event>> next();

    /// The image, without its steps; of several, the next one each time.
    /// Runs, cancellation, lifetime: as `next`.
    /// Errors: as `next`; errc::closed where all images were taken already.
    awaitable<generated_image> collect() { return collect(state_ ? state_ : ended()); }

    /// Stops the generation at the worker's next step. Any thread; without effect once it has
    /// ended.
    void stop() noexcept
    {
        if (state_) state_->stop();
    }

private:
    static std::shared_ptr<detail::image_state> ended()
    {
        auto state = std::make_shared<detail::image_state>(1);
        state->close(std::nullopt, nullptr);
        return state;
    }

    static awaitable<generated_image> collect(std::shared_ptr<detail::image_state> state);

    std::shared_ptr<detail::image_state> state_;
};

}  // namespace modelpool

#if defined(MODELPOOL_HEADER_ONLY)
#include <modelpool/pool/impl/streams.hpp>
#endif
