#pragma once

#include <deque>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_lexer.hpp"
#include "text/jinja_nodes.hpp"

namespace modelpool::text::jinja {

/// Parses expressions, and finds out where each variable lies: a name belongs to the innermost
/// scope that sets it anywhere, else to the template's variables.
class expression_parser {
protected:
    explicit expression_parser(std::vector<token> tokens);

    // ---- tokens ----

    const token& current() const { return tokens_[at_]; }
    const token& following() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
    token advance();
    token expect(token_type type, const char* what);
    void expect_sign(const char* sign);
    void expect_name(const char* name);

    // ---- scopes ----

    enum class scope_kind : std::uint8_t { plain, loop, macro };
    struct building_scope {
        std::shared_ptr<scope> about{std::make_shared<scope>()};
        building_scope* out{nullptr};
        scope_kind kind{scope_kind::plain};
        bool stores_loop{false};
        int loop_slot{-1};
        int caller_slot{-1};
        int named_slot{-1};
        int positional_slot{-1};
    };

    /// Opens a scope inside the current one, until the end of the block.
    class opened {
    public:
        opened(expression_parser& in, scope_kind kind);
        opened(const opened&) = delete;
        opened& operator=(const opened&) = delete;
        opened(opened&&) = delete;
        opened& operator=(opened&&) = delete;
        ~opened();

    private:
        expression_parser& in_;
        building_scope* before_;
        bool was_soft_;
    };

    /// Goes back to another scope, until the end of the block.
    class in_scope {
    public:
        in_scope(expression_parser& in, building_scope& which)
            : in_{in}
            , before_{std::exchange(in.scope_, &which)}
        {}
        in_scope(const in_scope&) = delete;
        in_scope& operator=(const in_scope&) = delete;
        in_scope(in_scope&&) = delete;
        in_scope& operator=(in_scope&&) = delete;
        ~in_scope() { in_.scope_ = before_; }

    private:
        expression_parser& in_;
        building_scope* before_;
    };

    /// A part that may never run: filters that do not exist are an error there only once it does.
    class soft_part {
    public:
        explicit soft_part(expression_parser& in)
            : in_{in}
            , before_{std::exchange(in.is_soft_, true)}
        {}
        soft_part(const soft_part&) = delete;
        soft_part& operator=(const soft_part&) = delete;
        soft_part(soft_part&&) = delete;
        soft_part& operator=(soft_part&&) = delete;
        ~soft_part() { in_.is_soft_ = before_; }

    private:
        expression_parser& in_;
        bool before_;
    };

    /// Counts how deep the template nests. Errors: refused where it is too deep.
    class nested {
    public:
        explicit nested(expression_parser& in);
        nested(const nested&) = delete;
        nested& operator=(const nested&) = delete;
        nested(nested&&) = delete;
        nested& operator=(nested&&) = delete;
        ~nested() { --in_.n_nested_; }

    private:
        expression_parser& in_;
    };

    static int declare(building_scope& in, const std::string& name);
    static void use_loop(building_scope& in);
    std::unique_ptr<name_expression> make_name(const std::string& name);
    /// Gives every name its place, once all scopes are known; the root's scope, and the names of no
    /// scope.
    std::shared_ptr<const scope> finish(std::vector<std::string>& context_names);

    // ---- expressions ----

    using words = std::initializer_list<std::string_view>;
    expression_ptr parse_tuple(bool with_condition, words ends = {});
    expression_ptr parse_expression(bool with_condition);
    expression_ptr parse_filter(expression_ptr of);
    /// Of the expression that was parsed last.
    std::uint16_t last_levels() const noexcept { return last_levels_; }
    std::uint16_t one_more(std::uint16_t levels) const;

    building_scope* scope_{nullptr};
    /// The scope of the loop whose test is being parsed: `loop` is not its own there.
    building_scope* tested_scope_{nullptr};

private:
    expression_ptr parse_tuple_in_parentheses();
    expression_ptr parse_items(bool with_condition, words ends, bool parentheses);
    expression_ptr parse_condition();
    expression_ptr parse_or();
    expression_ptr parse_and();
    expression_ptr parse_not();
    expression_ptr parse_comparison();
    expression_ptr parse_sum();
    expression_ptr parse_joined();
    expression_ptr parse_product();
    expression_ptr parse_power();
    expression_ptr parse_unary(bool with_filter);
    expression_ptr parse_primary();
    expression_ptr parse_string();
    expression_ptr parse_list();
    expression_ptr parse_dict();
    expression_ptr parse_postfix(expression_ptr of);
    expression_ptr parse_subscript(expression_ptr of);
    expression_ptr parse_bracket(expression_ptr of);
    expression_ptr parse_filters(expression_ptr of);
    expression_ptr parse_test(expression_ptr of);
    expression_ptr parse_call(expression_ptr callee);
    argument_list parse_arguments(std::uint16_t& levels);

    /// Makes a node, and counts its levels above those of its parts.
    template <class Node, class... Arguments>
    expression_ptr make(std::uint16_t levels, Arguments&&... arguments)
    {
        expression_ptr made = std::make_unique<Node>(std::forward<Arguments>(arguments)...);
        made->levels = last_levels_ = one_more(levels);
        return made;
    }
    void note_unknown(bool known, const char* what, const std::string& name);
    place find_place(const std::string& name, const building_scope* from, int n_out);

    struct pending_name {
        place* into;
        std::string name;
        const building_scope* from;
        int n_out;
    };
    struct unknown_name {
        std::size_t line;
        std::string sentence;
        bool soft;
    };

    std::vector<token> tokens_;
    std::size_t at_{0};
    std::deque<building_scope> scopes_;
    std::vector<pending_name> pending_;
    std::vector<unknown_name> unknown_;
    std::vector<std::string>* context_names_{nullptr};
    std::map<std::string, int, std::less<>> context_index_;
    std::uint16_t last_levels_{0};
    std::size_t n_nested_{0};
    bool is_soft_{false};
};

}  // namespace modelpool::text::jinja
