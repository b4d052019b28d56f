#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja_nodes.hpp"

namespace modelpool::text::jinja {

/// What parsing gives.
struct parsed {
    std::shared_ptr<const scope> root;
    std::vector<std::string> context_names;  ///< variables that the template does not set itself
    block body;
};

/// Parses a template as jinja2 does with transformers' settings. Errors: as parsed_template.
parsed parse(std::string_view source);

}  // namespace modelpool::text::jinja
