#include <modelpool/models/bert.hpp>
#include <modelpool/models/catalogue.hpp>

#include <memory>
#include <utility>

namespace modelpool::models {
namespace {

awaitable<std::unique_ptr<embedder>> load_fetched_bert(load_context context)
{
    const model_source& source = context.source();
    auto fetching = context.hub().fetch(source.repo, source.files);
    const snapshot files = co_await std::move(fetching);
    load_options options;
    options.device(context.device()).dtype(context.dtype()).stop(context.stop());
    auto build = [dir = files.dir(), options = std::move(options)] {
        return load_bert(dir, options);
    };
    auto building = context.offload(std::move(build));
    co_return co_await std::move(building);
}

card all_minilm_l6_v2()
{
    card about;
    about.key = "sentence-transformers/all-MiniLM-L6-v2";
    about.aliases = {"minilm"};
    about.load = any_loader::of<text_embedding>(load_fetched_bert);
    about.repo = about.key;
    // Selected, not demanded: a folder saved without the sentence-transformers files is one of these models too,
    // and what the loader cannot do without it asks for by name.
    about.files.include("config.json")
        .include("tokenizer.json")
        .include("tokenizer_config.json")
        .include("model.safetensors")
        .include("modules.json")
        .include("1_Pooling/config.json")
        .include("sentence_bert_config.json")
        .include("config_sentence_transformers.json");
    // As the loaded model reports them: the fused attention weights and the summed position table are copies,
    // the rest is used in the mapped file.
    about.memory.resident_bytes = 11'430'912;
    about.memory.replica_bytes = 17'301'504;
    about.memory.mapped_bytes = 79'617'024;
    about.context_length = 256;
    about.dimension = 384;
    about.licence = "apache-2.0";
    return about;
}

}  // namespace

std::vector<card> catalogue()
{
    std::vector<card> cards;
    cards.push_back(all_minilm_l6_v2());
    return cards;
}

}  // namespace modelpool::models
