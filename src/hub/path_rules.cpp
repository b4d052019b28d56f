#include "hub/path_rules.hpp"

#include <modelpool/error.hpp>

#include <algorithm>

namespace modelpool::fetching {
namespace {

constexpr std::size_t longest_component_bytes = 255;

bool is_alnum(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool is_hex(std::string_view text)
{
    return std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
    });
}

bool has_control(std::string_view text)
{
    return std::any_of(text.begin(), text.end(), [](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return byte < 0x20 || byte == 0x7F;
    });
}

std::string name_fault(std::string_view part)
{
    if (part.empty()) return "has an empty part";
    const auto is_allowed = [](char c) { return is_alnum(c) || c == '_' || c == '-' || c == '.'; };
    if (!std::all_of(part.begin(), part.end(), is_allowed))
        return "has characters besides letters, digits, '_', '-' and '.'";
    if (part.size() > 96) return "has a part of more than 96 characters";
    const auto is_edge = [](char c) { return is_alnum(c) || c == '_'; };
    if (!is_edge(part.front()) || !is_edge(part.back()))
        return "has a part that begins or ends with '-' or '.'";
    return {};
}

// One segment between slashes of either kind.
std::string segment_fault(std::string_view segment)
{
    if (segment.empty()) return "has an empty segment, or is absolute";
    if (segment == "..") return "has a segment \"..\"";
    if (segment == ".") return "has a segment \".\"";
    if (segment.size() > longest_component_bytes) return "has a segment of more than 255 bytes";
    if (segment.size() >= 2 && segment[1] == ':' && is_alnum(segment[0]))
        return "has a segment that names a drive";
    return {};
}

void refuse(const char* what, std::string_view text, const std::string& fault)
{
    if (!fault.empty())
        throw error{errc::invalid_argument, what + (" \"" + shown(text)) + "\" " + fault};
}

}  // namespace

std::string id_fault(std::string_view id)
{
    const std::size_t slash = id.find('/');
    if (slash != std::string_view::npos && id.find('/', slash + 1) != std::string_view::npos)
        return "has more than one '/'";
    if (id.find("--") != std::string_view::npos) return "has \"--\" in it";
    if (id.find("..") != std::string_view::npos) return "has \"..\" in it";
    if (id.ends_with(".git")) return "ends with \".git\"";
    std::string fault = name_fault(id.substr(0, slash));
    if (fault.empty() && slash != std::string_view::npos) fault = name_fault(id.substr(slash + 1));
    return fault;
}

std::string revision_fault(std::string_view revision)
{
    if (revision.empty()) return "is empty";
    if (has_control(revision)) return "has a control character";
    if (revision.find("..") != std::string_view::npos) return "has \"..\" in it";
    if (revision.front() == '/' || revision.back() == '/') return "begins or ends with '/'";
    if (revision.find("//") != std::string_view::npos) return "has \"//\" in it";
    if (revision.find_first_of("\\:~^?*[") != std::string_view::npos)
        return "has a character that no reference may have";
    if (revision.size() > 1024) return "is longer than 1024 bytes";
    std::size_t begin = 0;
    while (begin <= revision.size()) {
        const std::size_t end = std::min(revision.find('/', begin), revision.size());
        const std::string_view part = revision.substr(begin, end - begin);
        if (part.front() == '.' || part.ends_with(".lock")) return "is no name of a reference";
        if (part.size() > longest_component_bytes) return "has a part of more than 255 bytes";
        begin = end + 1;
    }
    return {};
}

std::string file_fault(std::string_view path)
{
    if (path.empty()) return "is empty";
    if (has_control(path)) return "has a control character";
    if (path.size() > 4096) return "is longer than 4096 bytes";
    std::size_t begin = 0;
    while (begin <= path.size()) {
        const std::size_t end = std::min(path.find_first_of("/\\", begin), path.size());
        std::string fault = segment_fault(path.substr(begin, end - begin));
        if (!fault.empty()) return fault;
        begin = end + 1;
    }
    return {};
}

bool is_commit(std::string_view text)
{
    return text.size() == 40 && is_hex(text);
}

bool is_sha256(std::string_view text)
{
    return text.size() == 64 && is_hex(text);
}

bool is_blob_name(std::string_view text)
{
    if (is_commit(text) || is_sha256(text)) return true;
    const auto is_allowed = [](char c) { return is_alnum(c) || c == '.' || c == '_' || c == '-'; };
    return !text.empty() && text.size() <= 128 && is_alnum(text.front()) &&
           std::all_of(text.begin(), text.end(), is_allowed) &&
           text.find("..") == std::string_view::npos && !text.ends_with(".incomplete");
}

void need_id(std::string_view id)
{
    refuse("the repository's id", id, id_fault(id));
}

void need_revision(std::string_view revision)
{
    refuse("the revision", revision, revision_fault(revision));
}

void need_file(std::string_view path)
{
    refuse("the file's path", path, file_fault(path));
}

std::string shown(std::string_view text, std::size_t n_most)
{
    std::string result;
    for (const char c : text.substr(0, n_most))
        result += c >= 0x20 && c < 0x7F ? c : '?';
    if (text.size() > n_most) result += "...";
    return result;
}

}  // namespace modelpool::fetching
