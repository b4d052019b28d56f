#include "hub/cache_layout.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "hub/path_rules.hpp"
#include "hub/url.hpp"

namespace modelpool::fetching {

repo_layout::repo_layout(
    const std::filesystem::path& cache, repository_kind kind, std::string_view id)
    : repo_layout{cache, folder_of(kind, id)}
{}

repo_layout::repo_layout(const std::filesystem::path& cache, std::string folder)
    : cache_{cache}
    , folder_{std::move(folder)}
    , dir_{cache_ / folder_}
{}

std::string repo_layout::link_text(std::string_view path, std::string_view blob_name)
{
    std::string text = "../../";
    for (const char c : path)
        if (c == '/') text += "../";
    return text + "blobs/" + std::string{blob_name};
}

std::string folder_of(repository_kind kind, std::string_view id)
{
    std::string folder{plural(kind)};
    folder += "--";
    for (const char c : id) {
        if (c == '/')
            folder += "--";
        else
            folder += c;
    }
    return folder;
}

std::optional<repo_name> repo_of(std::string_view folder)
{
    static constexpr std::array kinds{
        repository_kind::model, repository_kind::dataset, repository_kind::space};
    for (const repository_kind kind : kinds) {
        const std::string prefix = std::string{plural(kind)} + "--";
        if (!folder.starts_with(prefix)) continue;
        std::string id{folder.substr(prefix.size())};
        const std::size_t dashes = id.find("--");
        if (dashes != std::string::npos) id.replace(dashes, 2, "/");
        if (id_fault(id).empty()) return repo_name{kind, std::move(id)};
    }
    return std::nullopt;
}

std::string_view journal_nonce(std::string_view file_name, std::string_view blob_name)
{
    static constexpr std::string_view end = ".state.incomplete";
    constexpr std::size_t n_nonce = 8;
    if (file_name.size() != blob_name.size() + 1 + n_nonce + end.size()) return {};
    if (!file_name.starts_with(blob_name) || !file_name.ends_with(end)) return {};
    if (file_name[blob_name.size()] != '.') return {};
    const std::string_view nonce = file_name.substr(blob_name.size() + 1, n_nonce);
    const bool is_hex = std::all_of(nonce.begin(), nonce.end(), [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
    });
    return is_hex ? nonce : std::string_view{};
}

}  // namespace modelpool::fetching
