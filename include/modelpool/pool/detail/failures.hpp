#pragma once

#include <modelpool/error.hpp>
#include <modelpool/runtime/clock.hpp>

#include <boost/asio/error.hpp>

#include <algorithm>
#include <chrono>
#include <exception>
#include <string>

namespace modelpool::detail {

/// A limit longer than this stands for none; it cannot overflow a time.
constexpr std::chrono::nanoseconds longest_limit = std::chrono::hours{24 * 36'500};

inline clock::time_point later(clock::time_point when, std::chrono::nanoseconds by)
{
    if (by >= longest_limit) return clock::time_point::max();
    return when + std::max(by, std::chrono::nanoseconds{0});
}

inline bool is_code(const std::exception_ptr& why, boost::system::error_code wanted)
{
    try {
        std::rethrow_exception(why);
    } catch (const boost::system::system_error& problem) {
        return problem.code() == wanted;
    } catch (...) {
        return false;
    }
}

inline std::string text_of(const std::exception_ptr& why)
{
    try {
        std::rethrow_exception(why);
    } catch (const std::exception& problem) {
        return problem.what();
    } catch (...) {
        return "an exception of unknown type";
    }
}

/// Whether a failure speaks against the model, rather than against a request or the state of the
/// machine.
inline bool blames_model(const std::exception_ptr& why)
{
    try {
        std::rethrow_exception(why);
    } catch (const boost::system::system_error& problem) {
        const boost::system::error_code code = problem.code();
        return code.category() != text_category() && code != errc::invalid_argument &&
               code != errc::unsupported && code != model_errc::context_overflow &&
               code != model_errc::device_lost && code != pool_errc::memory_exhausted &&
               code != pool_errc::shut_down && code != pool_errc::deadline_missed &&
               code != pool_errc::worker_lost && code != boost::asio::error::operation_aborted;
    } catch (...) {
        return true;
    }
}

}  // namespace modelpool::detail
