#include "text/chat_template_defaults.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace modelpool::text {
namespace {

// Content may be a list of parts; an image becomes the mark that the family's vision models look
// for.
constexpr std::string_view common =
    R"({%- macro said(content) -%}
{%- if content is string -%}{{ content }}
{%- elif content -%}
{%- for part in content -%}
{{ part['text'] if part['type'] == 'text' else '<image>\n' }}
{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
)";

constexpr std::string_view chatml =
    R"({%- for message in messages -%}
{{ '<|im_start|>' + message['role'] + '\n' + said(message['content']) + '<|im_end|>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}
)";

constexpr std::string_view llama_2 =
    R"({%- set ns = namespace(system='') -%}
{%- for message in messages -%}
{%- if message['role'] == 'system' -%}
{%- set ns.system = '<<SYS>>\n' + said(message['content']) + '\n<</SYS>>\n\n' -%}
{%- elif message['role'] == 'assistant' -%}
{{ ' ' + said(message['content'])|trim + ' ' + (eos_token or '') }}
{%- else -%}
{{ (bos_token or '') + '[INST] ' + ns.system + said(message['content'])|trim + ' [/INST]' }}
{%- set ns.system = '' -%}
{%- endif -%}
{%- endfor -%}
)";

constexpr std::string_view phi_3 =
    R"({%- for message in messages -%}
{{ '<|' + message['role'] + '|>\n' + said(message['content']) + '<|end|>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|assistant|>\n' }}{%- endif -%}
)";

constexpr std::string_view vicuna =
    R"({%- for message in messages -%}
{%- if message['role'] == 'system' -%}
{{ said(message['content']) + ' ' }}
{%- else -%}
{{ ('ASSISTANT: ' if message['role'] == 'assistant' else 'USER: ') + said(message['content']) + (' ' if message['role'] == 'user' else (eos_token or '')) }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}ASSISTANT:{%- endif -%}
)";

constexpr std::string_view deepseek =
    R"({{- bos_token or '' -}}
{%- for message in messages -%}
{%- if message['role'] == 'user' -%}
{{ '<｜User｜>' + said(message['content']) }}
{%- elif message['role'] == 'assistant' -%}
{{ '<｜Assistant｜>' + said(message['content']) + '<｜end▁of▁sentence｜>' }}
{%- else -%}
{{ said(message['content']) }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<｜Assistant｜>' }}{%- endif -%}
)";

constexpr std::string_view kimi =
    R"({%- for message in messages -%}
{%- set opening = '<|im_' + (message['role'] if message['role'] in ('user', 'assistant') else 'system') + '|>' -%}
{{ opening + message['role'] + '<|im_middle|>' + said(message['content']) + '<|im_end|>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_assistant|>assistant<|im_middle|>' }}{%- endif -%}
)";

constexpr std::array<std::pair<std::string_view, std::string_view>, 14> families{{
    {"deepseek2", deepseek},
    {"deepseek_v2", deepseek},
    {"deepseek_v3", deepseek},
    {"kimi_k2", kimi},
    {"llama", llama_2},
    {"llava", vicuna},
    {"phi3", phi_3},
    {"qwen2", chatml},
    {"qwen2_moe", chatml},
    {"qwen2moe", chatml},
    {"qwen3", chatml},
    {"qwen3_moe", chatml},
    {"qwen3moe", chatml},
    {"yi", chatml},
}};

}  // namespace

std::string default_chat_template(std::string_view family)
{
    const auto* const found =
        std::find_if(families.begin(), families.end(), [family](const auto& each) {
            return each.first == family;
        });
    if (found == families.end()) return {};
    return std::string{common} + std::string{found->second};
}

}  // namespace modelpool::text
