#include <modelpool/error.hpp>

#include <memory>
#include <utility>
#include <variant>

#include "commands.hpp"
#include "generation.hpp"
#include "models_found.hpp"
#include "session.hpp"

namespace modelpool::cli {
namespace {

struct generate_arguments : generation_arguments {
    std::string prompt;
    std::string prompt_file;
    std::string raw_ids;
    CLI::Option* prompt_given{nullptr};
};

using prompt_input = std::variant<std::string, std::vector<std::int32_t>>;

prompt_input blocking_read_prompt(const generate_arguments& given)
{
    const bool has_text = given.prompt_given->count() > 0;
    const int n_given =
        int{has_text} + int{!given.prompt_file.empty()} + int{!given.raw_ids.empty()};
    if (n_given != 1)
        throw usage_error{"exactly one of --prompt, --prompt-file and --raw-ids is required"};
    if (!given.raw_ids.empty()) return blocking_read_ids(given.raw_ids);
    return has_text ? given.prompt : blocking_read_text(given.prompt_file);
}

awaitable<void> generate(
    session& where,
    card about,
    std::shared_ptr<prompt_input> prompt,
    std::shared_ptr<generation_params> params,
    answer_writer& writer)
{
    auto opening = where.open_generator(std::move(about));
    const generation_handle model = co_await std::move(opening);
    auto* const text = std::get_if<std::string>(prompt.get());
    auto starting =
        text != nullptr
            ? model.complete(std::move(*text), *params)
            : model.complete(std::move(std::get<std::vector<std::int32_t>>(*prompt)), *params);
    token_stream stream = co_await std::move(starting);
    for (;;) {
        auto waiting = stream.next();
        std::optional<generation_event> event = co_await std::move(waiting);
        if (!event) break;
        writer.write(std::move(*event));
    }
    writer.finish();
}

void run_generate(program& self, const generate_arguments& given)
{
    const settings wanted{given.common};
    auto prompt = std::make_shared<prompt_input>(blocking_read_prompt(given));
    auto params = std::make_shared<generation_params>(blocking_params(given));
    const sched::generation_options options = worker_options_of(given);
    card about = blocking_find_card(wanted);
    session where{self, wanted, options};
    answer_writer writer{self, wanted, given, false};
    where.run([&] { return generate(where, std::move(about), prompt, params, writer); });
}

constexpr const char* footer =
    R"(Continues a prompt as it stands; nothing is added to it but the tokenizer's own special tokens.
Output: the text, while it comes. With --json one document: {"text","ids","prompt_ids","finish_reason","usage",
"timings","logprobs":[{"id","logprob","top":[[id,logprob],...]}]}. With --json-lines one object an event:
{"event":"text","text","ids"} and at the end {"event":"end","finish_reason","usage","timings"}.

Examples:
  modelpool generate --model Qwen3-1.7B-Q4_K_M.gguf --prompt "The capital of France is" --max-tokens 16
  modelpool generate --model qwen-3 --prompt-file prompt.txt --temperature 0.7 --seed 1 --json)";

}  // namespace

void add_generate(CLI::App& app, program& self)
{
    CLI::App* command = app.add_subcommand("generate", "Continue a prompt");
    auto given = std::make_shared<generate_arguments>();
    add_model_options(*command, given->common);
    given->prompt_given =
        command->add_option("--prompt", given->prompt, "The prompt")->type_name("P");
    command->add_option("--prompt-file", given->prompt_file, "A file whose bytes are the prompt")
        ->type_name("FILE");
    command->add_option("--raw-ids", given->raw_ids, "A JSON array of token ids as the prompt")
        ->type_name("FILE");
    add_generation_options(*command, *given);
    add_compute_options(*command, given->common);
    add_cache_options(*command, given->common);
    add_output_options(*command, given->common, true);
    command->footer(footer);
    command->callback(
        [&self, given] { self.run = [&self, given] { run_generate(self, *given); }; });
}

}  // namespace modelpool::cli
