#include "models/packed_embedder.hpp"

#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>

#include "models/matryoshka.hpp"
#include "models/pooling.hpp"
#include "support/stop.hpp"
#include "torch/errors.hpp"
#include "torch/threads.hpp"

namespace modelpool::models {

// ---- parts ---------------------------------------------------------------------------------------------

c10::ScalarType
embedder_parts::compute_dtype(const std::string& family, const load_options& options)
{
    if (!options.device().is_cpu())
        throw error{
            model_errc::unsupported,
            family + " does not run on device '" + options.device().str() + "'; supported: cpu"};
    switch (options.dtype()) {
    case dtype::automatic:
    case dtype::f32:
        return c10::ScalarType::Float;
    case dtype::bf16:
        return c10::ScalarType::BFloat16;
    default:
        throw error{
            model_errc::unsupported,
            family + " does not compute in dtype '" + std::string{to_string(options.dtype())} +
                "'; supported: auto, f32, bf16"};
    }
}

embedder_parts embedder_parts::blocking_read(
    std::string family,
    sentence_modules modules,
    const encoder_size& size,
    const load_options& options)
{
    text_rules rules = text_rules::of(modules);
    return blocking_read(std::move(family), std::move(modules), size, options, std::move(rules));
}

embedder_parts embedder_parts::blocking_read(
    std::string family,
    sentence_modules modules,
    const encoder_size& size,
    const load_options& options,
    text_rules rules)
{
    const c10::ScalarType dtype = compute_dtype(family, options);
    const auto hidden_size = static_cast<std::size_t>(size.hidden_size);
    const auto most = static_cast<std::size_t>(size.max_tokens);
    check_dimensions(modules, hidden_size, modules.transformer_dir);
    embedder_info info;
    info.dim = modules.output_dim(hidden_size);
    info.dimensions = modules.output_dims(hidden_size);
    // Heads of several sizes are the checkpoint's own answer.
    info.cuttable =
        modules.dense_choices.empty() && blocking_is_matryoshka(modules.transformer_dir);
    info.max_tokens = std::min(modules.max_tokens.value_or(most), most);
    info.prompts = modules.prompts;
    info.default_prompt = modules.default_prompt;
    text_preparer preparer = text_preparer::blocking_load(
        modules, static_cast<std::size_t>(size.vocab_size), std::move(rules));
    sentence_head head = sentence_head::blocking_read(modules, options.stop());
    const nn::weight_footprint weights = head.footprint();
    return embedder_parts{
        std::move(family),
        dtype,
        std::move(modules),
        std::move(preparer),
        std::move(info),
        std::move(head),
        weights,
        0};
}

std::int64_t embedder_parts::max_block_rows() const noexcept
{
    return std::max(nn::default_block_rows, static_cast<std::int64_t>(info.max_tokens));
}

void embedder_parts::add_weights(const nn::weight_footprint& more) noexcept
{
    weights.mapped_bytes += more.mapped_bytes;
    weights.copied_bytes += more.copied_bytes;
}

// ---- embedder ------------------------------------------------------------------------------------------

prepared_text packed_embedder::prepare(const embed_input& input) const
{
    return parts_->preparer.prepare(input);
}

footprint packed_embedder::bytes() const
{
    footprint result;
    result.shared_bytes = parts_->weights.copied_bytes;
    result.mapped_bytes = parts_->weights.mapped_bytes;
    result.replica_bytes = parts_->replica_bytes;
    return result;
}

void packed_embedder::warm_up(run_context& context)
{
    embed_input input;
    input.text = "warm up";
    input.dimension = info().dim;
    input.max_tokens = info().max_tokens;
    const prepared_text text = prepare(input);
    for (const auto& row : run({&text, 1}, context))
        if (!row.ok()) std::rethrow_exception(row.failure());
}

packed_embedder::row_results
packed_embedder::run(std::span<const prepared_text> batch, run_context& context)
{
    return nn::translated(parts_->family, [&] { return run_batch(batch, context); });
}

packed_embedder::row_results
packed_embedder::run_batch(std::span<const prepared_text> batch, run_context& context)
{
    const c10::InferenceMode no_autograd;
    nn::use_threads(context.n_threads());
    row_results results(batch.size(), item_result<std::vector<float>>{std::vector<float>{}});
    std::vector<std::size_t> wanted;
    std::vector<std::size_t> lengths;
    for (std::size_t i = 0; i < batch.size(); ++i) {
        lengths.push_back(batch[i].n_tokens());
        if (std::exception_ptr problem = parts_->preparer.problem(batch[i], info()))
            results[i] = std::move(problem);
        else
            wanted.push_back(i);
    }
    for (const nn::packed_block& block : nn::pack(wanted, lengths, nn::default_block_rows))
        if (!context.stop_requested()) run_block(batch, block, context, results);
    if (context.stop_requested()) {
        const auto stopped = std::make_exception_ptr(
            error{support::operation_aborted(), "embedding: stopped on request"});
        std::ranges::fill(results, stopped);
    }
    return results;
}

void packed_embedder::run_block(
    std::span<const prepared_text> batch,
    const nn::packed_block& block,
    run_context& context,
    row_results& results)
{
    std::vector<std::int32_t> ids;
    ids.reserve(static_cast<std::size_t>(block.n_rows));
    for (const std::size_t i : block.texts)
        ids.insert(ids.end(), batch[i].tokens.begin(), batch[i].tokens.end());
    const at::Tensor index =
        at::from_blob(ids.data(), {block.n_rows}, at::TensorOptions{}.dtype(c10::ScalarType::Int));
    const at::Tensor hidden = encode(index, block, context);
    if (context.stop_requested()) return;
    const auto dim = static_cast<std::size_t>(hidden.size(1));
    const std::span<const float> values{
        hidden.const_data_ptr<float>(), static_cast<std::size_t>(hidden.numel())};
    std::size_t row = 0;
    for (const std::size_t i : block.texts) {
        const std::size_t n_tokens = batch[i].n_tokens();
        const token_rows tokens{
            values.subspan(row * dim, n_tokens * dim), dim, batch[i].n_prompt_tokens};
        row += n_tokens;
        results[i] = pool(parts_->modules.pooling, tokens);
    }
    if (!parts_->head.empty()) run_head(batch, block, results);
}

// Each size of a row has a head of its own, so the texts go through them by size.
void packed_embedder::run_head(
    std::span<const prepared_text> batch, const nn::packed_block& block, row_results& results) const
{
    std::map<std::size_t, std::vector<std::size_t>> by_dimension;
    for (const std::size_t i : block.texts)
        by_dimension[batch[i].dimension].push_back(i);
    for (const auto& [dimension, texts] : by_dimension) {
        std::vector<float> pooled;
        for (const std::size_t i : texts)
            pooled.insert(pooled.end(), results[i].value().begin(), results[i].value().end());
        const auto n_texts = static_cast<std::int64_t>(texts.size());
        const at::Tensor in = at::from_blob(
            pooled.data(), {n_texts, static_cast<std::int64_t>(pooled.size()) / n_texts});
        const at::Tensor out = parts_->head.run(in, dimension).contiguous();
        const float* values = out.const_data_ptr<float>();
        for (const std::size_t i : texts) {
            results[i] = std::vector<float>(values, values + out.size(1));
            values += out.size(1);
        }
    }
}

}  // namespace modelpool::models
