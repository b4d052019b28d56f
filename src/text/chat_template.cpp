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

// Texts that every conversation has.
enum class word : std::uint8_t {
    role,
    content,
    reasoning_content,
    thinking,
    reasoning,
    tool_calls,
    tool_call_id,
    name,
    id,
    type,
    function,
    arguments,
    text,
    image,
    system,
    user,
    assistant,
    tool,
};

// These texts as values, made once for all renderings.
class word_list {
public:
    word_list()
    {
        for (const char* const each :
             {"role",
              "content",
              "reasoning_content",
              "thinking",
              "reasoning",
              "tool_calls",
              "tool_call_id",
              "name",
              "id",
              "type",
              "function",
              "arguments",
              "text",
              "image",
              "system",
              "user",
              "assistant",
              "tool"})
            values_.push_back(own(each));
    }
    const value& operator[](word which) const { return values_[static_cast<std::size_t>(which)]; }

    // A value for as long as this list lives.
    value own(std::string text)
    {
        strings_.push_back(std::make_unique<string_object>(std::move(text)));
        strings_.back()->stop_counting();
        static_cast<void>(strings_.back()->length());  // computed now: afterwards threads share it
        return value::of_object(kind::string, strings_.back().get());
    }

    // A role's word; nothing for roles that are not usual.
    const value* find_role(std::string_view role) const
    {
        for (const word each : {word::user, word::assistant, word::system, word::tool})
            if ((*this)[each].text() == role) return &(*this)[each];
        return nullptr;
    }

private:
    std::vector<std::unique_ptr<string_object>> strings_;
    values values_;
};

// Builds values of the conversation, which outlives them.
class builder {
public:
    builder(heap& in, const word_list& words, bool in_parts = false)
        : heap_{in}
        , words_{words}
        , in_parts_{in_parts}
    {}

    value json(std::string_view text, const std::string& what)
    {
        check_utf8(text, what);
        return from_json(heap_, text, what, errc::invalid_argument);
    }

    value messages(const chat& conversation)
    {
        auto all = heap_.room<values>(conversation.messages().size());
        for (const message& each : conversation.messages()) {
            n_messages_ = all.size() + 1;
            all.push_back(one_message(each));
        }
        return heap_.list(std::move(all));
    }

    // As the reference does: an assistant's thoughts under the names that templates look for.
    value with_reasoning(const value& message)
    {
        for (const word name : {word::reasoning_content, word::thinking, word::reasoning}) {
            const value* const thoughts = message.dict().find(words_[name].text());
            if (thoughts == nullptr || thoughts->is(kind::none)) continue;
            const pointer<dict_object> made = heap_.dict(message.depth());
            made->set(words_[word::thinking], *thoughts);
            for (const auto& [key, to] : message.dict().items())
                made->set(key, to);
            made->set(words_[word::reasoning_content], *thoughts);
            return value::of_object(kind::dict, made.get());
        }
        return message;
    }

private:
    using item_list = dict_object::item_list;

    value string(const std::string& text)
    {
        if (find_bad_utf8(text) != std::string_view::npos)
            check_utf8(text, "message " + std::to_string(n_messages_));
        return heap_.kept_string(text);
    }

    value content(const std::vector<content_part>& parts)
    {
        if (in_parts_) return list_of(parts);
        if (parts.size() == 1)
            if (const auto* const text = std::get_if<std::string>(&parts.front()))
                return string(*text);
        const bool plain = std::all_of(parts.begin(), parts.end(), [](const content_part& part) {
            return std::holds_alternative<std::string>(part);
        });
        if (plain) {
            std::string text;
            for (const content_part& part : parts)
                text += string(std::get<std::string>(part)).text();
            return heap_.string(std::move(text));
        }
        return list_of(parts);
    }

    value list_of(const std::vector<content_part>& parts)
    {
        auto all = heap_.room<values>(parts.size());
        for (const content_part& part : parts) {
            auto items = heap_.room<item_list>(2);
            if (const auto* const text = std::get_if<std::string>(&part)) {
                items.emplace_back(words_[word::type], words_[word::text]);
                items.emplace_back(words_[word::text], string(*text));
            } else {
                items.emplace_back(words_[word::type], words_[word::image]);
            }
            all.push_back(heap_.dict_of(std::move(items)));
        }
        return heap_.list(std::move(all));
    }

    // Arguments as an object where they are one, since templates walk through them; else as the
    // text they are.
    value arguments(const std::string& text)
    {
        value plain = string(text);
        try {
            value made = from_json(heap_, text, "arguments", errc::invalid_argument);
            if (made.is(kind::dict)) return made;
        } catch (const error&) {
            return plain;
        }
        return plain;
    }

    value calls(const std::vector<tool_call>& all)
    {
        auto made = heap_.room<values>(all.size());
        for (const tool_call& each : all) {
            auto function = heap_.room<item_list>(2);
            function.emplace_back(words_[word::name], string(each.name));
            function.emplace_back(words_[word::arguments], arguments(each.arguments));
            auto items = heap_.room<item_list>(3);
            if (!each.id.empty()) items.emplace_back(words_[word::id], string(each.id));
            items.emplace_back(words_[word::type], words_[word::function]);
            items.emplace_back(words_[word::function], heap_.dict_of(std::move(function)));
            made.push_back(heap_.dict_of(std::move(items)));
        }
        return heap_.list(std::move(made));
    }

    value one_message(const message& from)
    {
        auto items = heap_.room<item_list>(from.reasoning.empty() ? 4 : 7);
        const value* const role = words_.find_role(from.role);
        // The names and their order are those that the reference gives a message with thoughts.
        if (!from.reasoning.empty())
            items.emplace_back(words_[word::thinking], string(from.reasoning));
        items.emplace_back(words_[word::role], role != nullptr ? *role : string(from.role));
        items.emplace_back(words_[word::content], content(from.content));
        if (!from.reasoning.empty())
            items.emplace_back(words_[word::reasoning_content], items.front().second);
        if (!from.tool_calls.empty())
            items.emplace_back(words_[word::tool_calls], calls(from.tool_calls));
        if (!from.tool_call_id.empty())
            items.emplace_back(words_[word::tool_call_id], string(from.tool_call_id));
        if (!from.name.empty()) items.emplace_back(words_[word::name], string(from.name));
        return heap_.dict_of(std::move(items));
    }

    heap& heap_;
    const word_list& words_;
    bool in_parts_;
    std::size_t n_messages_{0};
};

// The variables of a rendering, by name; of the same name the last one counts.
using variable_list = std::vector<std::pair<std::string_view, value>>;

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
        parsed_template::variables defaults;  // of parsed->names()
    };

    impl(std::string file, const token_map& tokens)
        : file_{std::move(file)}
    {
        for (const auto& [name, text] : tokens)
            defaults_.emplace(name, words_.own(text));
        defaults_["add_generation_prompt"] = value::of(true);
        defaults_["documents"] = value::none();
    }
    impl(const impl&) = delete;
    impl& operator=(const impl&) = delete;
    impl(impl&&) = delete;
    impl& operator=(impl&&) = delete;
    ~impl() = default;

    const word_list& words() const noexcept { return words_; }

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
            parsed_template::variables defaults = parsed->globals();
            for (std::size_t i = 0; i < defaults.size(); ++i) {
                const auto found = defaults_.find(parsed->names()[i]);
                if (found != defaults_.end()) defaults[i] = found->second;
            }
            templates_.push_back(
                {std::move(name), std::move(source), std::move(parsed), std::move(defaults)});
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
        const variable_list& variables,
        const template_limits& limits,
        std::optional<wall_time> now) const
    {
        bool with_tools = false;
        for (const auto& [name, to] : variables)
            if (name == "tools") with_tools = !to.is(kind::none);
        const named& chosen = choose(with_tools);
        const std::vector<std::string>& names = chosen.parsed->names();
        std::vector<const value*> given;
        given.reserve(names.size());
        for (const std::optional<value>& each : chosen.defaults)
            given.push_back(each ? &*each : nullptr);
        for (const auto& [name, to] : variables) {
            const auto found = std::find(names.begin(), names.end(), name);
            if (found != names.end()) given[static_cast<std::size_t>(found - names.begin())] = &to;
        }
        std::size_t line = 0;
        try {
            std::string made = chosen.parsed->render(in, std::move(given), now, line);
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
    word_list words_;
    std::map<std::string, value> defaults_;  // of variables that a conversation need not set
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
        const auto made = std::make_shared<impl>(shown(alone), tokens);
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
        const auto made = std::make_shared<impl>(shown(file), tokens);
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
    const auto made = std::make_shared<impl>(name, tokens);
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

chat_template chat_template::in_parts() const
{
    chat_template made{*this};
    made.in_parts_ = true;
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
    builder make{in, self_->words(), in_parts_};
    variable_list variables;
    variables.reserve(2 + conversation.variables().size());
    self_->within_limits([&] {
        for (const auto& [name, json] : conversation.variables())
            variables.emplace_back(
                name, make.json(json, "the variable " + support::in_quotes(name)));
        variables.emplace_back("messages", make.messages(conversation));
        variables.emplace_back(
            "tools",
            conversation.tools().empty() ? value::none()
                                         : make.json(conversation.tools(), "the tools"));
    });
    return self_->render(in, variables, limits_, now_);
}

std::string chat_template::render(const chat_json& conversation) const
{
    heap in{limits_.max_value_bytes(), limits_.max_steps()};
    builder make{in, self_->words()};
    variable_list variables;
    variables.reserve(2 + conversation.variables.size());
    self_->within_limits([&] {
        for (const auto& [name, json] : conversation.variables)
            variables.emplace_back(
                name, make.json(json, "the variable " + support::in_quotes(name)));
        const value messages = make.json(conversation.messages, "the messages");
        if (!messages.is(kind::list))
            throw error{errc::invalid_argument, "the messages: expected an array"};
        auto all = in.room<values>(messages.list().items().size());
        for (const value& each : messages.list().items()) {
            if (!each.is(kind::dict))
                throw error{
                    errc::invalid_argument,
                    "the messages: expected objects, found a " + std::string{type_name(each)}};
            all.push_back(make.with_reasoning(each));
        }
        variables.emplace_back("messages", in.list(std::move(all)));
        value tools = value::none();
        if (!conversation.tools.empty()) {
            tools = make.json(conversation.tools, "the tools");
            if (!tools.is(kind::list) && !tools.is(kind::none))
                throw error{errc::invalid_argument, "the tools: expected an array"};
        }
        variables.emplace_back("tools", std::move(tools));
    });
    return self_->render(in, variables, limits_, now_);
}

const std::string& chat_template::source() const noexcept
{
    return self_->choose(false).source;
}

}  // namespace modelpool::text
