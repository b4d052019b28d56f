#include "models_found.hpp"

#include <modelpool/error.hpp>
#include <modelpool/hub/directory_fetcher.hpp>
#include <modelpool/hub/snapshot.hpp>
#include <modelpool/models/catalogue.hpp>
#include <modelpool/models/inspect.hpp>

#include <algorithm>
#include <exception>
#include <optional>
#include <system_error>
#include <utility>

#include "fetch_display.hpp"
#include "loop.hpp"
#include "model_files.hpp"
#include "text_format.hpp"

namespace modelpool::cli {
namespace {

namespace fs = std::filesystem;

void require_model(const settings& wanted)
{
    if (wanted.model.empty())
        throw usage_error{
            "--model is required: a folder, a key of `modelpool models`, or org/name"};
}

bool is_folder(const fs::path& path)
{
    std::error_code ignored;
    return fs::is_directory(path, ignored);
}

bool is_file(const fs::path& path)
{
    std::error_code ignored;
    return fs::is_regular_file(path, ignored);
}

// "/x", "./x", "../x" and "x/y/z" can only be paths.
bool looks_like_path(const std::string& name)
{
    return name.starts_with('/') || name.starts_with('.') || name.starts_with('~') ||
           std::ranges::count(name, '/') > 1;
}

std::optional<card> find_in_catalogue(const std::string& name)
{
    const std::string base = name.substr(0, name.find('@'));
    for (card& about : models::catalogue()) {
        const bool is_alias = std::ranges::find(about.aliases, base) != about.aliases.end();
        if (about.key != base && !is_alias) continue;
        if (base != name) {
            about.key += name.substr(base.size());
            about.repo = repository{about.repo.id() + name.substr(base.size())};
        }
        return std::move(about);
    }
    return std::nullopt;
}

std::string known_keys()
{
    std::string keys;
    for (const card& about : models::catalogue())
        keys += (keys.empty() ? "" : ", ") + about.key;
    return keys;
}

// A model's name on the hub: "org/name[@revision][:selector]". The selector is a quantisation or a
// pattern of the files; none for a checkpoint.
struct hub_name {
    repository repo;
    std::string selector;
};

hub_name parse_name(const std::string& text)
{
    const std::size_t colon = text.find(':');
    if (colon == std::string::npos) return {repository{text}, {}};
    return {repository{text.substr(0, colon)}, text.substr(colon + 1)};
}

std::string pattern_of(const std::string& selector)
{
    const bool is_pattern = selector.find_first_of("*?.") != std::string::npos;
    return is_pattern ? selector : "*" + selector + "*.gguf";
}

// What describes a model, without its weights.
file_selection small_files()
{
    file_selection files;
    for (const char* pattern : {"*.json", "*.txt", "*.model", "*.tiktoken", "*.jinja"})
        files.include(pattern);
    // Other programs' forms of the same model.
    for (const char* pattern : {"onnx/*", "openvino/*", "coreml/*", "original/*"})
        files.exclude(pattern);
    return files;
}

file_selection checkpoint_files()
{
    return small_files().include("*.safetensors");
}

// A plain folder has no revision that could be compared with the one asked for.
void warn_of_revision(const settings& wanted, const repository& repo, const snapshot& found)
{
    const bool asked = wanted.model.find('@') != std::string::npos;
    if (!found.commit().empty() || !asked || !wanted.lowest_level) return;
    write_error_line(
        "modelpool: note: revision '" + visible(repo.revision()) +
        "' is not checked: the folder of " + visible(repo.id()) + " is taken as it is");
}

[[noreturn]] void fail_unknown(const settings& wanted)
{
    if (looks_like_path(wanted.model))
        throw error{hub_errc::not_found, "--model: " + wanted.model + ": no such folder"};
    throw error{
        hub_errc::not_found,
        "--model: '" + wanted.model + "' is no folder, no key of the catalogue (" + known_keys() +
            "), no folder below " + wanted.hub.cache_dir().string() +
            " and no org/name of the hub"};
}

[[noreturn]] void fail_absent(const settings& wanted, const repository& repo, const error& why)
{
    const bool offline = wanted.hub.offline();
    throw error{
        offline ? make_error_code(hub_errc::not_found) : why.code(),
        "--model: the files of " + repo.str() + " are not in " + wanted.hub.cache_dir().string() +
            (offline ? ", and no network is to be used"
                     : std::string{", and could not be fetched: "} + why.what())};
}

snapshot
blocking_fetch(const settings& wanted, const repository& repo, const file_selection& selection)
{
    model_files files{wanted};
    fetch_display display{wanted};
    try {
        snapshot found = blocking_await(files.fetch(repo, selection, display.listener()));
        warn_of_revision(wanted, repo, found);
        return found;
    } catch (const error& problem) {
        if (problem.code() == hub_errc::unavailable) fail_absent(wanted, repo, problem);
        throw;
    }
}

snapshot blocking_fetch_known(const settings& wanted, const card& known)
{
    try {
        return blocking_fetch(wanted, known.repo, known.files);
    } catch (const error& problem) {
        if (!known.gated || problem.code() != hub_errc::denied) throw;
        throw error{problem.code(), problem.what() + models::access_hint(known.repo.id())};
    }
}

// A repository that the catalogue does not know. Without an owner only folders are looked at: a
// mistyped name should not wait for a network.
hub_name blocking_need_place(const settings& wanted)
{
    if (looks_like_path(wanted.model)) fail_unknown(wanted);
    hub_name name = parse_name(wanted.model);
    const bool on_hub = name.repo.id().find('/') != std::string::npos;
    if (!on_hub && !blocking_find_cached(wanted, name.repo, file_selection{})) fail_unknown(wanted);
    return name;
}

snapshot blocking_fetch_named(const settings& wanted, const file_selection& selection)
{
    const hub_name name = blocking_need_place(wanted);
    if (name.selector.empty()) return blocking_fetch(wanted, name.repo, selection);
    file_selection files = small_files();
    files.include(pattern_of(name.selector));
    return blocking_fetch(wanted, name.repo, files);
}

bool has_weights(const snapshot& found)
{
    return std::ranges::any_of(found.files(), [](const std::string& file) {
        return file.ends_with(".safetensors") || file.ends_with(".gguf");
    });
}

// The same with weights in safetensors. Of an image pipeline only one of the forms in which it is
// there.
snapshot blocking_fetch_safetensors(const settings& wanted)
{
    if (parse_name(wanted.model).selector.empty()) {
        const snapshot small = blocking_fetch_named(wanted, small_files());
        std::error_code ignored;
        if (fs::exists(small.dir() / "model_index.json", ignored))
            return blocking_fetch_named(wanted, models::pipeline_files());
    }
    return blocking_fetch_named(wanted, checkpoint_files());
}

// The same with weights in any form. Of a repository of GGUF files, those of the usual
// quantisation; a plain folder is looked through by whoever opens it.
snapshot blocking_fetch_checkpoint(const settings& wanted)
{
    const hub_name name = blocking_need_place(wanted);
    std::optional<snapshot> found;
    std::exception_ptr without;
    try {
        found = blocking_fetch_safetensors(wanted);
    } catch (const error& problem) {
        if (problem.code() != hub_errc::not_found || !name.selector.empty()) throw;
        without = std::current_exception();
    }
    if (found && (has_weights(*found) || found->commit().empty() || !name.selector.empty()))
        return std::move(*found);
    const repository same{found ? name.repo.id() + "@" + found->commit() : name.repo.str()};
    try {
        return blocking_fetch(wanted, same, file_selection{}.include(pattern_of("Q4_K_M")));
    } catch (const error& problem) {
        // The sentence lists the GGUF files that there are; without any, the folder is what it is.
        const std::string_view sentence = problem.what();
        const bool has_some = sentence.find(".gguf") != std::string_view::npos;
        if (problem.code() != hub_errc::not_found || has_some) throw;
    }
    if (without) std::rethrow_exception(without);
    return std::move(*found);
}

// What of a fetched repository is the model: one GGUF file, or the folder.
fs::path model_path(const snapshot& found)
{
    for (const std::string& file : found.files())
        if (file.ends_with(".gguf")) return found.dir() / file;
    return found.dir();
}

bool generates_text(const card& about)
{
    return about.kind() == capability::text_to_text || about.kind() == capability::vision;
}

}  // namespace

std::optional<fs::path>
blocking_find_cached(const settings& wanted, const repository& repo, const file_selection& files)
{
    directory_fetcher cache{wanted.hub.cache_dir()};
    try {
        return blocking_await(cache.fetch(repo, files)).dir();
    } catch (const error& failure) {
        if (failure.code() == hub_errc::not_found || failure.code() == errc::invalid_argument)
            return std::nullopt;
        throw;
    }
}

card blocking_find_card(const settings& wanted)
{
    require_model(wanted);
    if (is_folder(wanted.model) || is_file(wanted.model))
        return models::blocking_card(wanted.model, wanted.dtype);
    if (std::optional<card> known = find_in_catalogue(wanted.model)) {
        const snapshot found = blocking_fetch_known(wanted, *known);
        // The loader fetches again: of the very commit that is here now, and so without a network.
        if (!found.commit().empty())
            known->repo = repository{known->repo.id() + "@" + found.commit()};
        if (generates_text(*known)) {
            // The files that are here tell what they take, in the dtype that is wanted.
            const models::inspection facts =
                models::blocking_inspect(model_path(found), wanted.dtype);
            if (facts.runnable()) known->memory = facts.memory;
        }
        return std::move(*known);
    }
    const fs::path path = model_path(blocking_fetch_checkpoint(wanted));
    card about = models::blocking_card(path, wanted.dtype);
    about.key = wanted.model;
    return about;
}

fs::path blocking_find_folder(const settings& wanted)
{
    require_model(wanted);
    if (is_folder(wanted.model) || is_file(wanted.model)) return wanted.model;
    if (const std::optional<card> known = find_in_catalogue(wanted.model))
        return blocking_fetch(wanted, known->repo, small_files()).dir();
    return model_path(blocking_fetch_named(wanted, small_files()));
}

fs::path blocking_find_checkpoint(const settings& wanted)
{
    require_model(wanted);
    if (is_folder(wanted.model) || is_file(wanted.model)) return wanted.model;
    if (const std::optional<card> known = find_in_catalogue(wanted.model)) {
        if (known->kind() == capability::text_to_image)
            return blocking_fetch_known(wanted, *known).dir();
        return model_path(blocking_fetch(wanted, known->repo, known->files));
    }
    return model_path(blocking_fetch_checkpoint(wanted));
}

}  // namespace modelpool::cli
