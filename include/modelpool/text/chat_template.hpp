#pragma once

#include <modelpool/text/chat.hpp>

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace modelpool::text {

/// What a template may use up while it renders. A template comes with a checkpoint: it is not
/// trusted.
class template_limits {
public:
    /// The steps it takes: rounds of loops, calls, filters.
    template_limits& max_steps(std::size_t value)
    {
        max_steps_ = value;
        return *this;
    }
    std::size_t max_steps() const noexcept { return max_steps_; }

    /// The bytes of all values it ever makes, the conversation's own among them.
    template_limits& max_value_bytes(std::size_t value)
    {
        max_value_bytes_ = value;
        return *this;
    }
    std::size_t max_value_bytes() const noexcept { return max_value_bytes_; }

    /// The bytes of the text it makes.
    template_limits& max_output_bytes(std::size_t value)
    {
        max_output_bytes_ = value;
        return *this;
    }
    std::size_t max_output_bytes() const noexcept { return max_output_bytes_; }

private:
    std::size_t max_steps_{20'000'000};
    std::size_t max_value_bytes_{std::size_t{1} << 30U};
    std::size_t max_output_bytes_{std::size_t{64} << 20U};
};

/// A conversation as JSON texts, with whatever fields a template may look for.
struct chat_json {
    std::string messages;                          ///< an array of objects
    std::string tools;                             ///< an array; empty: none
    std::map<std::string, std::string> variables;  ///< of the template, each as JSON
};

/// How a model wants a conversation written: a Jinja template, rendered exactly as the reference
/// implementation (apply_chat_template of transformers) does. Immutable and thread-safe; a cheap
/// value (copies share the template).
class chat_template {
public:
    /// Reads the template of a checkpoint's folder: chat_template.jinja, else chat_template.json,
    /// else the one in tokenizer_config.json; there may be several by name, of which "tool_use"
    /// serves conversations with tools and "default" the others. The special tokens of the
    /// tokenizer become its variables (bos_token, eos_token, …). A checkpoint without a template
    /// gets the one of its family, by "model_type" in config.json. Blocks on the files.
    /// Errors: text_errc::bad_file (no template, malformed, with the line); text_errc::unsupported
    /// (a feature by its name, with the line).
    static chat_template blocking_load(const std::filesystem::path& folder);

    /// A template in memory; `tokens` are its variables, and `name` goes into error messages.
    /// Errors: text_errc::bad_file (malformed, with the line); text_errc::unsupported (a feature by
    /// its name, with the line).
    static chat_template from_source(
        std::string_view source,
        std::map<std::string, std::string> tokens,
        const std::string& name);

    /// The template that checkpoints of a family use which come without one; nothing for families
    /// it does not know. `family` is "model_type" of config.json, or "general.architecture" of a
    /// GGUF file.
    static std::optional<chat_template>
    of_family(std::string_view family, std::map<std::string, std::string> tokens);

    /// The same template within other limits.
    chat_template with_limits(const template_limits& value) const;

    /// The same template, for which a message's content is always a list of parts, as templates of
    /// vision models expect it. Otherwise it is a text where there are no images.
    chat_template in_parts() const;

    /// The text of a conversation for the model, up to where its answer begins: the variable
    /// `add_generation_prompt` is true unless the conversation sets it.
    /// Errors: errc::invalid_argument where the template refuses the conversation (with its own
    /// words, where it has any) or does not fit it, or where a text is not JSON;
    /// text_errc::unsupported for what the interpreter does not do or allow, limits included;
    /// text_errc::not_utf8.
    std::string render(const chat& conversation) const;
    /// The same for messages with fields of any kind.
    std::string render(const chat_json& conversation) const;

    /// `strftime_now` in a template tells this time, instead of the present.
    chat_template at_time(std::chrono::system_clock::time_point value) const;

    /// The template's text; with several, that of the one for conversations without tools.
    const std::string& source() const noexcept;

private:
    class impl;
    explicit chat_template(std::shared_ptr<const impl> self);
    std::shared_ptr<const impl> self_;
    template_limits limits_;
    bool in_parts_{false};
    std::optional<std::chrono::system_clock::time_point> now_;
};

}  // namespace modelpool::text
