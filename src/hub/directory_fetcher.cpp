#include <modelpool/async/offload.hpp>
#include <modelpool/async/thread_pool.hpp>
#include <modelpool/hub/directory_fetcher.hpp>

#include <algorithm>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "support/printable.hpp"

namespace modelpool {
namespace {

namespace fs = std::filesystem;

struct listing {
    fs::path dir;
    std::vector<std::string> files;
    std::vector<std::string> others;  // GGUF files that are not selected, some of them
    std::uint64_t n_bytes{0};
};

// The ids come from users and from files, and become paths: nothing in them may lead out of the
// root.
void check_id(const std::string& id)
{
    const auto refuse = [] {
        throw error{
            errc::invalid_argument,
            "the repository's id must be \"org/name\" or \"name\", each without \"..\" and control "
            "characters"};
    };
    const auto is_name = [](std::string_view part) {
        const auto is_bad = [](char c) {
            const auto code = static_cast<unsigned char>(c);
            return code < 0x20 || code == 0x7F || c == '\\' || c == '/';
        };
        return !part.empty() && part != "." && part != ".." &&
               std::none_of(part.begin(), part.end(), is_bad);
    };
    const std::string_view text = id;
    const std::size_t slash = text.find('/');
    if (!is_name(text.substr(0, slash))) refuse();
    if (slash != std::string_view::npos && !is_name(text.substr(slash + 1))) refuse();
}

[[noreturn]] void fail_reading(const fs::path& path, const std::error_code& problem)
{
    throw error{hub_errc::io_failed, path.string() + ": cannot be read: " + problem.message()};
}

// The first of `places` that is a folder.
fs::path blocking_find(const std::string& id, const std::vector<fs::path>& places)
{
    std::string looked_at;
    for (const fs::path& place : places) {
        std::error_code problem;
        const fs::file_status status = fs::status(place, problem);
        if (fs::is_directory(status)) return place;
        if (status.type() == fs::file_type::none) fail_reading(place, problem);
        looked_at += (looked_at.empty() ? "" : ", ") + place.string();
    }
    throw error{
        hub_errc::not_found,
        id + ": no such repository on this machine; looked at " +
            (looked_at.empty() ? "no folder, since none was given" : looked_at)};
}

// Takes one entry of the folder into `found`, if it is a selected file.
void blocking_take(
    const fs::directory_entry& entry, const file_selection& selection, listing& found)
{
    std::string name = entry.path().lexically_relative(found.dir).generic_string();
    std::error_code problem;
    const fs::file_status status = entry.status(problem);
    if (fs::is_directory(status)) return;
    if (!selection.matches(name)) {
        constexpr std::size_t most_told = 10;
        if (name.ends_with(".gguf") && found.others.size() < most_told)
            found.others.push_back(support::printable(name));
        return;
    }
    if (status.type() == fs::file_type::not_found)
        throw error{hub_errc::io_failed, entry.path().string() + ": a link to nowhere"};
    if (status.type() == fs::file_type::none) fail_reading(entry.path(), problem);
    if (!fs::is_regular_file(status)) return;
    const std::uintmax_t n_bytes = entry.file_size(problem);
    if (problem) fail_reading(entry.path(), problem);
    found.files.push_back(std::move(name));
    found.n_bytes += n_bytes;
}

listing blocking_list(
    const std::string& id, const std::vector<fs::path>& places, const file_selection& selection)
{
    listing found;
    found.dir = blocking_find(id, places);
    std::error_code problem;
    fs::recursive_directory_iterator place{found.dir, problem};
    while (!problem && place != fs::recursive_directory_iterator{}) {
        const fs::path name = place->path().filename();
        if (place.depth() == 0 && (name == ".git" || name == ".cache"))
            place.disable_recursion_pending();
        else
            blocking_take(*place, selection, found);
        place.increment(problem);
    }
    if (problem) fail_reading(found.dir, problem);
    if (found.files.empty()) {
        std::sort(found.others.begin(), found.others.end());
        std::string choices;
        for (const std::string& name : found.others)
            choices += (choices.empty() ? "; its GGUF files are " : ", ") + name;
        throw error{
            hub_errc::not_found,
            id + ": no file in " + found.dir.string() + " is selected" + choices};
    }
    std::sort(found.files.begin(), found.files.end());
    return found;
}

}  // namespace

struct directory_fetcher::state {
    // Where a repository may lie, in order.
    std::vector<fs::path> places(const std::string& id)
    {
        std::vector<fs::path> result;
        {
            const std::lock_guard lock{mutex};
            const auto place = added.find(id);
            if (place != added.end()) result.push_back(place->second);
        }
        if (root) {
            result.push_back(*root / id);
            const std::size_t slash = id.find('/');
            if (slash != std::string::npos) result.push_back(*root / id.substr(slash + 1));
        }
        return result;
    }

    static awaitable<snapshot> fetch(
        std::shared_ptr<state> self,
        repository repo,
        file_selection selection,
        on_fetch_progress progress)
    {
        check_id(repo.id());
        auto job =
            [id = repo.id(), places = self->places(repo.id()), selection = std::move(selection)] {
                return blocking_list(id, places, selection);
            };
        auto listed = offload(self->scanner, std::move(job));
        listing found = co_await std::move(listed);
        if (progress) {
            fetch_progress all;
            all.repo = repo.id();
            all.done_bytes = found.n_bytes;
            all.total_bytes = found.n_bytes;
            all.n_files_done = found.files.size();
            all.n_files = found.files.size();
            progress(all);
        }
        co_return snapshot{repo.id(), std::string{}, std::move(found.dir), std::move(found.files)};
    }

    std::optional<fs::path> root;
    std::mutex mutex;
    std::map<std::string, fs::path> added;
    thread_pool scanner{1};
};

directory_fetcher::directory_fetcher()
    : state_{std::make_shared<state>()}
{}

directory_fetcher::directory_fetcher(fs::path root)
    : directory_fetcher{}
{
    state_->root = std::move(root);
}

directory_fetcher::~directory_fetcher() = default;

void directory_fetcher::add(std::string repo, fs::path dir)
{
    check_id(repo);
    const std::lock_guard lock{state_->mutex};
    state_->added.insert_or_assign(std::move(repo), std::move(dir));
}

awaitable<snapshot>
directory_fetcher::fetch(repository repo, file_selection selection, on_fetch_progress progress)
{
    return state::fetch(state_, std::move(repo), std::move(selection), std::move(progress));
}

awaitable<std::vector<std::byte>> directory_fetcher::get(std::string url, url_limits)
{
    throw error{errc::unsupported, url + ": a fetcher of folders downloads nothing"};
    co_return std::vector<std::byte>{};  // a coroutine: it throws where it is awaited
}

}  // namespace modelpool
