#include "torch/packing.hpp"

#include <modelpool/assert.hpp>

#include <algorithm>

namespace modelpool::nn {

std::vector<packed_block> pack(
    std::span<const std::size_t> wanted, std::span<const std::size_t> lengths, std::size_t max_rows)
{
    std::vector<std::size_t> order{wanted.begin(), wanted.end()};
    std::ranges::stable_sort(order, {}, [lengths](std::size_t i) { return lengths[i]; });
    const auto limit = static_cast<std::int64_t>(max_rows);
    std::vector<packed_block> blocks;
    for (const std::size_t i : order) {
        const auto length = static_cast<std::int64_t>(lengths[i]);
        MODELPOOL_ASSERT(length > 0);
        if (blocks.empty() || blocks.back().n_rows + length > limit) blocks.emplace_back();
        packed_block& block = blocks.back();
        if (block.groups.empty() || block.groups.back().length != length)
            block.groups.push_back({block.n_rows, 0, length});
        ++block.groups.back().n_texts;
        block.texts.push_back(i);
        block.n_rows += length;
    }
    return blocks;
}

}  // namespace modelpool::nn
