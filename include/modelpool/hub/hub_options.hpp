#pragma once

#include <modelpool/log.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>

namespace modelpool {

/// Looks a variable of the environment up; empty where it is not set. Tests bring their own.
using environment = std::function<std::optional<std::string>(const std::string& name)>;

/// How a downloaded file is checked before it gets its name in the cache.
enum class verification {
    full =
        1,  ///< length, and the hash the hub names: sha256 for large files, git's sha1 for the rest
    length,  ///< length only, where hashing is slower than the network
    none,    ///< nothing is compared
};

/// How a file that is in the cache already is checked before it is used.
enum class hit_check {
    none = 1,  ///< it exists
    size,      ///< and has the promised length, where that is known
    hash,      ///< and the promised hash: the whole file is read
};

/// What a `hub` is built from. A default-constructed one knows the public hub and nothing of the
/// environment; `from_environment` is the only place of the library that reads variables.
class hub_options {
public:
    /// What the variables that Python's client reads say: HF_HOME, HF_HUB_CACHE,
    /// HUGGINGFACE_HUB_CACHE, XDG_CACHE_HOME, HF_ENDPOINT, HF_TOKEN, HUGGING_FACE_HUB_TOKEN,
    /// HF_TOKEN_PATH, HF_HUB_DISABLE_IMPLICIT_TOKEN, HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE,
    /// HF_HUB_ETAG_TIMEOUT, HF_HUB_DOWNLOAD_TIMEOUT, HF_HUB_DISABLE_SYMLINKS,
    /// HF_HUB_USER_AGENT_ORIGIN, the proxy variables, and SSL_CERT_FILE, SSL_CERT_DIR,
    /// CURL_CA_BUNDLE, REQUESTS_CA_BUNDLE. A variable that is set but empty counts as not set. May
    /// read the token's file.
    /// Errors: errc::invalid_argument for a token with bytes that no header may hold.
    static hub_options from_environment();
    static hub_options from_environment(const environment& variables);

    /// The folder that holds "models--org--name" folders. Default: ".cache/huggingface/hub" below
    /// the current folder, the user's cache after `from_environment`.
    hub_options& cache_dir(std::filesystem::path value)
    {
        cache_dir_ = std::move(value);
        return *this;
    }
    const std::filesystem::path& cache_dir() const noexcept { return cache_dir_; }

    /// Where the hub is; a path after the host is kept, a slash at the end is not.
    hub_options& endpoint(std::string value)
    {
        while (!value.empty() && value.back() == '/')
            value.pop_back();
        endpoint_ = std::move(value);
        return *this;
    }
    const std::string& endpoint() const noexcept { return endpoint_; }

    /// An access token; sent to the endpoint's own origin only, never logged. White space around it
    /// is dropped; empty: none. Errors: errc::invalid_argument for bytes that no header may hold.
    hub_options& token(std::string value);
    const std::string& token() const noexcept { return token_; }

    /// No socket is opened: what is not in the cache is an error.
    hub_options& offline(bool value)
    {
        offline_ = value;
        return *this;
    }
    bool offline() const noexcept { return offline_; }

    /// Put before the library's own name in the User-Agent header.
    hub_options& user_agent(std::string value)
    {
        user_agent_ = std::move(value);
        return *this;
    }
    const std::string& user_agent() const noexcept { return user_agent_; }

    /// Proxies by the scheme of the URL; empty: none.
    hub_options& http_proxy(std::string value)
    {
        http_proxy_ = std::move(value);
        return *this;
    }
    const std::string& http_proxy() const noexcept { return http_proxy_; }
    hub_options& https_proxy(std::string value)
    {
        https_proxy_ = std::move(value);
        return *this;
    }
    const std::string& https_proxy() const noexcept { return https_proxy_; }
    /// Hosts that are reached without a proxy, separated by commas.
    hub_options& no_proxy(std::string value)
    {
        no_proxy_ = std::move(value);
        return *this;
    }
    const std::string& no_proxy() const noexcept { return no_proxy_; }

    /// Certificates to trust in place of the system's; empty: the system's.
    hub_options& ca_file(std::filesystem::path value)
    {
        ca_file_ = std::move(value);
        return *this;
    }
    const std::filesystem::path& ca_file() const noexcept { return ca_file_; }
    hub_options& ca_dir(std::filesystem::path value)
    {
        ca_dir_ = std::move(value);
        return *this;
    }
    const std::filesystem::path& ca_dir() const noexcept { return ca_dir_; }

    /// How long the first byte of an answer about a file may take; three times that for the whole.
    hub_options& metadata_timeout(std::chrono::milliseconds value)
    {
        metadata_timeout_ = value;
        return *this;
    }
    std::chrono::milliseconds metadata_timeout() const noexcept { return metadata_timeout_; }

    /// How long connecting, and a gap between two bytes of a file, may take.
    hub_options& download_timeout(std::chrono::milliseconds value)
    {
        download_timeout_ = value;
        return *this;
    }
    std::chrono::milliseconds download_timeout() const noexcept { return download_timeout_; }

    /// A connection slower than 1 KiB/s over this long is given up and replaced.
    hub_options& low_speed_time(std::chrono::milliseconds value)
    {
        low_speed_time_ = value;
        return *this;
    }
    std::chrono::milliseconds low_speed_time() const noexcept { return low_speed_time_; }

    /// Files of one fetch that are downloaded at a time.
    hub_options& n_parallel_files(std::size_t value)
    {
        n_parallel_files_ = value == 0 ? 1 : value;
        return *this;
    }
    std::size_t n_parallel_files() const noexcept { return n_parallel_files_; }

    /// The most connections that share one large file; how many are used follows from their gain.
    hub_options& n_streams(std::size_t value)
    {
        n_streams_ = value == 0 ? 1 : value;
        return *this;
    }
    std::size_t n_streams() const noexcept { return n_streams_; }

    /// Tries in a row that may fail without any progress.
    hub_options& n_tries(int value)
    {
        n_tries_ = value < 1 ? 1 : value;
        return *this;
    }
    int n_tries() const noexcept { return n_tries_; }

    /// Between these lie the pauses between two tries.
    hub_options& retry_delay(std::chrono::milliseconds shortest, std::chrono::milliseconds longest)
    {
        shortest_delay_ = shortest;
        longest_delay_ = longest;
        return *this;
    }
    std::chrono::milliseconds shortest_delay() const noexcept { return shortest_delay_; }
    std::chrono::milliseconds longest_delay() const noexcept { return longest_delay_; }

    /// The longest pause that the server may ask for; a longer one is an error that names it.
    hub_options& longest_server_wait(std::chrono::milliseconds value)
    {
        longest_server_wait_ = value;
        return *this;
    }
    std::chrono::milliseconds longest_server_wait() const noexcept { return longest_server_wait_; }

    /// How long to wait for another process that downloads the same file before downloading it too;
    /// zero: as long as it takes.
    hub_options& lock_wait(std::chrono::milliseconds value)
    {
        lock_wait_ = value;
        return *this;
    }
    std::chrono::milliseconds lock_wait() const noexcept { return lock_wait_; }

    hub_options& verify(verification value)
    {
        verify_ = value;
        return *this;
    }
    verification verify() const noexcept { return verify_; }

    hub_options& verify_hits(hit_check value)
    {
        verify_hits_ = value;
        return *this;
    }
    hit_check verify_hits() const noexcept { return verify_hits_; }

    /// Whether snapshots are symbolic links into the blobs; otherwise hard links or copies.
    hub_options& symlinks(bool value)
    {
        symlinks_ = value;
        return *this;
    }
    bool symlinks() const noexcept { return symlinks_; }

    /// Whether files of a megabyte and more reach the disk before they get their name.
    hub_options& sync(bool value)
    {
        sync_ = value;
        return *this;
    }
    bool sync() const noexcept { return sync_; }

    /// Called from the hub's threads.
    hub_options& log(log_sink value)
    {
        log_ = std::move(value);
        return *this;
    }
    const log_sink& log() const noexcept { return log_; }

private:
    std::filesystem::path cache_dir_{".cache/huggingface/hub"};
    std::string endpoint_{"https://huggingface.co"};
    std::string token_;
    std::string user_agent_;
    std::string http_proxy_;
    std::string https_proxy_;
    std::string no_proxy_;
    std::filesystem::path ca_file_;
    std::filesystem::path ca_dir_;
    std::chrono::milliseconds metadata_timeout_{10'000};
    std::chrono::milliseconds download_timeout_{10'000};
    std::chrono::milliseconds low_speed_time_{30'000};
    std::chrono::milliseconds shortest_delay_{250};
    std::chrono::milliseconds longest_delay_{8'000};
    std::chrono::milliseconds longest_server_wait_{310'000};
    std::chrono::milliseconds lock_wait_{0};
    std::size_t n_parallel_files_{8};
    std::size_t n_streams_{16};
    int n_tries_{8};
    verification verify_{verification::full};
    hit_check verify_hits_{hit_check::size};
    bool offline_{false};
    bool symlinks_{true};
    bool sync_{true};
    log_sink log_;
};

}  // namespace modelpool
