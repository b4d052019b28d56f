#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja_machine.hpp"
#include "text/jinja_nodes.hpp"

namespace modelpool::text::jinja {

/// A parsed template. Immutable; renderings on several threads share it.
class parsed_template {
public:
    /// Errors: `failure` with text_errc::bad_file, with the line in the sentence, for what is no
    /// template; text_errc::unsupported for tags that this interpreter does not do.
    explicit parsed_template(std::string_view source);
    parsed_template(const parsed_template&) = delete;
    parsed_template& operator=(const parsed_template&) = delete;
    parsed_template(parsed_template&&) = delete;
    parsed_template& operator=(parsed_template&&) = delete;
    ~parsed_template() = default;

    /// The variables that the template asks for without setting them itself, each with its value
    /// where it is one that every template has.
    using variables = std::vector<std::optional<value>>;
    const std::vector<std::string>& names() const noexcept { return names_; }
    const variables& globals() const noexcept { return globals_; }

    /// What the template prints, for values of `names()`, null where there is none. Errors:
    /// `failure`; `line` is then that of the statement it happened in.
    std::string render(
        heap& in,
        std::vector<const value*> given,
        std::optional<wall_time> now,
        std::size_t& line) const;

private:
    std::shared_ptr<const scope> root_;
    std::vector<std::string> names_;
    std::vector<std::unique_ptr<callable_object>> functions_;
    variables globals_;
    block body_;
};

}  // namespace modelpool::text::jinja
