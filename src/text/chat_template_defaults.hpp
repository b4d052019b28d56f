#pragma once

#include <string>
#include <string_view>

namespace modelpool::text {

/// The template of a family's checkpoints that come without one; empty for families that have none
/// here.
std::string default_chat_template(std::string_view family);

}  // namespace modelpool::text
