#include "archive.hpp"

#include <modelpool/error.hpp>

#include <memory>
#include <string>

#include "failure.hpp"

#include <archive.h>
#include <archive_entry.h>

namespace modelpool::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t block_bytes = std::size_t{1} << 18U;

struct reader_end {
    void operator()(archive* one) const { archive_read_free(one); }
};
struct writer_end {
    void operator()(archive* one) const { archive_write_free(one); }
};

std::string why(archive* one)
{
    const char* const text = archive_error_string(one);
    return text == nullptr ? "unknown reason" : text;
}

[[noreturn]] void fail_to_read(archive* from, const fs::path& path)
{
    throw usage_error{path.string() + ": cannot be read as an archive: " + why(from)};
}

[[noreturn]] void fail_to_write(archive* to, const fs::path& path)
{
    throw error{hub_errc::io_failed, path.string() + ": cannot be unpacked: " + why(to)};
}

void copy_data(archive* from, archive* to, const fs::path& path)
{
    for (;;) {
        const void* bytes = nullptr;
        std::size_t n_bytes = 0;
        la_int64_t offset = 0;
        const int read = archive_read_data_block(from, &bytes, &n_bytes, &offset);
        if (read == ARCHIVE_EOF) return;
        if (read < ARCHIVE_WARN) fail_to_read(from, path);
        if (archive_write_data_block(to, bytes, n_bytes, offset) < ARCHIVE_WARN)
            fail_to_write(to, path);
    }
}

// The file system is asked through libarchive's own guards too; names are checked first, so that a
// harmful archive is refused and not partly taken.
void check_name(const fs::path& name, const fs::path& path)
{
    bool leaves = name.empty() || name.is_absolute();
    for (const fs::path& part : name)
        leaves = leaves || part == "..";
    if (leaves)
        throw usage_error{
            path.string() + ": holds the name '" + name.string() + "', which leads out"};
}

}  // namespace

void blocking_unpack(const fs::path& path, const fs::path& into)
{
    const std::unique_ptr<archive, reader_end> from{archive_read_new()};
    const std::unique_ptr<archive, writer_end> to{archive_write_disk_new()};
    if (!from || !to) throw std::bad_alloc{};
    archive_read_support_filter_all(from.get());
    archive_read_support_format_all(from.get());
    archive_write_disk_set_options(
        to.get(), ARCHIVE_EXTRACT_SECURE_NODOTDOT | ARCHIVE_EXTRACT_SECURE_SYMLINKS);
    if (archive_read_open_filename(from.get(), path.c_str(), block_bytes) != ARCHIVE_OK)
        fail_to_read(from.get(), path);
    for (;;) {
        archive_entry* entry = nullptr;
        const int read = archive_read_next_header(from.get(), &entry);
        if (read == ARCHIVE_EOF) return;
        if (read < ARCHIVE_WARN) fail_to_read(from.get(), path);
        const char* const text = archive_entry_pathname(entry);
        const fs::path name{text == nullptr ? "" : text};
        check_name(name, path);
        const bool is_file =
            archive_entry_filetype(entry) == AE_IFREG && archive_entry_hardlink(entry) == nullptr;
        if (!is_file) continue;
        archive_entry_copy_pathname(entry, (into / name).c_str());
        archive_entry_set_perm(entry, 0644);
        if (archive_write_header(to.get(), entry) < ARCHIVE_WARN) fail_to_write(to.get(), path);
        copy_data(from.get(), to.get(), path);
        if (archive_write_finish_entry(to.get()) < ARCHIVE_WARN) fail_to_write(to.get(), path);
    }
}

}  // namespace modelpool::cli
