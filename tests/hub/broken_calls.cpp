#include "hub/broken_calls.hpp"

#include <atomic>
#include <cerrno>
#include <cstdlib>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace modelpool::testing {
namespace {

int from_environment()
{
    const char* const text = std::getenv("MODELPOOL_TEST_BROKEN");
    return text == nullptr ? static_cast<int>(broken_calls::none) : std::atoi(text);
}

std::atomic<int>& fault()
{
    static std::atomic<int> how{from_environment()};
    return how;
}

bool is(broken_calls how)
{
    return fault() == static_cast<int>(how);
}

}  // namespace

void break_calls(broken_calls how)
{
    fault() = static_cast<int>(how);
}

}  // namespace modelpool::testing

extern "C" int flock(int fd, int operation) noexcept
{
    using modelpool::testing::broken_calls;
    using modelpool::testing::is;
    if (is(broken_calls::lock_for_all)) return 0;
    if (is(broken_calls::no_locks)) {
        errno = ENOSYS;
        return -1;
    }
    if (is(broken_calls::locks_for_writable) && (::fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY) {
        errno = EBADF;
        return -1;
    }
    return static_cast<int>(::syscall(SYS_flock, fd, operation));
}

extern "C" int symlink(const char* from, const char* to) noexcept
{
    if (modelpool::testing::is(modelpool::testing::broken_calls::no_links)) {
        errno = EPERM;
        return -1;
    }
    return static_cast<int>(::syscall(SYS_symlinkat, from, AT_FDCWD, to));
}
