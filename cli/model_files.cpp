#include "model_files.hpp"

#include <modelpool/async/as_result.hpp>
#include <modelpool/error.hpp>

#include <utility>

namespace modelpool::cli {
namespace {

awaitable<snapshot> fetch_from(
    directory_fetcher& folders,
    hub& files,
    repository repo,
    file_selection selection,
    on_fetch_progress progress)
{
    auto looking = folders.fetch(repo, selection);
    auto found = as_result(std::move(looking));
    const result<snapshot> here = co_await std::move(found);
    if (here) co_return *here;
    const boost::system::error_code code = here.error();
    if (code != hub_errc::not_found && code != errc::invalid_argument)
        throw error{code, repo.id() + " below the cache folder cannot be read"};
    auto fetching = files.fetch(std::move(repo), std::move(selection), std::move(progress));
    co_return co_await std::move(fetching);
}

}  // namespace

model_files::model_files(const settings& wanted)
    : folders_{wanted.hub.cache_dir()}
    , hub_{wanted.hub}
{}

awaitable<snapshot>
model_files::fetch(repository repo, file_selection selection, on_fetch_progress progress)
{
    return fetch_from(folders_, hub_, std::move(repo), std::move(selection), std::move(progress));
}

awaitable<std::vector<std::byte>> model_files::get(std::string url, url_limits limits)
{
    return hub_.get(std::move(url), limits);
}

}  // namespace modelpool::cli
