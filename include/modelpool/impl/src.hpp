#pragma once

// The functions of the core, for the one unit of a program that compiles them.

#if !defined(MODELPOOL_SEPARATE_COMPILATION)
#error "define MODELPOOL_SEPARATE_COMPILATION for the whole program, or leave this file out"
#endif

#if defined(__GNUC__) && !defined(__clang__)
// A lambda in the frame of a coroutine that a header defines: this unit is the only one that has
// it.
#pragma GCC diagnostic ignored "-Wsubobject-linkage"
#endif

#include <modelpool/async/impl/gate.hpp>
#include <modelpool/async/impl/shared_mutex.hpp>
#include <modelpool/capability/impl/image_embedding.hpp>
#include <modelpool/capability/impl/text_embedding.hpp>
#include <modelpool/impl/error.hpp>
#include <modelpool/modelpool.hpp>
#include <modelpool/pool/detail/impl/engines.hpp>
#include <modelpool/pool/detail/impl/group.hpp>
#include <modelpool/pool/detail/impl/image_inputs.hpp>
#include <modelpool/pool/detail/impl/load_session.hpp>
#include <modelpool/pool/detail/impl/pool_core.hpp>
#include <modelpool/pool/impl/handles.hpp>
#include <modelpool/pool/impl/streams.hpp>
#include <modelpool/registry/impl/registry.hpp>
#include <modelpool/runtime/impl/events.hpp>
#include <modelpool/runtime/impl/memory_governor.hpp>
#include <modelpool/runtime/impl/runtime.hpp>
