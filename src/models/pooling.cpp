#include "models/pooling.hpp"

#include <modelpool/assert.hpp>

#include <algorithm>
#include <cmath>

namespace modelpool::models {
namespace {

std::span<const float> row(const token_rows& rows, std::size_t index)
{
    return rows.values.subspan(index * rows.dim, rows.dim);
}

// The sum of the rows from `first` on, each times weight(index), over the sum of the weights as `denominator`
// sees it.
template <class Weight, class Denominator>
void weighted_sum(
    const token_rows& rows,
    std::size_t first,
    std::span<float> out,
    std::pair<Weight, Denominator> how)
{
    const std::size_t n_tokens = rows.values.size() / rows.dim;
    float total = 0;
    for (std::size_t i = first; i < n_tokens; ++i) {
        const float weight = how.first(i);
        const std::span<const float> from = row(rows, i);
        for (std::size_t k = 0; k < rows.dim; ++k)
            out[k] += weight * from[k];
        total += weight;
    }
    if (total == 0) return;
    const float divisor = how.second(total);
    for (float& value : out)
        value /= divisor;
}

void pool_one(pooling_mode mode, const token_rows& rows, std::size_t first, std::span<float> out)
{
    const std::size_t n_tokens = rows.values.size() / rows.dim;
    const auto one = [](std::size_t) { return 1.0F; };
    const auto place = [](std::size_t i) { return static_cast<float>(i + 1); };
    const auto same = [](float total) { return total; };
    const auto root = [](float total) { return std::sqrt(total); };
    switch (mode) {
    case pooling_mode::cls:
        std::ranges::copy(row(rows, first < n_tokens ? first : 0), out.begin());
        break;
    case pooling_mode::lasttoken:
        if (first < n_tokens) std::ranges::copy(row(rows, n_tokens - 1), out.begin());
        break;
    case pooling_mode::max:
        if (first < n_tokens) std::ranges::copy(row(rows, first), out.begin());
        for (std::size_t i = first + 1; i < n_tokens; ++i)
            std::ranges::transform(
                out, row(rows, i), out.begin(), [](float a, float b) { return std::max(a, b); });
        break;
    case pooling_mode::mean:
        weighted_sum(rows, first, out, std::pair{one, same});
        break;
    case pooling_mode::mean_sqrt_len_tokens:
        weighted_sum(rows, first, out, std::pair{one, root});
        break;
    case pooling_mode::weightedmean:
        weighted_sum(rows, first, out, std::pair{place, same});
        break;
    }
}

}  // namespace

std::string_view to_string(pooling_mode mode) noexcept
{
    switch (mode) {
    case pooling_mode::cls:
        return "cls";
    case pooling_mode::max:
        return "max";
    case pooling_mode::mean:
        return "mean";
    case pooling_mode::mean_sqrt_len_tokens:
        return "mean_sqrt_len_tokens";
    case pooling_mode::weightedmean:
        return "weightedmean";
    case pooling_mode::lasttoken:
        return "lasttoken";
    }
    return "unknown";
}

std::vector<float> pool(const pooling& how, const token_rows& rows)
{
    MODELPOOL_ASSERT(rows.dim > 0 && !rows.values.empty() && rows.values.size() % rows.dim == 0);
    const std::size_t first = how.include_prompt ? 0 : rows.n_prompt_tokens;
    std::vector<float> out(how.output_dim(rows.dim));
    for (std::size_t i = 0; i < how.modes.size(); ++i)
        pool_one(how.modes[i], rows, first, std::span{out}.subspan(i * rows.dim, rows.dim));
    return out;
}

}  // namespace modelpool::models
