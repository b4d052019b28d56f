#pragma once

namespace modelpool::testing {

/// How this program's own flock() and symlink() misbehave, as they do on some file systems. They
/// stand in for the C library's in every program of the hub's tests.
enum class broken_calls {
    none = 1,
    lock_for_all,        ///< flock() succeeds for everybody
    no_locks,            ///< flock() fails with ENOSYS
    locks_for_writable,  ///< flock() fails with EBADF where the file is open for reading only
    no_links,            ///< symlink() fails with EPERM
};

/// In this process; a child is told by MODELPOOL_TEST_BROKEN, the number of the fault.
void break_calls(broken_calls how);

/// Breaks calls until the end of a scope.
class calls_broken {
public:
    explicit calls_broken(broken_calls how) { break_calls(how); }
    ~calls_broken() { break_calls(broken_calls::none); }
    calls_broken(const calls_broken&) = delete;
    calls_broken& operator=(const calls_broken&) = delete;
    calls_broken(calls_broken&&) = delete;
    calls_broken& operator=(calls_broken&&) = delete;
};

}  // namespace modelpool::testing
