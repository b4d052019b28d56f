#include <modelpool/image/image.hpp>

#include <algorithm>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "commands.hpp"
#include "generation.hpp"
#include "input.hpp"
#include "models_found.hpp"
#include "session.hpp"

namespace modelpool::cli {
namespace {

struct describe_arguments : generation_arguments {
    std::vector<std::string> images;
    std::string prompt;
};

struct question {
    std::vector<image_source> images;
    std::string prompt;
    generation_params params;
};

awaitable<void>
describe(session& where, card about, std::shared_ptr<question> asked, answer_writer& writer)
{
    auto opening = where.open_vision(std::move(about));
    const handle<vision> model = co_await std::move(opening);
    auto starting = model.describe(
        std::move(asked->images), std::move(asked->prompt), std::move(asked->params));
    token_stream stream = co_await std::move(starting);
    for (;;) {
        auto waiting = stream.next();
        std::optional<generation_event> event = co_await std::move(waiting);
        if (!event) break;
        writer.write(std::move(*event));
    }
    writer.finish();
}

void run_describe(program& self, const describe_arguments& given)
{
    const settings wanted{given.common};
    auto asked = std::make_shared<question>();
    std::ranges::transform(given.images, std::back_inserter(asked->images), to_image_source);
    asked->prompt = given.prompt;
    asked->params = blocking_params(given);
    const sched::generation_options options = worker_options_of(given);
    card about = blocking_find_card(wanted);
    session where{self, wanted, options};
    answer_writer writer{self, wanted, given, false};
    where.run([&] { return describe(where, std::move(about), asked, writer); });
}

constexpr const char* footer =
    R"(Answers a prompt about images through the model's own template. Images are JPEG, PNG or WebP files, web addresses,
or data URIs (data:image/png;base64,...). They go first, in order, unless the prompt says by <image> where each goes.
Output: the answer, while it comes. With --json one document, and with --json-lines one object an event, as `generate`.

Examples:
  modelpool describe --model llava-hf/llava-1.5-7b-hf --image cat.jpg --prompt "What is this?"
  modelpool describe --model ./llava --image a.png --image b.png --prompt "<image> or <image>?" --max-tokens 64 --json)";

}  // namespace

void add_describe(CLI::App& app, program& self)
{
    CLI::App* command = app.add_subcommand("describe", "Answer a prompt about images");
    auto given = std::make_shared<describe_arguments>();
    add_model_options(*command, given->common);
    command
        ->add_option(
            "--image", given->images, "A file, web address or data URI; may be given often")
        ->allow_extra_args(false)
        ->type_name("IMAGE");
    command->add_option("--prompt", given->prompt, "What is asked")->required()->type_name("P");
    add_generation_options(*command, *given);
    add_compute_options(*command, given->common);
    add_cache_options(*command, given->common);
    add_output_options(*command, given->common, true);
    command->footer(footer);
    command->callback(
        [&self, given] { self.run = [&self, given] { run_describe(self, *given); }; });
}

}  // namespace modelpool::cli
