#include "models/decoder_families.hpp"

#include <array>
#include <utility>

namespace modelpool::models {

decoder_family find_decoder_family(std::string_view architecture) noexcept
{
    constexpr std::array<std::pair<std::string_view, decoder_family>, 6> families{
        {{"llama", llama_decoder},
         {"qwen2", qwen2_decoder},
         {"qwen3", qwen3_decoder},
         {"qwen3moe", qwen3moe_decoder},
         {"phi3", phi3_decoder},
         {"deepseek2", deepseek2_decoder}}};
    for (const auto& [name, family] : families)
        if (name == architecture) return family;
    return nullptr;
}

std::string_view decoder_architecture(std::string_view model_type) noexcept
{
    constexpr std::array<std::pair<std::string_view, std::string_view>, 10> names{
        {{"llama", "llama"},
         {"mistral", "llama"},
         {"mixtral", "llama"},
         {"qwen2", "qwen2"},
         {"qwen3", "qwen3"},
         {"qwen3_moe", "qwen3moe"},
         {"phi3", "phi3"},
         {"deepseek_v2", "deepseek2"},
         {"deepseek_v3", "deepseek2"},
         {"kimi_k2", "deepseek2"}}};
    for (const auto& [type, architecture] : names)
        if (type == model_type) return architecture;
    return {};
}

std::string_view decoder_model_types() noexcept
{
    return "llama, mistral, mixtral, qwen2, qwen3, qwen3_moe, phi3, deepseek_v2, deepseek_v3, "
           "kimi_k2";
}

std::string_view decoder_architectures() noexcept
{
    return "llama, qwen2, qwen3, qwen3moe, phi3, deepseek2";
}

}  // namespace modelpool::models
