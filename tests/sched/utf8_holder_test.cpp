#include <modelpool/sched/utf8_holder.hpp>

#include <catch2/catch.hpp>

#include <cstddef>
#include <random>
#include <string>
#include <utility>
#include <vector>

using modelpool::sched::utf8_holder;

namespace {

std::string whole(const std::string& bytes)
{
    utf8_holder holder;
    std::string text;
    holder.push(bytes, text);
    holder.finish(text);
    return text;
}

/// A code point's bytes, written without tables.
std::string encoded(char32_t c)
{
    const auto byte = [](char32_t value) {
        return static_cast<char>(static_cast<unsigned char>(value));
    };
    if (c < 0x80) return {byte(c)};
    if (c < 0x800) return {byte(0xC0 | (c >> 6)), byte(0x80 | (c & 0x3F))};
    if (c < 0x10000)
        return {byte(0xE0 | (c >> 12)), byte(0x80 | ((c >> 6) & 0x3F)), byte(0x80 | (c & 0x3F))};
    return {
        byte(0xF0 | (c >> 18)),
        byte(0x80 | ((c >> 12) & 0x3F)),
        byte(0x80 | ((c >> 6) & 0x3F)),
        byte(0x80 | (c & 0x3F))};
}

}  // namespace

TEST_CASE("utf8_holder: gives a character only once it is whole")
{
    utf8_holder holder;
    std::string text;
    holder.push("a\xE2", text);
    CHECK(text == "a");
    holder.push("\x82", text);
    CHECK(text == "a");
    CHECK_FALSE(holder.empty());
    holder.push("\xAC!", text);
    CHECK(text == "a\xE2\x82\xAC!");
    CHECK(holder.empty());
}

TEST_CASE("utf8_holder: every code point passes, and surrogates do not")
{
    for (char32_t c = 0; c <= 0x10FFFF; ++c) {
        const std::string bytes = encoded(c);
        const bool is_surrogate = c >= 0xD800 && c < 0xE000;
        if ((whole(bytes) == bytes) == is_surrogate)
            FAIL("code point " << static_cast<unsigned long>(c));
    }
}

TEST_CASE("utf8_holder: replaces what Python's errors='replace' replaces")
{
    const std::string r = "\xEF\xBF\xBD";
    const std::vector<std::pair<std::string, std::string>> cases{
        {"\x80", r},
        {"\xFF"
         "a",
         r + "a"},
        {"\xC0\xAF", r + r},
        {"\xC2", r},
        {"\xC2"
         "A",
         r + "A"},
        {"\xE0\x80\xAF", r + r + r},
        {"\xE2\x82", r},
        {"\xE2\x82"
         "A",
         r + "A"},
        {"\xE2\x82\xE2\x82\xAC", r + "\xE2\x82\xAC"},
        {"\xED\xA0\x80", r + r + r},
        {"\xF0\x80\x80\x80", r + r + r + r},
        {"\xF0\x9F\x98", r},
        {"\xF0\x9F\x98\xC3\xA9", r + "\xC3\xA9"},
        {"\xF4\x90\x80\x80", r + r + r + r},
        {"\xF4\x8F\xBF\xBF", "\xF4\x8F\xBF\xBF"},
        {"\xF5\x80", r + r},
        {std::string{"\0b", 2}, std::string{"\0b", 2}},
        {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF"
         "A",
         r + r + r + r + "A"}};
    for (const auto& [bytes, text] : cases)
        CHECK(whole(bytes) == text);
}

TEST_CASE("utf8_holder: the pieces do not depend on how bytes are cut, and are whole characters")
{
    const auto seed = GENERATE(1U, 2U);
    CAPTURE(seed);
    std::mt19937 random{seed};
    const std::string alphabet = "aZ\x80\xBF\x9F\x90\xC2\xC0\xE0\xED\xE2\xF0\xF4\xF5\xA0\x8F";
    for (int i = 0; i < 5000; ++i) {
        std::string bytes;
        for (std::size_t n = random() % 12; n > 0; --n)
            bytes += alphabet[random() % alphabet.size()];
        utf8_holder holder;
        std::string text;
        std::size_t place = 0;
        while (place < bytes.size()) {
            const std::size_t n = random() % 3;
            std::string piece;
            holder.push(std::string_view{bytes}.substr(place, n), piece);
            REQUIRE(whole(piece) == piece);
            text += piece;
            place += n;
        }
        holder.finish(text);
        REQUIRE(text == whole(bytes));
    }
}
