#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja_machine.hpp"
#include "text/jinja_nodes.hpp"

namespace modelpool::text::jinja {

/// A parsed template. Immutable; renderings on several threads share it.
class parsed_template {
public:
    /// Errors: `failure` with text_errc::bad_file, with the line in the sentence, for what is no
    /// template; text_errc::unsupported for tags that this interpreter does not do.
    explicit parsed_template(std::string_view source);

    /// What the template prints. Errors: `failure`; `line` is then that of the statement it
    /// happened in.
    std::string render(
        heap& in,
        const std::map<std::string, value, std::less<>>& variables,
        wall_time now,
        std::size_t& line) const;

    /// Whether the template asks for a variable of that name without setting it itself.
    bool uses(std::string_view variable) const;

private:
    std::shared_ptr<const scope> root_;
    std::vector<std::string> context_names_;
    block body_;
};

}  // namespace modelpool::text::jinja
