#pragma once

#include <modelpool/text/token_constraint.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace modelpool::text {

class json_grammar_graph;

/// The JSON texts that a schema allows. Immutable, thread-safe, and cheap to copy.
///
/// Every text of it satisfies the schema (JSON Schema 2020-12; of older drafts `definitions`,
/// `items` as an array, boolean `exclusiveMinimum`, and of OpenAPI `nullable`, too). Of the texts
/// that satisfy the schema, it has those that are written like this:
/// - members in the order in which the schema names them, other members before, between and after;
/// - where a schema names members (or elements in front) and says nothing of others, no others;
///   where it names no type, the types that its keywords speak of;
/// - between two parts nothing, one space, or one line end with at most 20 spaces or tabs; before
///   the whole the same and one more line end; nothing after it;
/// - whole numbers and fractions of at most 20 digits, exponents of 2, and none where there are
///   bounds; integers without a fraction;
/// - escapes as JSON has them, but in names, in literals, and in strings with a pattern or a format
///   only where they are needed;
/// - values of no schema nested at most 24 deep.
///
/// Understood are `true`, `false`, `type`, `enum`, `const`, `$ref` within the document, `allOf`,
/// `anyOf`, and `oneOf` as if it were `anyOf`; `properties`, `required`, `additionalProperties`,
/// `patternProperties` (with no other members, and no two of them for one name), `minProperties` up
/// to the number of required ones, `maxProperties` from the number of named ones up; `prefixItems`,
/// `items`, `minItems`, `maxItems`; `minLength`, `maxLength`, `pattern` (no lookaround, back
/// references, word borders or Unicode properties), `format` (date, time, date-time, uuid, ipv4,
/// hostname, email, uri); `minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum`. What else
/// would change which values are allowed is refused by name; annotations and unknown keywords are
/// ignored.
class json_grammar {
public:
    /// Reads a schema of at most 1 MiB; `{}` and `true` allow any value.
    /// Errors: errc::invalid_argument for what is no schema, that nothing satisfies, or that takes
    /// too many states; errc::unsupported for a keyword, a format or a part of a pattern, by name.
    static json_grammar from_schema(std::string_view schema);

    /// Whether that is one of its texts, whole. Errors: errc::unsupported for a grammar that leaves
    /// thousands of ways open at once.
    bool accepts(std::string_view text) const;
    /// Whether one of its texts begins so. Errors: as `accepts`.
    bool begins(std::string_view text) const;

private:
    friend class json_token_masks;
    explicit json_grammar(std::shared_ptr<const json_grammar_graph> graph);
    std::shared_ptr<const json_grammar_graph> graph_;
};

/// The tokens of a model by their bytes, for constraints. Immutable and thread-safe.
class token_table {
public:
    /// `piece` gives the bytes that a token adds inside a text; tokens without any, and `ends`, are
    /// never part of a constrained text. Asks for each id below `vocab_size` once.
    token_table(
        std::size_t vocab_size,
        const std::function<std::string(std::int32_t)>& piece,
        std::vector<std::int32_t> ends);
    ~token_table();
    token_table(const token_table&) = delete;
    token_table& operator=(const token_table&) = delete;
    token_table(token_table&&) = delete;
    token_table& operator=(token_table&&) = delete;

    std::size_t vocab_size() const noexcept;
    std::string_view bytes(std::int32_t id) const;
    /// Tokens that end a text.
    std::span<const std::int32_t> ends() const noexcept;

private:
    friend class json_token_masks;
    friend class json_constraint;
    class impl;
    std::unique_ptr<const impl> self_;
};

/// Which tokens may come where in the texts of one grammar: found when first asked for, and kept
/// within a limit, for all constraints that share the object. Not thread-safe: they run on one
/// thread.
class json_token_masks {
public:
    json_token_masks(const json_grammar& grammar, std::shared_ptr<const token_table> tokens);
    ~json_token_masks();
    json_token_masks(const json_token_masks&) = delete;
    json_token_masks& operator=(const json_token_masks&) = delete;
    json_token_masks(json_token_masks&&) = delete;
    json_token_masks& operator=(json_token_masks&&) = delete;

private:
    friend class json_constraint;
    class impl;
    std::unique_ptr<impl> self_;
};

/// Where a constraint begins in an answer.
enum class constraint_start {
    at_once = 1,
    after_thoughts,     ///< the prompt has opened them: after "</think>"
    thoughts_if_begun,  ///< at once, but where the answer begins with "<think>", after "</think>"
};

/// Lets a model write one text of a grammar and nothing else: the text ends as soon as nothing more
/// can follow, and may end wherever it is complete. Within thoughts all tokens may come but those
/// that end the text. The same tokens give the same masks always.
class json_constraint final : public token_constraint {
public:
    explicit json_constraint(
        std::shared_ptr<json_token_masks> masks,
        constraint_start start = constraint_start::at_once);
    ~json_constraint() override;
    json_constraint(const json_constraint&) = delete;
    json_constraint& operator=(const json_constraint&) = delete;
    json_constraint(json_constraint&&) = delete;
    json_constraint& operator=(json_constraint&&) = delete;

    /// Errors: errc::invalid_argument where a token was accepted that the grammar bars;
    /// errc::unsupported for a grammar that leaves too many ways open at once.
    std::span<const std::uint64_t> allowed() override;
    void accept(std::int32_t token) override;

private:
    class impl;
    std::unique_ptr<impl> self_;
};

}  // namespace modelpool::text
