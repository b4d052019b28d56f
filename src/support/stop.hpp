#pragma once

#include <modelpool/capability/model.hpp>
#include <modelpool/error.hpp>

#include <boost/system/error_code.hpp>

#include <cerrno>
#include <string>

namespace modelpool::support {

/// The code of a cancelled operation: boost::asio::error::operation_aborted, spelled without Asio,
/// which the compiled parts do not know.
inline boost::system::error_code operation_aborted() noexcept
{
    return {ECANCELED, boost::system::system_category()};
}

/// Throws operation_aborted where `stop` asks; `what` says what was being done.
inline void end_if_stopped(const stop_flag& stop, const std::string& what)
{
    if (stop.stop_requested()) throw error{operation_aborted(), what + ": stopped on request"};
}

}  // namespace modelpool::support
