#include <modelpool/error.hpp>
#include <modelpool/models/catalogue.hpp>
#include <modelpool/models/generator.hpp>
#include <modelpool/models/image_generator.hpp>
#include <modelpool/models/llava.hpp>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "models/context_options.hpp"
#include "models/embedder_loaders.hpp"
#include "models/weight_layout.hpp"

namespace modelpool::models {
namespace {

// ---- loading what was fetched --------------------------------------------------------------------------

// `load` makes a model of a folder, by load options.
template <class Load>
using loaded_by = std::invoke_result_t<Load&, const std::filesystem::path&, const load_options&>;

template <class Load>
awaitable<loaded_by<Load>> load_fetched(load_context context, Load load)
{
    const model_source& source = context.source();
    auto fetching = context.hub().fetch(source.repo, source.files);
    const snapshot files = co_await std::move(fetching);
    load_options options = options_of(context);
    auto build = [dir = files.dir(), load, options = std::move(options)] {
        return load(dir, options);
    };
    auto building = context.offload(std::move(build));
    co_return co_await std::move(building);
}

// A card of a text embedding model of a family, with the files that every one may have.
card embedding_card(std::string key, embedder_loader load)
{
    card about;
    about.key = std::move(key);
    about.load = any_loader::of<text_embedding>(
        [load](load_context context) { return load_fetched(std::move(context), load); });
    about.repo = about.key;
    // Selected, not demanded: a folder saved without the sentence-transformers files is one of
    // these models too, and what the loader cannot do without it asks for by name.
    about.files.include("config.json")
        .include("tokenizer.json")
        .include("tokenizer_config.json")
        .include("model.safetensors")
        .include("modules.json")
        .include("1_Pooling/config.json")
        .include("sentence_bert_config.json")
        .include("config_sentence_transformers.json");
    return about;
}

// The same for images: what the preprocessing is comes in a file of its own.
card image_card(std::string key, image_embedder_loader load)
{
    card about;
    about.key = std::move(key);
    about.load = any_loader::of<image_embedding>(
        [load](load_context context) { return load_fetched(std::move(context), load); });
    about.repo = about.key;
    about.files.include("config.json")
        .include("tokenizer.json")
        .include("tokenizer_config.json")
        .include("model.safetensors")
        .include("preprocessor_config.json");
    return about;
}

void include_shards(card& about)
{
    about.files.include("model.safetensors.index.json").include("model-*-of-*.safetensors");
}

// ---- instructions --------------------------------------------------------------------------------------

std::string query_after(std::string_view instruction)
{
    return "Instruct: " + std::string{instruction} + "\nQuery: ";
}

constexpr std::string_view web_search =
    "Given a web search query, retrieve relevant passages that answer the query";
constexpr std::string_view question =
    "Given a question, retrieve passages that answer the question";

// ---- cards ---------------------------------------------------------------------------------------------
// Their memory is what the loaded models report: matrices are used in the mapped files as they are
// stored, and a replica's temporaries are those of a text as long as the model takes.

card all_minilm_l6_v2()
{
    card about =
        embedding_card("sentence-transformers/all-MiniLM-L6-v2", find_embedder_loader("bert"));
    about.aliases = {"minilm"};
    // The fused attention weights and the summed position table are copies.
    about.memory.resident_bytes = 11'430'912;
    about.memory.replica_bytes = 17'301'504;
    about.memory.mapped_bytes = 79'617'024;
    about.context_length = 256;
    about.dimension = 384;
    about.licence = "apache-2.0";
    return about;
}

card jina_v2_base_en()
{
    card about =
        embedding_card("jinaai/jina-embeddings-v2-base-en", find_embedder_loader("jina-bert"));
    about.aliases = {"jina"};
    about.memory.resident_bytes = 344'064;
    about.memory.replica_bytes = 176'160'768;
    about.memory.mapped_bytes = 273'383'424;
    about.context_length = 8192;
    about.dimension = 768;
    about.licence = "apache-2.0";
    return about;
}

card gte_qwen2_1_5b()
{
    card about =
        embedding_card("Alibaba-NLP/gte-Qwen2-1.5B-instruct", find_embedder_loader("gte-qwen2"));
    about.aliases = {"gte-qwen2"};
    include_shards(about);
    about.memory.replica_bytes = 945'815'552;
    about.memory.mapped_bytes = 6'173'075'456;
    about.context_length = 32768;
    about.dimension = 1536;
    // Documents are embedded without an instruction.
    about.prompts = {{"search_query", query_after(web_search)}, {"search_document", ""}};
    about.licence = "apache-2.0";
    return about;
}

card stella_v5(std::string key, std::string alias)
{
    card about = embedding_card(std::move(key), find_embedder_loader("stella"));
    about.aliases = {std::move(alias)};
    include_shards(about);
    about.files.include("2_Dense*/config.json").include("2_Dense*.safetensors");
    about.context_length = 512;
    about.dimension = 1024;
    // Stella was trained with a full stop after the instruction.
    const std::string passages = query_after(std::string{web_search} + '.');
    const std::string similar = query_after("Retrieve semantically similar text.");
    about.prompts = {
        {"s2p", passages},
        {"search_query", passages},
        {"retrieval", passages},
        {"search_document", ""},
        {"s2s", similar},
        {"classification", similar},
        {"clustering", similar}};
    about.licence = "mit";
    return about;
}

card stella_400m()
{
    card about = stella_v5("dunzhang/stella_en_400M_v5", "stella-400m");
    about.memory.replica_bytes = 58'720'256;
    about.memory.mapped_bytes = 1'828'921'344;
    return about;
}

card stella_1_5b()
{
    card about = stella_v5("dunzhang/stella_en_1.5B_v5", "stella-1.5b");
    about.memory.replica_bytes = 100'663'296;
    about.memory.mapped_bytes = 6'311'577'600;
    return about;
}

card nv_embed_v2()
{
    card about = embedding_card("nvidia/NV-Embed-v2", find_embedder_loader("nv-embed"));
    about.aliases = {"nv-embed"};
    include_shards(about);
    // The latents are multiplied out with what makes keys and values of them.
    about.memory.resident_bytes = 135'495'680;
    about.memory.replica_bytes = 2'751'463'424;
    about.memory.mapped_bytes = 14'623'440'896;
    about.context_length = 32768;
    about.dimension = 4096;
    const std::string passages = query_after(question);
    about.prompts = {
        {"search_query", passages},
        {"retrieval", passages},
        {"search_document", ""},
        {"classification", query_after("Retrieve semantically similar text.")},
        {"clustering", query_after("Identify the topic or theme of the given text")}};
    about.licence = "cc-by-nc-4.0";
    return about;
}

card clip_base()
{
    card about = image_card("openai/clip-vit-base-patch32", find_image_embedder_loader("clip"));
    about.aliases = {"clip"};
    about.memory.replica_bytes = 80'945'152;
    about.memory.mapped_bytes = 605'109'252;
    about.context_length = 77;
    about.dimension = 512;
    about.licence = "mit";
    return about;
}

card clip_large_336()
{
    card about =
        image_card("openai/clip-vit-large-patch14-336", find_image_embedder_loader("clip"));
    about.aliases = {"clip-large"};
    about.memory.replica_bytes = 63'309'824;
    about.memory.mapped_bytes = 1'711'776'772;
    about.context_length = 77;
    about.dimension = 768;
    about.licence = "mit";
    return about;
}

// ---- generators ----------------------------------------------------------------------------------------

awaitable<std::unique_ptr<generator>> load_fetched_gguf(load_context context)
{
    const model_source& source = context.source();
    auto fetching = context.hub().fetch(source.repo, source.files);
    const snapshot files = co_await std::move(fetching);
    // A split file follows its first part, which comes first by name.
    const auto& names = files.files();
    const auto first = std::ranges::find_if(
        names, [](const std::string& name) { return name.ends_with(".gguf"); });
    if (first == names.end())
        throw error{
            hub_errc::not_found, source.repo.str() + ": holds no GGUF file of the card's pattern"};
    load_options options = options_of(context);
    auto build = [path = files.dir() / *first, options = std::move(options)] {
        return load_generator(path, options);
    };
    auto building = context.offload(std::move(build));
    co_return co_await std::move(building);
}

card gguf_card(std::string key, std::string repo, std::string pattern)
{
    card about;
    about.key = std::move(key);
    about.load = any_loader::of<text_to_text>(
        [](load_context context) { return load_fetched_gguf(std::move(context)); });
    about.repo = repository{repo};
    about.files.include(std::move(pattern));
    about.scaling = scaling_options{}.cold_start_workers(1);
    about.sampling.temperature = 0;
    about.sampling.top_k = 50;
    about.sampling.top_p = 0.9F;
    return about;
}

// Of the public file, by what the tensors of its shape take in a Q4_K_M mix: copied into the
// kernels' order or used in place, as the loader does on this machine.
void add_file_memory(card& about, std::uint64_t file_bytes)
{
    const bool packs = layout_for(file_bytes) == decoder::weight_layout::packed;
    (packs ? about.memory.resident_bytes : about.memory.mapped_bytes) = file_bytes;
}

card qwen3_1_7b()
{
    card about =
        gguf_card("unsloth/Qwen3-1.7B-GGUF", "unsloth/Qwen3-1.7B-GGUF", "Qwen3-1.7B-Q4_K_M.gguf");
    about.aliases = {"qwen-3", "qwen3-1.7b"};
    add_file_memory(about, 1'107'000'000);
    about.memory.replica_bytes = 64'000'000;
    about.context_length = 40960;
    about.licence = "apache-2.0";
    return about;
}

card qwen3_coder_30b()
{
    card about = gguf_card(
        "unsloth/Qwen3-Coder-30B-A3B-Instruct-GGUF",
        "unsloth/Qwen3-Coder-30B-A3B-Instruct-GGUF",
        "*Q4_K_M*.gguf");
    about.aliases = {"qwen3-coder"};
    about.memory.replica_bytes = 64'000'000;
    add_file_memory(about, 18'560'000'000);
    about.context_length = 262144;
    about.sampling.temperature = 0.7F;
    about.licence = "apache-2.0";
    return about;
}

card phi_4_reasoning()
{
    card about =
        gguf_card("unsloth/Phi-4-reasoning-GGUF", "unsloth/Phi-4-reasoning-GGUF", "*Q4_K_M*.gguf");
    about.aliases = {"unsloth/phi-4-reasoning", "phi-4-reasoning"};
    about.memory.replica_bytes = 96'000'000;
    add_file_memory(about, 9'050'000'000);
    about.context_length = 32768;
    about.sampling.top_p = 0.95F;
    about.licence = "mit";
    return about;
}

card kimi_k2()
{
    card about = gguf_card(
        "unsloth/Kimi-K2-Instruct-GGUF", "unsloth/Kimi-K2-Instruct-GGUF", "*Q4_K_M*.gguf");
    about.aliases = {"kimi-k2"};
    about.memory.replica_bytes = 512'000'000;
    add_file_memory(about, 621'000'000'000);
    about.context_length = 131072;
    about.licence = "modified-mit";
    return about;
}

// ---- vision ----------------------------------------------------------------------------------------------

card llava_1_5_7b()
{
    card about;
    about.key = "llava-hf/llava-1.5-7b-hf";
    about.aliases = {"llava"};
    about.load = any_loader::of<vision>(
        [](load_context context) { return load_fetched(std::move(context), load_llava); });
    about.repo = repository{about.key};
    for (const char* name :
         {"config.json",
          "generation_config.json",
          "preprocessor_config.json",
          "processor_config.json",
          "chat_template.jinja",
          "chat_template.json",
          "tokenizer.json",
          "tokenizer_config.json",
          "model.safetensors"})
        about.files.include(name);
    include_shards(about);
    about.scaling = scaling_options{}.cold_start_workers(1);
    about.memory.replica_bytes = 200'000'000;
    about.memory.mapped_bytes = 14'126'854'144;
    about.context_length = 4096;
    about.licence = "llama2";
    return about;
}

// ---- images --------------------------------------------------------------------------------------------

awaitable<std::unique_ptr<image_generator>> load_fetched_pipeline(load_context context)
{
    const std::string id = context.source().repo.id();
    auto load = [limit_bytes = context.memory_limit_bytes()](
                    const std::filesystem::path& dir, const load_options& options) {
        return load_image_generator(dir, options, limit_bytes);
    };
    auto loading = load_fetched(std::move(context), std::move(load));
    try {
        co_return co_await std::move(loading);
    } catch (const error& problem) {
        if (problem.code() != hub_errc::denied) throw;
        throw error{problem.code(), problem.what() + access_hint(id)};
    }
}

card pipeline_card(std::string key)
{
    card about;
    about.key = std::move(key);
    about.load = any_loader::of<text_to_image>(
        [](load_context context) { return load_fetched_pipeline(std::move(context)); });
    about.repo = about.key;
    about.files = pipeline_files();
    about.scaling = scaling_options{}.cold_start_workers(1);
    about.gated = true;
    return about;
}

card flux_schnell()
{
    card about = pipeline_card("black-forest-labs/FLUX.1-schnell");
    about.aliases = {"flux-schnell", "flux"};
    about.memory.replica_bytes = 1'610'612'736;
    about.memory.mapped_bytes = 33'730'000'000;
    about.context_length = 256;
    about.licence = "apache-2.0";
    return about;
}

card sd35_large_turbo()
{
    card about = pipeline_card("stabilityai/stable-diffusion-3.5-large-turbo");
    about.aliases = {"sd3.5-large-turbo", "sd3.5"};
    about.memory.replica_bytes = 1'610'612'736;
    about.memory.mapped_bytes = 27'800'000'000;
    about.context_length = 256;
    about.licence = "stabilityai-community";
    return about;
}

}  // namespace

file_selection pipeline_files()
{
    file_selection files;
    files.include("model_index.json");
    for (const char* part : {"scheduler", "tokenizer", "tokenizer_2", "tokenizer_3"})
        files.include(std::string{part} + "/*");
    for (const char* part :
         {"transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3"})
        files.include(std::string{part} + "/*.json").include(std::string{part} + "/*.safetensors");
    // Some parts are there a second time, in another precision.
    return files.exclude("*.fp16.safetensors")
        .exclude("*.fp16-*.safetensors")
        .exclude("*.index.fp16.json");
}

std::string access_hint(const std::string& repo_id)
{
    return "; its conditions are accepted at https://huggingface.co/" + repo_id +
           ", and the token of that account goes into HF_TOKEN";
}

std::vector<card> catalogue()
{
    std::vector<card> cards;
    cards.push_back(gte_qwen2_1_5b());
    cards.push_back(stella_1_5b());
    cards.push_back(stella_400m());
    cards.push_back(jina_v2_base_en());
    cards.push_back(nv_embed_v2());
    cards.push_back(all_minilm_l6_v2());
    cards.push_back(clip_base());
    cards.push_back(clip_large_336());
    cards.push_back(llava_1_5_7b());
    cards.push_back(kimi_k2());
    cards.push_back(phi_4_reasoning());
    cards.push_back(qwen3_1_7b());
    cards.push_back(qwen3_coder_30b());
    cards.push_back(flux_schnell());
    cards.push_back(sd35_large_turbo());
    return cards;
}

}  // namespace modelpool::models
