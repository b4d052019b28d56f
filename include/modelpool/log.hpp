#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace modelpool {

enum class log_level { debug = 1, info, warning, error };

/// Where the library's log lines go. Called from any thread, several at once, and never under a
/// lock of the library; it must not throw and should not block. An empty sink drops every line.
using log_sink = std::function<void(log_level, std::string_view)>;

}  // namespace modelpool
