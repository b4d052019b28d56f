#include <bit>
#include <cstring>
#include <fstream>
#include <system_error>
#include <utility>

#include "generation.hpp"
#include "text_format.hpp"

#include <unistd.h>

namespace modelpool::cli {
namespace {

std::string_view name_of(finish_reason reason)
{
    switch (reason) {
    case finish_reason::stop:
        return "stop";
    case finish_reason::length:
        return "length";
    case finish_reason::cancelled:
        return "cancelled";
    case finish_reason::tool_calls:
        return "tool_calls";
    }
    return "stop";
}

// What a terminal would obey is shown instead; line ends and tabs stay.
std::string harmless(std::string_view text)
{
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto byte = static_cast<unsigned char>(text[i]);
        const bool is_c1 =
            byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0;
        const bool is_control = (byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7F;
        if (is_c1)
            out += visible(text.substr(i++, 2));
        else if (is_control)
            out += visible(text.substr(i, 1));
        else
            out += text[i];
    }
    return out;
}

void append_key(std::string& out, std::string_view name)
{
    append_json(out, name);
    out += ':';
}

double seconds(std::chrono::nanoseconds time)
{
    return std::chrono::duration<double>(time).count();
}

void append_end(std::string& out, const generation_end& end)
{
    append_key(out, "finish_reason");
    append_json(out, name_of(end.reason));
    out += R"(,"usage":{"prompt_tokens":)";
    append_number(out, end.usage.n_prompt_tokens);
    out += R"(,"cached_tokens":)";
    append_number(out, end.usage.n_cached_tokens);
    out += R"(,"generated_tokens":)";
    append_number(out, end.usage.n_generated_tokens);
    out += R"(},"timings":{"queue_s":)";
    append_number(out, seconds(end.timings.queue));
    out += R"(,"prefill_s":)";
    append_number(out, seconds(end.timings.prefill));
    out += R"(,"decode_s":)";
    append_number(out, seconds(end.timings.decode));
    out += '}';
}

void append_logprob(std::string& out, float value)
{
    // JSON has no infinities; nothing likelier than this is ever met.
    append_number(out, std::max(value, -3.4e38F));
}

void append_logprobs(std::string& out, const std::vector<generated_token>& tokens)
{
    out += '[';
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        out += i > 0 ? R"(,{"id":)" : R"({"id":)";
        append_number(out, tokens[i].id);
        out += R"(,"logprob":)";
        append_logprob(out, tokens[i].logprob);
        out += R"(,"top":[)";
        for (std::size_t k = 0; k < tokens[i].top.size(); ++k) {
            out += k > 0 ? ",[" : "[";
            append_number(out, tokens[i].top[k].id);
            out += ',';
            append_logprob(out, tokens[i].top[k].logprob);
            out += ']';
        }
        out += "]}";
    }
    out += ']';
}

void append_ids(std::string& out, const std::vector<std::int32_t>& ids)
{
    out += '[';
    append_numbers(out, std::span<const std::int32_t>{ids}, ',');
    out += ']';
}

void append_message(std::string& out, const generation_result& result)
{
    out += R"({"role":"assistant","content":)";
    append_json(out, result.text);
    out += R"(,"reasoning":)";
    append_json(out, result.reasoning);
    out += R"(,"tool_calls":[)";
    for (std::size_t i = 0; i < result.tool_calls.size(); ++i) {
        const tool_call& call = result.tool_calls[i];
        out += i > 0 ? R"(,{"id":)" : R"({"id":)";
        append_json(out, call.id);
        out += R"(,"name":)";
        append_json(out, call.name);
        out += R"(,"arguments":)";
        append_json(out, call.arguments);
        out += '}';
    }
    out += "]}";
}

// Format: https://github.com/huggingface/safetensors#format
void blocking_save_logits(const std::string& path, const std::vector<generated_token>& tokens)
{
    static_assert(std::endian::native == std::endian::little);
    const std::size_t n_columns = tokens.empty() ? 0 : tokens.front().logits.size();
    const std::size_t n_bytes = tokens.size() * n_columns * sizeof(float);
    std::string header = R"({"logits":{"dtype":"F32","shape":[)" + std::to_string(tokens.size()) +
                         ',' + std::to_string(n_columns) + R"(],"data_offsets":[0,)" +
                         std::to_string(n_bytes) + "]}}";
    header.append((8 - header.size() % 8) % 8, ' ');
    const std::uint64_t n_header = header.size();
    char length[sizeof n_header];
    std::memcpy(length, &n_header, sizeof n_header);
    std::ofstream out{path, std::ios::binary | std::ios::trunc};
    out.write(length, sizeof length);
    out.write(header.data(), static_cast<std::streamsize>(header.size()));
    for (const generated_token& token : tokens)
        out.write(
            reinterpret_cast<const char*>(token.logits.data()),
            static_cast<std::streamsize>(token.logits.size() * sizeof(float)));
    out.close();
    if (!out)
        throw std::system_error{
            std::make_error_code(std::errc::io_error), "--save-logits: " + path};
}

}  // namespace

answer_writer::answer_writer(
    program& self, const settings& wanted, const generation_arguments& given, bool as_message)
    : self_{self}
    , wanted_{wanted}
    , given_{given}
    , as_message_{as_message}
    , error_is_terminal_{::isatty(STDERR_FILENO) == 1}
{}

void answer_writer::write(generation_event event)
{
    if (wanted_.json_lines)
        write_line(event);
    else if (!wanted_.json)
        write_text(event);
    result_.add(std::move(event));
}

// The answer alone is data: what the model thinks goes to standard error.
void answer_writer::write_text(const generation_event& event)
{
    const bool on_terminal = self_.out.is_terminal();
    if (!event.reasoning.empty()) {
        // Each piece on its own: whatever ends the program leaves the terminal as it was.
        const std::string thoughts = harmless(event.reasoning);
        write_error_text(error_is_terminal_ ? "\033[2m" + thoughts + "\033[0m" : thoughts);
        after_thoughts_ = true;
    }
    if (event.text.empty()) return;
    if (std::exchange(after_thoughts_, false) && error_is_terminal_) write_error_text("\n\n");
    self_.out.write(on_terminal ? harmless(event.text) : event.text);
}

void answer_writer::write_line(const generation_event& event)
{
    std::string line;
    switch (event.kind) {
    case generation_event_kind::text:
        line = R"({"event":"text","text":)";
        append_json(line, event.text);
        break;
    case generation_event_kind::reasoning:
        line = R"({"event":"reasoning","text":)";
        append_json(line, event.reasoning);
        break;
    case generation_event_kind::tool_call:
        line = R"({"event":"tool_call","index":)";
        append_number(line, event.tool_call->index);
        for (const auto& [name, value] :
             {std::pair{"id", &event.tool_call->id},
              std::pair{"name", &event.tool_call->name},
              std::pair{"arguments", &event.tool_call->arguments}}) {
            append_key(line += ',', name);
            append_json(line, *value);
        }
        break;
    case generation_event_kind::end:
        line = R"({"event":"end",)";
        append_end(line, *event.end);
        break;
    }
    if (event.kind != generation_event_kind::end) {
        std::vector<std::int32_t> ids;
        for (const generated_token& token : event.tokens)
            ids.push_back(token.id);
        line += R"(,"ids":)";
        append_ids(line, ids);
        if (given_.n_logprobs) {
            line += R"(,"logprobs":)";
            append_logprobs(line, event.tokens);
        }
    }
    self_.out.write(line + "}\n");
}

void answer_writer::finish()
{
    if (!given_.save_logits.empty()) blocking_save_logits(given_.save_logits, result_.tokens);
    if (wanted_.json)
        write_document();
    else if (!wanted_.json_lines)
        write_calls();
}

void answer_writer::write_calls()
{
    std::string text = "\n";
    for (const tool_call& call : result_.tool_calls)
        text += visible(call.name) + ' ' + visible(call.arguments) + '\n';
    self_.out.write(text);
}

void answer_writer::write_document()
{
    std::string out = R"({"text":)";
    append_json(out, result_.text);
    out += R"(,"ids":)";
    append_ids(out, result_.ids());
    out += R"(,"prompt_ids":)";
    append_ids(out, result_.end.prompt);
    out += ',';
    append_end(out, result_.end);
    out += R"(,"logprobs":)";
    if (given_.n_logprobs)
        append_logprobs(out, result_.tokens);
    else
        out += "null";
    if (as_message_) {
        out += R"(,"message":)";
        append_message(out, result_);
    }
    output::document{self_.out}.write(out + "}\n");
}

}  // namespace modelpool::cli
