#include "text/jinja_template.hpp"

#include <algorithm>

#include "text/jinja_parser.hpp"

namespace modelpool::text::jinja {

parsed_template::parsed_template(std::string_view source)
{
    parsed made = parse(source);
    root_ = std::move(made.root);
    context_names_ = std::move(made.context_names);
    body_ = std::move(made.body);
}

std::string parsed_template::render(
    heap& in,
    const std::map<std::string, value, std::less<>>& variables,
    wall_time now,
    std::size_t& line) const
{
    std::vector<std::optional<value>> context;
    context.reserve(context_names_.size());
    for (const std::string& name : context_names_) {
        const auto found = variables.find(name);
        context.push_back(found == variables.end() ? find_global(in, name) : found->second);
    }
    machine on{in, *root_, std::move(context), now};
    try {
        static_cast<void>(run_block(body_, on));
    } catch (const failure&) {
        line = on.line;
        throw;
    }
    return on.take_output();
}

bool parsed_template::uses(std::string_view variable) const
{
    return std::find(context_names_.begin(), context_names_.end(), variable) !=
           context_names_.end();
}

}  // namespace modelpool::text::jinja
