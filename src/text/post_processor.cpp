#include "text/post_processor.hpp"

#include <algorithm>

#include "text/unicode.hpp"
#include "text/utf8.hpp"

namespace modelpool::text {
namespace {

// The byte-level alphabet writes a space as this letter.
constexpr char32_t byte_level_space = 0x120;

bool is_blank(char32_t code_point)
{
    return code_point == byte_level_space || is_white_space(code_point);
}

std::uint32_t n_leading_blanks(std::string_view token)
{
    std::uint32_t n_blanks = 0;
    for (std::size_t at = 0; at < token.size(); ++n_blanks) {
        const utf8_char next = utf8_at(token, at);
        if (!is_blank(next.code_point)) break;
        at += next.n_bytes;
    }
    return n_blanks;
}

std::uint32_t n_trailing_blanks(std::string_view token)
{
    std::uint32_t n_blanks = 0;
    for (std::size_t end = token.size(); end > 0; ++n_blanks) {
        const utf8_char previous = utf8_before(token, end);
        if (!is_blank(previous.code_point)) break;
        end -= previous.n_bytes;
    }
    return n_blanks;
}

void trim(encoding& of, bool add_prefix_space)
{
    for (std::size_t i = 0; i < of.offsets.size(); ++i) {
        auto& [begin, end] = of.offsets[i];
        std::uint32_t n_leading = n_leading_blanks(of.tokens[i]);
        const std::uint32_t n_trailing = n_trailing_blanks(of.tokens[i]);
        const bool is_first = i == 0 || begin == 0;
        if (is_first && add_prefix_space && n_leading == 1) n_leading = 0;
        if (n_leading > 0) begin = std::min(begin + n_leading, end);
        if (n_trailing > 0 && end >= n_trailing) end = std::max(end - n_trailing, begin);
    }
}

}  // namespace

void post_processor::set_template(std::vector<part> parts)
{
    parts_ = std::move(parts);
    has_template_ = true;
    n_added_ = static_cast<std::size_t>(std::count_if(
        parts_.begin(), parts_.end(), [](const part& each) { return !each.is_text; }));
}

void post_processor::add_parts(encoding& of, const encode_options& options) const
{
    encoding whole;
    whole.truncated = of.truncated;
    whole.ids.reserve(of.ids.size() + n_added_);
    for (const part& each : parts_) {
        if (each.is_text) {
            whole.ids.insert(whole.ids.end(), of.ids.begin(), of.ids.end());
            whole.tokens.insert(whole.tokens.end(), of.tokens.begin(), of.tokens.end());
            whole.offsets.insert(whole.offsets.end(), of.offsets.begin(), of.offsets.end());
        } else if (options.add_special_tokens()) {
            whole.ids.push_back(each.id);
            if (options.with_offsets()) {
                whole.tokens.push_back(each.token);
                whole.offsets.emplace_back(0, 0);
            }
        }
    }
    of = std::move(whole);
}

void post_processor::apply(encoding& of, const encode_options& options) const
{
    if (options.with_offsets())
        for (const trimming& each : trimmings_)
            trim(of, each.add_prefix_space);
    if (has_template_) add_parts(of, options);
}

}  // namespace modelpool::text
