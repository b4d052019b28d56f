#include <modelpool/text/answer.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <utility>

namespace modelpool::text {
namespace {

constexpr std::string_view think_open = "<think>";
constexpr std::string_view think_close = "</think>";
constexpr std::string_view call_open = "<tool_call>";
constexpr std::string_view call_close = "</tool_call>";
constexpr std::string_view function_open = "<function=";
constexpr std::string_view function_close = "</function>";
constexpr std::string_view parameter_open = "<parameter=";
constexpr std::string_view parameter_close = "</parameter>";
constexpr std::string_view section_open = "<|tool_calls_section_begin|>";
constexpr std::string_view section_close = "<|tool_calls_section_end|>";
constexpr std::string_view kimi_open = "<|tool_call_begin|>";
constexpr std::string_view kimi_arguments_open = "<|tool_call_argument_begin|>";
constexpr std::string_view kimi_close = "<|tool_call_end|>";
constexpr std::string_view space = " \t\r\n";

// Where the first of the marks begins, and which it is.
struct place {
    std::size_t at{std::string_view::npos};
    std::string_view mark;
};

place find_first(std::string_view text, std::span<const std::string_view> marks)
{
    place first;
    for (const std::string_view mark : marks)
        if (const std::size_t at = text.find(mark); at < first.at) first = {at, mark};
    return first;
}

// How much of `text` cannot be the beginning of a mark, whatever follows.
std::size_t certain_bytes(std::string_view text, std::span<const std::string_view> marks)
{
    std::size_t longest = 0;
    for (const std::string_view mark : marks)
        for (std::size_t n = std::min(mark.size() - 1, text.size()); n > longest; --n)
            if (text.ends_with(mark.substr(0, n))) longest = n;
    return text.size() - longest;
}

std::string_view trimmed(std::string_view text)
{
    const std::size_t first = text.find_first_not_of(space);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(space) - first + 1);
}

nlohmann::json parse_json(std::string_view text)
{
    // Deep nesting would cost stack when it is destroyed.
    int depth = 0;
    const auto watch = [&depth](int, nlohmann::json::parse_event_t event, nlohmann::json&) {
        using kind = nlohmann::json::parse_event_t;
        if (event == kind::object_start || event == kind::array_start) ++depth;
        if (event == kind::object_end || event == kind::array_end) --depth;
        return depth < 200;
    };
    return nlohmann::json::parse(text.begin(), text.end(), watch, false);
}

// The end of the JSON value that begins at `at`, in text that is known to be JSON.
std::size_t json_end(std::string_view text, std::size_t at)
{
    int depth = 0;
    for (; at < text.size(); ++at) {
        const char byte = text[at];
        if (byte == '"') {
            for (++at; text[at] != '"'; ++at)
                if (text[at] == '\\') ++at;
        } else if (byte == '{' || byte == '[') {
            ++depth;
        } else if (byte == '}' || byte == ']') {
            if (depth == 0) return at;
            --depth;
        } else if (byte == ',' && depth == 0) {
            return at;
        }
    }
    return at;
}

// The text of a member of an object, as it is written, in text that is known to be JSON.
std::string_view member_text(std::string_view object, std::string_view key)
{
    std::string_view found;
    std::size_t at = object.find('{') + 1;
    while (at < object.size()) {
        const std::size_t quote = object.find('"', at);
        if (quote == std::string_view::npos) break;
        std::size_t close = quote + 1;
        while (object[close] != '"')
            close += object[close] == '\\' ? 2 : 1;
        const std::size_t colon = object.find(':', close);
        const std::size_t end = json_end(object, colon + 1);
        if (object.substr(quote + 1, close - quote - 1) == key)
            found = trimmed(object.substr(colon + 1, end - colon - 1));
        at = end + 1;
    }
    return found;
}

struct json_call {
    std::string name;
    std::string arguments;
};

std::optional<json_call> read_call(std::string_view text)
{
    const nlohmann::json parsed = parse_json(text);
    if (!parsed.is_object() || !parsed.contains("name") || !parsed["name"].is_string())
        return std::nullopt;
    json_call call{parsed["name"].get<std::string>(), "{}"};
    if (!parsed.contains("arguments")) return call;
    // Some models write the object as a string once more.
    call.arguments = parsed["arguments"].is_string() ? parsed["arguments"].get<std::string>()
                                                     : std::string{member_text(text, "arguments")};
    return call;
}

}  // namespace

// ---- formats ----

answer_format answer_format::of_template(std::string_view source)
{
    const auto has = [source](std::string_view mark) {
        return source.find(mark) != std::string_view::npos;
    };
    answer_format made;
    made.thinks(has(think_open) || has(think_close));
    if (has(section_open))
        made.calls(call_style::kimi);
    else if (has(function_open))
        made.calls(call_style::xml);
    else if (has(call_open))
        made.calls(call_style::json);
    return made;
}

answer_format& answer_format::after(std::string_view prompt)
{
    begins_in_thoughts_ = thinks_ && trimmed(prompt).ends_with(think_open);
    return *this;
}

answer_format& answer_format::tools(std::string_view json)
{
    types_.clear();
    const nlohmann::json parsed = parse_json(json);
    if (!parsed.is_array()) return *this;
    for (const nlohmann::json& tool : parsed) {
        if (!tool.is_object()) continue;
        const nlohmann::json& function = tool.contains("function") ? tool["function"] : tool;
        if (!function.is_object() || !function.contains("name") || !function["name"].is_string())
            continue;
        auto& types = types_[function["name"].get<std::string>()];
        if (!function.contains("parameters") || !function["parameters"].is_object()) continue;
        const nlohmann::json& parameters = function["parameters"];
        if (!parameters.contains("properties") || !parameters["properties"].is_object()) continue;
        for (const auto& [name, about] : parameters["properties"].items())
            if (about.is_object() && about.contains("type") && about["type"].is_string())
                types[name] = about["type"].get<std::string>();
    }
    return *this;
}

std::string_view
answer_format::type_of(std::string_view function, std::string_view parameter) const noexcept
{
    const auto types = types_.find(function);
    if (types == types_.end()) return {};
    const auto type = types->second.find(parameter);
    return type == types->second.end() ? std::string_view{} : std::string_view{type->second};
}

// ---- splitting ----

answer_splitter::answer_splitter(answer_format format)
    : format_{std::move(format)}
{
    if (format_.begins_in_thoughts()) {
        state_ = state::thoughts;
        skips_line_ends_ = true;
    } else if (format_.thinks()) {
        state_ = state::start;
    }
}

void answer_splitter::push(std::string_view text, std::vector<answer_piece>& out)
{
    held_ += text;
    while (advance(out)) {
    }
}

void answer_splitter::finish(std::vector<answer_piece>& out)
{
    switch (state_) {
    case state::start:
    case state::text:
        give_text_until(held_.size(), out);
        break;
    case state::thoughts:
        give(answer_part::reasoning, std::exchange(held_, {}), out);
        line_ends_.clear();
        break;
    default:
        finish_call(out);
        break;
    }
    if (!line_ends_.empty() && state_ == state::text) {
        answer_piece rest;
        rest.text = std::exchange(line_ends_, {});
        out.push_back(std::move(rest));
    }
}

bool answer_splitter::advance(std::vector<answer_piece>& out)
{
    switch (state_) {
    case state::start:
        return advance_start();
    case state::thoughts:
        return advance_thoughts(out);
    case state::text:
        return advance_text(out);
    case state::json_call:
        return advance_json(out);
    case state::xml_open:
    case state::xml_function:
    case state::xml_close:
        return advance_xml(out);
    case state::xml_value:
        return advance_xml_value(out);
    default:
        return advance_kimi(out);
    }
}

// Thoughts are marked at the very beginning of an answer alone: later on, it may speak of the mark.
bool answer_splitter::advance_start()
{
    const std::size_t first = held_.find_first_not_of(space);
    if (first == std::string::npos) return false;
    const std::string_view rest = std::string_view{held_}.substr(first);
    if (rest.size() < think_open.size() && think_open.starts_with(rest)) return false;
    if (!rest.starts_with(think_open)) {
        state_ = state::text;
        return true;
    }
    held_.erase(0, first + think_open.size());
    state_ = state::thoughts;
    skips_line_ends_ = true;
    return true;
}

bool answer_splitter::advance_thoughts(std::vector<answer_piece>& out)
{
    const std::array marks{think_close};
    const place found = find_first(held_, marks);
    const bool closes = found.at != std::string_view::npos;
    const std::size_t end = closes ? found.at : certain_bytes(held_, marks);
    give(answer_part::reasoning, held_.substr(0, end), out);
    held_.erase(0, closes ? end + found.mark.size() : end);
    if (!closes) return false;
    line_ends_.clear();
    skips_line_ends_ = true;
    state_ = state::text;
    return true;
}

bool answer_splitter::advance_text(std::vector<answer_piece>& out)
{
    static constexpr std::array<std::string_view, 2> xml_marks{call_open, function_open};
    static constexpr std::array<std::string_view, 1> json_marks{call_open};
    static constexpr std::array<std::string_view, 1> kimi_marks{section_open};
    std::span<const std::string_view> marks;
    if (format_.calls() == call_style::xml) marks = xml_marks;
    if (format_.calls() == call_style::json) marks = json_marks;
    if (format_.calls() == call_style::kimi) marks = kimi_marks;
    const place found = find_first(held_, marks);
    const bool opens = found.at != std::string_view::npos;
    give_text_until(opens ? found.at : certain_bytes(held_, marks), out);
    if (!opens) return false;
    raw_ = std::exchange(line_ends_, {});
    // A function's mark is read again, as the first thing of its call.
    const bool is_function = found.mark == function_open;
    if (!is_function) {
        raw_ += found.mark;
        held_.erase(0, found.mark.size());
    }
    state_ = format_.calls() == call_style::kimi  ? state::kimi_section
             : format_.calls() == call_style::xml ? state::xml_open
                                                  : state::json_call;
    return true;
}

bool answer_splitter::take_until(std::string_view mark, std::string& before)
{
    const std::size_t at = held_.find(mark);
    if (at == std::string::npos) return false;
    before = held_.substr(0, at);
    raw_.append(held_, 0, at + mark.size());
    held_.erase(0, at + mark.size());
    return true;
}

bool answer_splitter::advance_json(std::vector<answer_piece>& out)
{
    std::string body;
    if (!take_until(call_close, body)) return false;
    if (std::optional<json_call> call = read_call(trimmed(body))) {
        give_call({}, std::move(call->name), out);
        give_arguments(std::move(call->arguments), out);
        skips_line_ends_ = true;
    } else {
        give(answer_part::text, std::exchange(raw_, {}), out);
    }
    state_ = state::text;
    return true;
}

bool answer_splitter::advance_xml(std::vector<answer_piece>& out)
{
    std::string before;
    if (state_ == state::xml_open) {
        const std::size_t open = held_.find(function_open);
        const std::size_t close = held_.find(call_close);
        if (close < open) {
            static_cast<void>(take_until(call_close, before));
            give(answer_part::text, std::exchange(raw_, {}), out);
            state_ = state::text;
            return true;
        }
        if (open == std::string::npos || held_.find('>', open) == std::string::npos) return false;
        static_cast<void>(take_until(function_open, before));
        static_cast<void>(take_until(">", function_));
        give_call({}, std::string{trimmed(function_)}, out);
        n_parameters_ = 0;
        state_ = state::xml_function;
        return true;
    }
    if (state_ == state::xml_close) {
        // The last mark of a call may be missing; anything but space is text again.
        const std::size_t first = held_.find_first_not_of(space);
        if (first == std::string::npos) return false;
        const std::string_view rest = std::string_view{held_}.substr(first);
        if (rest.size() < call_close.size() && call_close.starts_with(rest)) return false;
        if (rest.starts_with(call_close)) held_.erase(0, first + call_close.size());
        skips_line_ends_ = true;
        state_ = state::text;
        return true;
    }
    const std::array marks{parameter_open, function_close};
    const place found = find_first(held_, marks);
    if (found.at == std::string_view::npos) return false;
    if (found.mark == function_close) {
        static_cast<void>(take_until(function_close, before));
        give_arguments(n_parameters_ == 0 ? "{}" : "}", out);
        state_ = state::xml_close;
        return true;
    }
    if (held_.find('>', found.at) == std::string::npos) return false;
    static_cast<void>(take_until(parameter_open, before));
    static_cast<void>(take_until(">", parameter_));
    state_ = state::xml_value;
    return true;
}

bool answer_splitter::advance_xml_value(std::vector<answer_piece>& out)
{
    // Some answers leave out a parameter's end.
    const std::array marks{parameter_close, parameter_open, function_close};
    const place found = find_first(held_, marks);
    if (found.at == std::string_view::npos) return false;
    std::string_view value = std::string_view{held_}.substr(0, found.at);
    if (value.starts_with('\n')) value.remove_prefix(1);
    if (value.ends_with('\n')) value.remove_suffix(1);
    const std::string key = nlohmann::json(std::string{trimmed(parameter_)})
                                .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    give_arguments((n_parameters_++ == 0 ? "{" : ", ") + key + ": " + xml_argument(value), out);
    held_.erase(0, found.mark == parameter_close ? found.at + found.mark.size() : found.at);
    state_ = state::xml_function;
    return true;
}

std::string answer_splitter::xml_argument(std::string_view value) const
{
    const std::string_view type = format_.type_of(trimmed(function_), trimmed(parameter_));
    if (type != "string") {
        const nlohmann::json parsed = parse_json(value);
        const bool is_json = !parsed.is_discarded() && (!type.empty() || !parsed.is_string());
        if (is_json) return std::string{trimmed(value)};
    }
    return nlohmann::json(std::string{value})
        .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

bool answer_splitter::advance_kimi(std::vector<answer_piece>& out)
{
    std::string before;
    if (state_ == state::kimi_section) {
        const std::array marks{kimi_open, section_close};
        const place found = find_first(held_, marks);
        if (found.at == std::string_view::npos) return false;
        static_cast<void>(take_until(found.mark, before));
        const bool opens = found.mark == kimi_open;
        state_ = opens ? state::kimi_header : state::text;
        skips_line_ends_ = !opens;
        return true;
    }
    if (state_ == state::kimi_header) {
        if (!take_until(kimi_arguments_open, before)) return false;
        const std::string id{trimmed(before)};
        std::string_view name{id};
        if (name.starts_with("functions.")) name.remove_prefix(10);
        name = name.substr(0, name.rfind(':'));
        give_call(id, std::string{name}, out);
        state_ = state::kimi_arguments;
        skips_line_ends_ = true;
        return true;
    }
    const std::array marks{kimi_close};
    const place found = find_first(held_, marks);
    const bool closes = found.at != std::string_view::npos;
    const std::size_t end = closes ? found.at : certain_bytes(held_, marks);
    // The space around the arguments is no part of them.
    std::string piece = line_ends_ + held_.substr(0, end);
    held_.erase(0, closes ? end + found.mark.size() : end);
    if (skips_line_ends_) piece.erase(0, std::min(piece.find_first_not_of(space), piece.size()));
    const std::size_t last = piece.find_last_not_of(space);
    const std::size_t kept = last == std::string::npos ? 0 : last + 1;
    line_ends_ = piece.substr(kept);
    piece.resize(kept);
    if (!piece.empty()) {
        skips_line_ends_ = false;
        give_arguments(std::move(piece), out);
    }
    if (!closes) return false;
    line_ends_.clear();
    state_ = state::kimi_section;
    return true;
}

// A call that the answer ends in the middle of.
void answer_splitter::finish_call(std::vector<answer_piece>& out)
{
    switch (state_) {
    case state::json_call:
        if (std::optional<json_call> call = read_call(trimmed(held_))) {
            give_call({}, std::move(call->name), out);
            give_arguments(std::move(call->arguments), out);
            break;
        }
        [[fallthrough]];
    case state::xml_open:
        give(answer_part::text, std::exchange(raw_, {}) + std::exchange(held_, {}), out);
        state_ = state::text;
        return;
    case state::kimi_arguments:
        if (!held_.empty()) give_arguments(line_ends_ + held_, out);
        break;
    default:
        break;
    }
    held_.clear();
    line_ends_.clear();
}

// ---- giving ----

void answer_splitter::give(answer_part part, std::string text, std::vector<answer_piece>& out)
{
    if (skips_line_ends_) text.erase(0, std::min(text.find_first_not_of("\r\n"), text.size()));
    if (text.empty()) return;
    skips_line_ends_ = false;
    text.insert(0, std::exchange(line_ends_, {}));
    const std::size_t last = text.find_last_not_of("\r\n");
    const std::size_t kept = last == std::string::npos ? 0 : last + 1;
    line_ends_ = text.substr(kept);
    text.resize(kept);
    if (text.empty()) return;
    answer_piece made;
    made.part = part;
    made.text = std::move(text);
    out.push_back(std::move(made));
}

void answer_splitter::give_text_until(std::size_t end, std::vector<answer_piece>& out)
{
    give(answer_part::text, held_.substr(0, end), out);
    held_.erase(0, end);
}

void answer_splitter::give_call(std::string id, std::string name, std::vector<answer_piece>& out)
{
    raw_.clear();
    answer_piece made;
    made.part = answer_part::tool_call;
    made.call.index = n_calls_++;
    made.call.id = std::move(id);
    made.call.name = std::move(name);
    out.push_back(std::move(made));
}

void answer_splitter::give_arguments(std::string text, std::vector<answer_piece>& out)
{
    if (text.empty()) return;
    answer_piece made;
    made.part = answer_part::tool_call;
    made.call.index = n_calls_ - 1;
    made.call.arguments = std::move(text);
    out.push_back(std::move(made));
}

}  // namespace modelpool::text
