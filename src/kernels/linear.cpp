#include "kernels/linear.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <stdexcept>

#include "kernels/bf16_panels.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/packing.hpp"

namespace modelpool::kernels {
namespace {

std::int64_t panels_of(std::int64_t n_out)
{
    return (n_out + panel_rows - 1) / panel_rows;
}

/// How the work of one matrix is cut: outputs in units of a panel.
std::int64_t panels_per_part(std::int64_t n_panels, std::int64_t panel_work, int n_threads)
{
    constexpr std::int64_t least_work = std::int64_t{64} * 1024;
    const std::int64_t even = std::max<std::int64_t>(n_panels / (8 * std::int64_t{n_threads}), 1);
    const std::int64_t worthwhile =
        (least_work + panel_work - 1) / std::max<std::int64_t>(panel_work, 1);
    const std::int64_t at_most = std::max<std::int64_t>((n_panels + n_threads - 1) / n_threads, 1);
    return std::clamp<std::int64_t>(std::max(even, worthwhile), 1, at_most);
}

}  // namespace

/// Rows [begin, end) of an input that go through one expert.
struct linear::row_range {
    std::int64_t begin;
    std::int64_t end;
    std::int64_t expert;
};

linear::linear(
    block_type type,
    std::span<const std::byte> bytes,
    std::int64_t n_out,
    std::int64_t n_in,
    layout how,
    thread_team* team,
    std::int64_t n_experts,
    const bytes_read& read)
    : type_{type}
    , n_out_{n_out}
    , n_in_{n_in}
    , n_experts_{n_experts}
    , stored_{bytes.data()}
{
    constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
    if (!is_known(type)) throw std::invalid_argument{"weights of a type that has no kernels"};
    const bool sane = n_out >= 1 && n_in >= 1 && n_experts >= 1 && n_out <= most && n_in <= most &&
                      n_experts <= most / n_out;
    if (!sane) throw std::invalid_argument{"a linear's sizes must be positive and below 2^31"};
    if (n_in % shape_of(type).n_elements != 0)
        throw std::invalid_argument{"a linear's rows must be whole blocks"};
    const auto row = static_cast<std::uint64_t>(row_bytes(type, n_in));
    const auto n_rows = static_cast<std::uint64_t>(n_out * n_experts);
    if (bytes.size() / row != n_rows || bytes.size() % row != 0)
        throw std::invalid_argument{"a linear's bytes are not those of its sizes"};
    if (how == layout::packed && !is_dense(type)) pack(bytes, team, read);
}

void linear::pack(std::span<const std::byte> bytes, thread_team* team, const bytes_read& read)
{
    const std::int64_t row = row_bytes(type_, n_in_);
    const std::int64_t n_panels = panels_of(n_out_);
    const std::int64_t panel_bytes = row * panel_rows;
    auto* to = packed_.get(static_cast<std::size_t>(n_panels * n_experts_ * panel_bytes));
    const std::int64_t all = n_panels * n_experts_;
    const auto source_of = [&](std::int64_t p) {
        return (p / n_panels * n_out_ + std::min(p % n_panels * panel_rows, n_out_)) * row;
    };
    // Between two reports: enough for all threads, little beside any model.
    constexpr std::int64_t slice_bytes = std::int64_t{32} << 20U;
    constexpr std::int64_t per_part = 8;
    const std::int64_t per_slice = std::max<std::int64_t>(1, slice_bytes / panel_bytes);
    for (std::int64_t first = 0; first < all; first += per_slice) {
        const std::int64_t last = std::min(first + per_slice, all);
        const auto pack_part = [&](int part, int) {
            const std::int64_t end = std::min(first + (part + 1) * per_part, last);
            for (std::int64_t p = first + part * per_part; p < end; ++p) {
                const std::int64_t left = n_out_ - p % n_panels * panel_rows;
                const int n_rows = static_cast<int>(std::min<std::int64_t>(left, panel_rows));
                pack_panel(type_, stored_ + source_of(p), row, n_rows, n_in_, to + p * panel_bytes);
            }
        };
        const int n_parts = static_cast<int>((last - first + per_part - 1) / per_part);
        if (team != nullptr) {
            team->run(n_parts, pack_part);
        } else {
            for (int part = 0; part != n_parts; ++part)
                pack_part(part, 0);
        }
        const auto begin = static_cast<std::size_t>(source_of(first));
        if (read) read(bytes.subspan(begin, static_cast<std::size_t>(source_of(last)) - begin));
    }
    stored_ = nullptr;
}

const std::byte* linear::panel(std::int64_t index) const noexcept
{
    return packed_.data_as<std::byte>() + index * panel_rows * row_bytes(type_, n_in_);
}

void linear::check(const linear_input& x, const matrix& y, std::int64_t n_rows) const
{
    if (x.n() != n_in_ || y.n != n_out_ || y.n_rows != n_rows)
        throw std::invalid_argument{"a linear's input or output has other sizes than its weights"};
    if (takes_quantized() && !x.is_quantized())
        throw std::invalid_argument{"quantised weights take quantised activations"};
    if (!takes_quantized() && x.rows().data == nullptr && n_rows != 0)
        throw std::invalid_argument{"dense weights take activations as numbers"};
}

void linear::apply(const_matrix x, matrix y, thread_team& team, scratch& room) const
{
    linear_input input;
    input.set(x, takes_quantized(), team, room);
    apply(input, y, team, room);
}

void linear::apply(const linear_input& x, matrix y, thread_team& team, scratch& room) const
{
    check(x, y, x.n_rows());
    const bool is_partly_fast = takes_quantized() && x.n_exact() != x.n_rows();
    const row_range exact{0, is_partly_fast ? x.n_exact() : x.n_rows(), 0};
    run(x, {&exact, 1}, nullptr, y, team, room);
    if (is_partly_fast) run_fast(x, y, team, room);
}

void linear::apply_routed(
    const linear_input& x,
    std::span<const routed_row> routes,
    matrix y,
    thread_team& team,
    scratch& room) const
{
    check(x, y, static_cast<std::int64_t>(routes.size()));
    if (x.n_exact() != x.n_rows()) throw std::invalid_argument{"rows in bf16 take no routes"};
    for (const routed_row& route : routes) {
        const bool fits = route.row >= 0 && route.row < x.n_rows() && route.expert >= 0 &&
                          route.expert < n_experts_;
        if (!fits)
            throw std::invalid_argument{"a route names a row or an expert that is not there"};
    }
    std::vector<std::int32_t> order(routes.size());
    std::iota(order.begin(), order.end(), 0);
    const auto expert_of = [&](std::int32_t i) {
        return routes[static_cast<std::size_t>(i)].expert;
    };
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
        return expert_of(a) < expert_of(b);
    });
    std::vector<std::int32_t> rows;
    std::vector<std::int32_t> places;
    std::vector<row_range> ranges;
    for (auto from = order.begin(); from != order.end();) {
        const std::int32_t expert = expert_of(*from);
        const auto to =
            std::find_if(from, order.end(), [&](std::int32_t i) { return expert_of(i) != expert; });
        // A range that is worth a tile begins with one.
        constexpr std::ptrdiff_t worth_a_tile = 8;
        while (to - from > worth_a_tile && rows.size() % 16 != 0) {
            rows.push_back(linear_input::no_row);
            places.push_back(linear_input::no_row);
        }
        const auto begin = static_cast<std::int64_t>(rows.size());
        ranges.push_back({begin, begin + (to - from), expert});
        for (; from != to; ++from) {
            rows.push_back(routes[static_cast<std::size_t>(*from)].row);
            places.push_back(*from);
        }
    }
    linear_input& gathered = room.routed();
    gathered.gather(x, rows, team);
    run(gathered, ranges, places.data(), y, team, room);
}

/// `y_rows` says where each row of `x` goes; null: to the row of the same number.
void linear::run(
    const linear_input& x,
    std::span<const row_range> ranges,
    const std::int32_t* y_rows,
    matrix y,
    thread_team& team,
    scratch& room) const
{
    if (x.n_rows() == 0 || ranges.back().end == 0) return;
    room.prepare(team.n_threads());
    const std::int64_t n_panels = panels_of(n_out_);
    const std::int64_t panel_work = row_bytes(type_, n_in_) * panel_rows;
    std::int64_t per_part = panels_per_part(
        n_panels * static_cast<std::int64_t>(ranges.size()), panel_work, team.n_threads());
    per_part = std::min(per_part, n_panels);
    const std::int64_t parts_each = (n_panels + per_part - 1) / per_part;
    const std::int64_t n_parts = parts_each * static_cast<std::int64_t>(ranges.size());
    const quantized_view quantized = x.is_quantized() ? x.quantized() : quantized_view{};
    const std::int64_t per_run = thread_team::max_parts;
    for (std::int64_t done = 0; done < n_parts; done += per_run) {
        const auto compute = [&](int part, int thread) {
            const std::int64_t index = done + part;
            const row_range& range = ranges[static_cast<std::size_t>(index / parts_each)];
            const std::int64_t first = index % parts_each * per_part;
            const std::int64_t last = std::min(first + per_part, n_panels);
            if (takes_quantized())
                run_panels(quantized, range, first, last, y, y_rows, room, thread);
            else
                run_dense(x.rows(), range, first, last, y, y_rows, room);
        };
        team.run(static_cast<int>(std::min(n_parts - done, per_run)), compute);
    }
}

/// Panels [first, last) of one expert, for so many rows at a time (of wide matrices: so many columns
/// too) that a core's cache holds their activations while the panels pass by.
void linear::run_panels(
    const quantized_view& x,
    const row_range& range,
    std::int64_t first,
    std::int64_t last,
    matrix y,
    const std::int32_t* y_rows,
    scratch& room,
    int thread) const
{
    constexpr std::int64_t cached_numbers = std::int64_t{1} << 18U;
    constexpr std::int64_t least_rows = 64;
    const std::int64_t most_rows = std::max(cached_numbers / n_in_ / 16 * 16, least_rows);
    const std::int64_t n_rows = std::min(range.end - range.begin, most_rows);
    const std::int64_t pass = std::max(2 * cached_numbers / n_rows / scale_block, std::int64_t{1});
    const std::int64_t row = row_bytes(type_, n_in_);
    const std::int64_t panel_bytes = row * panel_rows;
    const auto kernel = room.table().panel(type_);
    const std::int64_t kernel_bytes = panel_room_of(n_rows);
    std::byte* own =
        room.of_thread(thread).get(static_cast<std::size_t>(kernel_bytes + panel_bytes));
    panel_job job;
    job.x = x;
    job.y_rows = y_rows;
    job.y_stride = y.stride;
    job.room = own;
    const auto run_panel = [&](std::int64_t p) {
        const std::int64_t output = p * panel_rows;
        const std::int64_t before = row_bytes(type_, job.first_column);
        job.n_outputs = std::min<std::int64_t>(n_out_ - output, panel_rows);
        job.y = y.data + output;
        if (stored_ == nullptr) {
            job.panel = packed_.data_as<std::byte>() +
                        (range.expert * panels_of(n_out_) + p) * panel_bytes + before * panel_rows;
        } else {
            std::byte* packed = own + kernel_bytes;
            const std::byte* from = stored_ + (range.expert * n_out_ + output) * row + before;
            pack_panel(type_, from, row, static_cast<int>(job.n_outputs), job.n_columns, packed);
            job.panel = packed;
        }
        kernel(job);
    };
    for (std::int64_t begin = range.begin; begin < range.end; begin += n_rows) {
        job.first_row = begin;
        job.n_rows = std::min(n_rows, range.end - begin);
        for (std::int64_t column = 0; column < n_in_; column += pass * scale_block) {
            job.first_column = column;
            job.n_columns = std::min(pass * scale_block, n_in_ - column);
            for (std::int64_t p = first; p != last; ++p)
                run_panel(p);
        }
    }
}

void linear::run_fast(const linear_input& x, matrix y, thread_team& team, scratch& room) const
{
    room.prepare(team.n_threads());
    bf16_panels_job all;
    all.type = type_;
    all.panel_bytes = row_bytes(type_, n_in_) * panel_rows;
    all.x = x.fast();
    all.n_rows = x.n_rows() - x.n_exact();
    all.y_stride = y.stride;
    constexpr std::int64_t per_part = bf16_panels_job::max_panels;
    const std::int64_t n_parts = (panels_of(n_out_) + per_part - 1) / per_part;
    const auto multiply = [&](std::int64_t part, int thread) {
        bf16_panels_job job = all;
        const std::int64_t first = part * per_part * panel_rows;
        job.n_outputs = std::min(per_part * panel_rows, n_out_ - first);
        job.y = y.row(x.n_exact()) + first;
        const std::int64_t job_bytes = bf16_room_of(job.n_rows);
        const std::int64_t packed_bytes = stored_ == nullptr ? 0 : per_part * job.panel_bytes;
        job.room = room.of_thread(thread).get(static_cast<std::size_t>(job_bytes + packed_bytes));
        if (stored_ == nullptr) {
            job.panels = packed_.data_as<std::byte>() + part * per_part * job.panel_bytes;
        } else {
            std::byte* const packed = job.room + job_bytes;
            const std::int64_t row = row_bytes(type_, n_in_);
            for (std::int64_t out = 0; out < job.n_outputs; out += panel_rows) {
                const std::int64_t n = std::min<std::int64_t>(panel_rows, job.n_outputs - out);
                pack_panel(
                    type_,
                    stored_ + (first + out) * row,
                    row,
                    static_cast<int>(n),
                    n_in_,
                    packed + out * row);
            }
            job.panels = packed;
        }
        multiply_in_bf16(job);
    };
    for (std::int64_t done = 0; done < n_parts; done += thread_team::max_parts) {
        const auto run_part = [&](int part, int thread) { multiply(done + part, thread); };
        team.run(
            static_cast<int>(std::min<std::int64_t>(n_parts - done, thread_team::max_parts)),
            run_part);
    }
}

void linear::run_dense(
    const const_matrix& x,
    const row_range& range,
    std::int64_t first,
    std::int64_t last,
    matrix y,
    const std::int32_t* y_rows,
    const scratch& room) const
{
    // Tiles of outputs and rows that a core's cache holds.
    constexpr std::int64_t n_together = 32;
    const std::int64_t row = row_bytes(type_, n_in_);
    const std::int64_t last_output = std::min(last * panel_rows, n_out_);
    dense_job job;
    job.weight_stride = row;
    job.x = x.data;
    job.x_stride = x.stride;
    job.n = n_in_;
    job.y_rows = y_rows;
    job.y_stride = y.stride;
    const auto kernel = room.table().dense(type_);
    for (std::int64_t out = first * panel_rows; out < last_output; out += n_together) {
        job.weights = stored_ + (range.expert * n_out_ + out) * row;
        job.n_outputs = std::min(n_together, last_output - out);
        job.y = y.data + out;
        for (std::int64_t begin = range.begin; begin < range.end; begin += n_together) {
            job.first_row = begin;
            job.n_rows = std::min(n_together, range.end - begin);
            kernel(job);
        }
    }
}

}  // namespace modelpool::kernels
