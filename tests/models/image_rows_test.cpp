// Images of prompts without a model behind them: what is kept, and what prompts are made of.

#include <catch2/catch.hpp>

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "models/image_rows.hpp"

namespace modelpool {
namespace {

using models::hash_of;
using models::image_encoder;
using models::image_rows;
using models::prompt_pixels;

constexpr std::size_t n_positions = 3;
constexpr std::size_t width = 2;

struct encoder_log {
    std::vector<float> encoded;  // the first pixel of each image
    stop_source* stops{nullptr};
};

// Rows of an image count up from its first pixel.
class fake_encoder final : public image_encoder {
public:
    explicit fake_encoder(encoder_log& log)
        : log_{&log}
    {}
    std::size_t n_positions() const noexcept override { return modelpool::n_positions; }
    std::size_t width() const noexcept override { return modelpool::width; }
    std::vector<float> prepare(const image_source&) const override { return {}; }
    void encode(std::span<const float> pixels, std::span<float> rows, run_context&) override
    {
        log_->encoded.push_back(pixels.front());
        for (std::size_t i = 0; i < rows.size(); ++i)
            rows[i] = pixels.front() + static_cast<float>(i);
        if (log_->stops != nullptr) log_->stops->request_stop();
    }
    footprint bytes() const override { return {}; }
    std::unique_ptr<image_encoder> replicate() const override
    {
        return std::make_unique<fake_encoder>(*log_);
    }

private:
    encoder_log* log_;
};

// A prompt of a token before each of the images, whose only pixel is their name.
prepared_prompt prompt_of(const std::vector<float>& images)
{
    prepared_prompt made;
    auto pixels = std::make_shared<prompt_pixels>();
    for (const float name : images) {
        pixels->push_back({name});
        const std::size_t begin = made.images.size() * (n_positions + 1) + 1;
        made.images.push_back({begin, n_positions, hash_of(pixels->back(), {1, 2})});
    }
    made.tokens.assign(images.size() * (n_positions + 1), 7);
    made.state = std::move(pixels);
    return made;
}

std::vector<step_row> rows_of(const prepared_prompt& prompt)
{
    std::vector<step_row> rows(prompt.tokens.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
        rows[i].position = static_cast<std::uint32_t>(i);
        if (i % (n_positions + 1) != 0) rows[i].prompt = &prompt;
    }
    return rows;
}

}  // namespace

TEST_CASE("image rows: each position of an image gets its own numbers, others none")
{
    encoder_log log;
    image_rows images{std::make_unique<fake_encoder>(log), 4};
    run_context context;
    const prepared_prompt prompt = prompt_of({100, 200});
    const auto found = images.resolve(rows_of(prompt), context);
    REQUIRE(found.size() == 8);
    CHECK(found[0] == nullptr);
    CHECK(found[4] == nullptr);
    CHECK(found[1][0] == 100);
    CHECK(found[3][1] == 105);
    CHECK(found[5][0] == 200);
    CHECK(found[7][1] == 205);
    const prepared_prompt text = prompt_of({});
    CHECK(images.resolve(rows_of(text), context).empty());
    // Steps may begin inside an image.
    std::vector<step_row> late = rows_of(prompt);
    late.erase(late.begin(), late.begin() + 6);
    CHECK(images.resolve(late, context)[0][0] == 202);
}

TEST_CASE("image rows: an image is encoded once, until others were used later than it")
{
    encoder_log log;
    image_rows images{std::make_unique<fake_encoder>(log), 2};
    run_context context;
    const auto use = [&](const std::vector<float>& names) {
        const prepared_prompt prompt = prompt_of(names);
        const auto found = images.resolve(rows_of(prompt), context);
        for (std::size_t i = 0; i < names.size(); ++i)
            CHECK(found[i * (n_positions + 1) + 1][0] == names[i]);
    };
    use({1});
    use({1});
    use({2, 1, 2});
    CHECK(log.encoded == std::vector<float>{1, 2});
    use({1});
    use({3});  // in the place of 2
    use({1});
    CHECK(log.encoded == std::vector<float>{1, 2, 3});
    use({2});
    CHECK(log.encoded == std::vector<float>{1, 2, 3, 2});
    // A step may need more than are kept.
    use({4, 5, 6, 4});
    CHECK(log.encoded == std::vector<float>{1, 2, 3, 2, 4, 5, 6});
    CHECK(images.n_encoded() == 7);
    use({6});
    CHECK(images.n_encoded() == 7);
    CHECK(images.most_bytes() == 2 * n_positions * width * sizeof(float));
}

TEST_CASE("image rows: what a stop cut short is not found again")
{
    encoder_log log;
    stop_source stops;
    image_rows images{std::make_unique<fake_encoder>(log), 2};
    const prepared_prompt prompt = prompt_of({1});
    {
        class monitor final : public run_monitor {
        public:
            int n_threads() const noexcept override { return 1; }
            void step_done() noexcept override {}
        } who;
        run_context context{who, stops.flag()};
        log.stops = &stops;
        static_cast<void>(images.resolve(rows_of(prompt), context));
        CHECK(images.n_encoded() == 0);
    }
    log.stops = nullptr;
    run_context context;
    CHECK(images.resolve(rows_of(prompt), context)[1][0] == 1);
    CHECK(log.encoded == std::vector<float>{1, 1});
}

TEST_CASE("image rows: hashes are SipHash-2-4's, and tell images and keys apart")
{
    // Computed by the reference implementation of the paper's authors for the bytes 0 to 7.
    std::array<float, 2> eight{};
    const std::array<unsigned char, 8> bytes{0, 1, 2, 3, 4, 5, 6, 7};
    std::copy(bytes.begin(), bytes.end(), reinterpret_cast<unsigned char*>(eight.data()));
    CHECK(hash_of(eight, {0x0706050403020100U, 0x0f0e0d0c0b0a0908U}) == 0x93f5f5799a932462U);
    std::vector<float> pixels(1000, 0.5F);
    const std::uint64_t first = hash_of(pixels, {1, 2});
    CHECK(hash_of(pixels, {1, 2}) == first);
    CHECK(hash_of(pixels, {1, 3}) != first);
    pixels[999] = 0.25F;
    CHECK(hash_of(pixels, {1, 2}) != first);
    CHECK(hash_of(std::span{pixels}.first(999), {1, 2}) != first);
}

}  // namespace modelpool
