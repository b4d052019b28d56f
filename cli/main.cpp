#include <algorithm>
#include <csignal>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "arguments.hpp"
#include "commands.hpp"
#include "common.hpp"
#include "text_format.hpp"

namespace {

using namespace modelpool::cli;

// Known before the arguments are parsed, so that a failure to parse them is a document too.
bool wants_json(const std::vector<std::string>& arguments)
{
    const auto end = std::ranges::find(arguments, "--");
    return std::find(arguments.begin(), end, "--json") != end;
}

std::string one_line(std::string text)
{
    std::ranges::replace(text, '\n', ' ');
    while (text.ends_with(' '))
        text.pop_back();
    return text;
}

// CLI11 says of an unknown command only that a command is required.
void check_command(const CLI::App& app, const std::vector<std::string>& arguments)
{
    const auto is_option = [](const std::string& text) { return text.starts_with('-'); };
    const auto first = std::ranges::find_if_not(arguments, is_option);
    std::string names;
    bool known = false;
    for (const CLI::App* command : app.get_subcommands(nullptr)) {
        names += (names.empty() ? "" : ", ") + command->get_name();
        known = known || (first != arguments.end() && command->get_name() == *first);
    }
    if (first != arguments.end() && !known)
        throw usage_error{"no command '" + *first + "'; commands: " + names};
    const auto asks = [](const std::string& text) {
        return text == "--help" || text == "-h" || text == "--version";
    };
    if (first == arguments.end() && std::ranges::none_of(arguments, asks))
        throw usage_error{"a command is required: " + names + "; see modelpool --help"};
}

// Parses the arguments; true where a command is to run, false where a help text was all that was
// wanted.
bool parse(CLI::App& app, program& self, std::vector<std::string> arguments)
{
    check_command(app, arguments);
    std::ranges::reverse(arguments);  // as CLI11 takes them
    try {
        app.parse(arguments);
    } catch (const CLI::CallForVersion& version) {
        self.out.write(std::string{version.what()} + '\n');
        return false;
    } catch (const CLI::Success&) {
        const CLI::App* chosen = &app;
        std::string path;
        while (!chosen->get_subcommands().empty()) {
            path += (path.empty() ? "" : " ") + chosen->get_name();
            chosen = chosen->get_subcommands().front();
        }
        const std::string help = chosen->help(path);
        self.out.write(help.ends_with('\n') ? help : help + '\n');
        return false;
    } catch (const CLI::ParseError& problem) {
        throw usage_error{one_line(problem.what()) + "; see modelpool --help"};
    }
    return true;
}

void add_commands(CLI::App& app, program& self)
{
    app.set_version_flag("--version", "modelpool " MODELPOOL_VERSION);
    app.require_subcommand(1);
    app.get_formatter()->column_width(34);
    add_embed(app, self);
    add_embed_image(app, self);
    add_generate(app, self);
    add_chat(app, self);
    add_describe(app, self);
    add_imagine(app, self);
    add_render(app, self);
    add_tokenize(app, self);
    add_inspect(app, self);
    add_models(app, self);
    add_bench(app, self);
    add_fetch(app, self);
    add_import(app, self);
    add_cache(app, self);
    for (CLI::App* command : app.get_subcommands(nullptr)) {
        restore_values(*command);
        for (CLI::App* inner : command->get_subcommands(nullptr))
            restore_values(*inner);
        command->preparse_callback(
            [&self, command](std::size_t) { self.command = command->get_name(); });
    }
    app.footer("Data goes to standard output, everything else to standard error. Exit status: 0 "
               "done, 1 the work\n"
               "failed, 2 bad usage or input, 130 interrupted. Every command has its own --help.");
}

// Runs the program; gives its exit status.
status run(program& self, const std::vector<std::string>& arguments)
{
    try {
        CLI::App app{"modelpool runs AI models inside this process.", "modelpool"};
        add_commands(app, self);
        if (parse(app, self, guard_values(arguments))) self.run();
        return status::done;
    } catch (const output_closed&) {
        return status::failed;
    } catch (...) {
        const failure problem = describe(std::current_exception());
        report(self.command, problem, self.wants_json, self.out.begun());
        return problem.ends_with;
    }
}

}  // namespace

int main(int argc, char** argv)
{
    std::signal(SIGPIPE, SIG_IGN);  // a closed pipe is an error of write()
    const std::vector<std::string> arguments(argv + 1, argv + std::max(1, argc));
    program self{wants_json(arguments)};
    return static_cast<int>(run(self, arguments));
}
