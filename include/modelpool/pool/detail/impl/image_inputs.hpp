#pragma once

#include <modelpool/async/offload.hpp>
#include <modelpool/error.hpp>
#include <modelpool/hub/fetcher.hpp>
#include <modelpool/pool/detail/image_inputs.hpp>
#include <modelpool/runtime.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <string>
#include <utility>

namespace modelpool::detail {

/// Above so many bytes a data URI is decoded on a file thread: decoding takes about a nanosecond a
/// byte, and an event loop should not notice it.
constexpr std::size_t decoded_inline_bytes = std::size_t{256} << 10U;

MODELPOOL_DECL bool is_data_uri(std::string_view url) noexcept
{
    constexpr std::string_view scheme{"data:"};
    const auto same = [](char a, char b) {
        return (a >= 'A' && a <= 'Z' ? a - 'A' + 'a' : a) == b;
    };
    return url.size() >= scheme.size() &&
           std::equal(scheme.begin(), scheme.end(), url.begin(), [&](char b, char a) {
               return same(a, b);
           });
}

constexpr std::uint8_t no_base64_digit = 64;

constexpr std::array<std::uint8_t, 256> make_base64_digits()
{
    std::array<std::uint8_t, 256> digits{};
    digits.fill(no_base64_digit);
    constexpr std::string_view alphabet{
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"};
    for (std::size_t i = 0; i < alphabet.size(); ++i)
        digits[static_cast<unsigned char>(alphabet[i])] = static_cast<std::uint8_t>(i);
    return digits;
}

inline constexpr std::array<std::uint8_t, 256> base64_digits = make_base64_digits();

MODELPOOL_DECL std::vector<std::byte> decode_base64(std::string_view text)
{
    const auto refuse = [](const std::string& why) {
        throw error{errc::invalid_argument, "a data URI's base64 text " + why};
    };
    const std::size_t n_padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
    if (n_padding > 0 && text.size() % 4 != 0)
        refuse(
            "is padded to " + std::to_string(text.size()) +
            " characters; a multiple of 4 was expected");
    text.remove_suffix(n_padding);
    if (text.size() % 4 == 1) refuse("ends within a byte");
    std::vector<std::byte> bytes;
    bytes.reserve(text.size() / 4 * 3 + 2);
    std::uint32_t bits = 0;
    unsigned n_bits = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const std::uint8_t digit = base64_digits[static_cast<unsigned char>(text[i])];
        if (digit == no_base64_digit)
            refuse("has a character at " + std::to_string(i) + " that is no digit of it");
        bits = (bits << 6U) | digit;
        n_bits += 6;
        if (n_bits < 8) continue;
        n_bits -= 8;
        bytes.push_back(static_cast<std::byte>((bits >> n_bits) & 0xFFU));
    }
    if ((bits & ((1U << n_bits) - 1U)) != 0) refuse("has bits left over at its end");
    return bytes;
}

MODELPOOL_DECL std::vector<std::byte> decode_data_uri(std::string_view uri, std::uint64_t max_bytes)
{
    const std::size_t comma = uri.find(',');
    if (comma == std::string_view::npos || !uri.substr(0, comma).ends_with(";base64"))
        throw error{
            errc::invalid_argument,
            "a data URI of an image must read data:<media type>;base64,<text>; found \"" +
                std::string{uri.substr(0, std::min<std::size_t>({comma, uri.size(), 40}))} + "\""};
    const std::string_view text = uri.substr(comma + 1);
    if (text.size() / 4 * 3 > max_bytes)
        throw error{
            errc::invalid_argument,
            "a data URI of " + std::to_string(text.size()) + " characters holds more than the " +
                std::to_string(max_bytes) + " bytes an image may have"};
    return decode_base64(text);
}

MODELPOOL_DECL awaitable<image_source> resolve_address(
    std::weak_ptr<group> home, std::string address, std::optional<clock::time_point> deadline)
{
    std::shared_ptr<group> owner = home.lock();
    if (!owner) throw error{pool_errc::shut_down};
    runtime& rt = owner->rt();  // outlives this operation, which the group may not
    url_limits limits = owner->options().images();
    owner.reset();
    image_bytes got;
    if (!is_data_uri(address)) {
        if (deadline) {
            const auto left =
                std::chrono::floor<std::chrono::milliseconds>(*deadline - rt.time().now());
            if (left.count() <= 0)
                throw error{
                    pool_errc::deadline_missed, "the deadline passed before an image was got"};
            limits.timeout(std::min(limits.timeout(), left));
        }
        auto download = rt.files().get(std::move(address), limits);
        got.bytes = co_await std::move(download);
    } else if (address.size() <= decoded_inline_bytes) {
        got.bytes = decode_data_uri(address, limits.max_bytes());
    } else {
        auto decode = [uri = std::move(address), most = limits.max_bytes()] {
            return decode_data_uri(uri, most);
        };
        auto decoding = offload(rt.file_threads(), std::move(decode));
        got.bytes = co_await std::move(decoding);
    }
    co_return image_source{std::move(got)};
}

MODELPOOL_DECL awaitable<image_source> resolve_image(
    std::weak_ptr<group> home, image_source source, std::optional<clock::time_point> deadline)
{
    if (!is_remote(source)) co_return source;
    std::string address = std::move(std::get<image_url>(source).url);
    auto resolving = resolve_address(std::move(home), std::move(address), deadline);
    co_return co_await std::move(resolving);
}

MODELPOOL_DECL bool has_remote_images(const chat& conversation) noexcept
{
    const auto remote = [](const content_part& part) {
        const auto* source = std::get_if<image_source>(&part);
        return source != nullptr && is_remote(*source);
    };
    const auto has_one = [&](const message& one) {
        return std::any_of(one.content.begin(), one.content.end(), remote);
    };
    return std::any_of(conversation.messages().begin(), conversation.messages().end(), has_one);
}

MODELPOOL_DECL awaitable<chat> resolve_images(
    std::weak_ptr<group> home, chat conversation, std::optional<clock::time_point> deadline)
{
    chat resolved;
    resolved.tools(conversation.tools());
    for (const auto& [name, json] : conversation.variables())
        resolved.set(name, json);
    for (const message& before : conversation.messages()) {
        message one = before;
        for (content_part& part : one.content) {
            auto* source = std::get_if<image_source>(&part);
            if (source == nullptr || !is_remote(*source)) continue;
            auto resolving = resolve_image(home, std::move(*source), deadline);
            image_source got = co_await std::move(resolving);
            part = std::move(got);
        }
        resolved.add(std::move(one));
    }
    co_return resolved;
}

}  // namespace modelpool::detail
