// The documents of a hub and of a cache: listings, indexes of shards, journals. Any bytes give
// names that stay below their folder, or a typed error.

#include <modelpool/error.hpp>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "hub/api_json.hpp"
#include "hub/journal.hpp"
#include "hub/path_rules.hpp"
#include "hub/shards.hpp"

namespace {

using namespace modelpool;
using namespace modelpool::fetching;

template <class F>
void attempt(F action)
{
    try {
        action();
    } catch (const error& problem) {
        if (problem.code() != hub_errc::corrupt) std::abort();
    }
}

void check_tree(const tree& all)
{
    for (const auto& [path, one] : all) {
        if (!file_fault(path).empty()) std::abort();
        if (!one.blob().empty() && !is_blob_name(one.blob()) && is_keepable(all)) std::abort();
    }
    if (is_keepable(all) && read_tree_cache(write_tree_cache(all)) != all) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    const std::string_view input{reinterpret_cast<const char*>(data), size};
    attempt([&] {
        tree all;
        read_tree_page(input, all);
        check_tree(all);
    });
    attempt([&] {
        for (const std::string& path : index_files("a/b.index.json", input))
            if (!file_fault(path).empty()) std::abort();
    });
    attempt([&] {
        if (!is_commit(read_commit(input))) std::abort();
    });
    if (const auto all = read_tree_cache(input)) check_tree(*all);
    if (const auto found = read_journal(input)) {
        for (const byte_range& range : found->done)
            if (range.begin >= range.end || range.end > found->size) std::abort();
        if (!read_journal(write_journal(*found))) std::abort();
    }
    return 0;
}
