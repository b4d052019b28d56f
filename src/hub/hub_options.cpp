#include <modelpool/error.hpp>
#include <modelpool/hub/hub_options.hpp>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string_view>
#include <system_error>

namespace modelpool {
namespace {

namespace fs = std::filesystem;
using text = std::optional<std::string>;

constexpr std::size_t longest_token = 4096;

std::string trimmed(std::string value)
{
    const auto is_space = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
    while (!value.empty() && is_space(value.back()))
        value.pop_back();
    const auto begin = std::find_if_not(value.begin(), value.end(), is_space);
    value.erase(value.begin(), begin);
    return value;
}

// The variables of an environment, in which an empty one is none.
class reader {
public:
    explicit reader(const environment& variables)
        : variables_{variables}
    {}

    text find(const std::string& name) const
    {
        text value = variables_(name);
        return value && !value->empty() ? value : std::nullopt;
    }

    /// The first of several that is set.
    text first(std::initializer_list<const char*> names) const
    {
        for (const char* name : names)
            if (text value = find(name)) return value;
        return std::nullopt;
    }

    bool is_true(const std::string& name) const
    {
        std::string value = find(name).value_or("");
        for (char& c : value)
            if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
        return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
    }

    std::chrono::milliseconds
    seconds(const std::string& name, std::chrono::milliseconds otherwise) const
    {
        const std::string value = find(name).value_or("");
        double number = 0;
        const auto [end, problem] =
            std::from_chars(value.data(), value.data() + value.size(), number);
        const bool is_good = problem == std::errc{} && end == value.data() + value.size() &&
                             number > 0 && number < 1e6;
        return is_good ? std::chrono::milliseconds{static_cast<std::int64_t>(number * 1000)}
                       : otherwise;
    }

    /// "~", "$NAME" and "${NAME}" replaced; what is not set stays as it stands.
    fs::path expand(std::string value) const
    {
        const text home = find("HOME");
        if (home && (value == "~" || value.starts_with("~/"))) value.replace(0, 1, *home);
        std::string result;
        for (std::size_t i = 0; i < value.size();) {
            const std::size_t length = value[i] == '$' ? name_length(value, i) : 0;
            if (length == 0) {
                result += value[i++];
                continue;
            }
            const std::string written = value.substr(i, length);
            const bool braced = written[1] == '{';
            const std::string name =
                braced ? written.substr(2, length - 3) : written.substr(1, length - 1);
            result += variables_(name).value_or(written);
            i += length;
        }
        return result;
    }

private:
    // The length of "$NAME" or "${NAME}" at `i`; 0 where it is neither.
    static std::size_t name_length(const std::string& value, std::size_t i)
    {
        const auto is_word = [](char c) {
            return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                   c == '_';
        };
        if (i + 1 < value.size() && value[i + 1] == '{') {
            const std::size_t close = value.find('}', i);
            return close == std::string::npos || close == i + 2 ? 0 : close - i + 1;
        }
        std::size_t end = i + 1;
        while (end < value.size() && is_word(value[end]))
            ++end;
        return end == i + 1 ? 0 : end - i;
    }

    const environment& variables_;
};

std::string blocking_read_token(const fs::path& file)
{
    std::ifstream in{file, std::ios::binary};
    std::string token(longest_token, '\0');
    in.read(token.data(), static_cast<std::streamsize>(token.size()));
    token.resize(static_cast<std::size_t>(std::max<std::streamsize>(in.gcount(), 0)));
    return trimmed(std::move(token));
}

std::string find_token(const reader& variables, const fs::path& home)
{
    if (variables.is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN")) return {};
    for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}) {
        std::string token = trimmed(variables.find(name).value_or(""));
        if (!token.empty()) return token;
    }
    const text path = variables.find("HF_TOKEN_PATH");
    return blocking_read_token(path ? variables.expand(*path) : home / "token");
}

void read_network(const reader& variables, hub_options& options)
{
    // Programs that serve CGI get the client's "Proxy" header as HTTP_PROXY.
    text plain = variables.find("http_proxy");
    if (!plain && !variables.find("REQUEST_METHOD")) plain = variables.find("HTTP_PROXY");
    const text all = variables.first({"all_proxy", "ALL_PROXY"});
    options.http_proxy(plain ? *plain : all.value_or(""));
    options.https_proxy(variables.first({"https_proxy", "HTTPS_PROXY"}).value_or(all.value_or("")));
    options.no_proxy(variables.first({"no_proxy", "NO_PROXY"}).value_or(""));
    const text file = variables.first({"SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"});
    std::error_code problem;
    if (file && fs::is_directory(*file, problem))
        options.ca_dir(*file);
    else if (file)
        options.ca_file(*file);
    if (const text dir = variables.find("SSL_CERT_DIR")) options.ca_dir(*dir);
}

}  // namespace

hub_options& hub_options::token(std::string value)
{
    value = trimmed(std::move(value));
    const auto is_bad = [](char c) { return c <= 0x20 || c >= 0x7F; };
    if (std::any_of(value.begin(), value.end(), is_bad))
        throw error{
            errc::invalid_argument,
            "the hub's token has a space, a control character or a byte outside ASCII in it"};
    token_ = std::move(value);
    return *this;
}

hub_options hub_options::from_environment()
{
    return from_environment([](const std::string& name) -> text {
        const char* const value = std::getenv(name.c_str());  // NOLINT(concurrency-mt-unsafe)
        return value == nullptr ? std::nullopt : text{value};
    });
}

hub_options hub_options::from_environment(const environment& from)
{
    const reader variables{from};
    fs::path home;
    if (const text named = variables.find("HF_HOME"))
        home = variables.expand(*named);
    else if (const text cache = variables.find("XDG_CACHE_HOME"))
        home = variables.expand(*cache) / "huggingface";
    else
        home = variables.expand("~/.cache/huggingface");
    hub_options options;
    const text cache = variables.first({"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"});
    options.cache_dir(cache ? variables.expand(*cache) : home / "hub");
    if (const text endpoint = variables.find("HF_ENDPOINT"))
        options.endpoint(*endpoint);
    else if (variables.is_true("HUGGINGFACE_CO_STAGING"))
        options.endpoint("https://hub-ci.huggingface.co");
    options.token(find_token(variables, home));
    options.offline(
        variables.is_true("HF_HUB_OFFLINE") || variables.is_true("TRANSFORMERS_OFFLINE"));
    options.metadata_timeout(variables.seconds("HF_HUB_ETAG_TIMEOUT", options.metadata_timeout()));
    options.download_timeout(
        variables.seconds("HF_HUB_DOWNLOAD_TIMEOUT", options.download_timeout()));
    options.symlinks(!variables.is_true("HF_HUB_DISABLE_SYMLINKS"));
    if (const text origin = variables.find("HF_HUB_USER_AGENT_ORIGIN"))
        options.user_agent("origin/" + *origin);
    read_network(variables, options);
    return options;
}

}  // namespace modelpool
