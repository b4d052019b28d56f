#include <catch2/catch.hpp>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "text/regex.hpp"

namespace {

using modelpool::text::found_range;
using modelpool::text::regex;

// The characters of `text`, each ended by '|' where a pattern matches it alone.
std::string marked(const std::string& pattern, const std::string& text)
{
    std::vector<found_range> found;
    regex::from_pattern(pattern).find_all(text, found);
    std::string made;
    for (const found_range& each : found)
        made += (each.is_match ? "<" : "") + text.substr(each.begin, each.end - each.begin) +
                (each.is_match ? ">" : "");
    return made;
}

TEST_CASE("regex: classes in classes are united", "[text]")
{
    CHECK(marked("[a[bc]]+", "abcd") == "<abc>d");
    CHECK(marked("[a[b[c]]d]+", "abcde") == "<abcd>e");
    CHECK(marked("[x[^a]]", "ax b") == "a<x>< ><b>");
    CHECK(marked("[^a[bc]]+", "abcde") == "abc<de>");
    // No range comes about between what stands in different classes.
    CHECK(marked("[[a-]z]", "am-z") == "<a>m<-><z>");
    CHECK(marked("[a[-z]]", "am-z") == "<a>m<-><z>");
    CHECK(marked("[\\-[z]]", "a-z") == "a<-><z>");
}

TEST_CASE("regex: an intersection matches what all its sides do", "[text]")
{
    CHECK(marked("[a-m&&g-z]+", "afgmnz") == "af<gm>nz");
    CHECK(marked("[a-z&&[^aeiou]]+", "hello") == "<h>e<ll>o");
    CHECK(marked("[^a-z&&[^aeiou]]+", "heAo") == "h<eAo>");
    CHECK(marked("[a-z&&[^aeiou]&&[^l]]+", "hello") == "<h>ello");
    CHECK(marked("[\\p{L}&&[^\\p{Han}]]{2}", "abc\u4e2d\u6587de") == "<ab>c\u4e2d\u6587<de>");
    CHECK(marked("[a-z&&^b]", "a^b") == "a^<b>");
    CHECK(marked("[a&b]", "a&b") == "<a><&><b>");
}

TEST_CASE("regex: negated shorthands and properties stand in classes", "[text]")
{
    CHECK(marked("[\\S\\n]+", "a b\n c") == "<a> <b\n> <c>");
    CHECK(marked("[^\\S\\n]+", "a \t\nb") == "a< \t>\nb");
    CHECK(marked("[\\W\\d]", "a1-") == "a<1><->");
    CHECK(marked("[\\P{L}x]", "ax1") == "a<x><1>");
    CHECK(marked("[^\\P{L}a]", "ab1") == "a<b>1");
    CHECK(marked("[\\D]", "1a") == "1<a>");
    CHECK(marked("[.:=]", "a.") == "a<.>");
    CHECK(marked("[.a.]", "a.") == "<a><.>");
}

TEST_CASE("regex: word characters are what Oniguruma takes for them", "[text]")
{
    CHECK(marked("\\w", "\u24c0\u216b\u00b2\u00bb") == "<\u24c0><\u216b><\u00b2>\u00bb");
    // In a class superscripts are none.
    CHECK(marked("[\\w]", "\u24c0\u216b\u00b2") == "<\u24c0><\u216b>\u00b2");
    CHECK(marked("\\W", "\u24c0\u00b2\u00bb") == "\u24c0\u00b2<\u00bb>");
}

}  // namespace
