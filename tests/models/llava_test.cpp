#include <modelpool/models/generator.hpp>
#include <modelpool/models/inspect.hpp>
#include <modelpool/models/llava.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "models/decoder_runs.hpp"
#include "models/embedding_fixture.hpp"
#include "support/failure.hpp"

namespace modelpool {
namespace {

using models::load_llava;
using testing::checkpoint_dir;
using testing::decoded;
using testing::decoder_run;
using testing::failure;
using testing::plenty;
using testing::spoiled_copy;

constexpr auto all_cases = {"flat_f32", "layers_f16", "full_bf16"};

std::filesystem::path llava_dir(std::string_view name)
{
    return checkpoint_dir("llava", name);
}

image_source picture(const std::string& name)
{
    return image_file{checkpoint_dir("clip", "images") / name};
}

// What transformers computes: see tests/data/make_llava_cases.py.
struct llava_item {
    std::vector<std::string> images;
    std::string prompt;
    std::vector<std::int32_t> prompt_ids;
    std::vector<std::int32_t> ids;
    std::vector<float> logits;
};

std::vector<llava_item> items_of(const std::string& name)
{
    std::vector<llava_item> items;
    const nlohmann::json json = testing::read_json(llava_dir(name) / "case.json");
    for (const nlohmann::json& from : json.at("items")) {
        llava_item& one = items.emplace_back();
        from.at("images").get_to(one.images);
        from.at("prompt").get_to(one.prompt);
        from.at("prompt_ids").get_to(one.prompt_ids);
        from.at("ids").get_to(one.ids);
        from.at("logits").get_to(one.logits);
    }
    return items;
}

// A user's message, with images where the text has their marks, or before it.
message ask(const std::string& prompt, const std::vector<std::string>& images)
{
    const std::string mark = "<image>";
    message made;
    made.role = "user";
    made.images_in_place = prompt.find(mark) != std::string::npos;
    std::size_t next = 0;
    if (!made.images_in_place)
        for (const std::string& name : images)
            made.content.emplace_back(picture(name));
    std::size_t begin = 0;
    for (std::size_t at = prompt.find(mark); at != std::string::npos;
         at = prompt.find(mark, begin)) {
        if (at > begin) made.content.emplace_back(prompt.substr(begin, at - begin));
        made.content.emplace_back(picture(images.at(next++)));
        begin = at + mark.size();
    }
    if (begin < prompt.size()) made.content.emplace_back(prompt.substr(begin));
    return made;
}

std::shared_ptr<const prepared_prompt>
prepare(const generator& model, const std::string& prompt, const std::vector<std::string>& images)
{
    generation_request request;
    request.input = chat{}.add(ask(prompt, images));
    return std::make_shared<const prepared_prompt>(model.prepare(request));
}

decoded answer(
    generator& model,
    const std::shared_ptr<const prepared_prompt>& prompt,
    std::size_t n_tokens,
    const sched::generation_options& options = plenty(),
    int n_threads = 1)
{
    decoder_run run{model, options, n_threads};
    run.add(prompt, n_tokens);
    return run.finish().front();
}

}  // namespace

TEST_CASE("llava: answers are the reference's, whatever the layout and the place of images")
{
    const std::string name = GENERATE(from_range(std::begin(all_cases), std::end(all_cases)));
    const auto model = load_llava(llava_dir(name));
    CHECK(model->info().takes_images);
    for (const llava_item& item : items_of(name)) {
        CAPTURE(name, item.prompt);
        const auto prompt = prepare(*model, item.prompt, item.images);
        CHECK(prompt->tokens == item.prompt_ids);
        CHECK(prompt->images.size() == item.images.size());
        const decoded got = answer(*model, prompt, item.ids.size());
        CHECK(got.ids == item.ids);
        REQUIRE(got.logits.front().size() == item.logits.size());
        for (std::size_t i = 0; i < item.logits.size(); ++i)
            if (std::abs(got.logits.front()[i] - item.logits[i]) > 1e-3F)
                FAIL("logit " << i << ": " << got.logits.front()[i] << ", " << item.logits[i]);
    }
}

TEST_CASE("llava: answers about images are the same alone, together, in chunks and from the cache")
{
    const auto model = load_llava(llava_dir("flat_f32"));
    constexpr std::size_t n_tokens = 8;
    const std::vector<std::shared_ptr<const prepared_prompt>> prompts{
        prepare(*model, "What is it?", {"wide.png"}),
        prepare(*model, "What is it?", {"tall.webp"}),
        prepare(*model, "<image> and <image>", {"tall.webp", "wide.png"}),
        prepare(*model, "What is it?", {})};
    std::vector<decoded> expected;
    for (const auto& prompt : prompts)
        expected.push_back(answer(*model, prompt, n_tokens));
    CHECK(expected[0].ids != expected[1].ids);

    sched::generation_options options = plenty();
    options.limits(sched::scheduler_options{}.prefill_chunk(5).block_tokens(16));
    decoder_run together{*model, options};
    for (const auto& prompt : prompts)
        together.add(prompt, n_tokens);
    CHECK(together.finish() == expected);

    // What two questions about one image have in common is computed once; another image of the
    // same size has nothing in common but the words before it.
    decoder_run later{*model, options};
    later.add(prompts[0], n_tokens);
    CHECK(later.finish().back() == expected[0]);
    later.add(prepare(*model, "Who is it?", {"wide.png"}), n_tokens);
    CHECK(later.finish().back().n_cached >= 16);
    later.add(prompts[1], n_tokens);
    CHECK(later.finish().back() == expected[1]);
    CHECK(later.finish().back().n_cached < 10);

    // Too few blocks for all: some are paused and computed again.
    sched::generation_options tight = options;
    tight.kv_budget_bytes(model->kv_bytes(16, kv_dtype::f32) * 9);
    decoder_run paused{*model, tight, 2};
    for (const auto& prompt : prompts)
        paused.add(prompt, n_tokens);
    CHECK(paused.finish() == expected);
}

TEST_CASE("llava: replicas share the weights and answer alike")
{
    const auto first = load_llava(llava_dir("layers_f16"));
    const auto second = first->replicate();
    const auto prompt = prepare(*first, "What is it?", {"wide.png"});
    const auto again = prepare(*second, "What is it?", {"wide.png"});
    CHECK(prompt->images.front().image_id == again->images.front().image_id);
    CHECK(answer(*first, prompt, 6) == answer(*second, again, 6));
    run_context context;
    second->warm_up(context);
    const footprint bytes = second->bytes();
    CHECK(bytes.replica_bytes > 16 * 16 * 32 * sizeof(float));
}

TEST_CASE("llava: several turns keep their images in order")
{
    const auto model = load_llava(llava_dir("flat_f32"));
    chat conversation;
    conversation.add(ask("First?", {"wide.png"}));
    conversation.assistant("one");
    conversation.add(ask("Second?", {"tall.webp", "grey.png"}));
    generation_request request;
    request.input = conversation;
    const prepared_prompt prompt = model->prepare(request);
    REQUIRE(prompt.images.size() == 3);
    CHECK(prompt.images[0].image_id == prepare(*model, "x", {"wide.png"})->images[0].image_id);
    CHECK(prompt.images[2].image_id == prepare(*model, "x", {"grey.png"})->images[0].image_id);
    CHECK(prompt.images[1].begin > prompt.images[0].begin + 16);
    CHECK(prompt.images[2].begin == prompt.images[1].begin + 17);  // a line apart
}

TEST_CASE("llava: what a request cannot have fails that request, with the image's place")
{
    const auto model = load_llava(llava_dir("flat_f32"));
    CHECK(failure(errc::invalid_argument, [&] {
              prepare(*model, "Which?", {"wide.png", "none.png", "tall.webp"});
          }).find("image 1") != std::string::npos);
    generation_request request;
    message broken = ask("What?", {});
    broken.content.emplace_back(image_bytes{std::vector<std::byte>(9)});
    request.input = chat{}.add(broken);
    failure(errc::invalid_argument, [&] { model->prepare(request); });
    // A mark that stands for no image.
    request.input = chat{}.user("An <image> of my own");
    CHECK(failure(errc::invalid_argument, [&] {
              model->prepare(request);
          }).find("1 <image> marks, expected 0") != std::string::npos);
    // More than the context holds, before any of them is decoded.
    const std::vector<std::string> many(11, "none.png");
    failure(model_errc::context_overflow, [&] { prepare(*model, "Which?", many); });
    CHECK(answer(*model, prepare(*model, "What is it?", {"wide.png"}), 3).ids.size() == 3);
}

TEST_CASE("llava: an inspected folder says what it takes, and its card loads it")
{
    const models::inspection found = models::blocking_inspect(llava_dir("flat_f32"));
    CHECK(found.family == "llava");
    CHECK(found.kind == capability::vision);
    CHECK(found.runnable());
    CHECK(found.max_tokens == 160);
    CHECK(found.memory.mapped_bytes > 200'000);
    CHECK(models::blocking_card(llava_dir("flat_f32")).kind() == capability::vision);
}

TEST_CASE("llava: a GGUF file with its image encoder beside it gives the reference's answers")
{
    const std::filesystem::path dir = llava_dir("gguf_f16");
    for (const std::filesystem::path& path : {dir, dir / "model-f16.gguf"}) {
        const auto model = load_llava(path);
        CHECK(model->info().takes_images);
        for (const llava_item& item : items_of("gguf_f16")) {
            CAPTURE(path.string(), item.prompt);
            const auto prompt = prepare(*model, item.prompt, item.images);
            // The tokenizer of such a file does not know the mark of an image.
            CHECK(prompt->tokens.size() == item.prompt_ids.size());
            const decoded got = answer(*model, prompt, item.ids.size());
            CHECK(got.ids == item.ids);
            for (std::size_t i = 0; i < item.logits.size(); ++i)
                if (std::abs(got.logits.front()[i] - item.logits[i]) > 1e-3F)
                    FAIL("logit " << i << ": " << got.logits.front()[i] << ", " << item.logits[i]);
        }
        const models::inspection found = models::blocking_inspect(path);
        CHECK(found.kind == capability::vision);
        CHECK(found.runnable());
    }
    // Without the encoder the same file is a decoder of texts alone.
    spoiled_copy copy{dir};
    copy.remove("mmproj-model-f16.gguf");
    CHECK(models::blocking_inspect(copy.path()).kind == capability::text_to_text);
    CHECK(failure(model_errc::bad_file, [&] {
              load_llava(copy.path());
          }).find("mmproj") != std::string::npos);
    copy.write("mmproj.gguf", "GGUF");
    failure(model_errc::bad_file, [&] { load_llava(copy.path()); });
    const std::filesystem::path named = copy.path() / "model-f16.gguf";
    failure(model_errc::bad_file, [&] { models::blocking_inspect(copy.path()); });
    CHECK(models::blocking_inspect(named).kind == capability::text_to_text);
    copy.write("other-mmproj.gguf", "GGUF");
    CHECK(models::blocking_inspect(named).kind == capability::text_to_text);
    CHECK(failure(model_errc::bad_file, [&] {
              load_llava(copy.path());
          }).find("other-mmproj.gguf") != std::string::npos);
}

TEST_CASE("llava: variants that are not computed are refused by name")
{
    const auto refused = [](const char* field, nlohmann::json value) {
        spoiled_copy copy{llava_dir("flat_f32")};
        copy.edit("config.json", [&](nlohmann::json& config) {
            const nlohmann::json::json_pointer place{field};
            config[place] = std::move(value);
        });
        return failure(model_errc::unsupported, [&] { load_llava(copy.path()); });
    };
    const auto holds = [](const std::string& text, const char* part) {
        return text.find(part) != std::string::npos;
    };
    CHECK(holds(refused("/vision_feature_select_strategy", "cls_only"), "cls_only"));
    CHECK(holds(refused("/vision_config/model_type", "siglip_vision_model"), "siglip"));
    CHECK(holds(refused("/projector_hidden_act", "mish"), "mish"));
    CHECK(holds(refused("/text_config/model_type", "mamba"), "mamba"));
    CHECK(holds(refused("/model_type", "llava_next"), "llava_next"));
    const auto bad = [](const char* field, nlohmann::json value) {
        spoiled_copy copy{llava_dir("flat_f32")};
        copy.edit("config.json", [&](nlohmann::json& config) {
            const nlohmann::json::json_pointer place{field};
            config[place] = std::move(value);
        });
        return failure(model_errc::bad_config, [&] { load_llava(copy.path()); });
    };
    for (const nlohmann::json& layers :
         {nlohmann::json(5),
          nlohmann::json(-6),
          nlohmann::json::array(),
          nlohmann::json("last"),
          nlohmann::json::array({1, 2.5})})
        CHECK(holds(bad("/vision_feature_layer", layers), "vision_feature_layer"));
    CHECK(holds(bad("/vision_config/image_size", 56), "56"));
    bad("/image_token_index", -1);
    bad("/vision_config", "none");
}

}  // namespace modelpool
