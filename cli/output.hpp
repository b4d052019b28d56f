#pragma once

#include <string>
#include <string_view>

#include "failure.hpp"
#include "interrupt.hpp"

namespace modelpool::cli {

/// Standard output. Errors: `output_closed` where its reader is gone, std::system_error otherwise.
class output {
public:
    explicit output(interrupt& signals)
        : signals_{signals}
    {}

    /// Writes whole lines. A signal is obeyed before and after, never in the middle: throws
    /// `interrupted`.
    void write(std::string_view lines);

    /// A JSON document that is written in parts, whole or not at all: a first signal waits for its
    /// end.
    class document {
    public:
        explicit document(output& out)
            : out_{out}
            , no_interruption_{out.signals_, [] {}}
        {}
        void write(std::string_view part) { out_.blocking_write(part); }

    private:
        output& out_;
        interrupt::scope no_interruption_;
    };

    /// Whether anything was written.
    bool begun() const noexcept { return begun_; }
    bool is_terminal() const noexcept;

private:
    void blocking_write(std::string_view bytes);

    interrupt& signals_;
    bool begun_{false};
};

/// Reports a failure: one line on standard error, and, where `json` says so and nothing was written
/// yet, the error document on standard output.
void report(const std::string& what, const failure& problem, bool json, bool output_begun);

/// Text, or one line, on standard error.
void write_error_text(std::string_view text);
void write_error_line(std::string_view line);

}  // namespace modelpool::cli
