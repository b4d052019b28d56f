#pragma once

#include <modelpool/text/answer_parser.hpp>

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace modelpool::text {

/// How a model marks the calls of tools in its answers.
enum class call_style {
    none = 1,  ///< it makes none, or they are to stay text
    json,      ///< Qwen3: <tool_call>{"name": …, "arguments": {…}}</tool_call>
    xml,  ///< Qwen3-Coder: <tool_call><function=…><parameter=…>…</parameter></function></tool_call>
    kimi,  ///< Kimi K2: <|tool_calls_section_begin|><|tool_call_begin|>functions.name:0…
};

/// What an answer of a model looks like.
class answer_format {
public:
    /// The format that a chat template speaks of, by the marks in its text.
    static answer_format of_template(std::string_view source);

    answer_format& calls(call_style value)
    {
        calls_ = value;
        return *this;
    }
    call_style calls() const noexcept { return calls_; }

    /// Whether the answer may begin with thoughts between <think> and </think>.
    answer_format& thinks(bool value)
    {
        thinks_ = value;
        return *this;
    }
    bool thinks() const noexcept { return thinks_; }

    /// Looks whether `prompt`, a rendered conversation, ends inside thoughts: the answer then goes
    /// on with them.
    answer_format& after(std::string_view prompt);
    /// Whether the answer's first text are thoughts, which its prompt has opened.
    bool begins_in_thoughts() const noexcept { return begins_in_thoughts_; }

    /// The tools of the conversation, a JSON array: says which parameters of an xml call are
    /// strings. Without it, what is valid JSON and no string is taken for what it is. A text that
    /// is no such array is like none.
    answer_format& tools(std::string_view json);
    /// The type of a parameter as the tools have it; empty where they do not say.
    std::string_view type_of(std::string_view function, std::string_view parameter) const noexcept;

private:
    call_style calls_{call_style::none};
    bool thinks_{false};
    bool begins_in_thoughts_{false};
    std::map<std::string, std::map<std::string, std::string, std::less<>>, std::less<>> types_;
};

/// Splits an answer into text, thoughts and calls while it is written. However the answer is cut,
/// the pieces put together are the same; a mark is never given as text. Line ends around thoughts,
/// and between text and calls, belong to the marks. What looks like a call and is none (JSON that
/// does not parse, an end that never comes) is given as text, whole; a call whose arguments break
/// off stays as it is, with JSON that ends too early; the marks of a Kimi call that has no name yet
/// when the answer ends are dropped.
class answer_splitter final : public answer_parser {
public:
    explicit answer_splitter(answer_format format);

    void push(std::string_view text, std::vector<answer_piece>& out) override;
    void finish(std::vector<answer_piece>& out) override;
    bool calls_tools() const noexcept override { return n_calls_ > 0; }

private:
    enum class state {
        start,
        thoughts,
        text,
        json_call,
        xml_open,
        xml_function,
        xml_value,
        xml_close,
        kimi_section,
        kimi_header,
        kimi_arguments,
    };

    bool advance(std::vector<answer_piece>& out);
    bool advance_start();
    bool advance_thoughts(std::vector<answer_piece>& out);
    bool advance_text(std::vector<answer_piece>& out);
    bool advance_json(std::vector<answer_piece>& out);
    bool advance_xml(std::vector<answer_piece>& out);
    bool advance_xml_value(std::vector<answer_piece>& out);
    bool advance_kimi(std::vector<answer_piece>& out);
    void give(answer_part part, std::string text, std::vector<answer_piece>& out);
    void give_call(std::string id, std::string name, std::vector<answer_piece>& out);
    void give_arguments(std::string text, std::vector<answer_piece>& out);
    void give_text_until(std::size_t end, std::vector<answer_piece>& out);
    void finish_call(std::vector<answer_piece>& out);
    bool take_until(std::string_view mark, std::string& before);
    std::string xml_argument(std::string_view value) const;

    answer_format format_;
    state state_{state::text};
    std::string held_;       // not given yet: it may become a mark
    std::string line_ends_;  // line ends not given yet: they may belong to a mark
    std::string raw_;        // of a call so far, should it turn out to be text
    std::string function_;
    std::string parameter_;
    std::size_t n_parameters_{0};
    std::size_t n_calls_{0};
    bool skips_line_ends_{false};
};

}  // namespace modelpool::text
