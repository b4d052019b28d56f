#include "hub/partial_file.hpp"

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "hub/http_rules.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

namespace modelpool::fetching {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t largest_journal = std::size_t{8} << 20U;
constexpr std::uint64_t block_bytes = std::uint64_t{1} << 20U;

// Room is taken before the download, so that a full disk is known before the first byte.
void blocking_reserve(int fd, std::uint64_t size, const fs::path& path)
{
    if (size == 0) return;
    if (::fallocate(fd, 0, 0, static_cast<off_t>(size)) == 0) return;
    const int problem = errno;
    if (problem == ENOSPC || problem == EDQUOT || problem == EFBIG) {
        struct statvfs disk {};
        std::uint64_t free_bytes = 0;
        if (::fstatvfs(fd, &disk) == 0)
            free_bytes = static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize;
        throw hub_fault{
            fault::disk,
            path.string() + ": no room for " + std::to_string(size) + " bytes, " +
                std::to_string(free_bytes) + " are free"};
    }
    if (::ftruncate(fd, static_cast<off_t>(size)) != 0)
        fail_on_disk(path, "cannot be made as long as the file", errno);
}

void blocking_copy_range(int from, int to, byte_range range, const fs::path& path)
{
    std::vector<char> block(block_bytes);
    while (range.begin < range.end) {
        const auto wanted =
            static_cast<std::size_t>(std::min(block_bytes, range.end - range.begin));
        const auto offset = static_cast<off_t>(range.begin);
        const ssize_t n = ::pread(from, block.data(), wanted, offset);
        if (n <= 0 || ::pwrite(to, block.data(), static_cast<std::size_t>(n), offset) != n)
            fail_on_disk(path, "cannot be copied", n == 0 ? EIO : errno);
        range.begin += static_cast<std::uint64_t>(n);
    }
}

}  // namespace

partial_file::partial_file(const repo_layout& layout, std::string blob, std::uint64_t size)
    : layout_{layout}
    , blob_{std::move(blob)}
    , size_{size}
    , nonce_{fresh_nonce()}
    , path_{layout_.partial(blob_, nonce_)}
    , self_{writer_id::blocking_self()}
{}

partial_file
partial_file::blocking_open(const repo_layout& layout, const std::string& blob, std::uint64_t size)
{
    partial_file result{layout, blob, size};
    blocking_make_dirs(layout.blobs());
    std::vector<std::string> nonces;
    std::error_code problem;
    for (fs::directory_iterator place{layout.blobs(), problem};
         size != 0 && !problem && place != fs::directory_iterator{};
         place.increment(problem)) {
        const std::string name = place->path().filename().string();
        const std::string_view nonce = journal_nonce(name, blob);
        if (!nonce.empty()) nonces.emplace_back(nonce);
    }
    for (const std::string& nonce : nonces)
        if (result.blocking_adopt(nonce)) return result;
    result.blocking_create();
    return result;
}

bool partial_file::blocking_adopt(const std::string& nonce)
{
    const fs::path old_path = layout_.partial(blob_, nonce);
    const fs::path old_journal = layout_.journal(blob_, nonce);
    const auto text = blocking_read_small(old_journal, largest_journal);
    const auto found = text ? read_journal(*text) : std::nullopt;
    if (!found) return false;
    auto file =
        std::make_shared<file_handle>(::open(old_path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (file->fd() < 0) {
        // Somebody removed the bytes and left their journal.
        if (errno == ENOENT) ::unlink(old_journal.c_str());
        return false;
    }
    if (::flock(file->fd(), LOCK_EX | LOCK_NB) != 0) return false;
    // Its writer may have given it its name, or to a third, while it was opened here.
    struct stat here {};
    struct stat named {};
    if (::fstat(file->fd(), &here) != 0 || ::stat(old_path.c_str(), &named) != 0 ||
        here.st_ino != named.st_ino)
        return false;
    // In this very process the lock alone tells: a writer at work holds it.
    const writer_state writer =
        found->writer == self_ ? writer_state::dead : blocking_state_of(found->writer);
    const adoption verdict =
        decide_adoption(*found, blob_, size_, writer, std::chrono::system_clock::now());
    if (verdict == adoption::leave) return false;
    std::vector<byte_range> done;
    for (byte_range range : found->done) {
        range.end = std::min(range.end, static_cast<std::uint64_t>(here.st_size));
        if (range.begin < range.end) done.push_back(range);
    }
    if (verdict == adoption::copy) {
        blocking_create();
        blocking_copy(file->fd(), done);
    } else {
        if (static_cast<std::uint64_t>(here.st_size) > size_ &&
            ::ftruncate(file->fd(), static_cast<off_t>(size_)) != 0)
            return false;
        if (::rename(old_path.c_str(), path_.c_str()) != 0) return false;
        file_ = std::move(file);
        blocking_reserve(file_->fd(), size_, path_);
    }
    done_ = std::move(done);
    blocking_save(done_);
    if (verdict == adoption::take_over) {
        ::unlink(old_journal.c_str());
        ::unlink((old_journal.string() + ".tmp").c_str());
    }
    return true;
}

void partial_file::blocking_copy(int from, const std::vector<byte_range>& ranges) const
{
    for (const byte_range& range : ranges)
        blocking_copy_range(from, file_->fd(), range, path_);
}

void partial_file::blocking_create()
{
    // The journal comes first: bytes without one would lie there for ever, were this process
    // killed.
    blocking_save({});
    file_ = std::make_shared<file_handle>(
        ::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (file_->fd() < 0) fail_on_disk(path_, "cannot be made", errno);
    // Held as long as this process lives: others see that somebody writes here.
    if (::flock(file_->fd(), LOCK_EX | LOCK_NB) != 0) errno = 0;
    try {
        blocking_reserve(file_->fd(), size_, path_);
    } catch (...) {
        blocking_remove();
        throw;
    }
}

void partial_file::blocking_save(const std::vector<byte_range>& done) const
{
    if (size_ == 0) return;
    journal one;
    one.etag = blob_;
    one.size = size_;
    one.done = done;
    one.writer = self_;
    one.heartbeat = std::chrono::system_clock::now();
    const fs::path place = layout_.journal(blob_, nonce_);
    blocking_write_file(place, write_journal(one), place.string() + ".tmp");
}

void partial_file::blocking_publish(bool sync)
{
    if (sync && ::fdatasync(file_->fd()) != 0) fail_on_disk(path_, "cannot be synced", errno);
    const fs::path blob = layout_.blob(blob_);
    struct stat here {};
    if (::fstat(file_->fd(), &here) == 0 && here.st_nlink == 0) {
        // Another program cleaned up meanwhile: the bytes are still here, without a name.
        const std::shared_ptr<file_handle> nameless = file_;
        ::unlink(layout_.journal(blob_, nonce_).c_str());
        nonce_ = fresh_nonce();
        path_ = layout_.partial(blob_, nonce_);
        blocking_make_dirs(layout_.blobs());
        blocking_create();
        blocking_copy(nameless->fd(), {{0, static_cast<std::uint64_t>(here.st_size)}});
    }
    if (::rename(path_.c_str(), blob.c_str()) != 0)
        fail_on_disk(blob, "cannot be given its name", errno);
    ::unlink(layout_.journal(blob_, nonce_).c_str());
}

void partial_file::blocking_remove() const
{
    ::unlink(path_.c_str());
    ::unlink(layout_.journal(blob_, nonce_).c_str());
}

}  // namespace modelpool::fetching
