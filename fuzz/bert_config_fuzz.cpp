#include <modelpool/error.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "models/bert_config.hpp"
#include "support/json.hpp"

// A config.json of any bytes gives a configuration or a typed error.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    const std::string_view bytes{reinterpret_cast<const char*>(data), size};
    try {
        const modelpool::support::json_file file{
            bytes, "config.json", modelpool::model_errc::bad_config};
        const auto config = modelpool::models::bert_config::read(file);
        if (config.hidden_size % config.num_attention_heads != 0) __builtin_trap();
        if (config.replica_bytes(1, sizeof(float)) == 0) __builtin_trap();
    } catch (const modelpool::error&) {
        return 0;
    }
    return 0;
}
