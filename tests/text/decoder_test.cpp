#include <catch2/catch.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/decoder.hpp"

using namespace modelpool::text;

namespace {

class recorder final : public token_sink {
public:
    void push(std::string_view text, bool ends) override
    {
        made += text;
        if (ends) made += '/';
    }
    void finish() override { made += '.'; }

    std::string made;
};

// What each token brings at once, and what the end brings; a token's end shows as a slash.
std::vector<std::string> pieces_of(const decoder& subject, const std::vector<std::string>& tokens)
{
    recorder out;
    const auto run = subject.start(out);
    std::vector<std::string> made;
    for (const std::string& token : tokens) {
        run->push(token, true);
        made.push_back(std::exchange(out.made, {}));
    }
    run->finish();
    made.push_back(out.made);
    return made;
}

using pieces = std::vector<std::string>;

template <typename... Steps>
decoder_sequence in_turn(Steps... steps)
{
    std::vector<std::unique_ptr<const decoder>> all;
    (all.push_back(std::move(steps)), ...);
    return decoder_sequence{std::move(all)};
}

}  // namespace

TEST_CASE("decoder: bytes wait for the rest of their character")
{
    CHECK(
        pieces_of(byte_level_decoder{}, {"\u00c3", "\u00a9a", "\u00e2\u013a", "\u00c3"}) ==
        pieces{"", "\u00e9a", "", "\ufffd", "\ufffd/."});
    CHECK(pieces_of(byte_level_decoder{}, {}) == pieces{"/."});
}

TEST_CASE("decoder: a run of byte tokens waits for its end")
{
    CHECK(
        pieces_of(byte_fallback_decoder{}, {"<0xC3>", "<0xA9>", "a", "<0x62>", "<0xFF>"}) ==
        pieces{"", "", "\u00e9/a/", "", "", "\ufffd/\ufffd/."});
}

TEST_CASE("decoder: what the end of a text may lose is held back")
{
    const auto subject =
        in_turn(std::make_unique<fuse_decoder>(), std::make_unique<strip_decoder>(" ", 1, 2));
    CHECK(
        pieces_of(subject, {" ", " a ", "  ", "b", " ", ""}) ==
        pieces{"", " a", " ", "  b", "", "", "/."});
    CHECK(pieces_of(subject, {" ", " "}) == pieces{"", "", "/."});
    const strip_decoder each{"_", 1, 1};
    CHECK(pieces_of(each, {"__a__", "b", "___"}) == pieces{"_a_/", "b/", "_/", "."});
}

TEST_CASE("decoder: the last word's suffix is known at the end alone")
{
    CHECK(
        pieces_of(bpe_decoder{"</w>"}, {"a</w>", "b", "c</w>"}) == pieces{"", "a /", "b/", "c/."});
}

TEST_CASE("decoder: words join as their kind has it")
{
    CHECK(
        pieces_of(wordpiece_decoder{"##", true}, {"##a", "##b", "c", "."}) ==
        pieces{"##a/", "b/", " c/", "./", "."});
    CHECK(
        pieces_of(metaspace_decoder{"\u2581", true}, {"\u2581a", "\u2581b"}) ==
        pieces{"a/", " b/", "."});
    CHECK(
        pieces_of(ctc_decoder{"<pad>", "|", true}, {"a", "a", "<pad>", "a", "|"}) ==
        pieces{"a/", "", "", "a/", " /", "."});
    CHECK(
        pieces_of(replace_decoder{regex::from_literal("_"), " "}, {"a_", "__"}) ==
        pieces{"a /", "  /", "."});
}
