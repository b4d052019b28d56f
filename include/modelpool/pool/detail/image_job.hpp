#pragma once

#include <modelpool/async/detail/reply.hpp>
#include <modelpool/capability/text_to_image.hpp>
#include <modelpool/pool/detail/generation_job.hpp>
#include <modelpool/pool/image_stream.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <utility>

namespace modelpool::detail {

/// A request for images.
class image_job final : public stream_job<image_stream, image_state> {
public:
    image_job(std::weak_ptr<group> owner, image_params wanted, request_options request)
        : stream_job{std::move(owner), std::move(request), image_buffer_limit}
        , params{std::move(wanted)}
    {}

    /// What the model is asked for the image that is being made.
    image_params next_params() const
    {
        image_params one = params;
        one.n_images = 1;
        if (one.seed) *one.seed += index;
        return one;
    }

    /// The last image, for `deliver` to give; without it, it is cancelled.
    void set_image(image_event last) { last_ = std::move(last); }

    void deliver() noexcept override
    {
        const bool made = last_.has_value();
        end(made ? job_end::succeeded : job_end::cancelled,
            std::move(last_),
            made ? nullptr : aborted());
    }

    const image_params params;
    // The worker's, of the image that is being made.
    std::size_t index{0};
    std::size_t n_steps{0};
    std::size_t n_done{0};

private:
    std::optional<image_event> last_;
};

}  // namespace modelpool::detail
