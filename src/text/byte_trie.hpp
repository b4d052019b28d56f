#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace modelpool::text {

/// A set of byte strings with a number each, walked byte by byte: a double array, so that a step
/// costs one look into memory.
class byte_trie {
public:
    using entry = std::pair<std::string_view, std::int32_t>;
    static constexpr std::uint32_t root = 0;
    static constexpr std::uint32_t no_node = 0xFFFFFFFF;
    static constexpr std::int32_t no_value = -1;

    byte_trie() = default;
    /// The keys may come in any order and must differ; the values must not be negative.
    explicit byte_trie(std::vector<entry> entries);

    /// The node that `byte` leads to from `node`; no_node where no key goes on so.
    std::uint32_t child(std::uint32_t node, char byte) const noexcept
    {
        const std::size_t next = nodes_[node].first_child + static_cast<unsigned char>(byte);
        if (next >= nodes_.size() || nodes_[next].parent != node) return no_node;
        return static_cast<std::uint32_t>(next);
    }

    /// The number of the key that ends at `node`; no_value where none does.
    std::int32_t value(std::uint32_t node) const noexcept { return nodes_[node].value; }

    /// Follows all of `bytes` from `node`; no_node where no key goes on so.
    std::uint32_t walk(std::uint32_t node, std::string_view bytes) const noexcept
    {
        for (const char byte : bytes) {
            if (node == no_node) break;
            node = child(node, byte);
        }
        return node;
    }

private:
    class builder;
    // A node's children lie at first_child + byte. A slot that is not in use has no parent.
    struct slot {
        std::uint32_t first_child{0};
        std::uint32_t parent{no_node};
        std::int32_t value{no_value};
    };
    std::vector<slot> nodes_{1};
};

}  // namespace modelpool::text
