#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>
#include <vector>

#include "text/new_characters.hpp"
#include "text/regex.hpp"

namespace modelpool::text {
namespace {

// What Oniguruma takes for white space, as the inside of a class; PCRE2's own `\s` has U+180E too.
// Its `\w` has no marks and other numbers, so that is spelt out as well.
constexpr std::string_view space_class = "\\x{9}-\\x{d}\\x{85}\\p{Z}";

// Outside a class Oniguruma's `\w` has these too.
constexpr std::string_view latin_numbers = "\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}";

constexpr std::array<std::string_view, 37> categories{
    "L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",  "Nd", "Nl",
    "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S",  "Sm", "Sc", "Sk",
    "So", "Z",  "Zs", "Zl", "Zp", "C",  "Cc", "Cf", "Cn", "Co", "Cs"};

// The ideographs among the new characters.
constexpr std::string_view new_han = "\\x{2B739}\\x{2EBF0}-\\x{2EE5D}\\x{31350}-\\x{323AF}";

// Patterns that nest classes deeper are none that a tokenizer has; the reader recurses.
constexpr int max_class_depth = 32;

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
    for (const std::string_view category : {"L", "M", "Nd", "Nl", "Pc"})
        members.append("\\p{").append(category).append("}").append(new_members(category));
    // Letters in circles and squares are symbols, but alphabetic.
    return members +
           "\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}";
}

// A set of characters in the making: what can stand inside one class of PCRE2, and expressions for
// more characters that can not. PCRE2 has no classes in classes and no intersections, so those
// become alternatives and look-aheads.
struct char_class {
    std::string members;
    std::vector<std::string> others;

    std::string matching() const
    {
        if (others.empty()) return "[" + members + "]";
        if (members.empty() && others.size() == 1) return others.front();
        std::string text = "(?:";
        if (!members.empty()) text += "[" + members + "]|";
        for (std::size_t i = 0; i < others.size(); ++i)
            text.append(i > 0 ? "|" : "").append(others[i]);
        return text + ")";
    }

    std::string not_matching() const
    {
        return others.empty() ? "[^" + members + "]" : "(?:(?!" + matching() + ")(?s:.))";
    }

    bool empty() const { return members.empty() && others.empty(); }
};

// Walks a pattern and writes it anew. What both syntaxes read alike is copied; what they read
// differently is rewritten; what is not known to be one of the two is refused.
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
                copy_escape(nullptr);
                break;
            case '[': {
                ++at_;
                const char_class all = read_class(0);
                out_ += all.matching();
                break;
            }
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

    void copy(std::size_t n, char_class* in = nullptr)
    {
        (in == nullptr ? out_ : in->members).append(pattern_.substr(at_, n));
        at_ += n;
    }

    // A set that an escape stands for, into the class that it stands in, if any.
    void put_set(std::string_view members, bool negated, char_class* in)
    {
        const std::string complement = std::string{"[^"}.append(members).append("]");
        if (in == nullptr)
            out_ += negated ? complement : std::string{"["}.append(members).append("]");
        else if (negated)
            in->others.push_back(complement);
        else
            in->members += members;
    }

    void put_shorthand(std::string_view members, bool negated, char_class* in)
    {
        put_set(members, negated, in);
        at_ += 2;
    }

    void copy_escape(char_class* in)
    {
        if (at_ + 1 >= pattern_.size())
            throw std::invalid_argument{"the pattern ends in a backslash"};
        const char what = pattern_[at_ + 1];
        constexpr std::string_view same = "nrtfex";
        constexpr std::string_view same_outside = "AzZ";
        const bool is_same = same.find(what) != std::string_view::npos ||
                             (in == nullptr && same_outside.find(what) != std::string_view::npos);
        const bool is_letter = (what >= 'a' && what <= 'z') || (what >= 'A' && what <= 'Z');
        const bool is_digit = what >= '0' && what <= '9';
        if (what == 's' || what == 'S')
            put_shorthand(space_class, what == 'S', in);
        else if (what == 'w' || what == 'W')
            put_shorthand(word_class().append(in == nullptr ? latin_numbers : ""), what == 'W', in);
        else if (what == 'd' || what == 'D')
            put_shorthand("\\p{Nd}" + new_members("Nd"), what == 'D', in);
        else if (what == 'p' || what == 'P')
            copy_property(in);
        else if (what == 'u')
            copy_code_point(in);
        else if (!is_same && (is_letter || is_digit || static_cast<unsigned char>(what) >= 0x80))
            refuse(
                std::string{"the escape \\"} + (is_letter || is_digit ? std::string(1, what) : ""));
        else
            copy(2, in);
    }

    void copy_code_point(char_class* in)
    {
        const std::string_view digits = pattern_.substr(at_ + 2, 4);
        if (digits.size() != 4 || digits.find_first_not_of("0123456789abcdefABCDEF") != digits.npos)
            refuse("\\u without four hexadecimal digits");
        (in == nullptr ? out_ : in->members).append("\\x{").append(digits).append("}");
        at_ += 6;
    }

    void copy_property(char_class* in)
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
        put_set(known + added, negated, in);
        at_ = end + 1;
    }

    // Reads a class from behind its bracket up to and with the one that closes it.
    char_class read_class(int depth)
    {
        if (depth > max_class_depth) refuse("a class nested this deep");
        const bool negated = follows("^");
        if (negated) ++at_;
        if (follows("]")) refuse("an empty class");
        std::vector<char_class> parts(1);  // of an intersection
        while (at_ < pattern_.size() && pattern_[at_] != ']') {
            if (follows("[:")) refuse("a POSIX bracket");
            if (follows("[")) {
                ++at_;
                add_class(read_class(depth + 1), parts.back());
            } else if (follows("&&")) {
                at_ += 2;
                if (parts.back().empty()) refuse("an empty side of an intersection");
                parts.emplace_back();
            } else if (pattern_[at_] == '\\') {
                copy_escape(&parts.back());
            } else {
                // First in a class of PCRE2 these have a meaning of their own.
                const bool is_first = parts.back().members.empty();
                if (is_first &&
                    std::string_view{"^.:="}.find(pattern_[at_]) != std::string_view::npos)
                    parts.back().members = "\\";
                copy(1, &parts.back());
            }
        }
        if (at_ >= pattern_.size())
            throw std::invalid_argument{"a class lacks its closing bracket"};
        if (parts.back().empty()) refuse("an empty side of an intersection");
        ++at_;
        return combined(parts, negated);
    }

    static void add_class(const char_class& inner, char_class& to)
    {
        // Side by side, a hyphen at an end would make a range.
        const bool joins = inner.members.starts_with('-') || inner.members.ends_with('-') ||
                           to.members.ends_with('-');
        if (joins && !inner.members.empty())
            to.others.push_back("[" + inner.members + "]");
        else
            to.members += inner.members;
        to.others.insert(to.others.end(), inner.others.begin(), inner.others.end());
    }

    static char_class combined(const std::vector<char_class>& parts, bool negated)
    {
        if (parts.size() == 1 && !negated) return parts.front();
        char_class made;
        std::string all;
        for (std::size_t i = 0; i + 1 < parts.size(); ++i)
            all.append("(?=").append(parts[i].matching()).append(")");
        if (parts.size() == 1)
            made.others.push_back(parts.front().not_matching());
        else if (negated)
            made.others.push_back("(?:(?!" + all + parts.back().matching() + ")(?s:.))");
        else
            made.others.push_back("(?:" + all + parts.back().matching() + ")");
        return made;
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
