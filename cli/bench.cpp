#include "bench.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "commands.hpp"
#include "generation.hpp"
#include "models_found.hpp"
#include "text_format.hpp"

namespace modelpool::cli {
namespace {

// {"figures":{name:{"value","unit"}}}
std::string to_json(const std::vector<figure>& figures)
{
    std::string out = R"({"figures":{)";
    for (const figure& one : figures) {
        if (&one != &figures.front()) out += ',';
        append_json(out, one.name);
        out += R"(:{"value":)";
        append_number(out, one.value);
        out += R"(,"unit":)";
        append_json(out, one.unit);
        out += '}';
    }
    return out + "}}\n";
}

// Three digits that matter; counts in full.
std::string rounded(double value)
{
    char text[32];
    const int n_decimals =
        value == std::floor(value) ? 0 : std::clamp(2 - static_cast<int>(std::log10(value)), 0, 3);
    std::snprintf(text, sizeof text, "%.*f", n_decimals, value);
    return text;
}

std::string to_table(const std::vector<figure>& figures)
{
    std::size_t name_width = 0;
    std::size_t value_width = 0;
    for (const figure& one : figures) {
        name_width = std::max(name_width, one.name.size());
        value_width = std::max(value_width, rounded(one.value).size());
    }
    std::string out;
    for (const figure& one : figures) {
        const std::string value = rounded(one.value);
        out += one.name +
               std::string(name_width + value_width + 2 - one.name.size() - value.size(), ' ');
        out += value + ' ' + one.unit + '\n';
    }
    return out;
}

void run_bench(program& self, bool json, const std::function<std::vector<figure>()>& measure)
{
    const std::vector<figure> figures = measure();
    if (json)
        output::document{self.out}.write(to_json(figures));
    else
        self.out.write(to_table(figures));
}

constexpr const char* pool_footer =
    R"(Needs no model: requests go to one that does nothing. Takes about ten seconds. Figures of a machine
that does other things meanwhile say little.
  hop_*             a coroutine's trip to another thread and back, without the library: where both
                    threads share a core, and where they have two
  embed_*           a request to an idle worker and back; embed_to_hop is how much longer that takes
  request_of_N      time per request on one core, with N callers that ask again at once; of 1000 most
                    wait in the queue
  look_up           a registry's answer, among 1000 models
  counting          the counters and histograms of a request; part of embed
  *_of_1000_models  memory of models that nobody has loaded yet
  heartbeat_*       how late a timer of 1 kHz comes on the loop of a pool that loads, computes, evicts
                    and cancels; same_load_*: on one that other threads give as much to do; burner_*:
                    on one with nothing to do beside threads that compute
  idle_wake_ups     how often threads woke in a second, with 20 models loaded and nothing to do
With --json one document: {"figures":{name:{"value","unit"}}}

Examples:
  modelpool bench pool
  modelpool bench pool --json)";

constexpr const char* hub_footer =
    R"(Needs no network: this program serves the files itself, on loopback and from memory, and writes them
to /dev/shm where there is one. Server and client share the cores, so both count. Takes about twenty
seconds and 1.5 GiB of memory. The best of several runs.
  large_file*       one file of 512 MiB; _unverified: only its length is compared
  large_files_16*   16 of 32 MiB
  sha256            one core's hashing alone
  small_files       files of 2 KiB
  hit_by_commit     what is in the cache, by its commit; by_branch: the server is asked for the commit
With --json one document: {"figures":{name:{"value","unit"}}}

Examples:
  modelpool bench hub
  modelpool bench hub --json)";

struct bench_group {
    const char* name;
    const char* what;
    const char* footer;
    std::vector<figure> (*measure)();
};

constexpr bench_group groups[] = {
    {"pool", "What requests, look-ups and idle models cost", pool_footer, blocking_measure_pool},
    {"hub", "What fetching costs, without a network", hub_footer, blocking_measure_hub},
};

void add_group(CLI::App& bench, program& self, const bench_group& group)
{
    CLI::App* command = bench.add_subcommand(group.name, group.what);
    auto json = std::make_shared<bool>(false);
    command->add_flag("--json", *json, "Print one JSON document");
    command->footer(group.footer);
    command->callback([&self, json, measure = group.measure] {
        self.run = [&self, json, measure] { run_bench(self, *json, measure); };
    });
}

constexpr const char* generate_footer =
    R"(Loads the model into this process and generates from prompts of random tokens. Figures of a machine that
does other things meanwhile say little.
  load              seconds until the weights are ready
  first_token       seconds of a first token after a prompt of one
  prefill           tokens of one prompt a second
  decode_of_N       tokens a second, of N streams together
  weights_in_*      weights copied into memory, and used in the mapped file
  keys_and_values   of all positions of 16 streams
  replica           temporaries of one worker
  resident          memory of the process at the end, with all its workers
  resident_in_files what of that are pages of mapped files, which the system may drop
  peak              the most that it ever was
With --json one document: {"figures":{name:{"value","unit"}}}

Examples:
  modelpool bench generate --model Qwen3-1.7B-Q4_K_M.gguf --threads 2)";

void add_generate_group(CLI::App& bench, program& self)
{
    struct arguments {
        common_options common;
        generate_bench wanted;
        std::string kv_dtype{"f32"};
        std::string prefill{"exact"};
    };
    CLI::App* command = bench.add_subcommand("generate", "How fast a model generates");
    auto given = std::make_shared<arguments>();
    add_model_options(*command, given->common);
    command->add_option("--prompt-tokens", given->wanted.n_prompt, "Tokens of each prompt")
        ->check(CLI::Range(1, 1 << 20))
        ->capture_default_str();
    command->add_option("--tokens", given->wanted.n_generated, "Tokens generated after each")
        ->check(CLI::Range(2, 1 << 20))
        ->capture_default_str();
    command->add_option("--kv-dtype", given->kv_dtype, "f32, f16, bf16 or int8")
        ->capture_default_str();
    command->add_option("--prefill", given->prefill, "How prompts are computed: exact or fast")
        ->capture_default_str();
    command->add_option("--chunk", given->wanted.n_chunk, "Rows of prompts a step at most")
        ->check(CLI::Range(1, 1 << 20))
        ->capture_default_str();
    command->add_option("--streams", given->wanted.streams, "How many prompts at once, in turn")
        ->check(CLI::Range(1, 1 << 10))
        ->capture_default_str();
    add_compute_options(*command, given->common);
    add_cache_options(*command, given->common);
    add_output_options(*command, given->common, false);
    command->footer(generate_footer);
    command->callback([&self, given] {
        self.run = [&self, given] {
            const settings wanted{given->common};
            given->wanted.path = blocking_find_checkpoint(wanted);
            given->wanted.n_threads = wanted.n_threads;
            given->wanted.n_workers = wanted.n_workers;
            given->wanted.precision = wanted.dtype;
            given->wanted.kv_format = parse_kv_dtype(given->kv_dtype);
            given->wanted.prefill = parse_prefill(given->prefill);
            run_bench(
                self, wanted.json, [given] { return blocking_measure_generation(given->wanted); });
        };
    });
}

constexpr const char* describe_footer =
    R"(Loads the model into this process and asks two questions about an image of 640x480, which it has not met.
Figures of a machine that does other things meanwhile say little.
  load              seconds until the weights are ready
  image_encode      seconds of the vision tower and the projector, for one image
  prompt            tokens of the first question, the image's positions among them
  first_token       seconds from the first question to its first token; _again: from another one
                    about the same image; sooner_again: their ratio
  decode            tokens a second, the faster answer
  weights_in_*, replica, resident*, peak: as of bench generate
With --json one document: {"figures":{name:{"value","unit"}}}

Examples:
  modelpool bench describe --model ./llava-1.5-7b-hf --dtype q4_k)";

void add_describe_group(CLI::App& bench, program& self)
{
    struct arguments {
        common_options common;
        generate_bench wanted;
    };
    CLI::App* command = bench.add_subcommand("describe", "How fast a model answers about images");
    auto given = std::make_shared<arguments>();
    add_model_options(*command, given->common);
    command->add_option("--tokens", given->wanted.n_generated, "Tokens of each answer")
        ->check(CLI::Range(2, 1 << 10))
        ->capture_default_str();
    add_compute_options(*command, given->common);
    add_cache_options(*command, given->common);
    add_output_options(*command, given->common, false);
    command->footer(describe_footer);
    command->callback([&self, given] {
        self.run = [&self, given] {
            const settings wanted{given->common};
            given->wanted.path = blocking_find_checkpoint(wanted);
            given->wanted.n_threads = wanted.n_threads;
            given->wanted.precision = wanted.dtype;
            run_bench(
                self, wanted.json, [given] { return blocking_measure_description(given->wanted); });
        };
    });
}

constexpr const char* embed_footer =
    R"(Loads the model into this process and embeds texts of common words, tokenising included. Figures of a
machine that does other things meanwhile say little.
  first_row        ms from the start of the load to a first row
  short            tokens a second: 1,024 texts of 3 to 65 tokens in one request; the best of three
  mixed, long      512 of about 54 tokens on average; 128 of 256
  one_text_*       ms of a text of 8 tokens, one after another
  callers_16       texts a second of 16 callers, each of which sends one short text after another
  least_cosine_*   the least cosine of a row to the same text's row of the first dtype
  *_crowd_*        single texts while a request of --crowd texts runs
With --json one document: {"figures":{name:{"value","unit"}}}

Examples:
  modelpool bench embed --model sentence-transformers/all-MiniLM-L6-v2 --dtypes f32 bf16)";

void add_embed_group(CLI::App& bench, program& self)
{
    struct arguments {
        common_options common;
        embed_bench wanted;
        std::vector<std::string> dtypes{"f32"};
    };
    CLI::App* command = bench.add_subcommand("embed", "How fast a model embeds texts");
    auto given = std::make_shared<arguments>();
    add_model_options(*command, given->common);
    command->add_option("--dtypes", given->dtypes, "What to compute in, one after the other")
        ->capture_default_str();
    command->add_option("--crowd", given->wanted.n_crowd, "Texts of the large request; 0: none")
        ->check(CLI::Range(0, 1 << 24))
        ->capture_default_str();
    add_compute_options(*command, given->common);
    add_cache_options(*command, given->common);
    add_output_options(*command, given->common, false);
    command->footer(embed_footer);
    command->callback([&self, given] {
        self.run = [&self, given] {
            const settings wanted{given->common};
            given->wanted.folder = blocking_find_checkpoint(wanted);
            given->wanted.n_threads = wanted.n_threads;
            if (wanted.n_workers > 0) given->wanted.n_workers = wanted.n_workers;
            for (const std::string& name : given->dtypes) {
                const std::string suffix = given->dtypes.size() == 1 ? "" : "_" + name;
                given->wanted.dtypes.emplace_back(parse_dtype(name), suffix);
            }
            run_bench(
                self, wanted.json, [given] { return blocking_measure_embedding(given->wanted); });
        };
    });
}

constexpr const char* imagine_footer =
    R"(Loads the pipeline into this process and makes two images of one prompt. Figures of a machine that does
other things meanwhile say little.
  load              seconds until the pipeline is ready
  encode            seconds of the prompt's encoders; encode_again: of a prompt that was encoded before
  step              seconds a step, the fastest; step_mean: of all steps
  decode            seconds of the decoder, the faster of two
  weights_in_*      weights in memory, and used in the mapped files
  peak              the most memory that the process had, mapped files in use among it
With --json one document: {"figures":{name:{"value","unit"}}}

Examples:
  modelpool bench imagine --model ./FLUX.1-schnell --side 512 --dtype q8_0)";

void add_imagine_group(CLI::App& bench, program& self)
{
    struct arguments {
        common_options common;
        imagine_bench wanted;
    };
    CLI::App* command = bench.add_subcommand("imagine", "How fast a pipeline makes images");
    auto given = std::make_shared<arguments>();
    add_model_options(*command, given->common);
    command->add_option("--side", given->wanted.side, "Pixels a side of the image")
        ->check(CLI::Range(16, 4096))
        ->capture_default_str();
    command->add_option("--steps", given->wanted.n_steps, "Denoising steps (default: the model's)")
        ->check(CLI::Range(1, 1000));
    command->add_option("--guidance", given->wanted.guidance, "Above 1, each step is two passes")
        ->check(CLI::Range(0.0, 100.0))
        ->capture_default_str();
    add_compute_options(*command, given->common);
    add_cache_options(*command, given->common);
    add_output_options(*command, given->common, false);
    command->footer(imagine_footer);
    command->callback([&self, given] {
        self.run = [&self, given] {
            const settings wanted{given->common};
            given->wanted.path = blocking_find_checkpoint(wanted);
            given->wanted.n_threads = wanted.n_threads;
            given->wanted.dtype = wanted.dtype;
            given->wanted.memory_limit_bytes = wanted.memory_limit_bytes;
            run_bench(
                self, wanted.json, [given] { return blocking_measure_imagination(given->wanted); });
        };
    });
}

}  // namespace

void add_bench(CLI::App& app, program& self)
{
    CLI::App* command = app.add_subcommand("bench", "Measure this machine");
    command->footer("Every group has its own --help.\n\nExamples:\n  modelpool bench pool\n  "
                    "modelpool bench hub\n  modelpool bench embed --model DIRECTORY\n  "
                    "modelpool bench generate --model Qwen3-1.7B-Q4_K_M.gguf\n  "
                    "modelpool bench describe --model ./llava-1.5-7b-hf\n  "
                    "modelpool bench imagine --model ./FLUX.1-schnell");
    for (const bench_group& group : groups)
        add_group(*command, self, group);
    add_embed_group(*command, self);
    add_generate_group(*command, self);
    add_describe_group(*command, self);
    add_imagine_group(*command, self);
    command->callback([command] {
        if (command->get_subcommands().empty())
            throw usage_error{
                "a group is required: pool, hub, embed, generate, describe or imagine"};
    });
}

}  // namespace modelpool::cli
