#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace modelpool {

/// What every public operation returns. It is lazy: nothing runs before it is awaited; it is
/// awaited once; and it runs on the executor, and under the cancellation slot, of the coroutine
/// that awaits it. To get a callback or a future instead, hand it to `boost::asio::co_spawn` with
/// the token of your choice.
template <class T>
using awaitable = boost::asio::awaitable<T>;

using executor = boost::asio::any_io_executor;

}  // namespace modelpool
