#include "models/image_rows.hpp"

#include <modelpool/assert.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <iterator>

namespace modelpool::models {
namespace {

using sip_state = std::array<std::uint64_t, 4>;

void mix(sip_state& v, int n_rounds)
{
    for (int i = 0; i < n_rounds; ++i) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = std::rotl(v[1], 13) ^ v[0];
        v[3] = std::rotl(v[3], 16) ^ v[2];
        v[0] = std::rotl(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = std::rotl(v[1], 17) ^ v[2];
        v[3] = std::rotl(v[3], 21) ^ v[0];
        v[2] = std::rotl(v[2], 32);
    }
}

void take(sip_state& v, std::uint64_t word)
{
    v[3] ^= word;
    mix(v, 2);
    v[0] ^= word;
}

}  // namespace

std::uint64_t hash_of(std::span<const float> pixels, std::pair<std::uint64_t, std::uint64_t> key)
{
    // The constants of the paper.
    sip_state v{
        key.first ^ 0x736f6d6570736575U,
        key.second ^ 0x646f72616e646f6dU,
        key.first ^ 0x6c7967656e657261U,
        key.second ^ 0x7465646279746573U};
    const std::span<const std::byte> bytes = std::as_bytes(pixels);
    const std::size_t n_whole = bytes.size() / sizeof(std::uint64_t);
    for (std::size_t i = 0; i < n_whole; ++i) {
        std::uint64_t word = 0;
        std::memcpy(&word, bytes.data() + i * sizeof word, sizeof word);
        take(v, word);
    }
    std::uint64_t last = std::uint64_t{bytes.size()} << 56U;
    for (std::size_t i = n_whole * sizeof last; i < bytes.size(); ++i)
        last |= std::uint64_t{std::to_integer<std::uint8_t>(bytes[i])} << (8 * (i % sizeof last));
    take(v, last);
    v[2] ^= 0xffU;
    mix(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

image_rows::image_rows(std::unique_ptr<image_encoder> encoder, std::size_t n_kept)
    : encoder_{std::move(encoder)}
    , n_kept_{n_kept}
{}

std::size_t image_rows::most_bytes() const noexcept
{
    return n_kept_ * encoder_->n_positions() * encoder_->width() * sizeof(float);
}

std::span<const float* const>
image_rows::resolve(std::span<const step_row> rows, run_context& context)
{
    const auto in_image = [](const step_row& row) { return row.prompt != nullptr; };
    if (std::ranges::none_of(rows, in_image)) return {};
    ++step_;
    found_.assign(rows.size(), nullptr);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        if (!in_image(rows[i])) continue;
        if (context.stop_requested()) return {};
        const prepared_prompt& prompt = *rows[i].prompt;
        const std::size_t position = rows[i].position;
        const auto after = std::ranges::upper_bound(
            prompt.images, position, std::ranges::less{}, &image_span::begin);
        MODELPOOL_ASSERT(after != prompt.images.begin());
        const image_span& span = *std::prev(after);
        MODELPOOL_ASSERT(position - span.begin < encoder_->n_positions());
        const auto index = static_cast<std::size_t>(after - prompt.images.begin()) - 1;
        found_[i] = rows_of(prompt, index, context) + (position - span.begin) * encoder_->width();
    }
    return found_;
}

const float*
image_rows::rows_of(const prepared_prompt& prompt, std::size_t index, run_context& context)
{
    const std::uint64_t id = prompt.images[index].image_id;
    if (const auto place = places_.find(id); place != places_.end()) {
        kept_.splice(kept_.begin(), kept_, place->second);
        kept_.front().step = step_;
        return kept_.front().rows.data();
    }
    const auto& pixels = *static_cast<const prompt_pixels*>(prompt.state.get());
    make_room();
    kept_image made{id, step_, {}};
    made.rows.resize(encoder_->n_positions() * encoder_->width());
    encoder_->encode(pixels[index], made.rows, context);
    if (context.stop_requested()) {
        // What was not computed to its end must not be found again.
        made.id = 0;
        made.step = 0;
        kept_.push_back(std::move(made));
        return kept_.back().rows.data();
    }
    ++n_encoded_;
    kept_.push_front(std::move(made));
    places_.emplace(id, kept_.begin());
    return kept_.front().rows.data();
}

// For one more image. What this step uses must stay until its end.
void image_rows::make_room()
{
    while (!kept_.empty() && kept_.size() >= n_kept_ && kept_.back().step != step_) {
        const auto place = places_.find(kept_.back().id);
        if (place != places_.end() && place->second == std::prev(kept_.end())) places_.erase(place);
        kept_.pop_back();
    }
}

}  // namespace modelpool::models
