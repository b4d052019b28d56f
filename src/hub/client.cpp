#include "hub/client.hpp"

#include <algorithm>
#include <random>
#include <set>
#include <span>
#include <utility>

#include "hub/path_rules.hpp"

namespace modelpool::fetching {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t commit_bytes = std::size_t{16} << 20U;
constexpr std::size_t tree_bytes = std::size_t{16} << 20U;
constexpr std::size_t n_most_pages = 5'000;
constexpr int n_most_hops = 10;
constexpr int n_hasty_tries = 2;
constexpr milliseconds longest_hasty_wait{3000};

bool is_redirect(int status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

double roll()
{
    thread_local std::minstd_rand generator{std::random_device{}()};
    return std::uniform_real_distribution<double>{0.0, 1.0}(generator);
}

std::string host_of(const std::string& url)
{
    try {
        return origin_of(url);
    } catch (const error&) {
        return "an address of another form";
    }
}

// What earlier hops said stays; later ones fill in.
void merge(file_facts& known, const file_facts& more)
{
    if (known.commit.empty()) known.commit = more.commit;
    if (known.etag.empty()) {
        known.etag = more.etag;
        known.weak = more.weak;
    }
    if (!known.size) known.size = more.size;
}

}  // namespace

client::client(const hub_options& options, engine& http)
    : options_{options}
    , http_{http}
    , urls_{options.endpoint()}
{}

void client::log(log_level level, const std::string& line) const
{
    if (options_.log()) options_.log()(level, line);
}

retry_plan client::fresh_plan(patience how) const
{
    retry_plan::limits most;
    most.n_tries = options_.n_tries();
    most.shortest = options_.shortest_delay();
    most.longest = options_.longest_delay();
    most.longest_server_wait = options_.longest_server_wait();
    if (how == patience::little) {
        most.n_tries = std::min(most.n_tries, n_hasty_tries);
        most.longest_server_wait = std::min(most.longest_server_wait, longest_hasty_wait);
    }
    return retry_plan{most, &roll};
}

// The hub counts requests to its API apart from those for files.
std::string client::bucket_of(const std::string& url)
{
    return host_of(url) + (url.find("/api/") != std::string::npos ? " api" : " files");
}

void client::blocking_pass_gate(const std::string& url, const std::stop_token& stop)
{
    const std::string bucket = bucket_of(url);
    for (;;) {
        milliseconds left{0};
        {
            const std::lock_guard lock{mutex_};
            const auto gate = gates_.find(bucket);
            if (gate == gates_.end()) return;
            left = std::chrono::ceil<milliseconds>(gate->second - std::chrono::steady_clock::now());
            if (left.count() <= 0) {
                gates_.erase(gate);
                return;
            }
        }
        blocking_sleep(left, stop);
    }
}

void client::close_gate(const std::string& url, milliseconds time)
{
    const std::string bucket = bucket_of(url);
    const auto until = std::chrono::steady_clock::now() + time;
    const std::lock_guard lock{mutex_};
    auto& gate = gates_[bucket];
    gate = std::max(gate, until);
}

template <class F>
auto client::blocking_retry(
    const std::string& url, patience how, const std::stop_token& stop, F action)
{
    retry_plan plan = fresh_plan(how);
    for (;;) {
        blocking_pass_gate(url, stop);
        try {
            return action(plan.n_failures());
        } catch (const hub_fault& problem) {
            const milliseconds pause = plan.after(problem);
            log(log_level::debug,
                std::string{problem.what()} + "; trying again in " + std::to_string(pause.count()) +
                    " ms");
            if (problem.wait)
                close_gate(url, pause);
            else
                blocking_sleep(pause, stop);
        }
    }
}

std::vector<std::string> client::headers_for(const std::string& url, bool with_token) const
{
    std::vector<std::string> headers;
    if (with_token && !options_.token().empty() && is_hub_origin(options_.endpoint(), url))
        headers.push_back("Authorization: Bearer " + options_.token());
    return headers;
}

http_request
client::request_for(const std::string& url, const std::string& what, bool with_token) const
{
    http_request request;
    request.url = url;
    request.what = what;
    request.headers = headers_for(url, with_token);
    request.connect_timeout = options_.download_timeout();
    request.first_byte = options_.metadata_timeout();
    request.total = options_.metadata_timeout() * 3;
    return request;
}

http_answer client::blocking_api(
    const std::string& first_url,
    const std::string& what,
    std::size_t max_bytes,
    patience how,
    const std::stop_token& stop)
{
    bool with_token = true;
    return blocking_retry(first_url, how, stop, [&](int n_failures) {
        std::string url = first_url;
        for (int n_hops = 0; n_hops <= n_most_hops; ++n_hops) {
            http_request request = request_for(url, what, with_token);
            request.fresh = n_failures >= 2;
            http_answer got = blocking_perform(http_, std::move(request), max_bytes, stop);
            if (is_redirect(got.head.status)) {
                const std::string next = join_url(url, got.head.find("location").value_or(""));
                if (next.empty() || !is_hub_origin(options_.endpoint(), next) ||
                    is_downgrade(url, next))
                    throw hub_fault{
                        fault::not_a_hub,
                        what + ": redirected to another server, " + host_of(next)};
                url = next;
                continue;
            }
            if (got.head.status == 200 && got.cut)
                throw hub_fault{
                    fault::too_large,
                    what + ": an answer of more than " + std::to_string(max_bytes) + " bytes"};
            if (got.head.status == 200) return got;
            const hub_fault refusal = classify(got.head, got.body, what);
            // A token that is no longer valid hides what anybody may have.
            if (refusal.kind() == fault::bad_token && with_token) {
                log(log_level::warning, std::string{refusal.what()} + "; trying without it");
                with_token = false;
                continue;
            }
            throw refusal;
        }
        throw hub_fault{fault::not_a_hub, what + ": more than ten redirects"};
    });
}

std::string client::blocking_commit(
    repository_kind kind,
    const std::string& id,
    const std::string& revision,
    patience how,
    const std::stop_token& stop)
{
    const std::string what = id + "@" + revision;
    const http_answer got =
        blocking_api(urls_.revision(kind, id, revision), what, commit_bytes, how, stop);
    try {
        return read_commit(got.body);
    } catch (const error& problem) {
        throw hub_fault{fault::not_a_hub, what + ": " + problem.what()};
    }
}

tree client::blocking_tree(
    repository_kind kind,
    const std::string& id,
    const std::string& commit,
    const std::stop_token& stop)
{
    const std::string what = "the files of " + id + "@" + commit;
    tree all;
    std::string url = urls_.tree(kind, id, commit);
    const std::string origin = origin_of(url);
    std::set<std::string> seen;
    while (!url.empty()) {
        if (!seen.insert(url).second || seen.size() > n_most_pages)
            throw hub_fault{fault::not_a_hub, what + ": the pages of the listing have no end"};
        const http_answer got = blocking_api(url, what, tree_bytes, patience::full, stop);
        try {
            read_tree_page(got.body, all);
        } catch (const error& problem) {
            throw hub_fault{fault::mismatch, what + ": " + problem.what()};
        }
        const std::string next = link_target(got.head.find_all("link"), "next");
        if (next.empty()) break;
        url = join_url(url, next);
        // The token goes along: another server must not get it.
        if (url.empty() || origin_of(url) != origin)
            throw hub_fault{
                fault::mismatch, what + ": the next page lies on another server, " + host_of(url)};
    }
    return all;
}

opened_file client::blocking_open(
    const file_address& file, bool fresh, const std::stop_token& stop, const std::string& known_tag)
{
    const std::string url = urls_.file(file.kind, file.id, file.revision, file.path);
    return blocking_retry(url, patience::full, stop, [&](int n_failures) {
        return blocking_try_open(file, {fresh || n_failures >= 2, false, known_tag}, stop);
    });
}

opened_file client::blocking_try_open(
    const file_address& file, const open_request& how, const std::stop_token& stop)
{
    const std::string what = file.str();
    opened_file result;
    hop here;
    here.url = urls_.file(file.kind, file.id, file.revision, file.path);
    for (int n_hops = 0; n_hops <= n_most_hops; ++n_hops) {
        http_request request = request_for(here.url, what, here.with_token);
        request.fresh = how.fresh;
        request.decode = how.decode;
        const bool is_hub = is_hub_origin(options_.endpoint(), here.url);
        // What stands before the files has tags of its own.
        const bool may_be_unchanged = is_hub && !how.known_tag.empty();
        if (may_be_unchanged) request.headers.push_back("If-None-Match: \"" + how.known_tag + "\"");
        here.answer = blocking_perform(http_, std::move(request), small_bytes, stop);
        const response_head& head = here.answer.head;
        if (head.status == 304 && may_be_unchanged) {
            merge(result.facts, read_facts(head));
            if (!result.facts.etag.empty() && result.facts.etag != how.known_tag)
                throw hub_fault{
                    fault::not_a_hub, what + ": unchanged, says the hub, and has another tag"};
            result.facts.etag = how.known_tag;
            result.unchanged = true;
            return result;
        }
        const bool ends_well = head.status == 200 || is_redirect(head.status);
        if (!ends_well) {
            const hub_fault refusal = classify(head, here.answer.body, what);
            if (refusal.kind() == fault::bad_token && here.with_token && is_hub) {
                log(log_level::warning, std::string{refusal.what()} + "; trying without it");
                here.with_token = false;
                continue;
            }
            // What stands before the files refuses only for a while: its addresses expire.
            if (!is_hub && refusal.kind() != fault::rate_limited)
                throw hub_fault{fault::server, refusal.what()};
            throw refusal;
        }
        if (is_hub && has_facts(head) && !result.known) {
            result.facts = read_facts(head);
            result.known = true;
        }
        if (head.status == 200) {
            if (!is_hub && result.known) {
                if (!result.facts.size) result.facts.size = read_facts(head).size;
            } else if (is_hub) {
                merge(result.facts, read_facts(head));
            }
            if (head.find("content-encoding").value_or("identity") != "identity" && !how.decode)
                return blocking_try_open(file, {how.fresh, true, how.known_tag}, stop);
            result.with_token = here.with_token;
            take_body(file, here, result);
            return result;
        }
        const std::string next = join_url(here.url, head.find("location").value_or(""));
        if (next.empty() || next == here.url)
            throw hub_fault{fault::not_a_hub, what + ": a redirect to nowhere"};
        if (is_downgrade(here.url, next))
            throw hub_fault{
                fault::refused, what + ": a redirect from https to http, which is refused"};
        here.url = next;
        const bool is_large = result.facts.size && *result.facts.size > small_bytes;
        if (is_large && !is_hub_origin(options_.endpoint(), next)) {
            result.url = next;
            return result;
        }
    }
    throw hub_fault{fault::not_a_hub, what + ": more than ten redirects"};
}

void client::take_body(const file_address& file, hop& last, opened_file& result) const
{
    if (!result.known) {
        const std::string missing = "the answer of " + host_of(last.url) +
                                    " has no X-Repo-Commit header, so it is not that of a hub";
        throw hub_fault{fault::not_a_hub, file.str() + ": " + missing};
    }
    result.url = last.url;
    if (last.answer.cut) return;
    // A proxy's login page comes in place of a file.
    const auto type = last.answer.head.find("content-type").value_or("");
    if (!is_hub_origin(options_.endpoint(), last.url) && type.starts_with("text/html") &&
        result.facts.size && *result.facts.size != last.answer.body.size())
        throw hub_fault{fault::not_a_hub, file.str() + ": the answer is a web page"};
    result.body = std::move(last.answer.body);
}

std::vector<std::byte> client::blocking_get(
    const std::string& first_url, const url_limits& limits, const std::stop_token& stop)
{
    std::string url = first_url;
    origin_of(url);
    const auto deadline = std::chrono::steady_clock::now() + limits.timeout();
    for (int n_hops = 0; n_hops <= limits.max_redirects(); ++n_hops) {
        const auto left =
            std::chrono::duration_cast<milliseconds>(deadline - std::chrono::steady_clock::now());
        if (left.count() <= 0) throw error{errc::timed_out, shown(first_url) + ": out of time"};
        http_request request;
        request.url = url;
        request.what = shown(url);
        request.total = left;
        request.connect_timeout = left;
        request.public_only = !limits.allow_private();
        http_answer got;
        try {
            got = blocking_perform(http_, std::move(request), limits.max_bytes(), stop);
        } catch (const hub_fault& problem) {
            if (problem.kind() == fault::stalled) throw error{errc::timed_out, problem.what()};
            throw;
        }
        if (is_redirect(got.head.status)) {
            const std::string next = join_url(url, got.head.find("location").value_or(""));
            if (next.empty())
                throw hub_fault{fault::bad_request, shown(url) + ": a redirect to nowhere"};
            if (is_downgrade(url, next))
                throw hub_fault{
                    fault::refused,
                    shown(url) + ": a redirect from https to http, which is refused"};
            url = next;
            continue;
        }
        const std::string status = shown(url) + ": status " + std::to_string(got.head.status);
        if (got.head.status == 404 || got.head.status == 410)
            throw hub_fault{fault::entry_not_found, status};
        if (got.head.status == 401 || got.head.status == 403)
            throw hub_fault{fault::forbidden, status};
        if (got.head.status != 200) throw hub_fault{fault::server, status};
        if (got.cut)
            throw hub_fault{
                fault::too_large,
                shown(url) + ": more than " + std::to_string(limits.max_bytes()) + " bytes"};
        const auto bytes = std::as_bytes(std::span{got.body});
        return {bytes.begin(), bytes.end()};
    }
    throw hub_fault{
        fault::bad_request,
        shown(first_url) + ": more than " + std::to_string(limits.max_redirects()) + " redirects"};
}

}  // namespace modelpool::fetching
