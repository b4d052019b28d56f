#pragma once

#include <modelpool/hub/directory_fetcher.hpp>
#include <modelpool/hub/hub.hpp>

#include <cstddef>
#include <string>
#include <vector>

#include "common.hpp"

namespace modelpool::cli {

/// Where the program's models come from: a plain folder below the cache folder, where there is one,
/// else the hub's cache or the hub itself.
class model_files final : public fetcher {
public:
    explicit model_files(const settings& wanted);

    using fetcher::fetch;
    /// Errors: those of `hub::fetch`.
    awaitable<snapshot>
    fetch(repository repo, file_selection selection, on_fetch_progress progress) override;
    awaitable<std::vector<std::byte>> get(std::string url, url_limits limits) override;

private:
    directory_fetcher folders_;
    hub hub_;
};

}  // namespace modelpool::cli
