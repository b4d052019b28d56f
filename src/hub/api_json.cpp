#include "hub/api_json.hpp"

#include <modelpool/error.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>

#include "hub/path_rules.hpp"
#include "support/json.hpp"

namespace modelpool::fetching {
namespace {

using nlohmann::json;
constexpr std::uint64_t largest_size = std::uint64_t{1} << 53U;
constexpr int tree_version = 1;
constexpr std::size_t n_most_files = 2'000'000;

std::optional<std::uint64_t> size_field(const json& object, const char* name)
{
    const auto field = object.find(name);
    if (field == object.end() || !field->is_number_unsigned()) return std::nullopt;
    const auto value = field->get<std::uint64_t>();
    return value <= largest_size ? std::optional{value} : std::nullopt;
}

std::string text_field(const json& object, const char* name)
{
    const auto field = object.find(name);
    return field != object.end() && field->is_string() ? field->get<std::string>() : "";
}

void read_entry(const support::json_file& file, const json& entry, tree& all)
{
    if (!entry.is_object()) file.fail("an entry is no object");
    if (text_field(entry, "type") != "file") return;
    const std::string path = text_field(entry, "path");
    const std::string fault = file_fault(path);
    if (!fault.empty()) file.fail("names the file \"" + shown(path) + "\", which " + fault);
    const auto size = size_field(entry, "size");
    if (!size) file.fail("the file \"" + shown(path) + "\" has no size");
    tree_file one;
    one.size = *size;
    one.oid = text_field(entry, "oid");
    one.xet_hash = text_field(entry, "xetHash");
    const auto lfs = entry.find("lfs");
    if (lfs != entry.end() && lfs->is_object()) {
        one.sha256 = text_field(*lfs, "oid");
        one.lfs_size = size_field(*lfs, "size").value_or(one.size);
    }
    // Hidden or foreign hashes name nothing: such a file is asked for by its headers.
    if (!is_sha256(one.sha256)) one.sha256.clear();
    if (!is_commit(one.oid)) one.oid.clear();
    if (lfs != entry.end() && one.sha256.empty()) one.oid.clear();
    if (all.size() >= n_most_files) file.fail("more than two million files");
    all.insert_or_assign(path, std::move(one));
}

bool is_hidden(const tree_file& one)
{
    return one.blob().empty() || (!one.xet_hash.empty() && !is_sha256(one.xet_hash));
}

}  // namespace

void read_tree_page(std::string_view text, tree& all)
{
    const support::json_file file{text, "the hub's listing", hub_errc::corrupt};
    if (!file.root().is_array()) file.fail("expected an array");
    for (const json& entry : file.root())
        read_entry(file, entry, all);
}

bool is_keepable(const tree& all)
{
    return std::none_of(
        all.begin(), all.end(), [](const auto& entry) { return is_hidden(entry.second); });
}

std::string write_tree_cache(const tree& all)
{
    json files = json::object();
    for (const auto& [path, one] : all) {
        json entry{{"blob_id", one.oid}, {"size", one.size}};
        if (!one.sha256.empty()) {
            entry["lfs_sha256"] = one.sha256;
            entry["lfs_size"] = one.lfs_size;
        }
        if (!one.xet_hash.empty()) entry["xet_hash"] = one.xet_hash;
        files[path] = std::move(entry);
    }
    const json text{{"files", std::move(files)}, {"format_version", tree_version}};
    return text.dump(1, ' ', false, json::error_handler_t::replace);
}

std::optional<tree> read_tree_cache(std::string_view text)
{
    try {
        const support::json_file file{text, "listing", hub_errc::corrupt};
        if (!file.root().is_object() || file.need_int("format_version", 0, 1 << 30) != tree_version)
            return std::nullopt;
        const auto files = file.root().find("files");
        if (files == file.root().end() || !files->is_object()) return std::nullopt;
        tree all;
        for (const auto& entry : files->items()) {
            if (!file_fault(entry.key()).empty() || !entry.value().is_object()) return std::nullopt;
            tree_file one;
            const auto size = size_field(entry.value(), "size");
            if (!size) return std::nullopt;
            one.size = *size;
            one.oid = text_field(entry.value(), "blob_id");
            one.sha256 = text_field(entry.value(), "lfs_sha256");
            one.lfs_size = size_field(entry.value(), "lfs_size").value_or(one.size);
            if (one.sha256.empty()) one.lfs_size = 0;
            one.xet_hash = text_field(entry.value(), "xet_hash");
            if (!one.oid.empty() && !is_commit(one.oid)) return std::nullopt;
            if (!one.sha256.empty() && !is_sha256(one.sha256)) return std::nullopt;
            if (is_hidden(one)) return std::nullopt;
            all.emplace(entry.key(), std::move(one));
        }
        return all;
    } catch (const error&) {
        return std::nullopt;
    }
}

std::string read_commit(std::string_view text)
{
    const support::json_file file{text, "the hub's answer about a revision", hub_errc::corrupt};
    if (!file.root().is_object()) file.fail("expected an object");
    std::string commit = file.need_string("sha");
    if (!is_commit(commit)) file.fail("\"sha\" is \"" + shown(commit) + "\", which is no commit");
    return commit;
}

}  // namespace modelpool::fetching
