#pragma once

#include <modelpool/hub/fetch_options.hpp>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace modelpool::fetching {

/// Where things of one repository lie in the cache. Its arguments passed the rules of path_rules.
class repo_layout {
public:
    repo_layout(const std::filesystem::path& cache, repository_kind kind, std::string_view id);
    /// With a folder name that is there already, maybe in another casing.
    repo_layout(const std::filesystem::path& cache, std::string folder);

    const std::filesystem::path& cache() const noexcept { return cache_; }
    const std::string& folder() const noexcept { return folder_; }
    const std::filesystem::path& dir() const noexcept { return dir_; }
    std::filesystem::path blobs() const { return dir_ / "blobs"; }
    std::filesystem::path blob(std::string_view name) const { return blobs() / name; }
    std::filesystem::path ref(std::string_view revision) const { return dir_ / "refs" / revision; }
    std::filesystem::path snapshot(std::string_view commit) const
    {
        return dir_ / "snapshots" / commit;
    }
    std::filesystem::path no_exist(std::string_view commit, std::string_view path) const
    {
        return dir_ / ".no_exist" / commit / path;
    }
    std::filesystem::path tree(std::string_view commit) const
    {
        return dir_ / "trees" / (std::string{commit} + ".json");
    }
    std::filesystem::path lock(std::string_view blob_name) const
    {
        return cache_ / ".locks" / folder_ / (std::string{blob_name} + ".lock");
    }
    std::filesystem::path partial(std::string_view blob_name, std::string_view nonce) const
    {
        return blobs() / (std::string{blob_name} + "." + std::string{nonce} + ".incomplete");
    }
    std::filesystem::path journal(std::string_view blob_name, std::string_view nonce) const
    {
        return blobs() / (std::string{blob_name} + "." + std::string{nonce} + ".state.incomplete");
    }

    /// What the link at `path` of a snapshot says: a relative way to the blob.
    static std::string link_text(std::string_view path, std::string_view blob_name);

private:
    std::filesystem::path cache_;
    std::string folder_;
    std::filesystem::path dir_;
};

/// The folder of a repository: "models--org--name".
std::string folder_of(repository_kind kind, std::string_view id);

struct repo_name {
    repository_kind kind{repository_kind::model};
    std::string id;
};
/// The repository of a folder; empty where it is none.
std::optional<repo_name> repo_of(std::string_view folder);

/// The nonce of a journal's name, "<blob>.<8 hex>.state.incomplete"; empty for other names.
std::string_view journal_nonce(std::string_view file_name, std::string_view blob_name);

}  // namespace modelpool::fetching
