#pragma once

#include <modelpool/error.hpp>
#include <modelpool/runtime/device_info.hpp>

#include <cstdint>

namespace modelpool::testing {

/// CUDA devices 0 to 3, each with so much free memory.
class fake_devices final : public device_info {
public:
    explicit fake_devices(std::uint64_t free)
        : free_bytes_{free}
    {}

    std::uint64_t free_bytes(const device& where) const override
    {
        if (where.index() > 3) throw error{errc::unsupported, "there is no " + where.str()};
        return free_bytes_;
    }

private:
    std::uint64_t free_bytes_;
};

}  // namespace modelpool::testing
