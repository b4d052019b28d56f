#include <modelpool/error.hpp>
#include <modelpool/hub/hub.hpp>

#include <chrono>
#include <memory>
#include <utility>

#include "commands.hpp"
#include "fetch_display.hpp"
#include "loop.hpp"
#include "text_format.hpp"

namespace modelpool::cli {
namespace {

struct fetch_arguments {
    common_options common;
    std::string repo;
    std::vector<std::string> files;
    std::string revision;
    std::string kind{"model"};
    std::string local_dir;
    std::string verify{"full"};
    std::vector<std::string> include;
    std::vector<std::string> exclude;
    bool force{false};
    bool dry_run{false};
};

repository_kind parse_kind(const std::string& text)
{
    if (text == "model") return repository_kind::model;
    if (text == "dataset") return repository_kind::dataset;
    return repository_kind::space;
}

verification parse_verify(const std::string& text)
{
    if (text == "full") return verification::full;
    return text == "length" ? verification::length : verification::none;
}

repository to_repository(const fetch_arguments& given)
{
    if (given.revision.empty()) return repository{given.repo};
    if (given.repo.find('@') != std::string::npos)
        throw usage_error{"the revision was given both with the repository and with --revision"};
    return repository{given.repo + "@" + given.revision};
}

file_selection to_selection(const fetch_arguments& given)
{
    file_selection files;
    for (const std::string& name : given.files)
        files.include(name);
    for (const std::string& pattern : given.include)
        files.include(pattern);
    for (const std::string& pattern : given.exclude)
        files.exclude(pattern);
    return files;
}

void append_file(std::string& out, const fetched_file& file)
{
    out += R"({"path":)";
    append_json(out, file.path);
    out += R"(,"bytes":)";
    append_number(out, file.bytes);
    out += R"(,"sha256":)";
    if (file.sha256.empty())
        out += "null";
    else
        append_json(out, file.sha256);
    out += R"(,"cached":)";
    out += file.cached ? "true}" : "false}";
}

std::string to_json(const fetched& all)
{
    std::string out = R"({"repo":)";
    append_json(out, all.snapshot().repo());
    out += R"(,"commit":)";
    append_json(out, all.snapshot().commit());
    out += R"(,"dir":)";
    append_json(out, all.snapshot().dir().string());
    out += R"(,"files":[)";
    for (std::size_t i = 0; i < all.files().size(); ++i) {
        if (i > 0) out += ',';
        append_file(out, all.files()[i]);
    }
    out += ']';
    if (!all.stale().empty()) {
        out += R"(,"stale":)";
        append_json(out, all.stale());
    }
    return out + "}\n";
}

// In a dry run what would be done; else the folder, for scripts.
std::string to_text(const fetched& all, bool dry_run)
{
    if (!dry_run) return visible(all.snapshot().dir().string()) + '\n';
    std::string out;
    for (const fetched_file& file : all.files())
        out += std::string{file.cached ? "here" : "download"} + "  " + human_bytes(file.bytes) +
               "  " + visible(file.path) + '\n';
    return out;
}

void print_summary(const fetched& all, std::chrono::steady_clock::duration time)
{
    std::uint64_t n_bytes = 0;
    std::size_t n_downloaded = 0;
    for (const fetched_file& file : all.files()) {
        if (file.cached) continue;
        ++n_downloaded;
        n_bytes += file.bytes;
    }
    if (n_downloaded == 0) return;
    const double seconds = std::chrono::duration<double>(time).count();
    std::string tenths;
    append_number(tenths, static_cast<std::uint64_t>(seconds * 10 + 0.5));
    if (tenths.size() == 1) tenths = '0' + tenths;
    tenths.insert(tenths.size() - 1, ".");
    write_error_line(
        "fetched " + visible(all.snapshot().repo()) + " at " + all.snapshot().commit() + ": " +
        std::to_string(n_downloaded) + " of " + std::to_string(all.files().size()) + " files, " +
        human_bytes(n_bytes) + " in " + tenths + " s");
}

void run_fetch(program& self, const fetch_arguments& given)
{
    const settings wanted{given.common};
    fetch_options options;
    options.kind(parse_kind(given.kind))
        .force(given.force)
        .dry_run(given.dry_run)
        .hashes(wanted.json)
        .follow_indexes(true)
        .local_dir(given.local_dir);
    hub files{hub_options{wanted.hub}.verify(parse_verify(given.verify))};
    const auto begin = std::chrono::steady_clock::now();
    fetched all;
    {
        fetch_display display{wanted};
        all = blocking_await(files.fetch_files(
            to_repository(given), to_selection(given), options, display.listener()));
    }
    if (wanted.lowest_level && !all.stale().empty())
        write_error_line("modelpool: note: " + visible(all.stale()) + "; the cache answered");
    if (wanted.lowest_level && !given.dry_run && !wanted.json)
        print_summary(all, std::chrono::steady_clock::now() - begin);
    if (wanted.json)
        output::document{self.out}.write(to_json(all));
    else
        self.out.write(to_text(all, given.dry_run));
}

constexpr const char* footer =
    R"(Downloads files of a repository into the cache, checks them against the hub's hashes, and prints the
folder they lie in. What was interrupted, or killed, goes on where it stopped. In patterns * crosses
folders. A token comes from HF_TOKEN or from the file of Python's client.
With --json one document: {"repo","commit","dir","files":[{"path","bytes","sha256","cached"}]}, and "stale"
where the hub could not be asked and the cache answered.

Examples:
  modelpool fetch sentence-transformers/all-MiniLM-L6-v2
  modelpool fetch org/model@v1.0 --include "*.safetensors" --include "*.json" --json
  modelpool fetch org/model model-Q4_K_M.gguf --local-dir ./models)";

void add_fetch_options(CLI::App& command, fetch_arguments& into)
{
    command.add_option("REPO", into.repo, "org/name[@revision]")->required();
    command.add_option("FILE", into.files, "Files or patterns (default: all)");
    command.add_option("--include", into.include, "More files or patterns")
        ->type_name("PATTERN")
        ->take_all();
    command.add_option("--exclude", into.exclude, "Files that are not wanted")
        ->type_name("PATTERN")
        ->take_all();
    command.add_option("--revision", into.revision, "A branch, tag, commit or refs/pr/N")
        ->type_name("REVISION");
    command.add_option("--kind", into.kind, "model, dataset or space")
        ->check(CLI::IsMember({"model", "dataset", "space"}))
        ->capture_default_str();
    command
        .add_option(
            "--local-dir", into.local_dir, "A folder that gets the files under their own paths")
        ->type_name("DIR");
    command
        .add_option(
            "--verify", into.verify, "full: length and hash; length, where hashing is slow; none")
        ->check(CLI::IsMember({"full", "length", "none"}))
        ->capture_default_str();
    command.add_flag("--force", into.force, "Download again what is in the cache");
    command.add_flag("--dry-run", into.dry_run, "Say what would be downloaded");
}

}  // namespace

void add_fetch(CLI::App& app, program& self)
{
    CLI::App* command = app.add_subcommand("fetch", "Download files of a repository");
    auto given = std::make_shared<fetch_arguments>();
    add_fetch_options(*command, *given);
    add_cache_options(*command, given->common);
    add_output_options(*command, given->common, false);
    command->footer(footer);
    command->callback([&self, given] { self.run = [&self, given] { run_fetch(self, *given); }; });
}

}  // namespace modelpool::cli
