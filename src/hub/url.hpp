#pragma once

#include <modelpool/hub/fetch_options.hpp>

#include <string>
#include <string_view>

namespace modelpool::fetching {

/// Percent-encodes all bytes but `A-Za-z0-9-._~`, and `/` where `keep_slashes`.
std::string percent_encode(std::string_view text, bool keep_slashes);

/// The word for a kind in API paths and folder names: "models", "datasets", "spaces".
std::string_view plural(repository_kind kind);

/// Addresses of one hub.
class hub_urls {
public:
    explicit hub_urls(std::string endpoint)
        : endpoint_{std::move(endpoint)}
    {}

    std::string file(
        repository_kind kind,
        const std::string& id,
        std::string_view revision,
        std::string_view path) const;
    std::string
    revision(repository_kind kind, const std::string& id, std::string_view revision) const;
    std::string tree(repository_kind kind, const std::string& id, std::string_view commit) const;
    const std::string& endpoint() const noexcept { return endpoint_; }

private:
    std::string api(repository_kind kind, const std::string& id) const;
    std::string endpoint_;
};

/// A URL's scheme, host and port, written "https://host:443".
/// Errors: errc::invalid_argument for what is no absolute http or https URL.
std::string origin_of(const std::string& url);

/// What a Location or a Link of `base` names, without its fragment. Empty where it is no URL of
/// http or https.
std::string join_url(const std::string& base, const std::string& location);

/// Whether the token of a hub at `endpoint` may go to `url`: the same origin, or one of the public
/// hub's two names where the endpoint is one of them.
bool is_hub_origin(const std::string& endpoint, const std::string& url);

/// Whether going from one URL to the other gives encryption up.
bool is_downgrade(const std::string& from, const std::string& to);

}  // namespace modelpool::fetching
