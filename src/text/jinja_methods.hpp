#pragma once

#include <string_view>

#include "text/jinja_value.hpp"

namespace modelpool::text::jinja {

class machine;

using method_function = value(machine& on, const value& self, call_arguments& arguments);

/// A method of one of Python's types.
struct method {
    std::string_view name;
    method_function* call;
};

/// The methods of that name, by type; null where a type has none.
struct method_set {
    const method* of_string{nullptr};
    const method* of_list{nullptr};
    const method* of_tuple{nullptr};
    const method* of_dict{nullptr};
    bool changes_list{false};  ///< a method that the sandbox keeps away
    bool changes_dict{false};

    const method* of(const value& self) const noexcept;
};

method_set find_methods(std::string_view name);

/// Calls a method.
value call_method(machine& on, const method& what, const value& self, call_arguments& arguments);

/// `of.name`
value get_attribute(heap& in, const value& of, string_object& name);
value get_attribute(heap& in, const value& of, string_object& name, const method_set& methods);
/// The same without the elements of a dict: what `of["name"]` stands for where there is no such
/// element.
value get_attribute_only(heap& in, const value& of, string_object& name);
value get_attribute_only(heap& in, const value& of, string_object& name, const method_set& methods);

/// Binds the arguments of a call to the names of its parameters.
class parameters {
public:
    /// Errors: refused for an argument too many, or of no such name.
    parameters(
        const char* function, call_arguments& given, std::initializer_list<std::string_view> names);

    const value* find(std::size_t index) const noexcept { return bound_[index]; }
    const value& need(std::size_t index) const;
    bool flag(std::size_t index, bool otherwise) const;
    std::int64_t integer(std::size_t index, std::int64_t otherwise) const;
    const std::string& string(std::size_t index) const;
    /// Whether it is given, and not None.
    bool has(std::size_t index) const noexcept;

private:
    [[noreturn]] void fail(const std::string& sentence) const;

    static constexpr std::size_t n_most = 6;
    const char* function_;
    const value* bound_[n_most]{};
};

}  // namespace modelpool::text::jinja
