#include <modelpool/models/latents.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "models/diffusion_files.hpp"
#include "support/failure.hpp"
#include "support/gguf_builder.hpp"
#include "support/safetensors_builder.hpp"
#include "support/temp_dir.hpp"

namespace modelpool {
namespace {

using models::blocking_find_pipeline;
using models::diffusion_part;
using models::found_pipeline;
using models::name_counts;
using models::name_table;
using models::pipeline_kind;
using models::row_share;
using models::stored_rows;
using models::to_diffusers;
using models::to_stored;
using testing::failure;
using testing::gguf_builder;
using testing::safetensors_builder;
using testing::temp_dir;

struct pair_of_names {
    name_table table;
    std::string diffusers;
    std::string stored;
    std::vector<row_share> shares;
};

const std::vector<row_share> all{{0, 1, 1}};
const std::vector<row_share> swapped{{1, 2, 2}, {0, 1, 2}};

// Of a Stable Diffusion 3 of 3 blocks, and a VAE of 4.
const std::vector<pair_of_names>& pairs()
{
    static const std::vector<pair_of_names> known{
        {name_table::flux, "x_embedder.weight", "img_in.weight", all},
        {name_table::flux,
         "time_text_embed.text_embedder.linear_2.bias",
         "vector_in.out_layer.bias",
         all},
        {name_table::flux,
         "transformer_blocks.12.attn.to_k.bias",
         "double_blocks.12.img_attn.qkv.bias",
         {{1, 2, 3}}},
        {name_table::flux,
         "transformer_blocks.0.attn.add_v_proj.weight",
         "double_blocks.0.txt_attn.qkv.weight",
         {{2, 3, 3}}},
        {name_table::flux,
         "transformer_blocks.3.attn.norm_added_q.weight",
         "double_blocks.3.txt_attn.norm.query_norm.scale",
         all},
        {name_table::flux,
         "single_transformer_blocks.7.proj_mlp.weight",
         "single_blocks.7.linear1.weight",
         {{3, 7, 7}}},
        {name_table::flux,
         "norm_out.linear.weight",
         "final_layer.adaLN_modulation.1.weight",
         swapped},
        {name_table::sd3, "pos_embed.pos_embed", "pos_embed", all},
        {name_table::sd3,
         "transformer_blocks.1.norm1_context.linear.bias",
         "joint_blocks.1.context_block.adaLN_modulation.1.bias",
         all},
        {name_table::sd3,
         "transformer_blocks.2.norm1_context.linear.bias",
         "joint_blocks.2.context_block.adaLN_modulation.1.bias",
         swapped},
        {name_table::sd3,
         "transformer_blocks.2.attn.to_q.weight",
         "joint_blocks.2.x_block.attn.qkv.weight",
         {{0, 1, 3}}},
        {name_table::sd3,
         "transformer_blocks.1.attn2.to_v.bias",
         "joint_blocks.1.x_block.attn2.qkv.bias",
         {{2, 3, 3}}},
        {name_table::sd3,
         "transformer_blocks.0.attn2.to_out.0.weight",
         "joint_blocks.0.x_block.attn2.proj.weight",
         all},
        {name_table::sd3,
         "transformer_blocks.0.ff_context.net.2.weight",
         "joint_blocks.0.context_block.mlp.fc2.weight",
         all},
        {name_table::vae,
         "decoder.up_blocks.0.resnets.2.conv1.weight",
         "decoder.up.3.block.2.conv1.weight",
         all},
        {name_table::vae,
         "decoder.up_blocks.2.upsamplers.0.conv.bias",
         "decoder.up.1.upsample.conv.bias",
         all},
        {name_table::vae,
         "encoder.down_blocks.0.downsamplers.0.conv.weight",
         "encoder.down.0.downsample.conv.weight",
         all},
        {name_table::vae,
         "decoder.mid_block.attentions.0.to_out.0.weight",
         "decoder.mid.attn_1.proj_out.weight",
         all},
        {name_table::t5_gguf,
         "encoder.block.23.layer.1.DenseReluDense.wi_1.weight",
         "enc.blk.23.ffn_up.weight",
         all},
        {name_table::same, "anything at all", "anything at all", all}};
    return known;
}

constexpr name_counts counts{3, 4};

// Values that tell which tensor and which row they are of.
std::vector<float> ramp(std::size_t n, float from)
{
    std::vector<float> values(n);
    for (std::size_t i = 0; i < n; ++i)
        values[i] = from + static_cast<float>(i);
    return values;
}

safetensors_builder&
add(safetensors_builder& into, const std::string& name, const std::vector<std::int64_t>& shape)
{
    std::size_t n = 1;
    for (const std::int64_t size : shape)
        n *= static_cast<std::size_t>(size);
    return into.add_f32(name, shape, ramp(n, 0));
}

std::vector<float> values_of(const weights::stored_tensor& tensor)
{
    std::string bytes;
    for (const auto piece : tensor.pieces)
        bytes.append(reinterpret_cast<const char*>(piece.data()), piece.size());
    std::vector<float> values(bytes.size() / sizeof(float));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
}

// Enough of FLUX in its makers' names for every file to be found; heads of 128, as real ones.
safetensors_builder flux_transformer()
{
    safetensors_builder file;
    add(file, "img_in.weight", {128, 64});
    add(file, "txt_in.weight", {128, 8});
    add(file, "vector_in.in_layer.weight", {128, 6});
    for (const char* block : {"double_blocks.0.", "double_blocks.1."}) {
        add(file, std::string{block} + "img_attn.norm.query_norm.scale", {128});
        add(file, std::string{block} + "img_attn.qkv.weight", {6, 2});
    }
    add(file, "single_blocks.0.linear1.weight", {14, 2});
    add(file, "final_layer.adaLN_modulation.1.bias", {4});
    return file;
}

safetensors_builder flux_vae()
{
    safetensors_builder file;
    add(file, "decoder.conv_in.weight", {4, 16, 1, 1});
    add(file, "decoder.conv_out.weight", {3, 2, 1, 1});
    add(file, "decoder.mid.block_1.norm1.weight", {4});
    add(file, "decoder.mid.attn_1.q.weight", {4, 4, 1, 1});
    for (const char* block : {"decoder.up.0.block.0.", "decoder.up.0.block.1."})
        add(file, std::string{block} + "conv1.weight", {2, 4, 1, 1});
    for (const char* block : {"decoder.up.1.block.0.", "decoder.up.1.block.1."})
        add(file, std::string{block} + "conv1.weight", {4, 4, 1, 1});
    return file;
}

safetensors_builder clip_encoder(const std::string& prefix)
{
    safetensors_builder file;
    add(file, prefix + "text_model.embeddings.token_embedding.weight", {10, 64});
    add(file, prefix + "text_model.embeddings.position_embedding.weight", {7, 64});
    add(file, prefix + "text_model.encoder.layers.0.mlp.fc1.weight", {3, 64});
    return file;
}

safetensors_builder t5_encoder()
{
    safetensors_builder file;
    add(file, "encoder.embed_tokens.weight", {10, 8});
    add(file, "encoder.block.0.layer.0.SelfAttention.q.weight", {6, 8});
    add(file, "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", {4, 2});
    add(file, "encoder.block.0.layer.1.DenseReluDense.wi_0.weight", {5, 8});
    return file;
}

void write_flux(const temp_dir& dir)
{
    dir.write("flux1-schnell.safetensors", flux_transformer().str());
    dir.write("ae.safetensors", flux_vae().str());
    dir.write("text_encoders/clip_l.safetensors", clip_encoder("").str());
    dir.write("text_encoders/t5xxl_fp16.safetensors", t5_encoder().str());
    dir.write("tokenizer/vocab.json", "{}");
    dir.write("tokenizer_2/tokenizer.json", "{}");
}

}  // namespace

TEST_CASE("diffusion names: every table is the same both ways", "[models]")
{
    for (const pair_of_names& pair : pairs()) {
        CAPTURE(pair.diffusers);
        const std::optional<stored_rows> found = to_stored(pair.table, counts, pair.diffusers);
        REQUIRE(found.has_value());
        CHECK(found->name == pair.stored);
        CHECK((found->shares == pair.shares));
        const std::vector<std::string> back = to_diffusers(pair.table, counts, pair.stored);
        CHECK(std::ranges::count(back, pair.diffusers) == 1);
    }
    CHECK(to_diffusers(name_table::flux, counts, "single_blocks.0.linear1.bias").size() == 4);
    CHECK(to_stored(name_table::vae, counts, "decoder.mid_block.attentions.0.to_q.weight")->is_1x1);
    CHECK_FALSE(
        to_stored(name_table::vae, counts, "decoder.mid_block.attentions.0.to_q.bias")->is_1x1);
}

TEST_CASE("diffusion names: what no table has stands for nothing", "[models]")
{
    const std::string name = GENERATE(
        "",
        "weight",
        "x_embedder",
        "transformer_blocks.0.attn.to_q",
        "transformer_blocks..attn.to_q.weight",
        "transformer_blocks.01.attn.to_q.weight",
        "transformer_blocks.99999.attn.to_q.weight",
        "transformer_blocks.0.attn.to_q.weight.weight",
        "decoder.up_blocks.4.resnets.0.conv1.weight");
    CHECK_FALSE(to_stored(name_table::flux, counts, name).has_value());
    CHECK_FALSE(to_stored(name_table::vae, counts, name).has_value());
    CHECK(to_diffusers(name_table::vae, counts, "decoder.up.4.upsample.conv.bias").empty());
}

TEST_CASE("diffusion files: single files are found, and described by their shapes", "[models]")
{
    const temp_dir dir;
    write_flux(dir);
    const bool by_file = GENERATE(false, true);
    const found_pipeline found =
        blocking_find_pipeline(by_file ? dir / "flux1-schnell.safetensors" : dir.path());
    CHECK((found.kind == pipeline_kind::flux));
    REQUIRE(found.parts.size() == 4);
    const auto& transformer = found.parts.at(diffusion_part::transformer);
    CHECK(transformer.config.find_int("num_layers", 0, 9) == 2);
    CHECK(transformer.config.find_int("num_single_layers", 0, 9) == 1);
    CHECK(transformer.config.find_int("num_attention_heads", 0, 9) == 1);
    CHECK(transformer.config.find_int("pooled_projection_dim", 0, 9) == 6);
    const auto& vae = found.parts.at(diffusion_part::vae);
    CHECK(vae.config.root().at("block_out_channels").dump() == "[2,4]");
    CHECK(vae.config.find_int("layers_per_block", 0, 9) == 1);
    CHECK(vae.config.find_number("shift_factor") == 0.1159);
    const auto& t5 = found.parts.at(diffusion_part::t5);
    CHECK(t5.config.find_int("d_kv", 0, 9) == 3);
    CHECK(t5.tensors->find("shared.weight").has_value());
    CHECK(found.scheduler.find_number("shift") == 1.0);
    CHECK(found.tokenizers.at(diffusion_part::t5) == dir / "tokenizer_2");

    const auto keys = transformer.tensors->find("transformer_blocks.0.attn.to_k.weight");
    REQUIRE(keys.has_value());
    CHECK(keys->shape == std::vector<std::int64_t>{2, 2});
    CHECK(values_of(*keys) == ramp(4, 4));
    const auto mlp = transformer.tensors->find("single_transformer_blocks.0.proj_mlp.weight");
    REQUIRE(mlp.has_value());
    CHECK(mlp->shape == std::vector<std::int64_t>{8, 2});
    CHECK(values_of(*mlp) == ramp(16, 12));
    const auto last = transformer.tensors->find("norm_out.linear.bias");
    REQUIRE(last.has_value());
    CHECK(values_of(*last) == std::vector<float>{2, 3, 0, 1});
    const auto attention = vae.tensors->find("decoder.mid_block.attentions.0.to_q.weight");
    REQUIRE(attention.has_value());
    CHECK(attention->shape == std::vector<std::int64_t>{4, 4});
    CHECK_FALSE(transformer.tensors->find("no.such.tensor").has_value());
}

TEST_CASE("diffusion files: one file may hold every part of a pipeline", "[models]")
{
    const temp_dir dir;
    safetensors_builder file = clip_encoder("text_encoders.clip_l.transformer.");
    const std::string clip_g = "text_encoders.clip_g.transformer.text_model.";
    add(file, clip_g + "embeddings.token_embedding.weight", {10, 64});
    add(file, clip_g + "embeddings.position_embedding.weight", {7, 64});
    add(file, clip_g + "encoder.layers.0.mlp.fc1.weight", {3, 64});
    const std::string model = "model.diffusion_model.";
    add(file, model + "joint_blocks.0.x_block.attn.qkv.weight", {6, 2});
    add(file, model + "joint_blocks.0.x_block.attn.ln_q.weight", {32});
    add(file, model + "joint_blocks.0.x_block.attn2.qkv.weight", {6, 2});
    add(file, model + "joint_blocks.0.context_block.adaLN_modulation.1.bias", {4});
    add(file, model + "x_embedder.proj.weight", {64, 16, 2, 2});
    add(file, model + "pos_embed", {1, 9, 64});
    add(file, model + "context_embedder.weight", {64, 5});
    add(file, model + "y_embedder.mlp.0.weight", {64, 3});
    add(file, model + "final_layer.linear.weight", {64, 64});
    add(file, "first_stage_model.decoder.mid.block_1.norm1.weight", {4});
    add(file, "first_stage_model.decoder.conv_in.weight", {4, 16, 1, 1});
    add(file, "first_stage_model.decoder.conv_out.weight", {3, 4, 1, 1});
    for (const char* block : {"decoder.up.0.block.0.", "decoder.up.0.block.1."})
        add(file, "first_stage_model." + std::string{block} + "conv1.weight", {4, 4, 1, 1});
    dir.write("sd3.5_large_turbo.safetensors", file.str());
    dir.write("t5xxl_fp16.safetensors", t5_encoder().str());
    dir.write("tokenizer/vocab.json", "{}");
    dir.write("t5-v1_1-xxl.tokenizer.json", "{}");
    const found_pipeline found = blocking_find_pipeline(dir.path());
    CHECK((found.kind == pipeline_kind::sd3));
    REQUIRE(found.parts.size() == 5);
    const auto& transformer = found.parts.at(diffusion_part::transformer);
    CHECK(transformer.config.find_int("num_attention_heads", 0, 9) == 2);
    CHECK(transformer.config.find_int("pos_embed_max_size", 0, 9) == 3);
    CHECK(transformer.config.find_int("out_channels", 0, 99) == 16);
    CHECK(transformer.config.find_string("qk_norm") == "rms_norm");
    const auto& dual = transformer.config.root().at("dual_attention_layers");
    CHECK(dual.get<std::vector<int>>() == std::vector<int>{0});
    // The only block is the last one.
    const auto last = transformer.tensors->find("transformer_blocks.0.norm1_context.linear.bias");
    REQUIRE(last.has_value());
    CHECK(values_of(*last) == std::vector<float>{2, 3, 0, 1});
    // Of CLIP-G's vocabulary there is no copy, since it is CLIP-L's.
    CHECK(found.tokenizers.at(diffusion_part::clip_g) == dir / "tokenizer");
    CHECK(
        found.parts.at(diffusion_part::vae).tensors->weight_bytes() ==
        sizeof(float) * (4 + 64 + 12 + 32));
    CHECK(found.scheduler.find_number("shift") == 3.0);
}

TEST_CASE("diffusion files: all that is missing is said at once", "[models]")
{
    const temp_dir dir;
    dir.write("model_index.json", R"({"_class_name":"FluxPipeline"})");
    const std::string nothing =
        failure(model_errc::bad_file, [&] { blocking_find_pipeline(dir.path()); });
    for (const char* part :
         {"the transformer (transformer/diffusion_pytorch_model.safetensors",
          "the vae (vae/",
          "the CLIP-L text encoder (text_encoder/",
          "the T5 text encoder (text_encoder_2/",
          "the tokenizer of the CLIP-L text encoder (tokenizer/",
          "the tokenizer of the T5 text encoder (tokenizer_2/"}) {
        CAPTURE(nothing, part);
        CHECK(nothing.find(part) != std::string::npos);
    }
    write_flux(dir);
    CHECK(blocking_find_pipeline(dir.path()).parts.size() == 4);
    std::filesystem::remove(dir / "ae.safetensors");
    const std::string one =
        failure(model_errc::bad_file, [&] { blocking_find_pipeline(dir.path()); });
    CHECK(one.find("the vae") != std::string::npos);
    CHECK(one.find("text encoder") == std::string::npos);

    dir.write("model_index.json", R"({"_class_name":"StableDiffusionXLPipeline"})");
    CHECK(failure(model_errc::unsupported, [&] {
              blocking_find_pipeline(dir.path());
          }).find("'StableDiffusionXLPipeline'") != std::string::npos);
    failure(model_errc::bad_file, [&] { blocking_find_pipeline(dir / "ae"); });
}

TEST_CASE(
    "diffusion files: a fused tensor of other rows is refused when it is asked for", "[models]")
{
    const temp_dir dir;
    write_flux(dir);
    safetensors_builder file = flux_transformer();
    add(file, "double_blocks.0.img_attn.qkv.bias", {7});
    dir.write("flux1-schnell.safetensors", file.str());
    const found_pipeline found = blocking_find_pipeline(dir.path());
    const auto& tensors = *found.parts.at(diffusion_part::transformer).tensors;
    const std::string why = failure(model_errc::bad_file, [&] {
        static_cast<void>(tensors.find("transformer_blocks.0.attn.to_q.bias"));
    });
    CHECK(why.find("'double_blocks.0.img_attn.qkv.bias' of shape [7]") != std::string::npos);
}

TEST_CASE("diffusion files: a GGUF file's rows are cut as those of safetensors", "[models]")
{
    const temp_dir dir;
    write_flux(dir);
    std::filesystem::remove(dir / "flux1-schnell.safetensors");
    gguf_builder file;
    file.text("general.architecture", "flux");
    constexpr std::uint32_t q8_0 = 8;
    // 6 rows of one block of 34 bytes.
    file.tensor("double_blocks.0.img_attn.qkv.weight", {32, 6}, q8_0, 0);
    file.tensor("double_blocks.0.img_attn.norm.query_norm.scale", {128}, 0, 224);
    file.tensor("img_in.weight", {64, 128}, 0, 736);
    file.tensor("txt_in.weight", {8, 128}, 0, 33504);
    file.tensor("vector_in.in_layer.weight", {6, 128}, 0, 37600);
    std::string data(40672, '\0');
    for (std::size_t i = 0; i < 6 * 34; ++i)
        data[i] = static_cast<char>(i / 34);
    dir.write("flux-q8.gguf", file.data(data).str());
    const found_pipeline found = blocking_find_pipeline(dir / "flux-q8.gguf");
    const auto keys = found.parts.at(diffusion_part::transformer)
                          .tensors->find("transformer_blocks.0.attn.to_k.weight");
    REQUIRE(keys.has_value());
    CHECK((keys->type == weights::number_type::q8_0));
    CHECK(keys->shape == std::vector<std::int64_t>{2, 32});
    REQUIRE(keys->pieces.size() == 1);
    CHECK(keys->pieces[0].size() == 68);
    CHECK(keys->pieces[0][0] == std::byte{2});
    CHECK(keys->pieces[0][67] == std::byte{3});
}

TEST_CASE("latents: a file gives back what was written, and refuses what is none", "[models]")
{
    const temp_dir dir;
    models::image_latents latents;
    latents.n_channels = 2;
    latents.height = 1;
    latents.width = 3;
    latents.values = {1.5F, -2, 3, 0, 1e-30F, 7};
    const auto bytes = models::encode_latents(latents);
    const std::string text{reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    const auto path = dir.write("latents.safetensors", text);
    const models::image_latents back = models::blocking_read_latents(path);
    CHECK(back.values == latents.values);
    CHECK(back.n_channels == 2);
    CHECK(back.width == 3);
    const auto refused = [&](const safetensors_builder& file) {
        return failure(errc::invalid_argument, [&] {
            models::blocking_read_latents(dir.write("bad.safetensors", file.str()));
        });
    };
    safetensors_builder nan;
    nan.add_f32("latents", {1, 1, 1, 1}, {std::numeric_limits<float>::quiet_NaN()});
    CHECK(refused(nan).find("not finite") != std::string::npos);
    safetensors_builder flat;
    CHECK(refused(flat.add_f32("latents", {4}, ramp(4, 0))).find("[4]") != std::string::npos);
    safetensors_builder other;
    CHECK(refused(other.add_f32("noise", {1}, {0})).find("no tensor") != std::string::npos);
    CHECK_THROWS_AS(models::blocking_read_latents(dir / "absent"), error);
    safetensors_builder half;
    half.add_values<std::uint16_t>("latents", "F16", {1, 1, 1, 3}, {0x3C00, 0xC500, 0x0001});
    dir.write("half.safetensors", half.str());
    const auto widened = models::blocking_read_latents(dir / "half.safetensors").values;
    CHECK(widened == std::vector<float>{1, -5, std::ldexp(1.0F, -24)});
    latents.values.pop_back();
    CHECK_THROWS_AS(models::encode_latents(latents), error);
}

}  // namespace modelpool
