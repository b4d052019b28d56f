#pragma once

#include <modelpool/hub/fetch_options.hpp>
#include <modelpool/hub/fetcher.hpp>
#include <modelpool/hub/hub_options.hpp>

#include <chrono>
#include <cstddef>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "hub/api_json.hpp"
#include "hub/engine.hpp"
#include "hub/http_rules.hpp"
#include "hub/retry_plan.hpp"
#include "hub/url.hpp"

namespace modelpool::fetching {

/// A file of a repository at one revision.
struct file_address {
    repository_kind kind{repository_kind::model};
    std::string id;
    std::string revision;
    std::string path;

    std::string str() const { return id + "@" + revision + "/" + path; }
};

/// Where a file's bytes are to be had, and what is known of them.
struct opened_file {
    file_facts facts;
    std::optional<std::string> body;  ///< all of a small file
    std::string url;                  ///< of the rest: where ranges may be asked for
    bool with_token{false};
    bool known{false};      ///< facts came from a hub, not from a plain server
    bool unchanged{false};  ///< the hub has the same bytes under the tag that it was told
};

/// How long a hub that cannot be reached, or asks to wait, is waited for: not long where another
/// answer is at hand.
enum class patience { full = 1, little };

/// Asks a hub: redirects, tokens, refusals, retries and the server's wishes about pauses.
/// Thread-safe.
class client {
public:
    client(const hub_options& options, engine& http);

    /// The commit that a revision names now. Errors: hub_fault, operation_aborted.
    std::string blocking_commit(
        repository_kind kind,
        const std::string& id,
        const std::string& revision,
        patience how,
        const std::stop_token& stop);
    /// All files of a commit.
    tree blocking_tree(
        repository_kind kind,
        const std::string& id,
        const std::string& commit,
        const std::stop_token& stop);
    /// Finds a file's bytes; brings a small one along, unless it is that of `known_tag`.
    opened_file blocking_open(
        const file_address& file,
        bool fresh,
        const std::stop_token& stop,
        const std::string& known_tag = {});
    /// Headers for a request to `url`: the token where it may go.
    std::vector<std::string> headers_for(const std::string& url, bool with_token) const;

    /// A URL that is no hub's.
    std::vector<std::byte>
    blocking_get(const std::string& url, const url_limits& limits, const std::stop_token& stop);

    retry_plan fresh_plan() const { return fresh_plan(patience::full); }
    /// Waits until the server's own pauses for that address are over.
    void blocking_pass_gate(const std::string& url, const std::stop_token& stop);
    /// Notes a pause that the server asked for; other requests to the address keep it too.
    void close_gate(const std::string& url, std::chrono::milliseconds time);
    void log(log_level level, const std::string& line) const;

    static constexpr std::size_t small_bytes = std::size_t{1} << 20U;

private:
    retry_plan fresh_plan(patience how) const;
    struct hop {
        http_answer answer;
        std::string url;
        bool with_token{true};
    };
    http_answer blocking_api(
        const std::string& url,
        const std::string& what,
        std::size_t max_bytes,
        patience how,
        const std::stop_token& stop);
    http_request
    request_for(const std::string& url, const std::string& what, bool with_token) const;
    struct open_request {
        bool fresh{false};
        bool decode{false};
        std::string known_tag;
    };
    opened_file blocking_try_open(
        const file_address& file, const open_request& how, const std::stop_token& stop);
    void take_body(const file_address& file, hop& last, opened_file& result) const;
    template <class F>
    auto
    blocking_retry(const std::string& url, patience how, const std::stop_token& stop, F action);
    static std::string bucket_of(const std::string& url);

    const hub_options& options_;
    engine& http_;
    hub_urls urls_;
    std::mutex mutex_;
    std::map<std::string, std::chrono::steady_clock::time_point> gates_;
};

}  // namespace modelpool::fetching
