#include <modelpool/error.hpp>
#include <modelpool/text/chat_template.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>

// Any bytes as a template: either they render a conversation within the limits, or a typed error.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    using namespace modelpool::text;
    const std::string_view source{reinterpret_cast<const char*>(data), size};
    const chat_json conversation{
        R"([{"role":"user","content":"a é"},{"role":"assistant","content":[{"type":"text","text":"b"}]}])",
        R"([{"function":{"name":"f","parameters":{"type":"object","properties":{"x":{"type":"integer"}}}}}])",
        {}};
    const auto limits = template_limits{}.max_steps(20'000).max_value_bytes(std::size_t{4} << 20U);
    try {
        const auto subject = chat_template::from_source(source, {{"bos_token", "<s>"}}, "fuzz");
        static_cast<void>(subject.with_limits(limits).render(conversation));
    } catch (const modelpool::error&) {
        return 0;
    }
    return 0;
}
