#include "weights/safetensors.hpp"

#include <modelpool/error.hpp>

#include <array>
#include <bit>
#include <cerrno>
#include <system_error>

#include "support/printable.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace modelpool::weights {
namespace {

static_assert(
    std::endian::native == std::endian::little,
    "tensors are used in place, and the format is little-endian");

struct element_facts {
    std::string_view name;
    std::size_t n_bytes;
};

// In the order of `element`.
constexpr std::array<element_facts, 15> facts{
    {{"F64", 8},
     {"F32", 4},
     {"F16", 2},
     {"BF16", 2},
     {"F8_E4M3", 1},
     {"F8_E5M2", 1},
     {"I64", 8},
     {"I32", 4},
     {"I16", 2},
     {"I8", 1},
     {"U64", 8},
     {"U32", 4},
     {"U16", 2},
     {"U8", 1},
     {"BOOL", 1}}};

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

// A shard's name comes from a file.
std::string shown(const std::filesystem::path& path)
{
    return support::printable(path.native(), 4096);
}

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& sentence)
{
    throw error{model_errc::bad_file, shown(path) + ": " + sentence};
}

// The system's own words for errno.
std::string reason()
{
    return std::generic_category().message(errno);
}

}  // namespace

std::string_view to_string(element type) noexcept
{
    return facts[static_cast<std::size_t>(type)].name;
}

std::size_t size_of(element type) noexcept
{
    return facts[static_cast<std::size_t>(type)].n_bytes;
}

std::int64_t tensor_view::n_elements() const noexcept
{
    std::int64_t product = 1;
    for (const std::int64_t size : shape)
        product *= size;
    return product;
}

std::string shape_text(std::span<const std::int64_t> shape)
{
    std::string text = "[";
    for (const std::int64_t size : shape) {
        if (text.size() > 1) text += ", ";
        text += std::to_string(size);
    }
    return text + "]";
}

std::shared_ptr<const safetensors_file>
safetensors_file::blocking_open(const std::filesystem::path& path)
{
    // Without O_NONBLOCK, opening a FIFO would wait for a writer.
    const file_descriptor fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    if (fd.get() < 0) fail(path, "cannot be opened: " + reason());
    struct ::stat facts_now {};
    if (::fstat(fd.get(), &facts_now) != 0) fail(path, "its size cannot be read: " + reason());
    if (!S_ISREG(facts_now.st_mode)) fail(path, "not a regular file");
    if (facts_now.st_size == 0) fail(path, "the file is empty: fetch it again");

    const auto n_bytes = static_cast<std::size_t>(facts_now.st_size);
    void* const start = ::mmap(nullptr, n_bytes, PROT_READ, MAP_PRIVATE, fd.get(), 0);
    if (start == MAP_FAILED) fail(path, "cannot be mapped: " + reason());
    std::shared_ptr<safetensors_file> file;
    try {
        file.reset(new safetensors_file);
    } catch (...) {
        ::munmap(start, n_bytes);
        throw;
    }
    file->bytes_ = {
        static_cast<const std::byte*>(start), n_bytes};  // unmapped by the destructor from here on
    file->path_ = path;
    file->tensors_ = parse(file->bytes_, shown(path));
    return file;
}

safetensors_file::~safetensors_file()
{
    if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void safetensors_file::drop_pages() const noexcept
{
    // Only advice: where the system refuses it, the pages stay and nothing else changes.
    if (!bytes_.empty())
        ::madvise(const_cast<std::byte*>(bytes_.data()), bytes_.size(), MADV_DONTNEED);
}

}  // namespace modelpool::weights
