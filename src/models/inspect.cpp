#include <modelpool/assert.hpp>
#include <modelpool/error.hpp>
#include <modelpool/models/generator.hpp>
#include <modelpool/models/image_generator.hpp>
#include <modelpool/models/inspect.hpp>
#include <modelpool/models/llava.hpp>

#include <array>
#include <memory>
#include <utility>

#include "models/checkpoint_facts.hpp"
#include "models/context_options.hpp"
#include "models/diffusion_files.hpp"
#include "models/embedder_loaders.hpp"

namespace modelpool::models {
namespace {

std::optional<capability> parse_capability(std::string_view name)
{
    constexpr std::array all{
        capability::text_embedding,
        capability::image_embedding,
        capability::text_to_text,
        capability::vision,
        capability::text_to_image};
    for (const capability kind : all)
        if (to_string(kind) == name) return kind;
    return std::nullopt;
}

inspection to_inspection(checkpoint_facts facts)
{
    inspection result;
    result.family = std::move(facts.family);
    result.architecture = std::move(facts.architecture);
    result.kind = parse_capability(facts.capability);
    result.dim = facts.dim;
    result.max_tokens = facts.max_tokens;
    for (dtype_share& share : facts.dtypes)
        result.dtypes.push_back({std::move(share.dtype), share.n_parameters});
    result.n_parameters = facts.n_parameters;
    result.weight_bytes = facts.weight_bytes;
    result.memory.resident_bytes = facts.resident_bytes;
    result.memory.replica_bytes = facts.replica_bytes;
    result.memory.mapped_bytes = facts.mapped_bytes;
    result.reason = std::move(facts.unsupported);
    return result;
}

// `load` is a loader of the capability's models from a folder.
template <class Capability, class Load>
loader<Capability> folder_loader(std::filesystem::path dir, Load load)
{
    return [dir = std::move(dir), load](load_context context) {
        load_options options = options_of(context);
        auto build = [dir, load, options = std::move(options)] { return load(dir, options); };
        return context.offload(std::move(build));
    };
}

loader<text_to_text> generator_loader(std::filesystem::path path)
{
    return [path = std::move(path)](load_context context) {
        load_options options = options_of(context);
        auto build = [path, options = std::move(options)] { return load_generator(path, options); };
        return context.offload(std::move(build));
    };
}

// Of parts that are loaded in turn where the budget asks for it.
loader<text_to_image> pipeline_loader(std::filesystem::path path)
{
    return [path = std::move(path)](load_context context) {
        load_options options = options_of(context);
        auto build =
            [path, limit_bytes = context.memory_limit_bytes(), options = std::move(options)] {
                return load_image_generator(path, options, limit_bytes);
            };
        return context.offload(std::move(build));
    };
}

}  // namespace

inspection blocking_inspect(const std::filesystem::path& path, dtype precision)
{
    return to_inspection(blocking_read_checkpoint_facts(path, precision));
}

card blocking_card(const std::filesystem::path& path, dtype precision)
{
    const inspection found = blocking_inspect(path, precision);
    // Of a pipeline with files missing, the error is theirs.
    if (found.kind == capability::text_to_image && !found.runnable())
        static_cast<void>(blocking_find_pipeline(path));
    if (!found.runnable())
        throw error{model_errc::unsupported, path.string() + ": " + found.reason};
    card about;
    about.key = path.string();
    const embedder_loader for_texts = find_embedder_loader(found.family);
    const image_embedder_loader for_images = find_image_embedder_loader(found.family);
    if (found.kind == capability::text_to_text) {
        about.load = any_loader::of<text_to_text>(generator_loader(path));
        about.scaling = scaling_options{}.cold_start_workers(1);
    } else if (found.kind == capability::vision) {
        about.load = any_loader::of<vision>(folder_loader<vision>(path, load_llava));
        about.scaling = scaling_options{}.cold_start_workers(1);
    } else if (found.kind == capability::text_to_image) {
        about.load = any_loader::of<text_to_image>(pipeline_loader(path));
        about.scaling = scaling_options{}.cold_start_workers(1);
    } else if (for_texts != nullptr) {
        about.load = any_loader::of<text_embedding>(folder_loader<text_embedding>(path, for_texts));
    } else {
        MODELPOOL_ASSERT(for_images != nullptr);  // what runs has a loader
        about.load =
            any_loader::of<image_embedding>(folder_loader<image_embedding>(path, for_images));
    }
    about.precision = precision;
    about.memory = found.memory;
    about.context_length = found.max_tokens;
    about.dimension = found.dim;
    return about;
}

}  // namespace modelpool::models
