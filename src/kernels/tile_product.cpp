#include "kernels/tile_product.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "kernels/bf16_numbers.hpp"
#include "kernels/panel_kernel.hpp"

#include <immintrin.h>

// NOLINTBEGIN(portability-simd-intrinsics): this is one machine's unit
namespace modelpool::kernels {
namespace {

using namespace bf16_numbers;
constexpr std::int64_t tile_numbers = 512;
constexpr std::int64_t step_numbers = tile_input::step_numbers;
constexpr std::int64_t panel_outputs = 32;  // computed together

// ---- weights to tiles ----------------------------------------------------------------------------------

/// A group's numbers are scale·code + offset.
struct line {
    f scale;
    f offset;
};

template <int byte>
f number_of(__m512i word, const line& by)
{
    const __m512i code = panel_base<vec>::unsigned_byte<byte>(word);
    return vec::fma(vec::to_f(code), by.scale, by.offset);
}

/// Two numbers of each lane as bf16, rounded to the nearest, next to each other.
__m512i paired(f first, f second)
{
    const __m512i half = _mm512_set1_epi32(0x8000);
    const __m512i low = _mm512_srli_epi32(_mm512_add_epi32(vec::bits(first), half), 16);
    const __m512i high = _mm512_add_epi32(vec::bits(second), half);
    return _mm512_mask_blend_epi16(0xaaaaaaaaU, low, high);
}

/// 32 columns of 16 outputs as one tile: a row has two columns of each output.
void widen_group(const __m512i (&code)[8], const line& first, const line& second, std::uint16_t* to)
{
#pragma GCC unroll 8
    for (int c = 0; c != 8; ++c) {
        const line& by = c < 4 ? first : second;
        const __m512i low = paired(number_of<0>(code[c], by), number_of<1>(code[c], by));
        const __m512i high = paired(number_of<2>(code[c], by), number_of<3>(code[c], by));
        _mm512_store_si512(to + std::ptrdiff_t{64} * c, low);
        _mm512_store_si512(to + std::ptrdiff_t{64} * c + 32, high);
    }
}

template <block_type type, int g>
void widen_part(const panel_block<vec, type>& weights, std::uint16_t* to)
{
    using block = panel_block<vec, type>;
    __m512i code[8];
    weights.template codes<g>(code);
    const auto line_of = [&](f scale, f offset) {
        const f zero = vec::set(-static_cast<float>(block::zero));
        return line{scale, vec::fma(scale, zero, offset)};
    };
    if constexpr (block::n_groups == 1) {
        const group_scales<vec> scales = weights.scales();
        const line all = line_of(scales.scale, scales.offset);
        widen_group(code, all, all, to);
    } else {
        const half_scales<vec> factors = weights.template factors<g>();
        f offsets[2] = {vec::set(0.0F), vec::set(0.0F)};
        if constexpr (block::has_offset) {
            const half_scales<vec> minima = weights.template minima<g>();
            offsets[0] = vec::mul(weights.minus, vec::to_f(minima.first));
            offsets[1] = vec::mul(weights.minus, vec::to_f(minima.second));
        }
        const line first = line_of(vec::mul(weights.scale, vec::to_f(factors.first)), offsets[0]);
        const line second = line_of(vec::mul(weights.scale, vec::to_f(factors.second)), offsets[1]);
        widen_group(code, first, second, to);
    }
}

/// Columns [first, first + n) of a panel; the tiles of steps are step_numbers apart.
template <block_type type>
void widen_panel(const std::byte* panel, std::int64_t first, std::int64_t n, std::uint16_t* to)
{
    using block = panel_block<vec, type>;
    constexpr std::int64_t n_columns = 32 * block::n_groups;
    constexpr std::int64_t n_bytes = packed_shape_for<type>().n_bytes;
    panel += first / n_columns * n_bytes;
    for (std::int64_t k = 0; k < n; k += n_columns, panel += n_bytes) {
        const block weights = block_at<vec, type>(panel, 0);
        [&]<int... g>(std::integer_sequence<int, g...>) {
            (widen_part<type, g>(weights, to + g * step_numbers), ...);
        }(std::make_integer_sequence<int, block::n_groups>{});
        to += block::n_groups * step_numbers;
    }
}

using widen_function = void (*)(const std::byte*, std::int64_t, std::int64_t, std::uint16_t*);

widen_function widening_of(block_type type)
{
    switch (type) {
    case block_type::q4_0:
        return widen_panel<block_type::q4_0>;
    case block_type::q4_1:
        return widen_panel<block_type::q4_1>;
    case block_type::q5_0:
        return widen_panel<block_type::q5_0>;
    case block_type::q5_1:
        return widen_panel<block_type::q5_1>;
    case block_type::q8_0:
        return widen_panel<block_type::q8_0>;
    case block_type::q2_k:
        return widen_panel<block_type::q2_k>;
    case block_type::q3_k:
        return widen_panel<block_type::q3_k>;
    case block_type::q4_k:
        return widen_panel<block_type::q4_k>;
    case block_type::q5_k:
        return widen_panel<block_type::q5_k>;
    case block_type::q6_k:
        return widen_panel<block_type::q6_k>;
    default:
        return nullptr;
    }
}

// ---- products ------------------------------------------------------------------------------------------

/// Tiles 0 to 3 += the products of a block of rows and a panel. 4 and 5 take rows, 6 and 7 weights.
[[gnu::always_inline]] inline void
add_products(const std::uint16_t* rows, const std::uint16_t* weights, std::int64_t n_steps)
{
    for (std::int64_t step = 0; step != n_steps; ++step) {
        _tile_loadd(4, rows, 64);
        _tile_loadd(6, weights, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, weights + tile_numbers, 64);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, rows + tile_numbers, 64);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
        rows += step_numbers;
        weights += step_numbers;
    }
}

/// What a block of rows and a panel come to: [row, output].
constexpr std::int64_t sum_numbers = tile_input::block_rows * panel_outputs;
constexpr std::int64_t sum_stride = panel_outputs * sizeof(float);

void load_sums(const float* from)
{
    _tile_loadd(0, from, sum_stride);
    _tile_loadd(1, from + 16, sum_stride);
    _tile_loadd(2, from + 16 * panel_outputs, sum_stride);
    _tile_loadd(3, from + 16 * panel_outputs + 16, sum_stride);
}

void store_sums(float* to)
{
    _tile_stored(0, to, sum_stride);
    _tile_stored(1, to + 16, sum_stride);
    _tile_stored(2, to + 16 * panel_outputs, sum_stride);
    _tile_stored(3, to + 16 * panel_outputs + 16, sum_stride);
}

void zero_sums()
{
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

/// What one thread computes some outputs with.
class tile_worker {
public:
    /// Outputs of a part, and columns that are widened together: 768 KiB of weights, so that they
    /// stay in a core's second cache while all rows pass by.
    static constexpr std::int64_t part_outputs = 128;
    static constexpr std::int64_t most_columns = 3072;

    tile_worker(
        const tile_input& x,
        const linear& weights,
        const float* bias,
        row_function function,
        const bf16_matrix& y)
        : x_{x}
        , weights_{weights}
        , bias_{bias}
        , function_{function}
        , y_{y}
        , widen_{widening_of(weights.type())}
    {}

    static std::int64_t room_bytes(const tile_input& x)
    {
        const std::int64_t columns = std::min(x.n(), most_columns);
        const std::int64_t n_blocks = x.n() > most_columns ? x.n_blocks() : 1;
        return part_outputs * columns * std::int64_t{sizeof(std::uint16_t)} +
               n_blocks * (part_outputs / panel_outputs) * sum_numbers *
                   std::int64_t{sizeof(float)};
    }

    /// Outputs [first, last), at most part_outputs; `first` is a multiple of 32.
    void run(std::int64_t first, std::int64_t last, std::byte* room) const
    {
        auto* widened = reinterpret_cast<std::uint16_t*>(room);
        const std::int64_t columns = std::min(x_.n(), most_columns);
        auto* sums = reinterpret_cast<float*>(widened + part_outputs * columns);
        configure_tiles();
        for (std::int64_t column = 0; column < x_.n(); column += most_columns) {
            const std::int64_t n = std::min(most_columns, x_.n() - column);
            widen(first, last, column, n, widened);
            multiply(first, last, column, n, widened, sums);
        }
        _tile_release();
    }

private:
    void widen(
        std::int64_t first,
        std::int64_t last,
        std::int64_t column,
        std::int64_t n,
        std::uint16_t* to) const
    {
        const std::int64_t n_panels = (weights_.n_out() + vec::lanes - 1) / vec::lanes;
        const std::int64_t end = (last + panel_outputs - 1) / panel_outputs * 2;
        for (std::int64_t panel = first / vec::lanes; panel != end; ++panel) {
            const std::int64_t index = panel - first / vec::lanes;
            std::uint16_t* place = to + index / 2 * panel_outputs * n + index % 2 * tile_numbers;
            if (panel < n_panels)
                widen_(weights_.panel(panel), column, n, place);
            else  // fills up the last pair; nobody reads what comes of it
                for (std::int64_t step = 0; step != n / 32; ++step)
                    std::memset(place + step * step_numbers, 0, 2 * tile_numbers);
        }
    }

    void multiply(
        std::int64_t first,
        std::int64_t last,
        std::int64_t column,
        std::int64_t n,
        const std::uint16_t* widened,
        float* sums) const
    {
        const bool is_split = x_.n() > most_columns;
        const bool is_last = column + n == x_.n();
        for (std::int64_t block = 0; block != x_.n_blocks(); ++block) {
            const std::uint16_t* rows = x_.block(block) + column * tile_input::block_rows;
            for (std::int64_t out = first; out < last; out += panel_outputs) {
                float* own = sums + (out - first) / panel_outputs * sum_numbers;
                if (is_split) own += block * (part_outputs / panel_outputs) * sum_numbers;
                if (column == 0)
                    zero_sums();
                else
                    load_sums(own);
                add_products(rows, widened + (out - first) * n, n / 32);
                store_sums(own);
                if (is_last) finish(block * tile_input::block_rows, out, own);
            }
        }
    }

    void finish(std::int64_t row, std::int64_t out, const float* sums) const
    {
        switch (function_) {
        case row_function::none:
            return finish_with<row_function::none>(row, out, sums);
        case row_function::gelu:
            return finish_with<row_function::gelu>(row, out, sums);
        case row_function::gelu_tanh:
            return finish_with<row_function::gelu_tanh>(row, out, sums);
        case row_function::relu:
            return finish_with<row_function::relu>(row, out, sums);
        case row_function::silu:
            return finish_with<row_function::silu>(row, out, sums);
        }
    }

    template <row_function function>
    void finish_with(std::int64_t row, std::int64_t out, const float* sums) const
    {
        const std::int64_t n_rows = std::min(tile_input::block_rows, x_.n_rows() - row);
        for (std::int64_t half = 0; half != panel_outputs; half += 16) {
            const std::int64_t n = std::min<std::int64_t>(16, weights_.n_out() - out - half);
            if (n <= 0) return;
            const auto there = static_cast<__mmask16>((1U << static_cast<unsigned>(n)) - 1U);
            const f bias =
                bias_ == nullptr ? vec::set(0.0F) : vec::load_first(bias_ + out + half, n);
            std::uint16_t* to = y_.data + row * y_.stride + out + half;
            for (std::int64_t r = 0; r != n_rows; ++r, to += y_.stride) {
                const f sum = vec::add(vec::load(sums + r * panel_outputs + half), bias);
                _mm256_mask_storeu_epi16(to, there, to_bf16(value_of(function, sum)));
            }
        }
    }

    const tile_input& x_;
    const linear& weights_;
    const float* bias_;
    row_function function_;
    bf16_matrix y_;
    widen_function widen_;
};

}  // namespace

void tile_input::set(const_bf16_matrix x, thread_team& team)
{
    if (x.n % step_columns != 0)
        throw std::invalid_argument{"rows for tiles have a multiple of 32 columns"};
    n_rows_ = x.n_rows;
    n_ = x.n;
    data_ = room_.get_as<std::uint16_t>(std::max<std::int64_t>(1, n_blocks() * block_rows * n_));
    const auto copy_block = [&](int index, int) {
        const std::int64_t first = index * block_rows;
        std::uint16_t* to = data_ + first * n_;
        for (std::int64_t r = 0; r != block_rows; ++r, to += step_columns) {
            const bool is_there = first + r < n_rows_;
            const std::uint16_t* from = x.data + (first + r) * x.stride;
            for (std::int64_t step = 0; step != n_ / step_columns; ++step) {
                __m512i numbers = _mm512_setzero_si512();
                if (is_there) numbers = _mm512_loadu_si512(from + step * step_columns);
                _mm512_store_si512(to + step * step_numbers, numbers);
            }
        }
    };
    team.run(static_cast<int>(n_blocks()), copy_block);
}

bool fits_tiles(const linear& weights) noexcept
{
    return has_bf16_tiles() && !weights.refers_to_bytes() && weights.n_experts() == 1;
}

void multiply_in_tiles(
    const tile_input& x,
    const linear& weights,
    const float* bias,
    row_function function,
    bf16_matrix y,
    thread_team& team,
    tile_room& room)
{
    if (x.n() != weights.n_in() || y.n != weights.n_out() || y.n_rows != x.n_rows())
        throw std::invalid_argument{"a product's input or output has other sizes than its weights"};
    if (x.n_rows() == 0) return;
    const tile_worker worker{x, weights, bias, function, y};
    auto& rooms = room.of_threads();
    if (rooms.size() < static_cast<std::size_t>(team.n_threads()))
        rooms.resize(static_cast<std::size_t>(team.n_threads()));
    const auto needed = static_cast<std::size_t>(tile_worker::room_bytes(x));
    for (aligned_room& one : rooms)
        static_cast<void>(one.get(needed));
    const std::int64_t even = weights.n_out() / (4 * std::int64_t{team.n_threads()});
    const std::int64_t each = std::clamp<std::int64_t>(
        even / panel_outputs * panel_outputs, panel_outputs, tile_worker::part_outputs);
    const auto compute = [&](int part, int thread) {
        const std::int64_t first = part * each;
        const std::int64_t last = std::min(first + each, weights.n_out());
        worker.run(first, last, rooms[static_cast<std::size_t>(thread)].get(needed));
    };
    team.run(static_cast<int>((weights.n_out() + each - 1) / each), compute);
}

}  // namespace modelpool::kernels
// NOLINTEND(portability-simd-intrinsics)
