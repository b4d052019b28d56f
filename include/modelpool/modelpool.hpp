#pragma once

// Everything light: pools, registry, runtime, fetcher interface, timeouts. No libtorch, no curl, no
// ICU, no JSON.

#include <modelpool/async/as_result.hpp>
#include <modelpool/async/awaitable.hpp>
#include <modelpool/async/gate.hpp>
#include <modelpool/async/mutex.hpp>
#include <modelpool/async/offload.hpp>
#include <modelpool/async/queue.hpp>
#include <modelpool/async/shared_mutex.hpp>
#include <modelpool/async/single_flight.hpp>
#include <modelpool/async/thread_pool.hpp>
#include <modelpool/async/with_timeout.hpp>
#include <modelpool/capability/generation.hpp>
#include <modelpool/capability/image_embedding.hpp>
#include <modelpool/capability/text_embedding.hpp>
#include <modelpool/capability/text_to_image.hpp>
#include <modelpool/capability/text_to_text.hpp>
#include <modelpool/capability/vision.hpp>
#include <modelpool/device.hpp>
#include <modelpool/error.hpp>
#include <modelpool/fwd.hpp>
#include <modelpool/hub/fetcher.hpp>
#include <modelpool/hub/snapshot.hpp>
#include <modelpool/log.hpp>
#include <modelpool/pool/handle.hpp>
#include <modelpool/pool/health.hpp>
#include <modelpool/pool/image_stream.hpp>
#include <modelpool/pool/load_context.hpp>
#include <modelpool/pool/options.hpp>
#include <modelpool/pool/pool.hpp>
#include <modelpool/pool/prometheus.hpp>
#include <modelpool/pool/stats.hpp>
#include <modelpool/pool/token_stream.hpp>
#include <modelpool/pool/worker_state.hpp>
#include <modelpool/registry/card.hpp>
#include <modelpool/registry/registry.hpp>
#include <modelpool/runtime.hpp>
#include <modelpool/runtime/events.hpp>
