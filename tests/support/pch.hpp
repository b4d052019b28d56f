#pragma once

// What most units of the core's tests include, parsed once.

#include <modelpool/modelpool.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>

#include <catch2/catch.hpp>
