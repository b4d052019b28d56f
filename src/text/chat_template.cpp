#include <modelpool/error.hpp>
#include <modelpool/text/chat_template.hpp>

#include <algorithm>
#include <array>
#include <system_error>
#include <utility>
#include <variant>

#include "support/json.hpp"
#include "support/printable.hpp"
#include "text/chat_template_defaults.hpp"
#include "text/jinja_print.hpp"
#include "text/jinja_template.hpp"
#include "text/tokenizer_config.hpp"
#include "text/utf8.hpp"

namespace modelpool::text {
namespace {

using namespace jinja;

constexpr std::size_t max_template_bytes = std::size_t{4} << 20U;
constexpr std::array<const char*, 7> token_names{
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

using token_map = std::map<std::string, std::string>;

void check_utf8(std::string_view text, const std::string& what)
{
    const std::size_t bad = find_bad_utf8(text);
    if (bad != std::string_view::npos)
        throw error{
            text_errc::not_utf8, what + ": byte " + std::to_string(bad) + " is not valid UTF-8"};
}

// Builds values of the conversation.
class builder {
public:
    explicit builder(heap& in)
        : heap_{in}
    {}

    value string(const std::string& text, const std::string& what)
    {
        check_utf8(text, what);
        return heap_.string(text);
    }

    value json(std::string_view text, const std::string& what)
    {
        check_utf8(text, what);
        return from_json(heap_, text, what, errc::invalid_argument);
    }

    value dict(std::vector<std::pair<const char*, value>> items)
    {
        std::uint16_t depth = 0;
        for (const auto& [key, to] : items)
            depth = std::max(depth, to.depth());
        const pointer<dict_object> made = heap_.dict(depth);
        for (auto& [key, to] : items)
            made->set(heap_.string(key), std::move(to));
        return value::of_object(kind::dict, made.get());
    }

    value messages(const chat& conversation)
    {
        values all;
        for (const message& each : conversation.messages())
            all.push_back(one_message(each, "message " + std::to_string(all.size() + 1)));
        return heap_.list(std::move(all));
    }

    // As the reference does: an assistant's thoughts under the names that templates look for.
    value with_reasoning(const value& message)
    {
        value thoughts = value::none();
        for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
            const value* const found = message.dict().find(std::string_view{name});
            if (found == nullptr || found->is(kind::none)) continue;
            thoughts = *found;
            break;
        }
        if (thoughts.is(kind::none)) return message;
        const pointer<dict_object> made = heap_.dict(std::max(message.depth(), thoughts.depth()));
        made->set(heap_.string("thinking"), thoughts);
        for (const auto& [key, to] : message.dict().items())
            made->set(key, to);
        made->set(heap_.string("reasoning_content"), thoughts);
        return value::of_object(kind::dict, made.get());
    }

private:
    value content(const std::vector<content_part>& parts, const std::string& what)
    {
        const bool plain = std::all_of(parts.begin(), parts.end(), [](const content_part& part) {
            return std::holds_alternative<std::string>(part);
        });
        if (plain) {
            std::string text;
            for (const content_part& part : parts)
                text += std::get<std::string>(part);
            return string(text, what);
        }
        values all;
        for (const content_part& part : parts) {
            if (const auto* const text = std::get_if<std::string>(&part))
                all.push_back(
                    dict({{"type", heap_.string("text")}, {"text", string(*text, what)}}));
            else
                all.push_back(dict({{"type", heap_.string("image")}}));
        }
        return heap_.list(std::move(all));
    }

    // Arguments as an object where they are one, since templates walk through them; else as the
    // text they are.
    value arguments(const std::string& text, const std::string& what)
    {
        check_utf8(text, what);
        try {
            value made = from_json(heap_, text, what, errc::invalid_argument);
            if (made.is(kind::dict)) return made;
        } catch (const error&) {
            return heap_.string(text);
        }
        return heap_.string(text);
    }

    value calls(const std::vector<tool_call>& all, const std::string& what)
    {
        values made;
        for (const tool_call& each : all) {
            value function = dict(
                {{"name", string(each.name, what)},
                 {"arguments", arguments(each.arguments, what)}});
            std::vector<std::pair<const char*, value>> items;
            if (!each.id.empty()) items.emplace_back("id", string(each.id, what));
            items.emplace_back("type", heap_.string("function"));
            items.emplace_back("function", std::move(function));
            made.push_back(dict(std::move(items)));
        }
        return heap_.list(std::move(made));
    }

    value one_message(const message& from, const std::string& what)
    {
        std::vector<std::pair<const char*, value>> items;
        items.emplace_back("role", string(from.role, what));
        items.emplace_back("content", content(from.content, what));
        if (!from.reasoning.empty())
            items.emplace_back("reasoning_content", string(from.reasoning, what));
        if (!from.tool_calls.empty())
            items.emplace_back("tool_calls", calls(from.tool_calls, what));
        if (!from.tool_call_id.empty())
            items.emplace_back("tool_call_id", string(from.tool_call_id, what));
        if (!from.name.empty()) items.emplace_back("name", string(from.name, what));
        return with_reasoning(dict(std::move(items)));
    }

    heap& heap_;
};

token_map tokens_of(const std::filesystem::path& folder)
{
    const tokenizer_config config = tokenizer_config::blocking_read(folder);
    token_map tokens;
    for (const char* const name : token_names)
        if (const added_token* const token = config.named(name)) tokens[name] = token->content;
    return tokens;
}

bool is_there(const std::filesystem::path& file)
{
    std::error_code ignored;
    return std::filesystem::exists(file, ignored);
}

}  // namespace

class chat_template::impl {
public:
    struct named {
        std::string name;
        std::string source;
        std::unique_ptr<const parsed_template> parsed;
    };

    impl(std::string file, token_map tokens)
        : file_{std::move(file)}
        , tokens_{std::move(tokens)}
    {}

    void add(std::string name, std::string source)
    {
        const std::string where = name == "default" ? file_ : file_ + " (" + name + ")";
        if (source.size() > max_template_bytes)
            throw error{text_errc::bad_file, where + ": a template of more than 4 MiB"};
        const std::size_t bad = find_bad_utf8(source);
        if (bad != std::string_view::npos)
            throw error{
                text_errc::bad_file,
                where + ": byte " + std::to_string(bad) + " is not valid UTF-8"};
        try {
            auto parsed = std::make_unique<const parsed_template>(source);
            templates_.push_back({std::move(name), std::move(source), std::move(parsed)});
        } catch (const failure& problem) {
            throw error{problem.code, where + ": " + problem.sentence};
        }
    }

    // What "chat_template" holds in a JSON file: a template, or several with names.
    void add(const nlohmann::json& from)
    {
        const auto fail = [this](const char* sentence) {
            throw error{text_errc::bad_file, file_ + ": " + sentence};
        };
        if (from.is_string()) {
            add("default", from.get<std::string>());
            return;
        }
        if (!from.is_array()) fail("'chat_template' must be a string, or an array of named ones");
        for (const nlohmann::json& each : from) {
            const bool good = each.is_object() && each.contains("name") &&
                              each["name"].is_string() && each.contains("template") &&
                              each["template"].is_string();
            if (!good) fail("each of several templates has a 'name' and a 'template'");
            add(support::printable(each["name"].get<std::string>()),
                each["template"].get<std::string>());
        }
    }

    const named& choose(bool with_tools) const
    {
        for (const char* const name : {"tool_use", "default"}) {
            if (name == std::string_view{"tool_use"} && !with_tools) continue;
            for (const named& each : templates_)
                if (each.name == name) return each;
        }
        if (templates_.empty()) throw error{text_errc::bad_file, file_ + ": no template"};
        return templates_.front();
    }

    std::string render(
        heap& in,
        std::map<std::string, value, std::less<>> variables,
        const template_limits& limits,
        wall_time now) const
    {
        const bool with_tools = !variables["tools"].is(kind::none);
        for (const auto& [name, text] : tokens_)
            if (!variables.contains(name)) variables[name] = in.string(text);
        if (!variables.contains("add_generation_prompt"))
            variables["add_generation_prompt"] = value::of(true);
        if (!variables.contains("documents")) variables["documents"] = value::none();
        std::size_t line = 0;
        try {
            std::string made = choose(with_tools).parsed->render(in, variables, now, line);
            if (made.size() > limits.max_output_bytes())
                refuse_feature(
                    "a text of more than " + std::to_string(limits.max_output_bytes()) + " bytes");
            return made;
        } catch (const failure& problem) {
            throw error{
                problem.code, file_ + ": line " + std::to_string(line) + ": " + problem.sentence};
        }
    }

    // What is made of the conversation itself may fail for its size alone.
    template <class Make>
    auto within_limits(const Make& make) const
    {
        try {
            return make();
        } catch (const failure& problem) {
            throw error{problem.code, file_ + ": " + problem.sentence};
        }
    }

private:
    std::string file_;
    token_map tokens_;
    std::vector<named> templates_;
};

chat_template::chat_template(std::shared_ptr<const impl> self)
    : self_{std::move(self)}
{}

chat_template chat_template::blocking_load(const std::filesystem::path& folder)
{
    const auto shown = [](const std::filesystem::path& file) {
        return support::printable(file.native(), 4096);
    };
    token_map tokens = tokens_of(folder);
    const std::filesystem::path alone = folder / "chat_template.jinja";
    if (is_there(alone)) {
        const auto made = std::make_shared<impl>(shown(alone), std::move(tokens));
        made->add(
            "default", support::blocking_read_file(alone, text_errc::bad_file, max_template_bytes));
        const std::filesystem::path tool_use =
            folder / "additional_chat_templates" / "tool_use.jinja";
        if (is_there(tool_use))
            made->add(
                "tool_use",
                support::blocking_read_file(tool_use, text_errc::bad_file, max_template_bytes));
        return chat_template{made};
    }
    for (const char* const name : {"chat_template.json", "tokenizer_config.json"}) {
        const std::filesystem::path file = folder / name;
        if (!is_there(file)) continue;
        const auto json = support::json_file::blocking_read(file, text_errc::bad_file);
        if (!json.root().is_object() || !json.root().contains("chat_template") ||
            json.root()["chat_template"].is_null())
            continue;
        const auto made = std::make_shared<impl>(shown(file), std::move(tokens));
        made->add(json.root()["chat_template"]);
        static_cast<void>(made->choose(false));
        return chat_template{made};
    }
    const std::filesystem::path config = folder / "config.json";
    std::string family;
    if (is_there(config))
        family = support::json_file::blocking_read(config, text_errc::bad_file)
                     .find_string("model_type")
                     .value_or("");
    if (auto made = of_family(family, std::move(tokens))) return *std::move(made);
    throw error{
        text_errc::bad_file,
        shown(folder) +
            ": no chat template: expected chat_template.jinja, or 'chat_template' in "
            "chat_template.json or tokenizer_config.json" +
            (family.empty()
                 ? ""
                 : "; the family " + support::in_quotes(family) + " has none of its own")};
}

chat_template chat_template::from_source(
    std::string_view source, std::map<std::string, std::string> tokens, const std::string& name)
{
    const auto made = std::make_shared<impl>(name, std::move(tokens));
    made->add("default", std::string{source});
    return chat_template{made};
}

std::optional<chat_template>
chat_template::of_family(std::string_view family, std::map<std::string, std::string> tokens)
{
    const std::string source = default_chat_template(family);
    if (source.empty()) return std::nullopt;
    return from_source(
        source, std::move(tokens), "the template of the family " + support::in_quotes(family));
}

chat_template chat_template::with_limits(const template_limits& value) const
{
    chat_template made{*this};
    made.limits_ = value;
    return made;
}

chat_template chat_template::at_time(std::chrono::system_clock::time_point value) const
{
    chat_template made{*this};
    made.now_ = value;
    return made;
}

std::string chat_template::render(const chat& conversation) const
{
    heap in{limits_.max_value_bytes(), limits_.max_steps()};
    builder make{in};
    std::map<std::string, value, std::less<>> variables;
    self_->within_limits([&] {
        for (const auto& [name, json] : conversation.variables())
            variables[name] = make.json(json, "the variable " + support::in_quotes(name));
        variables["messages"] = make.messages(conversation);
        variables["tools"] = conversation.tools().empty()
                                 ? value::none()
                                 : make.json(conversation.tools(), "the tools");
    });
    return self_->render(
        in, std::move(variables), limits_, now_.value_or(std::chrono::system_clock::now()));
}

std::string chat_template::render(const chat_json& conversation) const
{
    heap in{limits_.max_value_bytes(), limits_.max_steps()};
    builder make{in};
    std::map<std::string, value, std::less<>> variables;
    self_->within_limits([&] {
        for (const auto& [name, json] : conversation.variables)
            variables[name] = make.json(json, "the variable " + support::in_quotes(name));
        const value messages = make.json(conversation.messages, "the messages");
        if (!messages.is(kind::list))
            throw error{errc::invalid_argument, "the messages: expected an array"};
        values all;
        for (const value& each : messages.list().items()) {
            if (!each.is(kind::dict))
                throw error{
                    errc::invalid_argument,
                    "the messages: expected objects, found a " + std::string{type_name(each)}};
            all.push_back(make.with_reasoning(each));
        }
        variables["messages"] = in.list(std::move(all));
        value tools = value::none();
        if (!conversation.tools.empty()) {
            tools = make.json(conversation.tools, "the tools");
            if (!tools.is(kind::list) && !tools.is(kind::none))
                throw error{errc::invalid_argument, "the tools: expected an array"};
        }
        variables["tools"] = std::move(tools);
    });
    return self_->render(
        in, std::move(variables), limits_, now_.value_or(std::chrono::system_clock::now()));
}

const std::string& chat_template::source() const noexcept
{
    return self_->choose(false).source;
}

}  // namespace modelpool::text
