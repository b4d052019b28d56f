#include "models/diffusion_files.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "support/printable.hpp"
#include "text/tokenizer_config.hpp"

namespace modelpool::models {
namespace {

namespace fs = std::filesystem;
using support::in_quotes;
using support::json_file;

bool present(const fs::path& path)
{
    std::error_code ignored;
    return fs::exists(path, ignored);
}

// Names of files in a folder, in order; none where it cannot be read.
std::vector<std::string> blocking_list(const fs::path& dir)
{
    std::vector<std::string> names;
    std::error_code problem;
    for (fs::directory_iterator place{dir, problem}; !problem && place != fs::directory_iterator{};
         place.increment(problem))
        if (!place->is_directory(problem)) names.push_back(place->path().filename().string());
    std::ranges::sort(names);
    return names;
}

// The weights in a folder of diffusers: one file, or an index of shards; of what is stored in
// several precisions first the one without a name of its own.
std::optional<fs::path> blocking_find_weights(const fs::path& dir, const std::string& stem)
{
    for (const char* variant : {"", ".bf16", ".fp16", ".fp32"}) {
        const std::string single = stem + variant + ".safetensors";
        const std::string index = stem + ".safetensors.index" + variant + ".json";
        for (const std::string& name : {single, index})
            if (present(dir / name)) return dir / name;
    }
    return std::nullopt;
}

// ---- what a listing holds ------------------------------------------------------------------------

struct probe {
    std::string_view tensor;
    name_table table;
};

std::vector<probe> probes_of(pipeline_kind kind, diffusion_part part)
{
    switch (part) {
    case diffusion_part::transformer:
        if (kind == pipeline_kind::flux)
            return {
                {"double_blocks.0.img_attn.qkv.weight", name_table::flux},
                {"single_transformer_blocks.0.attn.to_q.weight", name_table::same}};
        return {
            {"joint_blocks.0.x_block.attn.qkv.weight", name_table::sd3},
            {"transformer_blocks.0.norm1_context.linear.weight", name_table::same}};
    case diffusion_part::vae:
        return {
            {"decoder.mid.block_1.norm1.weight", name_table::vae},
            {"decoder.mid_block.resnets.0.norm1.weight", name_table::same}};
    case diffusion_part::clip_l:
    case diffusion_part::clip_g:
        return {{"text_model.embeddings.token_embedding.weight", name_table::same}};
    case diffusion_part::t5:
        break;
    }
    return {
        {"encoder.block.0.layer.0.SelfAttention.q.weight", name_table::same},
        {"enc.blk.0.attn_q.weight", name_table::t5_gguf}};
}

std::span<const std::string_view> prefixes_of(diffusion_part part) noexcept
{
    static constexpr std::array<std::string_view, 2> transformer{"", "model.diffusion_model."};
    static constexpr std::array<std::string_view, 2> vae{"", "first_stage_model."};
    static constexpr std::array<std::string_view, 3> clip_l{
        "", "text_encoders.clip_l.transformer.", "text_encoders.clip_l."};
    static constexpr std::array<std::string_view, 3> clip_g{
        "", "text_encoders.clip_g.transformer.", "text_encoders.clip_g."};
    static constexpr std::array<std::string_view, 3> t5{
        "", "text_encoders.t5xxl.transformer.", "text_encoders.t5xxl."};
    switch (part) {
    case diffusion_part::transformer:
        return transformer;
    case diffusion_part::vae:
        return vae;
    case diffusion_part::clip_l:
        return clip_l;
    case diffusion_part::clip_g:
        return clip_g;
    case diffusion_part::t5:
        break;
    }
    return t5;
}

std::optional<part_names>
recognise(const weight_listing& files, pipeline_kind kind, diffusion_part part)
{
    const std::vector<probe> probes = probes_of(kind, part);
    for (const std::string_view prefix : prefixes_of(part))
        for (const probe& one : probes)
            if (files.find(std::string{prefix} + std::string{one.tensor}) != nullptr)
                return part_names{std::string{prefix}, one.table};
    return std::nullopt;
}

std::optional<pipeline_kind> kind_of(const weight_listing& files)
{
    for (const pipeline_kind kind : {pipeline_kind::flux, pipeline_kind::sd3})
        if (recognise(files, kind, diffusion_part::transformer)) return kind;
    return std::nullopt;
}

// ---- folders of diffusers ------------------------------------------------------------------------

// Which folder has a part; empty for one that the kind has not.
std::string folder_of(pipeline_kind kind, diffusion_part part)
{
    const bool is_flux = kind == pipeline_kind::flux;
    switch (part) {
    case diffusion_part::transformer:
        return "transformer";
    case diffusion_part::vae:
        return "vae";
    case diffusion_part::clip_l:
        return "text_encoder";
    case diffusion_part::clip_g:
        return is_flux ? "" : "text_encoder_2";
    case diffusion_part::t5:
        break;
    }
    return is_flux ? "text_encoder_2" : "text_encoder_3";
}

std::string tokenizer_folder(pipeline_kind kind, diffusion_part part)
{
    constexpr std::string_view encoder = "text_encoder";
    return "tokenizer" + folder_of(kind, part).substr(encoder.size());
}

std::optional<pipeline_kind> kind_of_class(const json_file& config, std::string_view ending)
{
    const std::string name = config.find_string("_class_name").value_or("");
    if (name.starts_with("Flux") && name.ends_with(ending)) return pipeline_kind::flux;
    if (name == "StableDiffusion3Pipeline" || name == "SD3Transformer2DModel")
        return pipeline_kind::sd3;
    return std::nullopt;
}

// Whether model_index.json says that a pipeline does without a part.
bool is_left_out(const std::optional<json_file>& index, const std::string& folder)
{
    if (!index) return false;
    const auto place = index->root().find(folder);
    return place != index->root().end() && place->is_array() && !place->empty() &&
           place->front().is_null();
}

// ---- finding -------------------------------------------------------------------------------------

// Parts of a kind, in the order in which they are spoken of.
std::span<const diffusion_part> parts_of(pipeline_kind kind) noexcept
{
    static constexpr std::array flux{
        diffusion_part::transformer,
        diffusion_part::vae,
        diffusion_part::clip_l,
        diffusion_part::t5};
    static constexpr std::array sd3{
        diffusion_part::transformer,
        diffusion_part::vae,
        diffusion_part::clip_l,
        diffusion_part::clip_g,
        diffusion_part::t5};
    if (kind == pipeline_kind::flux) return flux;
    return sd3;
}

class finder {
public:
    explicit finder(const fs::path& path)
        : asked_{path}
    {
        std::error_code ignored;
        is_file_ = !fs::is_directory(path, ignored);
        root_ = is_file_ ? path.parent_path() : path;
        if (root_.empty()) root_ = ".";
    }

    found_pipeline blocking_find();

private:
    using listing = std::shared_ptr<const weight_listing>;
    struct place {
        listing files;
        part_names names;
    };

    listing blocking_open(const fs::path& path);
    pipeline_kind blocking_find_kind();
    void blocking_find_single();
    std::optional<place> in_folder(diffusion_part part);
    std::optional<place> in_single(diffusion_part part) const;
    std::optional<place> beside(diffusion_part part);
    std::optional<place> blocking_find_part(diffusion_part part);
    std::optional<fs::path> find_tokenizer(diffusion_part part) const;
    json_file config_of(diffusion_part part, const part_source& tensors) const;
    void miss_part(diffusion_part part);
    [[noreturn]] void fail(const std::string& sentence) const
    {
        throw error{model_errc::bad_file, asked_.string() + ": " + sentence};
    }

    fs::path asked_;
    fs::path root_;
    bool is_file_{false};
    std::optional<json_file> index_;
    pipeline_kind kind_{pipeline_kind::flux};
    listing single_;  // the transformer's own file, with whatever else that holds
    std::map<fs::path, listing> opened_;
    std::vector<std::string> missing_;
};

finder::listing finder::blocking_open(const fs::path& path)
{
    listing& one = opened_[path];
    if (!one) one = weight_listing::blocking_open(path);
    return one;
}

// Looks among the files of the folder for a transformer.
void finder::blocking_find_single()
{
    if (single_) return;
    std::vector<std::string> found;
    for (const std::string& name : blocking_list(root_)) {
        const bool is_weights = name.ends_with(".safetensors") || name.ends_with(".gguf");
        const bool is_other =
            name == "ae.safetensors" || name.starts_with("t5") || name.starts_with("clip_");
        if (!is_weights || is_other) continue;
        const listing files = blocking_open(root_ / name);
        if (!kind_of(*files)) continue;
        found.push_back(name);
        if (!single_ || name == "flux1-schnell.safetensors" ||
            name == "sd3.5_large_turbo.safetensors")
            single_ = files;
    }
    if (found.size() < 2 || std::ranges::find(found, "flux1-schnell.safetensors") != found.end() ||
        std::ranges::find(found, "sd3.5_large_turbo.safetensors") != found.end())
        return;
    std::string list;
    for (const std::string& name : found)
        list += (list.empty() ? "" : ", ") + support::printable(name);
    fail("holds several transformers; give the path of one: " + list);
}

pipeline_kind finder::blocking_find_kind()
{
    if (is_file_) {
        single_ = blocking_open(asked_);
        if (const auto kind = kind_of(*single_)) return *kind;
        fail("holds no transformer of FLUX.1 or Stable Diffusion 3");
    }
    if (index_) {
        if (const auto kind = kind_of_class(*index_, "Pipeline")) return *kind;
        throw error{
            model_errc::unsupported,
            index_->name() + ": the pipeline " +
                in_quotes(index_->find_string("_class_name").value_or("")) +
                " is not supported; supported: FluxPipeline, StableDiffusion3Pipeline"};
    }
    const fs::path config = root_ / "transformer" / "config.json";
    if (present(config))
        if (const auto kind = kind_of_class(
                json_file::blocking_read(config, model_errc::bad_config), "Transformer2DModel"))
            return *kind;
    blocking_find_single();
    if (single_) return *kind_of(*single_);
    fail("holds neither model_index.json nor a transformer of FLUX.1 or Stable Diffusion 3");
}

std::optional<finder::place> finder::in_folder(diffusion_part part)
{
    const fs::path dir = root_ / folder_of(kind_, part);
    const bool is_encoder = part != diffusion_part::transformer && part != diffusion_part::vae;
    const auto weights =
        blocking_find_weights(dir, is_encoder ? "model" : "diffusion_pytorch_model");
    if (!weights) return std::nullopt;
    const listing files = blocking_open(*weights);
    // What is not recognised the model itself will miss, tensor by tensor.
    return place{files, recognise(*files, kind_, part).value_or(part_names{})};
}

std::optional<finder::place> finder::in_single(diffusion_part part) const
{
    if (!single_) return std::nullopt;
    std::optional<part_names> names = recognise(*single_, kind_, part);
    if (!names) return std::nullopt;
    return place{single_, std::move(*names)};
}

// Files of encoders and of the VAE by their usual names, here or in a folder of their own.
std::optional<finder::place> finder::beside(diffusion_part part)
{
    if (part == diffusion_part::transformer) return std::nullopt;
    const fs::path own = root_ / (part == diffusion_part::vae ? "vae" : "text_encoders");
    const auto is_one = [&](const std::string& name) {
        if (part == diffusion_part::vae) return name == "ae.safetensors";
        if (part == diffusion_part::clip_l) return name == "clip_l.safetensors";
        if (part == diffusion_part::clip_g) return name == "clip_g.safetensors";
        const bool is_weights = name.ends_with(".safetensors") || name.ends_with(".gguf");
        return is_weights && (name.starts_with("t5xxl") || name.starts_with("t5-v1_1-xxl"));
    };
    for (const fs::path& dir : {own, root_}) {
        std::vector<std::string> names = blocking_list(dir);
        std::erase_if(names, [&](const std::string& name) { return !is_one(name); });
        // Numbers of 8 bits are not computed on: another file is better, where there is one.
        std::ranges::stable_partition(
            names, [](const std::string& name) { return name.find("fp8") == std::string::npos; });
        for (const std::string& name : names) {
            const listing files = blocking_open(dir / name);
            std::optional<part_names> found = recognise(*files, kind_, part);
            if (found) return place{files, std::move(*found)};
        }
    }
    return std::nullopt;
}

std::optional<finder::place> finder::blocking_find_part(diffusion_part part)
{
    if (!is_file_)
        if (auto found = in_folder(part)) return found;
    if (part == diffusion_part::transformer && !single_) blocking_find_single();
    if (auto found = in_single(part)) return found;
    if (auto found = beside(part)) return found;
    return is_file_ ? in_folder(part) : std::nullopt;
}

json_file finder::config_of(diffusion_part part, const part_source& tensors) const
{
    const fs::path path = root_ / folder_of(kind_, part) / "config.json";
    if (present(path)) return json_file::blocking_read(path, model_errc::bad_config);
    return derive_config(kind_, part, tensors);
}

std::optional<fs::path> finder::find_tokenizer(diffusion_part part) const
{
    const fs::path folder = root_ / tokenizer_folder(kind_, part);
    for (const char* name : {"tokenizer.json", "vocab.json", "spiece.model"})
        if (present(folder / name)) return folder;
    // CLIP-G has the vocabulary of CLIP-L.
    if (part == diffusion_part::clip_g) return find_tokenizer(diffusion_part::clip_l);
    if (part == diffusion_part::t5)
        for (const fs::path& dir : {root_, root_ / "text_encoders"})
            if (present(dir / "t5-v1_1-xxl.tokenizer.json"))
                return dir / "t5-v1_1-xxl.tokenizer.json";
    return std::nullopt;
}

void finder::miss_part(diffusion_part part)
{
    const std::string folder = folder_of(kind_, part);
    const bool is_flux = kind_ == pipeline_kind::flux;
    std::string text = "the " + std::string{to_string(part)} + " (";
    switch (part) {
    case diffusion_part::transformer:
        text += folder + "/diffusion_pytorch_model.safetensors or " +
                (is_flux ? "flux1-schnell.safetensors" : "sd3.5_large_turbo.safetensors");
        break;
    case diffusion_part::vae:
        text += folder + "/diffusion_pytorch_model.safetensors or ae.safetensors";
        break;
    case diffusion_part::clip_l:
        text += folder + "/model.safetensors or text_encoders/clip_l.safetensors";
        break;
    case diffusion_part::clip_g:
        text += folder + "/model.safetensors or text_encoders/clip_g.safetensors";
        break;
    case diffusion_part::t5:
        text += folder + "/model.safetensors or text_encoders/t5xxl_fp16.safetensors";
        break;
    }
    missing_.push_back(text + ")");
}

found_pipeline finder::blocking_find()
{
    if (present(root_ / "model_index.json") && !is_file_)
        index_ = json_file::blocking_read(root_ / "model_index.json", model_errc::bad_config);
    kind_ = blocking_find_kind();
    std::map<diffusion_part, found_pipeline::part> parts;
    std::map<diffusion_part, fs::path> tokenizers;
    for (const diffusion_part part : parts_of(kind_)) {
        const bool is_optional = kind_ == pipeline_kind::sd3 && part == diffusion_part::t5;
        if (is_optional && is_left_out(index_, folder_of(kind_, part))) continue;
        std::optional<place> found = blocking_find_part(part);
        if (!found) {
            miss_part(part);
        } else {
            auto tensors = std::make_shared<const part_source>(found->files, found->names);
            json_file config = config_of(part, *tensors);
            parts.emplace(part, found_pipeline::part{std::move(config), std::move(tensors)});
        }
        if (part == diffusion_part::transformer || part == diffusion_part::vae) continue;
        if (std::optional<fs::path> files = find_tokenizer(part))
            tokenizers.emplace(part, std::move(*files));
        else
            missing_.push_back(
                "the tokenizer of the " + std::string{to_string(part)} + " (" +
                tokenizer_folder(kind_, part) + "/tokenizer.json or vocab.json with merges.txt)");
    }
    if (!missing_.empty()) {
        std::string list;
        for (const std::string& one : missing_)
            list += (list.empty() ? "" : "; ") + one;
        fail("these files of the pipeline are missing: " + list);
    }
    const fs::path scheduler = root_ / "scheduler" / "scheduler_config.json";
    json_file schedule =
        present(scheduler) ? json_file::blocking_read(scheduler, model_errc::bad_config)
                           : usual_scheduler(kind_, *parts.at(diffusion_part::transformer).tensors);
    return found_pipeline{
        kind_, asked_.string(), std::move(parts), std::move(tokenizers), std::move(schedule)};
}

// ---- tokenizers ----------------------------------------------------------------------------------

std::string pad_token(const fs::path& path, diffusion_part part, bool is_shared)
{
    // With a vocabulary that is CLIP-L's, CLIP-G's prompts are filled up with exclamation marks all
    // the same.
    std::error_code ignored;
    if (!is_shared && fs::is_directory(path, ignored)) {
        const auto config = text::tokenizer_config::blocking_read(path);
        if (const text::added_token* pad = config.named("pad_token")) return pad->content;
    }
    if (part == diffusion_part::clip_g) return "!";
    return part == diffusion_part::t5 ? "<pad>" : "<|endoftext|>";
}

prompt_tokenizer blocking_load_tokenizer(const found_pipeline& found, diffusion_part part)
{
    const fs::path& path = found.tokenizers.at(part);
    const bool is_shared =
        part == diffusion_part::clip_g && path == found.tokenizers.at(diffusion_part::clip_l);
    prompt_tokenizer made{text::tokenizer::blocking_load(path)};
    const std::string pad = pad_token(path, part, is_shared);
    const std::optional<text::token_id> id = made.tokenizer.id_of(pad);
    if (!id)
        throw error{
            model_errc::bad_file,
            path.string() + ": the token that fills up prompts, " + in_quotes(pad) +
                ", is not in the vocabulary"};
    made.pad_id = *id;
    return made;
}

image_component to_component(const found_pipeline& found, diffusion_part part)
{
    const found_pipeline::part& one = found.parts.at(part);
    return {one.config, one.tensors};
}

}  // namespace

bool blocking_is_pipeline(const fs::path& path)
{
    std::error_code ignored;
    try {
        if (!fs::is_directory(path, ignored)) {
            const bool is_weights =
                path.extension() == ".safetensors" || path.extension() == ".gguf";
            return is_weights && kind_of(*weight_listing::blocking_open(path)).has_value();
        }
        if (present(path / "model_index.json")) return true;
        const fs::path config = path / "transformer" / "config.json";
        if (present(config)) return true;
        for (const std::string& name : blocking_list(path)) {
            const bool is_weights = name.ends_with(".safetensors") || name.ends_with(".gguf");
            if (is_weights && kind_of(*weight_listing::blocking_open(path / name))) return true;
        }
    } catch (const error&) {
        return false;
    }
    return false;
}

found_pipeline blocking_find_pipeline(const fs::path& path)
{
    if (!present(path))
        throw error{model_errc::bad_file, path.string() + ": no such file or folder"};
    return finder{path}.blocking_find();
}

image_pipeline_files blocking_to_files(const found_pipeline& found)
{
    const bool is_flux = found.kind == pipeline_kind::flux;
    const auto component = [&](diffusion_part part) { return to_component(found, part); };
    const auto tokenizer = [&](diffusion_part part) {
        return blocking_load_tokenizer(found, part);
    };
    const diffusion_part second = is_flux ? diffusion_part::t5 : diffusion_part::clip_g;
    image_pipeline_files files{
        found.name,
        component(diffusion_part::transformer),
        component(diffusion_part::vae),
        component(diffusion_part::clip_l),
        component(second),
        std::nullopt,
        tokenizer(diffusion_part::clip_l),
        tokenizer(second),
        std::nullopt,
        found.scheduler};
    if (!is_flux && found.parts.contains(diffusion_part::t5)) {
        files.text_encoder_3 = component(diffusion_part::t5);
        files.tokenizer_3 = tokenizer(diffusion_part::t5);
    }
    return files;
}

}  // namespace modelpool::models
