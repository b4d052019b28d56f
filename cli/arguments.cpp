#include "arguments.hpp"

namespace modelpool::cli {
namespace {

// Ends an argument that CLI11 would otherwise take apart. Only what is in brackets gets it.
constexpr char guard = '\x1F';

bool is_bracketed(const std::string& text)
{
    return text.starts_with('[') && text.ends_with(']');
}

// An empty string: no objection.
std::string restore(std::string& value)
{
    if (value.ends_with(guard) && is_bracketed(value.substr(0, value.size() - 1))) value.pop_back();
    return {};
}

}  // namespace

std::vector<std::string> guard_values(const std::vector<std::string>& arguments)
{
    std::vector<std::string> result;
    bool only_texts = false;
    for (const std::string& argument : arguments) {
        only_texts = only_texts || argument == "--";
        if (!only_texts && argument.starts_with("--") && argument.ends_with('=')) {
            result.push_back(argument.substr(0, argument.size() - 1));
            result.emplace_back();
        } else {
            result.push_back(is_bracketed(argument) ? argument + guard : argument);
        }
    }
    return result;
}

void restore_values(CLI::App& command)
{
    const CLI::Validator restorer{restore, "", ""};
    for (CLI::Option* option : command.get_options())
        option->transform(restorer);
}

void add_texts(CLI::App& command, std::vector<std::string>& into)
{
    CLI::callback_t take = [&into](const CLI::results_t& typed) {
        into = typed;
        return true;
    };
    command.add_option("TEXT", take, "The texts")
        ->expected(0, CLI::detail::expected_max_vector_size)
        ->allow_extra_args()
        ->type_name("");
}

}  // namespace modelpool::cli
