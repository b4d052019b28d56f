#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja_machine.hpp"
#include "text/jinja_methods.hpp"
#include "text/jinja_value.hpp"

namespace modelpool::text::jinja {

/// A part of a template that has a value. Immutable once parsed: renderings on several threads
/// share it.
class expression {
public:
    expression() = default;
    expression(const expression&) = delete;
    expression& operator=(const expression&) = delete;
    expression(expression&&) = delete;
    expression& operator=(expression&&) = delete;
    virtual ~expression() = default;
    virtual value evaluate(machine& on) const = 0;
    /// Appends what printing the value gives to `parts`, as values that printed one after the other
    /// give the same; nothing is printed yet.
    virtual void evaluate_parts(machine& on, values& parts) const;
    /// The value where it lies, until something else is evaluated; null where it must be evaluated.
    virtual const value* find(machine&) const { return nullptr; }
    /// Whether the value is true.
    virtual bool holds(machine& on) const;

    /// How many calls deep evaluating it goes, at the most; the parser bounds it.
    std::uint16_t levels{1};
};
using expression_ptr = std::unique_ptr<expression>;

enum class flow : std::uint8_t { on, break_loop, next_round };

/// A part of a template that does something.
class statement {
public:
    statement() = default;
    statement(const statement&) = delete;
    statement& operator=(const statement&) = delete;
    statement(statement&&) = delete;
    statement& operator=(statement&&) = delete;
    virtual ~statement() = default;
    virtual flow run(machine& on) const = 0;

    std::uint32_t line{0};
    std::uint16_t levels{1};
};
using statement_ptr = std::unique_ptr<statement>;
using block = std::vector<statement_ptr>;

flow run_block(const block& body, machine& on);

// ---- expressions ----

/// A constant, whose string, if it is one, belongs to the node.
class constant_expression final : public expression {
public:
    explicit constant_expression(value what)
        : what_{std::move(what)}
    {}
    explicit constant_expression(std::string text)
        : text_{std::make_unique<string_object>(std::move(text))}
    {
        text_->stop_counting();
        static_cast<void>(text_->length());  // computed now: afterwards threads share it
        what_ = value::of_object(kind::string, text_.get());
    }
    value evaluate(machine&) const override { return what_; }
    const value* find(machine&) const override { return &what_; }
    const value& what() const noexcept { return what_; }

private:
    std::unique_ptr<string_object> text_;
    value what_;
};

class name_expression final : public expression {
public:
    explicit name_expression(std::string name)
        : name_{std::move(name)}
    {
        name_.stop_counting();
        static_cast<void>(name_.length());
    }
    value evaluate(machine& on) const override { return on.load(at, name_); }
    const value* find(machine& on) const override { return on.find(at); }
    const std::string& name() const noexcept { return name_.text(); }

    place at;  ///< filled in when all names are known

private:
    mutable string_object name_;  // renderings refer to it, and do not count
};

class sequence_expression final : public expression {
public:
    sequence_expression(std::vector<expression_ptr> items, bool tuple)
        : items_{std::move(items)}
        , tuple_{tuple}
    {}
    value evaluate(machine& on) const override;
    std::vector<expression_ptr>& items() noexcept { return items_; }
    const std::vector<expression_ptr>& items() const noexcept { return items_; }
    bool is_tuple() const noexcept { return tuple_; }

private:
    std::vector<expression_ptr> items_;
    bool tuple_;
};

class dict_expression final : public expression {
public:
    using pairs = std::vector<std::pair<expression_ptr, expression_ptr>>;
    explicit dict_expression(pairs items)
        : items_{std::move(items)}
    {}
    value evaluate(machine& on) const override;

private:
    pairs items_;
};

enum class unary : std::uint8_t { negate, plus, invert };

class unary_expression final : public expression {
public:
    unary_expression(unary what, expression_ptr of)
        : what_{what}
        , of_{std::move(of)}
    {}
    value evaluate(machine& on) const override;
    bool holds(machine& on) const override;

private:
    unary what_;
    expression_ptr of_;
};

class arithmetic_expression final : public expression {
public:
    arithmetic_expression(arithmetic what, expression_ptr left, expression_ptr right)
        : what_{what}
        , left_{std::move(left)}
        , right_{std::move(right)}
    {}
    value evaluate(machine& on) const override;
    void evaluate_parts(machine& on, values& parts) const override;
    arithmetic what() const noexcept { return what_; }
    const expression& left() const noexcept { return *left_; }
    const expression& right() const noexcept { return *right_; }

private:
    arithmetic what_;
    expression_ptr left_;
    expression_ptr right_;
};

/// `a ~ b ~ c`
class joined_expression final : public expression {
public:
    explicit joined_expression(std::vector<expression_ptr> parts)
        : parts_{std::move(parts)}
    {}
    value evaluate(machine& on) const override;
    void evaluate_parts(machine& on, values& parts) const override;

private:
    std::vector<expression_ptr> parts_;
};

class logic_expression final : public expression {
public:
    logic_expression(bool both, expression_ptr left, expression_ptr right)
        : both_{both}
        , left_{std::move(left)}
        , right_{std::move(right)}
    {}
    value evaluate(machine& on) const override;
    bool holds(machine& on) const override;

private:
    bool both_;  // "and"
    expression_ptr left_;
    expression_ptr right_;
};

enum class comparison : std::uint8_t { eq, ne, lt, le, gt, ge, in, not_in };

bool compare(heap& in, comparison what, const value& left, const value& right);

/// `a < b <= c`
class compare_expression final : public expression {
public:
    using operand = std::pair<comparison, expression_ptr>;
    compare_expression(expression_ptr first, std::vector<operand> others)
        : first_{std::move(first)}
        , others_{std::move(others)}
    {
        if (others_.size() == 1)
            constant_ = dynamic_cast<const constant_expression*>(others_.front().second.get());
    }
    value evaluate(machine& on) const override;
    bool holds(machine& on) const override;

private:
    expression_ptr first_;
    std::vector<operand> others_;
    const constant_expression* constant_{nullptr};  // the only other operand, where it is one
};

class conditional_expression final : public expression {
public:
    conditional_expression(expression_ptr test, expression_ptr then, expression_ptr otherwise)
        : test_{std::move(test)}
        , then_{std::move(then)}
        , otherwise_{std::move(otherwise)}
    {}
    value evaluate(machine& on) const override;
    void evaluate_parts(machine& on, values& parts) const override;

private:
    expression_ptr test_;
    expression_ptr then_;
    expression_ptr otherwise_;  // may be null
};

class attribute_expression final : public expression {
public:
    attribute_expression(expression_ptr of, std::string name)
        : of_{std::move(of)}
        , name_{std::move(name)}
        , methods_{find_methods(name_.text())}
    {
        name_.stop_counting();
        static_cast<void>(name_.length());
    }
    value evaluate(machine& on) const override;
    const value* find(machine& on) const override;
    const expression& of() const noexcept { return *of_; }
    string_object& name() const noexcept { return name_; }
    const method_set& methods() const noexcept { return methods_; }

private:
    const value* element_of(const value& of) const noexcept;

    expression_ptr of_;
    mutable string_object name_;  // renderings refer to it, and do not count
    method_set methods_;
};

class item_expression final : public expression {
public:
    item_expression(expression_ptr of, expression_ptr key)
        : of_{std::move(of)}
        , key_{std::move(key)}
    {
        const auto* const constant = dynamic_cast<const constant_expression*>(key_.get());
        if (constant == nullptr || !constant->what().is(kind::string)) return;
        name_ = &constant->what().string();
        methods_ = find_methods(name_->text());
    }
    value evaluate(machine& on) const override;
    const value* find(machine& on) const override;

private:
    expression_ptr of_;
    expression_ptr key_;
    string_object* name_{nullptr};  // the key, where it is a constant text
    method_set methods_;            // of that name
};

class slice_expression final : public expression {
public:
    slice_expression(
        expression_ptr of, expression_ptr start, expression_ptr stop, expression_ptr step)
        : of_{std::move(of)}
        , start_{std::move(start)}
        , stop_{std::move(stop)}
        , step_{std::move(step)}
    {}
    value evaluate(machine& on) const override;

private:
    expression_ptr of_;
    expression_ptr start_;  // these may be null
    expression_ptr stop_;
    expression_ptr step_;
};

/// The arguments of a call, as written.
struct argument_list {
    std::vector<expression_ptr> positional;
    std::vector<std::pair<std::string, expression_ptr>> named;
    expression_ptr more_positional;  ///< `*values`; may be null
    expression_ptr more_named;       ///< `**dict`; may be null

    void evaluate(machine& on, call_arguments& into) const;
};

class call_expression final : public expression {
public:
    call_expression(expression_ptr callee, argument_list arguments)
        : callee_{std::move(callee)}
        , method_{dynamic_cast<const attribute_expression*>(callee_.get())}
        , arguments_{std::move(arguments)}
    {}
    value evaluate(machine& on) const override;
    /// The same with `caller` among the arguments.
    value call(machine& on, const value* caller) const;

private:
    expression_ptr callee_;
    const attribute_expression* method_;  // the callee, where it is one
    argument_list arguments_;
};

class filter_expression final : public expression {
public:
    filter_expression(
        std::string name, filter_function* filter, expression_ptr of, argument_list arguments)
        : name_{std::move(name)}
        , filter_{filter}
        , of_{std::move(of)}
        , arguments_{std::move(arguments)}
    {}
    value evaluate(machine& on) const override;
    /// The same for a value that is there already: the text of a block.
    value apply(machine& on, const value& input) const;

private:
    std::string name_;
    filter_function* filter_;  // null where there is none of that name
    expression_ptr of_;        // null for the text of a block
    argument_list arguments_;
};

class test_expression final : public expression {
public:
    test_expression(
        std::string name, test_function* test, expression_ptr of, argument_list arguments)
        : name_{std::move(name)}
        , test_{test}
        , of_{std::move(of)}
        , arguments_{std::move(arguments)}
    {}
    value evaluate(machine& on) const override;
    bool holds(machine& on) const override;

private:
    std::string name_;
    test_function* test_;
    expression_ptr of_;
    argument_list arguments_;
};

// ---- statements ----

/// Where a value goes: a name, a namespace's attribute, or several of them.
struct target {
    place at;
    std::string name;
    std::unique_ptr<name_expression> space;  ///< of `space.name`
    std::vector<target> parts;
    bool is_tuple{false};

    void assign(machine& on, value to) const;
};

class text_statement final : public statement {
public:
    explicit text_statement(std::string text)
        : text_{std::move(text)}
    {}
    flow run(machine& on) const override;

private:
    std::string text_;
};

class output_statement final : public statement {
public:
    explicit output_statement(expression_ptr what);
    flow run(machine& on) const override;

private:
    bool print_found(machine& on) const;

    static constexpr std::size_t max_terms = 8;
    expression_ptr what_;
    std::vector<const expression*> terms_;  // what it adds up, where they are few
};

class if_statement final : public statement {
public:
    struct branch {
        expression_ptr test;
        block body;
    };
    flow run(machine& on) const override;

    std::vector<branch> branches;
    block otherwise;
};

class for_statement final : public statement {
public:
    flow run(machine& on) const override;
    /// One round of the loop for each element, `depth` calls of the loop deep.
    flow run_over(machine& on, const value& elements, std::size_t depth) const;

    target each;
    expression_ptr over;
    expression_ptr test;  ///< may be null
    block body;
    block otherwise;
    std::shared_ptr<const scope> inside;
    std::shared_ptr<const scope> inside_otherwise;
    int loop_slot{-1};  ///< of `loop`, where the body uses it
    bool recursive{false};

private:
    flow run_rounds(machine& on, const value& elements, std::size_t depth, bool& any) const;
};

class set_statement final : public statement {
public:
    set_statement(target to, expression_ptr what)
        : to_{std::move(to)}
        , what_{std::move(what)}
    {}
    flow run(machine& on) const override;

private:
    target to_;
    expression_ptr what_;
};

/// `{% set x %}…{% endset %}` and `{% filter f %}…{% endfilter %}`: what the body prints, as a
/// value.
class capture_statement final : public statement {
public:
    flow run(machine& on) const override;

    std::unique_ptr<target> to;                               ///< null: it is printed
    std::vector<std::unique_ptr<filter_expression>> filters;  ///< the first one is applied first
    block body;
    std::shared_ptr<const scope> inside;
};

class with_statement final : public statement {
public:
    flow run(machine& on) const override;

    std::vector<std::pair<target, expression_ptr>> variables;
    block body;
    std::shared_ptr<const scope> inside;
};

/// What a macro is made of; also the body of a call block.
struct macro_definition {
    struct parameter {
        std::string name;
        int slot{-1};
        expression_ptr otherwise;  ///< may be null
    };
    std::string name;
    std::vector<parameter> parameters;
    block body;
    std::shared_ptr<const scope> inside;
    int caller_slot{-1};  ///< of these, where the body uses them
    int named_slot{-1};
    int positional_slot{-1};
    std::uint16_t levels{1};

    /// What the body prints, in a frame inside `around`.
    value call(machine& on, frame& around, call_arguments& arguments) const;
};

class macro_statement final : public statement {
public:
    flow run(machine& on) const override;

    macro_definition made;
    place at;
};

class call_statement final : public statement {
public:
    flow run(machine& on) const override;

    macro_definition made;
    std::unique_ptr<call_expression> call;
};

class control_statement final : public statement {
public:
    explicit control_statement(flow what)
        : what_{what}
    {}
    flow run(machine&) const override { return what_; }

private:
    flow what_;
};

}  // namespace modelpool::text::jinja
