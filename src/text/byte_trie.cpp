#include "text/byte_trie.hpp"

#include <algorithm>

namespace modelpool::text {

// Places the children of one node after another. Free slots form a ring, so that looking for room
// never scans what is taken.
class byte_trie::builder {
public:
    builder(std::vector<slot>& nodes, std::vector<entry> entries)
        : nodes_{nodes}
        , entries_{std::move(entries)}
    {
        std::sort(entries_.begin(), entries_.end());
        nodes_.assign(n_reserved, slot{});
        links_.assign(n_reserved, link{0, 0});
    }

    void run()
    {
        waiting_.push_back({root, 0, entries_.size(), 0});
        while (!waiting_.empty()) {
            const range next = waiting_.back();
            waiting_.pop_back();
            expand(next);
        }
    }

private:
    // The keys [begin, end) share their first `depth` bytes, which lead to `at`.
    struct range {
        std::uint32_t at;
        std::size_t begin;
        std::size_t end;
        std::size_t depth;
    };
    struct link {
        std::uint32_t previous;
        std::uint32_t next;
    };
    // How many places are tried before the children go to the end, where all is free. This bounds
    // the work per node; what stays free behind is filled by later nodes, most of which have one
    // child.
    static constexpr int max_tries = 24;
    // Slots below this are out of reach of the higher bytes, and would clog the ring.
    static constexpr std::size_t n_reserved = 256;

    void expand(range keys)
    {
        if (keys.begin < keys.end && entries_[keys.begin].first.size() == keys.depth) {
            nodes_[keys.at].value = entries_[keys.begin].second;
            ++keys.begin;
        }
        if (keys.begin == keys.end) return;
        children_.clear();
        for (std::size_t i = keys.begin; i < keys.end;) {
            const auto byte = byte_of(i, keys.depth);
            std::size_t j = i + 1;
            while (j < keys.end && byte_of(j, keys.depth) == byte)
                ++j;
            children_.push_back({byte, i, j, keys.depth + 1});
            i = j;
        }
        const std::uint32_t base = find_base();
        nodes_[keys.at].first_child = base;
        for (range child : children_) {
            child.at += base;
            take(child.at);
            nodes_[child.at].parent = keys.at;
            waiting_.push_back(child);
        }
    }

    std::uint32_t byte_of(std::size_t key, std::size_t depth) const
    {
        return static_cast<unsigned char>(entries_[key].first[depth]);
    }

    // Slot 0 is the root, never free, and heads the ring of free slots.
    std::uint32_t find_base()
    {
        const std::uint32_t lowest = children_.front().at;
        std::uint32_t place = links_[0].next;
        for (int tries = 0; place != 0 && tries < max_tries; ++tries) {
            if (fits(place - lowest)) return place - lowest;
            place = links_[place].next;
        }
        const std::uint32_t base = static_cast<std::uint32_t>(nodes_.size()) - lowest;
        grow(base + children_.back().at + 1);
        return base;
    }

    bool fits(std::uint32_t base)
    {
        return std::all_of(children_.begin(), children_.end(), [&](const range& child) {
            const std::size_t at = std::size_t{base} + child.at;
            return at < nodes_.size() && nodes_[at].parent == no_node;
        });
    }

    void grow(std::size_t size)
    {
        while (nodes_.size() < size) {
            const auto place = static_cast<std::uint32_t>(nodes_.size());
            nodes_.push_back(slot{});
            const std::uint32_t last = links_[0].previous;
            links_.push_back({last, 0});
            links_[last].next = place;
            links_[0].previous = place;
        }
    }

    void take(std::uint32_t place)
    {
        const link old = links_[place];
        links_[old.previous].next = old.next;
        links_[old.next].previous = old.previous;
    }

    std::vector<slot>& nodes_;
    std::vector<entry> entries_;
    std::vector<link> links_;
    std::vector<range> waiting_;
    std::vector<range> children_;  // `at` holds the byte until the base is known
};

byte_trie::byte_trie(std::vector<entry> entries)
{
    builder{nodes_, std::move(entries)}.run();
    nodes_.shrink_to_fit();
}

}  // namespace modelpool::text
