#include "text/component_json.hpp"

#include <array>
#include <limits>
#include <stdexcept>

#include "support/printable.hpp"
#include "text/base64.hpp"
#include "text/bert_normalizer.hpp"
#include "text/bert_pre_tokenizer.hpp"
#include "text/metaspace.hpp"
#include "text/normal_form.hpp"
#include "text/normalizers.hpp"
#include "text/pre_tokenizers.hpp"
#include "text/precompiled.hpp"
#include "text/utf8.hpp"

#include <simdjson.h>

namespace modelpool::text {
namespace {

constexpr int max_depth = 64;
// A text that is put in for every match: a longer one could make a text thousands of times longer.
constexpr std::size_t max_inserted_bytes = 1024;

[[noreturn]] void refuse_type(const json_value& from)
{
    from.refuse("type " + support::in_quotes(from.type()) + " is not supported");
}

// The components of a Sequence, which may hold sequences.
template <typename Component, typename Make>
std::vector<std::unique_ptr<const Component>>
make_steps(const json_value& list, int depth, const Make& make)
{
    if (depth >= max_depth) list.fail("is nested more than " + std::to_string(max_depth) + " deep");
    std::vector<std::unique_ptr<const Component>> steps;
    std::size_t index = 0;
    for (const simdjson::dom::element step : list.array())
        steps.push_back(make(list.item(step, index++), depth + 1));
    return steps;
}

std::string inserted_text(const json_value& from)
{
    const std::string_view text = from.string();
    if (text.size() > max_inserted_bytes)
        from.refuse(
            "has " + std::to_string(text.size()) + " bytes: more than " +
            std::to_string(max_inserted_bytes) + " are not supported");
    return std::string{text};
}

// `{"String": "x"}` or `{"Regex": "x"}`
regex make_regex(const json_value& from)
{
    if (const std::optional<json_value> literal = from.find("String"))
        return regex::from_literal(literal->string());
    const json_value pattern = from.need("Regex");
    try {
        return regex::from_pattern(pattern.string());
    } catch (const std::invalid_argument& reason) {
        pattern.refuse(support::in_quotes(pattern.string()) + " cannot be used: " + reason.what());
    }
}

bool boolean_or(const json_value& from, std::string_view key, bool otherwise)
{
    const std::optional<json_value> found = from.find(key);
    return found ? found->boolean() : otherwise;
}

std::unique_ptr<const normalizer> make_bert_normalizer(const json_value& from)
{
    const bool lowercase = from.need("lowercase").boolean();
    return std::make_unique<bert_normalizer>(
        bert_normalizer::options{}
            .clean_text(from.need("clean_text").boolean())
            .handle_chinese_chars(from.need("handle_chinese_chars").boolean())
            .strip_accents(boolean_or(from, "strip_accents", lowercase))
            .lowercase(lowercase));
}

std::unique_ptr<const normalizer> make_strip(const json_value& from)
{
    using side = strip_normalizer::side;
    const bool left = from.need("strip_left").boolean();
    const bool right = from.need("strip_right").boolean();
    return std::make_unique<strip_normalizer>(
        left ? (right ? side::both : side::left) : (right ? side::right : side::neither));
}

std::unique_ptr<const normalizer> make_precompiled(const json_value& from)
{
    const json_value charsmap = from.need("precompiled_charsmap");
    try {
        return std::make_unique<precompiled_normalizer>(decode_base64(charsmap.string()));
    } catch (const std::invalid_argument& reason) {
        charsmap.fail(reason.what());
    }
}

std::unique_ptr<const normalizer> make_normalizer_at(const json_value& from, int depth)
{
    const std::string_view type = from.type();
    if (type == "Sequence")
        return std::make_unique<normalizer_sequence>(
            make_steps<normalizer>(from.need("normalizers"), depth, make_normalizer_at));
    if (type == "BertNormalizer") return make_bert_normalizer(from);
    if (type == "NFC") return std::make_unique<normal_form>(normal_form::kind::nfc);
    if (type == "NFD") return std::make_unique<normal_form>(normal_form::kind::nfd);
    if (type == "NFKC") return std::make_unique<normal_form>(normal_form::kind::nfkc);
    if (type == "NFKD") return std::make_unique<normal_form>(normal_form::kind::nfkd);
    if (type == "Lowercase") return std::make_unique<lowercase_normalizer>();
    if (type == "StripAccents") return std::make_unique<strip_accents_normalizer>();
    if (type == "Strip") return make_strip(from);
    if (type == "Nmt") return std::make_unique<nmt_normalizer>();
    if (type == "Precompiled") return make_precompiled(from);
    if (type == "Replace")
        return std::make_unique<replace_normalizer>(
            make_regex(from.need("pattern")), inserted_text(from.need("content")));
    if (type == "Prepend")
        return std::make_unique<prepend_normalizer>(inserted_text(from.need("prepend")));
    refuse_type(from);
}

delimiter make_delimiter(const json_value& from)
{
    const std::string_view name = from.string();
    if (name == "Removed") return delimiter::removed;
    if (name == "Isolated") return delimiter::isolated;
    if (name == "MergedWithPrevious") return delimiter::merged_with_previous;
    if (name == "MergedWithNext") return delimiter::merged_with_next;
    if (name == "Contiguous") return delimiter::contiguous;
    from.refuse(support::in_quotes(name) + " is not supported");
}

std::unique_ptr<const pre_tokenizer> make_split(const json_value& from)
{
    using cuts_at = pattern_splitter::cuts_at;
    return std::make_unique<pattern_splitter>(
        make_regex(from.need("pattern")),
        from.need("invert").boolean() ? cuts_at::gaps : cuts_at::matches,
        make_delimiter(from.need("behavior")));
}

// One character, as a string of its own.
std::string make_character(const json_value& from)
{
    const std::string_view text = from.string();
    if (text.empty() || count_utf8(text) != 1) from.fail("must be one character");
    return std::string{text};
}

metaspace::prepend make_prepend(const json_value& from)
{
    using prepend = metaspace::prepend;
    prepend scheme = prepend::always;
    if (const std::optional<json_value> named = from.find("prepend_scheme")) {
        const std::string_view name = named->string();
        if (name == "first")
            scheme = prepend::first;
        else if (name == "never")
            scheme = prepend::never;
        else if (name != "always")
            named->refuse(support::in_quotes(name) + " is not supported");
    }
    if (!boolean_or(from, "add_prefix_space", true)) {
        if (scheme != prepend::never && from.find("prepend_scheme"))
            from.fail("has add_prefix_space and prepend_scheme that contradict each other");
        scheme = prepend::never;
    }
    return scheme;
}

std::unique_ptr<const pre_tokenizer> make_metaspace(const json_value& from)
{
    using cutting = metaspace::cutting;
    return std::make_unique<metaspace>(
        make_character(from.need("replacement")),
        make_prepend(from),
        boolean_or(from, "split", true) ? cutting::before_marks : cutting::none);
}

std::unique_ptr<const pre_tokenizer> make_pre_tokenizer_at(const json_value& from, int depth)
{
    const std::string_view type = from.type();
    if (type == "Sequence")
        return std::make_unique<pre_tokenizer_sequence>(
            make_steps<pre_tokenizer>(from.need("pretokenizers"), depth, make_pre_tokenizer_at));
    if (type == "BertPreTokenizer") return std::make_unique<bert_pre_tokenizer>();
    if (type == "Split") return make_split(from);
    if (type == "Metaspace") return make_metaspace(from);
    if (type == "Whitespace") return std::make_unique<word_splitter>();
    if (type == "WhitespaceSplit")
        return std::make_unique<char_splitter>(is_white_space, delimiter::removed);
    if (type == "Digits")
        return std::make_unique<char_splitter>(
            is_numeric,
            from.need("individual_digits").boolean() ? delimiter::isolated : delimiter::contiguous);
    if (type == "Punctuation") {
        const std::optional<json_value> behavior = from.find("behavior");
        return std::make_unique<char_splitter>(
            is_bert_punctuation, behavior ? make_delimiter(*behavior) : delimiter::isolated);
    }
    if (type == "CharDelimiterSplit")
        return std::make_unique<pattern_splitter>(
            regex::from_literal(make_character(from.need("delimiter"))),
            pattern_splitter::cuts_at::matches,
            delimiter::removed);
    if (type == "ByteLevel")
        return std::make_unique<byte_level_pre_tokenizer>(
            from.need("add_prefix_space").boolean(), boolean_or(from, "use_regex", true));
    refuse_type(from);
}

std::unique_ptr<const decoder> make_decoder_at(const json_value& from, int depth)
{
    const std::string_view type = from.type();
    const auto text = [&from](std::string_view key) {
        return std::string{from.need(key).string()};
    };
    constexpr std::uint64_t any_count = std::numeric_limits<std::uint32_t>::max();
    if (type == "Sequence")
        return std::make_unique<decoder_sequence>(
            make_steps<decoder>(from.need("decoders"), depth, make_decoder_at));
    if (type == "WordPiece")
        return std::make_unique<wordpiece_decoder>(text("prefix"), from.need("cleanup").boolean());
    if (type == "ByteLevel") return std::make_unique<byte_level_decoder>();
    if (type == "ByteFallback") return std::make_unique<byte_fallback_decoder>();
    if (type == "Fuse") return std::make_unique<fuse_decoder>();
    if (type == "Strip")
        return std::make_unique<strip_decoder>(
            make_character(from.need("content")),
            from.need("start").count(any_count),
            from.need("stop").count(any_count));
    if (type == "Replace")
        return std::make_unique<replace_decoder>(
            make_regex(from.need("pattern")), inserted_text(from.need("content")));
    if (type == "Metaspace")
        return std::make_unique<metaspace_decoder>(
            make_character(from.need("replacement")),
            make_prepend(from) != metaspace::prepend::never);
    if (type == "BPEDecoder") return std::make_unique<bpe_decoder>(text("suffix"));
    if (type == "CTC")
        return std::make_unique<ctc_decoder>(
            text("pad_token"), text("word_delimiter_token"), from.need("cleanup").boolean());
    refuse_type(from);
}

}  // namespace

std::unique_ptr<const normalizer> make_normalizer(const json_value& from)
{
    return make_normalizer_at(from, 0);
}

std::unique_ptr<const pre_tokenizer> make_pre_tokenizer(const json_value& from)
{
    return make_pre_tokenizer_at(from, 0);
}

std::unique_ptr<const decoder> make_decoder(const json_value& from)
{
    return make_decoder_at(from, 0);
}

}  // namespace modelpool::text
