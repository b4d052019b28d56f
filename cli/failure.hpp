#pragma once

#include <exception>
#include <stdexcept>
#include <string>

namespace modelpool::cli {

/// Bad usage, or bad input that the program itself finds.
class usage_error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// The user asked to stop.
class interrupted : public std::exception {
public:
    const char* what() const noexcept override { return "interrupted"; }
};

/// The reader of standard output is gone: an end without a message.
class output_closed : public std::exception {
public:
    const char* what() const noexcept override { return "standard output was closed"; }
};

/// Exit statuses, as the documentation promises them.
enum class status { done = 0, failed = 1, bad_input = 2, interrupted = 130 };

/// What a failure is to the user.
struct failure {
    status ends_with{status::failed};
    std::string code;     ///< stable, for scripts: "model.missing_tensor"
    std::string message;  ///< one line
};

failure describe(const std::exception_ptr& problem);

}  // namespace modelpool::cli
