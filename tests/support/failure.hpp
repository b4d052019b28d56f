#pragma once

#include <modelpool/error.hpp>

#include <boost/system/error_code.hpp>

#include <catch2/catch.hpp>

#include <string>

namespace modelpool::testing {

/// Runs `action`, which must throw a modelpool::error of that code, and gives its text.
template <class F>
std::string failure(boost::system::error_code code, F action)
{
    try {
        action();
    } catch (const error& problem) {
        INFO(problem.what());
        CHECK(problem.code() == code);
        return problem.what();
    }
    FAIL("no error was thrown");
    return {};
}

}  // namespace modelpool::testing
