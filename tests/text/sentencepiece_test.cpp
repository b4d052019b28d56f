#include <modelpool/error.hpp>

#include <catch2/catch.hpp>

#include <bit>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/failure.hpp"
#include "text/byte_level.hpp"
#include "text/sentencepiece.hpp"
#include "text/tokenizer_config.hpp"
#include "text/tokenizer_parts.hpp"
#include "text/vocabulary_files.hpp"

namespace modelpool::text {
namespace {

using kind = sentencepiece_vocabulary::kind;
using testing::failure;

// The bytes of a message, field by field.
class proto {
public:
    proto& varint(unsigned number, std::uint64_t value)
    {
        append(std::uint64_t{number} << 3U);
        append(value);
        return *this;
    }
    proto& bytes(unsigned number, const std::string& value)
    {
        append((std::uint64_t{number} << 3U) | 2U);
        append(value.size());
        made_ += value;
        return *this;
    }
    proto& real(unsigned number, float value)
    {
        append((std::uint64_t{number} << 3U) | 5U);
        for (auto bits = std::bit_cast<std::uint32_t>(value), i = 0U; i < 4; ++i, bits >>= 8U)
            made_ += static_cast<char>(bits & 0xFFU);
        return *this;
    }
    const std::string& str() const { return made_; }

private:
    void append(std::uint64_t value)
    {
        for (; value >= 0x80; value >>= 7U)
            made_ += static_cast<char>((value & 0x7FU) | 0x80U);
        made_ += static_cast<char>(value);
    }
    std::string made_;
};

std::string piece_of(const std::string& text, float score, kind type)
{
    return proto{}.bytes(1, text).real(2, score).varint(3, static_cast<std::uint64_t>(type)).str();
}

std::string with_unknown(const std::string& rest = "")
{
    return proto{}.bytes(1, piece_of("<unk>", 0, kind::unknown)).str() + rest;
}

std::string parse_failure(const std::string& bytes)
{
    return failure(text_errc::bad_file, [&bytes] {
        parse_sentencepiece(bytes, tokenizer_config{}, "m.model");
    });
}

std::vector<token_id> ids_of(const model& subject, const std::string& text)
{
    token_list out;
    out.reset(false);
    subject.tokenize(text, 0, out);
    return out.ids();
}

sentencepiece_vocabulary small(sentencepiece_vocabulary::algorithm how)
{
    sentencepiece_vocabulary made;
    made.how = how;
    made.pieces = {
        {"<unk>", 0, kind::unknown},
        {"a", -3, kind::normal},
        {"b", -3, kind::normal},
        {"ab", -1, kind::unused},
        {"abb", -2, kind::normal},
        {"ba", -1.5F, kind::normal},
        {"xy", 0, kind::user_defined}};
    return made;
}

TEST_CASE("sentencepiece: fields are read, and what is not said has its default", "[text]")
{
    const std::string trainer = proto{}
                                    .varint(3, 2)
                                    .varint(24, 1)
                                    .varint(41, 5)
                                    .varint(43, std::numeric_limits<std::uint64_t>::max())
                                    .bytes(2, "something else")
                                    .real(15, 0.5F)
                                    .str();
    const std::string normalizer = proto{}.varint(3, 0).varint(5, 0).str();
    const std::string bytes =
        with_unknown(proto{}
                         .bytes(1, proto{}.bytes(1, "\u2581a").real(2, -1.5F).str())
                         .bytes(2, trainer)
                         .bytes(3, normalizer)
                         .varint(99, 7)
                         .str());
    const auto read = sentencepiece_vocabulary::parse(bytes, "m.model");
    REQUIRE(read.pieces.size() == 2);
    CHECK(read.pieces[0].type == kind::unknown);
    CHECK(read.pieces[1].text == "\u2581a");
    CHECK(read.pieces[1].score == -1.5F);
    CHECK(read.pieces[1].type == kind::normal);
    CHECK(read.how == sentencepiece_vocabulary::algorithm::bpe);
    CHECK(read.whitespace_as_suffix);
    CHECK_FALSE(read.byte_fallback);
    CHECK_FALSE(read.add_dummy_prefix);
    CHECK_FALSE(read.escape_whitespaces);
    CHECK(read.remove_extra_whitespaces);
    CHECK(read.bos_id == 5);
    CHECK(read.eos_id == 2);
    CHECK(read.pad_id == -1);
}

TEST_CASE("sentencepiece: malformed models are refused with the place", "[text]")
{
    const std::string twice = proto{}.bytes(1, piece_of("a", 0, kind::normal)).str();
    const std::string lone_byte = proto{}
                                      .bytes(1, piece_of("<0x00>", 0, kind::byte))
                                      .bytes(2, proto{}.varint(35, 1).str())
                                      .str();
    const std::vector<std::pair<std::string, std::string>> cases{
        {"", "no piece before byte 0"},
        {"\x0a", "a number without an end before byte 1"},
        {"\x0a\x05"
         "ab",
         "longer than the rest before byte 2"},
        {std::string(12, '\xFF'), "more than 64 bits"},
        {std::string{"\x0b", 1}, "the wire type 3"},
        {std::string{"\0", 1}, "the number 0"},
        {"\x08\x01", "a number where a message was expected"},
        {proto{}.bytes(1, proto{}.real(2, 1).str()).str(), "an empty piece"},
        {proto{}.bytes(1, piece_of("\xFF", 0, kind::normal)).str(), "not UTF-8"},
        {proto{}
             .bytes(1, piece_of("a", std::numeric_limits<float>::quiet_NaN(), kind::normal))
             .str(),
         "no number"},
        {proto{}.bytes(1, proto{}.bytes(1, "a").varint(3, 9).str()).str(), "the type 9"},
        {with_unknown(twice + twice), "the piece 'a' twice"},
        {twice, "has no unknown piece"},
        {with_unknown(lone_byte), "lacks the piece '<0x01>'"},
        {with_unknown(proto{}.bytes(3, proto{}.bytes(2, "ab").str()).str()), "fewer than 4 bytes"},
    };
    for (const auto& [bytes, what] : cases) {
        INFO(what);
        const std::string found = parse_failure(bytes);
        CHECK_THAT(found, Catch::StartsWith("m.model: ") && Catch::Contains(what));
    }
    const std::string words = with_unknown(proto{}.bytes(2, proto{}.varint(3, 3).str()).str());
    CHECK_THAT(
        failure(
            text_errc::unsupported,
            [&] { parse_sentencepiece(words, tokenizer_config{}, "m.model"); }),
        Catch::Contains("the type WORD"));
}

TEST_CASE(
    "sentencepiece: pieces that are not used fall apart, and user-defined ones stay whole",
    "[text]")
{
    const auto joined = small(sentencepiece_vocabulary::algorithm::bpe).make_model();
    CHECK(ids_of(*joined, "ab") == std::vector<token_id>{1, 2});
    CHECK(ids_of(*joined, "abb") == std::vector<token_id>{4});
    CHECK(ids_of(*joined, "bab") == std::vector<token_id>{2, 1, 2});
    CHECK(ids_of(*joined, "axyb") == std::vector<token_id>{1, 6, 2});
    const auto covered = small(sentencepiece_vocabulary::algorithm::unigram).make_model();
    CHECK(ids_of(*covered, "ab") == std::vector<token_id>{1, 2});
    CHECK(ids_of(*covered, "abba") == std::vector<token_id>{4, 1});
    CHECK(ids_of(*covered, "bab") == std::vector<token_id>{5, 2});
    CHECK(ids_of(*covered, "axyb") == std::vector<token_id>{1, 6, 2});
    CHECK(ids_of(*covered, "zzaz") == std::vector<token_id>{0, 1, 0});
    CHECK(covered->id_of("ab") == 3);
    CHECK(covered->token_of(6) == "xy");
    CHECK_FALSE(covered->token_of(7));
}

TEST_CASE("sentencepiece: unknown characters become bytes where the model has them", "[text]")
{
    for (const auto how :
         {sentencepiece_vocabulary::algorithm::bpe, sentencepiece_vocabulary::algorithm::unigram}) {
        sentencepiece_vocabulary words = small(how);
        words.byte_fallback = true;
        for (unsigned byte = 0; byte < 256; ++byte)
            words.pieces.push_back({byte_token(static_cast<char>(byte)), 0, kind::byte});
        const auto subject = words.make_model();
        CHECK(ids_of(*subject, "a\u00e9") == std::vector<token_id>{1, 7 + 0xC3, 7 + 0xA9});
        // The name of a byte in a text is no byte.
        CHECK(ids_of(*subject, "<").size() == 1);
        CHECK(ids_of(*subject, "<0x61>").size() == 6);
        words.pieces.pop_back();
        CHECK_THROWS_AS(words.make_model(), std::invalid_argument);
    }
}

TEST_CASE("sentencepiece: every cut and changed byte gives a tokenizer or a typed error", "[text]")
{
    std::ifstream in{
        std::string{MODELPOOL_TEST_DATA} + "/vocabularies/pieces-unigram/spiece.model",
        std::ios::binary};
    const std::string whole{std::istreambuf_iterator<char>{in}, {}};
    REQUIRE(whole.size() > 1000);
    std::mt19937 random{5};
    std::size_t n_made = 0;
    const auto attempt = [&n_made](const std::string& bytes) {
        try {
            const auto subject =
                tokenizer_maker::make(parse_sentencepiece(bytes, tokenizer_config{}, "m.model"));
            static_cast<void>(subject.decode(subject.encode("The dog \u00e9\u4e16 1.").ids, false));
            ++n_made;
        } catch (const error& problem) {
            const bool is_typed =
                problem.code() == text_errc::bad_file || problem.code() == text_errc::unsupported;
            CHECK(is_typed);
        }
    };
    for (std::size_t n_bytes = 0; n_bytes < whole.size(); n_bytes += 13)
        attempt(whole.substr(0, n_bytes));
    for (int round = 0; round < 300; ++round) {
        std::string bytes = whole;
        bytes[random() % bytes.size()] = static_cast<char>(random());
        attempt(bytes);
    }
    CHECK(n_made > 10);
}

}  // namespace
}  // namespace modelpool::text
