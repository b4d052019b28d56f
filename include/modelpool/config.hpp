#pragma once

/// The core is header-only. Where MODELPOOL_SEPARATE_COMPILATION is defined for a whole program, its
/// functions are compiled once instead: in the one unit that includes <modelpool/impl/src.hpp>.
#if defined(MODELPOOL_SEPARATE_COMPILATION)
#define MODELPOOL_DECL
#else
#define MODELPOOL_HEADER_ONLY 1
#define MODELPOOL_DECL inline
#endif
