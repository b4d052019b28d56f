#include "hub/http_rules.hpp"

#include <curl/curl.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <ctime>

#include "hub/path_rules.hpp"
#include "support/json.hpp"

namespace modelpool::fetching {
namespace {

constexpr std::size_t n_most_headers = 256;
constexpr std::uint64_t largest_length = std::uint64_t{1} << 53U;

std::string_view trim(std::string_view text)
{
    const auto is_space = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
    while (!text.empty() && is_space(text.front()))
        text.remove_prefix(1);
    while (!text.empty() && is_space(text.back()))
        text.remove_suffix(1);
    return text;
}

std::string lower(std::string_view text)
{
    std::string result{text};
    for (char& c : result)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return result;
}

// Calls `take` with each piece between separators that stand outside quotes and angle brackets.
template <class F>
void split(std::string_view text, char separator, F take)
{
    bool quoted = false;
    bool angled = false;
    std::size_t begin = 0;
    for (std::size_t i = 0; i <= text.size(); ++i) {
        if (i == text.size() || (text[i] == separator && !quoted && !angled)) {
            take(trim(text.substr(begin, i - begin)));
            begin = i + 1;
        } else if (text[i] == '"' && !angled) {
            quoted = !quoted;
        } else if (!quoted && (text[i] == '<' || text[i] == '>')) {
            angled = text[i] == '<';
        }
    }
}

std::string_view unquote(std::string_view text)
{
    if (text.size() >= 2 && text.front() == '"' && text.back() == '"')
        return text.substr(1, text.size() - 2);
    return text;
}

void append_sentence(std::string& all, const std::string& sentence)
{
    if (sentence.empty() || all.find(sentence) != std::string::npos) return;
    if (!all.empty()) all += "; ";
    all += sentence;
}

void append_json(std::string& all, const nlohmann::json& value)
{
    if (value.is_string()) {
        append_sentence(all, shown(value.get<std::string>()));
    } else if (value.is_array()) {
        for (const auto& one : value)
            append_json(all, one);
    } else if (value.is_object()) {
        const auto text = value.find("message");
        if (text != value.end()) append_json(all, *text);
    }
}

bool is_html(const response_head& head, std::string_view body)
{
    if (head.find("content-type").value_or("").starts_with("text/html")) return true;
    const std::string start = lower(trim(body.substr(0, 64)));
    return start.starts_with("<!doctype html") || start.starts_with("<html");
}

fault kind_of(const response_head& head, const std::string& text)
{
    const std::string code = head.find("x-error-code").value_or("");
    const std::string message = head.find("x-error-message").value_or(text);
    const bool is_bad_token = text.find("Invalid credentials") != std::string::npos ||
                              message.find("Invalid credentials") != std::string::npos;
    if (code == "RepoNotFound") return fault::repo_not_found;
    if (code == "RevisionNotFound") return fault::revision_not_found;
    if (code == "EntryNotFound") return fault::entry_not_found;
    if (code == "GatedRepo") return fault::gated;
    if (message.find("Access to this resource is disabled") != std::string::npos)
        return fault::disabled;
    switch (head.status) {
    case 401:
        return is_bad_token ? fault::bad_token : fault::repo_not_found;
    case 403:
        return fault::forbidden;
    case 404:
        return has_facts(head) ? fault::entry_not_found : fault::not_a_hub;
    case 407:
        return fault::proxy;
    case 429:
        return fault::rate_limited;
    default:
        break;
    }
    return is_transient_status(head.status) ? fault::server : fault::bad_request;
}

std::string_view words(fault kind)
{
    switch (kind) {
    case fault::repo_not_found:
        return "no such repository, or one that needs a token";
    case fault::revision_not_found:
        return "no such revision";
    case fault::entry_not_found:
        return "no such file in the repository";
    case fault::gated:
        return "the repository is gated: accept its conditions and use a token";
    case fault::disabled:
        return "access to the repository is disabled";
    case fault::bad_token:
        return "the token is not valid";
    case fault::forbidden:
        return "access is forbidden: see what the token permits";
    case fault::rate_limited:
        return "too many requests";
    case fault::server:
        return "the server failed";
    case fault::not_a_hub:
        return "the answer is not that of a hub";
    case fault::proxy:
        return "the proxy wants other credentials";
    default:
        break;
    }
    return "the request was refused";
}

}  // namespace

void response_head::add(std::string_view line)
{
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || lines_.size() >= n_most_headers) return;
    lines_.emplace_back(lower(trim(line.substr(0, colon))), trim(line.substr(colon + 1)));
}

void response_head::clear()
{
    status = 0;
    lines_.clear();
}

std::optional<std::string> response_head::find(std::string_view name) const
{
    for (const auto& [key, value] : lines_)
        if (key == name) return value;
    return std::nullopt;
}

std::vector<std::string> response_head::find_all(std::string_view name) const
{
    std::vector<std::string> result;
    for (const auto& [key, value] : lines_)
        if (key == name) result.push_back(value);
    return result;
}

std::string plain_etag(std::string_view tag)
{
    tag = trim(tag);
    if (tag.starts_with("W/")) tag.remove_prefix(2);
    return std::string{unquote(tag)};
}

bool is_strong_etag(std::string_view tag)
{
    return tag.size() > 2 && tag.front() == '"' && tag.back() == '"';
}

std::optional<std::uint64_t> parse_length(std::string_view text)
{
    std::uint64_t value = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (problem != std::errc{} || end != text.data() + text.size() || value > largest_length)
        return std::nullopt;
    return value;
}

std::optional<content_range> parse_content_range(std::string_view text)
{
    text = trim(text);
    if (!lower(text.substr(0, 6)).starts_with("bytes ")) return std::nullopt;
    text = trim(text.substr(6));
    const std::size_t slash = text.find('/');
    if (slash == std::string_view::npos) return std::nullopt;
    const std::string_view span = trim(text.substr(0, slash));
    const std::string_view total = trim(text.substr(slash + 1));
    content_range range;
    if (total != "*") {
        range.total = parse_length(total);
        if (!range.total) return std::nullopt;
    }
    if (span == "*") {
        range.unsatisfied = true;
        return range;
    }
    const std::size_t dash = span.find('-');
    if (dash == std::string_view::npos) return std::nullopt;
    const auto first = parse_length(span.substr(0, dash));
    const auto last = parse_length(span.substr(dash + 1));
    if (!first || !last || *last < *first || (range.total && *last >= *range.total))
        return std::nullopt;
    range.begin = *first;
    range.end = *last + 1;
    return range;
}

std::string link_target(const std::vector<std::string>& headers, std::string_view relation)
{
    std::string target;
    for (const std::string& header : headers) {
        split(header, ',', [&](std::string_view link) {
            const std::size_t close = link.find('>');
            if (!link.starts_with('<') || close == std::string_view::npos) return;
            bool wanted = false;
            split(link.substr(close + 1), ';', [&](std::string_view field) {
                const std::size_t equals = field.find('=');
                if (equals == std::string_view::npos) return;
                const std::string name = lower(trim(field.substr(0, equals)));
                if (name == "rel" && unquote(trim(field.substr(equals + 1))) == relation)
                    wanted = true;
            });
            if (wanted && target.empty()) target = link.substr(1, close - 1);
        });
    }
    return target;
}

bool has_facts(const response_head& head)
{
    return head.find("x-repo-commit").has_value() || head.find("x-linked-etag").has_value();
}

file_facts read_facts(const response_head& head)
{
    file_facts facts;
    if (const auto commit = head.find("x-repo-commit")) {
        if (!is_commit(*commit))
            throw hub_fault{
                fault::mismatch,
                "the server names the commit \"" + shown(*commit) + "\", which is none"};
        facts.commit = *commit;
    }
    const auto linked = head.find("x-linked-etag");
    const auto own = head.find("etag");
    if (linked || own) {
        const std::string& tag = linked ? *linked : *own;
        facts.weak = trim(tag).starts_with("W/");
        facts.etag = plain_etag(tag);
        if (!is_blob_name(facts.etag))
            throw hub_fault{
                fault::mismatch,
                "the server names the content \"" + shown(facts.etag) +
                    "\", which cannot be a file's name"};
    }
    // The length of a redirect is that of its own body, and that of an encoded body is no file's.
    const bool is_redirect = head.status >= 300 && head.status < 400;
    const bool is_plain = head.find("content-encoding").value_or("identity") == "identity";
    if (const auto size = head.find("x-linked-size")) {
        facts.size = parse_length(*size);
    } else if (const auto range = parse_content_range(head.find("content-range").value_or(""))) {
        facts.size = range->total;
    } else if (!is_redirect && is_plain) {
        facts.size = parse_length(head.find("content-length").value_or(""));
    }
    return facts;
}

std::optional<rate_limit> parse_rate_limit(std::string_view text)
{
    rate_limit limit;
    bool has_left = false;
    bool has_reset = false;
    bool first = true;
    split(text, ';', [&](std::string_view field) {
        if (std::exchange(first, false)) {
            limit.bucket = unquote(field);
            return;
        }
        const std::size_t equals = field.find('=');
        if (equals == std::string_view::npos) return;
        const std::string name = lower(trim(field.substr(0, equals)));
        const auto value = parse_length(trim(field.substr(equals + 1)));
        if (name == "r" && value) {
            limit.n_left = *value;
            has_left = true;
        } else if (name == "t" && value) {
            limit.reset = std::chrono::seconds{static_cast<std::int64_t>(*value)};
            has_reset = true;
        }
    });
    if (!has_left || !has_reset || limit.bucket.empty()) return std::nullopt;
    return limit;
}

std::optional<std::chrono::seconds>
parse_retry_after(std::string_view text, std::chrono::system_clock::time_point now)
{
    text = trim(text);
    if (const auto value = parse_length(text))
        return std::chrono::seconds{static_cast<std::int64_t>(*value)};
    const std::time_t when = curl_getdate(std::string{text}.c_str(), nullptr);
    if (when == -1) return std::nullopt;
    // In seconds: a clock that counts nanoseconds ends in the year 2262.
    const std::chrono::seconds wait =
        std::chrono::seconds{when} -
        std::chrono::floor<std::chrono::seconds>(now.time_since_epoch());
    return std::max(wait, std::chrono::seconds{0});
}

std::optional<std::chrono::seconds>
server_wait(const response_head& head, std::chrono::system_clock::time_point now)
{
    if (head.status != 429 && head.status != 503) return std::nullopt;
    const auto limit = parse_rate_limit(head.find("ratelimit").value_or(""));
    if (limit && limit->n_left == 0) return limit->reset + std::chrono::seconds{1};
    const auto header = head.find("retry-after");
    return header ? parse_retry_after(*header, now) : std::nullopt;
}

bool is_transient_status(int status)
{
    return status == 408 || status == 425 || status == 429 || status == 500 || status == 502 ||
           status == 503 || status == 504 || (status >= 520 && status <= 524);
}

boost::system::error_code code_of(fault kind)
{
    switch (kind) {
    case fault::repo_not_found:
    case fault::revision_not_found:
    case fault::entry_not_found:
        return hub_errc::not_found;
    case fault::gated:
    case fault::disabled:
    case fault::bad_token:
    case fault::forbidden:
    case fault::refused:
        return hub_errc::denied;
    case fault::too_large:
    case fault::mismatch:
        return hub_errc::corrupt;
    case fault::disk:
        return hub_errc::io_failed;
    case fault::closed:
        return errc::closed;
    default:
        break;
    }
    return hub_errc::unavailable;
}

bool is_transient(fault kind)
{
    return kind == fault::rate_limited || kind == fault::server || kind == fault::network ||
           kind == fault::stalled;
}

bool may_use_cache(fault kind)
{
    switch (kind) {
    case fault::revision_not_found:
    case fault::entry_not_found:
    case fault::proxy:
    case fault::disk:
    case fault::closed:
        return false;
    default:
        break;
    }
    return true;
}

std::string error_text(const response_head& head, std::string_view body)
{
    std::string text;
    append_sentence(text, shown(head.find("x-error-message").value_or("")));
    if (body.empty() || is_html(head, body)) return text;
    try {
        const support::json_file parsed{body, "error", hub_errc::unavailable};
        if (parsed.root().is_object()) {
            for (const char* name : {"error", "errors", "error_description", "message"}) {
                const auto field = parsed.root().find(name);
                if (field != parsed.root().end()) append_json(text, *field);
            }
        }
    } catch (const error&) {
        append_sentence(text, shown(trim(body)));
    }
    return text;
}

hub_fault classify(const response_head& head, std::string_view body, const std::string& what)
{
    const std::string text = error_text(head, body);
    const fault kind = kind_of(head, text);
    std::string sentence =
        what + ": " + std::string{words(kind)} + " (status " + std::to_string(head.status);
    for (const char* name : {"x-request-id", "x-amzn-trace-id", "x-amz-cf-id"}) {
        if (const auto id = head.find(name)) {
            sentence += ", request " + shown(*id, 80);
            break;
        }
    }
    sentence += ")";
    if (!text.empty()) sentence += ": " + text;
    hub_fault problem{kind, std::move(sentence)};
    problem.wait = server_wait(head, std::chrono::system_clock::now());
    return problem;
}

}  // namespace modelpool::fetching
