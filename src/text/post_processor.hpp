#pragma once

#include <modelpool/text/tokenizer.hpp>

#include <cstddef>
#include <string>
#include <vector>

namespace modelpool::text {

/// The step that completes a text's own tokens: narrows their offsets and puts special tokens
/// around them. All post-processors of the reference come down to this: narrowing leaves special
/// tokens alone, so its place among the steps does not matter, and only one step may add tokens.
class post_processor {
public:
    /// A special token, or all tokens of the text.
    struct part {
        bool is_text;
        token_id id;
        std::string token;
    };

    /// Does nothing.
    post_processor() = default;

    /// Narrows offsets to leave out the white space at both ends of a token. With
    /// `add_prefix_space`, one leading space of the first token is taken for one that was put
    /// there, and stays.
    void add_trimming(bool add_prefix_space) { trimmings_.push_back({add_prefix_space}); }

    bool has_template() const noexcept { return has_template_; }
    void set_template(std::vector<part> parts);

    /// How many special tokens are added to a text.
    std::size_t n_added() const noexcept { return n_added_; }

    void apply(encoding& of, const encode_options& options) const;

private:
    struct trimming {
        bool add_prefix_space;
    };

    void add_parts(encoding& of, const encode_options& options) const;

    std::vector<trimming> trimmings_;
    std::vector<part> parts_;
    std::size_t n_added_{0};
    bool has_template_{false};
};

}  // namespace modelpool::text
