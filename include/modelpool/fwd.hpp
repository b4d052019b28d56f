#pragma once

// Forward declarations, for headers that only name the library's types.

namespace modelpool {

enum class errc;
enum class pool_errc;
enum class registry_errc;
enum class hub_errc;
enum class model_errc;
enum class text_errc;
enum class condition;
enum class capability;
class error;

class runtime;
class runtime_options;
class fetcher;
class hub;
class memory_governor;
class core_governor;
class reservation;
class clock;

class embed_options;
class embeddings;
class embedder;
class generator;
class image_embedder;
class image_generator;
struct text_embedding;
struct image_embedding;
struct text_to_text;
struct vision;
struct text_to_image;

class load_context;
class pool_options;
class worker_options;
class request_options;
template <class C>
class pool;
template <class C>
class handle;
class registry;
struct card;

}  // namespace modelpool
