#include <modelpool/sched/logits.hpp>
#include <modelpool/sched/random.hpp>
#include <modelpool/sched/sampler.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <span>
#include <vector>

#include "support/failure.hpp"

namespace mp = modelpool;
using mp::sampling_params;
using mp::sched::candidate;
using mp::sched::random_numbers;
using mp::sched::sampler;
using mp::sched::sampler_scratch;
using mp::testing::failure;
using floats = std::vector<float>;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();

std::int32_t pick(sampler& one, const floats& logits, std::span<const std::uint64_t> mask = {})
{
    sampler_scratch scratch;
    return one.sample(logits, mask, scratch);
}

std::int32_t greedy(const floats& logits, const sampling_params& params = {})
{
    sampler one{params, logits.size(), 1};
    return pick(one, logits);
}

floats random_logits(std::mt19937& random, std::size_t n)
{
    floats logits(n);
    for (float& one : logits)
        one = static_cast<float>(random() % 4000) / 250.0F - 8.0F;
    return logits;
}

/// Sorts everything, and follows the documentation word by word.
std::int32_t reference(const floats& logits, const sampling_params& params, double unit)
{
    std::vector<candidate> all;
    for (std::size_t i = 0; i < logits.size(); ++i)
        all.push_back({logits[i], static_cast<std::int32_t>(i)});
    std::sort(all.begin(), all.end(), [](const candidate& a, const candidate& b) {
        return a.likelier_than(b);
    });
    const float top = all.front().logit;
    const auto weight = [&](const candidate& one) {
        return static_cast<double>(std::exp((one.logit - top) / params.temperature));
    };
    if (params.top_k > 0 && params.top_k < all.size()) all.resize(params.top_k);
    double sum = 0;
    for (const candidate& one : all)
        sum += weight(one);
    if (params.top_p < 1.0F) {
        double reached = 0;
        std::size_t n = 0;
        while (n < all.size() && (n == 0 || reached < static_cast<double>(params.top_p) * sum))
            reached += weight(all[n++]);
        all.resize(n);
    }
    std::erase_if(
        all, [&](const candidate& one) { return weight(one) < static_cast<double>(params.min_p); });
    if (params.top_p == 1.0F && (params.top_k == 0 || params.top_k >= logits.size()))
        std::sort(all.begin(), all.end(), [](const candidate& a, const candidate& b) {
            return a.id < b.id;
        });
    double left = 0;
    for (const candidate& one : all)
        left += weight(one);
    left *= unit;
    for (const candidate& one : all) {
        left -= weight(one);
        if (left < 0) return one.id;
    }
    return all.back().id;
}

}  // namespace

TEST_CASE("random_numbers: xoshiro256** gives its published numbers")
{
    random_numbers numbers{std::array<std::uint64_t, 4>{1, 2, 3, 4}};
    for (const std::uint64_t expected :
         {std::uint64_t{11520},
          std::uint64_t{0},
          std::uint64_t{1509978240},
          std::uint64_t{1215971899390074240}})
        CHECK(numbers.next() == expected);

    mp::sched::splitmix64 source{1234567};
    for (const std::uint64_t expected :
         {std::uint64_t{6457827717110365317}, std::uint64_t{3203168211198807973}})
        CHECK(source.next() == expected);
}

TEST_CASE("random_numbers: units are below 1 and spread evenly")
{
    random_numbers numbers{7};
    std::vector<int> bins(10, 0);
    for (int i = 0; i < 100000; ++i) {
        const double unit = numbers.next_unit();
        REQUIRE(unit >= 0.0);
        REQUIRE(unit < 1.0);
        ++bins[static_cast<std::size_t>(unit * 10)];
    }
    for (const int n : bins)
        CHECK(std::abs(n - 10000) < 500);  // five standard deviations
}

TEST_CASE("sampler: temperature 0 takes the likeliest token, the lowest id of equal ones")
{
    CHECK(greedy({1.0F, 3.0F, 2.0F}) == 1);
    CHECK(greedy({1.0F, 3.0F, 3.0F}) == 1);
    CHECK(greedy({-infinity, -5.0F, -infinity}) == 1);
    floats wide(1000, 0.0F);
    wide[777] = wide[333] = 1.0F;
    CHECK(greedy(wide) == 333);
}

TEST_CASE("sampler: unsound logits are an error, wherever they stand")
{
    for (const std::size_t n : {1U, 15U, 16U, 17U, 100U})
        for (std::size_t place = 0; place < n; ++place)
            for (const float bad : {nan_value, infinity}) {
                floats logits(n, 0.5F);
                logits[place] = bad;
                const auto text = failure(mp::model_errc::failed, [&] { greedy(logits); });
                CHECK_THAT(text, Catch::Contains("token " + std::to_string(place)));
            }
    failure(mp::model_errc::failed, [] { greedy({}); });
    failure(mp::model_errc::failed, [] { greedy({-infinity, -infinity}); });
}

TEST_CASE("sampler: the repetition penalty moves tokens of prompt and answer once")
{
    sampling_params params;
    params.repetition_penalty = 2.0F;
    sampler one{params, 3, 1};
    const floats logits{4.0F, 3.0F, -1.0F};
    CHECK(pick(one, logits) == 0);
    const std::vector<std::int32_t> prompt{0, 0};
    one.see_prompt(prompt);
    CHECK(pick(one, logits) == 1);  // 2, 3, -1
    one.see(1);
    CHECK(pick(one, logits) == 0);  // 2, 1.5, -1
    one.see(0);
    CHECK(pick(one, logits) == 0);                       // once, however often
    CHECK(pick(one, floats{-4.0F, -3.0F, -5.0F}) == 2);  // -8, -6, -5
}

TEST_CASE("sampler: frequency and presence penalties count the answer alone")
{
    sampling_params params;
    params.frequency_penalty = 1.0F;
    params.presence_penalty = 0.5F;
    sampler one{params, 2, 1};
    const floats logits{3.0F, 0.0F};
    const std::vector<std::int32_t> prompt{0, 0, 0, 0};
    one.see_prompt(prompt);
    CHECK(pick(one, logits) == 0);
    one.see(0);
    CHECK(pick(one, logits) == 0);  // 1.5
    one.see(0);
    CHECK(pick(one, logits) == 0);  // 0.5
    one.see(0);
    CHECK(pick(one, logits) == 1);  // -0.5
}

TEST_CASE("sampler: penalties know a token whatever its number")
{
    constexpr std::size_t n_tokens = 151'936;
    sampling_params frequency;
    frequency.frequency_penalty = 1.0F;
    sampling_params presence;
    presence.presence_penalty = 1.0F;
    sampling_params repetition;
    repetition.repetition_penalty = 2.0F;
    for (const sampling_params& params : {frequency, presence, repetition})
        for (const std::int32_t id : {0, 511, 512, 513, 70'000, 151'935}) {
            INFO("token " << id);
            sampler one{params, n_tokens, 1};
            floats logits(n_tokens, 0.0F);
            logits[static_cast<std::size_t>(id)] = 1.5F;
            logits[300] = 1.0F;
            CHECK(pick(one, logits) == id);
            one.see(id);
            CHECK(pick(one, logits) == 300);
        }
}

TEST_CASE("sampler: penalties come before biases, and biases before the mask")
{
    sampling_params params;
    params.repetition_penalty = 4.0F;
    params.logit_bias[0] = 2.5F;
    sampler one{params, 3, 1};
    one.see(0);
    CHECK(
        pick(one, {4.0F, 3.0F, 0.0F}) ==
        0);  // 4 / 4 + 2.5 is 3.5, (4 + 2.5) / 4 would be less than 3
    const std::vector<std::uint64_t> mask{0b110};
    CHECK(pick(one, {4.0F, 3.0F, 0.0F}, mask) == 1);
}

TEST_CASE("sampler: a bias of minus infinity bars a token, and barring all is an error")
{
    sampling_params params;
    params.logit_bias[1] = -infinity;
    CHECK(greedy({1.0F, 9.0F, 2.0F}, params) == 2);
    params.logit_bias[0] = -infinity;
    failure(mp::model_errc::failed, [&] { greedy({1.0F, 9.0F}, params); });
    params.logit_bias[0] = std::numeric_limits<float>::max();
    CHECK(greedy({std::numeric_limits<float>::max(), 9.0F}, params) == 0);
}

TEST_CASE("sampler: a mask bars its zero bits and all beyond its end")
{
    floats logits(130, 0.0F);
    logits[129] = 5.0F;
    logits[64] = 4.0F;
    logits[3] = 3.0F;
    sampler one{sampling_params{}, logits.size(), 1};
    const std::uint64_t all = ~std::uint64_t{0};
    CHECK(pick(one, logits) == 129);
    CHECK(pick(one, logits, std::vector<std::uint64_t>{all, all, all}) == 129);
    CHECK(pick(one, logits, std::vector<std::uint64_t>{all, all}) == 64);
    CHECK(pick(one, logits, std::vector<std::uint64_t>{all, all - 1}) == 3);
    failure(mp::model_errc::failed, [&] { pick(one, logits, std::vector<std::uint64_t>{0}); });
}

TEST_CASE("sampler: the same seed gives the same tokens, another one others")
{
    sampling_params params;
    params.temperature = 1.0F;
    std::mt19937 random{5};
    sampler a{params, 50, 42};
    sampler b{params, 50, 42};
    sampler c{params, 50, 43};
    int n_other = 0;
    for (int i = 0; i < 200; ++i) {
        const floats logits = random_logits(random, 50);
        const auto token = pick(a, logits);
        CHECK(pick(b, logits) == token);
        n_other += pick(c, logits) != token ? 1 : 0;
    }
    CHECK(n_other > 20);
}

TEST_CASE("sampler: agrees with sorting everything")
{
    const auto seed = GENERATE(1U, 2U, 3U);
    CAPTURE(seed);
    std::mt19937 random{seed};
    for (int i = 0; i < 3000; ++i) {
        sampling_params params;
        params.temperature = 0.1F + static_cast<float>(random() % 40) / 10.0F;
        if (random() % 2 == 0) params.top_k = random() % 60;
        if (random() % 2 == 0) params.top_p = 0.01F + static_cast<float>(random() % 99) / 100.0F;
        if (random() % 3 == 0) params.min_p = static_cast<float>(random() % 100) / 100.0F;
        const floats logits = random_logits(random, 1 + random() % 700);
        const std::uint64_t own_seed = random();
        sampler one{params, logits.size(), own_seed};
        random_numbers numbers{own_seed};
        CAPTURE(i, params.temperature, params.top_k, params.top_p, params.min_p);
        REQUIRE(pick(one, logits) == reference(logits, params, numbers.next_unit()));
    }
}

TEST_CASE("sampler: draws follow the distribution")
{
    sampling_params params;
    params.temperature = 2.0F;
    sampler one{params, 4, 9};
    const floats logits{0.0F, 2.0F * std::log(2.0F), 2.0F * std::log(3.0F), -infinity};
    std::vector<int> n(4, 0);
    for (int i = 0; i < 60000; ++i)
        ++n[static_cast<std::size_t>(pick(one, logits))];
    CHECK(std::abs(n[0] - 10000) < 500);
    CHECK(std::abs(n[1] - 20000) < 600);
    CHECK(std::abs(n[2] - 30000) < 650);
    CHECK(n[3] == 0);
}

TEST_CASE("sampler: extreme temperatures and one token are no special case")
{
    sampling_params params;
    params.temperature = std::numeric_limits<float>::denorm_min();
    CHECK(greedy({1.0F, 2.0F}, params) == 1);
    CHECK(greedy({2.0F, 2.0F}, params) >= 0);
    params.temperature = std::numeric_limits<float>::max();
    params.top_p = 0.5F;
    CHECK(greedy({0.0F, 0.0F, 0.0F}, params) <= 1);
    CHECK(greedy({-3.0F}, params) == 0);
}

TEST_CASE("sampler: refuses parameters out of their range by name")
{
    const auto refused = [](auto change) {
        sampling_params params;
        change(params);
        return failure(mp::errc::invalid_argument, [&] { sampler{params, 10, 1}; });
    };
    using Catch::Contains;
    for (const float bad : {-0.1F, nan_value, infinity})
        CHECK_THAT(refused([&](auto& p) { p.temperature = bad; }), Contains("temperature"));
    for (const float bad : {0.0F, -1.0F, 1.5F, nan_value})
        CHECK_THAT(refused([&](auto& p) { p.top_p = bad; }), Contains("top_p"));
    for (const float bad : {-0.5F, 1.5F, nan_value})
        CHECK_THAT(refused([&](auto& p) { p.min_p = bad; }), Contains("min_p"));
    for (const float bad : {0.0F, -1.0F, nan_value, infinity})
        CHECK_THAT(refused([&](auto& p) { p.repetition_penalty = bad; }), Contains("repetition"));
    for (const float bad : {nan_value, infinity}) {
        CHECK_THAT(refused([&](auto& p) { p.frequency_penalty = bad; }), Contains("frequency"));
        CHECK_THAT(refused([&](auto& p) { p.presence_penalty = bad; }), Contains("presence"));
        CHECK_THAT(refused([&](auto& p) { p.logit_bias[1] = bad; }), Contains("logit_bias"));
    }
    for (const std::int32_t id : {-1, 10}) {
        sampling_params params;
        params.logit_bias[id] = 1.0F;
        failure(mp::text_errc::bad_id, [&] { sampler{params, 10, 1}; });
    }
}

TEST_CASE("logits: the likeliest tokens come in order, equal ones by id")
{
    const auto seed = GENERATE(1U, 2U);
    std::mt19937 random{seed};
    for (int i = 0; i < 300; ++i) {
        floats logits(1 + random() % 200);
        for (float& one : logits)
            one = static_cast<float>(random() % 20);
        std::vector<candidate> all;
        for (std::size_t k = 0; k < logits.size(); ++k)
            all.push_back({logits[k], static_cast<std::int32_t>(k)});
        std::sort(all.begin(), all.end(), [](const candidate& a, const candidate& b) {
            return a.likelier_than(b);
        });
        std::vector<candidate> found;
        const std::size_t n = random() % 20;
        mp::sched::likeliest_n(logits, n, found);
        REQUIRE(found.size() == std::min(n, logits.size()));
        for (std::size_t k = 0; k < found.size(); ++k)
            REQUIRE(found[k].id == all[k].id);
    }
}
