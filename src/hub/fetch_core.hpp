#pragma once

#include <modelpool/async/thread_pool.hpp>
#include <modelpool/hub/fetch_options.hpp>
#include <modelpool/hub/fetcher.hpp>
#include <modelpool/hub/hub_options.hpp>

#include <filesystem>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "hub/cache_layout.hpp"
#include "hub/client.hpp"
#include "hub/engine.hpp"
#include "hub/flights.hpp"
#include "hub/meter.hpp"
#include "hub/transfer.hpp"

namespace modelpool::fetching {

/// What is asked for.
struct fetch_request {
    repository repo;
    file_selection selection;
    fetch_options options;
};

/// Fetches into the cache: what is there, what is not, and how to get it. Blocks; thread-safe.
class fetch_core {
public:
    explicit fetch_core(const hub_options& options);

    fetched blocking_fetch(const fetch_request& request, meter& done, const std::stop_token& stop);
    std::filesystem::path blocking_fetch_file(
        const fetch_request& request,
        const std::string& path,
        meter& done,
        const std::stop_token& stop);
    std::vector<std::byte>
    blocking_get(const std::string& url, const url_limits& limits, const std::stop_token& stop);
    const hub_options& options() const noexcept { return options_; }

private:
    /// One fetch, while it goes on.
    struct session {
        const fetch_request& request;
        repo_layout layout;
        std::string commit;
        std::string stale;
        bool listed{true};
        bool online{true};
    };
    struct wish {
        std::string path;
        std::optional<tree_file> known;
    };

    session blocking_begin(const fetch_request& request, const std::stop_token& stop);
    std::optional<tree> blocking_list(session& now, const std::stop_token& stop);
    std::vector<wish> blocking_select(session& now, const std::stop_token& stop);
    std::vector<fetched_file> blocking_get_selected(
        session& now, std::vector<wish>& wanted, meter& done, const std::stop_token& stop);
    std::vector<wish> select(const session& now, const tree& all) const;
    std::vector<wish> blocking_select_on_disk(session& now) const;
    void blocking_add_shards(
        const session& now,
        std::vector<wish>& wanted,
        std::vector<fetched_file>& files,
        meter& done,
        const std::stop_token& stop);
    std::vector<fetched_file> blocking_get_all(
        const session& now,
        const std::vector<wish>& wanted,
        meter& done,
        const std::stop_token& stop);
    fetched_file blocking_get_one(
        const session& now, const wish& wanted, meter& done, const std::stop_token& stop);
    std::optional<blob_result>
    blocking_look(const session& now, const wish& wanted, const std::stop_token& stop);
    bool blocking_is_good_blob(
        const session& now,
        const std::string& blob,
        std::optional<std::uint64_t> size,
        const std::stop_token& stop) const;
    blob_result blocking_get_known(
        const session& now,
        const file_address& address,
        opened_file facts,
        const on_file_bytes& on_bytes,
        const std::stop_token& stop);
    blob_result blocking_get_unknown(
        const session& now,
        const file_address& address,
        const on_file_bytes& on_bytes,
        const std::stop_token& stop);
    blob_result blocking_download(
        const session& now,
        const file_address& address,
        opened_file facts,
        const on_file_bytes& on_bytes,
        const std::stop_token& stop);
    std::string blocking_store(
        const repo_layout& layout,
        const file_address& address,
        opened_file source,
        std::uint64_t& bytes,
        const on_file_bytes& on_bytes,
        const std::stop_token& stop);
    void blocking_place(
        const session& now, const std::vector<fetched_file>& files, const std::stop_token& stop);
    void blocking_parallel(std::size_t n_items, const std::function<void(std::size_t)>& action);
    void log(log_level level, const std::string& line) const;

    const hub_options& options_;
    engine http_;
    client hub_;
    stream_budget budget_;
    flights flights_;
    thread_pool helpers_;  // last: its threads use the others
};

}  // namespace modelpool::fetching
