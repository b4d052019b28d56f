#include "hub/url.hpp"

#include <modelpool/error.hpp>

#include <curl/curl.h>

#include <memory>
#include <optional>

namespace modelpool::fetching {
namespace {

struct curl_url_end {
    void operator()(CURLU* url) const noexcept { curl_url_cleanup(url); }
};
using url_handle = std::unique_ptr<CURLU, curl_url_end>;

std::optional<std::string> part(const url_handle& url, CURLUPart which, unsigned flags = 0)
{
    char* text = nullptr;
    if (curl_url_get(url.get(), which, &text, flags) != CURLUE_OK) return std::nullopt;
    std::string copy{text};
    curl_free(text);
    return copy;
}

url_handle parse(const std::string& text)
{
    url_handle url{curl_url()};
    if (!url || curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK)
        return nullptr;
    const std::string scheme = part(url, CURLUPART_SCHEME).value_or("");
    return scheme == "http" || scheme == "https" ? std::move(url) : nullptr;
}

std::string origin(const url_handle& url)
{
    return part(url, CURLUPART_SCHEME).value_or("") + "://" +
           part(url, CURLUPART_HOST).value_or("") + ":" +
           part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT).value_or("");
}

bool is_public_hub(const std::string& origin)
{
    return origin == "https://huggingface.co:443" || origin == "https://hf.co:443";
}

}  // namespace

std::string percent_encode(std::string_view text, bool keep_slashes)
{
    static constexpr std::string_view digits = "0123456789ABCDEF";
    std::string result;
    result.reserve(text.size());
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        const bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                           (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
        if (plain || (c == '/' && keep_slashes)) {
            result += c;
        } else {
            result += '%';
            result += digits[byte >> 4U];
            result += digits[byte & 15U];
        }
    }
    return result;
}

std::string_view plural(repository_kind kind)
{
    switch (kind) {
    case repository_kind::dataset:
        return "datasets";
    case repository_kind::space:
        return "spaces";
    case repository_kind::model:
        break;
    }
    return "models";
}

std::string hub_urls::file(
    repository_kind kind,
    const std::string& id,
    std::string_view revision,
    std::string_view path) const
{
    std::string prefix;
    if (kind != repository_kind::model) prefix = std::string{plural(kind)} + "/";
    return endpoint_ + "/" + prefix + id + "/resolve/" + percent_encode(revision, false) + "/" +
           percent_encode(path, true);
}

std::string hub_urls::api(repository_kind kind, const std::string& id) const
{
    return endpoint_ + "/api/" + std::string{plural(kind)} + "/" + id;
}

std::string
hub_urls::revision(repository_kind kind, const std::string& id, std::string_view revision) const
{
    return api(kind, id) + "/revision/" + percent_encode(revision, false);
}

std::string
hub_urls::tree(repository_kind kind, const std::string& id, std::string_view commit) const
{
    return api(kind, id) + "/tree/" + percent_encode(commit, false) +
           "?recursive=true&expand=false";
}

std::string origin_of(const std::string& url)
{
    const url_handle parsed = parse(url);
    if (!parsed)
        throw error{errc::invalid_argument, "\"" + url + "\" is no absolute http or https URL"};
    return origin(parsed);
}

std::string join_url(const std::string& base, const std::string& location)
{
    url_handle url = parse(base);
    if (!url) return {};
    // Servers send bytes in Location that should have been encoded; these flags take them.
    if (curl_url_set(
            url.get(),
            CURLUPART_URL,
            location.c_str(),
            CURLU_URLENCODE | CURLU_ALLOW_SPACE | CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK)
        return {};
    curl_url_set(url.get(), CURLUPART_FRAGMENT, nullptr, 0);
    const std::string scheme = part(url, CURLUPART_SCHEME).value_or("");
    if (scheme != "http" && scheme != "https") return {};
    return part(url, CURLUPART_URL).value_or("");
}

bool is_hub_origin(const std::string& endpoint, const std::string& url)
{
    const url_handle hub = parse(endpoint);
    const url_handle other = parse(url);
    if (!hub || !other) return false;
    const std::string hub_origin = origin(hub);
    const std::string other_origin = origin(other);
    return hub_origin == other_origin || (is_public_hub(hub_origin) && is_public_hub(other_origin));
}

bool is_downgrade(const std::string& from, const std::string& to)
{
    return from.starts_with("https:") && !to.starts_with("https:");
}

}  // namespace modelpool::fetching
