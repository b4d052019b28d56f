#include "hub/range_plan.hpp"

#include <modelpool/assert.hpp>

#include <algorithm>

namespace modelpool::fetching {
namespace {

constexpr std::uint64_t mebibyte = std::uint64_t{1} << 20U;

}  // namespace

range_plan::range_plan(std::uint64_t size, const std::vector<byte_range>& done, const limits& most)
    : size_{size}
    , limits_{most}
{
    for (const byte_range& range : done)
        add_done(range.begin, std::min(range.end, size));
}

std::uint64_t range_plan::piece_bytes() const
{
    if (size_ < limits_.single_stream_below) return size_;
    const std::uint64_t wanted =
        std::clamp(size_ / 64, limits_.smallest_piece, limits_.largest_piece);
    return std::max(mebibyte, wanted / mebibyte * mebibyte);
}

void range_plan::add_done(std::uint64_t begin, std::uint64_t end)
{
    if (begin >= end) return;
    auto place = done_.upper_bound(begin);
    if (place != done_.begin() && std::prev(place)->second >= begin) --place;
    while (place != done_.end() && place->first <= end) {
        begin = std::min(begin, place->first);
        end = std::max(end, place->second);
        done_bytes_ -= place->second - place->first;
        place = done_.erase(place);
    }
    done_.emplace(begin, end);
    done_bytes_ += end - begin;
}

std::optional<byte_range> range_plan::first_hole() const
{
    std::vector<byte_range> taken = done();
    for (const auto& [id, one] : running_)
        taken.push_back({one.next, one.end});
    std::sort(taken.begin(), taken.end(), [](const byte_range& a, const byte_range& b) {
        return a.begin < b.begin;
    });
    std::uint64_t begin = 0;
    for (const byte_range& range : taken) {
        if (range.begin > begin) return byte_range{begin, range.begin};
        begin = std::max(begin, range.end);
    }
    if (begin < size_) return byte_range{begin, size_};
    return std::nullopt;
}

std::optional<range_plan::piece> range_plan::begin_piece(std::uint64_t begin, std::uint64_t end)
{
    piece fresh{next_id_++, begin, end};
    running_.emplace(fresh.id, fresh);
    return fresh;
}

std::optional<range_plan::piece> range_plan::start()
{
    if (const auto hole = first_hole())
        return begin_piece(hole->begin, std::min(hole->end, hole->begin + piece_bytes()));
    // What is stolen was on its way already, which a small file does not repay.
    if (size_ < limits_.single_stream_below) return std::nullopt;
    piece* largest = nullptr;
    for (auto& [id, one] : running_)
        if (largest == nullptr || one.end - one.next > largest->end - largest->next) largest = &one;
    if (largest == nullptr || largest->end - largest->next <= limits_.smallest_theft)
        return std::nullopt;
    const std::uint64_t middle = largest->next + (largest->end - largest->next) / 2;
    const std::uint64_t end = largest->end;
    largest->end = middle;
    return begin_piece(middle, end);
}

std::optional<range_plan::piece> range_plan::start_rest()
{
    MODELPOOL_ASSERT(running_.empty());
    const auto hole = first_hole();
    if (!hole) return std::nullopt;
    return begin_piece(hole->begin, size_);
}

std::uint64_t range_plan::accept(piece_id id, std::uint64_t n_bytes) const
{
    const piece* const one = find(id);
    if (one == nullptr || one->done()) return 0;
    return std::min(
        {n_bytes, one->end - one->next, std::max<std::uint64_t>(limits_.smallest_theft / 2, 1)});
}

void range_plan::wrote(piece_id id, std::uint64_t n_bytes)
{
    const auto place = running_.find(id);
    MODELPOOL_ASSERT(place != running_.end() && n_bytes <= place->second.end - place->second.next);
    add_done(place->second.next, place->second.next + n_bytes);
    place->second.next += n_bytes;
}

void range_plan::stop(piece_id id)
{
    running_.erase(id);
}

const range_plan::piece* range_plan::find(piece_id id) const
{
    const auto place = running_.find(id);
    return place == running_.end() ? nullptr : &place->second;
}

void range_plan::restart()
{
    MODELPOOL_ASSERT(running_.empty());
    done_.clear();
    done_bytes_ = 0;
}

std::uint64_t range_plan::prefix_bytes() const
{
    return done_.empty() || done_.begin()->first != 0 ? 0 : done_.begin()->second;
}

std::vector<byte_range> range_plan::done() const
{
    std::vector<byte_range> result;
    result.reserve(done_.size());
    for (const auto& [begin, end] : done_)
        result.push_back({begin, end});
    return result;
}

void stream_control::second(std::uint64_t n_bytes, std::size_t n_running)
{
    // A second with fewer connections than wanted says nothing about what the last ones gained.
    if (settled_ || n_running < n_wanted_ || n_bytes == 0) return;
    if (n_bytes < best_bytes_ + best_bytes_ / 12) {
        n_wanted_ = n_before_;
        settled_ = true;
        return;
    }
    const bool as_before = n_bytes * best_running_ >= best_bytes_ * n_running / 10 * 9;
    best_bytes_ = n_bytes;
    best_running_ = n_running;
    n_before_ = n_wanted_;
    n_wanted_ = std::min(n_most_, as_before ? n_wanted_ * 2 : n_wanted_ + 1);
}

void stream_control::trouble()
{
    if (++n_troubles_ < 2) return;
    overloaded();
}

void stream_control::overloaded()
{
    n_troubles_ = 0;
    settled_ = true;
    if (n_wanted_ > 1) --n_wanted_;
}

}  // namespace modelpool::fetching
