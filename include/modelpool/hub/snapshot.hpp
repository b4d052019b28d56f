#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace modelpool {

/// A repository of models and the revision wanted of it: "org/name" or "org/name@revision".
class repository {
public:
    repository() = default;
    // A name is a repository, so these convert.
    // NOLINTBEGIN(google-explicit-constructor)
    repository(std::string_view text)
        : id_{text.substr(0, text.find('@'))}
    {
        const std::size_t at = text.find('@');
        if (at != std::string_view::npos && at + 1 < text.size()) revision_ = text.substr(at + 1);
    }
    repository(const char* text)
        : repository{std::string_view{text}}
    {}
    repository(const std::string& text)
        : repository{std::string_view{text}}
    {}
    // NOLINTEND(google-explicit-constructor)

    const std::string& id() const noexcept { return id_; }
    /// A branch, a tag, a commit or "refs/pr/N"; "main" where none was given.
    const std::string& revision() const noexcept { return revision_; }
    std::string str() const { return id_ + "@" + revision_; }

private:
    std::string id_;
    std::string revision_{"main"};
};

/// Which files of a repository are wanted. Patterns are globs over the path inside the repository, where
/// `*` crosses folders. Nothing included means everything.
class file_selection {
public:
    file_selection& include(std::string pattern)
    {
        include_.push_back(std::move(pattern));
        return *this;
    }
    file_selection& exclude(std::string pattern)
    {
        exclude_.push_back(std::move(pattern));
        return *this;
    }
    const std::vector<std::string>& included() const noexcept { return include_; }
    const std::vector<std::string>& excluded() const noexcept { return exclude_; }

    /// Whether `path` is selected.
    bool matches(std::string_view path) const
    {
        for (const std::string& pattern : exclude_)
            if (glob_match(pattern, path)) return false;
        for (const std::string& pattern : include_)
            if (glob_match(pattern, path)) return true;
        return include_.empty();
    }

    /// Whether `text` matches `pattern`, in which `*` stands for any run of characters and `?` for one.
    static bool glob_match(std::string_view pattern, std::string_view text)
    {
        std::size_t p = 0;
        std::size_t t = 0;
        std::size_t star = std::string_view::npos;
        std::size_t resume = 0;
        while (t < text.size()) {
            if (p < pattern.size() && pattern[p] == '*') {
                star = p++;
                resume = t;
            } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
                ++p;
                ++t;
            } else if (star != std::string_view::npos) {
                p = star + 1;
                t = ++resume;
            } else {
                return false;
            }
        }
        while (p < pattern.size() && pattern[p] == '*')
            ++p;
        return p == pattern.size();
    }

private:
    std::vector<std::string> include_;
    std::vector<std::string> exclude_;
};

/// Files of one commit of a repository, on this machine. A value.
class snapshot {
public:
    snapshot() = default;
    snapshot(
        std::string repo,
        std::string commit,
        std::filesystem::path dir,
        std::vector<std::string> files)
        : repo_{std::move(repo)}
        , commit_{std::move(commit)}
        , dir_{std::move(dir)}
        , files_{std::move(files)}
    {}

    const std::string& repo() const noexcept { return repo_; }
    /// The commit's full hash; empty where the source has no commits (a plain directory).
    const std::string& commit() const noexcept { return commit_; }
    /// The folder the files lie in, under their paths inside the repository.
    const std::filesystem::path& dir() const noexcept { return dir_; }
    /// Paths inside the repository, sorted.
    const std::vector<std::string>& files() const noexcept { return files_; }

private:
    std::string repo_;
    std::string commit_;
    std::filesystem::path dir_;
    std::vector<std::string> files_;
};

}  // namespace modelpool
