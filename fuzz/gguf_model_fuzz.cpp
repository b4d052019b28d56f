// A whole GGUF file of a decoder: any bytes give a model that computes a step, or a typed error.

#include <modelpool/assert.hpp>
#include <modelpool/error.hpp>
#include <modelpool/models/generator.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

namespace {

using namespace modelpool;

void load(const std::string& path)
{
    try {
        const auto model = models::load_generator(path);
        model->allocate_kv(1, 16, kv_dtype::f32);
        const std::vector<std::uint32_t> blocks{0};
        step_row row;
        row.wants_logits = true;
        row.blocks = blocks;
        std::vector<float> logits(model->info().vocab_size);
        run_context context;
        model->step({&row, 1}, logits, context);
    } catch (const error& problem) {
        const auto& category = problem.code().category();
        MODELPOOL_ASSERT(category == model_category() || category == text_category());
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    const int file = ::memfd_create("fuzz.gguf", MFD_CLOEXEC);
    if (file < 0) return 0;
    if (::write(file, data, size) == static_cast<ssize_t>(size))
        load("/proc/self/fd/" + std::to_string(file));
    ::close(file);
    return 0;
}
