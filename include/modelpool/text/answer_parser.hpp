#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace modelpool {

/// Goes on with a call of a tool that a model is writing.
struct tool_call_delta {
    std::size_t index{0};   ///< which call of this answer, from 0
    std::string id;         ///< in the first piece of a call; empty where the model gives none
    std::string name;       ///< in the first piece of a call, whole
    std::string arguments;  ///< the next piece of its JSON text
};

/// What a piece of an answer belongs to.
enum class answer_part {
    text = 1,   ///< the answer itself
    reasoning,  ///< what the model thinks before it answers
    tool_call,  ///< a call of a tool
};

/// A piece of an answer.
struct answer_piece {
    answer_part part{answer_part::text};
    std::string text;      ///< of text and reasoning
    tool_call_delta call;  ///< of a tool call
};

/// Splits an answer into text, reasoning and tool calls while it is written: how these are marked
/// is a matter of the model's template. One object serves one answer; it is used on the worker's
/// thread alone.
class answer_parser {
public:
    answer_parser() = default;
    answer_parser(const answer_parser&) = delete;
    answer_parser& operator=(const answer_parser&) = delete;
    answer_parser(answer_parser&&) = delete;
    answer_parser& operator=(answer_parser&&) = delete;
    virtual ~answer_parser() = default;

    /// The answer goes on with `text`, whole UTF-8 of any length. Appends to `out` the pieces that
    /// are certain; what may become a mark is held back.
    virtual void push(std::string_view text, std::vector<answer_piece>& out) = 0;
    /// The answer ends here, finished or not: appends what was held back. Called once, last.
    virtual void finish(std::vector<answer_piece>& out) = 0;
    /// Whether a call of a tool was given.
    virtual bool calls_tools() const noexcept = 0;
};

}  // namespace modelpool
