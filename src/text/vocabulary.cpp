#include "text/vocabulary.hpp"

#include <modelpool/assert.hpp>

#include <algorithm>
#include <cstring>
#include <limits>

namespace modelpool::text {
namespace {

constexpr std::uint32_t no_entry = 0xFFFFFFFF;

}  // namespace

std::uint32_t vocabulary::hash_of(std::string_view token) noexcept
{
    constexpr std::uint64_t factor = 0x9E3779B97F4A7C15;  // 2^64 / golden ratio
    std::uint64_t hash = token.size() * factor;
    const char* at = token.data();
    std::size_t left = token.size();
    while (left >= 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, at, 8);
        hash = (hash ^ word) * factor;
        hash ^= hash >> 32U;
        at += 8;
        left -= 8;
    }
    if (left > 0) {
        std::uint64_t word = 0;
        std::memcpy(&word, at, left);
        hash = (hash ^ word) * factor;
    }
    return static_cast<std::uint32_t>(hash >> 32U);
}

std::size_t vocabulary::find_slot(std::string_view token, std::uint32_t hash) const noexcept
{
    const std::size_t mask = table_.size() - 1;
    std::size_t at = hash & mask;
    while (table_[at].index_plus_1 != 0) {
        if (table_[at].hash == hash && token_at(table_[at].index_plus_1 - 1) == token) break;
        at = (at + 1) & mask;
    }
    return at;
}

std::optional<std::size_t> vocabulary::index_of(std::string_view token) const noexcept
{
    if (table_.empty()) return std::nullopt;
    const slot& found = table_[find_slot(token, hash_of(token))];
    if (found.index_plus_1 == 0) return std::nullopt;
    return found.index_plus_1 - 1;
}

std::optional<token_id> vocabulary::id_of(std::string_view token) const noexcept
{
    const std::optional<std::size_t> index = index_of(token);
    return index ? std::optional{entries_[*index].id} : std::nullopt;
}

std::optional<std::string_view> vocabulary::token_of(token_id id) const noexcept
{
    if (id < 0 || static_cast<std::size_t>(id) >= end_id_) return std::nullopt;
    if (!entry_of_id_.empty()) {
        const std::uint32_t index = entry_of_id_[static_cast<std::size_t>(id)];
        return index == no_entry ? std::nullopt : std::optional{token_at(index)};
    }
    const auto found =
        std::lower_bound(sparse_ids_.begin(), sparse_ids_.end(), std::pair{id, std::uint32_t{0}});
    if (found == sparse_ids_.end() || found->first != id) return std::nullopt;
    return token_at(found->second);
}

void vocabulary::grow_table(std::size_t n_slots)
{
    std::vector<slot> old(n_slots, slot{0, 0});
    old.swap(table_);
    for (const slot& moved : old) {
        if (moved.index_plus_1 == 0) continue;
        std::size_t at = moved.hash & (n_slots - 1);
        while (table_[at].index_plus_1 != 0)
            at = (at + 1) & (n_slots - 1);
        table_[at] = moved;
    }
}

void vocabulary::index_ids()
{
    for (const entry& each : entries_)
        end_id_ = std::max(end_id_, static_cast<std::size_t>(each.id) + 1);
    // A file may name any id: memory follows the number of tokens, not the largest id.
    constexpr std::size_t slack = 1024;
    if (end_id_ <= 4 * entries_.size() + slack) {
        entry_of_id_.assign(end_id_, no_entry);
        for (std::size_t i = 0; i < entries_.size(); ++i)
            entry_of_id_[static_cast<std::size_t>(entries_[i].id)] = static_cast<std::uint32_t>(i);
        return;
    }
    for (std::size_t i = 0; i < entries_.size(); ++i)
        sparse_ids_.emplace_back(entries_[i].id, static_cast<std::uint32_t>(i));
    std::sort(sparse_ids_.begin(), sparse_ids_.end());
}

void vocabulary::builder::set(std::string_view token, token_id id)
{
    MODELPOOL_ASSERT(id >= 0);
    MODELPOOL_ASSERT(
        made_.pool_.size() + token.size() <= std::numeric_limits<std::uint32_t>::max());
    if (2 * (made_.entries_.size() + 1) > made_.table_.size())
        made_.grow_table(std::max<std::size_t>(16, made_.table_.size() * 2));
    const std::uint32_t hash = hash_of(token);
    slot& place = made_.table_[made_.find_slot(token, hash)];
    if (place.index_plus_1 != 0) {
        made_.entries_[place.index_plus_1 - 1].id = id;
        return;
    }
    made_.entries_.push_back(
        {static_cast<std::uint32_t>(made_.pool_.size()),
         static_cast<std::uint32_t>(token.size()),
         id});
    made_.pool_.append(token);
    place = {hash, static_cast<std::uint32_t>(made_.entries_.size())};
}

void vocabulary::builder::reserve(std::size_t n_tokens)
{
    made_.entries_.reserve(n_tokens);
    std::size_t n_slots = 16;
    while (n_slots < 2 * n_tokens)
        n_slots *= 2;
    if (n_slots > made_.table_.size()) made_.grow_table(n_slots);
}

vocabulary vocabulary::builder::finish()
{
    made_.index_ids();
    return std::move(made_);
}

}  // namespace modelpool::text
