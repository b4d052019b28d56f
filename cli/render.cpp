#include <modelpool/error.hpp>
#include <modelpool/text/chat_template.hpp>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "commands.hpp"
#include "generation.hpp"
#include "models_found.hpp"
#include "text_format.hpp"

namespace modelpool::cli {
namespace {

struct render_arguments {
    common_options common;
    std::string messages;
    std::string tools;
    std::vector<std::string> variables;
};

// "NAME=JSON"
std::pair<std::string, std::string> split_variable(const std::string& text)
{
    const std::size_t equals = text.find('=');
    if (equals == 0 || equals == std::string::npos)
        throw usage_error{"--set: '" + text + "': expected NAME=JSON"};
    return {text.substr(0, equals), text.substr(equals + 1)};
}

void run_render(program& self, const render_arguments& given)
{
    const settings wanted{given.common};
    text::chat_json conversation;
    for (const std::string& each : given.variables)
        conversation.variables.insert_or_assign(
            split_variable(each).first, split_variable(each).second);
    if (given.messages.empty()) throw usage_error{"no messages: give them with --messages FILE"};
    conversation.messages = blocking_read_text(given.messages);
    if (!given.tools.empty()) conversation.tools = blocking_read_text(given.tools);
    const auto layout = text::chat_template::blocking_load(blocking_find_folder(wanted));
    const std::string rendered = layout.render(conversation);
    if (!wanted.json) {
        self.out.write(rendered);
        return;
    }
    std::string document = R"({"text":)";
    append_json(document, rendered);
    output::document{self.out}.write(document + "}\n");
}

constexpr const char* footer =
    R"(Needs the tokenizer's files only. FILE is a JSON array of messages with "role" and "content" (a text, or an array of
parts), and of assistants "reasoning_content" and "tool_calls"; - is standard input.
Output: the text, exactly; with --json one document: {"text":"..."}. The variable add_generation_prompt is true unless
it is set.

Examples:
  modelpool render --model ./Qwen3-0.6B --messages chat.json
  modelpool render --model ./Qwen3-0.6B --messages chat.json --tools tools.json --set enable_thinking=false --json)";

}  // namespace

void add_render(CLI::App& app, program& self)
{
    CLI::App* command = app.add_subcommand("render", "Write a conversation as a model wants it");
    auto given = std::make_shared<render_arguments>();
    add_model_options(*command, given->common);
    command->add_option("--messages", given->messages, "The conversation, a JSON array")
        ->type_name("FILE");
    command->add_option("--tools", given->tools, "Tools the model may call, a JSON array")
        ->type_name("FILE");
    command
        ->add_option(
            "--set", given->variables, "A variable of the template; may be given several times")
        ->allow_extra_args(false)
        ->type_name("NAME=JSON");
    add_cache_options(*command, given->common);
    add_output_options(*command, given->common, false);
    command->footer(footer);
    command->callback([&self, given] { self.run = [&self, given] { run_render(self, *given); }; });
}

}  // namespace modelpool::cli
