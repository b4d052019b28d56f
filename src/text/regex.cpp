#include "text/regex.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <new>
#include <stdexcept>

#include "text/utf8.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace modelpool::text {
namespace {

// Far more steps than a tokenizer's pattern takes for a match, and still well below a second.
constexpr std::uint32_t match_limit = 10'000'000;

struct match_data_deleter {
    void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct match_context_deleter {
    void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};
struct code_deleter {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};

std::string message_of(int code)
{
    std::array<PCRE2_UCHAR, 256> text{};
    pcre2_get_error_message(code, text.data(), text.size());
    return {
        text.begin(),
        text.begin() + std::char_traits<char>::length(reinterpret_cast<const char*>(text.data()))};
}

PCRE2_SPTR units(std::string_view text)
{
    // PCRE2 wants a pointer even to nothing.
    return reinterpret_cast<PCRE2_SPTR>(text.empty() ? "" : text.data());
}

}  // namespace

class regex::compiled {
public:
    explicit compiled(std::string_view pattern)
    {
        int problem = 0;
        PCRE2_SIZE at = 0;
        const std::uint32_t options =
            PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
        code_.reset(pcre2_compile(units(pattern), pattern.size(), options, &problem, &at, nullptr));
        if (!code_) {
            if (problem == PCRE2_ERROR_HEAP_FAILED) throw std::bad_alloc{};
            throw std::invalid_argument{message_of(problem) + " at byte " + std::to_string(at)};
        }
        // Without a JIT for this processor the interpreter does the same.
        pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);
        context_.reset(pcre2_match_context_create(nullptr));
        if (!context_) throw std::bad_alloc{};
        pcre2_set_match_limit(context_.get(), match_limit);
    }

    std::unique_ptr<pcre2_match_data, match_data_deleter> make_match_data() const
    {
        std::unique_ptr<pcre2_match_data, match_data_deleter> data{
            pcre2_match_data_create_from_pattern(code_.get(), nullptr)};
        if (!data) throw std::bad_alloc{};
        return data;
    }

    /// Whether there is a match from byte `from` on; `data` then says where.
    bool search(std::string_view text, std::size_t from, pcre2_match_data& data) const
    {
        int result = pcre2_match(
            code_.get(), units(text), text.size(), from, PCRE2_NO_UTF_CHECK, &data, context_.get());
        if (result == PCRE2_ERROR_JIT_STACKLIMIT)
            result = pcre2_match(
                code_.get(),
                units(text),
                text.size(),
                from,
                PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                &data,
                context_.get());
        if (result == PCRE2_ERROR_NOMATCH) return false;
        if (result == PCRE2_ERROR_NOMEMORY) throw std::bad_alloc{};
        if (result < 0)
            throw error{
                text_errc::unsupported,
                "the tokenizer's pattern cannot be matched with this text: " + message_of(result)};
        return true;
    }

private:
    std::unique_ptr<pcre2_code, code_deleter> code_;
    std::unique_ptr<pcre2_match_context, match_context_deleter> context_;
};

regex::regex(std::shared_ptr<const compiled> self, std::string literal)
    : self_{std::move(self)}
    , literal_{std::move(literal)}
{}

regex regex::from_pattern(std::string_view pattern)
{
    return regex{std::make_shared<const compiled>(translate_oniguruma(pattern)), {}};
}

regex regex::from_literal(std::string_view text)
{
    return regex{nullptr, std::string{text}};
}

void regex::find_all(std::string_view text, std::vector<found_range>& out) const
{
    out.clear();
    if (self_)
        find_pattern(text, out);
    else
        find_literal(text, out);
    const std::size_t done = out.empty() ? 0 : out.back().end;
    if (done < text.size()) out.push_back({done, text.size(), false});
}

void regex::find_literal(std::string_view text, std::vector<found_range>& out) const
{
    if (literal_.empty()) return;
    std::size_t done = 0;
    for (std::size_t at = text.find(literal_); at != std::string_view::npos;
         at = text.find(literal_, done)) {
        if (done < at) out.push_back({done, at, false});
        done = at + literal_.size();
        out.push_back({at, done, true});
    }
}

void regex::find_pattern(std::string_view text, std::vector<found_range>& out) const
{
    const auto data = self_->make_match_data();
    std::size_t done = 0;      // all before is in `out`
    std::size_t from = 0;      // where the next search starts
    bool has_matched = false;  // an empty match right after a match does not count
    while (from <= text.size() && self_->search(text, from, *data)) {
        const PCRE2_SIZE* const ends = pcre2_get_ovector_pointer(data.get());
        // `\K` can put the begin behind the end.
        const std::size_t begin = std::min(ends[0], ends[1]);
        const std::size_t end = ends[1];
        if (begin == end && has_matched && end == done) {
            if (from >= text.size()) break;
            from += utf8_at(text, from).n_bytes;
            continue;
        }
        if (done < begin) out.push_back({done, begin, false});
        out.push_back({begin, end, true});
        done = end;
        from = end;
        has_matched = true;
    }
}

}  // namespace modelpool::text
