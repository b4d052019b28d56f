#include "decoder/model.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "kernels/rows.hpp"
#include "support/stop.hpp"

namespace modelpool::decoder {
namespace {

using kernels::matrix;

void check(const decoder_config& config)
{
    const hyperparameters& sizes = config.sizes;
    const auto text = [](std::int64_t n) { return std::to_string(n); };
    if (sizes.n_heads < 1 || sizes.n_kv_heads < 1 || sizes.n_heads % sizes.n_kv_heads != 0)
        sizes.fail(
            text(sizes.n_kv_heads) + " heads of keys and values cannot serve " +
            text(sizes.n_heads) + " heads");
    constexpr std::int64_t most = 1 << 16;
    if (sizes.key_size < 1 || sizes.key_size > most || sizes.value_size < 1 ||
        sizes.value_size > most)
        sizes.fail(
            "heads of " + text(sizes.key_size) + " and " + text(sizes.value_size) + " numbers");
    if (config.latent_attention && (sizes.kv_rank < 1 || sizes.n_rotary >= sizes.key_size))
        sizes.fail(
            "latent attention of rank " + text(sizes.kv_rank) + " with " + text(sizes.n_rotary) +
            " of " + text(sizes.key_size) + " numbers rotated");
}

// GGUF has the factors of longrope as tensors.
void read_long_factors(hyperparameters& sizes, const weight_source& source)
{
    if (!source.has("rope_factors_long.weight")) return;
    const std::int64_t n_pairs = sizes.n_rotary / 2;
    rope_scaling& scaling = sizes.scaling;
    scaling.type = rope_scaling::kind::longrope;
    scaling.long_factors = source.numbers("rope_factors_long.weight", n_pairs);
    scaling.short_factors = source.numbers("rope_factors_short.weight", n_pairs);
    scaling.factor = static_cast<double>(sizes.context_length) /
                     static_cast<double>(std::max<std::int64_t>(1, scaling.original_context));
}

// Prompts come after sequences that advance by one row.
std::int64_t first_prompt_row(std::span<const step_row> rows)
{
    for (std::size_t i = 1; i < rows.size(); ++i)
        if (rows[i].sequence == rows[i - 1].sequence) return static_cast<std::int64_t>(i - 1);
    return kernels::linear_input::no_fast_row;
}

std::size_t room_bytes(const std::vector<float>& room)
{
    return room.capacity() * sizeof(float);
}

}  // namespace

std::size_t decoder_state::n_bytes() const noexcept
{
    std::size_t sum = on.room.n_bytes();
    for (const auto* each :
         {&room.a, &room.b, &room.c, &room.d, &room.e, &hidden, &normed, &change})
        sum += room_bytes(*each);
    return sum;
}

decoder_model::decoder_model(
    decoder_config config,
    std::unique_ptr<const weight_source> source,
    weight_layout layout,
    const load_watch& watch)
    : config_{std::move(config)}
    , source_{std::move(source)}
{
    check(config_);
    const hyperparameters& sizes = config_.sizes;
    read_long_factors(config_.sizes, *source_);
    std::vector<float> divisors;
    if (source_->has("rope_freqs.weight"))
        divisors = source_->numbers("rope_freqs.weight", sizes.n_rotary / 2);
    positions_ = rope{sizes, config_.pairs, divisors};
    kernels::thread_team team{watch.n_threads};
    const matrix_maker maker{*source_, layout, team, watch};
    read_outer(maker);
    layers_.resize(static_cast<std::size_t>(sizes.n_layers));
    for (std::int64_t i = 0; i < sizes.n_layers; ++i) {
        support::end_if_stopped(watch.stop, sizes.file);
        const std::string prefix = "blk." + std::to_string(i) + ".";
        layer& one = layers_[static_cast<std::size_t>(i)];
        one.attention_norm = source_->numbers(prefix + "attn_norm.weight", sizes.hidden);
        one.look = make_attention(config_, prefix, maker, positions_);
        one.feed_forward_norm = source_->numbers(prefix + "ffn_norm.weight", sizes.hidden);
        one.think = make_feed_forward(config_, i, prefix, maker);
    }
    refuse_unused();
    words_are_twice_ = !source_->has("output.weight") && !head_.refers_to_bytes();
    mapped_bytes_ = source_->weight_bytes() - static_cast<std::size_t>(maker.n_released()) +
                    (words_are_twice_ ? words_.data.size() : 0);
}

void decoder_model::read_outer(const matrix_maker& maker)
{
    const hyperparameters& sizes = config_.sizes;
    words_ = source_->matrix("token_embd.weight", sizes.vocab_size, sizes.hidden);
    final_norm_ = source_->numbers("output_norm.weight", sizes.hidden);
    // Without a matrix of its own, the output shares that of the words.
    const bool tied = !source_->has("output.weight");
    head_ = tied ? maker.make(words_, matrix_use::output)
                 : maker.make("output.weight", sizes.vocab_size, sizes.hidden);
}

// A part of a layer that is left out would give another model's answers.
void decoder_model::refuse_unused() const
{
    for (const std::string& name : source_->unused()) {
        // Some files have keys and values of latent attention twice, joined and apart.
        const bool is_twice = config_.latent_attention && name.ends_with(".attn_kv_b.weight");
        if (!name.starts_with("blk.") || is_twice) continue;
        config_.sizes.refuse(
            "has the tensor '" + name + "', which " + config_.sizes.architecture +
            " is not computed with here");
    }
}

std::unique_ptr<decoder_state> decoder_model::make_state() const
{
    return std::make_unique<decoder_state>(layers_.size(), kv_layout_of(config_));
}

void decoder_model::norm(matrix x, const std::vector<float>& weight, matrix y, machine& on) const
{
    const auto epsilon = static_cast<float>(config_.sizes.norm_epsilon);
    kernels::rms_norm(x, weight.data(), epsilon, y, on.team, on.room);
}

void decoder_model::embed(
    std::span<const step_row> rows, std::span<const float* const> embeddings, matrix hidden) const
{
    const std::int64_t width = config_.sizes.hidden;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        float* const to = hidden.row(static_cast<std::int64_t>(i));
        const float* const from = embeddings.empty() ? nullptr : embeddings[i];
        if (from != nullptr)
            std::copy_n(from, width, to);
        else
            kernels::lookup_row(words_.type, words_.data.data(), rows[i].token, width, to);
    }
    release_words(rows.size());
}

// With each page that is looked up the system maps its neighbours: soon all words would be in
// memory a second time.
void decoder_model::release_words(std::size_t n_looked_up) const
{
    if (!words_are_twice_) return;
    constexpr std::size_t most = 64;
    if (n_looked_up_.fetch_add(n_looked_up, std::memory_order_relaxed) + n_looked_up < most) return;
    n_looked_up_.store(0, std::memory_order_relaxed);
    source_->release(words_);
}

void decoder_model::step(
    std::span<const step_row> rows,
    std::span<const float* const> embeddings,
    std::span<float> logits,
    decoder_state& state,
    run_context& context) const
{
    const hyperparameters& sizes = config_.sizes;
    if (state.on.team.n_threads() != context.n_threads()) state.on.team.resize(context.n_threads());
    const auto width = static_cast<std::size_t>(sizes.hidden);
    const matrix hidden = rows_of(state.hidden, rows.size(), width);
    embed(rows, embeddings, hidden);
    constexpr std::int64_t none = kernels::linear_input::no_fast_row;
    const bool is_fast = state.prefill == prefill_mode::fast;
    state.on.first_fast = is_fast ? first_prompt_row(rows) : none;
    if (!run_layers(rows, hidden, state, context)) return;
    state.on.first_fast = none;  // rows that give logits are few
    std::size_t n_wanted = 0;
    const matrix wanted = rows_of(state.change, rows.size(), width);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        if (!rows[i].wants_logits) continue;
        const float* from = hidden.row(static_cast<std::int64_t>(i));
        std::copy(from, from + width, wanted.row(static_cast<std::int64_t>(n_wanted++)));
    }
    if (n_wanted == 0) return;
    const matrix last{wanted.data, static_cast<std::int64_t>(n_wanted), sizes.hidden, sizes.hidden};
    norm(last, final_norm_, last, state.on);
    const matrix out{
        logits.data(), static_cast<std::int64_t>(n_wanted), sizes.vocab_size, sizes.vocab_size};
    apply(head_, last, out, state.room.input, state.on);
}

// False where it was asked to stop.
bool decoder_model::run_layers(
    std::span<const step_row> rows, matrix hidden, decoder_state& state, run_context& context) const
{
    const auto width = static_cast<std::size_t>(config_.sizes.hidden);
    state.step.place(rows, positions_);
    const matrix normed = rows_of(state.normed, rows.size(), width);
    const matrix change = rows_of(state.change, rows.size(), width);
    machine& on = state.on;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
        if (context.stop_requested()) return false;
        const layer& one = layers_[i];
        norm(hidden, one.attention_norm, normed, on);
        one.look->run(i, state.step, normed, change, state.cache, state.room, on);
        kernels::add(hidden, change, hidden, on.team, on.room);
        norm(hidden, one.feed_forward_norm, normed, on);
        one.think->run(normed, change, state.room, on);
        kernels::add(hidden, change, hidden, on.team, on.room);
        context.step_done();
    }
    return true;
}

std::size_t decoder_model::own_bytes() const noexcept
{
    std::size_t sum = head_.n_bytes();
    for (const layer& one : layers_)
        sum += one.look->n_bytes() + one.think->n_bytes();
    return sum;
}

}  // namespace modelpool::decoder
