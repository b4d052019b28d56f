#include <vector>

#include "support/printable.hpp"
#include "text/component_json.hpp"

namespace modelpool::text {
namespace {

using part = post_processor::part;

// Far more than any tokenizer adds; a file of a few lines could ask for billions.
constexpr std::size_t max_parts = 1024;
constexpr int max_depth = 64;

using part_kind = post_processor::part_kind;

// The optional number of a text.
std::uint32_t read_type_id(const json_value& from)
{
    const std::optional<json_value> type_id = from.find("type_id");
    return type_id ? static_cast<std::uint32_t>(type_id->id()) : 0;
}

// One `{"SpecialToken": {"id": "[CLS]", …}}` of a template: the tokens that `special_tokens` has
// for it.
void add_special_parts(const json_value& from, const json_value& specials, std::vector<part>& parts)
{
    const std::string_view name = from.need("id").string();
    const std::optional<json_value> special = specials.find(name);
    if (!special)
        from.fail("names the token " + support::in_quotes(name) + ", which special_tokens lacks");
    const json_value ids = special->need("ids");
    const json_value tokens = special->need("tokens");
    if (ids.array().size() != tokens.array().size())
        special->fail("must have as many ids as tokens");
    std::size_t index = 0;
    auto token = tokens.array().begin();
    for (const simdjson::dom::element id : ids.array()) {
        parts.push_back(
            {part_kind::special,
             ids.item(id, index).id(),
             std::string{tokens.item(*token, index).string()},
             read_type_id(from)});
        if (parts.size() > max_parts)
            special->fail(
                "makes the template longer than " + std::to_string(max_parts) + " tokens");
        ++index;
        ++token;
    }
}

// A list of parts; in one for a single text, only the text A may come.
std::vector<part> read_parts(const json_value& from, const json_value& specials, bool is_pair)
{
    std::vector<part> parts;
    std::size_t index = 0;
    for (const simdjson::dom::element element : from.array()) {
        const json_value piece = from.item(element, index++);
        if (const std::optional<json_value> text = piece.find("Sequence")) {
            const std::string_view id = text->need("id").string();
            if (id != "A" && !(is_pair && id == "B"))
                text->fail(
                    is_pair ? "must have the id A or B"
                            : "must have the id A: a template for one text has no other");
            parts.push_back(
                {id == "A" ? part_kind::first_text : part_kind::second_text,
                 0,
                 {},
                 read_type_id(*text)});
        } else if (const std::optional<json_value> special = piece.find("SpecialToken")) {
            add_special_parts(*special, specials, parts);
        } else {
            piece.fail("must be a Sequence or a SpecialToken");
        }
        if (parts.size() > max_parts)
            from.fail("is longer than " + std::to_string(max_parts) + " parts");
    }
    return parts;
}

void make_template(const json_value& from, post_processor& made)
{
    const json_value specials = from.need("special_tokens");
    made.set_template(read_parts(from.need("single"), specials, false));
    if (const std::optional<json_value> pair = from.find("pair"))
        made.set_pair_template(read_parts(*pair, specials, true));
}

// A token as `["[SEP]", 102]`.
part make_pair_token(const json_value& from)
{
    const simdjson::dom::array pair = from.array();
    if (pair.size() != 2) from.fail("must be a token and its id");
    return {
        part_kind::special,
        from.item(pair.at(1), 1).id(),
        std::string{from.item(pair.at(0), 0).string()},
        0};
}

void make_ends(const json_value& from, bool is_roberta, post_processor& made)
{
    made.set_ends(make_pair_token(from.need("cls")), make_pair_token(from.need("sep")), is_roberta);
}

void add_steps(const json_value& from, post_processor& made, int depth)
{
    if (depth > max_depth) from.fail("is nested more than " + std::to_string(max_depth) + " deep");
    const std::string_view type = from.type();
    if (type == "Sequence") {
        const json_value steps = from.need("processors");
        std::size_t index = 0;
        for (const simdjson::dom::element step : steps.array())
            add_steps(steps.item(step, index++), made, depth + 1);
        return;
    }
    if (type == "ByteLevel") {
        const bool add_prefix_space = from.need("add_prefix_space").boolean();
        if (from.need("trim_offsets").boolean()) made.add_trimming(add_prefix_space);
        return;
    }
    if (made.has_template())
        from.refuse("adds special tokens after another step has: this is not supported");
    if (type == "TemplateProcessing") {
        make_template(from, made);
    } else if (type == "BertProcessing") {
        make_ends(from, false, made);
    } else if (type == "RobertaProcessing") {
        const bool add_prefix_space = from.need("add_prefix_space").boolean();
        if (from.need("trim_offsets").boolean()) made.add_trimming(add_prefix_space);
        make_ends(from, true, made);
    } else {
        from.refuse("type " + support::in_quotes(type) + " is not supported");
    }
}

}  // namespace

post_processor make_post_processor(const json_value& from)
{
    post_processor made;
    add_steps(from, made, 0);
    return made;
}

}  // namespace modelpool::text
