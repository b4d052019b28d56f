#pragma once

#include <span>
#include <string_view>

#include "text/jinja_machine.hpp"

namespace modelpool::text::jinja {

struct named_filter {
    std::string_view name;
    filter_function* call;
};

// The filters, sorted by name within each group.
std::span<const named_filter> text_filters() noexcept;
std::span<const named_filter> sequence_filters() noexcept;

/// `item.a.0.b` for "a.0.b", as filters take it; an int is an index.
value get_path(heap& in, const value& item, const value& path);

}  // namespace modelpool::text::jinja
