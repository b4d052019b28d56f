#pragma once

#include <optional>
#include <string_view>

#include "text/jinja_machine.hpp"
#include "text/jinja_operators.hpp"
#include "text/jinja_value.hpp"

namespace modelpool::text::jinja {

class for_statement;

/// What `loop` is inside a for.
class loop_object final : public object {
public:
    loop_object(heap& in, const value& over, std::size_t depth0);

    /// Goes on to the next element; false at the end.
    bool next(value& into);
    std::size_t length();

    /// `loop.<name>`; nothing where a loop has no such thing.
    std::optional<value> attribute(heap& in, std::string_view name);

    /// `loop(elements)`, in a recursive loop.
    value call(machine& on, call_arguments& arguments);
    /// Says which loop a call repeats.
    void repeats(const for_statement* what) noexcept { statement_ = what; }
    /// The loop is over: it can no longer be called, and holds nothing that could hold it.
    void end() noexcept
    {
        statement_ = nullptr;
        is_over_ = true;
        last_changed_.reset();
    }

    value cycle(call_arguments& arguments) const;
    bool changed(values now);

private:
    bool peek();

    cursor items_;
    std::optional<std::size_t> length_;
    values drained_;  // what was read ahead to know the length
    std::size_t n_taken_{0};
    bool is_drained_{false};
    std::optional<value> after_;
    value current_;
    value before_;
    std::optional<values> last_changed_;
    std::size_t n_begun_{0};
    std::size_t depth0_;
    bool is_over_{false};
    const for_statement* statement_{nullptr};
};

inline loop_object& value::loop() const noexcept
{
    return static_cast<loop_object&>(*held_.pointee);
}

}  // namespace modelpool::text::jinja
