#include <modelpool/error.hpp>
#include <modelpool/hub/hub.hpp>

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <random>
#include <system_error>
#include <utility>

#include "archive.hpp"
#include "cache_json.hpp"
#include "commands.hpp"
#include "loop.hpp"
#include "text_format.hpp"

namespace modelpool::cli {
namespace {

namespace fs = std::filesystem;

struct cache_arguments {
    common_options common;
    std::string repo;
    std::vector<std::string> repos;
    std::vector<std::string> keep;
    std::optional<unsigned> unused_days;
    std::optional<unsigned> partial_days;
    bool dry_run{false};
    std::string path;
};

// ---- list ------------------------------------------------------------------------------------

void run_list(program& self, const cache_arguments& given)
{
    const settings wanted{given.common};
    hub files{wanted.hub};
    const std::vector<cached_repository> all = blocking_await(files.cached());
    if (wanted.json)
        output::document{self.out}.write("{" + entries_json(all) + "}\n");
    else
        self.out.write(entries_text(all));
}

// ---- verify ----------------------------------------------------------------------------------

void append_fault(std::string& out, const cache_fault& one)
{
    const std::pair<const char*, const std::string*> fields[] = {
        {"repo", &one.id},
        {"commit", &one.commit},
        {"path", &one.path},
        {"expected", &one.expected},
        {"found", &one.found}};
    char separator = '{';
    for (const auto& [name, value] : fields) {
        out += separator;
        append_json(out, name);
        out += ':';
        append_json(out, *value);
        separator = ',';
    }
    out += '}';
}

void run_verify(program& self, const cache_arguments& given)
{
    const settings wanted{given.common};
    hub files{wanted.hub};
    const std::vector<cache_fault> faults = blocking_await(files.verify(given.repo));
    std::string json = R"({"entries":[)";
    std::string text;
    for (const cache_fault& one : faults) {
        if (!json.ends_with('[')) json += ',';
        append_fault(json, one);
        text += visible(one.id) + "@" + one.commit + "/" + visible(one.path) + ": expected " +
                one.expected + ", found " + one.found + '\n';
    }
    if (wanted.json)
        output::document{self.out}.write(json + "]}\n");
    else
        self.out.write(text);
    if (!faults.empty())
        throw error{
            hub_errc::corrupt,
            std::to_string(faults.size()) +
                " of the cached files are not what they should be; fetch them again with --force"};
}

// ---- prune -----------------------------------------------------------------------------------

void run_prune(program& self, const cache_arguments& given)
{
    using days = std::chrono::duration<std::int64_t, std::ratio<86400>>;
    const settings wanted{given.common};
    prune_options options;
    for (const std::string& id : given.repos)
        options.repository(id);
    for (const std::string& id : given.keep)
        options.keep(id);
    if (given.unused_days) options.unused_for(days{*given.unused_days});
    if (given.partial_days) options.partials_older_than(days{*given.partial_days});
    options.dry_run(given.dry_run);
    hub files{wanted.hub};
    const pruned gone = blocking_await(files.prune(options));
    if (!wanted.json) {
        self.out.write(
            (given.dry_run ? "would remove " : "removed ") + human_bytes(gone.bytes) + ": " +
            std::to_string(gone.n_repositories) + " repositories, " +
            std::to_string(gone.n_commits) + " commits, " + std::to_string(gone.n_blobs) +
            " contents, " + std::to_string(gone.n_partials) + " unfinished downloads\n");
        return;
    }
    std::string out = "{" + entries_json(blocking_await(files.cached())) + R"(,"removed":{)";
    const std::pair<const char*, std::uint64_t> counts[] = {
        {"bytes", gone.bytes},
        {"repositories", gone.n_repositories},
        {"commits", gone.n_commits},
        {"contents", gone.n_blobs},
        {"unfinished", gone.n_partials}};
    for (const auto& [name, value] : counts) {
        if (!out.ends_with('{')) out += ',';
        append_json(out, name);
        out += ':';
        append_number(out, value);
    }
    out += R"(},"dry_run":)";
    output::document{self.out}.write(out + (given.dry_run ? "true}\n" : "false}\n"));
}

// ---- import ----------------------------------------------------------------------------------

// A folder of its own, removed at the end.
class scratch_folder {
public:
    explicit scratch_folder(const fs::path& below)
        : dir_{below / (".import-" + std::to_string(std::random_device{}()) + ".tmp")}
    {
        fs::create_directories(dir_);
    }
    ~scratch_folder()
    {
        std::error_code ignored;
        fs::remove_all(dir_, ignored);
    }
    scratch_folder(const scratch_folder&) = delete;
    scratch_folder& operator=(const scratch_folder&) = delete;
    scratch_folder(scratch_folder&&) = delete;
    scratch_folder& operator=(scratch_folder&&) = delete;

    const fs::path& dir() const noexcept { return dir_; }

private:
    fs::path dir_;
};

// Most archives hold one folder, which holds the files.
fs::path top_of(const fs::path& dir)
{
    std::vector<fs::directory_entry> entries;
    for (const fs::directory_entry& one : fs::directory_iterator{dir})
        entries.push_back(one);
    const bool is_one_folder = entries.size() == 1 && entries.front().is_directory();
    return is_one_folder ? entries.front().path() : dir;
}

void run_import(program& self, const cache_arguments& given)
{
    const settings wanted{given.common};
    hub files{wanted.hub};
    std::optional<scratch_folder> unpacked;
    fs::path from{given.path};
    std::error_code problem;
    if (fs::is_regular_file(from, problem)) {
        unpacked.emplace(wanted.hub.cache_dir());
        blocking_unpack(from, unpacked->dir());
        from = top_of(unpacked->dir());
    }
    const snapshot found = blocking_await(files.import_folder(from, repository{given.repo}));
    if (!wanted.json) {
        self.out.write(visible(found.dir().string()) + '\n');
        return;
    }
    std::vector<cached_repository> all = blocking_await(files.cached());
    std::erase_if(all, [&](const cached_repository& one) { return one.id != found.repo(); });
    std::string out = "{" + entries_json(all) + R"(,"commit":)";
    append_json(out, found.commit());
    out += R"(,"dir":)";
    append_json(out, found.dir().string());
    output::document{self.out}.write(out + "}\n");
}

// ---- options ---------------------------------------------------------------------------------

constexpr const char* import_footer =
    R"(Puts a model's files into the cache, as the given repository, for machines without a network. From then
on the model is found by its name. An archive may be whatever libarchive reads: tar, zip, compressed or not.

Examples:
  modelpool import ./all-MiniLM-L6-v2 sentence-transformers/all-MiniLM-L6-v2
  modelpool import model.tar.gz my/model@v1 --cache-dir /srv/models)";

constexpr const char* prune_footer =
    R"(Without a repository, --keep or --unused-for: removes commits that no branch or tag names, contents that
no commit needs, and old unfinished downloads. Otherwise whole repositories.

Examples:
  modelpool cache prune
  modelpool cache prune --keep "sentence-transformers/*" --unused-for 30 --dry-run
  modelpool cache prune org/model)";

template <class F>
CLI::App* add_command(
    CLI::App& app,
    program& self,
    const char* name,
    const char* about,
    const std::shared_ptr<cache_arguments>& given,
    F run)
{
    CLI::App* command = app.add_subcommand(name, about);
    add_cache_options(*command, given->common);
    add_output_options(*command, given->common, false);
    command->callback(
        [&self, given, run] { self.run = [&self, given, run] { run(self, *given); }; });
    return command;
}

void add_import_command(CLI::App& app, program& self)
{
    auto given = std::make_shared<cache_arguments>();
    CLI::App* command = add_command(
        app, self, "import", "Put a folder or an archive into the cache", given, run_import);
    command->add_option("PATH", given->path, "A folder or an archive")->required();
    command->add_option("REPO", given->repo, "org/name[@revision] that it becomes")->required();
    command->footer(import_footer);
}

void add_prune_command(CLI::App& app, program& self)
{
    auto given = std::make_shared<cache_arguments>();
    CLI::App* command =
        add_command(app, self, "prune", "Remove what is not needed any more", given, run_prune);
    command->add_option("REPO", given->repos, "Repositories to remove");
    command->add_option("--keep", given->keep, "Removes all other repositories; may be a pattern")
        ->type_name("REPO")
        ->take_all();
    command
        ->add_option("--unused-for", given->unused_days, "Repositories not used for so many days")
        ->type_name("DAYS");
    command
        ->add_option(
            "--partials-older-than",
            given->partial_days,
            "Unfinished downloads that nobody worked on for so many days (default: 14)")
        ->type_name("DAYS");
    command->add_flag("--dry-run", given->dry_run, "Only say what would be removed");
    command->footer(prune_footer);
}

}  // namespace

void add_import(CLI::App& app, program& self)
{
    add_import_command(app, self);
}

void add_cache(CLI::App& app, program& self)
{
    CLI::App* cache = app.add_subcommand("cache", "Look after the files of fetched models");
    cache->require_subcommand(1);
    auto listed = std::make_shared<cache_arguments>();
    add_command(*cache, self, "list", "List what is in the cache", listed, run_list);
    auto verified = std::make_shared<cache_arguments>();
    CLI::App* verify = add_command(
        *cache, self, "verify", "Read the files and compare their hashes", verified, run_verify);
    verify->add_option("REPO", verified->repo, "One repository (default: all)");
    add_prune_command(*cache, self);
    add_import_command(*cache, self);
    cache->footer(
        R"(With --json one document: {"entries":[...]}: of list, prune and import the repositories
{"repo","kind","dir","bytes","partial_bytes","last_used","commits"}, of verify the files that are wrong
{"repo","commit","path","expected","found"}.

Examples:
  modelpool cache list
  modelpool cache verify sentence-transformers/all-MiniLM-L6-v2
  modelpool cache prune --keep "org/*" --dry-run)");
}

}  // namespace modelpool::cli
