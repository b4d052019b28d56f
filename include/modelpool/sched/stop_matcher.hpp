#pragma once

#include <modelpool/error.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace modelpool::sched {

/// Ends a text at the first of several strings to appear in it, however the text is cut into
/// pieces. The text before that string is given, the string itself never, not even in part: what
/// may become a stop string is held back, and nothing else.
///
/// The string whose last byte comes first ends the text; of those that end together, the longest.
/// Takes time proportional to the text's bytes times the number of strings.
class stop_matcher {
public:
    stop_matcher() = default;
    /// Errors: errc::invalid_argument for an empty string, which would end every text at once.
    explicit stop_matcher(std::vector<std::string> stops)
    {
        for (std::size_t i = 0; i < stops.size(); ++i) {
            if (stops[i].empty())
                throw error{
                    errc::invalid_argument, "stop string " + std::to_string(i) + " is empty"};
            if (stops[i].size() > std::numeric_limits<std::uint32_t>::max())
                throw error{
                    errc::invalid_argument,
                    "stop string " + std::to_string(i) + " is longer than 4 GiB"};
        }
        for (std::string& text : stops)
            stops_.emplace_back(std::move(text));
    }

    /// Appends to `out` what of the text is certain to be given. True once a stop string has
    /// appeared: the text has ended, and further pieces are ignored.
    bool push(std::string_view piece, std::string& out)
    {
        if (stops_.empty()) {
            out += piece;
            return false;
        }
        for (const char byte : piece) {
            if (matched_) break;
            held_ += byte;
            advance(byte);
        }
        if (!matched_) {
            std::size_t keep = 0;
            for (const stop& one : stops_)
                keep = std::max<std::size_t>(keep, one.n_matched);
            give(held_.size() - keep, out);
        } else if (!held_.empty()) {
            give(held_.size() - stops_[*matched_].text.size(), out);
            held_.clear();
        }
        return matched_.has_value();
    }

    /// The text ends here without a stop string: appends what was held back.
    void finish(std::string& out)
    {
        out += held_;
        held_.clear();
    }

    /// Which string ended the text.
    std::optional<std::size_t> matched() const noexcept { return matched_; }

private:
    /// One string, searched for by Knuth, Morris and Pratt.
    struct stop {
        explicit stop(std::string value)
            : text{std::move(value)}
            , borders(text.size(), 0)
        {
            for (std::size_t i = 1; i < text.size(); ++i)
                borders[i] = extend(borders[i - 1], text[i]);
        }

        /// How much of the string matches after `byte`, where `n` bytes did before; `n` is below
        /// its length.
        std::uint32_t extend(std::uint32_t n, char byte) const
        {
            while (n > 0 && text[n] != byte)
                n = borders[n - 1];
            return text[n] == byte ? n + 1 : n;
        }

        std::string text;
        std::vector<std::uint32_t>
            borders;  ///< of each prefix: its longest proper prefix that ends it
        std::uint32_t n_matched{0};
    };

    void advance(char byte)
    {
        for (std::size_t i = 0; i < stops_.size(); ++i) {
            stop& one = stops_[i];
            one.n_matched = one.extend(one.n_matched, byte);
            if (one.n_matched == one.text.size() &&
                (!matched_ || one.text.size() > stops_[*matched_].text.size()))
                matched_ = i;
        }
    }

    void give(std::size_t n_bytes, std::string& out)
    {
        out.append(held_, 0, n_bytes);
        held_.erase(0, n_bytes);
    }

    std::vector<stop> stops_;
    std::string held_;
    std::optional<std::size_t> matched_;
};

}  // namespace modelpool::sched
