#pragma once

#include <modelpool/capability/generation.hpp>
#include <modelpool/sched/block_allocator.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace modelpool::sched {

/// Names a sequence of one scheduler; never issued twice.
enum class sequence_id : std::uint64_t {};

/// What a scheduler needs to know of a generation.
struct sequence_input {
    std::shared_ptr<const prepared_prompt> prompt;
    /// Tokens that follow the prompt, known beforehand. They count as generated, and want logits
    /// each.
    std::vector<std::int32_t> forced;
    std::size_t max_tokens{0};  ///< generated at most; 0: as many as fit
    bool prompt_logits{
        false};       ///< every position of the prompt wants logits, not its last one alone
    int priority{0};  ///< the greater goes first
};

/// Where a sequence stands.
enum class sequence_place {
    waiting,  ///< to be admitted; it may hold blocks of an earlier stay
    live,     ///< takes part in steps
    held,     ///< its reader is behind: it makes no steps
};

/// A sequence as the scheduler keeps it: `tokens` is the prompt with all that follows as far as
/// known; the KV cache holds positions [0, n_computed), in `blocks`.
struct sequence {
    sequence_id id{0};
    std::uint64_t arrival{0};
    std::int64_t turn{0};  ///< when its turn is, in steps: the smaller, the sooner
    int priority{0};
    std::shared_ptr<const prepared_prompt> prompt;
    std::vector<std::int32_t> tokens;
    std::size_t n_prompt{0};
    std::size_t max_tokens{0};
    std::size_t logits_from{0};  ///< the first position whose logits are still to be seen
    std::size_t n_computed{0};
    std::size_t n_cached{
        0};  ///< positions of the prompt found in the cache when it first took part
    std::vector<block_allocator::block> blocks;
    std::vector<prefix_id> prefixes;  ///< of the leading blocks that are full
    sequence_place place{sequence_place::waiting};
    unsigned n_passed{0};  ///< steps in a row that had no room for its prompt
    bool started{false};   ///< took part in a step
    bool planned{false};   ///< takes part in the present step
    bool doomed{false};    ///< removed during the present step

    /// Positions that must be computed, as far as the tokens are known. The last token generated is
    /// never fed back.
    std::size_t n_needed() const noexcept
    {
        return std::min(tokens.size(), n_prompt + max_tokens - 1);
    }
    std::size_t n_pending() const noexcept { return n_needed() - n_computed; }
    std::size_t n_generated() const noexcept { return tokens.size() - n_prompt; }
};

/// A priority is worth so many steps of waiting: who has waited longer by that goes before those of
/// the next priority. Some seconds, with steps as they usually are.
constexpr std::int64_t steps_a_priority = 64;

/// Higher priorities first, in the order of arrival within one; both age alike, so that the order
/// of two sequences never changes.
struct sequence_order {
    bool operator()(const sequence* a, const sequence* b) const noexcept
    {
        return a->turn != b->turn ? a->turn < b->turn : a->arrival < b->arrival;
    }
};

/// The parts of images within [begin, end), into `out`.
inline void image_parts(
    const std::vector<image_span>& images,
    std::size_t begin,
    std::size_t end,
    std::vector<image_part>& out)
{
    out.clear();
    auto next = std::partition_point(images.begin(), images.end(), [&](const image_span& one) {
        return one.begin + one.n_positions <= begin;
    });
    for (; next != images.end() && next->begin < end; ++next) {
        const std::size_t first = std::max(begin, next->begin);
        const std::size_t last = std::min(end, next->begin + next->n_positions);
        out.push_back(
            {static_cast<std::uint32_t>(first - begin),
             static_cast<std::uint32_t>(last - first),
             static_cast<std::uint32_t>(first - next->begin),
             next->image_id});
    }
}

/// A sequence's part in a step.
struct planned_sequence {
    sequence_id id{0};
    sequence* which{nullptr};  ///< until the step ends
    std::size_t first_row{0};
    std::size_t n_rows{0};
    std::size_t first_logits{0};  ///< among the rows that want logits
    std::size_t n_logits{0};
    /// The position of its first row that wants logits.
    std::size_t logits_position{0};
    bool first_time{false};
};

/// A block to be copied before a step, for a sequence that will write to the copy.
struct block_copy {
    block_allocator::block from{0};
    block_allocator::block to{0};
    sequence* which{nullptr};
};

/// One step: first the copies, in order, then one forward over the rows. Valid until the next
/// change of the scheduler.
struct step_plan {
    std::vector<block_copy> copies;
    std::vector<step_row> rows;
    std::vector<planned_sequence> sequences;
    std::size_t n_logits{0};

    void clear() noexcept
    {
        copies.clear();
        rows.clear();
        sequences.clear();
        n_logits = 0;
    }
};

}  // namespace modelpool::sched
