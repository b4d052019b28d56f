#include "text/jinja_template.hpp"

#include <utility>

#include "text/jinja_parser.hpp"

namespace modelpool::text::jinja {

parsed_template::parsed_template(std::string_view source)
{
    parsed made = parse(source);
    root_ = std::move(made.root);
    names_ = std::move(made.context_names);
    body_ = std::move(made.body);
    for (const std::string& name : names_) {
        globals_.emplace_back();
        std::unique_ptr<callable_object> function = make_global(name);
        if (function == nullptr) continue;
        function->stop_counting();
        globals_.back() = value::of_object(kind::callable, function.get());
        functions_.push_back(std::move(function));
    }
}

std::string parsed_template::render(
    heap& in,
    std::vector<const value*> given,
    std::optional<wall_time> now,
    std::size_t& line) const
{
    machine on{in, *root_, std::move(given), now};
    try {
        static_cast<void>(run_block(body_, on));
    } catch (const failure&) {
        line = on.line;
        throw;
    }
    return on.take_output();
}

}  // namespace modelpool::text::jinja
