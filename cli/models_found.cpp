#include "models_found.hpp"

#include <modelpool/error.hpp>
#include <modelpool/hub/directory_fetcher.hpp>
#include <modelpool/models/catalogue.hpp>
#include <modelpool/models/inspect.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <exception>
#include <system_error>
#include <utility>

#include "text_format.hpp"

namespace modelpool::cli {
namespace {

namespace fs = std::filesystem;

void require_model(const settings& wanted)
{
    if (wanted.model.empty())
        throw usage_error{
            "--model is required: a folder, a key of `modelpool models`, or org/name"};
}

bool is_folder(const fs::path& path)
{
    std::error_code ignored;
    return fs::is_directory(path, ignored);
}

bool is_file(const fs::path& path)
{
    std::error_code ignored;
    return fs::is_regular_file(path, ignored);
}

// "/x", "./x", "../x" and "x/y/z" can only be paths.
bool looks_like_path(const std::string& name)
{
    return name.starts_with('/') || name.starts_with('.') || name.starts_with('~') ||
           std::ranges::count(name, '/') > 1;
}

std::optional<card> find_in_catalogue(const std::string& name)
{
    const std::string base = name.substr(0, name.find('@'));
    for (card& about : models::catalogue()) {
        const bool is_alias = std::ranges::find(about.aliases, base) != about.aliases.end();
        if (about.key != base && !is_alias) continue;
        if (base != name) {
            about.key += name.substr(base.size());
            about.repo = repository{about.repo.id() + name.substr(base.size())};
        }
        return std::move(about);
    }
    return std::nullopt;
}

std::string known_keys()
{
    std::string keys;
    for (const card& about : models::catalogue())
        keys += (keys.empty() ? "" : ", ") + about.key;
    return keys;
}

// A plain folder has no revision that could be compared with the one asked for.
void warn_of_revision(const settings& wanted, const repository& repo)
{
    if (wanted.model.find('@') == std::string::npos || !wanted.lowest_level) return;
    write_error_line(
        "modelpool: note: revision '" + visible(repo.revision()) +
        "' is not checked: the folder of " + visible(repo.id()) + " is taken as it is");
}

[[noreturn]] void fail_unknown(const settings& wanted)
{
    if (looks_like_path(wanted.model))
        throw error{hub_errc::not_found, "--model: " + wanted.model + ": no such folder"};
    throw error{
        hub_errc::not_found,
        "--model: '" + wanted.model + "' is no folder, no key of the catalogue (" + known_keys() +
            ") and no folder below " + wanted.cache_dir.string()};
}

[[noreturn]] void fail_absent(const settings& wanted, const repository& repo)
{
    throw error{
        hub_errc::not_found,
        "--model: the files of " + repo.id() +
            " are not on this machine, and this build downloads "
            "nothing: put them into " +
            (wanted.cache_dir / repo.id()).string() +
            ", name another --cache-dir, or give --model a folder"};
}

fs::path blocking_find_repository(const settings& wanted)
{
    const repository repo{wanted.model};
    std::optional<fs::path> found;
    if (!looks_like_path(wanted.model))
        found = blocking_find_cached(wanted, repo, file_selection{});
    if (!found) fail_unknown(wanted);
    warn_of_revision(wanted, repo);
    return *found;
}

}  // namespace

std::optional<fs::path>
blocking_find_cached(const settings& wanted, const repository& repo, const file_selection& files)
{
    boost::asio::io_context io;
    directory_fetcher cache{wanted.cache_dir};
    std::exception_ptr problem;
    snapshot found;
    auto finish = [&](std::exception_ptr failure, snapshot files_found) {
        problem = std::move(failure);
        found = std::move(files_found);
    };
    boost::asio::co_spawn(io, cache.fetch(repo, files), finish);
    io.run();
    try {
        if (problem) std::rethrow_exception(problem);
    } catch (const error& failure) {
        if (failure.code() == hub_errc::not_found || failure.code() == errc::invalid_argument)
            return std::nullopt;
        throw;
    }
    return found.dir();
}

card blocking_find_card(const settings& wanted)
{
    require_model(wanted);
    if (is_folder(wanted.model) || is_file(wanted.model))
        return models::blocking_card(wanted.model);
    if (std::optional<card> known = find_in_catalogue(wanted.model)) {
        if (!blocking_find_cached(wanted, known->repo, known->files))
            fail_absent(wanted, known->repo);
        warn_of_revision(wanted, known->repo);
        return std::move(*known);
    }
    card about = models::blocking_card(blocking_find_repository(wanted));
    about.key = wanted.model;
    return about;
}

fs::path blocking_find_folder(const settings& wanted)
{
    require_model(wanted);
    if (is_folder(wanted.model) || is_file(wanted.model)) return wanted.model;
    if (const std::optional<card> known = find_in_catalogue(wanted.model)) {
        std::optional<fs::path> found = blocking_find_cached(wanted, known->repo, file_selection{});
        if (!found) fail_absent(wanted, known->repo);
        warn_of_revision(wanted, known->repo);
        return std::move(*found);
    }
    return blocking_find_repository(wanted);
}

}  // namespace modelpool::cli
