#pragma once

#include <modelpool/capability/text_embedding.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "common.hpp"

namespace modelpool::cli {

/// Where the rows of `embed` go, in order.
class row_sink {
public:
    row_sink() = default;
    row_sink(const row_sink&) = delete;
    row_sink& operator=(const row_sink&) = delete;
    row_sink(row_sink&&) = delete;
    row_sink& operator=(row_sink&&) = delete;
    virtual ~row_sink() = default;

    virtual void add(embeddings rows) = 0;
    /// All rows were added.
    virtual void finish() {}
};

/// The sink that the options ask for: one document at the end, or lines as the rows come.
std::unique_ptr<row_sink> make_row_sink(program& self, const settings& wanted);

/// Counts on standard error how far a long run is, where that is a terminal and standard output is
/// not.
class progress_line {
public:
    explicit progress_line(const output& out);
    ~progress_line();
    progress_line(const progress_line&) = delete;
    progress_line& operator=(const progress_line&) = delete;
    progress_line(progress_line&&) = delete;
    progress_line& operator=(progress_line&&) = delete;

    void add(std::size_t n_texts);

private:
    using clock = std::chrono::steady_clock;
    clock::time_point begin_{clock::now()};
    clock::time_point next_{begin_ + std::chrono::seconds{1}};
    std::size_t n_done_{0};
    bool visible_{false};
    bool shown_{false};
};

}  // namespace modelpool::cli
