#include <algorithm>
#include <array>
#include <stdexcept>

#include "text/new_characters.hpp"
#include "text/regex.hpp"

namespace modelpool::text {
namespace {

// What Oniguruma takes for white space, as the inside of a class; PCRE2's own `\s` has U+180E too. Its `\w` has no
// marks and other numbers, so that is spelt out as well.
constexpr std::string_view space_class = "\\x{9}-\\x{d}\\x{85}\\p{Z}";

constexpr std::array<std::string_view, 37> categories{
    "L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",  "Nd", "Nl",
    "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S",  "Sm", "Sc", "Sk",
    "So", "Z",  "Zs", "Zl", "Zp", "C",  "Cc", "Cf", "Cn", "Co", "Cs"};

// The ideographs among the new characters.
constexpr std::string_view new_han = "\\x{2B739}\\x{2EBF0}-\\x{2EE5D}\\x{31350}-\\x{323AF}";

std::string hex(char32_t code_point)
{
    constexpr std::string_view digits = "0123456789ABCDEF";
    std::string text;
    for (; code_point > 0; code_point >>= 4U)
        text.insert(0, 1, digits[code_point & 0xFU]);
    return "\\x{" + text + "}";
}

// The new characters of a category, as the inside of a class.
std::string new_members(std::string_view category)
{
    std::string members;
    for (const new_characters& each : all_new_characters()) {
        if (!each.category.starts_with(category)) continue;
        members += hex(each.first);
        if (each.first != each.last) members.append("-").append(hex(each.last));
    }
    return members;
}

std::string word_class()
{
    std::string members;
    for (const std::string_view category : {"L", "M", "Nd", "Pc"})
        members.append("\\p{").append(category).append("}").append(new_members(category));
    return members;
}

// Walks a pattern and writes it anew. What both syntaxes read alike is copied; what they read differently is
// rewritten; what is not known to be one of the two is refused.
class translator {
public:
    explicit translator(std::string_view pattern)
        : pattern_{pattern}
    {}

    std::string run()
    {
        while (at_ < pattern_.size()) {
            switch (pattern_[at_]) {
            case '\\':
                copy_escape(false);
                break;
            case '[':
                copy_class();
                break;
            case '(':
                copy_group();
                break;
            default:
                out_.push_back(pattern_[at_++]);
            }
        }
        return std::move(out_);
    }

private:
    [[noreturn]] void refuse(std::string_view what) const
    {
        throw std::invalid_argument{
            std::string{what} + " at byte " + std::to_string(at_) + " is not supported"};
    }

    bool follows(std::string_view text) const { return pattern_.substr(at_).starts_with(text); }

    void copy(std::size_t n)
    {
        out_.append(pattern_.substr(at_, n));
        at_ += n;
    }

    void put_set(std::string_view members, bool negated, bool in_class)
    {
        at_ += 2;
        if (in_class && negated) {
            at_ -= 2;
            refuse("a negated shorthand in a class");
        }
        if (in_class)
            out_.append(members);
        else
            out_.append(negated ? "[^" : "[").append(members).append("]");
    }

    void copy_escape(bool in_class)
    {
        if (at_ + 1 >= pattern_.size())
            throw std::invalid_argument{"the pattern ends in a backslash"};
        const char what = pattern_[at_ + 1];
        constexpr std::string_view same = "nrtfex";
        constexpr std::string_view same_outside = "AzZ";
        const bool is_same = same.find(what) != std::string_view::npos ||
                             (!in_class && same_outside.find(what) != std::string_view::npos);
        const bool is_letter = (what >= 'a' && what <= 'z') || (what >= 'A' && what <= 'Z');
        const bool is_digit = what >= '0' && what <= '9';
        if (what == 's' || what == 'S')
            put_set(space_class, what == 'S', in_class);
        else if (what == 'w' || what == 'W')
            put_set(word_class(), what == 'W', in_class);
        else if (what == 'd' || what == 'D')
            put_set("\\p{Nd}" + new_members("Nd"), what == 'D', in_class);
        else if (what == 'p' || what == 'P')
            copy_property(in_class);
        else if (what == 'u')
            copy_code_point();
        else if (!is_same && (is_letter || is_digit || static_cast<unsigned char>(what) >= 0x80))
            refuse(
                std::string{"the escape \\"} + (is_letter || is_digit ? std::string(1, what) : ""));
        else
            copy(2);
    }

    void copy_code_point()
    {
        const std::string_view digits = pattern_.substr(at_ + 2, 4);
        if (digits.size() != 4 || digits.find_first_not_of("0123456789abcdefABCDEF") != digits.npos)
            refuse("\\u without four hexadecimal digits");
        out_.append("\\x{").append(digits).append("}");
        at_ += 6;
    }

    void copy_property(bool in_class)
    {
        const std::size_t end = pattern_.find('}', at_);
        if (!pattern_.substr(at_ + 2).starts_with("{") || end == std::string_view::npos)
            refuse("a property without braces");
        std::string_view name = pattern_.substr(at_ + 3, end - at_ - 3);
        bool negated = pattern_[at_ + 1] == 'P';
        if (name.starts_with("^")) {
            negated = !negated;
            name.remove_prefix(1);
        }
        const bool is_category =
            std::find(categories.begin(), categories.end(), name) != categories.end();
        const bool is_name = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
            return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        });
        if (!is_category && (!is_name || name.size() < 3)) refuse("this property");
        // By a script's bare name PCRE2 means its extensions too.
        const std::string known =
            std::string{"\\p{"}.append(is_category ? "" : "sc:").append(name).append("}");
        const std::string added = name == "Han" ? std::string{new_han}
                                  : is_category ? new_members(name)
                                                : std::string{};
        if (!in_class)
            out_.append(negated ? "[^" : "[").append(known).append(added).append("]");
        else if (!negated)
            out_.append(known).append(added);
        else
            refuse("a negated property in a class");
        at_ = end + 1;
    }

    void copy_class()
    {
        copy(1);
        if (follows("^")) copy(1);
        if (follows("]")) refuse("an empty class");
        while (at_ < pattern_.size() && pattern_[at_] != ']') {
            if (follows("[")) refuse("a class in a class");
            if (follows("&&")) refuse("an intersection of classes");
            if (pattern_[at_] == '\\')
                copy_escape(true);
            else
                copy(1);
        }
        if (at_ >= pattern_.size())
            throw std::invalid_argument{"a class lacks its closing bracket"};
        copy(1);
    }

    void copy_group()
    {
        constexpr std::array<std::string_view, 8> known{
            "(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:", "(?i)"};
        if (!follows("(?")) {
            // Captures are not asked for, and cost.
            out_.append("(?:");
            ++at_;
            return;
        }
        for (const std::string_view head : known) {
            if (follows(head)) {
                copy(head.size());
                return;
            }
        }
        refuse("this kind of group");
    }

    std::string_view pattern_;
    std::size_t at_{0};
    std::string out_;
};

}  // namespace

std::string translate_oniguruma(std::string_view pattern)
{
    return translator{pattern}.run();
}

}  // namespace modelpool::text
