#include "hub/shards.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <set>

#include "hub/path_rules.hpp"
#include "support/json.hpp"

namespace modelpool::fetching {
namespace {

constexpr std::string_view gguf_end = ".gguf";
constexpr int n_most_parts = 99'999;

struct gguf_part {
    std::string stem;
    int n_parts{0};
};

int number(std::string_view digits)
{
    int value = 0;
    const auto [end, problem] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return problem == std::errc{} && end == digits.data() + digits.size() ? value : -1;
}

// "<stem>-00001-of-00003.gguf"
gguf_part parse_part(std::string_view path)
{
    static constexpr std::string_view form = "-00001-of-00003.gguf";
    if (path.size() <= form.size() || !path.ends_with(gguf_end)) return {};
    const std::string_view tail = path.substr(path.size() - form.size());
    if (tail[0] != '-' || tail.substr(6, 4) != "-of-") return {};
    const int index = number(tail.substr(1, 5));
    const int n_parts = number(tail.substr(10, 5));
    if (index < 1 || n_parts < index || n_parts > n_most_parts) return {};
    return {std::string{path.substr(0, path.size() - form.size())}, n_parts};
}

}  // namespace

std::vector<std::string> index_files(const std::string& path, std::string_view json)
{
    const support::json_file file{json, path, hub_errc::corrupt};
    const auto map = file.root().is_object() ? file.root().find("weight_map") : file.root().end();
    if (map == file.root().end() || !map->is_object())
        file.fail("a shard index without the object \"weight_map\"");
    const std::size_t slash = path.rfind('/');
    const std::string folder = slash == std::string::npos ? "" : path.substr(0, slash + 1);
    std::set<std::string> names;
    for (const auto& entry : map->items()) {
        if (!entry.value().is_string()) file.fail("\"weight_map\" names a file that is no string");
        std::string name = folder + entry.value().get<std::string>();
        const std::string fault = file_fault(name);
        if (!fault.empty()) file.fail("names the file \"" + shown(name) + "\", which " + fault);
        names.insert(std::move(name));
    }
    return {names.begin(), names.end()};
}

bool is_shard_index(std::string_view path)
{
    return path.ends_with(".safetensors.index.json") || path.ends_with(".bin.index.json");
}

std::vector<std::string>
with_gguf_parts(std::vector<std::string> selected, const std::vector<std::string>& all)
{
    const std::set<std::string> known{all.begin(), all.end()};
    std::set<std::string> result{selected.begin(), selected.end()};
    std::set<std::string> stems;
    for (const std::string& path : selected) {
        const gguf_part part = parse_part(path);
        if (part.n_parts == 0 || !stems.insert(part.stem).second) continue;
        // A listing of that many files bounds the loop before the name's own claim does.
        for (int i = 1; i <= part.n_parts; ++i) {
            std::string name(part.stem.size() + 32, '\0');
            const int n = std::snprintf(
                name.data(),
                name.size(),
                "%s-%05d-of-%05d.gguf",
                part.stem.c_str(),
                i,
                part.n_parts);
            name.resize(static_cast<std::size_t>(n));
            if (!known.contains(name))
                throw error{
                    hub_errc::not_found,
                    shown(path) + " is one of " + std::to_string(part.n_parts) +
                        " parts, of which " + shown(name) + " is missing"};
            result.insert(std::move(name));
        }
    }
    return {result.begin(), result.end()};
}

}  // namespace modelpool::fetching
