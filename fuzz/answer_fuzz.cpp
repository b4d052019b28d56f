// Any text as the answer of a model, of any format: however it is cut, the pieces put together are
// the same. The first byte says the format, the second one how the text is cut; what stands before
// the first NUL are the tools of the conversation.

#include <modelpool/assert.hpp>
#include <modelpool/text/answer.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/utf8.hpp"

namespace {

using namespace modelpool;
using namespace modelpool::text;

// What a reader of the pieces ends up with: text of one kind after the other, and calls.
std::vector<std::string> joined(const std::vector<answer_piece>& pieces)
{
    std::vector<std::string> made;
    std::string last;
    for (const answer_piece& each : pieces) {
        std::string head(1, static_cast<char>('0' + static_cast<int>(each.part)));
        if (each.part == answer_part::tool_call) head += std::to_string(each.call.index);
        if (head != last) made.push_back(head + '\n');
        made.back() += each.call.id + each.call.name + each.call.arguments + each.text;
        last = head;
    }
    return made;
}

std::vector<std::string>
split(const answer_format& format, std::string_view answer, std::size_t n_chars)
{
    answer_splitter subject{format};
    std::vector<answer_piece> pieces;
    std::size_t begin = 0;
    std::size_t n = 0;
    for (std::size_t at = 0; at < answer.size();) {
        at += utf8_at(answer, at).n_bytes;
        if (++n % n_chars != 0) continue;
        subject.push(answer.substr(begin, at - begin), pieces);
        begin = at;
    }
    subject.push(answer.substr(begin), pieces);
    subject.finish(pieces);
    return joined(pieces);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    if (size < 2) return 0;
    std::string_view answer{reinterpret_cast<const char*>(data) + 2, size - 2};
    std::string_view tools;
    if (const std::size_t nul = answer.find('\0'); nul != std::string_view::npos) {
        tools = answer.substr(0, nul);
        answer.remove_prefix(nul + 1);
    }
    if (find_bad_utf8(answer) != std::string_view::npos) return 0;
    constexpr std::array styles{
        call_style::none, call_style::json, call_style::xml, call_style::kimi};
    answer_format format;
    format.calls(styles[data[0] % styles.size()]).thinks((data[0] & 4U) != 0);
    if ((data[0] & 8U) != 0) format.after("<think>\n");
    format.tools(tools);
    const std::vector<std::string> whole = split(format, answer, answer.size() + 1);
    MODELPOOL_ASSERT(split(format, answer, 1) == whole);
    MODELPOOL_ASSERT(split(format, answer, data[1] % 29U + 2U) == whole);
    return 0;
}
