#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace modelpool::weights {

/// A file of a checkpoint, mapped read-only.
///
/// The file must not shrink or be rewritten in place while it is mapped: reading a page that the
/// file no longer has ends the process with SIGBUS. Replacing it by renaming another file over it
/// leaves the mapping whole.
class mapped_file {
public:
    /// Errors: model_errc::bad_file where the file cannot be opened or mapped, is empty, or is not
    /// a regular file.
    static mapped_file blocking_open(const std::filesystem::path& path);

    mapped_file() = default;
    ~mapped_file();
    mapped_file(mapped_file&& from) noexcept;
    mapped_file& operator=(mapped_file&& from) noexcept;
    mapped_file(const mapped_file&) = delete;
    mapped_file& operator=(const mapped_file&) = delete;

    std::span<const std::byte> bytes() const noexcept { return bytes_; }
    /// Lets the system drop the pages of the whole mapping; they are read again when touched.
    void drop_pages() const noexcept { drop_pages(bytes_); }
    /// The same of the pages that lie wholly inside `part`; bytes of no such mapping are left alone.
    void drop_pages(std::span<const std::byte> part) const noexcept;

private:
    std::span<const std::byte> bytes_;
};

}  // namespace modelpool::weights
