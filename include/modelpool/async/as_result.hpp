#pragma once

#include <modelpool/async/awaitable.hpp>
#include <modelpool/error.hpp>

#include <boost/system/result.hpp>

#include <type_traits>
#include <utility>

namespace modelpool {

template <class T>
using result = boost::system::result<T>;

/// Awaits `operation` and gives its value or its error code, for callers that prefer to look rather
/// than to catch. The sentence of a `modelpool::error` is dropped; exceptions that carry no error
/// code (a user's own, std::bad_alloc) pass through.
/// Runs, cancellation, lifetime: those of `operation`.
template <class T>
awaitable<result<T>> as_result(awaitable<T> operation)
{
    boost::system::error_code code;
    try {
        if constexpr (std::is_void_v<T>) {
            co_await std::move(operation);
            co_return result<void>{};
        } else {
            co_return result<T>{co_await std::move(operation)};
        }
    } catch (const boost::system::system_error& problem) {
        code = problem.code();
    }
    co_return result<T>{code};
}

}  // namespace modelpool
