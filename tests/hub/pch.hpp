#pragma once

// What most units of the hub's tests include, parsed once.

#include <modelpool/hub/hub.hpp>

#include <catch2/catch.hpp>

#include "fake_hub.hpp"
#include "support/failure.hpp"
