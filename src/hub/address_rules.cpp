#include "hub/address_rules.hpp"

#include <algorithm>
#include <cstring>

#include <netinet/in.h>
#include <sys/socket.h>

namespace modelpool::fetching {
namespace {

struct v4_block {
    std::uint32_t first;
    unsigned n_bits;
};

// RFC 6890's special-purpose blocks, multicast and the reserved upper end.
constexpr std::array not_public_v4{
    v4_block{0x00000000, 8},
    v4_block{0x0A000000, 8},
    v4_block{0x64400000, 10},
    v4_block{0x7F000000, 8},
    v4_block{0xA9FE0000, 16},
    v4_block{0xAC100000, 12},
    v4_block{0xC0000000, 24},
    v4_block{0xC0000200, 24},
    v4_block{0xC0586300, 24},
    v4_block{0xC0A80000, 16},
    v4_block{0xC6120000, 15},
    v4_block{0xC6336400, 24},
    v4_block{0xCB007100, 24},
    v4_block{0xE0000000, 4},
    v4_block{0xF0000000, 4}};

std::array<std::uint8_t, 4> four(const std::array<std::uint8_t, 16>& bytes, std::size_t at)
{
    return {bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]};
}

}  // namespace

bool is_public_v4(const std::array<std::uint8_t, 4>& bytes)
{
    const std::uint32_t address = static_cast<std::uint32_t>(bytes[0]) << 24U |
                                  static_cast<std::uint32_t>(bytes[1]) << 16U |
                                  static_cast<std::uint32_t>(bytes[2]) << 8U | bytes[3];
    return std::none_of(not_public_v4.begin(), not_public_v4.end(), [&](const v4_block& block) {
        return (address ^ block.first) >> (32 - block.n_bits) == 0;
    });
}

bool is_public_v6(const std::array<std::uint8_t, 16>& bytes)
{
    const auto zero_until = [&](std::size_t end) {
        const auto place = static_cast<std::ptrdiff_t>(end);
        return std::all_of(
            bytes.begin(), bytes.begin() + place, [](std::uint8_t b) { return b == 0; });
    };
    // Mapped, translated and "compatible" addresses; the last hold :: and ::1 too.
    if (zero_until(10) && bytes[10] == 0xFF && bytes[11] == 0xFF)
        return is_public_v4(four(bytes, 12));
    if (zero_until(8) && bytes[8] == 0xFF && bytes[9] == 0xFF && bytes[10] == 0 && bytes[11] == 0)
        return is_public_v4(four(bytes, 12));
    if (zero_until(12)) return is_public_v4(four(bytes, 12));
    if (bytes[0] == 0x20 && bytes[1] == 0x02) return is_public_v4(four(bytes, 2));
    if (bytes[0] == 0x00 && bytes[1] == 0x64 && bytes[2] == 0xFF && bytes[3] == 0x9B) {
        const bool well_known = std::all_of(
            bytes.begin() + 4, bytes.begin() + 12, [](std::uint8_t b) { return b == 0; });
        return well_known && is_public_v4(four(bytes, 12));
    }
    // Global unicast is 2000::/3, less Teredo and documentation.
    if ((bytes[0] & 0xE0U) != 0x20U) return false;
    const bool is_2001 = bytes[0] == 0x20 && bytes[1] == 0x01;
    const bool is_teredo = is_2001 && bytes[2] == 0 && bytes[3] == 0;
    const bool is_documentation = is_2001 && bytes[2] == 0x0D && bytes[3] == 0xB8;
    return !is_teredo && !is_documentation;
}

bool is_public(const sockaddr& address)
{
    if (address.sa_family == AF_INET) {
        sockaddr_in v4{};
        std::memcpy(&v4, &address, sizeof v4);
        std::array<std::uint8_t, 4> bytes{};
        std::memcpy(bytes.data(), &v4.sin_addr, bytes.size());
        return is_public_v4(bytes);
    }
    if (address.sa_family == AF_INET6) {
        sockaddr_in6 v6{};
        std::memcpy(&v6, &address, sizeof v6);
        std::array<std::uint8_t, 16> bytes{};
        std::memcpy(bytes.data(), &v6.sin6_addr, bytes.size());
        return is_public_v6(bytes);
    }
    return false;
}

}  // namespace modelpool::fetching
