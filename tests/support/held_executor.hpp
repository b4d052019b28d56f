#pragma once

#include <modelpool/async/awaitable.hpp>
#include <modelpool/capability/model.hpp>

#include <boost/asio/execution/blocking.hpp>
#include <boost/asio/execution/context.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/query.hpp>

#include <memory>
#include <thread>
#include <utility>

#include "fakes.hpp"

namespace modelpool::testing {

/// An executor over another one: threads that hand it work stand before a door first, but for the
/// thread that made it, which runs the loop.
class held_executor {
public:
    held_executor(executor inner, std::shared_ptr<door> before)
        : inner_{std::move(inner)}
        , before_{std::move(before)}
    {}

    boost::asio::execution_context& query(boost::asio::execution::context_t) const
    {
        return boost::asio::query(inner_, boost::asio::execution::context);
    }
    held_executor require(boost::asio::execution::blocking_t::never_t) const { return *this; }

    template <class F>
    void execute(F work) const
    {
        if (std::this_thread::get_id() != loop_) before_->blocking_pass(stop_flag{});
        boost::asio::post(inner_, std::move(work));
    }

    friend bool operator==(const held_executor& a, const held_executor& b) noexcept
    {
        return a.inner_ == b.inner_ && a.before_ == b.before_;
    }
    friend bool operator!=(const held_executor& a, const held_executor& b) noexcept
    {
        return !(a == b);
    }

private:
    executor inner_;
    std::shared_ptr<door> before_;
    std::thread::id loop_{std::this_thread::get_id()};
};

}  // namespace modelpool::testing
