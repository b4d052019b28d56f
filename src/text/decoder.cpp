#include "text/decoder.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>
#include <string_view>
#include <utility>

#include "text/utf8.hpp"

namespace modelpool::text {
namespace {

void replace_all(std::string& text, std::string_view from, std::string_view to)
{
    std::size_t at = from.empty() ? std::string::npos : text.find(from);
    if (at == std::string::npos) return;
    std::string replaced;
    std::size_t done = 0;
    for (; at != std::string::npos; at = text.find(from, done)) {
        replaced.append(text, done, at - done).append(to);
        done = at + from.size();
    }
    text = replaced.append(text, done, std::string::npos);
}

// In this order: each works on what those before have left.
constexpr std::array<std::pair<std::string_view, std::string_view>, 11> cleanups{{
    {" .", "."},
    {" ?", "?"},
    {" !", "!"},
    {" ,", ","},
    {" ' ", "'"},
    {" n't", "n't"},
    {" 'm", "'m"},
    {" do not", " don't"},
    {" 's", "'s"},
    {" 've", "'ve"},
    {" 're", "'re"},
}};

void clean_up(std::string& token)
{
    for (const auto& [from, to] : cleanups)
        replace_all(token, from, to);
}

// The byte that a token like "<0x61>" names.
std::optional<char> named_byte(std::string_view token)
{
    if (token.size() != 6 || !token.starts_with("<0x") || !token.ends_with(">"))
        return std::nullopt;
    unsigned value = 0;
    for (const char digit : token.substr(3, 2)) {
        value *= 16;
        if (digit >= '0' && digit <= '9')
            value += static_cast<unsigned>(digit - '0');
        else if (digit >= 'a' && digit <= 'f')
            value += static_cast<unsigned>(digit - 'a') + 10;
        else if (digit >= 'A' && digit <= 'F')
            value += static_cast<unsigned>(digit - 'A') + 10;
        else
            return std::nullopt;
    }
    return static_cast<char>(value);
}

}  // namespace

wordpiece_decoder::wordpiece_decoder(std::string continuing_prefix, bool cleanup)
    : continuing_prefix_{std::move(continuing_prefix)}
    , cleanup_{cleanup}
{}

void wordpiece_decoder::apply(std::vector<std::string>& tokens) const
{
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        std::string& token = tokens[i];
        if (i > 0) {
            if (token.starts_with(continuing_prefix_))
                token.erase(0, continuing_prefix_.size());
            else
                token.insert(0, 1, ' ');
        }
        if (cleanup_) clean_up(token);
    }
}

void decoder_sequence::apply(std::vector<std::string>& tokens) const
{
    for (const auto& step : steps_)
        step->apply(tokens);
}

void byte_level_decoder::apply(std::vector<std::string>& tokens) const
{
    std::string bytes;
    for (const std::string& token : tokens)
        bytes += alphabet_.bytes_of(token).value_or(token);
    tokens.assign(1, to_valid_utf8(bytes));
}

void byte_fallback_decoder::apply(std::vector<std::string>& tokens) const
{
    std::vector<std::string> decoded;
    std::string bytes;
    const auto flush = [&] {
        if (bytes.empty()) return;
        if (find_bad_utf8(bytes) == std::string_view::npos)
            decoded.push_back(bytes);
        else
            decoded.insert(decoded.end(), bytes.size(), to_utf8(0xFFFD));
        bytes.clear();
    };
    for (std::string& token : tokens) {
        if (const std::optional<char> byte = named_byte(token)) {
            bytes.push_back(*byte);
            continue;
        }
        flush();
        decoded.push_back(std::move(token));
    }
    flush();
    tokens = std::move(decoded);
}

void fuse_decoder::apply(std::vector<std::string>& tokens) const
{
    std::string all;
    for (const std::string& token : tokens)
        all += token;
    tokens.clear();
    tokens.push_back(std::move(all));
}

void strip_decoder::apply(std::vector<std::string>& tokens) const
{
    for (std::string& token : tokens) {
        std::string_view left = token;
        std::string_view right = token;
        for (std::size_t n = 0; n < n_start_ && left.starts_with(what_); ++n)
            left.remove_prefix(what_.size());
        for (std::size_t n = 0; n < n_stop_ && right.ends_with(what_); ++n)
            right.remove_suffix(what_.size());
        const std::size_t begin = token.size() - left.size();
        token = begin < right.size() ? token.substr(begin, right.size() - begin) : std::string{};
    }
}

void replace_decoder::apply(std::vector<std::string>& tokens) const
{
    std::vector<found_range> found;
    for (std::string& token : tokens) {
        what_.find_all(token, found);
        std::string replaced;
        for (const found_range& each : found)
            replaced += each.is_match ? with_ : token.substr(each.begin, each.end - each.begin);
        token = std::move(replaced);
    }
}

void metaspace_decoder::apply(std::vector<std::string>& tokens) const
{
    for (std::size_t i = 0; i < tokens.size(); ++i)
        replace_all(tokens[i], mark_, i == 0 && was_prepended_ ? "" : " ");
}

void bpe_decoder::apply(std::vector<std::string>& tokens) const
{
    for (std::size_t i = 0; i < tokens.size(); ++i)
        replace_all(tokens[i], suffix_, i + 1 == tokens.size() ? "" : " ");
}

void ctc_decoder::apply(std::vector<std::string>& tokens) const
{
    tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
    std::vector<std::string> decoded;
    for (std::string& token : tokens) {
        replace_all(token, pad_, "");
        if (cleanup_) {
            clean_up(token);
            replace_all(token, word_delimiter_, " ");
        }
        if (!token.empty()) decoded.push_back(std::move(token));
    }
    tokens = std::move(decoded);
}

}  // namespace modelpool::text
