#include "text/post_processor.hpp"

#include <modelpool/error.hpp>

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

std::size_t count_special(const std::vector<post_processor::part>& parts)
{
    return static_cast<std::size_t>(
        std::count_if(parts.begin(), parts.end(), [](const post_processor::part& each) {
            return each.kind == post_processor::part_kind::special;
        }));
}

template <typename T>
void append(std::vector<T>& to, const std::vector<T>& more)
{
    to.insert(to.end(), more.begin(), more.end());
}

using kind = post_processor::part_kind;

// What a template makes of one text, or two.
class assembly {
public:
    assembly(const encode_options& options, const encoding& first, const encoding* second)
        : options_{options}
        , first_{first}
        , second_{second}
    {
        made_.truncated = first.truncated || (second != nullptr && second->truncated);
    }

    encoding make(const std::vector<post_processor::part>& parts)
    {
        const std::size_t n_second = second_ == nullptr ? 0 : second_->ids.size();
        made_.ids.reserve(first_.ids.size() + n_second + parts.size());
        for (const post_processor::part& each : parts) {
            if (each.kind == kind::special)
                add_special(each);
            else
                add_text(each.kind == kind::first_text ? first_ : *second_, each.type_id);
        }
        return std::move(made_);
    }

private:
    void add_text(const encoding& text, std::uint32_t type_id)
    {
        append(made_.ids, text.ids);
        append(made_.tokens, text.tokens);
        append(made_.offsets, text.offsets);
        add_types(text.ids.size(), type_id, 0);
    }

    void add_special(const post_processor::part& token)
    {
        if (!options_.add_special_tokens()) return;
        made_.ids.push_back(token.id);
        add_types(1, token.type_id, 1);
        if (!options_.with_offsets()) return;
        made_.tokens.push_back(token.token);
        made_.offsets.emplace_back(0, 0);
    }

    void add_types(std::size_t n, std::uint32_t type_id, std::uint8_t is_special)
    {
        if (!options_.with_types()) return;
        made_.type_ids.insert(made_.type_ids.end(), n, type_id);
        made_.special_mask.insert(made_.special_mask.end(), n, is_special);
    }

    const encode_options& options_;
    const encoding& first_;
    const encoding* second_;
    encoding made_;
};

}  // namespace

void post_processor::set_template(std::vector<part> parts)
{
    parts_ = std::move(parts);
    has_template_ = true;
    n_added_ = count_special(parts_);
}

void post_processor::set_pair_template(std::vector<part> parts)
{
    pair_parts_ = std::move(parts);
    has_pair_template_ = true;
    n_added_to_pair_ = count_special(pair_parts_);
}

void post_processor::set_template_of_each(std::vector<part> parts, std::uint32_t second_type_id)
{
    std::vector<part> both = parts;
    for (part each : parts) {
        if (each.kind == kind::first_text) each.kind = kind::second_text;
        each.type_id = second_type_id;
        both.push_back(std::move(each));
    }
    set_template(std::move(parts));
    set_pair_template(std::move(both));
}

void post_processor::set_ends(const part& first, const part& last, bool is_roberta)
{
    const part text{kind::first_text, 0, {}, 0};
    part second{kind::second_text, 0, {}, 1};
    part second_last = last;
    second_last.type_id = 1;
    set_template({first, text, last});
    if (is_roberta) {
        second.type_id = 0;
        set_pair_template({first, text, last, last, second, last});
    } else {
        set_pair_template({first, text, last, second, second_last});
    }
}

void post_processor::narrow(encoding& of, const encode_options& options) const
{
    if (!options.with_offsets()) return;
    for (const trimming& each : trimmings_)
        trim(of, each.add_prefix_space);
}

void post_processor::apply(encoding& of, const encode_options& options) const
{
    narrow(of, options);
    if (!has_template_ && !options.with_types()) return;
    const std::vector<part> alone{{kind::first_text, 0, {}, 0}};
    of = assembly{options, of, nullptr}.make(has_template_ ? parts_ : alone);
}

encoding post_processor::join(encoding first, encoding second, const encode_options& options) const
{
    if (has_template_ && !has_pair_template_)
        throw error{
            text_errc::unsupported,
            "the tokenizer does not say how two texts are put together, only what is added to one"};
    narrow(first, options);
    narrow(second, options);
    const std::vector<part> alone{{kind::first_text, 0, {}, 0}, {kind::second_text, 0, {}, 1}};
    return assembly{options, first, &second}.make(has_pair_template_ ? pair_parts_ : alone);
}

}  // namespace modelpool::text
