#pragma once

#include <modelpool/assert.hpp>
#include <modelpool/error.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace modelpool::sched {

/// Names the content of a chain of full blocks: all positions from 0 to the end of one block. Never
/// issued twice, so an equal id means equal content, proven token by token.
enum class prefix_id : std::uint64_t { empty = 0 };

/// Positions of a block that lie inside an image.
struct image_part {
    std::uint32_t first{0};  ///< position within the block
    std::uint32_t n_positions{0};
    std::uint32_t image_offset{0};  ///< of `first` within the image
    std::uint64_t image_id{0};

    friend bool operator==(const image_part&, const image_part&) = default;
};

/// What a full block stands for. The tokens at image positions count too.
struct block_content {
    std::span<const std::int32_t> tokens;  ///< as many as a block holds
    std::span<const image_part> images;
};

/// Hands out the blocks of a KV cache by number, counts references to them, and finds blocks again
/// by their content. Not thread-safe; every operation takes constant time (those on content: the
/// size of one block).
///
/// A block is free (holds nothing), used (referenced) or cached (referenced by nobody, but its
/// content can be found). Cached blocks are taken back when no free one is left, the one longest
/// unused first. Release the blocks of a sequence last block first: then a chain loses its end
/// before its beginning, and what stays is findable.
class block_allocator {
public:
    using block = std::uint32_t;

    /// Errors: errc::invalid_argument for no blocks, or empty ones.
    block_allocator(std::size_t n_blocks, std::size_t block_tokens)
        : block_tokens_{block_tokens}
    {
        if (n_blocks == 0 || block_tokens == 0 || n_blocks >= none ||
            block_tokens > std::numeric_limits<std::uint32_t>::max() ||
            n_blocks >
                std::numeric_limits<std::size_t>::max() / block_tokens / sizeof(std::int32_t))
            throw error{
                errc::invalid_argument,
                "a KV cache of " + std::to_string(n_blocks) + " blocks of " +
                    std::to_string(block_tokens) + " tokens cannot be made; at least one of each " +
                    "is needed, and less than 2^32 blocks"};
        std::size_t n_buckets = 16;
        while (n_buckets < 2 * n_blocks)
            n_buckets *= 2;
        buckets_.assign(n_buckets, none);
        records_.resize(n_blocks);
        tokens_.resize(n_blocks * block_tokens);
        for (std::size_t i = 0; i < n_blocks; ++i)
            push_back(free_, static_cast<block>(i));
    }

    std::size_t n_blocks() const noexcept { return records_.size(); }
    std::size_t block_tokens() const noexcept { return block_tokens_; }
    std::size_t n_free() const noexcept { return free_.size; }
    std::size_t n_cached() const noexcept { return cached_.size; }
    std::size_t n_used() const noexcept { return n_blocks() - n_available(); }
    /// Blocks that `allocate` can give.
    std::size_t n_available() const noexcept { return free_.size + cached_.size; }
    std::size_t n_references(block one) const { return records_[one].n_references; }
    /// Whether it can be found by its content: then nothing more may be written to it.
    bool is_published(block one) const { return records_[one].published; }

    /// A block with one reference and no content; forgets a cached one where no free one is left.
    /// Empty when all are used.
    std::optional<block> allocate()
    {
        list& from = free_.size > 0 ? free_ : cached_;
        if (from.size == 0) return std::nullopt;
        const block one = from.first;
        unlink(from, one);
        if (records_[one].published) unpublish(one);
        records_[one].n_references = 1;
        return one;
    }

    /// One more reference to a block that is used or cached.
    void share(block one)
    {
        record& it = records_[one];
        MODELPOOL_ASSERT(it.n_references > 0 || it.published);
        if (it.n_references++ == 0) unlink(cached_, one);
    }

    /// One reference less. The last one makes the block cached where its content is complete, else
    /// free.
    void release(block one)
    {
        record& it = records_[one];
        MODELPOOL_ASSERT(it.n_references > 0);
        if (--it.n_references > 0) return;
        if (it.published && !it.complete) unpublish(one);
        push_back(it.published ? cached_ : free_, one);
    }

    /// A block found by its content.
    struct match {
        block number{0};
        prefix_id prefix{prefix_id::empty};
        bool complete{false};  ///< false: some sequence computes it in the present step
    };

    /// The block that holds `content` after the chain `parent`.
    std::optional<match> find(prefix_id parent, const block_content& content) const
    {
        const std::uint64_t hash = hash_of(parent, content);
        for (block one = buckets_[bucket_of(hash)]; one != none;
             one = records_[one].next_in_bucket) {
            const record& it = records_[one];
            if (it.hash == hash && it.parent == parent && holds(one, content))
                return match{one, it.prefix, it.complete};
        }
        return std::nullopt;
    }

    /// Makes a used block findable by what it will hold, before it is computed. There must be no
    /// block of that content yet.
    prefix_id publish(block one, prefix_id parent, const block_content& content)
    {
        record& it = records_[one];
        MODELPOOL_ASSERT(it.n_references > 0 && !it.published);
        MODELPOOL_ASSERT(content.tokens.size() == block_tokens_);
        std::copy(content.tokens.begin(), content.tokens.end(), tokens_.begin() + offset_of(one));
        it.images.assign(content.images.begin(), content.images.end());
        it.hash = hash_of(parent, content);
        it.parent = parent;
        it.prefix = prefix_id{++last_prefix_};
        it.published = true;
        it.complete = false;
        block& head = buckets_[bucket_of(it.hash)];
        it.next_in_bucket = head;
        head = one;
        return it.prefix;
    }

    /// The block holds what it was published for.
    void complete(block one)
    {
        MODELPOOL_ASSERT(records_[one].published);
        records_[one].complete = true;
    }

    /// A used block is no longer found by its content: it was not computed after all, or will be
    /// written again.
    void forget(block one)
    {
        MODELPOOL_ASSERT(records_[one].n_references > 0 && records_[one].published);
        unpublish(one);
    }

private:
    static constexpr block none = std::numeric_limits<block>::max();

    struct record {
        block previous{none};  ///< in the free or cached list
        block next{none};
        block next_in_bucket{none};
        std::uint32_t n_references{0};
        std::uint64_t hash{0};
        prefix_id parent{prefix_id::empty};
        prefix_id prefix{prefix_id::empty};
        std::vector<image_part> images;
        bool published{false};
        bool complete{false};
    };
    struct list {
        block first{none};
        block last{none};
        std::size_t size{0};
    };

    static std::uint64_t mix(std::uint64_t hash, std::uint64_t value) noexcept
    {
        // The finaliser of splitmix64 over a running sum: every bit of a token reaches every bit of
        // the hash.
        std::uint64_t x = hash * 0x9e3779b97f4a7c15U + value;
        x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9U;
        x = (x ^ (x >> 27U)) * 0x94d049bb133111ebU;
        return x ^ (x >> 31U);
    }

    static std::uint64_t hash_of(prefix_id parent, const block_content& content) noexcept
    {
        std::uint64_t hash = mix(0, static_cast<std::uint64_t>(parent));
        for (const std::int32_t token : content.tokens)
            hash = mix(hash, static_cast<std::uint32_t>(token));
        for (const image_part& part : content.images) {
            hash = mix(hash, part.image_id);
            hash = mix(hash, (std::uint64_t{part.first} << 32U) | part.image_offset);
        }
        return hash;
    }

    bool holds(block one, const block_content& content) const
    {
        const auto tokens = tokens_.begin() + offset_of(one);
        const auto& images = records_[one].images;
        return std::equal(content.tokens.begin(), content.tokens.end(), tokens) &&
               std::equal(
                   content.images.begin(), content.images.end(), images.begin(), images.end());
    }

    std::size_t bucket_of(std::uint64_t hash) const noexcept
    {
        return hash & (buckets_.size() - 1);
    }
    std::ptrdiff_t offset_of(block one) const noexcept
    {
        return static_cast<std::ptrdiff_t>(one * block_tokens_);
    }

    void unpublish(block one)
    {
        record& it = records_[one];
        block* place = &buckets_[bucket_of(it.hash)];
        while (*place != one)
            place = &records_[*place].next_in_bucket;
        *place = it.next_in_bucket;
        it.next_in_bucket = none;
        it.published = false;
        it.complete = false;
        it.images.clear();
    }

    void push_back(list& to, block one) noexcept
    {
        records_[one].previous = to.last;
        records_[one].next = none;
        (to.last == none ? to.first : records_[to.last].next) = one;
        to.last = one;
        ++to.size;
    }

    void unlink(list& from, block one) noexcept
    {
        record& it = records_[one];
        (it.previous == none ? from.first : records_[it.previous].next) = it.next;
        (it.next == none ? from.last : records_[it.next].previous) = it.previous;
        it.previous = it.next = none;
        --from.size;
    }

    std::size_t block_tokens_;
    std::vector<record> records_;
    std::vector<std::int32_t> tokens_;  ///< [n_blocks, block_tokens]: what published blocks hold
    std::vector<block> buckets_;        ///< heads of the chains of equal hash; a power of two
    list free_;
    list cached_;  ///< the longest unused first
    std::uint64_t last_prefix_{0};
};

}  // namespace modelpool::sched
