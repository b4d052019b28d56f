#pragma once

// Gets images into this process before a worker is bothered with them.

#include <modelpool/async/awaitable.hpp>
#include <modelpool/config.hpp>
#include <modelpool/image/image.hpp>
#include <modelpool/pool/detail/group.hpp>
#include <modelpool/runtime/clock.hpp>
#include <modelpool/text/chat.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <variant>
#include <vector>

namespace modelpool::detail {

/// The bytes of a text in base64 (RFC 4648), with or without its padding.
/// Errors: errc::invalid_argument, which names the place.
std::vector<std::byte> decode_base64(std::string_view text);

/// The bytes of `data:[media type][;parameters];base64,<text>` (RFC 2397). What they are shows when
/// they are decoded: the media type is not looked at.
/// Errors: errc::invalid_argument; also where they are more than `max_bytes`.
std::vector<std::byte> decode_data_uri(std::string_view uri, std::uint64_t max_bytes);

inline bool is_remote(const image_source& source) noexcept
{
    return std::holds_alternative<image_url>(source);
}

/// An image that lies in this process or in a file of this machine: what a web address or a data
/// URI stands for is got, within the limits of the pool's options; all other kinds stay as they
/// are.
/// Runs: downloads through the runtime's fetcher; large data URIs are decoded on the runtime's file
/// threads; completes on the caller's executor.
/// Errors: pool_errc::shut_down, pool_errc::deadline_missed, errc::invalid_argument for a malformed
/// data URI; hub_errc, errc::timed_out and errc::unsupported of the fetcher.
/// Cancellation: terminal, partial and total at any time.
/// Lifetime: owns its arguments; the group may go meanwhile.
awaitable<image_source> resolve_image(
    std::weak_ptr<group> home,
    image_source source,
    std::optional<clock::time_point> deadline = std::nullopt);

bool has_remote_images(const chat& conversation) noexcept;

/// `resolve_image` for all images of a conversation, one after the other.
awaitable<chat> resolve_images(
    std::weak_ptr<group> home, chat conversation, std::optional<clock::time_point> deadline);

}  // namespace modelpool::detail

#if defined(MODELPOOL_HEADER_ONLY)
#include <modelpool/pool/detail/impl/image_inputs.hpp>
#endif
