#include <modelpool/hub/hub.hpp>
#include <modelpool/models/catalogue.hpp>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "cache_json.hpp"
#include "commands.hpp"
#include "loop.hpp"
#include "models_found.hpp"
#include "text_format.hpp"

namespace modelpool::cli {
namespace {

struct models_arguments {
    common_options common;
    bool cached{false};
};

// A model: of the catalogue, in the cache, or both.
struct model_entry {
    std::string key;
    std::optional<card> about;
    std::optional<std::filesystem::path> dir;  ///< where its files lie on this machine
    std::uint64_t n_bytes{0};
    std::chrono::system_clock::time_point last_used{};
};

// The commit that a branch names goes before others.
std::filesystem::path best_dir(const cached_repository& repo)
{
    const auto is_main = [](const cached_commit& one) {
        return std::ranges::find(one.refs, "main") != one.refs.end();
    };
    const auto place = std::ranges::find_if(repo.commits, is_main);
    return place != repo.commits.end() ? place->dir : repo.commits.front().dir;
}

void take_repository(model_entry& entry, const cached_repository& repo)
{
    entry.dir = best_dir(repo);
    entry.n_bytes = repo.bytes;
    entry.last_used = repo.last_used;
}

// A plain folder below the cache folder, which no hub made.
void blocking_take_folder(model_entry& entry, const settings& wanted)
{
    entry.dir = blocking_find_cached(wanted, entry.about->repo, entry.about->files);
    if (!entry.dir) return;
    std::error_code problem;
    const auto end = std::filesystem::recursive_directory_iterator{};
    for (std::filesystem::recursive_directory_iterator place{*entry.dir, problem};
         !problem && place != end;
         place.increment(problem)) {
        std::error_code broken;
        const std::string name = place->path().lexically_relative(*entry.dir).generic_string();
        if (!place->is_regular_file(broken) || !entry.about->files.matches(name)) continue;
        const std::uintmax_t n_bytes = place->file_size(broken);
        if (!broken) entry.n_bytes += n_bytes;
    }
}

std::vector<model_entry> blocking_list(const settings& wanted, bool only_cached)
{
    hub files{wanted.hub};
    std::vector<cached_repository> cached = blocking_await(files.cached());
    std::erase_if(cached, [](const cached_repository& one) {
        return one.kind != repository_kind::model || one.commits.empty();
    });
    std::vector<model_entry> entries;
    for (card& about : models::catalogue()) {
        model_entry entry;
        entry.key = about.key;
        entry.about = std::move(about);
        blocking_take_folder(entry, wanted);
        const auto is_it = [&](const cached_repository& one) {
            return one.id == entry.about->repo.id();
        };
        const auto place = std::ranges::find_if(cached, is_it);
        if (place != cached.end()) {
            if (!entry.dir) take_repository(entry, *place);
            cached.erase(place);
        }
        if (entry.dir || !only_cached) entries.push_back(std::move(entry));
    }
    for (const cached_repository& repo : cached) {
        if (!only_cached) break;
        model_entry entry;
        entry.key = repo.id;
        take_repository(entry, repo);
        entries.push_back(std::move(entry));
    }
    return entries;
}

void append_card(std::string& out, const card& about)
{
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
}

void append_entry(std::string& out, const model_entry& entry)
{
    out += R"({"key":)";
    append_json(out, entry.key);
    if (entry.about) {
        append_card(out, *entry.about);
    } else {
        out += R"(,"repo":)";
        append_json(out, entry.key);
    }
    out += R"(,"cached":)";
    out += entry.dir ? "true" : "false";
    if (entry.dir) {
        out += R"(,"dir":)";
        append_json(out, entry.dir->string());
        out += R"(,"bytes":)";
        append_number(out, entry.n_bytes);
        out += R"(,"last_used":)";
        const std::string moment = utc_time(entry.last_used);
        if (moment.empty())
            out += "null";
        else
            append_json(out, moment);
    }
    out += '}';
}

std::string to_json(const std::vector<model_entry>& entries)
{
    std::string out = R"({"models":[)";
    for (std::size_t i = 0; i < entries.size(); ++i) {
        if (i > 0) out += ',';
        append_entry(out, entries[i]);
    }
    return out + "]}\n";
}

std::string join(const std::vector<std::string>& items)
{
    std::string text;
    for (const std::string& item : items)
        text += (text.empty() ? "" : ",") + item;
    return text.empty() ? "-" : text;
}

std::string or_dash(std::string text)
{
    return text.empty() ? "-" : text;
}

std::string cached_text(const std::vector<model_entry>& entries)
{
    std::vector<std::vector<std::string>> rows{{"KEY", "SIZE", "LAST USED", "FILES"}};
    for (const model_entry& one : entries)
        rows.push_back(
            {visible(one.key),
             human_bytes(one.n_bytes),
             or_dash(utc_time(one.last_used)),
             visible(one.dir->string())});
    return table(rows);
}

std::string catalogue_text(const std::vector<model_entry>& entries)
{
    std::vector<std::vector<std::string>> rows{
        {"KEY", "ALIASES", "CAPABILITY", "DIM", "TOKENS", "LICENCE", "FILES"}};
    for (const model_entry& one : entries)
        rows.push_back(
            {one.key,
             join(one.about->aliases),
             std::string{to_string(one.about->kind())},
             std::to_string(one.about->dimension),
             std::to_string(one.about->context_length),
             one.about->licence + (one.about->gated ? " (gated)" : ""),
             one.dir ? visible(one.dir->string()) : "-"});
    return table(rows);
}

void run_models(program& self, const models_arguments& given)
{
    const settings wanted{given.common};
    const std::vector<model_entry> entries = blocking_list(wanted, given.cached);
    if (wanted.json)
        output::document{self.out}.write(to_json(entries));
    else
        self.out.write(given.cached ? cached_text(entries) : catalogue_text(entries));
}

constexpr const char* footer =
    R"(With --json one document: {"models":[{"key","aliases","capability","repo","dim","max_tokens","licence",
"gated","cached","dir","bytes","last_used"}]}; of what the catalogue does not know only the last five and
key and repo.

Examples:
  modelpool models
  modelpool models --cached --cache-dir ./models --json)";

}  // namespace

void add_models(CLI::App& app, program& self)
{
    CLI::App* command =
        app.add_subcommand("models", "List the models that this program knows by name");
    auto given = std::make_shared<models_arguments>();
    command->add_flag(
        "--cached",
        given->cached,
        "What is on this machine, with its size and last use; not only models of the catalogue");
    add_cache_options(*command, given->common);
    add_output_options(*command, given->common, false);
    command->footer(footer);
    command->callback([&self, given] { self.run = [&self, given] { run_models(self, *given); }; });
}

}  // namespace modelpool::cli
