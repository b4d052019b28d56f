#pragma once

#include <modelpool/async/awaitable.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <exception>
#include <utility>

namespace modelpool::cli {

/// Runs one operation on a loop of its own. A signal ends the whole program meanwhile.
/// Errors: what the operation throws.
template <class T>
T blocking_await(awaitable<T> operation)
{
    boost::asio::io_context io{1};
    std::exception_ptr problem;
    T result{};
    auto finish = [&](std::exception_ptr failure, T value) {
        problem = std::move(failure);
        result = std::move(value);
    };
    boost::asio::co_spawn(io, std::move(operation), finish);
    io.run();
    if (problem) std::rethrow_exception(problem);
    return result;
}

}  // namespace modelpool::cli
