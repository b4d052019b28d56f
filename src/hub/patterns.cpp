#include "hub/patterns.hpp"

#include <modelpool/error.hpp>

#include <algorithm>

#include "hub/path_rules.hpp"

#include <fnmatch.h>

namespace modelpool::fetching {
namespace {

std::string prepare(std::string pattern)
{
    if (pattern.empty()) throw error{errc::invalid_argument, "a pattern is empty"};
    if (pattern.find('\0') != std::string::npos)
        throw error{errc::invalid_argument, "a pattern has a zero byte"};
    std::replace(pattern.begin(), pattern.end(), '\\', '/');
    if (pattern.back() == '/') pattern += '*';
    std::size_t open = pattern.find('[');
    while (open != std::string::npos) {
        // "]" and "!]" right after the bracket stand for themselves.
        std::size_t inside = open + 1;
        if (inside < pattern.size() && pattern[inside] == '!') ++inside;
        const std::size_t close = pattern.find(']', inside + 1);
        if (close == std::string::npos)
            throw error{
                errc::invalid_argument,
                "the pattern \"" + shown(pattern) + "\" has a '[' without a ']'"};
        open = pattern.find('[', close);
    }
    return pattern;
}

std::vector<std::string> prepare(const std::vector<std::string>& all)
{
    std::vector<std::string> result;
    result.reserve(all.size());
    for (const std::string& pattern : all)
        result.push_back(prepare(pattern));
    return result;
}

bool any_matches(const std::vector<std::string>& all, const std::string& path)
{
    return std::any_of(all.begin(), all.end(), [&path](const std::string& pattern) {
        return pattern == path || ::fnmatch(pattern.c_str(), path.c_str(), FNM_NOESCAPE) == 0;
    });
}

}  // namespace

patterns::patterns(const file_selection& selection)
    : include_{prepare(selection.included())}
    , exclude_{prepare(selection.excluded())}
{
    const auto is_pattern = [](const std::string& one) {
        return one.find_first_of("*?[") != std::string::npos;
    };
    if (std::none_of(include_.begin(), include_.end(), is_pattern)) plain_names_ = include_;
}

bool patterns::matches(const std::string& path) const
{
    if (any_matches(exclude_, path)) return false;
    return include_.empty() || any_matches(include_, path);
}

}  // namespace modelpool::fetching
