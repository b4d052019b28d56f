#include <modelpool/error.hpp>
#include <modelpool/text/chat_template.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>

// Any bytes as a template, and what comes after the first NUL as the messages: either they render
// within the limits, or a typed error.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    using namespace modelpool::text;
    std::string_view source{reinterpret_cast<const char*>(data), size};
    chat_json conversation{
        R"([{"role":"user","content":"a é"},{"role":"assistant","content":[{"type":"text","text":"b"}]}])",
        R"([{"function":{"name":"f","parameters":{"type":"object","properties":{"x":{"type":"integer"}}}}}])",
        {}};
    if (const std::size_t nul = source.find('\0'); nul != std::string_view::npos) {
        conversation.messages = source.substr(nul + 1);
        source = source.substr(0, nul);
    }
    const auto limits = template_limits{}.max_steps(20'000).max_value_bytes(std::size_t{4} << 20U);
    try {
        const auto subject = chat_template::from_source(source, {{"bos_token", "<s>"}}, "fuzz");
        static_cast<void>(subject.with_limits(limits).render(conversation));
    } catch (const modelpool::error&) {
        return 0;
    }
    return 0;
}
