// A SentencePiece model as a protobuf: the few fields that matter, read with every length checked.
// Sources: https://protobuf.dev/programming-guides/encoding; sentencepiece_model.proto

#include <modelpool/error.hpp>

#include <bit>
#include <limits>
#include <unordered_set>

#include "support/printable.hpp"
#include "text/sentencepiece.hpp"
#include "text/utf8.hpp"

namespace modelpool::text {
namespace {

// One field of a message: a number, or bytes.
struct field {
    std::uint32_t number{0};
    bool is_bytes{false};
    std::uint64_t value{0};
    std::string_view bytes;

    bool flag() const { return value != 0; }
};

class message {
public:
    message(std::string_view bytes, std::size_t base, const std::string& name)
        : bytes_{bytes}
        , base_{base}
        , name_{name}
    {}

    bool next(field& out)
    {
        if (at_ >= bytes_.size()) return false;
        const std::uint64_t tag = varint();
        const std::uint64_t number = tag >> 3U;
        if (number == 0 || number > 536'870'911)
            fail("a field with the number " + std::to_string(number));
        out = field{};
        out.number = static_cast<std::uint32_t>(number);
        switch (tag & 7U) {
        case 0:
            out.value = varint();
            return true;
        case 1:
            out.value = fixed(8);
            return true;
        case 2: {
            const std::uint64_t n_bytes = varint();
            if (n_bytes > bytes_.size() - at_) fail("a field that is longer than the rest");
            out.is_bytes = true;
            out.bytes = bytes_.substr(at_, n_bytes);
            at_ += n_bytes;
            return true;
        }
        case 5:
            out.value = fixed(4);
            return true;
        default:
            fail("a field of the wire type " + std::to_string(tag & 7U));
        }
    }

    // A field of bytes as a message of its own.
    message inner(const field& from) const
    {
        if (!from.is_bytes) fail("a number where a message was expected");
        return {
            from.bytes, base_ + static_cast<std::size_t>(from.bytes.data() - bytes_.data()), name_};
    }

    [[noreturn]] void fail(const std::string& what) const
    {
        throw error{
            text_errc::bad_file,
            name_ + ": not a SentencePiece model: " + what + " before byte " +
                std::to_string(base_ + at_)};
    }

private:
    std::uint64_t varint()
    {
        std::uint64_t value = 0;
        for (unsigned shift = 0; shift < 64; shift += 7) {
            if (at_ >= bytes_.size()) fail("a number without an end");
            const auto byte = static_cast<unsigned char>(bytes_[at_++]);
            value |= std::uint64_t{byte & 0x7FU} << shift;
            if (byte < 0x80) return value;
        }
        fail("a number of more than 64 bits");
    }

    std::uint64_t fixed(std::size_t n_bytes)
    {
        if (n_bytes > bytes_.size() - at_) fail("a number without an end");
        std::uint64_t value = 0;
        for (std::size_t i = n_bytes; i-- > 0;)
            value = (value << 8U) | static_cast<unsigned char>(bytes_[at_ + i]);
        at_ += n_bytes;
        return value;
    }

    std::string_view bytes_;
    std::size_t base_;
    const std::string& name_;
    std::size_t at_{0};
};

sentencepiece_vocabulary::piece read_piece(message from)
{
    sentencepiece_vocabulary::piece made;
    for (field each; from.next(each);) {
        if (each.number == 1) made.text = each.bytes;
        if (each.number == 2)
            made.score = std::bit_cast<float>(static_cast<std::uint32_t>(each.value));
        if (each.number == 3) {
            if (each.value < 1 || each.value > 6)
                from.fail("a piece of the type " + std::to_string(each.value));
            made.type = static_cast<sentencepiece_vocabulary::kind>(each.value);
        }
    }
    if (made.text.empty()) from.fail("an empty piece");
    if (find_bad_utf8(made.text) != std::string_view::npos) from.fail("a piece that is not UTF-8");
    if (!(made.score >= std::numeric_limits<float>::lowest() &&
          made.score <= std::numeric_limits<float>::max()))
        from.fail("a piece whose score is no number");
    return made;
}

std::int64_t signed_value(const field& from)
{
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(from.value));
}

void read_trainer(message from, const std::string& name, sentencepiece_vocabulary& made)
{
    using algorithm = sentencepiece_vocabulary::algorithm;
    for (field each; from.next(each);) {
        switch (each.number) {
        case 3:
            if (each.value != 1 && each.value != 2)
                throw error{
                    text_errc::unsupported,
                    name + ": a SentencePiece model of the type " +
                        (each.value == 3   ? "WORD"
                         : each.value == 4 ? "CHAR"
                                           : std::to_string(each.value)) +
                        " is not supported, only UNIGRAM and BPE"};
            made.how = static_cast<algorithm>(each.value);
            break;
        case 24:
            made.whitespace_as_suffix = each.flag();
            break;
        case 35:
            made.byte_fallback = each.flag();
            break;
        case 41:
            made.bos_id = signed_value(each);
            break;
        case 42:
            made.eos_id = signed_value(each);
            break;
        case 43:
            made.pad_id = signed_value(each);
            break;
        default:
            break;
        }
    }
}

void read_normalizer(message from, sentencepiece_vocabulary& made)
{
    for (field each; from.next(each);) {
        if (each.number == 2) made.charsmap = each.bytes;
        if (each.number == 3) made.add_dummy_prefix = each.flag();
        if (each.number == 4) made.remove_extra_whitespaces = each.flag();
        if (each.number == 5) made.escape_whitespaces = each.flag();
    }
}

void check_distinct(const sentencepiece_vocabulary& made, const std::string& name)
{
    using kind = sentencepiece_vocabulary::kind;
    std::unordered_set<std::string_view> matched;
    std::unordered_set<std::string_view> reserved;
    for (const sentencepiece_vocabulary::piece& each : made.pieces) {
        const bool is_matched = each.type == kind::normal || each.type == kind::user_defined ||
                                each.type == kind::unused;
        if (!(is_matched ? matched : reserved).insert(each.text).second)
            throw error{
                text_errc::bad_file,
                name + ": has the piece " + support::in_quotes(each.text) + " twice"};
    }
}

}  // namespace

sentencepiece_vocabulary
sentencepiece_vocabulary::parse(std::string_view bytes, const std::string& name)
{
    sentencepiece_vocabulary made;
    message whole{bytes, 0, name};
    for (field each; whole.next(each);) {
        if (each.number == 1) made.pieces.push_back(read_piece(whole.inner(each)));
        if (each.number == 2) read_trainer(whole.inner(each), name, made);
        if (each.number == 3) read_normalizer(whole.inner(each), made);
    }
    if (made.pieces.empty()) whole.fail("no piece");
    check_distinct(made, name);
    return made;
}

}  // namespace modelpool::text
