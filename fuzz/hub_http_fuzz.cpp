// What a hub sends besides files: headers, listings, indexes, journals. Any bytes give a value that
// is safe to use as a path, or a typed error.

#include <modelpool/error.hpp>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "hub/api_json.hpp"
#include "hub/http_rules.hpp"
#include "hub/journal.hpp"
#include "hub/path_rules.hpp"
#include "hub/shards.hpp"
#include "hub/url.hpp"

namespace {

using namespace modelpool;
using namespace modelpool::fetching;

void parse_headers(std::string_view text)
{
    response_head head;
    head.status = text.empty() ? 200 : 200 + static_cast<unsigned char>(text[0]);
    std::size_t begin = 0;
    while (begin < text.size()) {
        const std::size_t end = std::min(text.find('\n', begin), text.size());
        head.add(text.substr(begin, end - begin));
        begin = end + 1;
    }
    const file_facts facts = read_facts(head);
    if (!facts.etag.empty() && facts.etag.find('/') != std::string::npos) std::abort();
    if (!facts.commit.empty() && !is_commit(facts.commit)) std::abort();
    link_target(head.find_all("link"), "next");
    join_url("https://huggingface.co/a", head.find("location").value_or(""));
}

template <class F>
void attempt(F action)
{
    try {
        action();
    } catch (const error& problem) {
        if (problem.code() != hub_errc::corrupt) std::abort();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    const std::string_view input{reinterpret_cast<const char*>(data), size};
    attempt([&] { parse_headers(input); });
    attempt([&] {
        tree all;
        read_tree_page(input, all);
        for (const auto& [path, one] : all)
            if (!file_fault(path).empty()) std::abort();
    });
    attempt([&] {
        for (const std::string& path : index_files("a/b.index.json", input))
            if (!file_fault(path).empty()) std::abort();
    });
    attempt([&] { read_commit(input); });
    read_tree_cache(input);
    if (const auto found = read_journal(input))
        for (const byte_range& range : found->done)
            if (range.begin >= range.end || range.end > found->size) std::abort();
    parse_content_range(input);
    parse_rate_limit(input);
    parse_retry_after(input, {});
    response_head refused;
    refused.status = 400;
    error_text(refused, input);
    return 0;
}
