#include <modelpool/error.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "models/clip_config.hpp"
#include "models/jina_bert_config.hpp"
#include "models/new_config.hpp"
#include "models/nv_embed_config.hpp"
#include "models/qwen2_config.hpp"
#include "models/sentence_transformers.hpp"
#include "support/json.hpp"

#include <unistd.h>

// The first byte says which file of a checkpoint the rest is. Any bytes give a configuration or a
// typed error.

namespace {

namespace fs = std::filesystem;
using namespace modelpool;

constexpr std::string_view modules =
    R"([{"path":"","type":"sentence_transformers.models.Transformer"},)"
    R"({"path":"1_Pooling","type":"sentence_transformers.models.Pooling"}])";

/// Where sentence-transformers' files are read from; in memory, where the system has such a place.
const fs::path& folder()
{
    static const fs::path made = [] {
        const fs::path base = fs::exists("/dev/shm") ? "/dev/shm" : fs::temp_directory_path();
        fs::path dir = base / ("modelpool_fuzz_" + std::to_string(::getpid()));
        fs::create_directories(dir / "1_Pooling");
        return dir;
    }();
    return made;
}

void write(const char* name, std::string_view bytes)
{
    std::ofstream out{folder() / name, std::ios::binary | std::ios::trunc};
    out << bytes;
}

void read_modules(const char* name, std::string_view bytes)
{
    write("modules.json", modules);
    write("1_Pooling/config.json", "{}");
    write("sentence_bert_config.json", "{}");
    write("config_sentence_transformers.json", "{}");
    write(name, bytes);
    const models::sentence_modules found = models::blocking_read_sentence_modules(folder());
    if (found.pooling.modes.empty()) __builtin_trap();
}

void read(int which, std::string_view bytes)
{
    if (which >= 5) {
        constexpr const char* names[] = {
            "modules.json",
            "1_Pooling/config.json",
            "sentence_bert_config.json",
            "config_sentence_transformers.json"};
        return read_modules(names[which - 5], bytes);
    }
    const support::json_file file{bytes, "config.json", model_errc::bad_config};
    switch (which) {
    case 0:
        models::jina_bert_config::read(file);
        break;
    case 1:
        models::new_config::read(file);
        break;
    case 2:
        models::nv_embed_config::read(file);
        break;
    case 3:
        models::read_qwen2_encoder_config(file);
        break;
    default:
        models::clip_config::read(file);
        break;
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    if (size == 0) return 0;
    const std::string_view bytes{reinterpret_cast<const char*>(data + 1), size - 1};
    try {
        read(data[0] % 9, bytes);
    } catch (const modelpool::error&) {
        return 0;
    }
    return 0;
}
