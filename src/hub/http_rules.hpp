#pragma once

#include <modelpool/error.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace modelpool::fetching {

/// Status and headers of an answer.
class response_head {
public:
    int status{0};

    /// Takes one header line; lines of another form are ignored, and so is what exceeds 256 lines.
    void add(std::string_view line);
    void clear();
    /// The first header of that name (in lower case), without white space around it.
    std::optional<std::string> find(std::string_view name) const;
    std::vector<std::string> find_all(std::string_view name) const;

private:
    std::vector<std::pair<std::string, std::string>> lines_;
};

/// The tag without "W/" and quotes.
std::string plain_etag(std::string_view tag);
/// Whether the tag promises the same bytes.
bool is_strong_etag(std::string_view tag);

/// A length as servers write it: digits, at most 2^53.
std::optional<std::uint64_t> parse_length(std::string_view text);

struct content_range {
    std::uint64_t begin{0};
    std::uint64_t end{0};  ///< one past the last byte
    std::optional<std::uint64_t> total;
    bool unsatisfied{false};  ///< "bytes */N"
};
std::optional<content_range> parse_content_range(std::string_view text);

/// The target of the link with that relation; the header may hold several links, and commas in
/// them.
std::string link_target(const std::vector<std::string>& headers, std::string_view relation);

/// What the hub says about a file. Values are checked; what is missing or malformed is empty.
struct file_facts {
    std::string commit;
    std::string etag;  ///< the blob's name
    std::optional<std::uint64_t> size;
    bool weak{false};
};
/// Errors: hub_errc::corrupt where a tag or a commit would lead out of the cache.
file_facts read_facts(const response_head& head);
/// Whether the answer comes from a hub's resolve: it carries a commit or a linked tag.
bool has_facts(const response_head& head);

/// `RateLimit: "resolvers";r=0;t=12`
struct rate_limit {
    std::string bucket;
    std::uint64_t n_left{0};
    std::chrono::seconds reset{0};
};
std::optional<rate_limit> parse_rate_limit(std::string_view text);
/// Seconds or an HTTP date; a date in the past is zero.
std::optional<std::chrono::seconds>
parse_retry_after(std::string_view text, std::chrono::system_clock::time_point now);
/// How long the server asks to wait, of an answer with status 429 or 503.
std::optional<std::chrono::seconds>
server_wait(const response_head& head, std::chrono::system_clock::time_point now);

/// What a hub's refusal means.
enum class fault {
    repo_not_found = 1,
    revision_not_found,
    entry_not_found,
    gated,
    disabled,
    bad_token,
    forbidden,
    bad_request,
    rate_limited,
    server,     ///< 5xx, 408, 425: may pass
    not_a_hub,  ///< something else answered
    proxy,      ///< the proxy refused
    network,    ///< no answer, or one that broke off
    stalled,
    tls,      ///< the certificate does not convince
    refused,  ///< an address that is not allowed
    too_large,
    mismatch,  ///< other bytes than promised
    disk,
    offline,
    closed,
};
boost::system::error_code code_of(fault kind);
/// Whether the same request may succeed soon.
bool is_transient(fault kind);
/// Whether a copy in the cache may stand in.
bool may_use_cache(fault kind);

/// An error of the hub with its kind.
class hub_fault : public error {
public:
    hub_fault(fault kind, std::string sentence)
        : error{code_of(kind), std::move(sentence)}
        , kind_{kind}
    {}
    fault kind() const noexcept { return kind_; }

    /// How long the server asked to wait; empty: it did not.
    std::optional<std::chrono::seconds> wait;

private:
    fault kind_;
};

/// The refusal that an answer with a status of 400 and more is. `what` says what was asked for.
hub_fault classify(const response_head& head, std::string_view body, const std::string& what);

/// The sentences of an error's body, JSON or plain; nothing of HTML.
std::string error_text(const response_head& head, std::string_view body);

bool is_transient_status(int status);

}  // namespace modelpool::fetching
