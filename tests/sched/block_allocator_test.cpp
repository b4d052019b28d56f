#include <modelpool/sched/block_allocator.hpp>

#include <catch2/catch.hpp>

#include <cstdint>
#include <deque>
#include <random>
#include <span>
#include <vector>

#include "support/failure.hpp"

namespace mp = modelpool;
using mp::sched::block_allocator;
using mp::sched::block_content;
using mp::sched::image_part;
using mp::sched::prefix_id;
using ids = std::vector<std::int32_t>;

namespace {

block_content content(const ids& tokens, std::span<const image_part> images = {})
{
    return {tokens, images};
}

block_allocator::block store(block_allocator& blocks, prefix_id parent, const ids& tokens)
{
    const auto one = blocks.allocate().value();
    blocks.publish(one, parent, content(tokens));
    blocks.complete(one);
    return one;
}

}  // namespace

TEST_CASE("block_allocator: gives each block once, and none when all are used")
{
    block_allocator blocks{3, 4};
    CHECK(blocks.n_free() == 3);
    const auto a = blocks.allocate();
    const auto b = blocks.allocate();
    const auto c = blocks.allocate();
    REQUIRE((a && b && c));
    CHECK(*a != *b);
    CHECK(*b != *c);
    CHECK(*a != *c);
    CHECK(blocks.n_used() == 3);
    CHECK_FALSE(blocks.allocate());
    blocks.release(*b);
    CHECK(blocks.n_free() == 1);
    CHECK(blocks.allocate() == b);
}

TEST_CASE("block_allocator: a shared block is free after its last reference")
{
    block_allocator blocks{1, 4};
    const auto one = blocks.allocate().value();
    blocks.share(one);
    CHECK(blocks.n_references(one) == 2);
    blocks.release(one);
    CHECK(blocks.n_used() == 1);
    blocks.release(one);
    CHECK(blocks.n_free() == 1);
}

TEST_CASE("block_allocator: a full block is found again after its release, until room is needed")
{
    block_allocator blocks{2, 2};
    const auto one = store(blocks, prefix_id::empty, {1, 2});
    blocks.release(one);
    CHECK(blocks.n_cached() == 1);
    CHECK(blocks.n_free() == 1);
    const ids same{1, 2};
    const auto found = blocks.find(prefix_id::empty, content(same));
    REQUIRE(found);
    CHECK(found->number == one);
    CHECK(found->complete);
    blocks.share(one);
    CHECK(blocks.n_cached() == 0);
    CHECK(blocks.n_used() == 1);
    blocks.release(one);

    const auto other = blocks.allocate().value();
    CHECK(other != one);  // the free one goes first
    const auto last = blocks.allocate().value();
    CHECK(last == one);
    CHECK_FALSE(blocks.find(prefix_id::empty, content(same)));
}

TEST_CASE("block_allocator: the cached block unused for longest goes first")
{
    block_allocator blocks{3, 1};
    const auto a = store(blocks, prefix_id::empty, {1});
    const auto b = store(blocks, prefix_id::empty, {2});
    const auto c = store(blocks, prefix_id::empty, {3});
    blocks.release(b);
    blocks.release(a);
    blocks.release(c);
    blocks.share(b);  // used again: now the youngest
    blocks.release(b);
    CHECK(blocks.allocate() == a);
    CHECK(blocks.allocate() == c);
    CHECK(blocks.allocate() == b);
}

TEST_CASE("block_allocator: equal tokens after another prefix are another content")
{
    block_allocator blocks{4, 2};
    const auto a = store(blocks, prefix_id::empty, {1, 2});
    const auto b = store(blocks, prefix_id::empty, {3, 4});
    const ids tail{5, 6};
    const prefix_id after_a = blocks.find(prefix_id::empty, content({1, 2}))->prefix;
    const prefix_id after_b = blocks.find(prefix_id::empty, content({3, 4}))->prefix;
    const auto c = store(blocks, after_a, tail);
    CHECK(blocks.find(after_a, content(tail))->number == c);
    CHECK_FALSE(blocks.find(after_b, content(tail)));
    CHECK_FALSE(blocks.find(prefix_id::empty, content(tail)));
    CHECK(a != b);
}

TEST_CASE("block_allocator: a prefix stored anew does not revive what followed the old one")
{
    block_allocator blocks{2, 1};
    const auto a = store(blocks, prefix_id::empty, {1});
    const prefix_id old = blocks.find(prefix_id::empty, content({1}))->prefix;
    const auto b = store(blocks, old, {2});
    blocks.release(a);  // the wrong order, so that the beginning goes first
    blocks.release(b);
    REQUIRE(blocks.allocate() == a);
    const prefix_id fresh = blocks.publish(a, prefix_id::empty, content({1}));
    CHECK(fresh != old);
    CHECK_FALSE(blocks.find(fresh, content({2})));
}

TEST_CASE("block_allocator: images are part of the content")
{
    block_allocator blocks{4, 4};
    const ids tokens{7, 9, 9, 9};
    const std::vector<image_part> cat{{1, 3, 0, 111}};
    const std::vector<image_part> dog{{1, 3, 0, 222}};
    const std::vector<image_part> later{{1, 3, 3, 111}};
    const auto one = blocks.allocate().value();
    blocks.publish(one, prefix_id::empty, content(tokens, cat));
    CHECK(blocks.find(prefix_id::empty, content(tokens, cat)));
    CHECK_FALSE(blocks.find(prefix_id::empty, content(tokens, dog)));
    CHECK_FALSE(blocks.find(prefix_id::empty, content(tokens, later)));
    CHECK_FALSE(blocks.find(prefix_id::empty, content(tokens)));
}

TEST_CASE(
    "block_allocator: a block being computed is found as incomplete, and not kept unless completed")
{
    block_allocator blocks{1, 1};
    const auto one = blocks.allocate().value();
    blocks.publish(one, prefix_id::empty, content({5}));
    CHECK_FALSE(blocks.find(prefix_id::empty, content({5}))->complete);
    blocks.release(one);
    CHECK(blocks.n_free() == 1);
    CHECK_FALSE(blocks.find(prefix_id::empty, content({5})));
}

TEST_CASE("block_allocator: a forgotten block stays used and is found no more")
{
    block_allocator blocks{1, 1};
    const auto one = store(blocks, prefix_id::empty, {5});
    blocks.forget(one);
    CHECK_FALSE(blocks.find(prefix_id::empty, content({5})));
    CHECK(blocks.n_used() == 1);
    blocks.release(one);
    CHECK(blocks.n_free() == 1);
}

TEST_CASE("block_allocator: refuses sizes that cannot be")
{
    using mp::testing::failure;
    failure(mp::errc::invalid_argument, [] { block_allocator{0, 16}; });
    failure(mp::errc::invalid_argument, [] { block_allocator{16, 0}; });
    failure(mp::errc::invalid_argument, [] { block_allocator{std::size_t{1} << 32U, 1}; });
    failure(mp::errc::invalid_argument, [] {
        block_allocator{(std::size_t{1} << 32U) - 2, std::size_t{1} << 32U};
    });
}

TEST_CASE("block_allocator: agrees with a plain model over random operations")
{
    const auto seed = GENERATE(1U, 2U, 3U);
    CAPTURE(seed);
    std::mt19937 random{seed};
    constexpr std::size_t n_blocks = 24;
    block_allocator blocks{n_blocks, 2};
    std::vector<unsigned> references(n_blocks, 0);
    std::vector<ids> held(n_blocks);         // content; empty: none
    std::deque<block_allocator::block> lru;  // cached, longest unused first
    for (int i = 0; i < 20000; ++i) {
        const auto pick = static_cast<block_allocator::block>(random() % n_blocks);
        switch (random() % 4) {
        case 0: {
            const auto one = blocks.allocate();
            const std::size_t n_unused =
                static_cast<std::size_t>(std::count(references.begin(), references.end(), 0U));
            REQUIRE(one.has_value() == (n_unused > 0));
            if (!one) break;
            REQUIRE(references[*one] == 0);
            if (!held[*one].empty()) {
                REQUIRE(n_unused == lru.size());
                REQUIRE(lru.front() == *one);
                lru.pop_front();
                held[*one].clear();
            }
            references[*one] = 1;
            const ids tokens{static_cast<std::int32_t>(random() % 6), 0};
            if (random() % 2 == 0 && !blocks.find(prefix_id::empty, content(tokens))) {
                blocks.publish(*one, prefix_id::empty, content(tokens));
                blocks.complete(*one);
                held[*one] = tokens;
            }
            break;
        }
        case 1: {
            if (references[pick] == 0 && held[pick].empty()) break;
            if (references[pick]++ == 0) lru.erase(std::find(lru.begin(), lru.end(), pick));
            blocks.share(pick);
            break;
        }
        default:
            if (references[pick] == 0) break;
            blocks.release(pick);
            if (--references[pick] == 0 && !held[pick].empty()) lru.push_back(pick);
        }
        REQUIRE(blocks.n_cached() == lru.size());
        REQUIRE(
            blocks.n_used() == n_blocks - static_cast<std::size_t>(std::count(
                                              references.begin(), references.end(), 0U)));
        REQUIRE(blocks.n_free() + blocks.n_cached() + blocks.n_used() == n_blocks);
        for (std::int32_t token = 0; token < 6; ++token) {
            const ids tokens{token, 0};
            const auto found = blocks.find(prefix_id::empty, content(tokens));
            const auto owner = std::find(held.begin(), held.end(), tokens);
            REQUIRE(found.has_value() == (owner != held.end()));
            if (found) REQUIRE(found->number == static_cast<std::size_t>(owner - held.begin()));
        }
    }
}
