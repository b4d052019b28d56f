#pragma once

#include <modelpool/text/tokenizer.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace modelpool::text {

/// Tokens and their ids, both ways. Tokens lie in one block of memory, and looking one up allocates
/// nothing.
class vocabulary {
public:
    class builder;

    std::optional<token_id> id_of(std::string_view token) const noexcept;
    /// Where a token is, for `token_at` and `id_at`.
    std::optional<std::size_t> index_of(std::string_view token) const noexcept;
    /// The token of an id; nullopt where no token has it.
    std::optional<std::string_view> token_of(token_id id) const noexcept;

    /// How many different tokens there are.
    std::size_t size() const noexcept { return entries_.size(); }
    /// One more than the largest id.
    std::size_t end_id() const noexcept { return end_id_; }

    /// The token and the id at `index`, in no particular order.
    std::string_view token_at(std::size_t index) const noexcept
    {
        const entry& at = entries_[index];
        return std::string_view{pool_}.substr(at.begin, at.n_bytes);
    }
    token_id id_at(std::size_t index) const noexcept { return entries_[index].id; }

private:
    struct entry {
        std::uint32_t begin;
        std::uint32_t n_bytes;
        token_id id;
    };
    // A slot of the hash table: 0 in `index_plus_1` where it is free.
    struct slot {
        std::uint32_t hash;
        std::uint32_t index_plus_1;
    };

    static std::uint32_t hash_of(std::string_view token) noexcept;
    std::size_t find_slot(std::string_view token, std::uint32_t hash) const noexcept;
    void grow_table(std::size_t n_slots);
    void index_ids();

    std::string pool_;
    std::vector<entry> entries_;
    std::vector<slot> table_;  // its size is a power of two
    // Which entry an id has. Dense where ids are; else the ids in order.
    std::vector<std::uint32_t> entry_of_id_;
    std::vector<std::pair<token_id, std::uint32_t>> sparse_ids_;
    std::size_t end_id_{0};
};

class vocabulary::builder {
public:
    /// Adds a token, or gives one that is there another id. The bytes of all tokens must stay below
    /// 4 GiB.
    void set(std::string_view token, token_id id);
    /// Makes room for so many tokens in one go.
    void reserve(std::size_t n_tokens);
    vocabulary finish();

private:
    vocabulary made_;
};

}  // namespace modelpool::text
