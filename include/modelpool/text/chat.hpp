#pragma once

#include <modelpool/image/image.hpp>

#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace modelpool {

/// A call of a tool that a model asks for.
struct tool_call {
    std::string id;  ///< empty where the model gives none
    std::string name;
    std::string arguments;  ///< JSON, as the model wrote it
};

/// A piece of a message: text, or an image between the text.
using content_part = std::variant<std::string, image_source>;

/// One message of a conversation.
struct message {
    std::string role;  ///< "system", "user", "assistant" or "tool"
    std::vector<content_part> content;
    /// Images stand where they are among the text, also where the model's template writes those of
    /// a message first.
    bool images_in_place{false};
    std::string reasoning;              ///< an assistant's, kept apart from its answer
    std::vector<tool_call> tool_calls;  ///< an assistant's
    std::string tool_call_id;           ///< of a "tool" message: the call it answers
    std::string name;                   ///< of a "tool" message: the tool
};

/// A conversation, with what its template may use besides. A value, built by chaining:
/// `chat{}.system("Be brief.").user("Name three lakes.")`.
class chat {
public:
    chat& add(message value)
    {
        messages_.push_back(std::move(value));
        return *this;
    }
    chat& system(std::string text) { return say("system", std::move(text)); }
    chat& user(std::string text) { return say("user", std::move(text)); }
    chat& assistant(std::string text) { return say("assistant", std::move(text)); }

    /// Tools the model may call: a JSON array of function descriptions.
    chat& tools(std::string json)
    {
        tools_ = std::move(json);
        return *this;
    }
    /// A variable of the template, as JSON text.
    chat& set(std::string name, std::string json)
    {
        variables_[std::move(name)] = std::move(json);
        return *this;
    }

    const std::vector<message>& messages() const noexcept { return messages_; }
    const std::string& tools() const noexcept { return tools_; }
    const std::map<std::string, std::string>& variables() const noexcept { return variables_; }

private:
    chat& say(const char* role, std::string text)
    {
        message one;
        one.role = role;
        one.content.emplace_back(std::move(text));
        return add(std::move(one));
    }

    std::vector<message> messages_;
    std::string tools_;
    std::map<std::string, std::string> variables_;
};

}  // namespace modelpool
