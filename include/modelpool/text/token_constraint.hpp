#pragma once

#include <cstdint>
#include <span>

namespace modelpool {

/// Bars tokens that may not come next, for output of a given grammar. One object serves one
/// sequence.
class token_constraint {
public:
    token_constraint() = default;
    token_constraint(const token_constraint&) = delete;
    token_constraint& operator=(const token_constraint&) = delete;
    token_constraint(token_constraint&&) = delete;
    token_constraint& operator=(token_constraint&&) = delete;
    virtual ~token_constraint() = default;

    /// Bit `id % 64` of word `id / 64` says whether token `id` may come next, the tokens that end
    /// the text among them; ids beyond the last word may not. Empty: all may. Valid until the next
    /// call.
    virtual std::span<const std::uint64_t> allowed() = 0;
    /// That token came next. Forced tokens come here too, allowed or not.
    virtual void accept(std::int32_t token) = 0;
};

}  // namespace modelpool
