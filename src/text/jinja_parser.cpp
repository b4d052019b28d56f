#include "text/jinja_parser.hpp"

#include <algorithm>
#include <optional>

#include "support/printable.hpp"
#include "text/jinja_expression_parser.hpp"
#include "text/jinja_lexer.hpp"

namespace modelpool::text::jinja {
namespace {

constexpr std::string_view unsupported_tags[]{
    "block", "extends", "include", "from", "import", "autoescape"};

std::uint16_t levels_of(const block& body)
{
    std::uint16_t levels = 0;
    for (const statement_ptr& each : body)
        levels = std::max(levels, each->levels);
    return levels;
}

// A block's end tags: the words that may follow "{%".
using end_tags = std::initializer_list<std::string_view>;

class parser : private expression_parser {
public:
    explicit parser(std::string_view source)
        : expression_parser{tokenize(source)}
    {}

    parsed run()
    {
        parsed made;
        made.body = parse_until({});
        made.root = finish(made.context_names);
        return made;
    }

private:
    // ---- blocks ----

    block parse_until(end_tags ends)
    {
        const nested deeper{*this};
        block body;
        while (current().type != token_type::end) {
            statement_ptr made;
            const std::size_t line = current().line;
            if (current().type == token_type::data) {
                made = std::make_unique<text_statement>(advance().text);
            } else if (current().type == token_type::variable_begin) {
                advance();
                expression_ptr what = parse_tuple(true);
                made = std::make_unique<output_statement>(std::move(what));
                made->levels = last_levels();
                expect(token_type::variable_end, "'}}'");
            } else {
                advance();
                if (std::any_of(ends.begin(), ends.end(), [this](std::string_view end) {
                        return current().is_name(end);
                    }))
                    return body;
                made = parse_tag(body);
                expect(token_type::block_end, "'%}'");
            }
            if (made == nullptr) continue;
            made->line = static_cast<std::uint32_t>(line);
            body.push_back(std::move(made));
        }
        if (ends.size() != 0)
            refuse_syntax(
                current().line,
                "the template ends where '" + std::string{*ends.begin()} + "' is missing");
        return body;
    }

    // The rest of a tag, then what it holds; the word of the end tag is left.
    block parse_body(end_tags ends)
    {
        if (current().is_sign(":")) advance();
        expect(token_type::block_end, "'%}'");
        return parse_until(ends);
    }

    // A block whose one end tag is taken too.
    block parse_whole_body(std::string_view end)
    {
        block body = parse_body({end});
        advance();
        return body;
    }

    statement_ptr parse_tag(block& before)
    {
        const token tag = current();
        if (tag.type != token_type::name) refuse_syntax(tag.line, "a tag needs a name");
        advance();
        if (tag.text == "if") return parse_if();
        if (tag.text == "for") return parse_for();
        if (tag.text == "set") return parse_set();
        if (tag.text == "macro") return parse_macro();
        if (tag.text == "call") return parse_call(tag.line);
        if (tag.text == "filter") return parse_filter_block();
        if (tag.text == "with") return parse_with();
        if (tag.text == "generation") return parse_generation();
        if (tag.text == "print") return parse_print(before, tag.line);
        if (tag.text == "break" || tag.text == "continue") {
            if (n_loops_ == 0) refuse_syntax(tag.line, "'" + tag.text + "' outside a loop");
            return std::make_unique<control_statement>(
                tag.text == "break" ? flow::break_loop : flow::next_round);
        }
        if (std::find(std::begin(unsupported_tags), std::end(unsupported_tags), tag.text) !=
            std::end(unsupported_tags))
            throw failure{
                text_errc::unsupported,
                "line " + std::to_string(tag.line) + ": the tag '" + tag.text + "'"};
        refuse_syntax(tag.line, "unknown tag " + support::in_quotes(tag.text));
    }

    statement_ptr parse_if()
    {
        auto made = std::make_unique<if_statement>();
        const soft_part soft{*this};
        for (;;) {
            if_statement::branch each;
            each.test = parse_tuple(false);
            made->levels = std::max<std::uint16_t>(made->levels, last_levels());
            each.body = parse_body({"elif", "else", "endif"});
            made->levels = std::max(made->levels, levels_of(each.body));
            made->branches.push_back(std::move(each));
            const token tag = advance();
            if (tag.text == "elif") continue;
            if (tag.text == "else") made->otherwise = parse_whole_body("endif");
            break;
        }
        made->levels = one_more(std::max(made->levels, levels_of(made->otherwise)));
        return made;
    }

    statement_ptr parse_for()
    {
        auto made = std::make_unique<for_statement>();
        const opened around{*this, scope_kind::loop};
        building_scope& inside = *scope_;
        made->each = parse_target({"in"}, false);
        expect_name("in");
        std::uint16_t levels = 0;
        {
            const in_scope outside{*this, *inside.out};
            made->over = parse_tuple(false, {"recursive"});
            levels = last_levels();
        }
        if (current().is_name("if")) {
            advance();
            tested_scope_ = &inside;
            made->test = parse_expression(true);
            tested_scope_ = nullptr;
            levels = std::max(levels, last_levels());
        }
        if (current().is_name("recursive")) {
            advance();
            made->recursive = true;
            use_loop(inside);
        }
        ++n_loops_;
        made->body = parse_body({"endfor", "else"});
        --n_loops_;
        made->inside = inside.about;
        if (inside.stores_loop)
            refuse_syntax(current().line, "the variable 'loop' cannot be set inside a for");
        made->loop_slot = inside.loop_slot;
        const token tag = advance();
        if (tag.text == "else") {
            const in_scope outside{*this, *inside.out};
            const opened other{*this, scope_kind::plain};
            made->otherwise = parse_whole_body("endfor");
            made->inside_otherwise = scope_->about;
        }
        levels = std::max({levels, levels_of(made->body), levels_of(made->otherwise)});
        made->levels = one_more(levels);
        return made;
    }

    statement_ptr parse_set()
    {
        target to = parse_target({}, true);
        if (current().is_sign("=")) {
            advance();
            expression_ptr what = parse_tuple(true);
            auto made = std::make_unique<set_statement>(std::move(to), std::move(what));
            made->levels = one_more(last_levels());
            return made;
        }
        auto made = std::make_unique<capture_statement>();
        made->to = std::make_unique<target>(std::move(to));
        while (current().is_sign("|")) {
            advance();
            made->filters.push_back(parse_filter_of_block());
        }
        fill_capture(*made, "endset");
        return made;
    }

    statement_ptr parse_filter_block()
    {
        auto made = std::make_unique<capture_statement>();
        made->filters.push_back(parse_filter_of_block());
        while (current().is_sign("|")) {
            advance();
            made->filters.push_back(parse_filter_of_block());
        }
        fill_capture(*made, "endfilter");
        return made;
    }

    // Unlike the reference's, a generation's text is nothing to remember: it is only printed.
    statement_ptr parse_generation()
    {
        auto made = std::make_unique<capture_statement>();
        const outside_loops none{*this};
        fill_capture(*made, "endgeneration");
        return made;
    }

    std::unique_ptr<filter_expression> parse_filter_of_block()
    {
        expression_ptr made = parse_filter(nullptr);
        capture_levels_ = std::max(capture_levels_, made->levels);
        return std::unique_ptr<filter_expression>{static_cast<filter_expression*>(made.release())};
    }

    void fill_capture(capture_statement& made, std::string_view end)
    {
        const std::uint16_t levels = std::exchange(capture_levels_, std::uint16_t{0});
        const opened around{*this, scope_kind::plain};
        made.body = parse_whole_body(end);
        made.inside = scope_->about;
        made.levels = one_more(std::max(levels, levels_of(made.body)));
    }

    statement_ptr parse_with()
    {
        auto made = std::make_unique<with_statement>();
        const opened around{*this, scope_kind::plain};
        std::uint16_t levels = 0;
        while (current().type != token_type::block_end && !current().is_sign(":")) {
            if (!made->variables.empty()) expect_sign(",");
            target to = parse_target({}, false);
            expect_sign("=");
            const in_scope outside{*this, *scope_->out};
            made->variables.emplace_back(std::move(to), parse_expression(true));
            levels = std::max(levels, last_levels());
        }
        made->body = parse_whole_body("endwith");
        made->inside = scope_->about;
        made->levels = one_more(std::max(levels, levels_of(made->body)));
        return made;
    }

    statement_ptr parse_print(block& before, std::size_t line)
    {
        bool first = true;
        while (current().type != token_type::block_end) {
            if (!first) expect_sign(",");
            first = false;
            auto made = std::make_unique<output_statement>(parse_expression(true));
            made->levels = one_more(last_levels());
            made->line = static_cast<std::uint32_t>(line);
            before.push_back(std::move(made));
        }
        return nullptr;
    }

    // ---- macros ----

    void parse_parameters(macro_definition& made)
    {
        expect_sign("(");
        while (!current().is_sign(")")) {
            if (!made.parameters.empty()) expect_sign(",");
            macro_definition::parameter each;
            each.name = expect(token_type::name, "a parameter").text;
            each.slot = declare(*scope_, each.name);
            if (current().is_sign("=")) {
                advance();
                each.otherwise = parse_expression(true);
                made.levels = std::max(made.levels, last_levels());
            } else if (!made.parameters.empty() && made.parameters.back().otherwise != nullptr) {
                refuse_syntax(
                    current().line, "a parameter without a default after one that has it");
            }
            made.parameters.push_back(std::move(each));
        }
        expect_sign(")");
    }

    void parse_macro_body(macro_definition& made, std::string_view end)
    {
        const outside_loops none{*this};
        made.body = parse_whole_body(end);
        made.inside = scope_->about;
        made.caller_slot = scope_->caller_slot;
        made.named_slot = scope_->named_slot;
        made.positional_slot = scope_->positional_slot;
        made.levels = one_more(std::max(made.levels, levels_of(made.body)));
    }

    statement_ptr parse_macro()
    {
        auto made = std::make_unique<macro_statement>();
        made->made.name = expect(token_type::name, "the name of the macro").text;
        made->at = place{0, declare(*scope_, made->made.name)};
        const opened around{*this, scope_kind::macro};
        parse_parameters(made->made);
        parse_macro_body(made->made, "endmacro");
        return made;
    }

    statement_ptr parse_call(std::size_t line)
    {
        auto made = std::make_unique<call_statement>();
        made->made.name = "caller";
        const opened around{*this, scope_kind::macro};
        if (current().is_sign("(")) parse_parameters(made->made);
        {
            const in_scope outside{*this, *scope_->out};
            expression_ptr call = parse_expression(true);
            if (dynamic_cast<call_expression*>(call.get()) == nullptr)
                refuse_syntax(line, "'call' needs a call");
            made->levels = one_more(last_levels());
            made->call.reset(static_cast<call_expression*>(call.release()));
        }
        parse_macro_body(made->made, "endcall");
        return made;
    }

    // ---- targets ----

    target parse_one_target(bool with_space)
    {
        if (current().is_sign("(")) {
            advance();
            target made = parse_target({}, with_space);
            expect_sign(")");
            return made;
        }
        const token name = expect(token_type::name, "a variable");
        static constexpr std::string_view constants[]{
            "true", "false", "none", "True", "False", "None"};
        if (std::find(std::begin(constants), std::end(constants), name.text) != std::end(constants))
            refuse_syntax(name.line, "'" + name.text + "' cannot be set");
        target made;
        if (with_space && current().is_sign(".")) {
            advance();
            made.name = expect(token_type::name, "an attribute").text;
            made.space = make_name(name.text);
            return made;
        }
        made.name = name.text;
        made.at = place{0, declare(*scope_, name.text)};
        for (building_scope* each = scope_; each != nullptr; each = each->out)
            if (name.text == "loop" && each->kind == scope_kind::loop) each->stores_loop = true;
        return made;
    }

    target parse_target(end_tags ends, bool with_space)
    {
        target all;
        all.is_tuple = true;
        bool has_comma = false;
        for (;;) {
            const bool ended = current().type == token_type::block_end || current().is_sign(")") ||
                               current().is_sign("=") ||
                               std::any_of(ends.begin(), ends.end(), [this](std::string_view end) {
                                   return current().is_name(end);
                               });
            if (ended) break;
            all.parts.push_back(parse_one_target(with_space));
            if (!current().is_sign(",")) break;
            advance();
            has_comma = true;
        }
        if (all.parts.empty()) refuse_syntax(current().line, "a variable is expected");
        if (has_comma) return all;
        return std::move(all.parts.front());
    }

    // What breaks out of a loop cannot do so from inside a macro.
    class outside_loops {
    public:
        explicit outside_loops(parser& in)
            : in_{in}
            , before_{std::exchange(in.n_loops_, std::size_t{0})}
        {}
        outside_loops(const outside_loops&) = delete;
        outside_loops& operator=(const outside_loops&) = delete;
        outside_loops(outside_loops&&) = delete;
        outside_loops& operator=(outside_loops&&) = delete;
        ~outside_loops() { in_.n_loops_ = before_; }

    private:
        parser& in_;
        std::size_t before_;
    };

    std::size_t n_loops_{0};
    std::uint16_t capture_levels_{0};
};

}  // namespace

parsed parse(std::string_view source)
{
    return parser{source}.run();
}

}  // namespace modelpool::text::jinja
