#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "hub/http_rules.hpp"

namespace modelpool::fetching {

/// Decides whether and when to try again. Pauses grow with decorrelated jitter: each lies between
/// the shortest and three times the one before. Waits that the server asks for are no failures.
class retry_plan {
public:
    using milliseconds = std::chrono::milliseconds;
    struct limits {
        int n_tries{8};
        milliseconds shortest{250};
        milliseconds longest{8'000};
        milliseconds longest_server_wait{310'000};
    };
    /// Gives a number in [0, 1).
    using random = std::function<double()>;

    retry_plan(const limits& most, random dice)
        : limits_{most}
        , dice_{std::move(dice)}
        , last_{most.shortest}
    {}

    /// Bytes moved, or a part was finished: the failures before no longer count.
    void progress();
    /// How long to pause after this failure. Throws where it is final, where the server asks for
    /// too long a pause, and where the tries are used up; then the sentence lists them.
    milliseconds after(const hub_fault& problem);
    int n_failures() const noexcept { return n_failures_; }

private:
    [[noreturn]] void give_up(const hub_fault& problem) const;

    limits limits_;
    random dice_;
    milliseconds last_;
    int n_failures_{0};
    std::vector<std::string> seen_;
};

}  // namespace modelpool::fetching
