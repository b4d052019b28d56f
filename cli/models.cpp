#include <modelpool/models/catalogue.hpp>

#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "commands.hpp"
#include "models_found.hpp"
#include "text_format.hpp"

namespace modelpool::cli {
namespace {

struct models_arguments {
    common_options common;
    bool cached{false};
};

struct catalogue_entry {
    card about;
    std::optional<std::filesystem::path> dir;  ///< where its files lie on this machine
};

std::vector<catalogue_entry> blocking_list(const settings& wanted, bool only_cached)
{
    std::vector<catalogue_entry> entries;
    for (card& about : models::catalogue()) {
        auto dir = blocking_find_cached(wanted, about.repo, about.files);
        if (dir || !only_cached) entries.push_back({std::move(about), std::move(dir)});
    }
    return entries;
}

void append_entry(std::string& out, const catalogue_entry& entry)
{
    const card& about = entry.about;
    out += R"({"key":)";
    append_json(out, about.key);
    out += R"(,"aliases":[)";
    for (std::size_t i = 0; i < about.aliases.size(); ++i) {
        if (i > 0) out += ',';
        append_json(out, about.aliases[i]);
    }
    out += R"(],"capability":)";
    append_json(out, to_string(about.kind()));
    out += R"(,"repo":)";
    append_json(out, about.repo.id());
    out += R"(,"dim":)";
    append_number(out, about.dimension);
    out += R"(,"max_tokens":)";
    append_number(out, about.context_length);
    out += R"(,"licence":)";
    append_json(out, about.licence);
    out += R"(,"gated":)";
    out += about.gated ? "true" : "false";
    out += R"(,"cached":)";
    out += entry.dir ? "true" : "false";
    if (entry.dir) {
        out += R"(,"dir":)";
        append_json(out, entry.dir->string());
    }
    out += '}';
}

std::string to_json(const std::vector<catalogue_entry>& entries)
{
    std::string out = R"({"models":[)";
    for (std::size_t i = 0; i < entries.size(); ++i) {
        if (i > 0) out += ',';
        append_entry(out, entries[i]);
    }
    return out + "]}\n";
}

using table_row = std::array<std::string, 7>;

std::string join(const std::vector<std::string>& items)
{
    std::string text;
    for (const std::string& item : items)
        text += (text.empty() ? "" : ",") + item;
    return text.empty() ? "-" : text;
}

std::string to_table(const std::vector<catalogue_entry>& entries)
{
    std::vector<table_row> rows{
        {"KEY", "ALIASES", "CAPABILITY", "DIM", "TOKENS", "LICENCE", "FILES"}};
    for (const auto& [about, dir] : entries)
        rows.push_back(
            {about.key,
             join(about.aliases),
             std::string{to_string(about.kind())},
             std::to_string(about.dimension),
             std::to_string(about.context_length),
             about.licence,
             dir ? visible(dir->string()) : "-"});
    std::array<std::size_t, std::tuple_size_v<table_row>> widths{};
    for (const table_row& row : rows)
        for (std::size_t i = 0; i < row.size(); ++i)
            widths[i] = std::max(widths[i], row[i].size());
    std::string out;
    for (const table_row& row : rows) {
        for (std::size_t i = 0; i + 1 < row.size(); ++i)
            out += row[i] + std::string(widths[i] + 2 - row[i].size(), ' ');
        out += row.back() + '\n';
    }
    return out;
}

void run_models(program& self, const models_arguments& given)
{
    const settings wanted{given.common};
    const std::vector<catalogue_entry> entries = blocking_list(wanted, given.cached);
    if (wanted.json)
        output::document{self.out}.write(to_json(entries));
    else
        self.out.write(to_table(entries));
}

constexpr const char* footer =
    R"(With --json one document: {"models":[{"key","aliases","capability","repo","dim","max_tokens","licence",
"gated","cached","dir"}]}

Examples:
  modelpool models
  modelpool models --cached --cache-dir ./models --json)";

}  // namespace

void add_models(CLI::App& app, program& self)
{
    CLI::App* command =
        app.add_subcommand("models", "List the models that this program knows by name");
    auto given = std::make_shared<models_arguments>();
    command->add_flag("--cached", given->cached, "Only those whose files lie below --cache-dir");
    add_cache_options(*command, given->common);
    add_output_options(*command, given->common, false);
    command->footer(footer);
    command->callback([&self, given] { self.run = [&self, given] { run_models(self, *given); }; });
}

}  // namespace modelpool::cli
