#include <modelpool/error.hpp>
#include <modelpool/text/tokenizer.hpp>

#include <catch2/catch.hpp>

#include <filesystem>
#include <string>

#include "support/failure.hpp"

namespace modelpool::text {
namespace {

tokenizer load(const std::string& name)
{
    return tokenizer::blocking_load(
        std::filesystem::path{MODELPOOL_TEST_DATA} / "vocabularies" / name);
}

std::string joined(const tokenizer& subject, const std::string& text)
{
    std::string bytes;
    for (const token_id id : subject.encode(text, encode_options{}.add_special_tokens(false)).ids)
        bytes += subject.piece(id);
    return bytes;
}

}  // namespace

TEST_CASE("piece: the bytes of a text's tokens put together are the text")
{
    const std::string text = "the caf\u00e9 \U0001f916 and  two spaces\n\ttab";
    for (const char* name : {"kimi", "qwen2"}) {
        CAPTURE(name);
        CHECK(joined(load(name), text) == text);
    }
    // SentencePiece puts a space before a text, which only its first token may lose again.
    const std::string words = "the \U0001f916 cat";
    CHECK(joined(load("pieces-bpe"), words) == " " + words);
}

TEST_CASE("piece: special tokens add nothing, and ids outside the vocabulary are refused")
{
    const tokenizer subject = load("qwen2");
    const auto special = subject.id_of("<|endoftext|>");
    REQUIRE(special);
    CHECK(subject.piece(*special).empty());
    const auto beyond = static_cast<token_id>(subject.vocab_size());
    testing::failure(text_errc::bad_id, [&] { subject.piece(beyond); });
    testing::failure(text_errc::bad_id, [&] { subject.piece(-1); });
}

}  // namespace modelpool::text
