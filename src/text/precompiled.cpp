#include "text/precompiled.hpp"

#include <modelpool/error.hpp>

#include <unicode/brkiter.h>
#include <unicode/uchar.h>
#include <unicode/utext.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "text/normal_form.hpp"
#include "text/utf8.hpp"

namespace modelpool::text {
namespace {

// A user-perceived character that is longer is never looked up as a whole.
constexpr std::size_t max_looked_up = 5;

// Marks of Unicode 16 and 17, which belong to the character before them and which the ICU of 2022
// does not know. Those beyond U+FFFF make what is never looked up as a whole.
bool is_new_mark(char32_t code_point)
{
    return code_point == 0x897 || (code_point >= 0x1ACF && code_point <= 0x1ADD) ||
           (code_point >= 0x1AE0 && code_point <= 0x1AEB);
}

// Whether a mark after this character belongs to it.
bool takes_marks(char32_t code_point)
{
    const int kind =
        u_getIntPropertyValue(static_cast<UChar32>(code_point), UCHAR_GRAPHEME_CLUSTER_BREAK);
    return kind != U_GCB_CONTROL && kind != U_GCB_CR && kind != U_GCB_LF;
}

void check(UErrorCode status)
{
    if (status == U_MEMORY_ALLOCATION_ERROR) throw std::bad_alloc{};
    if (U_FAILURE(status))
        throw error{
            text_errc::unsupported,
            std::string{"ICU cannot find the boundaries of characters: "} + u_errorName(status)};
}

}  // namespace

// Where user-perceived characters end. ICU's iterators are not for several threads: each call has a
// copy.
class precompiled_normalizer::boundaries {
public:
    boundaries()
    {
        UErrorCode status = U_ZERO_ERROR;
        prototype_.reset(
            icu::BreakIterator::createCharacterInstance(icu::Locale::getRoot(), status));
        check(status);
    }

    std::vector<std::size_t> ends(std::string_view text) const
    {
        UErrorCode status = U_ZERO_ERROR;
        const std::unique_ptr<icu::BreakIterator> finder{prototype_->clone()};
        if (!finder) throw std::bad_alloc{};
        UText* const view =
            utext_openUTF8(nullptr, text.data(), static_cast<std::int64_t>(text.size()), &status);
        check(status);
        const std::unique_ptr<UText, decltype(&utext_close)> closer{view, utext_close};
        finder->setText(view, status);
        check(status);
        std::vector<std::size_t> found;
        for (std::int32_t at = finder->next(); at != icu::BreakIterator::DONE;
             at = finder->next()) {
            const auto end = static_cast<std::size_t>(at);
            const bool goes_on = end < text.size() && is_new_mark(utf8_at(text, end).code_point) &&
                                 takes_marks(utf8_before(text, end).code_point);
            if (!goes_on) found.push_back(end);
        }
        return found;
    }

private:
    std::unique_ptr<const icu::BreakIterator> prototype_;
};

precompiled_normalizer::precompiled_normalizer(std::string_view charsmap)
    : map_{charsmap}
    , boundaries_{std::make_unique<const boundaries>()}
{}

precompiled_normalizer::~precompiled_normalizer() = default;

// The new text of one call: with sources, as changes to the old characters; without, as it comes.
class precompiled_normalizer::rewriting {
public:
    explicit rewriting(workspace& work)
        : work_{work}
    {
        work_.begin_text();
    }

    void keep(std::string_view part)
    {
        if (!work_.text.tracked())
            work_.spare_text.append(part, {0, 0});
        else
            changes_.push_back({utf8_at(part, 0).code_point, 0});
    }

    // Characters that are more come after the last old one; old ones that are more are dropped
    // after the last new one, or, where there is none at all, counted to what follows, as the
    // reference does.
    void replace(std::string_view part, std::string_view with)
    {
        is_changed_ = true;
        if (!work_.text.tracked()) {
            work_.spare_text.append(with, {0, 0});
            return;
        }
        const std::size_t n_old = count_utf8(part);
        std::size_t n_new = 0;
        for (std::size_t at = 0; at < with.size(); ++n_new) {
            const utf8_char next = utf8_at(with, at);
            changes_.push_back({next.code_point, n_new < n_old ? 0 : 1});
            at += next.n_bytes;
        }
        if (n_new < n_old && !changes_.empty())
            changes_.back().change -= static_cast<int>(n_old - n_new);
    }

    void finish()
    {
        if (!is_changed_) return;
        if (work_.text.tracked())
            for (const sourced_char& each : with_sources(changes_, chars_of(work_.text)))
                work_.spare_text.append(each.code_point, each.from);
        work_.end_text();
    }

private:
    workspace& work_;
    std::vector<changed_char> changes_;
    bool is_changed_{false};
};

void precompiled_normalizer::apply(workspace& work) const
{
    const std::string_view text = work.text.bytes();
    if (text.empty()) return;
    rewriting made{work};
    const auto rewrite = [&](std::string_view part) {
        const std::optional<std::string_view> found = map_.find_shortest(part);
        if (found) made.replace(part, *found);
        return found.has_value();
    };
    const auto rewrite_chars = [&](std::string_view part) {
        for (std::size_t at = 0; at < part.size();) {
            const std::uint32_t n_bytes = utf8_at(part, at).n_bytes;
            if (!rewrite(part.substr(at, n_bytes))) made.keep(part.substr(at, n_bytes));
            at += n_bytes;
        }
    };
    // In ASCII without carriage returns every character stands alone.
    if (std::all_of(
            text.begin(), text.end(), [](char byte) { return is_ascii(byte) && byte != '\r'; })) {
        rewrite_chars(text);
    } else {
        std::size_t begin = 0;
        for (const std::size_t end : boundaries_->ends(text)) {
            const std::string_view part = text.substr(begin, end - begin);
            if (part.size() > max_looked_up || !rewrite(part)) rewrite_chars(part);
            begin = end;
        }
    }
    made.finish();
}

}  // namespace modelpool::text
