// The headers and refusals of a hub. Any bytes give values that are safe to use as a path, or a
// typed error.

#include <modelpool/error.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "hub/http_rules.hpp"
#include "hub/path_rules.hpp"
#include "hub/url.hpp"

namespace {

using namespace modelpool;
using namespace modelpool::fetching;

response_head head_of(std::string_view text)
{
    response_head head;
    head.status = text.empty() ? 200 : 200 + static_cast<unsigned char>(text[0]);
    std::size_t begin = 0;
    while (begin < text.size()) {
        const std::size_t end = std::min(text.find('\n', begin), text.size());
        head.add(text.substr(begin, end - begin));
        begin = end + 1;
    }
    return head;
}

void check_facts(const response_head& head)
{
    try {
        const file_facts facts = read_facts(head);
        if (!facts.etag.empty() && !is_blob_name(facts.etag)) std::abort();
        if (!facts.commit.empty() && !is_commit(facts.commit)) std::abort();
    } catch (const error& problem) {
        if (problem.code() != hub_errc::corrupt) std::abort();
    }
}

// What gets the token has the hub's own origin, whatever was written to look like it.
void check_origin(const std::string& location)
{
    const std::string endpoint = "https://hub.example";
    const std::string next = join_url(endpoint + "/org/model", location);
    if (next.empty() || !is_hub_origin(endpoint, next)) return;
    if (!next.starts_with(endpoint + "/") && next != endpoint &&
        !next.starts_with(endpoint + "?") && origin_of(next) != origin_of(endpoint))
        std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    const std::string_view input{reinterpret_cast<const char*>(data), size};
    const response_head head = head_of(input);
    check_facts(head);
    server_wait(head, {});
    check_origin(std::string{input});
    check_origin(head.find("location").value_or(""));
    link_target(head.find_all("link"), "next");
    if (const auto range = parse_content_range(input); range && !range->unsatisfied)
        if (range->begin >= range->end) std::abort();
    parse_length(input);
    parse_rate_limit(input);
    if (const auto wait = parse_retry_after(input, {}); wait && wait->count() < 0) std::abort();
    response_head refused = head;
    refused.status = 400 + head.status % 200;
    const hub_fault problem = classify(refused, input, "a file");
    if (std::string_view{problem.what()}.find('\n') != std::string_view::npos) std::abort();
    return 0;
}
