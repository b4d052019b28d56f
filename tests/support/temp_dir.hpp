#pragma once

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

namespace modelpool::testing {

/// A fresh folder that is removed, with all it holds, at the end of its scope.
class temp_dir {
public:
    temp_dir()
    {
        std::string pattern =
            (std::filesystem::temp_directory_path() / "modelpool-XXXXXX").string();
        if (::mkdtemp(pattern.data()) == nullptr)
            throw std::system_error{errno, std::generic_category(), "mkdtemp " + pattern};
        path_ = pattern;
    }
    ~temp_dir()
    {
        std::error_code ignored;  // a folder left behind fails no test
        std::filesystem::remove_all(path_, ignored);
    }
    temp_dir(const temp_dir&) = delete;
    temp_dir& operator=(const temp_dir&) = delete;
    temp_dir(temp_dir&&) = delete;
    temp_dir& operator=(temp_dir&&) = delete;

    const std::filesystem::path& path() const noexcept { return path_; }
    std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

    /// Writes a file below the folder, with the folders on the way, and gives its path.
    std::filesystem::path write(std::string_view name, std::string_view bytes) const
    {
        std::filesystem::path path = path_ / name;
        std::filesystem::create_directories(path.parent_path());
        std::ofstream out{path, std::ios::binary | std::ios::trunc};
        out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
        out.close();
        if (!out) throw std::runtime_error{"cannot write " + path.string()};
        return path;
    }

    /// Makes a folder below the folder, with those on the way, and gives its path.
    std::filesystem::path make_dir(std::string_view name) const
    {
        std::filesystem::path path = path_ / name;
        std::filesystem::create_directories(path);
        return path;
    }

private:
    std::filesystem::path path_;
};

}  // namespace modelpool::testing
