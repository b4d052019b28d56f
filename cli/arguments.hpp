#pragma once

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace modelpool::cli {

// CLI11 2.1 takes "[MASK]" for a list of its own and "--prompt=" for an option whose value is the
// next argument. Both are texts that users have.

/// The arguments in a form that CLI11 leaves alone; `restore_values` undoes it.
std::vector<std::string> guard_values(const std::vector<std::string>& arguments);

/// Makes all options of `command` give what was typed. Call it once they are all there.
void restore_values(CLI::App& command);

/// The positional texts.
void add_texts(CLI::App& command, std::vector<std::string>& into);

}  // namespace modelpool::cli
