#include "whole_file.hpp"

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "failure.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace modelpool::cli {
namespace {

namespace fs = std::filesystem;

// A file beside the one that is meant, which goes unless it was given that one's name.
class new_file {
public:
    explicit new_file(const fs::path& target)
        : target_{target}
        , name_{target.string() + ".XXXXXX"}
    {
        fd_ = ::mkstemp(name_.data());
        if (fd_ < 0) fail();
    }
    ~new_file()
    {
        if (fd_ >= 0) ::close(fd_);
        if (!kept_) ::unlink(name_.c_str());
    }
    new_file(const new_file&) = delete;
    new_file& operator=(const new_file&) = delete;
    new_file(new_file&&) = delete;
    new_file& operator=(new_file&&) = delete;

    void write(std::span<const std::byte> bytes)
    {
        while (!bytes.empty()) {
            const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
            if (n < 0 && errno != EINTR) fail();
            if (n > 0) bytes = bytes.subspan(static_cast<std::size_t>(n));
        }
    }

    void keep()
    {
        // mkstemp lets nobody else read what it makes.
        const mode_t hidden = ::umask(0);
        ::umask(hidden);
        if (::fchmod(fd_, 0666 & ~hidden) != 0) fail();
        if (::close(std::exchange(fd_, -1)) != 0) fail();
        if (::rename(name_.c_str(), target_.c_str()) != 0) fail();
        kept_ = true;
    }

private:
    [[noreturn]] void fail() const
    {
        throw std::system_error{errno, std::generic_category(), "writing " + target_.string()};
    }

    fs::path target_;
    std::string name_;
    int fd_{-1};
    bool kept_{false};
};

}  // namespace

void blocking_check_writable(const fs::path& path, const char* option)
{
    const auto refuse = [&](const std::string& why) {
        throw usage_error{std::string{option} + ": " + path.string() + " " + why};
    };
    std::error_code ignored;
    if (!path.has_filename() || fs::is_directory(path, ignored)) refuse("is a folder");
    const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path{"."};
    if (!fs::is_directory(folder, ignored)) refuse("cannot be written: its folder does not exist");
    if (::access(folder.c_str(), W_OK | X_OK) != 0)
        refuse("cannot be written: its folder takes no new files");
}

void blocking_write_whole(const fs::path& path, std::span<const std::byte> bytes)
{
    new_file made{path};
    made.write(bytes);
    made.keep();
}

}  // namespace modelpool::cli
