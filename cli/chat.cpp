#include <modelpool/error.hpp>

#include <nlohmann/json.hpp>

#include <iostream>
#include <memory>
#include <utility>

#include "commands.hpp"
#include "generation.hpp"
#include "input.hpp"
#include "models_found.hpp"
#include "session.hpp"
#include "text_format.hpp"

#include <unistd.h>

namespace modelpool::cli {
namespace {

using nlohmann::json;

struct chat_arguments : generation_arguments {
    std::string system;
    std::string messages;
    std::string tools;
    std::vector<std::string> variables;
};

[[noreturn]] void refuse(const std::string& where, const std::string& sentence)
{
    throw usage_error{where + ": " + sentence};
}

std::string text_field(const json& from, const char* key, const std::string& where)
{
    const auto found = from.find(key);
    if (found == from.end() || found->is_null()) return {};
    if (!found->is_string()) refuse(where, std::string{key} + " must be a text");
    return found->get<std::string>();
}

// {"type":"image","image":...}, with "url" or "path" in its place, or as chat services write it:
// {"type":"image_url","image_url":{"url":...}}.
image_source to_image(const json& part, const std::string& where)
{
    for (const char* key : {"image", "url", "path", "image_url"}) {
        const auto found = part.find(key);
        if (found == part.end()) continue;
        const std::string name =
            found->is_object() ? text_field(*found, "url", where) : text_field(part, key, where);
        if (!name.empty()) return to_image_source(name);
    }
    refuse(where, "an image part must name a file, a web address or a data URI in \"image\"");
}

void add_content(const json& content, message& to, const std::string& where)
{
    if (content.is_null()) return;
    if (content.is_string()) {
        to.content.emplace_back(content.get<std::string>());
        return;
    }
    if (!content.is_array()) refuse(where, "content must be a text or an array of parts");
    for (const json& part : content) {
        const std::string type = part.is_object() ? text_field(part, "type", where) : "";
        if (type == "text")
            to.content.emplace_back(text_field(part, "text", where));
        else if (type == "image" || type == "image_url")
            to.content.emplace_back(to_image(part, where));
        else
            refuse(where, "content has a part that is neither a text nor an image");
    }
}

void add_calls(const json& calls, message& to, const std::string& where)
{
    if (calls.is_null()) return;
    if (!calls.is_array()) refuse(where, "tool_calls must be an array");
    for (const json& one : calls) {
        if (!one.is_object()) refuse(where, "tool_calls must be an array of objects");
        const json& function = one.contains("function") ? one["function"] : one;
        if (!function.is_object()) refuse(where, "a tool call's function must be an object");
        tool_call call;
        call.id = text_field(one, "id", where);
        call.name = text_field(function, "name", where);
        const auto arguments = function.find("arguments");
        if (arguments != function.end())
            call.arguments =
                arguments->is_string() ? arguments->get<std::string>() : arguments->dump();
        to.tool_calls.push_back(std::move(call));
    }
}

message to_message(const json& from, const std::string& where)
{
    if (!from.is_object()) refuse(where, "expected an object");
    message made;
    made.role = text_field(from, "role", where);
    if (made.role.empty()) refuse(where, "has no role");
    add_content(from.value("content", json{}), made, where);
    add_calls(from.value("tool_calls", json{}), made, where);
    made.reasoning = text_field(from, "reasoning_content", where);
    if (made.reasoning.empty()) made.reasoning = text_field(from, "reasoning", where);
    made.tool_call_id = text_field(from, "tool_call_id", where);
    made.name = text_field(from, "name", where);
    return made;
}

std::vector<message> blocking_read_messages(const std::string& path)
{
    const json document = json::parse(blocking_read_text(path), nullptr, false);
    if (!document.is_array()) refuse(path, "expected a JSON array of messages");
    std::vector<message> messages;
    for (const json& one : document)
        messages.push_back(
            to_message(one, path + ": message " + std::to_string(messages.size() + 1)));
    return messages;
}

// The conversation without its messages: what its template gets besides.
modelpool::chat blocking_begin(const chat_arguments& given)
{
    modelpool::chat conversation;
    if (!given.tools.empty()) conversation.tools(blocking_read_text(given.tools));
    for (const std::string& each : given.variables) {
        const std::size_t equals = each.find('=');
        if (equals == 0 || equals == std::string::npos)
            refuse("--set", "'" + each + "': expected NAME=JSON");
        conversation.set(each.substr(0, equals), each.substr(equals + 1));
    }
    if (!given.system.empty()) conversation.system(given.system);
    return conversation;
}

awaitable<void> answer(
    generation_handle model,
    std::shared_ptr<modelpool::chat> conversation,
    std::shared_ptr<generation_params> params,
    answer_writer& writer)
{
    auto starting = model.chat(*conversation, *params);
    token_stream stream = co_await std::move(starting);
    for (;;) {
        auto waiting = stream.next();
        std::optional<generation_event> event = co_await std::move(waiting);
        if (!event) break;
        writer.write(std::move(*event));
    }
    writer.finish();
}

awaitable<void> answer_once(
    session& where,
    card about,
    std::shared_ptr<modelpool::chat> conversation,
    std::shared_ptr<generation_params> params,
    answer_writer& writer)
{
    auto opening = where.open_generator(std::move(about));
    generation_handle model = co_await std::move(opening);
    auto answering = answer(std::move(model), conversation, params, writer);
    co_await std::move(answering);
}

awaitable<void> load(session& where, card about, generation_handle& to)
{
    auto opening = where.open_generator(std::move(about));
    to = co_await std::move(opening);
    auto asking = to.info();
    co_await std::move(asking);
}

void add_answer(modelpool::chat& conversation, const generation_result& result)
{
    message said;
    said.role = "assistant";
    said.content.emplace_back(result.text);
    said.tool_calls = result.tool_calls;
    conversation.add(std::move(said));
}

// A request that cannot be answered is no reason to leave a conversation.
bool is_of_the_request(const boost::system::error_code& code)
{
    return code == model_errc::context_overflow || code == errc::invalid_argument ||
           code.category() == text_category();
}

// Reads lines and answers them, until the input ends. An interruption ends the answer; between
// answers, the program.
class conversing {
public:
    conversing(
        program& self,
        session& where,
        generation_handle model,
        std::shared_ptr<generation_params> params,
        answer_writer& writer)
        : self_{self}
        , where_{where}
        , model_{std::move(model)}
        , params_{std::move(params)}
        , writer_{writer}
    {}

    void run(const modelpool::chat& beginning)
    {
        modelpool::chat conversation = beginning;
        for (;;) {
            write_error_text("> ");
            std::string line;
            if (!std::getline(std::cin, line)) {
                write_error_text("\n");
                return;
            }
            if (line == "/exit" || line == "/quit") return;
            if (line == "/clear") {
                conversation = beginning;
                continue;
            }
            if (line.starts_with('/')) {
                write_error_line("/clear forgets what was said, /exit ends, and so does Ctrl-D");
                continue;
            }
            if (line.find_first_not_of(" \t\r") != std::string::npos)
                conversation = answered(conversation, std::move(line));
        }
    }

private:
    // The conversation with a question and its answer, or as it was where there is none.
    modelpool::chat answered(const modelpool::chat& before, std::string question)
    {
        auto asked = std::make_shared<modelpool::chat>(before);
        asked->user(std::move(question));
        writer_.clear();
        try {
            where_.run_part([&] { return answer(model_, asked, params_, writer_); });
        } catch (const interrupted&) {
            self_.signals.forget();
            write_error_line(" (stopped)");
        } catch (const error& problem) {
            if (!is_of_the_request(problem.code())) throw;
            write_error_line("modelpool: chat: " + visible(problem.what()));
            return before;
        }
        add_answer(*asked, writer_.result());
        return *asked;
    }

    program& self_;
    session& where_;
    generation_handle model_;
    std::shared_ptr<generation_params> params_;
    answer_writer& writer_;
};

void run_chat(program& self, const chat_arguments& given)
{
    const settings wanted{given.common};
    const bool interactive = given.messages.empty();
    if (interactive && (::isatty(STDIN_FILENO) == 0 || wanted.json || wanted.json_lines))
        throw usage_error{"no messages: give them with --messages FILE, or run this on a terminal "
                          "without --json"};
    auto conversation = std::make_shared<modelpool::chat>(blocking_begin(given));
    if (!interactive)
        for (message& one : blocking_read_messages(given.messages))
            conversation->add(std::move(one));
    auto params = std::make_shared<generation_params>(blocking_params(given));
    const sched::generation_options options = worker_options_of(given);
    card about = blocking_find_card(wanted);
    session where{self, wanted, options};
    answer_writer writer{self, wanted, given, true};
    if (!interactive) {
        where.run(
            [&] { return answer_once(where, std::move(about), conversation, params, writer); });
        return;
    }
    generation_handle model;
    where.run_part([&] { return load(where, std::move(about), model); });
    conversing{self, where, std::move(model), params, writer}.run(*conversation);
    where.close();
}

constexpr const char* footer =
    R"(Answers a conversation through the model's own template. On a terminal, and without --messages, it reads a line,
streams the answer, and goes on; Ctrl-C stops an answer, and between answers the program; Ctrl-D or /exit ends it, and
/clear forgets what was said. FILE is a JSON array of messages with "role" and "content" (a text, or an array of parts:
{"type":"text","text":...} and, for vision models, {"type":"image","image":FILE or address}), and of assistants
"reasoning_content" and "tool_calls". The answer goes to standard output, thoughts to standard error.
With --json one document: that of `generate`, and "message": {"role","content","reasoning","tool_calls":[{"id","name",
"arguments"}]}. With --json-lines one object an event: text, reasoning, tool_call, end.

Examples:
  modelpool chat --model Qwen3-1.7B-Q4_K_M.gguf
  modelpool chat --model qwen-3 --messages chat.json --tools tools.json --set enable_thinking=false --json)";

}  // namespace

void add_chat(CLI::App& app, program& self)
{
    CLI::App* command = app.add_subcommand("chat", "Answer a conversation");
    auto given = std::make_shared<chat_arguments>();
    add_model_options(*command, given->common);
    command->add_option("--system", given->system, "What the model is told first")->type_name("S");
    command->add_option("--messages", given->messages, "The conversation, a JSON array")
        ->type_name("FILE");
    command->add_option("--tools", given->tools, "Tools the model may call, a JSON array")
        ->type_name("FILE");
    command
        ->add_option(
            "--set", given->variables, "A variable of the template; may be given several times")
        ->allow_extra_args(false)
        ->type_name("NAME=JSON");
    add_generation_options(*command, *given);
    add_compute_options(*command, given->common);
    add_cache_options(*command, given->common);
    add_output_options(*command, given->common, true);
    command->footer(footer);
    command->callback([&self, given] { self.run = [&self, given] { run_chat(self, *given); }; });
}

}  // namespace modelpool::cli
