#include <modelpool/sched/stop_matcher.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "support/failure.hpp"

namespace mp = modelpool;
using mp::sched::stop_matcher;
using strings = std::vector<std::string>;

namespace {

struct outcome {
    std::string text;
    std::optional<std::size_t> matched;
    bool operator==(const outcome&) const = default;
};

/// The stop string whose end comes first; of those the longest.
outcome reference(const std::string& text, const strings& stops)
{
    for (std::size_t end = 1; end <= text.size(); ++end) {
        std::optional<std::size_t> best;
        for (std::size_t i = 0; i < stops.size(); ++i)
            if (std::string_view{text}.substr(0, end).ends_with(stops[i]) &&
                (!best || stops[i].size() > stops[*best].size()))
                best = i;
        if (best) return {text.substr(0, end - stops[*best].size()), best};
    }
    return {text, std::nullopt};
}

/// The longest end of `text` that a stop string may begin with.
std::size_t held_back(const std::string& text, const strings& stops)
{
    std::size_t most = 0;
    for (const std::string& stop : stops)
        for (std::size_t n = 1; n < stop.size() && n <= text.size(); ++n)
            if (text.ends_with(stop.substr(0, n))) most = std::max(most, n);
    return most;
}

}  // namespace

TEST_CASE("stop_matcher: a stop string split over pieces never leaks")
{
    stop_matcher matcher{strings{"<end>"}};
    std::string text;
    CHECK_FALSE(matcher.push("Hello <", text));
    CHECK(text == "Hello ");
    CHECK_FALSE(matcher.push("en", text));
    CHECK(text == "Hello ");
    CHECK(matcher.push("d> more", text));
    CHECK(text == "Hello ");
    CHECK(matcher.matched() == 0);
    CHECK(matcher.push("ignored", text));
    matcher.finish(text);
    CHECK(text == "Hello ");
}

TEST_CASE("stop_matcher: what looked like a stop string comes out when it is none")
{
    stop_matcher matcher{strings{"aab"}};
    std::string text;
    matcher.push("aa", text);
    CHECK(text.empty());
    matcher.push("a", text);
    CHECK(text == "a");
    matcher.push("c", text);
    CHECK(text == "aaac");
    matcher.push("xa", text);
    CHECK(text == "aaacx");
    matcher.finish(text);
    CHECK(text == "aaacxa");
}

TEST_CASE("stop_matcher: the string that is complete first ends the text")
{
    stop_matcher matcher{strings{"abcd", "bc"}};
    std::string text;
    CHECK(matcher.push("xabcd", text));
    CHECK(text == "xa");
    CHECK(matcher.matched() == 1);

    stop_matcher longest{strings{"c", "abc", "bc"}};
    text.clear();
    CHECK(longest.push("xabc", text));
    CHECK(text == "x");
    CHECK(longest.matched() == 1);
}

TEST_CASE("stop_matcher: without stop strings everything passes")
{
    stop_matcher matcher;
    std::string text;
    CHECK_FALSE(matcher.push("abc", text));
    CHECK(text == "abc");
    CHECK_FALSE(matcher.matched());
}

TEST_CASE("stop_matcher: refuses an empty string")
{
    const auto text = mp::testing::failure(mp::errc::invalid_argument, [] {
        stop_matcher{strings{"a", ""}};
    });
    CHECK_THAT(text, Catch::Contains("stop string 1"));
}

TEST_CASE("stop_matcher: agrees with a search of the whole text, holding back no more than it must")
{
    const auto seed = GENERATE(1U, 2U, 3U);
    CAPTURE(seed);
    std::mt19937 random{seed};
    const auto word = [&](std::size_t n) {
        std::string made;
        for (; n > 0; --n)
            made += static_cast<char>('a' + random() % 3);
        return made;
    };
    for (int i = 0; i < 5000; ++i) {
        strings stops;
        for (std::size_t n = 1 + random() % 4; n > 0; --n)
            stops.push_back(word(1 + random() % 5));
        const std::string text = word(random() % 30);
        const outcome expected = reference(text, stops);
        stop_matcher matcher{stops};
        outcome found;
        std::size_t place = 0;
        while (place < text.size() && !found.matched) {
            const std::size_t n = 1 + random() % 4;
            matcher.push(std::string_view{text}.substr(place, n), found.text);
            place = std::min(text.size(), place + n);
            found.matched = matcher.matched();
            if (!found.matched) {
                const std::string seen = text.substr(0, place);
                REQUIRE(found.text.size() == place - held_back(seen, stops));
            }
        }
        matcher.finish(found.text);
        // Of equal strings either may be named.
        if (found.matched && stops[*found.matched] == stops[*expected.matched])
            found.matched = expected.matched;
        REQUIRE(found == expected);
    }
}
