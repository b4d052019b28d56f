#include <modelpool/capability/image_embedding.hpp>
#include <modelpool/error.hpp>
#include <modelpool/image/image.hpp>

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "arguments.hpp"
#include "commands.hpp"
#include "input.hpp"
#include "models_found.hpp"
#include "session.hpp"
#include "text_format.hpp"

namespace modelpool::cli {
namespace {

struct embed_image_arguments {
    common_options common;
    std::vector<std::string> images;
    std::vector<std::string> texts;
    std::string texts_file;
    bool no_normalize{false};
};

// What a run gives.
struct image_rows_found {
    embeddings images;
    embeddings texts;
    std::optional<double> logit_scale;
};

std::vector<std::string> blocking_read_texts(const embed_image_arguments& given)
{
    constexpr std::size_t at_once = 1024;
    std::vector<std::string> texts = given.texts;
    if (given.texts_file.empty()) return texts;
    const std::unique_ptr<text_source> source = blocking_open_texts({}, given.texts_file);
    for (;;) {
        std::vector<input_text> part = source->blocking_next(at_once, stop_flag{});
        if (part.empty()) return texts;
        for (input_text& one : part)
            texts.push_back(std::move(one.text));
    }
}

// Takes values: it runs on while the caller waits elsewhere.
awaitable<image_rows_found> embed_all(
    handle<image_embedding> model,
    std::vector<image_source> images,
    std::vector<std::string> texts,
    bool normalize)
{
    request_options request;
    request.wait_for_place(true);
    image_rows_found found;
    auto asking = model.info(request);
    const image_embedder_info info = co_await std::move(asking);
    found.logit_scale = info.logit_scale;
    found.texts = embeddings{0, info.dim, embedding_dtype::f32, normalize};
    if (!texts.empty()) {
        embed_options options;
        options.normalize(normalize);
        auto embedding = model.embed_text(std::move(texts), options, request);
        found.texts = co_await std::move(embedding);
    }
    image_embed_options options;
    options.normalize(normalize);
    auto embedding = model.embed(std::move(images), options, request);
    found.images = co_await std::move(embedding);
    co_return found;
}

void append_rows(std::string& out, const embeddings& rows)
{
    for (std::size_t i = 0; i < rows.size(); ++i) {
        out += i == 0 ? "[" : ",[";
        append_numbers(out, rows[i], ',');
        out += ']';
    }
}

void append_similarity(std::string& out, const image_text_similarity& all)
{
    for (std::size_t image = 0; image < all.n_images; ++image) {
        out += image == 0 ? "[" : ",[";
        const std::span<const double> row{all.cosines.data() + image * all.n_texts, all.n_texts};
        append_numbers(out, row, ',');
        out += ']';
    }
}

void write_document(output& out, const std::string& model, const image_rows_found& found)
{
    std::string text = R"({"model":)";
    append_json(text, model);
    text += R"(,"dim":)";
    append_number(text, found.images.dim());
    text += R"(,"embeddings":[)";
    append_rows(text, found.images);
    text += R"(],"text_embeddings":[)";
    append_rows(text, found.texts);
    text += R"(],"similarity":[)";
    append_similarity(text, compare(found.images, found.texts));
    text += R"(],"logit_scale":)";
    if (found.logit_scale)
        append_number(text, *found.logit_scale);
    else
        text += "null";
    text += "}\n";
    output::document{out}.write(text);
}

void write_lines(output& out, const image_rows_found& found)
{
    std::string lines;
    for (const embeddings* rows : {&found.images, &found.texts})
        for (std::size_t i = 0; i < rows->size(); ++i) {
            append_numbers(lines, (*rows)[i], ' ');
            lines += '\n';
        }
    out.write(lines);
}

void run_embed_image(program& self, const embed_image_arguments& given)
{
    const settings wanted{given.common};
    if (given.images.empty())
        throw usage_error{"no images: give files, web addresses or data URIs"};
    std::vector<std::string> texts = blocking_read_texts(given);
    std::vector<image_source> images;
    std::ranges::transform(given.images, std::back_inserter(images), to_image_source);
    card about = blocking_find_card(wanted);
    session where{self, wanted};
    image_rows_found found;
    auto body = [&]() -> awaitable<void> {
        auto opening = where.open_images(std::move(about));
        handle<image_embedding> model = co_await std::move(opening);
        auto embedding =
            embed_all(std::move(model), std::move(images), std::move(texts), !given.no_normalize);
        found = co_await std::move(embedding);
    };
    where.run(body);
    if (wanted.json)
        write_document(self.out, wanted.model, found);
    else
        write_lines(self.out, found);
}

constexpr const char* footer =
    R"(Output: one row a line, numbers separated by spaces: the images first, then the texts. With --json one
document:
  {"model","dim","embeddings":[[...]],"text_embeddings":[[...]],"similarity":[[...]],"logit_scale"}
where similarity has a row an image, of its cosines with the texts; times logit_scale they are logits.

Images are JPEG, PNG or WebP files, web addresses, or data URIs (data:image/png;base64,...).

Examples:
  modelpool embed-image --model clip cat.jpg dog.png --text "a cat" --text "a dog" --json
  modelpool embed-image --model ./clip-vit-base-patch32 photos/*.jpg > rows.txt)";

}  // namespace

void add_embed_image(CLI::App& app, program& self)
{
    CLI::App* command = app.add_subcommand(
        "embed-image", "Turn images, and texts beside them, into rows of numbers");
    auto given = std::make_shared<embed_image_arguments>();
    command->add_option("IMAGE", given->images, "Images: files, web addresses or data URIs");
    command
        ->add_option(
            "--text", given->texts, "Texts to compare the images with; they go after the images")
        ->type_name("T...");
    command
        ->add_option(
            "--texts", given->texts_file, "More texts: a .json array of strings, or a text a line")
        ->type_name("FILE");
    add_model_options(*command, given->common);
    command->add_flag(
        "--no-normalize",
        given->no_normalize,
        "Rows as the model projects them, not of unit length");
    add_compute_options(*command, given->common);
    add_cache_options(*command, given->common);
    add_output_options(*command, given->common, false);
    command->footer(footer);
    command->callback(
        [&self, given] { self.run = [&self, given] { run_embed_image(self, *given); }; });
}

}  // namespace modelpool::cli
