#include <modelpool/assert.hpp>
#include <modelpool/error.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "image/preprocessor.hpp"
#include "support/json.hpp"

// A preprocessor_config.json of any bytes gives finite pixels of the size it promises, or a typed
// error.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    using namespace modelpool;
    const std::string_view bytes{reinterpret_cast<const char*>(data), size};
    try {
        const support::json_file file{bytes, "preprocessor_config.json", model_errc::bad_config};
        const auto steps = images::image_preprocessor::read(file);
        constexpr std::size_t most_side = 512;  // larger ones take the fuzzer's time
        const auto output = steps.output_size();
        if (!output || output->width > most_side || output->height > most_side) return 0;
        const image pixels{5, 3, std::vector<std::uint8_t>(5 * 3 * 3, 77)};
        const std::vector<float> values = steps.prepare(pixels);
        MODELPOOL_ASSERT(values.size() == 3 * output->width * output->height);
        for (const float value : values)
            MODELPOOL_ASSERT(std::isfinite(value));
    } catch (const error& problem) {
        MODELPOOL_ASSERT(
            problem.code() == model_errc::bad_config || problem.code() == model_errc::unsupported);
    }
    return 0;
}
