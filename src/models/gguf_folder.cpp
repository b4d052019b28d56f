#include "models/gguf_folder.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <cctype>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "support/printable.hpp"

namespace modelpool::models {
namespace {

namespace fs = std::filesystem;

// "name-00002-of-00003.gguf", but for the first part.
bool is_later_part(std::string_view name)
{
    constexpr std::string_view pattern = "-00000-of-00000.gguf";
    if (name.size() <= pattern.size()) return false;
    name = name.substr(name.size() - pattern.size());
    for (std::size_t i = 0; i < pattern.size(); ++i) {
        const bool is_digit = std::isdigit(static_cast<unsigned char>(name[i])) != 0;
        if (pattern[i] == '0' ? !is_digit : name[i] != pattern[i]) return false;
    }
    return name.substr(1, 5) != "00001";
}

bool is_encoder(std::string_view name)
{
    return name.find("mmproj") != std::string_view::npos;
}

// Names of GGUF files that models, or the encoders of images, are opened by, in order.
std::vector<std::string> blocking_list(const fs::path& dir, bool of_encoders)
{
    std::vector<std::string> names;
    std::error_code problem;
    for (fs::directory_iterator place{dir, problem}; !problem && place != fs::directory_iterator{};
         place.increment(problem)) {
        const std::string name = place->path().filename().string();
        if (name.ends_with(".gguf") && is_encoder(name) == of_encoders && !is_later_part(name))
            names.push_back(name);
    }
    std::ranges::sort(names);
    return names;
}

std::optional<fs::path>
choose(const fs::path& dir, const std::vector<std::string>& names, const std::string& usual)
{
    if (names.empty()) return std::nullopt;
    if (names.size() == 1) return dir / names.front();
    const auto is_usual = [&](const std::string& name) {
        return name.find(usual) != std::string::npos;
    };
    if (std::ranges::count_if(names, is_usual) == 1)
        return dir / *std::ranges::find_if(names, is_usual);
    std::string list;
    for (const std::string& name : names)
        list += (list.empty() ? "" : ", ") + support::printable(name);
    throw error{
        model_errc::bad_file,
        dir.string() + ": holds several GGUF files; give the path of one: " + list};
}

}  // namespace

std::optional<fs::path> blocking_find_gguf(const fs::path& dir)
{
    return choose(dir, blocking_list(dir, false), "Q4_K_M");
}

std::optional<fs::path> blocking_find_mmproj(const fs::path& model)
{
    std::error_code ignored;
    const fs::path dir = fs::is_directory(model, ignored) ? model : model.parent_path();
    return choose(dir, blocking_list(dir, true), "f16");
}

}  // namespace modelpool::models
