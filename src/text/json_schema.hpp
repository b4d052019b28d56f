#pragma once

#include <cstddef>
#include <string_view>

#include "text/json_grammar.hpp"

namespace modelpool::text {

/// The grammar of the JSON texts that a schema allows: see `json_grammar::from_schema`.
json_grammar_graph compile_json_schema(std::string_view schema);

}  // namespace modelpool::text
