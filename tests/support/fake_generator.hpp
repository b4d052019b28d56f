#pragma once

#include <modelpool/capability/generation.hpp>
#include <modelpool/error.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace modelpool::testing {

inline std::uint64_t mixed(std::uint64_t hash, std::uint64_t value)
{
    std::uint64_t x = (hash ^ value) * 0xff51afd7ed558ccdU + 0x9e3779b97f4a7c15U;
    x ^= x >> 29U;
    x *= 0xc4ceb9fe1a85ec53U;
    return x ^ (x >> 32U);
}

/// A generator whose logits are a hash of everything the KV cache holds for a sequence, read
/// through its blocks: a wrong block, a stale value or a wrong position gives other tokens.
class fake_generator final : public generator {
public:
    explicit fake_generator(std::size_t context_length = 512, std::size_t vocab_size = 61)
    {
        info_.context_length = context_length;
        info_.vocab_size = vocab_size;
    }

    const generator_info& info() const noexcept override { return info_; }
    generator_info& info() noexcept { return info_; }

    prepared_prompt prepare(const generation_request& request) const override
    {
        prepared_prompt prompt;
        if (const auto* ids = std::get_if<std::vector<std::int32_t>>(&request.input))
            prompt.tokens = *ids;
        else
            throw error{errc::unsupported, "the fake takes token ids alone"};
        return prompt;
    }

    std::size_t kv_bytes(std::size_t n_tokens, kv_dtype) const noexcept override
    {
        return n_tokens;
    }

    void allocate_kv(std::size_t n_blocks, std::size_t block_tokens, kv_dtype) override
    {
        block_tokens_ = block_tokens;
        cache_.assign(n_blocks * block_tokens, poison);
    }

    void copy_kv_block(std::uint32_t from, std::uint32_t to) override
    {
        if (fail_next_copy) {
            fail_next_copy = false;
            throw error{model_errc::failed, "the fake fails to copy, as told"};
        }
        ++n_copies;
        REQUIRE(from != to);
        for (std::size_t i = 0; i < block_tokens_; ++i)
            slot(to, i) = slot(from, i);
    }

    void step(std::span<const step_row> rows, std::span<float> logits, run_context&) override
    {
        ++n_steps;
        n_rows += rows.size();
        check(rows);
        if (fail_next) {
            fail_next = false;
            for (const step_row& row : rows)
                slot_of(row) = poison;
            throw error{model_errc::failed, "the fake fails as told"};
        }
        for (const step_row& row : rows)
            slot_of(row) = content(row);
        std::size_t n = 0;
        for (const step_row& row : rows)
            if (row.wants_logits)
                write_logits(
                    context_hash(row), logits.subspan(info_.vocab_size * n++, info_.vocab_size));
        REQUIRE(n * info_.vocab_size == logits.size());
        n_logits += n;
    }

    std::string piece(std::span<const std::int32_t> ids) const override
    {
        std::string text;
        for (const std::int32_t id : ids)
            text += piece_of ? piece_of(id) : "<" + std::to_string(id) + ">";
        return text;
    }

    std::vector<std::int32_t> tokenize(std::string_view text) const override
    {
        std::vector<std::int32_t> ids;
        for (const char c : text)
            ids.push_back(static_cast<unsigned char>(c) % static_cast<int>(info_.vocab_size));
        return ids;
    }

    std::function<std::string(std::int32_t)> piece_of;
    /// Changes the logits that follow a context.
    std::function<void(std::uint64_t hash, std::span<float>)> adjust;
    std::vector<step_row> last_rows;
    bool fail_next{false};
    bool fail_next_copy{false};
    std::size_t n_steps{0};
    std::size_t n_rows{0};
    std::size_t n_logits{0};
    std::size_t n_copies{0};

    /// What follows a context: the reference that no cache and no scheduler takes part in.
    std::vector<float> logits_after(std::span<const std::int32_t> tokens) const
    {
        std::uint64_t hash = start;
        for (std::size_t i = 0; i < tokens.size(); ++i)
            hash = mixed(hash, token_content(tokens[i], i));
        std::vector<float> logits(info_.vocab_size);
        write_logits(hash, logits);
        return logits;
    }

    /// The greedy answer to a prompt.
    std::vector<std::int32_t> greedy(std::vector<std::int32_t> tokens, std::size_t n) const
    {
        std::vector<std::int32_t> answer;
        while (answer.size() < n) {
            const auto logits = logits_after(tokens);
            const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
            answer.push_back(static_cast<std::int32_t>(best));
            tokens.push_back(answer.back());
            const auto& ends = info_.end_tokens;
            if (std::find(ends.begin(), ends.end(), answer.back()) != ends.end()) break;
        }
        return answer;
    }

private:
    static constexpr std::uint64_t poison = 0xdeadbeefdeadbeefU;
    static constexpr std::uint64_t start = 0x5eedU;

    static std::uint64_t token_content(std::int32_t token, std::size_t position)
    {
        return mixed(static_cast<std::uint32_t>(token), position + 1);
    }

    static std::uint64_t content(const step_row& row)
    {
        std::uint64_t value = token_content(row.token, row.position);
        if (row.prompt)
            for (const image_span& image : row.prompt->images)
                if (row.position >= image.begin && row.position < image.begin + image.n_positions)
                    value = mixed(mixed(value, image.image_id), row.position - image.begin);
        return value;
    }

    std::uint64_t& slot(std::uint32_t block, std::size_t offset)
    {
        return cache_.at(block * block_tokens_ + offset);
    }
    std::uint64_t& slot_of(const step_row& row)
    {
        return slot(row.blocks[row.position / block_tokens_], row.position % block_tokens_);
    }

    std::uint64_t context_hash(const step_row& row)
    {
        std::uint64_t hash = start;
        for (std::size_t i = 0; i <= row.position; ++i) {
            const std::uint64_t value = slot(row.blocks[i / block_tokens_], i % block_tokens_);
            REQUIRE(value != poison);
            hash = mixed(hash, value);
        }
        return hash;
    }

    void write_logits(std::uint64_t hash, std::span<float> logits) const
    {
        for (std::size_t i = 0; i < logits.size(); ++i)
            logits[i] = static_cast<float>(mixed(hash, i) >> 40U) * 0x1.0p-21F;  // [0, 8)
        if (adjust) adjust(hash, logits);
    }

    /// What any model may rely on.
    void check(std::span<const step_row> rows)
    {
        REQUIRE_FALSE(rows.empty());
        std::set<std::pair<std::uint32_t, std::size_t>> written;
        std::set<std::uint64_t> seen;
        last_rows.assign(rows.begin(), rows.end());
        for (std::size_t i = 0; i < rows.size(); ++i) {
            const step_row& row = rows[i];
            const std::size_t index = row.position / block_tokens_;
            REQUIRE(index < row.blocks.size());
            REQUIRE(written.emplace(row.blocks[index], row.position % block_tokens_).second);
            const bool goes_on = i > 0 && rows[i - 1].sequence == row.sequence;
            if (goes_on)
                REQUIRE(rows[i - 1].position + 1 == row.position);
            else
                REQUIRE(seen.insert(row.sequence).second);
        }
    }

    generator_info info_;
    std::size_t block_tokens_{1};
    std::vector<std::uint64_t> cache_;
};

}  // namespace modelpool::testing
