#include <modelpool/impl/src.hpp>
