#pragma once

#include <array>
#include <cstdint>

struct sockaddr;

namespace modelpool::fetching {

/// Whether an IPv4 address is one of the public internet: not private, loopback, link-local,
/// multicast, or set aside for other uses.
bool is_public_v4(const std::array<std::uint8_t, 4>& bytes);
/// The same for IPv6; what carries an IPv4 address (mapped, NAT64, 6to4) is judged by that one.
bool is_public_v6(const std::array<std::uint8_t, 16>& bytes);
/// False for families other than the two.
bool is_public(const sockaddr& address);

}  // namespace modelpool::fetching
