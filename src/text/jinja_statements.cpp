#include <algorithm>
#include <array>

#include "support/printable.hpp"
#include "text/jinja_loop.hpp"
#include "text/jinja_nodes.hpp"
#include "text/jinja_print.hpp"

namespace modelpool::text::jinja {
namespace {

// The elements of a for with a test, tested as they are asked for.
class tested_elements final : public iterator_object {
public:
    tested_elements(machine& on, const value& over, const for_statement& what)
        : iterator_object{"for", depth_above(over)}
        , machine_{on}
        , items_{on.memory(), over}
        , what_{what}
        , frame_{on.inner_frame(*what.inside)}
    {}
    bool next(value& into) override
    {
        while (items_.next(into)) {
            // In variables of its own: the loop's body may be in the middle of a round.
            frame_->clear();
            machine::in_frame inside{machine_, frame_};
            what_.each.assign(machine_, into);
            if (what_.test->holds(machine_)) return true;
        }
        return false;
    }
    void end() { frame_ = {}; }

private:
    machine& machine_;
    cursor items_;
    const for_statement& what_;
    pointer<frame> frame_;
};

// Ends a loop's object whichever way the loop ends.
class loop_end {
public:
    explicit loop_end(loop_object* of)
        : of_{of}
    {}
    loop_end(const loop_end&) = delete;
    loop_end& operator=(const loop_end&) = delete;
    loop_end(loop_end&&) = delete;
    loop_end& operator=(loop_end&&) = delete;
    ~loop_end()
    {
        if (of_ != nullptr) of_->end();
    }

private:
    loop_object* of_;
};

}  // namespace

flow run_block(const block& body, machine& on)
{
    for (const statement_ptr& each : body) {
        on.line = each->line;
        if (const flow how = each->run(on); how != flow::on) return how;
    }
    return flow::on;
}

void target::assign(machine& on, value to) const
{
    if (is_tuple) {
        value each;
        std::size_t n = 0;
        for (cursor all{on.memory(), to}; all.next(each); ++n) {
            if (n >= parts.size()) refuse("too many values to unpack");
            parts[n].assign(on, std::move(each));
        }
        if (n < parts.size()) refuse("not enough values to unpack");
        return;
    }
    if (space == nullptr) {
        on.store(at, std::move(to));
        return;
    }
    const value of = space->evaluate(on);
    if (!of.is(kind::space)) refuse("only a namespace's attributes can be set");
    if (name.starts_with('_')) refuse("a namespace takes no names that begin with an underscore");
    on.memory().charge(2 * sizeof(value));
    of.space().set(on.memory().string(name), std::move(to));
}

flow text_statement::run(machine& on) const
{
    on.print(text_);
    return flow::on;
}

output_statement::output_statement(expression_ptr what)
    : what_{std::move(what)}
{
    const expression* left = what_.get();
    while (terms_.size() < max_terms) {
        const auto* const sum = dynamic_cast<const arithmetic_expression*>(left);
        if (sum == nullptr || sum->what() != arithmetic::add) {
            terms_.push_back(left);
            std::reverse(terms_.begin(), terms_.end());
            return;
        }
        terms_.push_back(&sum->right());
        left = &sum->left();
    }
    terms_.clear();
}

// Most of what is printed are plain texts that lie somewhere: those are printed from there.
bool output_statement::print_found(machine& on) const
{
    std::array<const std::string*, max_terms> texts{};
    for (std::size_t i = 0; i < terms_.size(); ++i) {
        const value* const found = terms_[i]->find(on);
        const bool is_plain =
            found != nullptr && found->is(kind::string) && !found->string().is_markup();
        if (!is_plain) return false;
        texts[i] = &found->text();
    }
    for (std::size_t i = 0; i < terms_.size(); ++i)
        on.print(*texts[i]);
    return !terms_.empty();
}

flow output_statement::run(machine& on) const
{
    if (print_found(on)) return flow::on;
    values& parts = on.parts();
    const std::size_t n_before = parts.size();
    what_->evaluate_parts(on, parts);
    for (std::size_t i = n_before; i < parts.size(); ++i) {
        if (parts[i].is(kind::string))
            on.print(parts[i].text());
        else if (!parts[i].is_undefined())
            on.print(to_text(parts[i]));
    }
    parts.resize(n_before);
    return flow::on;
}

flow if_statement::run(machine& on) const
{
    for (const branch& each : branches) {
        if (each.test->holds(on)) return run_block(each.body, on);
    }
    return run_block(otherwise, on);
}

flow for_statement::run(machine& on) const
{
    return run_over(on, over->evaluate(on), 0);
}

flow for_statement::run_over(machine& on, const value& elements, std::size_t depth) const
{
    bool any = false;
    const flow how = run_rounds(on, elements, depth, any);
    if (how != flow::on || any || otherwise.empty()) return how;
    machine::in_frame next{on, on.inner_frame(*inside_otherwise)};
    return run_block(otherwise, on);
}

flow for_statement::run_rounds(
    machine& on, const value& elements, std::size_t depth, bool& any) const
{
    value all = elements;
    pointer<tested_elements> tested;
    if (test != nullptr) {
        tested = pointer<tested_elements>{new tested_elements{on, elements, *this}};
        all = value::of_object(kind::iterator, tested.get());
    }
    value loop;
    if (loop_slot >= 0)
        loop = value::of_object(kind::loop, on.memory().make<loop_object>(on.memory(), all, depth));
    const loop_end end{loop_slot >= 0 ? &loop.loop() : nullptr};
    if (recursive && loop_slot >= 0) loop.loop().repeats(this);
    cursor items{on.memory(), all};
    const pointer<frame> around{&on.current()};
    pointer<frame> here = on.inner_frame(*inside);
    value element;
    while (loop_slot >= 0 ? (on.memory().step(), loop.loop().next(element)) : items.next(element)) {
        any = true;
        // A macro made in an earlier round may still hold that round's variables.
        if (here->is_unique())
            here->clear();
        else
            here = on.frame_around(*around, *inside);
        flow how = flow::on;
        {
            machine::in_frame next{on, here};
            if (loop_slot >= 0) on.current().set(loop_slot, loop);
            each.assign(on, std::move(element));
            how = run_block(body, on);
        }
        if (how == flow::break_loop) break;
    }
    return flow::on;
}

flow set_statement::run(machine& on) const
{
    to_.assign(on, what_->evaluate(on));
    return flow::on;
}

flow capture_statement::run(machine& on) const
{
    std::string text;
    flow how = flow::on;
    {
        machine::captured inside_text{on};
        machine::in_frame next{on, on.inner_frame(*inside)};
        how = run_block(body, on);
        text = inside_text.take();
    }
    if (how != flow::on) return how;
    value made = on.memory().string(std::move(text));
    for (const std::unique_ptr<filter_expression>& each : filters)
        made = each->apply(on, made);
    if (to != nullptr)
        to->assign(on, made);
    else
        on.print(to_text(made));
    return flow::on;
}

flow with_statement::run(machine& on) const
{
    values given;
    for (const auto& [to, from] : variables)
        given.push_back(from->evaluate(on));
    machine::in_frame next{on, on.inner_frame(*inside)};
    for (std::size_t i = 0; i < given.size(); ++i)
        variables[i].first.assign(on, given[i]);
    return run_block(body, on);
}

namespace {

// Takes a keyword argument out of those given; nothing where it is not among them.
std::optional<value> take_named(call_arguments& arguments, std::string_view name)
{
    const auto found =
        std::find_if(arguments.named.begin(), arguments.named.end(), [name](const auto& each) {
            return each.first == name;
        });
    if (found == arguments.named.end()) return std::nullopt;
    value taken = std::move(found->second);
    arguments.named.erase(found);
    return taken;
}

}  // namespace

value macro_definition::call(machine& on, frame& around, call_arguments& arguments) const
{
    machine::deeper level{on, levels};
    machine::in_frame next{on, on.frame_around(around, *inside)};
    frame& here = on.current();
    const std::string who = "the macro " + support::in_quotes(name);
    const std::size_t n_given = arguments.positional.size();
    if (n_given > parameters.size() && positional_slot < 0)
        refuse(who + " takes at most " + std::to_string(parameters.size()) + " arguments");
    // A parameter without a value yet hides a variable of its name all the same.
    for (const parameter& each : parameters)
        here.set(each.slot, value{});
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        const parameter& each = parameters[i];
        if (i < n_given) {
            here.set(each.slot, arguments.positional[i]);
            continue;
        }
        std::optional<value> named = take_named(arguments, each.name);
        if (!named && each.otherwise != nullptr) {
            named = each.otherwise->evaluate(on);
        } else if (!named) {
            const value hint = on.memory().string(
                "parameter " + support::in_quotes(each.name) + " was not provided");
            named = value::undefined(missing::hint, &hint.string());
        }
        here.set(each.slot, std::move(*named));
    }
    if (caller_slot >= 0) {
        std::optional<value> caller = take_named(arguments, "caller");
        if (!caller) {
            const value hint = on.memory().string("No caller defined");
            caller = value::undefined(missing::hint, &hint.string());
        }
        here.set(caller_slot, std::move(*caller));
    }
    if (named_slot >= 0) {
        std::uint16_t depth = 0;
        for (const auto& [key, to] : arguments.named)
            depth = std::max(depth, to.depth());
        const pointer<dict_object> named = on.memory().dict(depth);
        for (const auto& [key, to] : arguments.named)
            named->set(on.memory().string(key), to);
        here.set(named_slot, value::of_object(kind::dict, named.get()));
    } else if (!arguments.named.empty()) {
        refuse(who + " takes no argument " + support::in_quotes(arguments.named.front().first));
    }
    if (positional_slot >= 0) {
        values more;
        for (std::size_t i = parameters.size(); i < n_given; ++i)
            more.push_back(arguments.positional[i]);
        here.set(positional_slot, on.memory().tuple(std::move(more)));
    }
    const std::size_t line = on.line;
    machine::captured text{on};
    static_cast<void>(run_block(body, on));
    on.line = line;
    return on.memory().string(text.take());
}

flow macro_statement::run(machine& on) const
{
    on.store(at, on.make_macro(made));
    return flow::on;
}

flow call_statement::run(machine& on) const
{
    const value caller = on.make_macro(made);
    on.print(to_text(call->call(on, &caller)));
    return flow::on;
}

}  // namespace modelpool::text::jinja
