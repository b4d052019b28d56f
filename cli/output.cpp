#include "output.hpp"

#include <cerrno>
#include <cstddef>
#include <system_error>

#include "text_format.hpp"

#include <poll.h>
#include <unistd.h>

namespace modelpool::cli {
namespace {

// 0, or the errno of the failure.
int blocking_write_to(int fd, std::string_view bytes)
{
    while (!bytes.empty()) {
        const ssize_t n_written = ::write(fd, bytes.data(), bytes.size());
        if (n_written >= 0) {
            bytes.remove_prefix(static_cast<std::size_t>(n_written));
        } else if (errno == EAGAIN) {
            pollfd writable{fd, POLLOUT, 0};
            ::poll(&writable, 1, -1);
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

}  // namespace

void output::blocking_write(std::string_view bytes)
{
    begun_ = begun_ || !bytes.empty();
    const int problem = blocking_write_to(STDOUT_FILENO, bytes);
    if (problem == EPIPE) throw output_closed{};
    if (problem != 0)
        throw std::system_error{problem, std::generic_category(), "writing standard output"};
}

void output::write(std::string_view lines)
{
    if (signals_.requested()) throw interrupted{};
    document{*this}.write(lines);
    if (signals_.requested()) throw interrupted{};
}

bool output::is_terminal() const noexcept
{
    return ::isatty(STDOUT_FILENO) == 1;
}

void write_error_text(std::string_view text)
{
    // There is nobody left to tell where even this fails.
    static_cast<void>(blocking_write_to(STDERR_FILENO, text));
}

void write_error_line(std::string_view line)
{
    write_error_text(std::string{line} + '\n');
}

void report(const std::string& what, const failure& problem, bool json, bool output_begun)
{
    write_error_line("modelpool: " + what + ": " + problem.message);
    if (!json || output_begun) return;
    std::string document = R"({"error":{"code":)";
    append_json(document, problem.code);
    document += R"(,"message":)";
    append_json(document, problem.message);
    document += "}}\n";
    static_cast<void>(blocking_write_to(STDOUT_FILENO, document));
}

}  // namespace modelpool::cli
