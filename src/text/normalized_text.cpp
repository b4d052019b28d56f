#include "text/normalized_text.hpp"

#include "text/utf8.hpp"

namespace modelpool::text {

void normalized_text::assign(std::string_view text, std::uint32_t base)
{
    bytes_.assign(text);
    source_.clear();
    if (!tracked_) return;
    source_.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
        const std::uint32_t n_bytes = utf8_at(text, at).n_bytes;
        const std::uint32_t begin = base + static_cast<std::uint32_t>(at);
        source_.resize(source_.size() + n_bytes, source_range{begin, begin + n_bytes});
        at += n_bytes;
    }
}

void normalized_text::append(char32_t code_point, source_range from)
{
    append_utf8(code_point, bytes_);
    if (tracked_) source_.resize(bytes_.size(), from);
}

void normalized_text::append(const normalized_text& other, std::size_t begin, std::size_t end)
{
    bytes_.append(other.bytes_, begin, end - begin);
    if (tracked_) {
        const auto first = other.source_.begin();
        source_.insert(
            source_.end(),
            first + static_cast<std::ptrdiff_t>(begin),
            first + static_cast<std::ptrdiff_t>(end));
    }
}

}  // namespace modelpool::text
