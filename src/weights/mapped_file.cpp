#include "weights/mapped_file.hpp"

#include <modelpool/error.hpp>

#include <cerrno>
#include <functional>
#include <string>
#include <system_error>
#include <utility>

#include "support/printable.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace modelpool::weights {
namespace {

class file_descriptor {
public:
    explicit file_descriptor(int number) noexcept
        : number_{number}
    {}
    ~file_descriptor()
    {
        if (number_ >= 0) ::close(number_);
    }
    file_descriptor(const file_descriptor&) = delete;
    file_descriptor& operator=(const file_descriptor&) = delete;
    file_descriptor(file_descriptor&&) = delete;
    file_descriptor& operator=(file_descriptor&&) = delete;

    int get() const noexcept { return number_; }

private:
    int number_;
};

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& sentence)
{
    throw error{model_errc::bad_file, support::printable(path.native(), 4096) + ": " + sentence};
}

// The system's own words for errno.
std::string reason()
{
    return std::generic_category().message(errno);
}

}  // namespace

mapped_file mapped_file::blocking_open(const std::filesystem::path& path)
{
    // Without O_NONBLOCK, opening a FIFO would wait for a writer.
    const file_descriptor fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    if (fd.get() < 0) fail(path, "cannot be opened: " + reason());
    struct ::stat facts {};
    if (::fstat(fd.get(), &facts) != 0) fail(path, "its size cannot be read: " + reason());
    if (!S_ISREG(facts.st_mode)) fail(path, "not a regular file");
    if (facts.st_size == 0) fail(path, "the file is empty: fetch it again");

    const auto n_bytes = static_cast<std::size_t>(facts.st_size);
    void* const start = ::mmap(nullptr, n_bytes, PROT_READ, MAP_PRIVATE, fd.get(), 0);
    if (start == MAP_FAILED) fail(path, "cannot be mapped: " + reason());
    mapped_file made;
    made.bytes_ = {static_cast<const std::byte*>(start), n_bytes};
    return made;
}

mapped_file::mapped_file(mapped_file&& from) noexcept
    : bytes_{std::exchange(from.bytes_, {})}
{}

mapped_file& mapped_file::operator=(mapped_file&& from) noexcept
{
    std::swap(bytes_, from.bytes_);
    return *this;
}

mapped_file::~mapped_file()
{
    if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void mapped_file::drop_pages(std::span<const std::byte> part) const noexcept
{
    const std::less_equal<const std::byte*> not_after;
    if (part.empty() || !not_after(bytes_.data(), part.data()) ||
        !not_after(part.data() + part.size(), bytes_.data() + bytes_.size()))
        return;
    const long page = ::sysconf(_SC_PAGESIZE);
    if (page <= 0) return;
    const auto page_bytes = static_cast<std::size_t>(page);
    // The mapping itself begins on a page.
    const auto offset = static_cast<std::size_t>(part.data() - bytes_.data());
    const std::size_t begin = (offset + page_bytes - 1) / page_bytes * page_bytes;
    const bool to_the_end = offset + part.size() == bytes_.size();
    const std::size_t end =
        to_the_end ? bytes_.size() : (offset + part.size()) / page_bytes * page_bytes;
    // Only advice: where the system refuses it, the pages stay and nothing else changes.
    if (begin < end)
        ::madvise(const_cast<std::byte*>(bytes_.data()) + begin, end - begin, MADV_DONTNEED);
}

}  // namespace modelpool::weights
