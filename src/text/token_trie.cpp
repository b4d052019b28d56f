#include "text/token_trie.hpp"

#include <algorithm>

namespace modelpool::text {

token_trie::token_trie(std::vector<std::pair<std::string_view, std::int32_t>> tokens)
{
    std::ranges::sort(tokens);
    std::vector<std::uint32_t> path;
    const auto leave = [&](std::size_t depth) {
        for (; path.size() > depth; path.pop_back())
            nodes_[path.back()].end = static_cast<std::uint32_t>(nodes_.size());
    };
    std::string_view before;
    for (const auto& [bytes, id] : tokens) {
        if (bytes == before && !path.empty()) {
            same_.emplace_back(nodes_[path.back()].token, id);
            continue;
        }
        const auto common = std::ranges::mismatch(bytes, before).in1 - bytes.begin();
        leave(static_cast<std::size_t>(common));
        for (std::size_t i = path.size(); i < bytes.size(); ++i) {
            node made;
            made.byte = static_cast<std::uint8_t>(bytes[i]);
            made.depth = static_cast<std::uint16_t>(i + 1);
            path.push_back(static_cast<std::uint32_t>(nodes_.size()));
            nodes_.push_back(made);
        }
        nodes_[path.back()].token = id;
        height_ = std::max(height_, bytes.size());
        before = bytes;
    }
    leave(0);
    std::ranges::sort(same_);
}

}  // namespace modelpool::text
