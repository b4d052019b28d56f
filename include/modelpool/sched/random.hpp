#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace modelpool::sched {

/// splitmix64 (Steele, Lea, Flood 2014): turns one number into a row of well mixed ones.
class splitmix64 {
public:
    explicit splitmix64(std::uint64_t seed) noexcept
        : state_{seed}
    {}

    std::uint64_t next() noexcept
    {
        std::uint64_t x = (state_ += 0x9e3779b97f4a7c15U);
        x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9U;
        x = (x ^ (x >> 27U)) * 0x94d049bb133111ebU;
        return x ^ (x >> 31U);
    }

private:
    std::uint64_t state_;
};

/// xoshiro256** 1.0 (Blackman, Vigna, https://prng.di.unimi.it). The standard library's
/// distributions differ from one implementation to the next; these numbers do not.
class random_numbers {
public:
    /// The state is four numbers of splitmix64, as its authors advise.
    explicit random_numbers(std::uint64_t seed) noexcept
    {
        splitmix64 source{seed};
        for (std::uint64_t& word : state_)
            word = source.next();
    }
    /// A state that is not all zeroes.
    explicit random_numbers(const std::array<std::uint64_t, 4>& state) noexcept
        : state_{state}
    {}

    std::uint64_t next() noexcept
    {
        const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
        const std::uint64_t shifted = state_[1] << 17U;
        state_[2] ^= state_[0];
        state_[3] ^= state_[1];
        state_[1] ^= state_[2];
        state_[0] ^= state_[3];
        state_[2] ^= shifted;
        state_[3] = std::rotl(state_[3], 45);
        return result;
    }

    /// Uniform in [0, 1): the upper 53 bits of the next number, exact in a double.
    double next_unit() noexcept { return static_cast<double>(next() >> 11U) * 0x1.0p-53; }

private:
    std::array<std::uint64_t, 4> state_{};
};

}  // namespace modelpool::sched
