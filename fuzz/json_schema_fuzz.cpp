#include <modelpool/error.hpp>
#include <modelpool/text/json_constraint.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace modelpool::text;

std::shared_ptr<const token_table> make_tokens()
{
    const std::vector<std::string_view> more{
        "{\"", "\":", "\",\"", "\"}", "[[", "]}", "true", "null", "12", "\n  ", "ab", "\\u00", "é"};
    const auto piece = [&](std::int32_t id) {
        if (id < 256) return std::string(1, static_cast<char>(id));
        return std::string{more.at(static_cast<std::size_t>(id) - 256)};
    };
    return std::make_shared<const token_table>(256 + more.size(), piece, std::vector{0});
}

// A token that the mask allows, as the bytes have it: never one that a walk cannot go on with.
std::int32_t choose(std::span<const std::uint64_t> mask, std::size_t wanted)
{
    std::vector<std::int32_t> all;
    for (std::size_t id = 0; id < 64 * mask.size(); ++id)
        if (((mask[id / 64] >> (id % 64)) & 1U) != 0) all.push_back(static_cast<std::int32_t>(id));
    // A grammar without dead ends leaves a byte, or the end.
    if (all.empty()) std::abort();
    return all[wanted % all.size()];
}

}  // namespace

// Any bytes as a schema, and what comes after the first NUL as choices among the tokens that it
// allows: a typed error, or a text that it accepts a beginning of.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    static const auto tokens = make_tokens();
    std::string_view schema{reinterpret_cast<const char*>(data), size};
    std::string_view choices;
    if (const std::size_t nul = schema.find('\0'); nul != std::string_view::npos) {
        choices = schema.substr(nul + 1, 40);
        schema = schema.substr(0, nul);
    }
    try {
        const json_grammar grammar = json_grammar::from_schema(schema);
        json_constraint subject{std::make_shared<json_token_masks>(grammar, tokens)};
        std::string text;
        for (const char choice : choices) {
            const std::int32_t token =
                choose(subject.allowed(), static_cast<unsigned char>(choice));
            if (token == 0) {
                if (!grammar.accepts(text)) std::abort();
                return 0;
            }
            text += tokens->bytes(token);
            subject.accept(token);
        }
        if (!grammar.begins(text)) std::abort();
    } catch (const modelpool::error&) {
        return 0;
    }
    return 0;
}
