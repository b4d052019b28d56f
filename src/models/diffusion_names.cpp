#include "models/diffusion_names.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <span>

namespace modelpool::models {
namespace {

// What becomes of a rule's rows on the way.
enum class rows {
    all,
    first_third,
    second_third,
    last_third,
    // A single block of FLUX has queries, keys, values and four times as many rows of its MLP in
    // one matrix.
    first_seventh,
    second_seventh,
    third_seventh,
    other_sevenths,
    swapped_halves,  // shift and scale stand the other way round
    as_1x1           // all of them, of a convolution of one pixel
};

// Which numbers a rule's "#" stands for.
enum class numbering { plain, backwards, all_but_last, only_last };

// Names without their ".weight" or ".bias", unless they are whole. Each "#" is a number, the same
// ones on both sides.
struct rule {
    std::string_view diffusers;
    std::string_view stored;
    rows which{rows::all};
    numbering first_number{numbering::plain};
    bool is_whole{false};
};

constexpr std::array flux_rules{
    rule{"time_text_embed.timestep_embedder.linear_1", "time_in.in_layer"},
    rule{"time_text_embed.timestep_embedder.linear_2", "time_in.out_layer"},
    rule{"time_text_embed.guidance_embedder.linear_1", "guidance_in.in_layer"},
    rule{"time_text_embed.guidance_embedder.linear_2", "guidance_in.out_layer"},
    rule{"time_text_embed.text_embedder.linear_1", "vector_in.in_layer"},
    rule{"time_text_embed.text_embedder.linear_2", "vector_in.out_layer"},
    rule{"context_embedder", "txt_in"},
    rule{"x_embedder", "img_in"},
    rule{"transformer_blocks.#.norm1.linear", "double_blocks.#.img_mod.lin"},
    rule{"transformer_blocks.#.norm1_context.linear", "double_blocks.#.txt_mod.lin"},
    rule{"transformer_blocks.#.attn.to_q", "double_blocks.#.img_attn.qkv", rows::first_third},
    rule{"transformer_blocks.#.attn.to_k", "double_blocks.#.img_attn.qkv", rows::second_third},
    rule{"transformer_blocks.#.attn.to_v", "double_blocks.#.img_attn.qkv", rows::last_third},
    rule{"transformer_blocks.#.attn.add_q_proj", "double_blocks.#.txt_attn.qkv", rows::first_third},
    rule{
        "transformer_blocks.#.attn.add_k_proj", "double_blocks.#.txt_attn.qkv", rows::second_third},
    rule{"transformer_blocks.#.attn.add_v_proj", "double_blocks.#.txt_attn.qkv", rows::last_third},
    rule{
        "transformer_blocks.#.attn.norm_q.weight",
        "double_blocks.#.img_attn.norm.query_norm.scale",
        rows::all,
        numbering::plain,
        true},
    rule{
        "transformer_blocks.#.attn.norm_k.weight",
        "double_blocks.#.img_attn.norm.key_norm.scale",
        rows::all,
        numbering::plain,
        true},
    rule{
        "transformer_blocks.#.attn.norm_added_q.weight",
        "double_blocks.#.txt_attn.norm.query_norm.scale",
        rows::all,
        numbering::plain,
        true},
    rule{
        "transformer_blocks.#.attn.norm_added_k.weight",
        "double_blocks.#.txt_attn.norm.key_norm.scale",
        rows::all,
        numbering::plain,
        true},
    rule{"transformer_blocks.#.attn.to_out.0", "double_blocks.#.img_attn.proj"},
    rule{"transformer_blocks.#.attn.to_add_out", "double_blocks.#.txt_attn.proj"},
    rule{"transformer_blocks.#.ff.net.0.proj", "double_blocks.#.img_mlp.0"},
    rule{"transformer_blocks.#.ff.net.2", "double_blocks.#.img_mlp.2"},
    rule{"transformer_blocks.#.ff_context.net.0.proj", "double_blocks.#.txt_mlp.0"},
    rule{"transformer_blocks.#.ff_context.net.2", "double_blocks.#.txt_mlp.2"},
    rule{"single_transformer_blocks.#.norm.linear", "single_blocks.#.modulation.lin"},
    rule{"single_transformer_blocks.#.attn.to_q", "single_blocks.#.linear1", rows::first_seventh},
    rule{"single_transformer_blocks.#.attn.to_k", "single_blocks.#.linear1", rows::second_seventh},
    rule{"single_transformer_blocks.#.attn.to_v", "single_blocks.#.linear1", rows::third_seventh},
    rule{"single_transformer_blocks.#.proj_mlp", "single_blocks.#.linear1", rows::other_sevenths},
    rule{
        "single_transformer_blocks.#.attn.norm_q.weight",
        "single_blocks.#.norm.query_norm.scale",
        rows::all,
        numbering::plain,
        true},
    rule{
        "single_transformer_blocks.#.attn.norm_k.weight",
        "single_blocks.#.norm.key_norm.scale",
        rows::all,
        numbering::plain,
        true},
    rule{"single_transformer_blocks.#.proj_out", "single_blocks.#.linear2"},
    rule{"norm_out.linear", "final_layer.adaLN_modulation.1", rows::swapped_halves},
    rule{"proj_out", "final_layer.linear"}};

constexpr std::array sd3_rules{
    rule{"pos_embed.pos_embed", "pos_embed", rows::all, numbering::plain, true},
    rule{"pos_embed.proj", "x_embedder.proj"},
    rule{"time_text_embed.timestep_embedder.linear_1", "t_embedder.mlp.0"},
    rule{"time_text_embed.timestep_embedder.linear_2", "t_embedder.mlp.2"},
    rule{"time_text_embed.text_embedder.linear_1", "y_embedder.mlp.0"},
    rule{"time_text_embed.text_embedder.linear_2", "y_embedder.mlp.2"},
    rule{"context_embedder", "context_embedder"},
    rule{"transformer_blocks.#.norm1.linear", "joint_blocks.#.x_block.adaLN_modulation.1"},
    rule{
        "transformer_blocks.#.norm1_context.linear",
        "joint_blocks.#.context_block.adaLN_modulation.1",
        rows::all,
        numbering::all_but_last},
    rule{
        "transformer_blocks.#.norm1_context.linear",
        "joint_blocks.#.context_block.adaLN_modulation.1",
        rows::swapped_halves,
        numbering::only_last},
    rule{"transformer_blocks.#.attn.to_q", "joint_blocks.#.x_block.attn.qkv", rows::first_third},
    rule{"transformer_blocks.#.attn.to_k", "joint_blocks.#.x_block.attn.qkv", rows::second_third},
    rule{"transformer_blocks.#.attn.to_v", "joint_blocks.#.x_block.attn.qkv", rows::last_third},
    rule{
        "transformer_blocks.#.attn.add_q_proj",
        "joint_blocks.#.context_block.attn.qkv",
        rows::first_third},
    rule{
        "transformer_blocks.#.attn.add_k_proj",
        "joint_blocks.#.context_block.attn.qkv",
        rows::second_third},
    rule{
        "transformer_blocks.#.attn.add_v_proj",
        "joint_blocks.#.context_block.attn.qkv",
        rows::last_third},
    rule{"transformer_blocks.#.attn.norm_q", "joint_blocks.#.x_block.attn.ln_q"},
    rule{"transformer_blocks.#.attn.norm_k", "joint_blocks.#.x_block.attn.ln_k"},
    rule{"transformer_blocks.#.attn.norm_added_q", "joint_blocks.#.context_block.attn.ln_q"},
    rule{"transformer_blocks.#.attn.norm_added_k", "joint_blocks.#.context_block.attn.ln_k"},
    rule{"transformer_blocks.#.attn.to_out.0", "joint_blocks.#.x_block.attn.proj"},
    rule{"transformer_blocks.#.attn2.to_q", "joint_blocks.#.x_block.attn2.qkv", rows::first_third},
    rule{"transformer_blocks.#.attn2.to_k", "joint_blocks.#.x_block.attn2.qkv", rows::second_third},
    rule{"transformer_blocks.#.attn2.to_v", "joint_blocks.#.x_block.attn2.qkv", rows::last_third},
    rule{"transformer_blocks.#.attn2.norm_q", "joint_blocks.#.x_block.attn2.ln_q"},
    rule{"transformer_blocks.#.attn2.norm_k", "joint_blocks.#.x_block.attn2.ln_k"},
    rule{"transformer_blocks.#.attn2.to_out.0", "joint_blocks.#.x_block.attn2.proj"},
    rule{"transformer_blocks.#.attn.to_add_out", "joint_blocks.#.context_block.attn.proj"},
    rule{"transformer_blocks.#.ff.net.0.proj", "joint_blocks.#.x_block.mlp.fc1"},
    rule{"transformer_blocks.#.ff.net.2", "joint_blocks.#.x_block.mlp.fc2"},
    rule{"transformer_blocks.#.ff_context.net.0.proj", "joint_blocks.#.context_block.mlp.fc1"},
    rule{"transformer_blocks.#.ff_context.net.2", "joint_blocks.#.context_block.mlp.fc2"},
    rule{"norm_out.linear", "final_layer.adaLN_modulation.1", rows::swapped_halves},
    rule{"proj_out", "final_layer.linear"}};

constexpr std::array vae_rules{
    rule{"quant_conv", "quant_conv"},
    rule{"post_quant_conv", "post_quant_conv"},
    rule{"decoder.conv_in", "decoder.conv_in"},
    rule{"decoder.conv_out", "decoder.conv_out"},
    rule{"decoder.conv_norm_out", "decoder.norm_out"},
    rule{"decoder.mid_block.resnets.0.conv_shortcut", "decoder.mid.block_1.nin_shortcut"},
    rule{"decoder.mid_block.resnets.0.norm1", "decoder.mid.block_1.norm1"},
    rule{"decoder.mid_block.resnets.0.conv1", "decoder.mid.block_1.conv1"},
    rule{"decoder.mid_block.resnets.0.norm2", "decoder.mid.block_1.norm2"},
    rule{"decoder.mid_block.resnets.0.conv2", "decoder.mid.block_1.conv2"},
    rule{"decoder.mid_block.resnets.1.norm1", "decoder.mid.block_2.norm1"},
    rule{"decoder.mid_block.resnets.1.conv1", "decoder.mid.block_2.conv1"},
    rule{"decoder.mid_block.resnets.1.norm2", "decoder.mid.block_2.norm2"},
    rule{"decoder.mid_block.resnets.1.conv2", "decoder.mid.block_2.conv2"},
    rule{"decoder.mid_block.attentions.0.group_norm", "decoder.mid.attn_1.norm"},
    rule{"decoder.mid_block.attentions.0.to_q", "decoder.mid.attn_1.q", rows::as_1x1},
    rule{"decoder.mid_block.attentions.0.to_k", "decoder.mid.attn_1.k", rows::as_1x1},
    rule{"decoder.mid_block.attentions.0.to_v", "decoder.mid.attn_1.v", rows::as_1x1},
    rule{"decoder.mid_block.attentions.0.to_out.0", "decoder.mid.attn_1.proj_out", rows::as_1x1},
    rule{
        "decoder.up_blocks.#.resnets.#.norm1",
        "decoder.up.#.block.#.norm1",
        rows::all,
        numbering::backwards},
    rule{
        "decoder.up_blocks.#.resnets.#.conv1",
        "decoder.up.#.block.#.conv1",
        rows::all,
        numbering::backwards},
    rule{
        "decoder.up_blocks.#.resnets.#.norm2",
        "decoder.up.#.block.#.norm2",
        rows::all,
        numbering::backwards},
    rule{
        "decoder.up_blocks.#.resnets.#.conv2",
        "decoder.up.#.block.#.conv2",
        rows::all,
        numbering::backwards},
    rule{
        "decoder.up_blocks.#.resnets.#.conv_shortcut",
        "decoder.up.#.block.#.nin_shortcut",
        rows::all,
        numbering::backwards},
    rule{
        "decoder.up_blocks.#.upsamplers.0.conv",
        "decoder.up.#.upsample.conv",
        rows::all,
        numbering::backwards},
    rule{"encoder.conv_in", "encoder.conv_in"},
    rule{"encoder.conv_out", "encoder.conv_out"},
    rule{"encoder.conv_norm_out", "encoder.norm_out"},
    rule{"encoder.mid_block.resnets.0.norm1", "encoder.mid.block_1.norm1"},
    rule{"encoder.mid_block.resnets.0.conv1", "encoder.mid.block_1.conv1"},
    rule{"encoder.mid_block.resnets.0.norm2", "encoder.mid.block_1.norm2"},
    rule{"encoder.mid_block.resnets.0.conv2", "encoder.mid.block_1.conv2"},
    rule{"encoder.mid_block.resnets.1.norm1", "encoder.mid.block_2.norm1"},
    rule{"encoder.mid_block.resnets.1.conv1", "encoder.mid.block_2.conv1"},
    rule{"encoder.mid_block.resnets.1.norm2", "encoder.mid.block_2.norm2"},
    rule{"encoder.mid_block.resnets.1.conv2", "encoder.mid.block_2.conv2"},
    rule{"encoder.mid_block.attentions.0.group_norm", "encoder.mid.attn_1.norm"},
    rule{"encoder.mid_block.attentions.0.to_q", "encoder.mid.attn_1.q", rows::as_1x1},
    rule{"encoder.mid_block.attentions.0.to_k", "encoder.mid.attn_1.k", rows::as_1x1},
    rule{"encoder.mid_block.attentions.0.to_v", "encoder.mid.attn_1.v", rows::as_1x1},
    rule{"encoder.mid_block.attentions.0.to_out.0", "encoder.mid.attn_1.proj_out", rows::as_1x1},
    rule{"encoder.down_blocks.#.resnets.#.norm1", "encoder.down.#.block.#.norm1"},
    rule{"encoder.down_blocks.#.resnets.#.conv1", "encoder.down.#.block.#.conv1"},
    rule{"encoder.down_blocks.#.resnets.#.norm2", "encoder.down.#.block.#.norm2"},
    rule{"encoder.down_blocks.#.resnets.#.conv2", "encoder.down.#.block.#.conv2"},
    rule{"encoder.down_blocks.#.resnets.#.conv_shortcut", "encoder.down.#.block.#.nin_shortcut"},
    rule{"encoder.down_blocks.#.downsamplers.0.conv", "encoder.down.#.downsample.conv"}};

constexpr std::array t5_rules{
    rule{"shared", "token_embd"},
    rule{"encoder.final_layer_norm", "enc.output_norm"},
    rule{"encoder.block.#.layer.0.SelfAttention.relative_attention_bias", "enc.blk.#.attn_rel_b"},
    rule{"encoder.block.#.layer.0.SelfAttention.q", "enc.blk.#.attn_q"},
    rule{"encoder.block.#.layer.0.SelfAttention.k", "enc.blk.#.attn_k"},
    rule{"encoder.block.#.layer.0.SelfAttention.v", "enc.blk.#.attn_v"},
    rule{"encoder.block.#.layer.0.SelfAttention.o", "enc.blk.#.attn_o"},
    rule{"encoder.block.#.layer.0.layer_norm", "enc.blk.#.attn_norm"},
    rule{"encoder.block.#.layer.1.DenseReluDense.wi_0", "enc.blk.#.ffn_gate"},
    rule{"encoder.block.#.layer.1.DenseReluDense.wi_1", "enc.blk.#.ffn_up"},
    rule{"encoder.block.#.layer.1.DenseReluDense.wo", "enc.blk.#.ffn_down"},
    rule{"encoder.block.#.layer.1.layer_norm", "enc.blk.#.ffn_norm"}};

std::span<const rule> rules_of(name_table table) noexcept
{
    switch (table) {
    case name_table::flux:
        return flux_rules;
    case name_table::sd3:
        return sd3_rules;
    case name_table::vae:
        return vae_rules;
    case name_table::t5_gguf:
        return t5_rules;
    case name_table::same:
        break;
    }
    return {};
}

std::vector<row_share> shares_of(rows which)
{
    switch (which) {
    case rows::first_third:
        return {{0, 1, 3}};
    case rows::second_third:
        return {{1, 2, 3}};
    case rows::last_third:
        return {{2, 3, 3}};
    case rows::first_seventh:
        return {{0, 1, 7}};
    case rows::second_seventh:
        return {{1, 2, 7}};
    case rows::third_seventh:
        return {{2, 3, 7}};
    case rows::other_sevenths:
        return {{3, 7, 7}};
    case rows::swapped_halves:
        return {{1, 2, 2}, {0, 1, 2}};
    case rows::as_1x1:
    case rows::all:
        break;
    }
    return {{0, 1, 1}};
}

constexpr std::size_t most_numbers = 2;

struct numbers {
    std::array<std::size_t, most_numbers> values{};
    std::size_t n{0};
};

// The digits that `text` begins with, if they are how a number is written.
std::size_t n_digits(std::string_view text) noexcept
{
    const std::size_t n = std::min(text.find_first_not_of("0123456789"), text.size());
    return n > 4 || (n > 1 && text.front() == '0') ? 0 : n;
}

// The numbers in `name` where it is of that pattern.
std::optional<numbers> match(std::string_view pattern, std::string_view name)
{
    numbers found;
    while (!pattern.empty()) {
        if (pattern.front() != '#') {
            if (name.empty() || name.front() != pattern.front()) return std::nullopt;
            name.remove_prefix(1);
        } else {
            const std::size_t n = n_digits(name);
            if (n == 0 || found.n == most_numbers) return std::nullopt;
            std::from_chars(name.data(), name.data() + n, found.values[found.n++]);
            name.remove_prefix(n);
        }
        pattern.remove_prefix(1);
    }
    return name.empty() ? std::optional{found} : std::nullopt;
}

std::string fill(std::string_view pattern, const numbers& with)
{
    std::string text;
    std::size_t next = 0;
    for (const char c : pattern)
        if (c == '#')
            text += std::to_string(with.values[next++]);
        else
            text += c;
    return text;
}

// Makes the numbers of one side those of the other; false where the rule is not for them.
bool renumber(numbering how, const name_counts& counts, numbers& found) noexcept
{
    std::size_t& first = found.values.front();
    switch (how) {
    case numbering::plain:
        return true;
    case numbering::backwards:
        if (first >= counts.n_up_blocks) return false;
        first = counts.n_up_blocks - 1 - first;
        return true;
    case numbering::all_but_last:
        return first + 1 != counts.n_blocks;
    case numbering::only_last:
        return first + 1 == counts.n_blocks;
    }
    return false;
}

struct split_name {
    std::string_view module;
    std::string_view ending;  // ".weight", ".bias", or nothing
};

split_name split(std::string_view name) noexcept
{
    for (const std::string_view ending : {".weight", ".bias"})
        if (name.ends_with(ending)) return {name.substr(0, name.size() - ending.size()), ending};
    return {name, {}};
}

// The other side's name of a rule; empty where `name` is not of the rule.
std::string across(
    const rule& one,
    std::string_view from,
    std::string_view to,
    const name_counts& counts,
    std::string_view name)
{
    const split_name parts = one.is_whole ? split_name{name, {}} : split(name);
    if (!one.is_whole && parts.ending.empty()) return {};
    std::optional<numbers> found = match(from, parts.module);
    if (!found || !renumber(one.first_number, counts, *found)) return {};
    return fill(to, *found) + std::string{parts.ending};
}

}  // namespace

std::string_view to_string(diffusion_part part) noexcept
{
    switch (part) {
    case diffusion_part::transformer:
        return "transformer";
    case diffusion_part::vae:
        return "vae";
    case diffusion_part::clip_l:
        return "CLIP-L text encoder";
    case diffusion_part::clip_g:
        return "CLIP-G text encoder";
    case diffusion_part::t5:
        return "T5 text encoder";
    }
    return "part";
}

std::optional<stored_rows>
to_stored(name_table table, const name_counts& counts, std::string_view name)
{
    if (table == name_table::same) return stored_rows{std::string{name}, {{0, 1, 1}}, false};
    for (const rule& one : rules_of(table)) {
        std::string stored = across(one, one.diffusers, one.stored, counts, name);
        if (stored.empty()) continue;
        const bool is_1x1 = one.which == rows::as_1x1 && name.ends_with(".weight");
        return stored_rows{std::move(stored), shares_of(one.which), is_1x1};
    }
    return std::nullopt;
}

std::vector<std::string>
to_diffusers(name_table table, const name_counts& counts, std::string_view name)
{
    if (table == name_table::same) return {std::string{name}};
    std::vector<std::string> found;
    for (const rule& one : rules_of(table)) {
        std::string theirs = across(one, one.stored, one.diffusers, counts, name);
        if (!theirs.empty()) found.push_back(std::move(theirs));
    }
    return found;
}

std::optional<std::size_t> index_after(std::string_view name, std::string_view beginning)
{
    if (!name.starts_with(beginning)) return std::nullopt;
    name.remove_prefix(beginning.size());
    const std::size_t n = n_digits(name);
    if (n == 0) return std::nullopt;
    std::size_t value = 0;
    std::from_chars(name.data(), name.data() + n, value);
    return value;
}

}  // namespace modelpool::models
