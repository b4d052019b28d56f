#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/added_tokens.hpp"

namespace modelpool::text {

/// What the files beside a vocabulary say about it: tokenizer_config.json, and in older checkpoints
/// special_tokens_map.json and added_tokens.json.
class tokenizer_config {
public:
    /// Reads those of the files that `folder` has. Errors: text_errc::bad_file.
    static tokenizer_config blocking_read(const std::filesystem::path& folder);

    // One file each, in this order; `name` goes into messages. Errors: text_errc::bad_file.
    void read_config(std::string_view json, const std::string& name);
    void read_special_tokens(std::string_view json, const std::string& name);
    void read_added_tokens(std::string_view json, const std::string& name);

    /// The class of the reference implementation, without "Fast" at its end; empty where none is
    /// named.
    const std::string& tokenizer_class() const noexcept { return class_; }
    /// Whether tokens beside the vocabulary's own come with their ids.
    bool has_ids() const noexcept { return !with_id_.empty(); }
    const std::map<token_id, added_token>& with_id() const noexcept { return with_id_; }

    bool flag(std::string_view key, bool otherwise) const;
    std::optional<bool> flag(std::string_view key) const;
    std::int64_t number(std::string_view key, std::int64_t otherwise) const;

    /// A named token ("bos_token"); null where there is none.
    const added_token* named(std::string_view key) const;
    /// Gives a named token its content, where the files do not speak of it. One that they call null
    /// stays away.
    void set_default(std::string_view key, std::string_view content);

    /// All tokens to look for in text, with their ids: those that the vocabulary has keep theirs,
    /// those that come with an id have that, and the others are counted on from the end of both.
    std::vector<added_token> tokens_for(const model& vocab) const;
    /// Adds to `tokens`, those of a tokenizer.json, what the reference looks for besides when it
    /// finds these files beside it: named and listed tokens that `tokens` lacks. Those it has
    /// become special. Errors: text_errc::bad_file.
    void complete(std::vector<added_token>& tokens, const model& vocab) const;

private:
    std::string class_;
    std::map<std::string, bool, std::less<>> flags_;
    std::map<std::string, std::int64_t, std::less<>> numbers_;
    std::map<std::string, std::optional<added_token>, std::less<>> named_;
    std::vector<added_token> unnamed_;  // special ones without a name and an id
    std::map<token_id, added_token> with_id_;
};

}  // namespace modelpool::text
