#pragma once

#include <modelpool/hub/fetcher.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "common.hpp"

namespace modelpool::cli {

/// What a terminal of `width` columns shows of a fetch: a line for each file on its way, `n_most`
/// at most, and one for all.
std::vector<std::string>
progress_lines(const fetch_progress& now, std::size_t width, std::size_t n_most);

/// Shows on standard error how a fetch goes on: lines that are drawn anew on a terminal, else now
/// and then a line of text. Quiet with --log-level off, and while there is nothing to download.
class fetch_display {
public:
    explicit fetch_display(const settings& wanted);
    /// Takes the lines from the terminal again.
    ~fetch_display();
    fetch_display(const fetch_display&) = delete;
    fetch_display& operator=(const fetch_display&) = delete;
    fetch_display(fetch_display&&) = delete;
    fetch_display& operator=(fetch_display&&) = delete;

    /// To be called on one thread, while the display lives.
    on_fetch_progress listener();

private:
    void show(const fetch_progress& now);
    std::string take_back() const;

    const bool is_quiet_;
    const bool is_terminal_;
    std::size_t n_drawn_{0};
    std::chrono::steady_clock::time_point shown_at_;
};

}  // namespace modelpool::cli
