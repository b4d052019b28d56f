#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "decoder/attention.hpp"

namespace modelpool::decoder {

/// The feed-forward part of one layer.
class feed_forward {
public:
    feed_forward() = default;
    feed_forward(const feed_forward&) = delete;
    feed_forward& operator=(const feed_forward&) = delete;
    feed_forward(feed_forward&&) = delete;
    feed_forward& operator=(feed_forward&&) = delete;
    virtual ~feed_forward() = default;

    virtual void run(kernels::matrix x, kernels::matrix y, layer_room& room, machine& on) const = 0;
    virtual std::size_t n_bytes() const noexcept = 0;
};

/// Of layer number `layer`, whose tensors begin with `prefix`: one of its own, or a mixture of
/// experts where the sizes say so. Errors: those of the source; model_errc::bad_config.
std::unique_ptr<feed_forward> make_feed_forward(
    const decoder_config& config,
    std::int64_t layer,
    const std::string& prefix,
    const matrix_maker& maker);

}  // namespace modelpool::decoder
