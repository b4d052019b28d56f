#pragma once

#include <modelpool/text/tokenizer.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace modelpool::text {

/// The step that completes a text's own tokens: narrows their offsets and puts special tokens
/// around them, or around two texts. All post-processors of the reference come down to this:
/// narrowing leaves special tokens alone, so its place among the steps does not matter, and only
/// one step may add tokens.
class post_processor {
public:
    /// What a part of the result is: a special token, or all tokens of a text.
    enum class part_kind : std::uint8_t { special, first_text, second_text };
    struct part {
        part_kind kind{part_kind::first_text};
        token_id id{0};
        std::string token;
        std::uint32_t type_id{0};
    };

    /// Does nothing.
    post_processor() = default;

    /// Narrows offsets to leave out the white space at both ends of a token. With
    /// `add_prefix_space`, one leading space of the first token is taken for one that was put
    /// there, and stays.
    void add_trimming(bool add_prefix_space) { trimmings_.push_back({add_prefix_space}); }

    bool has_template() const noexcept { return has_template_; }
    void set_template(std::vector<part> parts);
    /// The same for two texts.
    void set_pair_template(std::vector<part> parts);
    /// The same around each text: of two, both have special tokens of their own.
    /// `second_type_id` is the number of the second one, its special tokens included.
    void set_template_of_each(std::vector<part> parts, std::uint32_t second_type_id);

    /// The templates of BERT, "[CLS] A [SEP]" and "[CLS] A [SEP] B [SEP]"; those of RoBERTa have
    /// two separators between the texts, and do not number them.
    void set_ends(const part& first, const part& last, bool is_roberta);

    /// How many special tokens are added to a text, and to a pair.
    std::size_t n_added() const noexcept { return n_added_; }
    std::size_t n_added_to_pair() const noexcept { return n_added_to_pair_; }

    void apply(encoding& of, const encode_options& options) const;
    /// Errors: text_errc::unsupported where there is a template for one text alone.
    encoding join(encoding first, encoding second, const encode_options& options) const;

private:
    struct trimming {
        bool add_prefix_space;
    };

    void narrow(encoding& of, const encode_options& options) const;

    std::vector<trimming> trimmings_;
    std::vector<part> parts_;
    std::vector<part> pair_parts_;
    std::size_t n_added_{0};
    std::size_t n_added_to_pair_{0};
    bool has_template_{false};
    bool has_pair_template_{false};
};

}  // namespace modelpool::text
