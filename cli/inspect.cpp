#include <modelpool/models/inspect.hpp>

#include <cstdint>
#include <memory>
#include <utility>

#include "commands.hpp"
#include "models_found.hpp"
#include "text_format.hpp"

namespace modelpool::cli {
namespace {

struct inspect_arguments {
    common_options common;
    std::string path;
};

std::string_view capability_name(const models::inspection& found)
{
    return found.kind ? to_string(*found.kind) : "unknown";
}

void append_field(std::string& out, std::string_view name, std::uint64_t value)
{
    append_json(out, name);
    out += ':';
    append_number(out, value);
}

void append_field(std::string& out, std::string_view name, std::string_view value)
{
    append_json(out, name);
    out += ':';
    append_json(out, value);
}

std::string to_json(const std::string& model, const models::inspection& found)
{
    std::string out = "{";
    append_field(out, "model", model);
    append_field(out += ',', "family", found.family);
    append_field(out += ',', "architecture", found.architecture);
    append_field(out += ',', "capability", capability_name(found));
    append_field(out += ',', "bytes", found.weight_bytes);
    append_field(out += ',', "parameters", found.n_parameters);
    append_field(out += ',', "dim", found.dim);
    append_field(out += ',', "max_tokens", found.max_tokens);
    out += R"(,"dtypes":{)";
    for (std::size_t i = 0; i < found.dtypes.size(); ++i) {
        if (i > 0) out += ',';
        append_field(out, found.dtypes[i].name, found.dtypes[i].n_parameters);
    }
    out += R"(},"memory":{)";
    append_field(out, "resident_bytes", found.memory.resident_bytes);
    append_field(out += ',', "replica_bytes", found.memory.replica_bytes);
    append_field(out += ',', "mapped_bytes", found.memory.mapped_bytes);
    out += R"(},"runnable":)";
    out += found.runnable() ? "true" : "false";
    if (!found.runnable()) append_field(out += ',', "reason", found.reason);
    return out + "}\n";
}

std::string to_text(const models::inspection& found)
{
    std::string out;
    const auto line = [&out](std::string_view name, const std::string& value) {
        out += name;
        out.append(name.size() < 14 ? 14 - name.size() : 1, ' ');
        out += visible(value) + '\n';
    };
    line("family", found.family);
    line("architecture", found.architecture);
    line("capability", std::string{capability_name(found)});
    line("dimension", std::to_string(found.dim));
    line("max tokens", std::to_string(found.max_tokens));
    line("parameters", std::to_string(found.n_parameters));
    line("weights", human_bytes(found.weight_bytes));
    std::string dtypes;
    for (const auto& share : found.dtypes)
        dtypes += (dtypes.empty() ? "" : ", ") + share.name;
    line("stored as", dtypes);
    const memory_estimate& memory = found.memory;
    line(
        "memory",
        human_bytes(memory.resident_bytes + memory.replica_bytes) + ", and " +
            human_bytes(memory.mapped_bytes) + " of the files in place");
    line("runs", found.runnable() ? "yes" : "no: " + found.reason);
    return out;
}

void run_inspect(program& self, const inspect_arguments& given)
{
    common_options common = given.common;
    if (!given.path.empty() && !common.model.empty())
        throw usage_error{"the model was given both as an argument and with --model"};
    if (common.model.empty()) common.model = given.path;
    const settings wanted{common};
    const models::inspection found =
        models::blocking_inspect(blocking_find_checkpoint(wanted), wanted.dtype);
    if (wanted.json)
        output::document{self.out}.write(to_json(wanted.model, found));
    else
        self.out.write(to_text(found));
}

constexpr const char* footer =
    R"(Reads configurations and the headers of the weights only. With --json one document: {"model","family",
"architecture","capability","bytes","parameters","dim","max_tokens","dtypes","memory","runnable","reason"}

Examples:
  modelpool inspect ./all-MiniLM-L6-v2
  modelpool inspect --model minilm --json)";

}  // namespace

void add_inspect(CLI::App& app, program& self)
{
    CLI::App* command =
        app.add_subcommand("inspect", "Tell what a checkpoint is, and whether it runs");
    auto given = std::make_shared<inspect_arguments>();
    command->add_option("MODEL", given->path, "The same as --model");
    add_model_options(*command, given->common);
    command
        ->add_option(
            "--dtype", given->common.dtype, "What it would compute in: auto, f32, q8_0 or q4_k")
        ->capture_default_str();
    add_cache_options(*command, given->common);
    add_output_options(*command, given->common, false);
    command->footer(footer);
    command->callback([&self, given] { self.run = [&self, given] { run_inspect(self, *given); }; });
}

}  // namespace modelpool::cli
